"""The reflections and spots of a series as DIALS' models and reflections: `labels.expt` and `labels.refl`.

The laboratory frame is dxtbx's. A lattice is an experiment of its own, which shares beam, detector and scan with the others. Predicted
places (`xyzcal`) are those of the reflections of the series; observed ones (`xyzobs`), intensities and boxes are those of their spots
together, weighted by photons, where the store has spots, and the predicted ones where it has none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import StoreError
from nbdist.experiment import Experiment
from nbdist.formats.dials_experiments import NO_IMAGES, experiment_list
from nbdist.formats.dials_reflections import Flag, reflection_table
from nbdist.formats.files import written_whole
from nbdist.formats.models import Models
from nbdist.formats.text import user_path
from nbdist.frames.products import SPOTS
from nbdist.scene import Scene
from nbdist.scene.models import laboratory_rotation, models_of
from nbdist.store.labels import found_in, has_spots, read_reflection_rows
from nbdist.store.locations import open_group
from nbdist.store.reading import summarize_series
from nbdist.store.table_reading import consecutive_frames, table_reader

Array = NDArray[np.float64]
Report = Callable[[int, int], None]
STRONG_SIGMA = 3.0
"""Photons over their deviation from which a reflection counts as strong."""
NAME = "labels"
SPOT_NAMES = (
    "frame",
    "reflection",
    "panel",
    "photons",
    "slow",
    "fast",
    "extent_slow2",
    "extent_fast2",
    "first_slow",
    "last_slow",
    "first_fast",
    "last_fast",
    "background",
)


def write_dials(
    location: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    frames: slice | range | None = None,
    *,
    experiment: Experiment | None = None,
    report: Report = lambda done, total: None,
) -> int:
    """Write `labels.expt` and `labels.refl` of a series into a folder, which is made where there is none.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    folder
        Where the two files are written, each whole or not at all.
    frames
        Consecutive frames: the scan is of these, and the reflections are those of which they have a part. All when left out.
    experiment
        The experiment, where the files that the store names have moved.
    report
        Called with (units read, all units that are read).

    Returns
    -------
    Reflections written: those that meet a panel.

    Raises
    ------
    NbdistError
        If there is no series of nbdist, it has no reflections, DIALS has no model of its detector, or a file cannot be written.
    """
    group, summary = open_group(location), summarize_series(location)
    scene, chosen = summary.scene_of(experiment), consecutive_frames(group, frames)
    models = models_of(scene, chosen)
    if models.still:
        if len(chosen) > 1:
            raise StoreError(f"{location}: DIALS has no scan of {len(chosen)} stills; name one frame")
        models = models.counted_from(0)
    return write_truth(group, scene, chosen, models, user_path(folder), NAME, report=report)


def write_truth(
    group: zarr.Group,
    scene: Scene,
    frames: range,
    models: Models,
    folder: Path,
    name: str,
    images: str = NO_IMAGES,
    *,
    report: Report = lambda done, total: None,
) -> int:
    """Write the reflections of frames of an open store as `NAME.expt` and `NAME.refl`.

    Parameters
    ----------
    frames
        Consecutive frames of the series; one of stills.
    models
        Theirs; the first of the frames is counted as in its scan.
    images
        What the models say of the images, as in `experiment_list`.

    Returns
    -------
    Reflections written.
    """
    rows = {column: values.to_numpy() for column, values in _columns(read_reflection_rows(group, frames)).items()}
    on_panel = rows["panel"] >= 0
    rows = {column: values[on_panel] for column, values in rows.items()}
    earlier = frames.start - models.scan.first_frame
    rows["frame"] = np.full(len(rows["frame"]), 0.5) if models.still else rows["frame"] - earlier
    spots = _sum_of_spots(group, rows, frames, earlier, report) if has_spots(group) else None
    identifiers = {number: f"{group.attrs['fingerprint'][:32]}-{number}" for number in range(len(models.crystals))}
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / f"{name}.expt") as models_file, written_whole(folder / f"{name}.refl") as table_file:
        models_file.write(experiment_list(models, list(identifiers.values()), images))
        table_file.write(reflection_table(_table(scene, models, rows, spots), identifiers))
    return len(rows["reflection"])


def _columns(table: Any) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))


@dataclass(frozen=True, eq=False)
class _Sums:
    """The spots of each reflection together, (n,) each; a reflection without a spot has 0 photons and NaN for a place.

    Attributes
    ----------
    centroid
        Fast, slow, frame, weighted by photons (n, 3).
    variance
        Of a photon's place about it (n, 3).
    box
        First and last column, row and frame, each last one exclusive (n, 6).
    """

    photons: Array
    background: Array
    centroid: Array
    variance: Array
    box: NDArray[np.int32]


def _sum_of_spots(
    group: zarr.Group, rows: dict[str, NDArray[Any]], frames: range, earlier: int, report: Report
) -> _Sums:
    """The spots of these frames, those of each reflection together; each frame is counted as one so many earlier."""
    count = len(rows["reflection"])
    photons, background = np.zeros(count), np.zeros(count)
    first, second = np.zeros((count, 3)), np.zeros((count, 3))
    low, high = np.full((count, 3), np.iinfo(np.int32).max), np.zeros((count, 3), dtype=np.int64)
    reader = table_reader(group, SPOTS.name, SPOT_NAMES)
    total = len(reader.touched(frames))
    for done, (_, table) in enumerate(reader.units(frames), start=1):
        spots = {name: column.to_numpy() for name, column in _columns(table).items()}
        place, known = found_in(rows["reflection"], spots["reflection"])
        if count:
            known &= spots["panel"] == rows["panel"][place]
        place, spots = place[known], {name: values[known] for name, values in spots.items()}
        weight, frame = spots["photons"], spots["frame"] - earlier
        at = np.stack([spots["fast"], spots["slow"], frame + 0.5], axis=1).astype(np.float64)
        spread = np.stack([spots["extent_fast2"], spots["extent_slow2"], np.full(len(frame), 1 / 12)], axis=1)
        np.add.at(photons, place, weight)
        np.add.at(background, place, spots["background"])
        np.add.at(first, place, weight[:, None] * at)
        np.add.at(second, place, weight[:, None] * (spread + at * at))
        np.minimum.at(low, place, np.stack([spots["first_fast"], spots["first_slow"], frame], axis=1))
        np.maximum.at(high, place, np.stack([spots["last_fast"], spots["last_slow"], frame + 1], axis=1))
        report(done, total)
    with np.errstate(invalid="ignore", divide="ignore"):
        centroid = first / photons[:, None]
        variance = np.maximum(second / photons[:, None] - centroid * centroid, 0)
    box = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1], low[:, 2], high[:, 2]], axis=1)
    return _Sums(photons, background, centroid, variance, box.astype(np.int32))


def _table(scene: Scene, models: Models, rows: dict[str, NDArray[Any]], sums: _Sums | None) -> dict[str, NDArray[Any]]:
    """The columns of DIALS' table."""
    predicted = np.stack([rows["fast"], rows["slow"], rows["frame"]], axis=1)
    corner = np.floor(predicted).astype(np.int32)
    seen = np.zeros(len(predicted), dtype=bool) if sums is None else sums.photons > 0
    observed, variance = predicted.copy(), np.ones_like(predicted)
    box = np.repeat(corner, 2, axis=1) + np.array([0, 1] * 3, dtype=np.int32)
    photons, background = np.nan_to_num(rows["photons"]), np.zeros(len(predicted))
    if sums is not None:
        observed[seen], box[seen], photons, background = (
            sums.centroid[seen],
            sums.box[seen],
            sums.photons,
            sums.background,
        )
        variance[seen] = sums.variance[seen] / sums.photons[seen, None]
    flags = np.full(len(predicted), Flag.PREDICTED | Flag.INDEXED, dtype=np.uint64)
    flags[seen] |= np.uint64(Flag.OBSERVED | Flag.INTEGRATED_SUM)
    flags[seen & (photons >= STRONG_SIGMA * np.sqrt(photons + background))] |= np.uint64(Flag.STRONG)
    flags[rows["masked"]] |= np.uint64(Flag.FOREGROUND_INCLUDES_BAD_PIXELS)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(rows["photons"] > 0, photons / rows["photons"], 1.0 if models.still else 0.0)
    incident, scattered = _wave_vectors(scene, rows)
    across = np.cross(scattered, incident)
    along_spindle = (
        across @ models.axis
    )  # DIALS' zeta is this over its length, and a reflection enters where it is below 0
    millimetres = np.array([panel.pixel_mm for panel in models.panels])[rows["panel"]]
    if models.still:
        frame_rad, inverse_lorentz = 1.0, np.ones(len(predicted))
    else:
        frame_rad, inverse_lorentz = np.deg2rad(models.scan.osc_deg), np.abs(along_spindle) / (incident @ incident)
    per_pixel = np.stack([millimetres, millimetres, np.full(len(predicted), frame_rad)], axis=1)
    return {
        "miller_index": np.stack([rows["h"], rows["k"], rows["l"]], axis=1),
        "id": rows["lattice"],
        "imageset_id": np.zeros(len(predicted)),
        "panel": rows["panel"],
        "flags": flags,
        "entering": along_spindle < 0,
        "d": rows["d_A"],
        "lp": inverse_lorentz / rows["polarization"],
        "zeta": along_spindle / np.linalg.norm(across, axis=1),
        "partiality": share if sums is not None else np.where(rows["whole"], 1.0, 0.0),
        "s1": scattered,
        "xyzcal.px": predicted,
        "xyzcal.mm": models.millimetres(rows["panel"], predicted),
        "xyzobs.px.value": observed,
        "xyzobs.px.variance": variance,
        "xyzobs.mm.value": models.millimetres(rows["panel"], observed),
        "xyzobs.mm.variance": variance * per_pixel**2,
        "bbox": box,
        "intensity.sum.value": photons,
        "intensity.sum.variance": photons + background,
        "background.sum.value": background,
        "background.sum.variance": background,
    }


def _wave_vectors(scene: Scene, rows: dict[str, NDArray[Any]]) -> tuple[Array, Array]:
    """Wave vector of the beam (3,), and of the beams to the predicted places (n, 3), in 1/Angstrom, in the frame of the models."""
    wavelength_A, turn = scene.experiment.beam.mean_wavelength_A, laboratory_rotation(scene)
    scattered = np.empty((len(rows["panel"]), 3))
    for number, panel in enumerate(scene.instrument.panels):
        its = rows["panel"] == number
        scattered[its] = panel.directions(rows["slow"][its], rows["fast"][its])[0] / wavelength_A
    return turn @ scene.instrument.beam_direction / wavelength_A, scattered @ turn.T
