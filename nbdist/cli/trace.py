"""`nbdist trace`: the scaling chain of one pixel as a table and as files, and where it parts from another program's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.arguments import DeviceName, Precision, load
from nbdist.cli.display import console, facts
from nbdist.errors import NbdistError, require_extra
from nbdist.formats.text import said_of, user_path

if TYPE_CHECKING:
    from nbdist.experiment import Experiment
    from nbdist.frames.trace import Choice, PixelTrace

REPEATED_SHOWN = 12
"""Orientations whose terms the table shows; trace.log has all."""


def trace(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT", help="Experiment file; left out, --against compares -o's log.", show_default=False
        ),
    ] = None,
    pixel: Annotated[
        tuple[int, int] | None, typer.Option("--pixel", metavar="SLOW FAST", help="Pixel of the image, from 0.")
    ] = None,
    panel: Annotated[int, typer.Option("--panel", min=0, help="Panel of the pixel.")] = 0,
    frame: Annotated[int, typer.Option("--frame", min=0, help="Frame of the series.")] = 0,
    source: Annotated[int, typer.Option("--source", min=0, help="Source whose geometry and terms are listed.")] = 0,
    lattice: Annotated[int, typer.Option("--lattice", min=0, help="Lattice whose terms are listed.")] = 0,
    mosaic: Annotated[
        int | None, typer.Option("--mosaic", min=0, help="List this mosaic domain only; sums keep all.")
    ] = None,
    subpixels: Annotated[bool, typer.Option("--subpixels", help="List the terms of every subpixel and layer.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write.")] = Path("trace"),
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="LOG", help="Compare with another trace.log or nanoBragg's output."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Relative difference above which --against marks a factor.")
    ] = 1e-9,
    device: Annotated[DeviceName, typer.Option("--device", help="Where to compute.")] = DeviceName.cpu,
    precision: Annotated[Precision, typer.Option("--precision", help="Precision of the terms.")] = Precision.float64,
) -> None:
    """Take one pixel's intensity apart, factor by factor."""
    from nbdist.formats.trace_log import comparison_lines, read_trace
    from nbdist.run.tracing import LOG

    output = user_path(output)
    if path is None and against is None:
        raise NbdistError("nbdist trace needs an EXPERIMENT and --pixel, or --against")
    if path is not None:
        require_extra("torch", "nbdist trace")
    if against is not None:
        against = user_path(against)
        read_trace(against)  # what is wrong with it is said before anything is written
    if path is not None:
        if pixel is None:
            raise NbdistError("--pixel SLOW FAST is needed")
        from nbdist.frames.trace import Choice

        choice = Choice(source, mosaic, subpixels, lattice)
        with said_of(path):
            trace_to(output, load(path, precision), pixel, frame, choice, device.value, panel, table=against is None)
    if against is not None:
        for line in comparison_lines(output / LOG, against, tolerance):
            console.print(line)


def trace_to(
    folder: Path,
    experiment: Experiment,
    pixel: tuple[int, int],
    frame: int,
    choice: Choice,
    device: str,
    panel: int = 0,
    table: bool = True,
) -> None:
    """Trace a pixel, write the three files, and print the chain and what is to be said about it."""
    from nbdist.kernels.devices import pick_device
    from nbdist.run.tracing import trace_experiment, write_trace

    device = pick_device(device)
    chain = trace_experiment(experiment, pixel, frame, choice, device, panel)
    about = {
        "pixel": list(pixel),
        "panel": panel,
        "frame": frame,
        **choice._asdict(),
        "device": device,
        "precision": experiment.sampling.precision,
    }
    written = write_trace(folder, chain, experiment, about)
    if table:
        place = f"pixel {pixel[0]} {pixel[1]} (slow fast){f' of panel {panel}' if panel else ''}"
        facts(_factors(chain), f"{place}, frame {frame}")
    for note in chain.notes:
        console.print(f"note: {note}")
    console.print(f"wrote {', '.join(map(str, written))}")


def _factors(chain: PixelTrace) -> Iterator[tuple[str, str]]:
    from nbdist.formats.trace_log import number_text

    orientations = 0
    for line in chain.lines:
        orientations += line.key == "phi_step"
        after_terms = line.key == "I_before_scaling"
        if after_terms and orientations > REPEATED_SHOWN:
            yield "...", f"{orientations - REPEATED_SHOWN} more orientations in the log"
        orientations = 0 if after_terms else orientations
        if orientations <= REPEATED_SHOWN:
            yield line.key, "  ".join(map(number_text, line.values))
