"""Arguments that several subcommands share: their types, help, and how `0:100` and `512,512` are read."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbdist.errors import NbdistError
from nbdist.formats.text import said_of

if TYPE_CHECKING:
    from nbdist.experiment import Experiment


FILES = ("experiment", "recipe", "path", "location", "photons")
"""Arguments whose fields an error may name: what is given in place of what a store says comes first."""


class DeviceName(StrEnum):
    """Where to render."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """Precision of the sum over orientations."""

    float32 = "float32"
    float64 = "float64"


class KernelName(StrEnum):
    """How the kernel runs."""

    compiled = "compiled"
    eager = "eager"


ExperimentFile = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT", help="Experiment file (YAML or JSON).", show_default=False)
]
StoreLocation = Annotated[str, typer.Argument(metavar="STORE", help="Zarr store of nbdist.", show_default=False)]
DeviceOption = Annotated[
    DeviceName, typer.Option("--device", help="Where to render; auto: a GPU, or cores where frames are integrated.")
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="Precision of the sum over orientations; the experiment's by default."),
]
KernelOption = Annotated[
    KernelName | None, typer.Option("--kernel", help="compiled for this machine, or eager (slower, no compiler).")
]
TileOption = Annotated[
    str | None, typer.Option("--tile", metavar="ROWS,COLS", help="Pixels of a tile; chosen from the cost by default.")
]
PhiChunkOption = Annotated[
    int | None, typer.Option("--phi-chunk", min=1, help="Phi steps of a chunk; chosen from the cost by default.")
]
ShardOption = Annotated[
    int | None,
    typer.Option("--frames-per-shard", min=1, help="Frames in one object of the store; of a data set, whole samples."),
]


def naming_its_file(command: Callable[..., None]) -> Callable[..., None]:
    """A command that names the file or store that it was given where a field of that, or a file that it names, is wrong."""

    @functools.wraps(command)
    def naming(**options: Any) -> None:
        given = next((options[name] for name in FILES if options.get(name)), None)
        with nullcontext() if given is None else said_of(given):
            command(**options)

    return naming


def read_span(text: str, what: str, size: int) -> range:
    """Read `first:last` (half-open; either may be left out) or a single number, within `size`.

    Raises
    ------
    NbdistError
        Naming `what`, if it is neither or lies outside.
    """
    match = re.fullmatch(r"(\d*):(\d*)|(\d+)", text.strip())
    if match is None:
        raise NbdistError(f"{what} {text}: expected FIRST:LAST or a number")
    if match[3] is not None:
        first, last = int(match[3]), int(match[3]) + 1
    else:
        first, last = int(match[1] or 0), int(match[2] or size)
    if first >= last:
        raise NbdistError(f"{what} {text}: holds nothing")
    if last > size:
        raise NbdistError(f"{what} {text}: lies outside 0:{size}")
    return range(first, last)


def read_tile(text: str | None) -> tuple[int, int] | None:
    """Read `rows,columns`.

    Raises
    ------
    NbdistError
        If it is anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)\s*[,x]\s*(\d+)", text.strip())
    if match is None or not (int(match[1]) and int(match[2])):
        raise NbdistError(f"--tile {text}: expected ROWS,COLS above 0")
    return int(match[1]), int(match[2])


def load(path: Path, precision: Precision | None = None) -> Experiment:
    """Load an experiment, in another precision where one is given."""
    from nbdist.experiment import load_experiment

    experiment = load_experiment(path)
    return experiment.with_changes(sampling={"precision": precision.value}) if precision else experiment
