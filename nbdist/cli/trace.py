"""`nbdist trace`: the scaling chain of one pixel as a table and as files, and where it parts from another program's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nbdist.cli.arguments import DeviceName, Precision, load
from nbdist.cli.display import console
from nbdist.errors import NbdistError
from nbdist.formats.text import user_path

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
    frame: Annotated[int, typer.Option("--frame", min=0, help="Frame of the series.")] = 0,
    source: Annotated[int, typer.Option("--source", min=0, help="Source whose geometry and terms are listed.")] = 0,
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
        float, typer.Option("--tolerance", min=0, help="Relative difference that --against calls one.")
    ] = 1e-9,
    device: Annotated[DeviceName, typer.Option("--device", help="Where to compute.")] = DeviceName.cpu,
    precision: Annotated[Precision, typer.Option("--precision", help="Of the terms.")] = Precision.float64,
) -> None:
    """Take one pixel's intensity apart, factor by factor."""
    from nbdist.run.tracing import LOG, read_trace

    output = user_path(output)
    if path is None and against is None:
        raise NbdistError("nbdist trace needs an EXPERIMENT and --pixel, or --against")
    if against is not None:
        against = user_path(against)
        read_trace(against)  # what is wrong with it is said before anything is written
    if path is not None:
        if pixel is None:
            raise NbdistError("--pixel SLOW FAST is needed")
        options = {"frame": frame, "source": source, "mosaic": mosaic, "subpixels": subpixels}
        trace_to(load(path, precision), pixel, output, device.value, options, table=against is None)
    if against is not None:
        show_comparison(output / LOG, against, tolerance)


def trace_to(
    experiment: Any, pixel: tuple[int, int], folder: Path, device: str, options: dict[str, Any], table: bool = True
) -> None:
    """Trace a pixel, write the three files, and print the chain and what is to be said about it.

    Parameters
    ----------
    options
        frame, source, mosaic and subpixels.
    """
    from nbdist.frames.trace import Choice
    from nbdist.kernels.devices import pick_device
    from nbdist.run.tracing import trace_experiment, write_trace

    choice = Choice(options["source"], options["mosaic"], options["subpixels"])
    device = pick_device(device)
    chain = trace_experiment(experiment, pixel, options["frame"], choice, device)  # type: ignore[arg-type]
    about = {"pixel": list(pixel), **options, "device": device, "precision": experiment.sampling.precision}
    written = write_trace(folder, chain, experiment, about)
    if table:
        _show(chain, f"pixel {pixel[0]} {pixel[1]} (slow fast), frame {options['frame']}")
    for note in chain.notes:
        console.print(f"note: {note}")
    console.print(f"wrote {', '.join(map(str, written))}")


def _show(chain: Any, title: str) -> None:
    from rich.table import Table

    from nbdist.run.tracing import shown

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("factor", style="cyan", no_wrap=True)
    table.add_column("value", overflow="fold")
    orientations = 0
    for line in chain.lines:
        orientations += line.key == "phi_step"
        after_terms = line.key == "I_before_scaling"
        if after_terms and orientations > REPEATED_SHOWN:
            table.add_row("...", f"{orientations - REPEATED_SHOWN} more orientations in the log")
        orientations = 0 if after_terms else orientations
        if orientations <= REPEATED_SHOWN:
            table.add_row(line.key, "  ".join(shown(value) for value in line.values))
    console.print(table)


def show_comparison(here: Path, there: Path, tolerance: float) -> None:
    """Print two logs side by side with the relative difference of each factor, and name the first that differs."""
    from nbdist.run.tracing import compare, first_difference, read_trace

    compared = compare(read_trace(here), read_trace(there))
    console.print(_row("factor", str(here), str(there), "relative difference"), markup=False)
    for one in compared:
        columns = [_column(one.here), _column(one.there)]
        for number in range(max(map(len, columns))):
            left, right = (column[number] if number < len(column) else "" for column in columns)
            first_row = number == 0
            console.print(
                _row(_name(one) if first_row else "", left, right, _difference(one, tolerance) if first_row else ""),
                markup=False,
            )
    both = sum(one.here is not None and one.there is not None for one in compared)
    first = first_difference(compared, tolerance)
    if not both:
        console.print("the two logs have no factor in common")
    elif first is None:
        console.print(f"the {both} factors that both have agree within {tolerance:g}")
    else:
        where = f" ({first.place})" if first.place else ""
        console.print(
            f"first difference: {first.key}{where}: {_numbers(first.here)} in {here}, {_numbers(first.there)} in {there}"
        )


def _row(factor: str, left: str, right: str, difference: str) -> str:
    return f"{factor:28} {left:>24} {right:>24}  {difference}".rstrip()


def _name(one: Any) -> str:
    place = " ".join(word for word in one.place.replace(",", "").split() if not word[0].isalpha())
    return f"{one.key} [{place}]" if place else one.key


def _column(values: tuple[float, ...] | None) -> list[str]:
    return ["-"] if values is None else [f"{value:.15g}" for value in values]


def _numbers(values: tuple[float, ...] | None) -> str:
    return " ".join(_column(values))


def _difference(one: Any, tolerance: float) -> str:
    if one.relative is None:
        return "" if one.here is None or one.there is None else "not the same kind of number"
    return f"{one.relative:.2e}" + (" *" if not one.relative <= tolerance else "")
