"""The products of a data set: those of its frames, and tables of its samples.

What holds: a sample is a series of its own, made of what was drawn for it. What a series has once, a data set has for each of its samples:
as rows of tables, and as images where these differ from sample to sample. What all samples have alike, it has once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nbdist.errors import RunError
from nbdist.experiment.lattice import cell_from_real
from nbdist.frames.exposure import B_factors_A2, doses_MGy
from nbdist.frames.products import (
    COUNTS,
    FLUENCE_FACTOR,
    RESOLUTION,
    SERIES_REFLECTIONS,
    SHADOW,
    SPOTS,
    PixelProduct,
    Product,
    RenderedFrame,
    SeriesMap,
    TableProduct,
    labels_of,
    products_of,
)
from nbdist.frames.tables import (
    CELL_NAMES,
    EDGE_NAMES,
    FRAME_COLUMNS,
    LATTICE_COLUMNS,
    QUATERNION_NAMES,
    READOUT_COLUMNS,
    REFLECTION_COLUMNS,
    SAMPLE_COLUMNS,
    SAMPLE_SPOT_COLUMNS,
    Column,
    Columns,
)
from nbdist.kernels.prediction import all_crossings
from nbdist.kernels.spots import Diffraction
from nbdist.scene.orientations import reduced_quaternion

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Recipe

VISIBLE = 3.0
"""Signal over noise from which on a spot counts as seen."""
SAMPLES = "samples"
"""Name of the table with a row for each sample."""


def _diffraction(frame: RenderedFrame) -> Diffraction:
    if frame.diffraction is None:
        raise RunError(f"frame {frame.number}: its reflections are asked for, and whoever rendered it gave none")
    return frame.diffraction


def samples_table(columns: Sequence[Column]) -> TableProduct:
    """The table `samples` with these columns: the first of them as in `SAMPLE_COLUMNS`, the last what is drawn."""
    return TableProduct(
        name=SAMPLES,
        long_name="what was drawn for each sample",
        columns=tuple(columns),
        make=partial(_sample, columns),
        bytes_per_frame=2**9,
        keys=("sample",),
    )


def _sample(columns: Sequence[Column], frame: RenderedFrame) -> Columns:
    scene, draw = frame.scene, frame.draw
    if draw is None:
        raise RunError(f"frame {frame.number}: it is of no sample, and a table of samples is asked for")
    readout = scene.experiment.readout
    values: Mapping[str, float | int | str] = {
        **draw.values,
        "split": draw.split,
        "crystal": draw.crystal,
        "lattices": len(scene.specimen.lattices),
        "saturation_adu": scene.experiment.saturation_adu,
        "adu_per_photon": readout.adu_per_photon,
        "offset_adu": readout.offset_adu,
    }
    return _at_first({column.name: np.array([values[column.name]], column.dtype) for column in columns}, frame)


def _crossings(frame: RenderedFrame) -> Columns:
    if frame.number:
        return {column.name: np.empty(0) for column in REFLECTION_COLUMNS}
    return all_crossings(_diffraction(frame))


def _at_first(rows: Columns, frame: RenderedFrame) -> Columns:
    """Rows at the first frame of a sample; none at others."""
    return rows if frame.number == 0 else {name: values[:0] for name, values in rows.items()}


def _frame(frame: RenderedFrame) -> Columns:
    scan, number = frame.scene.experiment.scan, frame.number
    return {
        "phi_start_deg": np.array([scan.frame_start_deg(number)]),
        "phi_end_deg": np.array([scan.frame_start_deg(number + 1)]),
        "fluence_factor": FLUENCE_FACTOR.make(frame.scene, range(number, number + 1)),
        "photons": np.array([sum(float(image.sum(dtype=np.float64)) for image in frame.photons)]),
        "d_min_A": np.array([_finest_seen_A(frame)]),
    }


def _finest_seen_A(frame: RenderedFrame) -> float:
    """Spacing of the finest spot of a frame that is seen; NaN where none is, or none is looked for."""
    if not frame.scene.experiment.labels.spots:
        return np.nan
    spots = labels_of(frame).spots
    seen = spots["reflection"][spots["signal_over_noise"] >= VISIBLE]
    return float(_diffraction(frame).named_by(seen)[2].min()) if len(seen) else np.nan


def _lattices(frame: RenderedFrame) -> Columns:
    scene, frames = frame.scene, range(frame.number, frame.number + 1)
    lattices, real = scene.specimen.lattices, scene.frame_orientations_A(frame.number)
    cells = np.array([cell_from_real(its) for its in real])
    turns = np.array([reduced_quaternion(its, lattice.symmetry) for its, lattice in zip(real, lattices, strict=True)])
    return {
        "lattice": np.arange(len(lattices)),
        **dict(zip(EDGE_NAMES, real.reshape(-1, 9).T, strict=True)),
        **dict(zip(CELL_NAMES, cells.T, strict=True)),
        "space_group": np.array([lattice.space_group for lattice in lattices]),
        "weight": np.array([lattice.weight for lattice in lattices]),
        **dict(zip(QUATERNION_NAMES, turns.T, strict=True)),
        "dose_MGy": doses_MGy(scene, frames).reshape(-1),
        "B_factor_A2": B_factors_A2(scene, frames).reshape(-1),
    }


def _spots(frame: RenderedFrame) -> Columns:
    spots = labels_of(frame).spots
    lattice, miller, spacing_A = _diffraction(frame).named_by(spots["reflection"])
    return {**spots, "lattice": lattice, **dict(zip("hkl", miller.T, strict=True)), "d_A": spacing_A}


def _images(of_scene: SeriesMap, disk_bytes_per_pixel: float, label: bool) -> PixelProduct:
    """What a series has of each pixel once, as images of each frame."""
    return PixelProduct(
        name=of_scene.name,
        dtype=of_scene.dtype,
        units=of_scene.units,
        long_name=of_scene.long_name,
        make=lambda frame: of_scene.make(frame.scene),
        made_for=of_scene.made_for,
        disk_bytes_per_pixel=disk_bytes_per_pixel,
        label=label,
    )


MASK = PixelProduct(
    name="mask",
    dtype="uint8",
    units="",
    long_name="0 = usable, 1 = gap, masked or not rendered, 2 = bad",
    make=lambda frame: frame.readout.masks,
    disk_bytes_per_pixel=0.02,
    gap=1,
    repeats=True,
)
RESOLUTION_IMAGES = _images(RESOLUTION, 2.5, label=True)
SHADOW_IMAGES = replace(_images(SHADOW, 0.02, label=False), made_for=lambda experiment: experiment.labels.shadow)
FRAMES = TableProduct(
    name="frames",
    long_name="a row for each frame",
    columns=FRAME_COLUMNS,
    make=_frame,
    bytes_per_frame=2**8,
    label=True,
    keys=("sample", "frame"),
)
LATTICES = TableProduct(
    name="lattices",
    long_name="a row for each lattice of each frame, at the middle of the frame",
    columns=LATTICE_COLUMNS,
    make=_lattices,
    bytes_per_frame=2**10,
    label=True,
    keys=("sample", "frame"),
)
SAMPLE_SPOTS = replace(
    SPOTS,
    long_name="what each frame has of the reflections of its sample",
    columns=SAMPLE_SPOT_COLUMNS,
    make=_spots,
    keys=("sample", "frame"),
)
CROSSINGS = TableProduct(
    name="crossings",
    long_name=SERIES_REFLECTIONS.long_name,
    columns=REFLECTION_COLUMNS,
    make=_crossings,
    made_for=SERIES_REFLECTIONS.made_for,
    bytes_per_frame=2**18,
    label=True,
    keys=("sample",),
)
SAMPLE_TABLES = {table.name: table for table in (FRAMES, LATTICES, SAMPLE_SPOTS, CROSSINGS)}
"""The tables of a data set by name, besides that of `samples_table`, whose columns are each recipe's."""
SAMPLE_IMAGES = {product.name: product for product in (MASK, RESOLUTION_IMAGES, SHADOW_IMAGES)}
"""What a data set has an image of for each frame, by name, where it is not the same in all samples."""


