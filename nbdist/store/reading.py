"""Opening a store for reading: a lazy xarray.Dataset of a series or a data set, and what a store says of itself."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import DamagedError, ExperimentError, StoreError, one_line
from nbdist.experiment import Experiment, validate
from nbdist.frames.labels import Images
from nbdist.frames.sample_products import MASK, SAMPLES
from nbdist.frames.tables import READOUT_COLUMNS, SAMPLE_COLUMNS, Columns
from nbdist.planning import Settings, Units
from nbdist.scene import Scene, resolve
from nbdist.scene.specimen import KnownCrystal
from nbdist.store.completeness import Completeness, read_completeness
from nbdist.store.failures import FailureRecords
from nbdist.store.locations import open_group, read_known
from nbdist.store.number_set import NumberSet
from nbdist.store.places import is_url, normalised, objects_at, objects_of, zarr_store
from nbdist.store.reflections import read_crystals
from nbdist.store.schema import REFLECTIONS, Schema, kind_of, schema_of
from nbdist.store.shard_reading import ShardReader, decoding_threads
from nbdist.store.table_reading import TableReader
from nbdist.store.units import StoredUnits

if TYPE_CHECKING:
    import xarray

    from nbdist.experiment.recipe import Recipe

OF_A_STORE = ("format", "format_version", "store_id")
"""Attributes that make a place a store of nbdist; a copy that another program writes is none."""


def open_series(location: str | os.PathLike[str], chunks: Any = "auto") -> xarray.Dataset:
    """Open a series, or a data set, as a lazy Dataset.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished (frames not yet rendered read as 0, and are not `complete`).
    chunks
        Sizes of Dask chunks by dimension; a dimension that is left out has those of the store's shards: all frames of a unit, and whole
        images. None gives lazy arrays without Dask.

    Returns
    -------
    Dataset with `intensity` (frame, slow, fast), expected photons, float32; `counts`, what is read of them, in `readout.integers`,
    where the experiment has noise or a read-out; and the coordinates frame, slow, fast, phi_start_deg, phi_end_deg, orientation (rows
    a, b, c in Angstrom), mask (0 = usable) and complete (frame), bool: whether the frame was in the store, its shards of the size they
    were written with, when it was opened. A beam that changes has fluence_factor (frame), a crystal that decays dose_MGy and
    B_factor_A2. Labels of pixels that the experiment asked for are there too: `bragg`, `background`, float32, and `spot`, int32,
    (frame, slow, fast) and the coordinates resolution, Angstrom, and shadow (1 = in a shadow). Several panels are a dimension `panel`
    after `frame` where they have the same shape; else each has variables of its own, `intensity_0`, `mask_0`. Tables are read by
    `open_spots`, `open_reflections` and `read_table`.

    The frames of a data set are those of all its samples, one after the other. It has the coordinate sample (frame), the number of the
    sample, and none of the others along `frame` but complete, which the tables of `open_samples` and `read_table` have instead. What
    differs from sample to sample is a variable with a dimension `frame`: `mask`, `resolution`, `shadow`.

    Raises
    ------
    StoreError
        If there is no store of nbdist.
    """
    import xarray

    from nbdist.store.lazy_coordinates import OfStretches, lazy

    location = normalised(location)
    group = open_group(location)
    found, schema = read_completeness(group), schema_of(group)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        store = zarr_store(objects_at(location), read_only=True) if is_url(location) else location
        try:
            data = xarray.open_zarr(
                store, chunks=None, consolidated=group.metadata.consolidated_metadata is not None, zarr_format=3
            )
        except Exception as error:  # of coordinates, which are read now
            raise DamagedError(f"{location}: its coordinates do not decode ({type(error).__name__})") from error
    data = data.set_coords(list(schema.coordinates))
    for name in OF_A_STORE:
        data.attrs.pop(name, None)
    # a slice need not begin where a chunk or a shard does, nor have its dimensions: images are copied with one object a frame
    for variable in data.variables.values():
        for kept in ("shards", "chunks", "preferred_chunks"):
            variable.encoding.pop(kept, None)
    for array in schema.arrays:
        unit = dict(zip(array.dimensions, (found.units.size, *array.panels.shape), strict=True))
        if chunks is not None:
            given = chunks.items() if isinstance(chunks, Mapping) else ()
            wanted = {
                name: size for name, size in given if name in unit or name not in data.dims
            }  # xarray refuses these
            data[array.name] = data[array.name].chunk({**unit, **wanted})
        data[array.name].encoding.update(chunks=(1, *array.panels.shape), preferred_chunks=unit)
    complete = OfStretches(schema.frames, found.units.size, found.complete.flags(len(found.units)))
    of_frames: dict[str, Any] = {
        "complete": ("frame", lazy(complete), {"long_name": "whether the frame is in the store"})
    }
    if schema.frames_per_sample is not None:
        sample = OfStretches(schema.frames, schema.frames_per_sample)
        of_frames["sample"] = ("frame", lazy(sample), {"long_name": "sample that the frame is of, from 0"})
    return data.assign_coords(of_frames)


@dataclass(frozen=True)
class StoreSummary:
    """What a store says of itself, and how far it is; more of a series or a data set, which it is one of.

    Attributes
    ----------
    title
        Of its experiment or recipe.
    schema
        Its frames, panels, arrays and tables.
    found
        Which units are complete, and what they took.
    """

    location: str
    title: str
    fingerprint: str
    settings: Settings
    provenance: dict[str, Any]
    schema: Schema
    found: Completeness

    @property
    def frames(self) -> int:
        """Frames of the series, or of all samples."""
        return self.schema.frames

    @property
    def units(self) -> Units:
        """All units of the store."""
        return self.found.units

    @property
    def complete(self) -> NumberSet:
        """Numbers of the units that are complete."""
        return self.found.complete

    @property
    def frames_complete(self) -> int:
        """Frames of the complete units."""
        return len(self.found.frames)

    @property
    def records(self) -> Iterator[dict[str, Any]]:
        """The records of the units that are complete, in order, read now and not kept."""
        return (record for _, record in StoredUnits(open_group(self.location)).complete())

    @property
    def failed(self) -> Iterator[tuple[int, str]]:
        """Numbers of the units that failed and are not complete since, in order, each with its error, read now and not kept."""
        records = FailureRecords(objects_at(self.location)).read()
        return ((unit, error) for unit, error in records if unit not in self.complete)


@dataclass(frozen=True)
class SeriesSummary(StoreSummary):
    """What a series says of itself, and how far it is.

    Attributes
    ----------
    reflections
        Amplitudes listed in it, which `read_reflections` reads; 0 where every reflection has the same.
    photons_fingerprint
        Of what decides its photons; None in a store that was made before there was one.
    crystals
        Lattices and space groups of its crystals, by their fields; none of a store that was made before they were kept.
    """

    experiment: Experiment
    photons_fingerprint: str | None
    steps: int
    reflections: int
    crystals: Mapping[str, KnownCrystal]

    @property
    def scene(self) -> Scene:
        """Its experiment's numbers, with the crystals and masks that it was rendered with, whatever has become of their files."""
        return self.scene_of(None)

    def scene_of(self, moved: Experiment | None) -> Scene:
        """`scene`, of the same experiment with files that have moved since, where one is given.

        Raises
        ------
        StoreError
            If that one is another experiment, or its files are others.
        """
        if moved is not None and moved.fingerprint != self.fingerprint:
            raise StoreError(f"{self.location} was made from other files or another experiment than the one given")
        masks = panel_masks(open_group(self.location)) or []
        return resolve(moved or self.experiment, self.crystals, usable=[mask != 1 for mask in masks])


