"""`--part 3/16` of `nbdist run`: a fixed share of the units, with no scheduler, beside processes that render the other shares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.arguments import Precision
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from nbdist.store.parts import Part

PartOption = Annotated[
    str | None,
    typer.Option(
        "--part",
        metavar="NUMBER/PARTS",
        help="Render a fixed share, with no scheduler; run all parts on one store, then nbdist finish.",
    ),
]


def read_part(text: str | None, on_a_cluster: bool, others: Mapping[str, bool]) -> Part | None:
    """The part that is asked for.

    Raises
    ------
    NbdistError
        If it is no part, or one of the other options is given, which contradicts it.
    """
    if text is None:
        return None
    from nbdist.store.parts import Part

    if on_a_cluster:
        raise NbdistError("--part renders without a scheduler; it and a cluster exclude each other")
    for name in (name for name, given in others.items() if given):
        raise NbdistError(f"--part and {name} exclude each other")
    return Part.parsed(text)


def made_by(path: Path, precision: Precision | None) -> dict[str, object]:
    """What a store remembers of the command that made it, so that `nbdist info` can say how to go on."""
    return {
        "experiment_file": str(path.absolute()),
        "options": ["--precision", precision.value] if precision else [],
    }
