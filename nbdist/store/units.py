"""Writing units and knowing which are complete.

What holds: a unit's shards belong to one task, which writes each whole and at once; two writers in one shard would lose data silently.
The record of a unit is written last, so a record means that every shard of the unit was written. It carries the sizes of the shards, so
that one cut short later is noticed without reading it, and their stamps, so that one written again is.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import NbdistError, StoreError
from nbdist.planning import Unit
from nbdist.store.creation import ROOT, as_json
from nbdist.store.locations import LAST_MADE, one_line, open_group
from nbdist.store.number_set import NumberSet
from nbdist.store.objects import objects_of
from nbdist.store.shards import ShardPacker

T = TypeVar("T")
logger = logging.getLogger(__name__)
DECODED_AT_ONCE = 4
"""Units that are read and decoded at the same time; each takes the memory of a shard."""

RECORDS_AT_ONCE = 5_000
"""Records read and held together; a bucket is asked for a listing of their shards once for each so many."""

FINISHED = f"{LAST_MADE}/finished.json"
"""Key of the object that says that every unit is complete; see `completeness`."""


class UnitWriter:
    """Writes the shards and the record of units into an existing store; one a process. It waits for a bucket that is away.

    What a store says of being finished is taken back before anything is written.
    """

    def __init__(self, location: str | os.PathLike[str], store_id: str | None = None) -> None:
        group = open_group(location, mode="r+", patient=True)
        self._objects = objects_of(group)
        self._store_id = store_id or store_id_of(group)
        self._packers = packers_of(group)
        self._root: bytes | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The frame arrays to write."""
        return tuple(self._packers)

    def write(self, unit: Unit, frames: dict[str, NDArray[Any]], record: dict[str, Any]) -> dict[str, Any]:
        """Write a unit's frames, (frame, slow, fast) by array name, then its record; return the record with shard sizes.

        Raises
        ------
        StoreError
            If the store is gone, or another lies there by now (overwritten by another run).
        """
        self._require_same_store()
        sizes, stamps = {}, {}
        for name, packer in self._packers.items():
            shard = packer.pack(frames[name])
            stamps[name] = self._objects.write(shard_key(name, unit.number), shard)
            sizes[name] = len(shard)
        try:
            self._require_same_store()
        except StoreError:
            for name in sizes:  # nothing of ours stays in a place that is another's
                self._objects.delete(shard_key(name, unit.number))
            raise
        made = {"store_id": self._store_id, "shard_bytes": sizes, "shard_stamps": stamps}
        complete = {**record, "unit": unit.number, **made}
        self._objects.write(record_key(unit.number), as_json(complete))
        return complete

    def require_usable(self, size: int) -> None:
        """Check that the store is there, and that so many bytes can be written into it from here.

        Raises
        ------
        StoreError
            If the store is gone, or another lies there by now.
        OSError
            If it cannot be written.
        """
        self._require_same_store()
        probe = f"records/runs/probe-{uuid.uuid4().hex}"
        try:
            self._objects.write(probe, os.urandom(size))
        finally:
            self._objects.delete(probe)

    def _require_same_store(self) -> None:
        root = self._objects.read(ROOT)
        if root is None:
            raise StoreError(f"{self._objects.location} was removed while a run wrote into it; start the run again")
        if root != self._root and _name_in(root) != self._store_id:
            raise StoreError(
                f"{self._objects.location} is another store than the one this run began; another run replaced it"
            )
        if root != self._root:
            self._objects.delete(FINISHED)
        self._root = root


def _name_in(root: bytes) -> str:
    try:
        return str(json.loads(root)["attributes"]["store_id"])
    except (ValueError, KeyError, TypeError):
        return ""


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


def read_record(group: zarr.Group, unit: int) -> dict[str, Any] | None:
    """The record of a unit, or None where there is none that can be read."""
    return _record(objects_of(group).read(record_key(unit)))


def _record(stored: bytes | None) -> dict[str, Any] | None:
    try:
        record = json.loads(stored) if stored is not None else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def recorded_units(group: zarr.Group) -> NumberSet:
    """Numbers of the units that have a record."""
    stems = (name.removesuffix(".json") for name in objects_of(group).each_name(LAST_MADE))
    return NumberSet(int(stem) for stem in stems if stem.isdecimal() and len(stem) < 10)


def complete_units(group: zarr.Group, units: Iterable[Unit], decode: bool = False) -> NumberSet:
    """Numbers of those units whose record is there and whose shards have the size it says (and decode, where that is asked)."""
    if not decode:
        return NumberSet(unit.number for unit, _ in complete_records(group, units))
    whole = (unit for unit, _ in complete_records(group, units))
    return NumberSet(unit.number for unit, wrong in damages(group, whole) if wrong is None)


