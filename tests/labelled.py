"""Stores with labels that are made by hand: units are written as a run writes them, and nothing is rendered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.experiment import Experiment
from nbdist.frames.products import PixelProduct, Products
from nbdist.frames.tables import REFLECTION_COLUMNS, SPOT_COLUMNS, Column
from nbdist.planning import Cut, Unit, make_plan
from nbdist.scene import Scene, resolve
from nbdist.scene.amplitudes import Reflections
from nbdist.store import SeriesContent, StoredUnits, create_store, open_group
from nbdist.store.objects import as_json
from nbdist.store.places import objects_at
from nbdist.store.schema import schema_of
from nbdist.store.tables import packed, series_key, series_rows
from nbdist.store.units import record_key, store_id_of

Rows = dict[str, NDArray[Any]]
INTEGRATED = {"crystal": {"shape": "gauss"}, "sampling": {"method": "integrated"}}
"""Sections of an experiment whose reflections have photons of their own."""


def rows(columns: Sequence[Column], count: int, seed: int = 0, **given: Any) -> Rows:
    """`count` rows of a table: 0 where nothing is given, random fractions in columns of floats."""
    random = np.random.default_rng(seed)
    made = {
        column.name: random.random(count).astype(column.dtype)
        if np.dtype(column.dtype).kind == "f"
        else np.zeros(count)
        for column in columns
    }
    return {name: np.broadcast_to(given.get(name, values), (count,)) for name, values in made.items()}


def spot_rows(reflections: Any, seed: int = 0, **given: Any) -> Rows:
    """Spots of these reflections on a frame."""
    return rows(SPOT_COLUMNS, len(reflections), seed, reflection=np.asarray(reflections), **given)


def reflection_rows(identities: Any, first: Any, last: Any, **given: Any) -> Rows:
    """Reflections of which frames first to last have a part."""
    values = dict(reflection=np.asarray(identities), first_frame=first, last_frame=last, **given)
    return rows(REFLECTION_COLUMNS, len(identities), **values)


def labelled_store(
    experiment: Experiment,
    location: Path | str,
    reflections: Rows,
    spots: Callable[[int], Rows],
    frames_per_shard: int = 2,
    units: Sequence[int] | None = None,
) -> Path | str:
    """A store of an experiment with these reflections and spots, images of zeros, and those units (all, if left out)."""
    scene = resolve(experiment)
    plan = make_plan(scene, cut=Cut(frames_per_shard=frames_per_shard))
    nothing = Reflections(np.zeros((0, 3), dtype=np.int64), np.zeros(0), 0.0)
    create_store(location, SeriesContent(scene, plan, [nothing] * len(scene.specimen.lattices)))
    group: zarr.Group = open_group(location)
    for table in schema_of(group).series_tables:
        objects_at(location).write(series_key(table.name), packed(series_rows(table, reflections)))
    objects, stored = objects_at(location), StoredUnits(group)
    images = {array.name: array.product for array in stored.schema.arrays}
    empty = functools.cache(
        lambda name, unit: stored.packers[name].pack(unit, [_zeros(scene, images[name])] * len(unit.frames))
    )
    for unit in plan.units() if units is None else [plan.unit(number) for number in units]:
        of_frames = [{table.name: spots(frame) for table in stored.schema.tables} for frame in unit.frames]
        sizes = {}
        for name, packer in stored.packers.items():
            # all images are alike: they are packed once for units of so many frames
            shard = empty(name, Unit(0, 0, len(unit.frames))) if name in images else packer.pack(unit, of_frames)
            objects.write(packer.key(unit.number), shard)
            sizes[name] = len(shard)
        record = {"unit": unit.number, "store_id": store_id_of(group), "shard_bytes": sizes, "seconds": 0.0}
        objects.write(record_key(unit.number), as_json(record))
    return location


def _zeros(scene: Scene, product: PixelProduct) -> Products:
    return {product.name: [np.zeros(shape, product.dtype) for shape in scene.instrument.shapes]}
