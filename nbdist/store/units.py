"""Writing units, and knowing which are complete.

What holds: a unit's shards belong to one task, which writes each whole and at once; two writers in one shard would lose data silently.
The record of a unit is written last, so a record means that every shard of the unit was written. It carries the sizes of the shards, so
that one cut short later is noticed without reading it, their stamps, so that one written again is, and their checksums, which tell one
that has changed when it is read. The object with a unit's rows of a table is a shard like those of arrays.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol, TypeVar

import zarr

from nbdist.errors import NbdistError, StoreError, one_line
from nbdist.formats.text import parsed_json
from nbdist.frames.products import Products
from nbdist.planning import Unit
from nbdist.store.locations import LAST_MADE, open_group
from nbdist.store.number_set import NumberSet
from nbdist.store.objects import ROOT, Objects, as_json
from nbdist.store.places import objects_of
from nbdist.store.schema import schema_of
from nbdist.store.shards import ShardPacker
from nbdist.store.tables import TablePacker, parquet

T = TypeVar("T")
Record = dict[str, Any]
logger = logging.getLogger(__name__)
DECODED_AT_ONCE = 4
"""Units that are read and decoded at the same time; each takes the memory of a shard."""

RECORDS_AT_ONCE = 5_000
"""Records read and held together; a bucket is asked for a listing of their shards once for each so many."""

FINISHED = f"{LAST_MADE}/finished.json"
"""Key of the object that says that every unit is complete; see `completeness`."""
README, CARD = "README.md", "card.json"
"""Keys of the objects that say what a finished data set is; see `run.card`."""
OUR_README = "This card was made by nbdist"
"""What a README.md says that is part of a card, and not someone's own."""
SHARD_SUMS = "shard_sha256"
"""What a record calls the SHA-256 of the unit's shards, in hexadecimal, by array or table."""


class Packer(Protocol):
    """Makes the bytes of a unit's shard of one array or table, and looks through them."""

    def key(self, unit: int) -> str:
        """Key of the shard."""

    def pack(self, unit: Unit, frames: Sequence[Products]) -> memoryview:
        """The shard of a unit's frames."""

    def wrong(self, unit: Unit, shard: bytes) -> str | None:
        """What is wrong with a unit's shard, or None; any exception where the bytes are none."""


class StoredUnits:
    """The units of a store as they are found: recorded, complete, sound, damaged.

    Attributes
    ----------
    schema
        What the store holds.
    units
        The units of the whole series.
    packers
        What packs and unpacks the shards of a unit, by array or table.
    """

    def __init__(self, group: zarr.Group) -> None:
        self.schema = schema_of(group)
        self.units = self.schema.units
        self._objects, self._store_id = objects_of(group), store_id_of(group)
        self.packers: dict[str, Packer] = {
            **{array.name: ShardPacker(group[array.name], array) for array in self.schema.arrays},
            **{table.name: TablePacker(table, self.schema.frames_per_sample) for table in self.schema.tables},
        }

    def record(self, unit: int) -> Record | None:
        """The record of a unit, or None where there is none that can be read."""
        return _record(self._objects.read(record_key(unit)))

    def recorded(self) -> NumberSet:
        """Numbers of the units that have a record."""
        stems = (name.removesuffix(".json") for name in self._objects.each_name(LAST_MADE))
        return NumberSet(
            int(stem) for stem in stems if stem.isdecimal() and len(stem) < 10 and int(stem) < len(self.units)
        )

    def outgrown(self, unit: Unit) -> bool:
        """Whether a unit has other frames than its record speaks of: the last one of a data set that grew has more."""
        record = self.record(unit.number)
        return record is not None and not _of_frames(record, unit)

    def complete(self, units: Iterable[Unit] | None = None) -> Iterator[tuple[Unit, Record]]:
        """Those of some units (default: all) whose record is there, of their frames, and whose shards have its sizes; each with its record.

        They are read in order, a batch at a time, so that going through the records of a million units takes no memory.
        """
        recorded = self.recorded()
        wanted = (unit for unit in (self.units if units is None else units) if unit.number in recorded)
        for some in batches(wanted, RECORDS_AT_ONCE):
            yield from self.complete_among(some).items()

    def complete_among(self, units: Sequence[Unit]) -> dict[Unit, Record]:
        """Those of a few units that are complete, each with its record; see `complete`."""
        stored = self._objects.read_all(record_key(unit.number) for unit in units)
        records: dict[Unit, Record] = {}
        for unit, (_, content) in zip(units, stored, strict=True):
            record = _record(content)
            if (
                record
                and record.get("store_id") == self._store_id
                and isinstance(record.get("shard_bytes"), dict)
                and _of_frames(record, unit)
            ):
                records[unit] = record
        for name, packer in self.packers.items():
            sizes = self._objects.sizes(packer.key(unit.number) for unit in records)
            records = {
                unit: record
                for unit, record in records.items()
                if sizes.get(packer.key(unit.number), -1) == record["shard_bytes"].get(name)
            }
        return records

    def sound(self, units: Iterable[Unit]) -> Iterator[Unit]:
        """Those complete units whose shards are those that were written, by their stamps, or decode.

        A shard whose stamp is another than its record says, or is not there to be compared, is read and decoded; all others were
        written whole and are left alone since. So a long series is looked through without being read; `damages` reads all of it.
        """
        for some in batches(self.complete(units), RECORDS_AT_ONCE):
            doubtful = self._changed(dict(some))
            if doubtful:
                logger.info(
                    "%d units have shards that may have changed since they were written: they are read", len(doubtful)
                )
            yield from (unit for unit, _ in some if unit not in doubtful)
            yield from (unit for unit, wrong in self.damages(sorted(doubtful)) if wrong is None)

    def _changed(self, records: dict[Unit, Record]) -> set[Unit]:
        """Those units with a shard whose stamp is not the one of its record."""
        changed = set()
        for name, packer in self.packers.items():
            found = self._objects.stamps(packer.key(unit.number) for unit in records)
            for unit, record in records.items():
                stamps = record.get("shard_stamps")
                written = stamps.get(name) if isinstance(stamps, dict) else None
                if written is None or written != found.get(packer.key(unit.number)):
                    changed.add(unit)
        return changed

    def damages(self, units: Iterable[Unit], as_written: bool = False) -> Iterator[tuple[Unit, str | None]]:
        """What `damage` says of each unit, in order; a few are read at once."""
        with ThreadPoolExecutor(DECODED_AT_ONCE) as pool:
            for some in batches(units, 16 * DECODED_AT_ONCE):
                yield from zip(some, pool.map(lambda unit: self.damage(unit, as_written), some), strict=True)

    def damage(self, unit: Unit, as_written: bool = False) -> str | None:
        """Read all of a unit's shards, and its record; return what is wrong with them, or None.

        Parameters
        ----------
        as_written
            Whether a shard that is whole, with another checksum than its record has, is wrong: one that was changed by hand.
        """
        key = record_key(unit.number)
        try:
            stored = self._objects.read(key)
            record = _record(stored)
            sums = record.get(SHARD_SUMS, {}) if record else {}
            for name, packer in self.packers.items():
                key = packer.key(unit.number)
                shard = self._objects.read(key)
                if shard is None:
                    return f"{key} is missing"
                if (wrong := packer.wrong(unit, shard)) is not None:
                    return f"{key} {wrong}"
                if as_written and hashlib.sha256(shard).hexdigest() != sums.get(name):
                    return f"{key} is not what was written: it has another checksum"
            key = record_key(unit.number)
            if stored is None:
                return f"{key} is missing"
            return None if record is not None else f"{key} does not decode"
        except NbdistError:
            raise
        except OSError as error:
            return f"{key} cannot be read ({one_line(error)})"
        except Exception as error:
            return f"{key} does not decode ({type(error).__name__})"


