"""Compiling kernels ahead of the runs that need them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from nbdist.experiment import Experiment
from nbdist.kernels.native.backend import is_sharp
from nbdist.kernels.native.build import SHAPES, Source, built, factors_source, find_compiler, variant_source
from nbdist.kernels.native.integrated import integrated_source
from nbdist.kernels.variant import Variant, kernel_shape
from nbdist.private_folder import trusted_folder
from nbdist.scene import resolve

TABLES = ((False, False), (True, False), (False, True))
"""(interpolate, uniform) of the variants: where all amplitudes are the same there is nothing to interpolate."""
PRECISIONS = (("float32", False), ("float32", True), ("float64", False))
"""(precision, sharp): float64 needs no remainders, nor do shapes other than a brick."""


def sources_of(experiment: Experiment | None = None) -> list[Source]:
    """What all kernels are compiled from, or those that an experiment may need, whatever its amplitudes.

    Raises
    ------
    ExperimentError
        If the experiment's geometry, or one of its files, is wrong.
    """
    if experiment is None:
        kinds = {
            (shape, precision, sharp)
            for shape in SHAPES
            for precision, sharp in PRECISIONS
            if shape == "square" or not sharp
        }
    else:
        precision = experiment.sampling.precision
        if experiment.sampling.integrated:
            return [factors_source(), integrated_source(precision)]
        kinds = {
            (kernel_shape(lattice), precision, precision == "float32" and is_sharp(lattice))
            for lattice in resolve(experiment).specimen.lattices
        }
    spots = [integrated_source(precision) for precision in ("float32", "float64")] if experiment is None else []
    return [factors_source(), *spots] + [
        variant_source(Variant(shape, interpolate, uniform, precision), sharp)
        for shape, precision, sharp in sorted(kinds)
        for interpolate, uniform in TABLES
    ]


def build_ahead(folder: Path, sources: Sequence[Source], report: Callable[[int, int], None] | None = None) -> str:
    """Compile those that a folder does not hold yet, on all cores.

    Parameters
    ----------
    folder
        Where to keep them; made, readable for everybody, where it is missing.
    report
        Called with (kernels that are there, all of them).

    Returns
    -------
    The compiler, as records name it.

    Raises
    ------
    BuildError
        If there is no C++ compiler, it fails, or it does not come to an end.
    UnsafeFolderError
        If others can write into the folder or replace it.
    OSError
        If the folder cannot be written.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    place = trusted_folder(folder)
    compiler = find_compiler()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        waiting = [pool.submit(built, source, place) for source in sources]
        try:
            for done, one in enumerate(as_completed(waiting), start=1):
                one.result()
                if report is not None:
                    report(done, len(sources))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return compiler.identity
