"""Opening a series for reading: a lazy xarray.Dataset, and what a store says of itself."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from nbdist.errors import ExperimentError, StoreError
from nbdist.experiment import Experiment, validate
from nbdist.frames.labels import Images
from nbdist.frames.tables import Columns
from nbdist.planning import Settings, Units
from nbdist.scene import Scene, resolve
from nbdist.scene.specimen import KnownCrystal
from nbdist.store.completeness import Completeness, read_completeness
from nbdist.store.failures import FailureRecords
from nbdist.store.locations import one_line, open_group
from nbdist.store.number_set import NumberSet
from nbdist.store.places import is_url, normalised, objects_at, zarr_store
from nbdist.store.reflections import read_crystals
from nbdist.store.schema import REFLECTIONS, Schema, schema_of
from nbdist.store.table_reading import TableReader
from nbdist.store.tables import FRAME
from nbdist.store.units import StoredUnits

if TYPE_CHECKING:
    import xarray

OF_A_STORE = ("format", "format_version", "store_id")
"""Attributes that make a place a store of nbdist; a copy that another program writes is none."""


def open_series(location: str | os.PathLike[str], chunks: Any = "auto") -> xarray.Dataset:
    """Open a series as a lazy Dataset.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished (frames not yet rendered read as 0, and are not `complete`).
    chunks
        Sizes of Dask chunks by dimension; a dimension that is left out has those of the store's shards: all frames of a unit, and whole
        images. None gives lazy arrays without Dask.

    Returns
    -------
    Dataset with `intensity` (frame, slow, fast), `counts` where there is noise, and the coordinates frame, slow, fast,
    phi_start_deg, phi_end_deg, orientation (rows a, b, c in Angstrom), mask (0 = usable) and complete (frame), bool: whether the frame
    was in the store, its shards of the size they were written with, when it was opened. A beam that changes has
    fluence_factor (frame), a crystal that decays dose_MGy and B_factor_A2. Labels of pixels that the experiment asked for are there too:
    `bragg`, `background`, `spot` (frame, slow, fast) and the coordinate resolution. Several panels are a dimension `panel` after `frame`
    where they have the same shape; else each has variables of its own, `intensity_0`, `mask_0`. Tables are read by `open_spots`,
    `open_reflections` and `read_table`.

    Raises
    ------
    StoreError
        If there is no series of nbdist.
    """
    import xarray

    location = normalised(location)
    group = open_group(location)
    found, schema = read_completeness(group), schema_of(group)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        store: Any = zarr_store(objects_at(location), read_only=True) if is_url(location) else location
        data = xarray.open_zarr(
            store, chunks=None, consolidated=group.metadata.consolidated_metadata is not None, zarr_format=3
        )
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
    complete = found.frames.flags(found.units.frames)
    return data.assign_coords(complete=("frame", complete, {"long_name": "whether the frame is in the store"}))


@dataclass(frozen=True)
class StoreSummary:
    """What a store holds and how far it is.

    Attributes
    ----------
    schema
        Its frames, panels, arrays and tables.
    reflections
        Amplitudes listed in it, which `read_reflections` reads; 0 where every reflection has the same.
    photons_fingerprint
        Of what decides its photons; None in a store that was made before there was one.
    found
        Which units are complete, and what they took.
    crystals
        Lattices and space groups of its crystals, by their fields; none of a store that was made before they were kept.
    """

    location: str
    experiment: Experiment
    fingerprint: str
    photons_fingerprint: str | None
    settings: Settings
    steps: int
    provenance: dict[str, Any]
    schema: Schema
    reflections: int
    found: Completeness
    crystals: Mapping[str, KnownCrystal]

    @property
    def scene(self) -> Scene:
        """Its experiment's numbers, with the crystals that it was rendered with, whatever has become of the files that said them."""
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
        return resolve(moved or self.experiment, self.crystals)

    @property
    def frames(self) -> int:
        """Frames of the series."""
        return self.schema.frames

    @property
    def units(self) -> Units:
        """Units of the whole series."""
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


def summarize(location: str | os.PathLike[str]) -> StoreSummary:
    """Read what a store says of itself, and which units are complete.

    Raises
    ------
    StoreError
        If there is no series of nbdist.
    """
    group: Any = open_group(location)
    try:
        settings = Settings.from_attributes(dict(group.attrs["plan"]))
        said: dict[str, Any] = dict(
            experiment=validate(dict(group.attrs["experiment"])),
            fingerprint=str(group.attrs["fingerprint"]),
            photons_fingerprint=group.attrs.get("photons_fingerprint"),
            steps=int(group.attrs["steps"]),
            provenance=dict(group.attrs["provenance"]),
            crystals=read_crystals(group),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ExperimentError) as error:
        raise StoreError(f"{location}: its attributes are not those of a series ({one_line(error)})") from None
    return StoreSummary(
        location=normalised(location),
        settings=settings,
        schema=schema_of(group),
        reflections=group[f"{REFLECTIONS}/F"].shape[0],
        found=read_completeness(group),
        **said,
    )


def read_frame(group: zarr.Group, frame: int) -> dict[str, Images | Columns]:
    """What a store holds of a frame, by product, as it was made: an image a panel, or the columns of a table."""
    return read_frames(group, range(frame, frame + 1))[0]


def read_frames(
    group: zarr.Group, frames: range, names: Collection[str] | None = None
) -> list[dict[str, Images | Columns]]:
    """What a store holds of some frames, as `read_frame` has it of each; of the products of these names alone, where some are given."""
    stored: Any = group
    schema, found = schema_of(group), [dict[str, Any]() for _ in frames]
    for array in schema.arrays:
        if names is None or array.product.name in names:
            for products, images in zip(found, stored[array.name][frames.start : frames.stop], strict=True):
                products.setdefault(array.product.name, []).extend(array.images(np.asarray(images)))
    for table in schema.tables:
        if names is None or table.name in names:
            reader = TableReader(group, table)
            for unit in reader.touched(frames):
                rows = reader.of_unit(unit, frames)
                of_frame, columns = (
                    rows[FRAME].to_numpy(),
                    {its.name: rows[its.name].to_numpy() for its in table.columns},
                )
                for frame in range(max(unit.first_frame, frames.start), min(unit.last_frame, frames.stop)):
                    its = {name: values[of_frame == frame] for name, values in columns.items()}
                    found[frame - frames.start][table.name] = its
    return found
