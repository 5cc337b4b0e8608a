"""`nbdist preview`: a picture of a frame, or of the brightest value of several."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from nbdist.cli.arguments import StoreLocation, read_span
from nbdist.cli.display import console
from nbdist.errors import NbdistError, require_extra


def preview(
    location: StoreLocation,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")] = Path("preview.png"),
    frame: Annotated[int, typer.Option("--frame", min=0, help="Frame to show.")] = 0,
    max_over: Annotated[
        str | None, typer.Option("--max-over", metavar="FIRST:LAST", help="Show the maximum over these frames instead.")
    ] = None,
    zoom: Annotated[str | None, typer.Option("--zoom", metavar="S0:S1,F0:F1", help="Rows and columns to show.")] = None,
    array: Annotated[
        str | None, typer.Option("--array", help="An array of the store; counts where it has them.")
    ] = None,
    panel: Annotated[int, typer.Option("--panel", min=0, help="Panel to show.")] = 0,
) -> None:
    """Write a picture of one frame, or of the maximum over several."""
    require_extra("pictures", "nbdist preview")
    import numpy as np

    from nbdist.formats.pictures import frame_picture
    from nbdist.store import open_group, summarize

    group, summary = open_group(location), summarize(location)
    schema = summary.schema
    arrays = [a for a in schema.arrays if panel in a.panels.numbers]
    if not arrays:
        raise NbdistError(f"--panel {panel}: lies outside 0:{len(schema.panels)}")
    names = [a.product.name for a in arrays]
    if array is not None and array not in names:
        raise NbdistError(f"--array {array}: the store holds {' and '.join(names)}")
    shown = arrays[names.index(array or ("counts" if "counts" in names else names[0]))]
    wanted = read_span(max_over, "--max-over", schema.frames) if max_over is not None else range(frame, frame + 1)
    if wanted.stop > schema.frames:
        raise NbdistError(f"--frame {frame}: lies outside 0:{schema.frames}")
    rows, columns = _zoom(zoom, *schema.panels[panel])
    complete = summary.found.frames
    missing = [number for number in wanted if number not in complete]  # they would look like empty ones
    if missing:
        raise NbdistError(
            f"{location}: frame {missing[0]} is not rendered yet ({summary.frames_complete} of {summary.frames} are)"
        )
    stored: Any = group[shown.name]
    place = (*shown.index(panel), slice(rows.start, rows.stop), slice(columns.start, columns.stop))
    image = functools.reduce(np.maximum, (stored[number, *place] for number in wanted))
    scan = summary.experiment.scan
    phi = scan.frame_start_deg(wanted.start), scan.frame_start_deg(wanted.stop)
    which = f"frame {wanted.start}" if len(wanted) == 1 else f"maximum over frames {wanted.start} to {wanted.stop - 1}"
    which += f", panel {panel}" if len(schema.panels) > 1 else ""
    title = (
        f"{which}, phi {phi[0]:g} to {phi[1]:g} deg\n"
        f"{shown.product.name}: brightest {image.max():.6g}, sum {image.sum(dtype=float):.6g}"
    )
    frame_picture(image, (rows.start, columns.start), title, f"{shown.product.units}s per pixel", output)
    console.print(f"wrote {output}")


def _zoom(text: str | None, slow: int, fast: int) -> tuple[range, range]:
    if text is None:
        return range(slow), range(fast)
    parts = text.split(",")
    if len(parts) != 2:
        raise NbdistError(f"--zoom {text}: expected S0:S1,F0:F1")
    return read_span(parts[0], "--zoom", slow), read_span(parts[1], "--zoom", fast)