def sound_units(group: zarr.Group, units: Iterable[Unit]) -> NumberSet:
    """Numbers of the complete units whose shards are those that were written, by their stamps, or decode.

    A shard whose stamp is another than its record says, or is not there to be compared, is read and decoded; all others were written
    whole and are left alone since. So a long series is looked through without being read; `damages` reads all of it.
    """
    return NumberSet(_sound(group, units))


def _sound(group: zarr.Group, units: Iterable[Unit]) -> Iterator[int]:
    objects, names = objects_of(group), frame_arrays(group)
    for some in _batches(complete_records(group, units), RECORDS_AT_ONCE):
        written = {unit: record.get("shard_stamps") for unit, record in some}
        changed = [unit for unit, said in written.items() if not isinstance(said, dict)]
        for name in names:
            found = objects.stamps(shard_key(name, unit.number) for unit in written)
            changed += [
                unit
                for unit, said in written.items()
                if isinstance(said, dict)
                and (said.get(name) is None or said[name] != found.get(shard_key(name, unit.number)))
            ]
        doubtful = sorted(set(changed))
        if doubtful:
            logger.info(
                "%d units have shards that may have changed since they were written: they are read", len(doubtful)
            )
        yield from (unit.number for unit in written.keys() - set(doubtful))
        yield from (unit.number for unit, wrong in damages(group, doubtful) if wrong is None)


def complete_records(group: zarr.Group, units: Iterable[Unit]) -> Iterator[tuple[Unit, dict[str, Any]]]:
    """Those units whose record is there and whose shards have the size it says, in order, each with its record.

    They are read a batch at a time, so that going through the records of a million units takes no memory.
    """
    objects, names, store_id = objects_of(group), frame_arrays(group), store_id_of(group)
    recorded = recorded_units(group)
    for some in _batches((unit for unit in units if unit.number in recorded), RECORDS_AT_ONCE):
        stored = objects.read_all(record_key(unit.number) for unit in some)
        records: dict[Unit, dict[str, Any]] = {}
        for unit, (_, content) in zip(some, stored, strict=True):
            record = _record(content)
            if record and record.get("store_id") == store_id and isinstance(record.get("shard_bytes"), dict):
                records[unit] = record
        for name in names:
            sizes = objects.sizes(shard_key(name, unit.number) for unit in records)
            records = {
                unit: record
                for unit, record in records.items()
                if sizes.get(shard_key(name, unit.number), -1) == record["shard_bytes"].get(name)
            }
        yield from records.items()


def damages(group: zarr.Group, units: Iterable[Unit]) -> Iterator[tuple[Unit, str | None]]:
    """What `damage` says of each unit, in order; a few are read at once."""
    packers = packers_of(group)
    with ThreadPoolExecutor(DECODED_AT_ONCE) as pool:
        for some in _batches(units, 16 * DECODED_AT_ONCE):
            yield from zip(some, pool.map(lambda unit: damage(group, unit, packers), some), strict=True)


def damage(group: zarr.Group, unit: Unit, packers: dict[str, ShardPacker] | None = None) -> str | None:
    """Read all of a unit's shards; return what is wrong with them, or None. The packers are `packers_of` the group."""
    objects = objects_of(group)
    for name, packer in (packers or packers_of(group)).items():
        key = shard_key(name, unit.number)
        try:
            shard = objects.read(key)
        except OSError as error:
            return f"{key} cannot be read ({one_line(error)})"
        if shard is None:
            return f"{key} is missing"
        try:
            values = packer.unpack(shard, len(unit.frames))
        except NbdistError:
            raise
        except Exception as error:
            return f"{key} does not decode ({type(error).__name__})"
        if not np.isfinite(values).all() or (values < 0).any():
            return f"{key} holds values that no image has"
    try:
        stored = objects.read(record_key(unit.number))
    except OSError as error:
        return f"{record_key(unit.number)} cannot be read ({one_line(error)})"
    if stored is None:
        return f"{record_key(unit.number)} is missing"
    return None if _record(stored) is not None else f"{record_key(unit.number)} does not decode"


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    pending = iter(items)
    while some := list(islice(pending, size)):
        yield some


def packers_of(group: zarr.Group) -> dict[str, ShardPacker]:
    """The packer of each frame array."""
    return {name: ShardPacker(group[name]) for name in frame_arrays(group)}