class UnitWriter:
    """Writes the shards and the record of units into an existing store; one a process. It waits for a bucket that is away.

    What a store says of being finished is taken back before anything is written.
    """

    def __init__(self, location: str | os.PathLike[str], store_id: str | None = None) -> None:
        group = open_group(location, mode="r+", patient=True)
        self._objects = objects_of(group)
        self._store_id = store_id or store_id_of(group)
        stored = StoredUnits(group)
        for table in stored.schema.tables:
            parquet(table.name)  # missed here, not after the first frames
        self._packers = stored.packers
        self._root: bytes | None = None

    def write(self, unit: Unit, frames: Sequence[Products], record: Record) -> Record:
        """Write the products of a unit's frames, then its record; return the record with sizes, stamps and checksums of the shards.

        Raises
        ------
        StoreError
            If the store is gone, or another lies there by now (overwritten by another run).
        """
        self._require_same_store()
        sizes, stamps, sums = {}, {}, {}
        for name, packer in self._packers.items():
            shard = packer.pack(unit, frames)
            stamps[name] = self._objects.write(packer.key(unit.number), shard)
            sizes[name], sums[name] = len(shard), hashlib.sha256(shard).hexdigest()
        shards = [self._packers[name].key(unit.number) for name in sizes]
        self._require_same_store_or_remove(shards)
        made = {"store_id": self._store_id, "shard_bytes": sizes, "shard_stamps": stamps, SHARD_SUMS: sums}
        complete = {**record, "unit": unit.number, **made}
        self._objects.write(record_key(unit.number), as_json(complete))
        self._require_same_store_or_remove([record_key(unit.number), *shards])
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

    def _require_same_store_or_remove(self, keys: Iterable[str]) -> None:
        """Remove what was written where the place is another's, or nobody's: writing into a folder that is gone makes it anew."""
        try:
            self._require_same_store()
        except StoreError:
            for key in keys:
                self._objects.delete(key)
            raise

    def _require_same_store(self) -> None:
        root = self._objects.read(ROOT)
        if root is None:
            raise StoreError(f"{self._objects.location} was removed while a run wrote into it; start the run again")
        if root != self._root and _name_in(root) != self._store_id:
            raise StoreError(
                f"{self._objects.location} is another store than the one this run began; another run replaced it"
            )
        if root != self._root:
            take_back(self._objects)
        self._root = root


def take_back(objects: Objects) -> None:
    """Remove what a store says of being finished, before it is written into."""
    for key in (FINISHED, CARD):
        objects.delete(key)
    if has_our_readme(objects):
        objects.delete(README)


def has_our_readme(objects: Objects) -> bool:
    """Whether the README.md of a store is one that a card has, and not someone's own."""
    return OUR_README.encode() in (objects.read(README) or b"")


def _name_in(root: bytes) -> str:
    try:
        return str(parsed_json(root)["attributes"]["store_id"])
    except (ValueError, KeyError, TypeError):
        return ""


def store_id_of(group: zarr.Group) -> str:
    """The random name that a store got when it was made: records of another store at the same place do not count."""
    return str(group.attrs.get("store_id", ""))


def record_key(unit: int) -> str:
    """Key of a unit's record."""
    return f"{LAST_MADE}/{unit:08d}.json"


def _record(stored: bytes | None) -> Record | None:
    try:
        record = parsed_json(stored) if stored is not None else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _of_frames(record: Record, unit: Unit) -> bool:
    frames = [unit.first_frame, unit.last_frame]
    return bool(record.get("frames", frames) == frames)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of so many, in order; the last one may have fewer."""
    pending = iter(items)
    while some := list(islice(pending, size)):
        yield some