@dataclass(frozen=True)
class DatasetSummary(StoreSummary):
    """What a data set says of itself, and how far it is.

    Attributes
    ----------
    content
        Its recipe as a document.
    seed
        What its samples are drawn with.
    samples, frames_per_sample
        How many samples there are, and frames of each.
    """

    content: dict[str, Any]
    seed: int
    samples: int
    frames_per_sample: int

    @property
    def drawn(self) -> tuple[str, ...]:
        """Names of what is drawn for each sample: columns of its table."""
        (table,) = (table for table in self.schema.tables if table.name == SAMPLES)
        fixed = {column.name for column in (*SAMPLE_COLUMNS, *READOUT_COLUMNS)}
        return tuple(column.name for column in table.columns if column.name not in fixed)

    @property
    def recipe(self) -> Recipe:
        """Its recipe, whose files are read now.

        Raises
        ------
        NbdistError
            If one of them is not where it was, or the content is no recipe.
        """
        from nbdist.experiment.recipe import recipe_of

        return recipe_of(self.content)


def panel_masks(group: zarr.Group) -> list[NDArray[np.uint8]] | None:
    """The mask of each panel that all frames of a store have; None where each frame has its own."""
    groups = schema_of(group).panel_groups
    if any(array.product.name == MASK.name for array in schema_of(group).arrays):
        return None
    masks = [read_known(group, f"{MASK.name}{panels.suffix}") for panels in groups]
    return [panel for mask in masks for panel in (mask if mask.ndim == 3 else [mask])]


