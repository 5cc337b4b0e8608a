"""Making a data set longer: the same set, with samples to come after those that are there.

What holds: a kill at any moment leaves the set as long as it was, or longer. The root says how many samples there are, and is written
last. Until then readers go by the metadata that are gathered in it, of the arrays as they were.
"""

from __future__ import annotations

import json
import os

from nbdist.errors import StoreError, one_line
from nbdist.store.completeness import consolidate
from nbdist.store.locations import open_group
from nbdist.store.objects import ROOT
from nbdist.store.places import objects_of
from nbdist.store.schema import schema_of
from nbdist.store.units import take_back


def grow_store(location: str | os.PathLike[str], samples: int) -> None:
    """Give a data set more samples, none of which is rendered yet; nothing is done where it has so many.

    The caller holds the store. A last unit that was not full has more frames afterwards and is not complete any more.

    Parameters
    ----------
    samples
        How many there are to be in all.

    Raises
    ------
    StoreError
        If it is no data set, has more samples than that, or cannot be written.
    """
    group = open_group(location, mode="r+")
    objects, schema = objects_of(group), schema_of(group)
    if schema.samples is None or schema.frames_per_sample is None:
        raise StoreError(f"{objects.location} is a series, which cannot grow")
    if samples < schema.samples:
        raise StoreError(f"{objects.location} has {schema.samples} samples; it can grow to more, and not to {samples}")
    if samples == schema.samples:
        return
    try:
        take_back(objects)
        consolidate(location)
        for array in schema.arrays:
            key = f"{array.name}/{ROOT}"
            metadata = json.loads(objects.read(key) or b"{}")
            metadata["shape"][0] = samples * schema.frames_per_sample
            objects.write(key, json.dumps(metadata, indent=2).encode())
        root = json.loads(objects.read(ROOT) or b"{}")
        root.pop("consolidated_metadata", None)
        root["attributes"]["samples"] = samples
        objects.write(ROOT, json.dumps(root, indent=2).encode())
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None
