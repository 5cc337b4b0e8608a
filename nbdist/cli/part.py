"""`--part 3/16` of `nbdist run`: a fixed share of the units, with no scheduler, beside processes that render the other shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nbdist.cli.arguments import Precision
from nbdist.errors import NbdistError

PartOption = Annotated[
    str | None,
    typer.Option(
        "--part",
        metavar="NUMBER/PARTS",
        help="Render a fixed share, with no scheduler; run all parts on one store, then nbdist finish.",
    ),
]


def for_part(options: dict[str, Any], text: str | None, on_a_cluster: bool) -> str:
    """Put the part into the options of `generate`; return the option that goes on with a run that was stopped.

    Raises
    ------
    NbdistError
        If it is no part, or another option contradicts it.
    """
    if text is None:
        return "--resume"
    from nbdist.store.parts import Part

    if on_a_cluster:
        raise NbdistError("--part renders without a scheduler; it and a cluster exclude each other")
    for name in ("frames", "overwrite"):
        if options.get(name):
            raise NbdistError(f"--part and --{name} exclude each other")
    options["part"] = Part.parsed(text)
    return f"--part {options['part']}"


def made_by(path: Path, precision: Precision | None) -> dict[str, object]:
    """What a store remembers of the command that made it, so that `nbdist info` can say how to go on."""
    return {
        "experiment_file": str(path.absolute()),
        "options": ["--precision", precision.value] if precision else [],
    }
