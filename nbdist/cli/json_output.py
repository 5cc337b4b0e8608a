"""`--json`: what a command found, as one JSON object on standard output, for programs; nothing else is printed there.

Every object has `nbdist`, the version that wrote it, and `command`. Names of numbers end in their units, those of photons or counts of
things in what is counted; what is not there or no number is null. Notes, progress and errors go to standard error as ever, and the exit
status means what it does without `--json`; a command that ends with an error (status 2) prints no object, unless it says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from nbdist.cli.display import console
from nbdist.errors import NbdistError, one_line
from nbdist.formats.files import whole_path
from nbdist.formats.text import user_path
from nbdist.version import __version__

if TYPE_CHECKING:
    from nbdist.run.progress import Progress


USAGE: Any = next(its for its in typer.BadParameter.__mro__ if its.__name__ == "ClickException")
"""What a command line that is wrong raises; typer brings it, or has it of click, as its version has it."""


def _silences(wanted: bool) -> bool:
    console.quiet = wanted
    return wanted


class JsonIntoFile(TyperCommand):
    """A command whose `--json` may name a file: `--json=FILE`, or a FILE that ends in .json, or any where the command has no arguments.

    Other words after `--json` are arguments: a file of theirs would be replaced.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, those of `--json` as those of `--json-file`."""
        has_arguments = any(its.param_type_name == "argument" for its in self.params)
        rest, read, argument = list(args), list[str](), ""
        while rest and rest[0] != "--":
            word = rest.pop(0)
            if word.startswith("--json="):
                read += ["--json-file", word.removeprefix("--json=")]
            elif word == "--json" and rest and (rest[0].endswith(".json") or not (has_arguments or rest[0][:1] == "-")):
                read += ["--json-file", rest.pop(0)]
            else:
                read.append(word)
                if word == "--json" and rest:
                    argument = rest[0]
        try:
            return super().parse_args(ctx, [*read, *rest])
        except USAGE as error:
            if argument and f"({argument}" in error.format_message():  # of the extra ones the first
                error.message += f": --json={argument} writes a file"
            raise


JsonFileOption = Annotated[
    Path | None,
    typer.Option(
        "--json-file", metavar="FILE", help="Write it into a file as well as what a person reads: --json=FILE."
    ),
]
"""An option of a `JsonIntoFile`, which calls `write_json`."""
JsonOption = Annotated[
    bool, typer.Option("--json", callback=_silences, help="Print what was found as one JSON object, and nothing else.")
]
"""An option of a command that calls `print_json`; with it, `console` prints nothing."""


def print_json(command: str, **content: object) -> None:
    """Print what a command found, where `--json` asks for it.

    Parameters
    ----------
    command
        Its name.
    content
        Numbers, texts, truth values, and mappings and sequences of them, of numpy's too; keys become texts, paths as well.
    """
    if console.quiet:
        typer.echo(json.dumps(_plain({"nbdist": __version__, "command": command, **content}), indent=1))


def write_json(file: Path | None, content: object) -> None:
    """Write what a command found into a file, where one is named.

    Raises
    ------
    NbdistError
        If it cannot be written.
    """
    if file is not None:
        try:
            with whole_path(user_path(file)) as beside:
                beside.write_text(json.dumps(_plain(content), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise NbdistError(f"--json {file}: {one_line(error)}") from None


def _plain(value: object) -> object:
    """A value as JSON has it; numbers that are not finite are null."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(its) for key, its in value.items()}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return _plain(value.tolist())
    assert isinstance(value, Iterable), type(value)
    return [_plain(its) for its in value]


def run_numbers(progress: Progress) -> dict[str, object]:
    """What a run came to, in numbers: `nbdist run`, `dataset`, `readout` and `export` print it at their end."""
    return {
        f"{progress.counted}_done": progress.done,
        f"{progress.counted}_asked_for": progress.total,
        f"{progress.counted}_per_s": progress.per_s,
        "frames_done": progress.frames_done,
        "seconds": progress.seconds,
        "bytes_written": progress.bytes_written,
        "units_done": progress.units_done,
        "units_tried_again": progress.retried,
        "units_failed": progress.failed,
        "workers": progress.workers,
        "workers_by_kind": progress.kinds,
        "workers_lost": progress.workers_lost,
        "workers_left_out": progress.left_out,
        "rendering_seconds_by_device": progress.seconds_by_device,
        "eager_units": progress.eager_units,
        "saturated_pixels": progress.saturated_pixels,
        "notes": progress.notes,
    }
