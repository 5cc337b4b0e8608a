"""How far a store is: which units are complete, and what making them took.

What holds: while a store is unfinished, that is read off the records, a batch at a time. When a run or `nbdist finish` has seen every
unit complete, it says so in one object, and whoever reads the store afterwards reads that one instead of a million records. The object
is taken back before anything is written into the store again; it names the store it speaks of, and it is believed only where a few
shards, spread evenly over the series, have the sizes that it gives: a copy that was cut short does not pass for the whole.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from nbdist.errors import StoreError, one_line
from nbdist.formats.text import parsed_json
from nbdist.planning import Unit, Units
from nbdist.store.locations import LAST_MADE, open_group
from nbdist.store.number_set import NumberSet
from nbdist.store.objects import ROOT, as_json
from nbdist.store.places import objects_of
from nbdist.store.schema import schema_of
from nbdist.store.units import FINISHED, StoredUnits, store_id_of

PROBED = 64
"""Shards of an array whose size is looked at before a finished store is believed: few enough for a bucket to be asked for each."""


@dataclass(frozen=True)
class Completeness:
    """Which units of a store are complete, and what they took.

    Attributes
    ----------
    units
        Of the whole series.
    complete
        Numbers of the complete ones: those whose record is there and whose shards have the size it says.
    shard_bytes
        Size of their shards in all.
    seconds
        What they took to render in all, by "device precision kernel".
    """

    units: Units
    complete: NumberSet
    shard_bytes: int
    seconds: dict[str, float]

    @property
    def finished(self) -> bool:
        """Whether every unit is complete."""
        return len(self.complete) == len(self.units)

    @property
    def missing(self) -> NumberSet:
        """Numbers of the units that are not complete."""
        return NumberSet.where(~self.complete.flags(len(self.units)))

    @property
    def frames(self) -> NumberSet:
        """Frames of the complete units."""
        if self.finished:
            return NumberSet(range(self.units.frames))
        return NumberSet.where(self.complete.flags(len(self.units)).repeat(self.units.size)[: self.units.frames])


def read_completeness(group: zarr.Group, believe: bool = True) -> Completeness:
    """How far a store is.

    Parameters
    ----------
    believe
        Take its word where it says that it is finished; else go by its records alone.

    Raises
    ------
    StoreError
        If its attributes are not those of a series.
    """
    stored = StoredUnits(group)
    return (_said(group, stored) if believe else None) or _recorded(stored)


def complete_units(group: zarr.Group, units: Units) -> Iterator[Unit]:
    """Those of some units that are complete, in order; a store that says it is finished is believed where many are asked for."""
    stored = StoredUnits(group)
    if len(units) <= PROBED:
        yield from stored.complete_among(units)
    elif _said(group, stored):
        yield from units
    else:
        yield from (unit for unit, _ in stored.complete(units))


def _recorded(stored: StoredUnits) -> Completeness:
    """How far a store is by its records."""
    size, seconds = 0, defaultdict[str, float](float)
    complete = np.zeros(len(stored.units), dtype=bool)
    for unit, record in stored.complete():
        complete[unit.number] = True
        size += sum(record["shard_bytes"].values())
        spent = record.get("seconds")
        if isinstance(spent, int | float) and math.isfinite(spent):
            seconds[" ".join(str(record.get(name, "?")) for name in ("device", "precision", "kernel"))] += spent
    return Completeness(stored.units, NumberSet.where(complete), size, dict(seconds))


def _said(group: zarr.Group, stored: StoredUnits) -> Completeness | None:
    """What a store says of being finished, where that is to be believed."""
    units = stored.units
    try:
        said = parsed_json(objects_of(group).read(FINISHED) or b"null")
        if (
            said["store_id"] == store_id_of(group)
            and said["units"] == len(units)
            and said["probed_bytes"] == _probed_bytes(group, stored)
        ):
            seconds = {str(where): float(spent) for where, spent in said["seconds"].items()}
            return Completeness(units, NumberSet(range(len(units))), int(said["shard_bytes"]), seconds)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        pass  # another program's, or cut short: the records tell
    return None


def mark_finished(location: str | os.PathLike[str]) -> bool:
    """Where every unit of a store is complete, say so in one object and gather the metadata in another.

    The caller holds the store, so that nobody writes into it meanwhile.

    Returns
    -------
    Whether every unit is complete; nothing is written where one is not.

    Raises
    ------
    StoreError
        If the store is not there or cannot be written.
    """
    group = open_group(location, mode="r+")
    stored = StoredUnits(group)
    found = _recorded(stored)
    if not found.finished:
        return False
    consolidate(location)
    said = {
        "store_id": store_id_of(group),
        "units": len(found.units),
        "shard_bytes": found.shard_bytes,
        "probed_bytes": _probed_bytes(group, stored),
        "seconds": found.seconds,
    }
    objects = objects_of(group)
    try:
        objects.write(FINISHED, as_json(said))
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None
    return True


def _probed_bytes(group: zarr.Group, stored: StoredUnits) -> dict[str, int]:
    """Size of some shards of each array and table together: every n-th from the first on, `PROBED` at most."""
    objects, some = objects_of(group), stored.units[:: max(1, -(-len(stored.units) // PROBED))]
    return {
        name: sum(objects.sizes(packer.key(unit.number) for unit in some).values())
        for name, packer in stored.packers.items()
    }


def consolidate(location: str | os.PathLike[str]) -> None:
    """Gather all metadata into one object, so that readers open the store with one request.

    Nothing is done where they are: since then they may have been changed by a growth that was cut short.

    Raises
    ------
    StoreError
        If the store is not there or cannot be written.
    """
    group = open_group(location, mode="r+")
    if group.metadata.consolidated_metadata is not None:
        return
    objects, schema = objects_of(group), schema_of(group)
    groups = [*schema.groups, LAST_MADE]
    metadata = {name: json.loads(objects.read(f"{name}/{ROOT}") or b"{}") for name in sorted([*schema.dtypes, *groups])}
    for name in groups:
        metadata[name]["consolidated_metadata"] = _consolidated({})
    root = json.loads(objects.read(ROOT) or b"{}")
    root["consolidated_metadata"] = _consolidated(metadata)
    try:
        objects.write(ROOT, json.dumps(root, indent=2).encode())
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None


def _consolidated(metadata: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "inline", "must_understand": False, "metadata": metadata}
