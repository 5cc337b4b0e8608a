"""`nbdist preview`: a picture of a frame, or of the brightest value of several."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbdist.cli.arguments import StoreLocation, read_span
from nbdist.cli.display import console
from nbdist.errors import NbdistError, require_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nbdist.experiment import Experiment
    from nbdist.formats.pictures import Marks

RINGS = (0.25, 0.5, 0.75, 0.95)
"""Where resolution rings are drawn, between the ends of a panel in 1/d."""
FAINTEST = 1e-3
"""Of the brightest spot shown: fainter ones have no circle."""
MOST_INDICES = 400


def preview(
    location: StoreLocation,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")] = Path("preview.png"),
    frame: Annotated[int, typer.Option("--frame", min=0, help="Frame to show.")] = 0,
    max_over: Annotated[
        str | None, typer.Option("--max-over", metavar="FIRST:LAST", help="Show the maximum over these frames instead.")
    ] = None,
    zoom: Annotated[str | None, typer.Option("--zoom", metavar="S0:S1,F0:F1", help="Rows and columns to show.")] = None,
    array: Annotated[
        str | None, typer.Option("--array", help="An array of the store; counts where it has them, else intensity.")
    ] = None,
    panel: Annotated[int, typer.Option("--panel", min=0, help="Panel to show.")] = 0,
    spots: Annotated[
        bool, typer.Option("--spots", help="Circle the predicted spots; with resolution rings and the beam's centre.")
    ] = False,
    indices: Annotated[bool, typer.Option("--indices", help="The same, with h, k, l where they are few.")] = False,
) -> None:
    """Write a picture of one frame, or of the maximum over several."""
    require_extra("pictures", "nbdist preview")
    import numpy as np

    from nbdist.formats.pictures import frame_picture
    from nbdist.frames.products import COUNTS, INTENSITY
    from nbdist.store import open_group, summarize

    group, summary = open_group(location), summarize(location)
    schema = summary.schema
    arrays = [a for a in schema.arrays if panel in a.panels.numbers]
    if not arrays:
        raise NbdistError(f"--panel {panel}: lies outside 0:{len(schema.panels)}")
    names = [a.product.name for a in arrays]
    if array is not None and array not in names:
        raise NbdistError(f"--array {array}: the store holds {' and '.join(names)}")
    shown = arrays[names.index(array or (COUNTS.name if COUNTS.name in names else INTENSITY.name))]
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
    units = f"{shown.product.units}s per pixel"
    marks = _marks(location, summary.experiment, wanted, panel, (rows, columns), indices) if spots or indices else None
    frame_picture(image, (rows.start, columns.start), title, units, output, marks)
    console.print(f"wrote {output}")


def _marks(
    location: str, experiment: Experiment, frames: range, panel: int, shown: tuple[range, range], with_indices: bool
) -> Marks:
    """The predicted spots of some frames within rows and columns of a panel, its resolution rings, and where the beam meets it."""
    import numpy as np

    from nbdist.formats.pictures import Marks
    from nbdist.kernels.prediction import Prediction, frame_reflections
    from nbdist.scene import resolve
    from nbdist.scene.rocking import panel_resolutions_A
    from nbdist.store.reflections import read_reflections

    scene = resolve(experiment)
    prediction, geometry = Prediction(scene, read_reflections(location)), scene.instrument.panels[panel]
    tables = [frame_reflections(prediction, frame) for frame in frames]
    rows = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    places = np.stack([rows["slow"], rows["fast"]], axis=1)
    here = rows["panel"] == panel
    for axis, span in enumerate(shown):
        here &= (places[:, axis] >= span.start) & (places[:, axis] < span.stop)
    here &= rows["photons"] > FAINTEST * rows["photons"][here].max(initial=0)
    names = [f"{h} {k} {l}" for h, k, l in zip(*(rows[name][here] for name in "hkl"), strict=True)]
    wavelength_A = prediction.beam.wavelength_A
    coarsest, finest = (1 / d_A for d_A in panel_resolutions_A(geometry, wavelength_A))
    rings = []
    for fraction in RINGS:
        d_A = float(f"{1 / (coarsest + fraction * (finest - coarsest)):.2g}")
        rings.append((geometry.coordinates(_cone(prediction.beam.direction, d_A, wavelength_A)), f"{d_A:g} Å"))
    return Marks(
        places[here],
        rows["lattice"][here],
        names if with_indices and len(names) <= MOST_INDICES else [],
        rings,
        geometry.coordinates(prediction.beam.direction),
    )


def _cone(beam: NDArray[np.float64], d_A: float, wavelength_A: float) -> NDArray[np.float64]:
    """Rays (n, 3) that a spacing scatters to."""
    import numpy as np

    two_theta = 2 * np.arcsin(min(wavelength_A / (2 * d_A), 1.0))
    across = np.cross(beam, np.eye(3)[np.abs(beam).argmin()])
    across /= np.linalg.norm(across)
    turns = np.linspace(0, 2 * np.pi, 721)[:, None]
    sideways = np.cos(turns) * across + np.sin(turns) * np.cross(beam, across)
    return np.asarray(np.cos(two_theta) * beam + np.sin(two_theta) * sideways)


def _zoom(text: str | None, slow: int, fast: int) -> tuple[range, range]:
    if text is None:
        return range(slow), range(fast)
    parts = text.split(",")
    if len(parts) != 2:
        raise NbdistError(f"--zoom {text}: expected S0:S1,F0:F1")
    return read_span(parts[0], "--zoom", slow), read_span(parts[1], "--zoom", fast)
