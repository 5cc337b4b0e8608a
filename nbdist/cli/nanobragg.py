"""`nbdist nanobragg`: nanoBragg's command line. Its flags are nanoBragg's; what nbdist adds has two dashes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from nbdist.cli.arguments import DeviceName, KernelName, Precision
from nbdist.cli.display import console
from nbdist.cli.progress_display import Steps
from nbdist.errors import NbdistError, require_extra
from nbdist.formats.text import user_path

if TYPE_CHECKING:
    from nbdist.kernels.devices import Device
    from nbdist.nanobragg.command import Settings

HELP = ("-h", "-help", "--help")
OWN = {
    "--save-experiment": ("FILE.yaml", "write the experiment; nbdist run on it gives the same image"),
    "--device": ("auto|cpu|cuda", "where to render"),
    "--precision": ("float32|float64", "of the sum over orientations (default float32)"),
    "--kernel": ("compiled|eager", "compiled for this machine, or eager (slower, no compiler)"),
    "--workers": ("N", "local processes that share the image (default 1)"),
}
TRACE_FOLDER = "trace"


def nanobragg(context: typer.Context) -> None:
    """Render one image from nanoBragg's command line; -h lists the flags."""
    if any(word in HELP for word in context.args):
        _help()
        return
    from nbdist.nanobragg.command import read_command

    settings, words = read_own(context.args)
    try:
        command = read_command(words, settings)
        pixel = command.outputs.trace_pixel
        if pixel is not None:
            require_extra("torch", "-trace_pixel")
        _print(command.lines())
        with Steps("pieces rendered") as steps:
            lines = command.render(steps) if command.outputs.progress else command.render()
        _print(lines)
        if pixel is not None:
            from nbdist.cli.trace import trace_to
            from nbdist.frames.trace import Choice

            trace_to(Path.cwd() / TRACE_FOLDER, command.traced_experiment, pixel, 0, Choice(), settings.device)
    except MemoryError:
        raise NbdistError("-detpixels -hkl: there is not enough memory for this image") from None


def read_own(words: Sequence[str]) -> tuple[Settings, list[str]]:
    """Take the options with two dashes out of a command line; a flag of nanoBragg may have two dashes, too, and stays.

    Raises
    ------
    NbdistError
        Naming the option that is unknown or wrong.
    """
    from nbdist.nanobragg.command import Settings
    from nbdist.nanobragg.table import TABLE

    rest, given = [], dict[str, str]()
    walk = iter(words)
    for word in walk:
        name, equals, value = word.partition("=")
        if not word.startswith("--") or (name not in OWN and any(flag.is_in(word) for flag in TABLE)):
            rest.append(word)
        elif name in OWN:
            found = value if equals else next(walk, None)
            if found is None:
                raise NbdistError(f"{name}: needs a value")
            given[name] = found
        elif name != "--debug":
            raise NbdistError(f"{name}: unknown option; those of nbdist nanobragg are {' '.join(OWN)}")
    for name, choices in (("--device", DeviceName), ("--precision", Precision), ("--kernel", KernelName)):
        if name in given and given[name] not in list(choices):
            raise NbdistError(f"{name}: expected {OWN[name][0].replace('|', ' or ')}, found {given[name]}")
    workers = given.get("--workers", "1")
    if not workers.isdecimal() or int(workers) < 1:
        raise NbdistError(f"--workers: expected a whole number above 0, found {workers}")
    save = user_path(given["--save-experiment"]) if "--save-experiment" in given else None
    if save is not None and (save.is_dir() or not save.absolute().parent.is_dir()):
        raise NbdistError(f"--save-experiment: {save} cannot be written")
    device, kernel = cast("Device", given.get("--device", "auto")), given.get("--kernel", "compiled")
    return Settings(save, device, given.get("--precision"), kernel, int(workers)), rest


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line)


def _help() -> None:
    from nbdist.nanobragg.table import GROUPS

    _print(
        (
            "Usage: nbdist nanobragg FLAGS",
            "",
            "nanoBragg's flags, read left to right as nanoBragg reads them; later ones win. A flag is known by its beginning: -matrix is",
            "-mat, -height is -heigh. Words that no flag takes are passed over with a warning.",
        )
    )
    for group, flags in GROUPS.items():
        console.print(f"\n{group}", style="bold")
        _print(f"  {' '.join((*flag.words, flag.values)):46} {flag.help}" for flag in flags)
    console.print("\nnbdist's own", style="bold")
    _print(f"  {f'{name} {values}':46} {text}" for name, (values, text) in OWN.items())
