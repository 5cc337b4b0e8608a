"""Making a store: every group, array, coordinate and attribute is written by the client before the first frame is rendered.

series.zarr/
  intensity   (frame, slow, fast) float32   expected photons; one array for each product of pixels (see `frames.products`, `schema`)
  mask        (slow, fast) uint8            0 = usable, 1 = gap, masked or not rendered, 2 = bad
  phi_start_deg, phi_end_deg (frame), orientation (frame, axis, xyz), frame, slow, fast, and panel where panels share an array
  fluence_factor, dose_MGy (frame)          and what else is known of each frame beforehand, where it changes
  resolution  (slow, fast) float32          and what else is known of each pixel once
  NAME/       the rows of a table (see `tables`)
  reflections/  the amplitudes that the frames are rendered with (see `reflections`)
  records/    one small JSON object a finished unit, and who writes into the store now
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from nbdist.errors import StoreError
from nbdist.frames.labels import Images
from nbdist.planning import Plan
from nbdist.readout.chain import masks_of
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.scene import Scene
from nbdist.store.locations import FORMAT, FORMAT_VERSION, LAST_MADE, one_line, open_group, was_whole
from nbdist.store.objects import ROOT
from nbdist.store.places import objects_at
from nbdist.store.reflections import create_reflections
from nbdist.store.schema import Schema, schema_for
from nbdist.store.tables import packed, parquet, series_key, series_rows

VERSIONS = ("nbdist", "torch", "numpy", "zarr", "distributed", "pyarrow")
"""Packages whose versions a store names."""
PHOTONS_OF = "photons_of"
"""What the provenance of a store calls the one that its photons were read from."""
FRAMES_PER_CHUNK = 4096
"""Frames whose coordinates lie in one object: a reader of some frames of a million reads little more than theirs."""


def create_store(
    location: str | os.PathLike[str],
    scene: Scene,
    plan: Plan,
    reflections: Sequence[Reflections],
    *,
    made_by: dict[str, Any] | None = None,
    replace: bool = False,
) -> str | None:
    """Write an empty store for a series, unless another process comes first.

    The object that makes it a store is written first and only where there is none; it fixes the store's name and its plan. All others
    follow from the experiment and the plan, so `complete_store` can write them again to the same bits when the making was cut short, or
    while it still goes on.

    Parameters
    ----------
    reflections
        The amplitudes of the experiment, which workers and readers find in the store.
    made_by
        What else is worth knowing of how it was made; kept in its provenance.
    replace
        Write the first object also where there is one, of a store that was emptied and is held.

    Returns
    -------
    The random name that it got (its `store_id`); None where there is a store by now, which is left as it is.

    Raises
    ------
    StoreError
        If it cannot be written; what was begun is left for `--resume` or `--overwrite`.
    """
    objects = objects_at(location)
    objects.check_writable()
    store_id = uuid.uuid4().hex
    content = _content(scene, plan, reflections, store_id, provenance() | (made_by or {}))
    try:
        _, root = next(content)
        first = replace or objects.create(ROOT, root)
        if replace:
            objects.write(ROOT, root)
        if first:
            for key, stored in content:
                objects.write(key, stored)
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None
    return store_id if first else None


def complete_store(
    location: str | os.PathLike[str], scene: Scene, plan: Plan, reflections: Sequence[Reflections]
) -> None:
    """Write what is missing of a store whose making was cut short; the same experiment and plan made it.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    open_group(location, begun=True)
    objects = objects_at(location)
    if was_whole(objects):
        return
    try:
        for key, stored in _content(scene, plan, reflections, "", {}):
            if key != ROOT:
                objects.write(key, stored)
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None


def _content(
    scene: Scene, plan: Plan, reflections: Sequence[Reflections], store_id: str, made_by: dict[str, Any]
) -> Iterator[tuple[str, bytes]]:
    """All objects of an empty store, the one that makes it a store first and the one that says it is whole last.

    Each is let go when it was handed out: the coordinates of a million frames are 100 MB.
    """
    experiment, schema = scene.experiment, schema_for(scene, plan.settings)
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "title": experiment.title,
        "fingerprint": experiment.fingerprint,
        "photons_fingerprint": experiment.photons_fingerprint,
        "store_id": store_id,
        "experiment": experiment.model_dump(mode="json"),
        "steps": scene.steps,
        "plan": plan.settings.as_attributes(),
        **schema.as_attributes(),
        "provenance": made_by,
        "normalisation": "photons = r_e^2 fluence / steps * sum of partial intensities (+ background, not divided by steps)",
    }
    memory: dict[str, Any] = {}
    handed_out: set[str] = set()

    def new() -> Iterator[tuple[str, bytes]]:
        for key in sorted(memory.keys() - handed_out):
            handed_out.add(key)
            yield key, memory[key].to_bytes()
            if not key.endswith(ROOT):  # zarr looks for the metadata of a group that it makes an array in
                del memory[key]

    group = zarr.create_group(MemoryStore(memory), zarr_format=3, attributes=attributes)
    yield from new()
    _create_frames(group, schema)
    for _ in _create_coordinates(group, scene, schema):
        yield from new()
    create_reflections(group, reflections, scene.specimen.of_crystals)
    yield from new()
    for table in schema.series_tables:
        yield series_key(table.name), packed(series_rows(table, table.make(scene, reflections))).tobytes()
    group.create_group(LAST_MADE)
    yield from new()


