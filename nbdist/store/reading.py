"""Opening a series for reading: a lazy xarray.Dataset, and what a store says of itself."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbdist.errors import ExperimentError, StoreError
from nbdist.experiment import Experiment, validate
from nbdist.planning import Settings, Units
from nbdist.store.completeness import Completeness, read_completeness
from nbdist.store.locations import one_line, open_group
from nbdist.store.number_set import NumberSet
from nbdist.store.objects import is_url, normalised, objects_at
from nbdist.store.reflections import REFLECTIONS
from nbdist.store.units import complete_records, frame_arrays

if TYPE_CHECKING:
    import xarray

COORDINATES = ("phi_start_deg", "phi_end_deg", "orientation", "mask")
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
    was in the store, its shards of the size they were written with, when it was opened.

    Raises
    ------
    StoreError
        If there is no series of nbdist.
    """
    import xarray

    location = normalised(location)
    group = open_group(location)
    found = read_completeness(group)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        store: Any = objects_at(location).zarr_store(read_only=True) if is_url(location) else location
        data = xarray.open_zarr(
            store, chunks=None, consolidated=group.metadata.consolidated_metadata is not None, zarr_format=3
        )
    data = data.set_coords(list(COORDINATES))
    for name in OF_A_STORE:
        data.attrs.pop(name, None)
    unit = {"frame": found.units.size, "slow": data.sizes["slow"], "fast": data.sizes["fast"]}
    for name in frame_arrays(group):
        if chunks is not None:
            data[name] = data[name].chunk({**unit, **chunks} if isinstance(chunks, Mapping) else unit)
    # a slice need not begin where a chunk or a shard does, nor have its dimensions: images are copied with one object a frame
    for name, variable in data.variables.items():
        for kept in ("shards", "chunks", "preferred_chunks"):
            variable.encoding.pop(kept, None)
        if name in frame_arrays(group):
            variable.encoding.update(chunks=(1, unit["slow"], unit["fast"]), preferred_chunks=unit)
    complete = found.frames.flags(found.units.frames)
    return data.assign_coords(complete=("frame", complete, {"long_name": "whether the frame is in the store"}))


@dataclass(frozen=True)
class StoreSummary:
    """What a store holds and how far it is.

    Attributes
    ----------
    frames, image_shape
        Frames and (slow, fast).
    arrays
        Names and dtypes of the frame arrays.
    reflections
        Amplitudes listed in it, which `read_reflections` reads; 0 where every reflection has the same.
    found
        Which units are complete, and what they took.
    """

    location: str
    experiment: Experiment
    fingerprint: str
    settings: Settings
    steps: int
    provenance: dict[str, Any]
    frames: int
    image_shape: tuple[int, int]
    arrays: dict[str, str]
    reflections: int
    found: Completeness

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
        return (record for _, record in complete_records(open_group(self.location), self.units))


def summarize(location: str | os.PathLike[str]) -> StoreSummary:
    """Read what a store says of itself, and which units are complete.

    Raises
    ------
    StoreError
        If there is no series of nbdist.
    """
    group = open_group(location)
    intensity: Any = group["intensity"]
    frames, *image_shape = intensity.shape
    try:
        settings = Settings.from_attributes(dict(group.attrs["plan"]))
        said: dict[str, Any] = dict(
            experiment=validate(dict(group.attrs["experiment"])),
            fingerprint=str(group.attrs["fingerprint"]),
            steps=int(group.attrs["steps"]),
            provenance=dict(group.attrs["provenance"]),
        )
    except (KeyError, TypeError, ValueError, ExperimentError) as error:
        raise StoreError(f"{location}: its attributes are not those of a series ({one_line(error)})") from None
    return StoreSummary(
        location=normalised(location),
        settings=settings,
        frames=frames,
        image_shape=(image_shape[0], image_shape[1]),
        arrays={name: str(group[name].dtype) for name in frame_arrays(group)},
        reflections=group[f"{REFLECTIONS}/F"].shape[0],
        found=read_completeness(group),
        **said,
    )