def summarize(location: str | os.PathLike[str]) -> SeriesSummary | DatasetSummary:
    """Read what a store says of itself, and which units are complete.

    Raises
    ------
    StoreError
        If there is no store of nbdist.
    """
    group = open_group(location)
    schema, attributes = schema_of(group), group.attrs
    kind = SeriesSummary if schema.frames_per_sample is None else DatasetSummary
    try:
        said: dict[str, Any] = dict(
            title=str(attributes.get("title", "")),
            settings=Settings.from_attributes(dict(attributes["plan"])),
            fingerprint=str(attributes["fingerprint"]),
            provenance=dict(attributes["provenance"]),
        )
        if kind is SeriesSummary:
            said |= dict(
                experiment=validate(dict(attributes["experiment"])),
                photons_fingerprint=attributes.get("photons_fingerprint"),
                steps=int(attributes["steps"]),
                reflections=group[f"{REFLECTIONS}/F"].shape[0],
                crystals=read_crystals(group),
            )
        else:
            content, seed = dict(attributes["recipe"]), int(attributes["seed"])
            said |= dict(content=content, seed=seed, samples=schema.samples, frames_per_sample=schema.frames_per_sample)
    except (AttributeError, KeyError, TypeError, ValueError, ExperimentError) as error:
        what = f"{location}: its attributes are not those of a {kind_of(group)}"
        raise StoreError(f"{what} ({one_line(error)})") from None
    return kind(location=normalised(location), schema=schema, found=read_completeness(group), **said)


def summarize_series(location: str | os.PathLike[str]) -> SeriesSummary:
    """What `summarize` reads, of a series.

    Raises
    ------
    StoreError
        If there is none, or a data set.
    """
    summary = summarize(location)
    if not isinstance(summary, SeriesSummary):
        raise StoreError(f"{summary.location} is a data set of {summary.samples} samples; expected a series")
    return summary


def read_frame(group: zarr.Group, frame: int) -> dict[str, Images | Columns]:
    """What a store holds of a frame, by product, as it was made: an image a panel, or the columns of a table."""
    return read_frames(group, range(frame, frame + 1))[0]


def read_frames(
    group: zarr.Group, frames: range, names: Collection[str] | None = None
) -> list[dict[str, Images | Columns]]:
    """What a store holds of some frames, as `read_frame` has it of each; of the products of these names alone, where some are given.

    Raises
    ------
    DamagedError
        If an object that holds one of them is gone, or does not decode.
    """
    schema, found = schema_of(group), [dict[str, Any]() for _ in frames]
    for array in schema.arrays:
        if names is None or array.product.name in names:
            shards = ShardReader(objects_of(group), group[array.name], array, decoding_threads())
            for products, images in zip(found, shards.read(frames), strict=True):
                products.setdefault(array.product.name, []).extend(array.images(images))
    for table in schema.tables:
        if names is None or table.name in names:
            reader = TableReader(group, table)
            for unit in reader.touched(frames):
                rows = reader.of_unit(unit, frames)
                of_frame = reader.frame_of_rows(rows)
                columns = {its.name: rows[its.name].to_numpy() for its in table.columns}
                for frame in range(max(unit.first_frame, frames.start), min(unit.last_frame, frames.stop)):
                    its = {name: values[of_frame == frame] for name, values in columns.items()}
                    found[frame - frames.start][table.name] = its
    return found