def products_of_samples(recipe: Recipe) -> tuple[Product, ...]:
    """The products that a recipe asks for, as they are in its store.

    Those of pixels are those of its experiments. Attributes of `counts` that a sample may have of its own are columns of `samples`.
    """
    experiment = recipe.example
    pixels = [product for product in products_of(experiment) if isinstance(product, PixelProduct)]
    marks = ("gap_value", "bad_value")
    for place, product in enumerate(pixels):
        if product.name == COUNTS.name:
            kept = {name: value for name, value in product.attributes.items() if name in marks}
            units = product.units if recipe.one_readout else "ADU"
            pixels[place] = replace(product, units=units, held_at=None, attributes=kept)
    alike: list[Product] = []
    if recipe.one_geometry:
        alike = [of_scene for of_scene in (RESOLUTION, SHADOW) if of_scene.made_for(experiment)]
    else:
        pixels += [RESOLUTION_IMAGES] if RESOLUTION_IMAGES.made_for(experiment) else []
        pixels += [SHADOW_IMAGES] if "shadows" in recipe.content and SHADOW_IMAGES.made_for(experiment) else []
    pixels += [] if recipe.one_mask else [MASK]
    fixed = (*SAMPLE_COLUMNS, *(READOUT_COLUMNS if experiment.writes_counts else ()))
    taken = {column.name for column in fixed}  # which of some whole crystals it is, "crystal" says anyhow
    drawn = (Column(its.name, its.dtype, its.units, its.long_name) for its in recipe.columns if its.name not in taken)
    samples = samples_table((*fixed, *drawn))
    tables = (table for table in SAMPLE_TABLES.values() if table.made_for(experiment))
    return *pixels, *alike, samples, *tables
