"""`nbdist preview`: a picture of a frame, or of the brightest value of several."""

from __future__ import annotations

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
        str | None, typer.Option("--array", help="intensity or counts; counts where the store has them.")
    ] = None,
) -> None:
    """Write a picture of one frame, or of the maximum over several."""
    require_extra("pictures", "nbdist preview")
    from nbdist.formats.pictures import frame_picture
    from nbdist.store import open_group
    from nbdist.store.units import frame_arrays

    group: Any = open_group(location)
    names = frame_arrays(group)
    name = array or names[-1]
    if name not in names:
        raise NbdistError(f"--array {name}: the store holds {' and '.join(names)}")
    frames, slow, fast = group[name].shape
    wanted = read_span(max_over, "--max-over", frames) if max_over is not None else range(frame, frame + 1)
    if wanted.stop > frames:
        raise NbdistError(f"--frame {frame}: lies outside 0:{frames}")
    rows, columns = _zoom(zoom, slow, fast)
    _require_complete(location, wanted)
    image = group[name][wanted.start, rows.start : rows.stop, columns.start : columns.stop]
    for number in wanted[1:]:
        image = _brighter(image, group[name], number, rows, columns)
    phi = group["phi_start_deg"][wanted.start], group["phi_end_deg"][wanted.stop - 1]
    which = f"frame {wanted.start}" if len(wanted) == 1 else f"maximum over frames {wanted.start} to {wanted.stop - 1}"
    title = f"{which}, phi {phi[0]:g} to {phi[1]:g} deg\n{name}: brightest {image.max():.6g}, sum {image.sum(dtype=float):.6g}"
    frame_picture(image, (rows.start, columns.start), title, "photons per pixel", output)
    console.print(f"wrote {output}")


def _brighter(image: Any, array: Any, frame: int, rows: range, columns: range) -> Any:
    import numpy as np

    return np.maximum(image, array[frame, rows.start : rows.stop, columns.start : columns.stop])


def _zoom(text: str | None, slow: int, fast: int) -> tuple[range, range]:
    if text is None:
        return range(slow), range(fast)
    parts = text.split(",")
    if len(parts) != 2:
        raise NbdistError(f"--zoom {text}: expected S0:S1,F0:F1")
    return read_span(parts[0], "--zoom", slow), read_span(parts[1], "--zoom", fast)


def _require_complete(location: str, frames: range) -> None:
    """Refuse frames that were not rendered: they would look like empty ones."""
    from nbdist.store import summarize

    summary = summarize(location)
    complete = summary.found.frames
    missing = [frame for frame in frames if frame not in complete]
    if missing:
        raise NbdistError(
            f"{location}: frame {missing[0]} is not rendered yet ({summary.frames_complete} of {summary.frames} are)"
        )
