"""Opening a series for reading: a lazy xarray.Dataset, and what a store says of itself."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbdist.errors import ExperimentError, StoreError
from nbdist.experiment import Experiment, validate
from nbdist.planning import Settings, Unit
from nbdist.store.creation import ROOT
from nbdist.store.locations import ARRAYS, LAST_MADE, one_line, open_group
from nbdist.store.objects import is_url, normalised, objects_at, objects_of
from nbdist.store.reflections import REFLECTIONS
from nbdist.store.units import complete_records, frame_arrays

if TYPE_CHECKING:
    import xarray

COORDINATES = ("phi_start_deg", "phi_end_deg", "orientation", "mask")


def open_series(location: str | os.PathLike[str], chunks: Any = "auto") -> xarray.Dataset:
    """Open a series as a lazy Dataset.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished (frames not yet rendered read as 0).
    chunks
        Dask chunks, as in `xarray.open_zarr`; None gives lazy arrays without Dask.

    Returns
    -------
    Dataset with `intensity` (frame, slow, fast), `counts` where there is noise, and the coordinates frame, slow, fast,
    phi_start_deg, phi_end_deg, orientation (rows a, b, c in Angstrom) and mask (0 = usable).

    Raises
    ------
    StoreError
        If there is no series of nbdist.
    """
    import xarray

    location = normalised(location)
    group = open_group(location)
    if chunks == "auto":
        chunks = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        store: Any = objects_at(location).zarr_store(read_only=True) if is_url(location) else location
        data = xarray.open_zarr(
            store, chunks=chunks, consolidated=group.metadata.consolidated_metadata is not None, zarr_format=3
        )
    return data.set_coords(list(COORDINATES))


def consolidate(location: str | os.PathLike[str]) -> None:
    """Gather all metadata into one object, so that readers open the store with one request.

    Raises
    ------
    StoreError
        If the store is not there or cannot be written.
    """
    objects = objects_of(open_group(location, mode="r+"))
    metadata = {}
    for name in sorted((*ARRAYS, REFLECTIONS, LAST_MADE)):
        stored = objects.read(f"{name}/{ROOT}")
        if stored is not None:
            metadata[name] = json.loads(stored)
    for name in (REFLECTIONS, LAST_MADE):
        metadata[name]["consolidated_metadata"] = _consolidated({})
    root = json.loads(objects.read(ROOT) or b"{}")
    root["consolidated_metadata"] = _consolidated(metadata)
    try:
        objects.write(ROOT, json.dumps(root, indent=2).encode())
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None


def _consolidated(metadata: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "inline", "must_understand": False, "metadata": metadata}


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
    complete
        Numbers of the units that are complete.
    units
        Units of the whole series.
    records
        The records of the complete units.
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
    complete: frozenset[int]
    units: tuple[Unit, ...]
    records: tuple[dict[str, Any], ...]

    @property
    def frames_complete(self) -> int:
        """Frames of the complete units."""
        return sum(len(unit.frames) for unit in self.units if unit.number in self.complete)


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
        size = int(settings.frames_per_shard)
        said: dict[str, Any] = dict(
            experiment=validate(dict(group.attrs["experiment"])),
            fingerprint=str(group.attrs["fingerprint"]),
            steps=int(group.attrs["steps"]),
            provenance=dict(group.attrs["provenance"]),
        )
        units = tuple(
            Unit(number, first, min(first + size, frames)) for number, first in enumerate(range(0, frames, size))
        )
    except (KeyError, TypeError, ValueError, ExperimentError) as error:
        raise StoreError(f"{location}: its attributes are not those of a series ({one_line(error)})") from None
    records = complete_records(group, units)
    return StoreSummary(
        location=normalised(location),
        settings=settings,
        frames=frames,
        image_shape=(image_shape[0], image_shape[1]),
        arrays={name: str(group[name].dtype) for name in frame_arrays(group)},
        reflections=group[f"{REFLECTIONS}/F"].shape[0],
        complete=frozenset(records),
        units=units,
        records=tuple(records[number] for number in sorted(records)),
        **said,
    )
