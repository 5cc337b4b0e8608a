"""Writing units and knowing which are complete.

What holds: a unit's shards belong to one task, which writes each whole and at once, having removed what was there; two writers in one
shard would lose data silently. The record of a unit is written last, so a record means that every shard of the unit was written. It
carries the sizes of the shards, so that one cut short later is noticed without reading it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from nbdist.errors import StoreError
from nbdist.planning import Unit
from nbdist.store.creation import as_json
from nbdist.store.locations import open_group


class UnitWriter:
    """Writes the shards and the record of units into an existing store; one a process."""

    def __init__(self, location: str | os.PathLike[str], store_id: str | None = None) -> None:
        self._location = location
        self._group = open_group(location, mode="r+")
        self._store_id = store_id or store_id_of(self._group)
        self._arrays: dict[str, Any] = {
            name: self._group[name].with_config({"write_empty_chunks": True}) for name in frame_arrays(self._group)
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The frame arrays to write."""
        return tuple(self._arrays)

    def write(self, unit: Unit, frames: dict[str, NDArray[Any]], record: dict[str, Any]) -> dict[str, Any]:
        """Write a unit's frames, (frame, slow, fast) by array name, then its record; return the record with shard sizes.

        Raises
        ------
        StoreError
            If another store lies there by now (overwritten by another run).
        """
        self._require_same_store()
        sizes = {}
        for name, array in self._arrays.items():
            key = shard_key(name, unit.number)
            sync(array.store_path.store.delete(_full_key(self._group, key)))
            array[unit.first_frame : unit.last_frame] = frames[name]
            sizes[name] = sync(array.store_path.store.getsize(_full_key(self._group, key)))
        self._require_same_store()
        complete = {**record, "unit": unit.number, "store_id": self._store_id, "shard_bytes": sizes}
        buffer = default_buffer_prototype().buffer.from_bytes(as_json(complete))
        sync(self._group.store.set(_full_key(self._group, record_key(unit.number)), buffer))
        return complete

    def _require_same_store(self) -> None:
        if store_id_of(open_group(self._location)) != self._store_id:
            raise StoreError(f"{self._location} is another store than the one this run began; another run replaced it")


def store_id_of(group: zarr.Group) -> str:
    """The random name that a store got when it was made: records of another store at the same place do not count."""
    return str(group.attrs.get("store_id", ""))


def frame_arrays(group: zarr.Group) -> list[str]:
    """Names of the arrays (frame, slow, fast) that a store holds."""
    return [name for name in ("intensity", "counts") if name in group]


def shard_key(array: str, unit: int) -> str:
    """Key of the shard that a unit owns in an array."""
    return f"{array}/c/{unit}/0/0"


def record_key(unit: int) -> str:
    """Key of a unit's record."""
    return f"records/{unit:08d}.json"


def _full_key(group: zarr.Group, key: str) -> str:
    return f"{group.store_path.path}/{key}" if group.store_path.path else key


def read_record(group: zarr.Group, unit: int) -> dict[str, Any] | None:
    """The record of a unit, or None where there is none that can be read."""
    stored = sync(group.store.get(_full_key(group, record_key(unit)), default_buffer_prototype()))
    if stored is None:
        return None
    try:
        record = json.loads(stored.to_bytes())
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def recorded_units(group: zarr.Group) -> set[int]:
    """Numbers of the units that have a record."""

    async def names() -> list[str]:
        return [name async for name in group.store.list_dir(_full_key(group, "records"))]

    stems = (name.rsplit("/", 1)[-1].removesuffix(".json") for name in sync(names()))
    return {int(stem) for stem in stems if stem.isdigit()}


def complete_units(group: zarr.Group, units: Iterable[Unit], decode: bool = False) -> set[int]:
    """Numbers of those units whose record is there and whose shards have the size it says (and decode, where that is asked)."""
    recorded = recorded_units(group)
    return {
        unit.number
        for unit in units
        if unit.number in recorded
        and _shards_present(group, unit.number)
        and not (decode and damage(group, unit) is not None)
    }


def _shards_present(group: zarr.Group, unit: int) -> bool:
    record = read_record(group, unit)
    if record is None or record.get("store_id") != store_id_of(group):
        return False
    sizes = record.get("shard_bytes", {})
    for name in frame_arrays(group):
        try:
            size = sync(group.store.getsize(_full_key(group, shard_key(name, unit))))
        except (FileNotFoundError, KeyError):
            return False
        if size != sizes.get(name):
            return False
    return True


def damage(group: zarr.Group, unit: Unit) -> str | None:
    """Read all of a unit's shards; return what is wrong with them, or None."""
    for name in frame_arrays(group):
        array: Any = group[name]
        key = _full_key(group, shard_key(name, unit.number))
        if not sync(group.store.exists(key)):
            return f"{shard_key(name, unit.number)} is missing"
        try:
            values = array[unit.first_frame : unit.last_frame]
        except Exception as error:
            return f"{shard_key(name, unit.number)} does not decode ({type(error).__name__})"
        if not np.isfinite(values).all() or (values < 0).any():
            return f"{shard_key(name, unit.number)} holds values that no image has"
    if read_record(group, unit.number) is None:
        return f"{record_key(unit.number)} is missing"
    return None
