"""Checksums of the shards of a store, as `sha256sum` writes and checks them.

What holds: a unit's record has the SHA-256 of each of its shards as it was written. They are the same whoever renders the unit, and when;
so are the sum of all, and two stores of one recipe with equal units, on machines of one kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import zarr

from nbdist.errors import StoreError
from nbdist.store.places import objects_of
from nbdist.store.units import SHARD_SUMS, StoredUnits


def checksum_lines(group: zarr.Group) -> Iterator[str]:
    """Yield `HEX  KEY` of each shard of the complete units, in the order of units and of their arrays and tables.

    Shards whose record has no sum, of a store that was made before they had, are read.

    Raises
    ------
    StoreError
        If such a shard is gone.
    """
    stored, objects = StoredUnits(group), objects_of(group)
    for unit, record in stored.complete():
        sums = record.get(SHARD_SUMS, {})
        for name, packer in stored.packers.items():
            key, found = packer.key(unit.number), sums.get(name)
            if not isinstance(found, str):
                shard = objects.read(key)
                if shard is None:
                    raise StoreError(f"{objects.location}: {key} is missing")
                found = hashlib.sha256(shard).hexdigest()
            yield f"{found}  {key}"
