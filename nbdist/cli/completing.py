"""What the shell completes of values that the code knows by name: detectors, products and cases of the benchmark.

Subcommands, options and their fixed choices are completed by typer; where it knows nothing, the shell completes files and folders, which is
what experiments and stores are.
"""

from __future__ import annotations

from collections.abc import Iterable


def detector_names(incomplete: str) -> list[str]:
    """Detectors whose names begin so, in any case, as words of a shell: without blanks, which `named_detector` does not mind."""
    from nbdist.experiment.named_detectors import NAMED_DETECTORS

    return _beginning((its.name.replace(" ", "_") for its in NAMED_DETECTORS.values()), incomplete)


def pixel_products(incomplete: str) -> list[str]:
    """What a store may hold of every pixel of a frame, by names that begin so."""
    from nbdist.frames.products import PRODUCTS, PixelProduct

    return _beginning((name for name, its in PRODUCTS.items() if isinstance(its, PixelProduct)), incomplete)


def bench_cases(incomplete: str) -> list[str]:
    """Lists of cases, one case longer than those that are typed."""
    from nbdist.bench import GROUPS

    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in _beginning(GROUPS, last) if name not in given]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    """Names that begin so; what is typed stays as it is, in whichever case."""
    typed = len(incomplete)
    return [incomplete + name[typed:] for name in names if name[:typed].casefold() == incomplete.casefold()]