def provenance() -> dict[str, Any]:
    """Versions and platform that made a store."""
    versions = {}
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _create_frames(group: zarr.Group, schema: Schema) -> None:
    for array in schema.arrays:
        product, layout = array.product, array.layout(schema.frames_per_shard)
        codec = BloscCodec(cname=product.compressor, clevel=1, shuffle="bitshuffle")
        group.create_array(
            array.name,
            shape=(schema.frames, *array.panels.shape),
            dtype=product.dtype,
            chunks=layout.chunk,
            shards=layout.shard,
            compressors=[codec, Crc32cCodec()],
            fill_value=product.fill,
            dimension_names=array.dimensions,
            attributes={"units": product.units, "long_name": product.long_name, **product.attributes},
            config={"write_empty_chunks": True},
        )
    for table in schema.all_tables:
        parquet(table.name)  # missed before anything is rendered
        columns = {column.name: {"units": column.units, "long_name": column.long_name} for column in table.columns}
        group.create_group(table.name, attributes={"long_name": table.long_name, "columns": columns})


def _create_coordinates(group: zarr.Group, scene: Scene, schema: Schema) -> Iterator[None]:
    """Write the coordinates, and pause after each chunk."""
    scan, degree, lattices = scene.experiment.scan, {"units": "degree"}, len(scene.specimen.lattices)
    kinds = {"long_name": "0 = usable, 1 = gap, masked or not rendered, 2 = bad"}
    maps: list[tuple[str, Images, dict[str, str]]] = [("mask", masks_of(scene), kinds)]
    for product in schema.maps:
        maps.append((product.name, product.make(scene), {"units": product.units, "long_name": product.long_name}))
    for panels in schema.panel_groups:
        *shared, slow, fast = panels.shape
        of_pixels: list[tuple[str, Any, tuple[str, ...], dict[str, str]]] = [
            (f"slow{panels.suffix}", np.arange(slow), panels.dimensions[-2:-1], {"units": "pixel"}),
            (f"fast{panels.suffix}", np.arange(fast), panels.dimensions[-1:], {"units": "pixel"}),
        ]
        for name, images, attributes in maps:
            image = np.stack([images[panel] for panel in panels.numbers]).reshape(panels.shape)
            of_pixels.append((f"{name}{panels.suffix}", image, panels.dimensions, attributes))
        if shared:
            of_pixels.append(("panel", np.arange(*shared), ("panel",), {"long_name": "panel of the detector, from 0"}))
        for name, values, dimensions, attributes in of_pixels:
            _coordinate(group, name, schema, values.shape, dimensions, attributes)[...] = values
            yield
    several: tuple[str, ...] = ("lattice",) if lattices > 1 else ()
    of_frames: list[tuple[str, Callable[[range], Any], tuple[str, ...], dict[str, str]]] = [
        ("frame", lambda frames: frames, (), {"long_name": "frame of the series, from 0"}),
        ("phi_start_deg", lambda frames: [*map(scan.frame_start_deg, frames)], (), degree),
        ("phi_end_deg", lambda frames: [scan.frame_start_deg(frame + 1) for frame in frames], (), degree),
        (
            "orientation",
            lambda frames: [scene.frame_orientations_A(frame)[slice(None) if several else 0] for frame in frames],
            (*several, "axis", "xyz"),
            {"units": "angstrom", "long_name": "rows a, b, c in the lab frame at the middle of the frame"},
        ),
    ]
    for known in schema.series:
        axes = several if known.of_crystals else ()
        attributes = {"units": known.units, "long_name": known.long_name}
        of_frames.append((known.name, functools.partial(known.make, scene), axes, attributes))
    for name, of_range, axes, attributes in of_frames:
        shape = (schema.frames, *(lattices if axis == "lattice" else 3 for axis in axes))
        array = _coordinate(group, name, schema, shape, ("frame", *axes), attributes)
        for first in range(0, schema.frames, FRAMES_PER_CHUNK):
            last = min(first + FRAMES_PER_CHUNK, schema.frames)
            array[first:last] = np.array(of_range(range(first, last)))
            yield


def _coordinate(
    group: zarr.Group,
    name: str,
    schema: Schema,
    shape: tuple[int, ...],
    dimensions: tuple[str, ...],
    attributes: dict[str, str],
) -> Any:
    along_frames = dimensions[0] == "frame"
    return group.create_array(
        name,
        shape=shape,
        dtype=schema.dtypes[name],
        chunks=(min(shape[0], FRAMES_PER_CHUNK), *shape[1:]) if along_frames else shape,
        dimension_names=dimensions,
        attributes=attributes,
    )
