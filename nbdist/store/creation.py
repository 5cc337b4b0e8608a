"""Making a store: every group, array, coordinate and attribute is written by the client before the first frame is rendered.

series.zarr/
  intensity   (frame, slow, fast) float32   expected photons
  counts      (frame, slow, fast) int32     Poisson counts, where the experiment asks for photon noise
  mask        (slow, fast) uint8            0 = usable
  phi_start_deg, phi_end_deg (frame), orientation (frame, axis, xyz), frame, slow, fast
  reflections/  the amplitudes that the frames are rendered with (see `reflections`)
  records/    one small JSON object a finished unit, and who writes into the store now
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec
from zarr.storage import MemoryStore

from nbdist.errors import StoreError
from nbdist.planning import Plan
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.resolve import ResolvedExperiment
from nbdist.store.locations import ARRAYS, FORMAT, FORMAT_VERSION, LAST_MADE, one_line, open_group, was_whole
from nbdist.store.objects import ROOT, objects_at
from nbdist.store.reflections import create_reflections

FRAME_DIMENSIONS = ("frame", "slow", "fast")
FRAMES_PER_CHUNK = 4096
"""Frames whose coordinates lie in one object: a reader of some frames of a million reads little more than theirs."""


def create_store(
    location: str | os.PathLike[str],
    resolved: ResolvedExperiment,
    plan: Plan,
    reflections: Reflections,
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
    content = _content(resolved, plan, reflections, store_id, provenance() | (made_by or {}))
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
    location: str | os.PathLike[str], resolved: ResolvedExperiment, plan: Plan, reflections: Reflections
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
        for key, stored in _content(resolved, plan, reflections, "", {}):
            if key != ROOT:
                objects.write(key, stored)
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None


def _content(
    resolved: ResolvedExperiment, plan: Plan, reflections: Reflections, store_id: str, made_by: dict[str, Any]
) -> Iterator[tuple[str, bytes]]:
    """All objects of an empty store, the one that makes it a store first and the one that says it is whole last.

    Each is let go when it was handed out: the coordinates of a million frames are 100 MB.
    """
    experiment = resolved.experiment
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "title": experiment.title,
        "fingerprint": experiment.fingerprint,
        "store_id": store_id,
        "experiment": experiment.model_dump(mode="json"),
        "steps": resolved.steps,
        "plan": plan.settings.as_attributes(),
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
    _create_frames(group, plan)
    for _ in _create_coordinates(group, resolved, plan):
        yield from new()
    create_reflections(group, reflections)
    yield from new()
    group.create_group(LAST_MADE)
    yield from new()


def provenance() -> dict[str, Any]:
    """Versions and platform that made a store."""
    versions = {name: importlib.metadata.version(name) for name in ("nbdist", "torch", "numpy", "zarr", "distributed")}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _create_frames(group: zarr.Group, plan: Plan) -> None:
    # of a float only sign and exponent can be packed: zstd takes four times as long as lz4 and gains half a percent
    quick = BloscCodec(cname="lz4", clevel=1, shuffle=BloscShuffle.bitshuffle)
    small = BloscCodec(cname="zstd", clevel=1, shuffle=BloscShuffle.bitshuffle)
    arrays: dict[str, tuple[Any, BloscCodec, str]] = {
        "intensity": (np.float32, quick, "expected photons, without noise")
    }
    if plan.with_counts:
        arrays["counts"] = (np.int32, small, "photons drawn from a Poisson distribution of intensity")
    for name, (dtype, codec, long_name) in arrays.items():
        group.create_array(
            name,
            shape=(plan.frames, *plan.image_shape),
            dtype=dtype,
            chunks=plan.layout.chunk,
            shards=plan.layout.shard,
            compressors=[codec, Crc32cCodec()],
            fill_value=0,
            dimension_names=FRAME_DIMENSIONS,
            attributes={"units": "photon", "long_name": long_name},
            config={"write_empty_chunks": True},
        )


def _create_coordinates(group: zarr.Group, resolved: ResolvedExperiment, plan: Plan) -> Iterator[None]:
    """Write the coordinates, and pause after each chunk."""
    scan, mask = resolved.experiment.scan, (~resolved.usable).astype(np.uint8)
    degree = {"units": "degree"}
    of_pixels = (
        ("slow", np.arange(mask.shape[0]), ("slow",), {"units": "pixel"}),
        ("fast", np.arange(mask.shape[1]), ("fast",), {"units": "pixel"}),
        ("mask", mask, ("slow", "fast"), {"long_name": "0 = usable"}),
    )
    for name, values, dimensions, attributes in of_pixels:
        _coordinate(group, name, values.shape, dimensions, attributes)[...] = values
        yield
    of_frames: tuple[tuple[str, Callable[[int], Any], tuple[str, ...], dict[str, str]], ...] = (
        ("frame", lambda frame: frame, (), {"long_name": "frame of the series, from 0"}),
        ("phi_start_deg", scan.frame_start_deg, (), degree),
        ("phi_end_deg", lambda frame: scan.frame_start_deg(frame + 1), (), degree),
        (
            "orientation",
            resolved.frame_orientation_A,
            ("axis", "xyz"),
            {"units": "angstrom", "long_name": "rows a, b, c in the lab frame at the middle of the frame"},
        ),
    )
    for name, of_frame, axes, attributes in of_frames:
        shape = (plan.frames, *(3 for _ in axes))
        array = _coordinate(group, name, shape, ("frame", *axes), attributes)
        for first in range(0, plan.frames, FRAMES_PER_CHUNK):
            last = min(first + FRAMES_PER_CHUNK, plan.frames)
            array[first:last] = np.array([of_frame(frame) for frame in range(first, last)])
            yield


def _coordinate(
    group: zarr.Group, name: str, shape: tuple[int, ...], dimensions: tuple[str, ...], attributes: dict[str, str]
) -> Any:
    along_frames = dimensions[0] == "frame"
    return group.create_array(
        name,
        shape=shape,
        dtype=ARRAYS[name],
        chunks=(min(shape[0], FRAMES_PER_CHUNK), *shape[1:]) if along_frames else shape,
        dimension_names=dimensions,
        attributes=attributes,
    )


def as_json(record: dict[str, Any]) -> bytes:
    """Canonical JSON bytes of a record."""
    return json.dumps(record, sort_keys=True).encode()
