"""Units are written whole, their record last."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from nbdist.errors import StoreError
from nbdist.frames.products import COUNTS, INTENSITY, PRODUCTS
from nbdist.planning import Cut, make_plan
from nbdist.run.context import make_context
from nbdist.run.rendering import finished_frame, render_frame
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.store import SeriesContent, StoredUnits, UnitWriter, create_store, open_group
from nbdist.store import units as store_units
from nbdist.store.failures import FailureRecords
from nbdist.store.objects import Folder


def _empty_store(experiment, location, frames_per_shard):
    scene = resolve(experiment)
    plan = make_plan(scene, cut=Cut(frames_per_shard=frames_per_shard))
    create_store(location, SeriesContent(scene, plan, load_reflections(scene)))
    return plan


def _images(plan, seed=0):
    random = np.random.default_rng(seed)
    shape = (plan.frames, plan.tiles[-1].slow_stop, plan.tiles[-1].fast_stop)
    return {"intensity": random.random(shape, dtype=np.float32), "counts": random.integers(0, 9, shape, dtype=np.int32)}


def _of(unit, images):
    """The products of a unit's frames, of one panel."""
    return [{name: [image[frame]] for name, image in images.items()} for frame in unit.frames]


def _complete(location, units=None, decode=False):
    """Numbers of the units that are complete (and decode, where that is asked)."""
    stored = StoredUnits(open_group(location))
    complete = [unit for unit, _ in stored.complete(units)]
    return (
        {unit.number for unit, wrong in stored.damages(complete) if wrong is None}
        if decode
        else {unit.number for unit in complete}
    )


def _sound(location, units):
    return {unit.number for unit in StoredUnits(open_group(location)).sound(units)}


def _damage(location, unit):
    return StoredUnits(open_group(location)).damage(unit)


@settings(max_examples=20)
@given(
    slow=st.integers(1, 40),
    fast=st.integers(1, 40),
    frames=st.integers(1, 7),
    frames_per_shard=st.integers(1, 7),
    reading_chunk=st.integers(3, 17),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_image_written_in_any_order_of_units_is_read_back(
    slow, fast, frames, frames_per_shard, reading_chunk, seed, small_experiment, tmp_path_factory
):
    experiment = small_experiment(
        panel={"spixels": slow, "fpixels": fast}, scan={"frames": frames}, noise={"photon_noise": True}
    )
    location = tmp_path_factory.mktemp("any") / "a.zarr"
    with pytest.MonkeyPatch.context() as patch:
        for product in (INTENSITY, COUNTS):
            patch.setitem(PRODUCTS, product.name, dataclasses.replace(product, chunk=reading_chunk))
        plan = _empty_store(experiment, location, frames_per_shard)
    images, units = _images(plan, seed), list(plan.units())
    writer = UnitWriter(location)
    for number in np.random.default_rng(seed).permutation(len(units)):
        writer.write(units[number], _of(units[number], images), {})
    group = zarr.open_group(str(location), mode="r")
    for name, image in images.items():
        np.testing.assert_array_equal(group[name][:], image)
        objects = [path for path in (location / name / "c").rglob("*") if path.is_file()]
        assert len(objects) == len(units), "one object a unit"
    assert _complete(location, units, decode=True) == set(range(len(units)))


@pytest.fixture
def store(small_experiment, tmp_path):
    experiment = small_experiment(noise={"photon_noise": True})
    location = tmp_path / "a.zarr"
    plan = _empty_store(experiment, location, 2)
    return SimpleNamespace(location=location, units=list(plan.units()), images=_images(plan))


def test_a_new_store_has_no_complete_unit(store):
    assert _complete(store.location, store.units) == set()


def test_the_record_is_written_after_every_shard(store, monkeypatch):
    def fail(record):
        assert set(record["shard_bytes"]) == {"intensity", "counts"}
        for name in ("intensity", "counts"):
            assert (store.location / name / "c/0/0/0").is_file()
        raise OSError("the power failed")

    unit = store.units[0]
    with monkeypatch.context() as patch:
        patch.setattr(store_units, "as_json", fail)
        with pytest.raises(OSError, match="the power failed"):
            UnitWriter(store.location).write(unit, _of(unit, store.images), {})
    assert _complete(store.location, store.units) == set()
    assert _damage(store.location, unit) == "records/00000000.json is missing"
    UnitWriter(store.location).write(unit, _of(unit, store.images), {})
    assert _complete(store.location, store.units) == {0}


def test_a_unit_that_failed_between_two_shards_is_not_complete(store, monkeypatch):
    unit = store.units[1]
    images = _of(unit, {"intensity": store.images["intensity"]})
    with pytest.raises(KeyError):
        UnitWriter(store.location).write(unit, images, {})
    assert (store.location / "intensity/c/1/0/0").is_file()
    assert _complete(store.location, store.units) == set()


@pytest.mark.parametrize("key", ["intensity/c/0/0/0", "records/00000000.json"])
def test_a_store_that_is_removed_between_two_objects_of_a_unit_stays_away(key, store, monkeypatch):
    write, unit = Folder.write, store.units[0]
    writer = UnitWriter(store.location)

    def late(objects, written, content):
        if written == key:
            shutil.rmtree(store.location)
        return write(objects, written, content)

    monkeypatch.setattr(Folder, "write", late)
    with pytest.raises(StoreError, match="was removed while a run wrote into it"):
        writer.write(unit, _of(unit, store.images), {})
    assert not store.location.exists()


def test_why_a_unit_failed_is_not_kept_of_a_store_that_is_removed(store):
    failures = FailureRecords(Folder(store.location))
    failures.keep(1, {"error": "no memory"})
    assert list(FailureRecords(Folder(store.location)).read()) == [(1, "no memory")]
    shutil.rmtree(store.location)
    failures.keep(0, {"error": "no memory"})
    assert not store.location.exists()


def test_a_unit_written_again_replaces_what_was_there(store):
    unit, writer = store.units[0], UnitWriter(store.location)
    writer.write(unit, _of(unit, {name: image + 1 for name, image in store.images.items()}), {})
    writer.write(unit, _of(unit, store.images), {})
    group = open_group(store.location)
    np.testing.assert_array_equal(group["intensity"][:2], store.images["intensity"][:2])
    assert _complete(store.location, store.units, decode=True) == {0}


def test_a_record_keeps_what_it_is_given_and_adds_sizes_stamps_and_checksums(store):
    unit = store.units[1]
    record = UnitWriter(store.location).write(unit, _of(unit, store.images), {"host": "here"})
    sizes = {name: (store.location / name / "c/1/0/0").stat().st_size for name in ("intensity", "counts")}
    name = store_units.store_id_of(open_group(store.location))
    stamps = Folder(store.location).stamps(f"{array}/c/1/0/0" for array in ("intensity", "counts"))
    made = {
        "shard_bytes": sizes,
        "shard_stamps": {key.partition("/")[0]: stamp for key, stamp in stamps.items()},
        "shard_sha256": {
            name: hashlib.sha256((store.location / name / "c/1/0/0").read_bytes()).hexdigest() for name in sizes
        },
    }
    assert record == {"host": "here", "unit": 1, "store_id": name, **made}
    assert StoredUnits(open_group(store.location)).record(1) == record


def test_decoding_finds_a_value_that_no_image_has(store):
    unit = store.units[0]
    images = _of(unit, store.images)
    images[0]["intensity"] = [images[0]["intensity"][0].copy()]
    images[0]["intensity"][0][5, 5] = np.nan
    UnitWriter(store.location).write(unit, images, {})
    assert _complete(store.location, store.units) == {0}, "sizes alone look right"
    assert _complete(store.location, store.units, decode=True) == set()
    assert _damage(store.location, unit) == "intensity/c/0/0/0 holds values that no image has"


def test_a_changed_byte_anywhere_in_a_shards_index_is_found(store):
    unit = store.units[0]
    UnitWriter(store.location).write(unit, _of(unit, store.images), {})
    shard = store.location / "intensity/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[-20] ^= 1  # the index is at the end: 16 bytes a chunk, then its checksum of 4
    shard.write_bytes(content)
    assert "does not decode" in _damage(store.location, unit)


def test_a_shard_that_was_changed_and_is_whole_is_found_by_its_checksum(store):
    unit = store.units[0]
    UnitWriter(store.location).write(unit, _of(unit, store.images), {})
    stored = StoredUnits(open_group(store.location))
    assert stored.damage(unit, as_written=True) is None
    open_group(store.location, mode="r+")["counts"][0, 5, 5] += 1
    assert stored.damage(unit) is None
    said = "counts/c/0/0/0 is not what was written: it has another checksum"
    assert [*stored.damages([unit], as_written=True)] == [(unit, said)]


@pytest.mark.parametrize("key", ["counts/c/0/0/0", "records/00000000.json"])
def test_what_the_disk_does_not_give_back_is_damage(key, store, monkeypatch):
    unit, path = store.units[0], store.location / key
    UnitWriter(store.location).write(unit, _of(unit, store.images), {})
    original = Path.read_bytes

    def broken(asked):
        if asked == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(asked))
        return original(asked)

    monkeypatch.setattr(Path, "read_bytes", broken)
    said = _damage(store.location, unit)
    assert said == f"{key} cannot be read (Input/output error: {path})"


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the units that are decoded from now on."""
    numbers, original = [], StoredUnits.damage

    def noted(stored, unit, as_written=False):
        numbers.append(unit.number)
        return original(stored, unit, as_written)

    monkeypatch.setattr(StoredUnits, "damage", noted)
    return numbers


def _touch(path):
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _as_before(path):
    record = json.loads(path.read_text())
    del record["shard_stamps"]
    path.write_text(json.dumps(record))


def _without_stamp(path):
    record = json.loads(path.read_text())
    record["shard_stamps"]["counts"] = None
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("intensity/c/1/0/0", _touch),
        ("counts/c/1/0/0", _touch),
        ("records/00000001.json", _as_before),
        ("records/00000001.json", _without_stamp),
    ],
    ids=["touched", "counts touched", "a record of an older nbdist", "a stamp that is missing"],
)
def test_only_what_may_have_changed_is_decoded(key, change, store, decoded):
    writer = UnitWriter(store.location)
    for unit in store.units:
        writer.write(unit, _of(unit, store.images), {})
    assert _sound(store.location, store.units) == {0, 1}
    assert decoded == [], "what is as it was written is not read again"
    change(store.location / key)
    assert _sound(store.location, store.units) == {0, 1}
    assert decoded == [1]


def test_a_shard_of_noise_is_not_sound(store, decoded):
    writer = UnitWriter(store.location)
    for unit in store.units:
        writer.write(unit, _of(unit, store.images), {})
    shard = store.location / "counts/c/0/0/0"
    time.sleep(0.02)  # longer than the clock of a file system ticks
    shard.write_bytes(np.random.default_rng(1).bytes(shard.stat().st_size))
    assert _complete(store.location, store.units) == {0, 1}, "its size is right"
    assert _sound(store.location, store.units) == {1}
    assert decoded == [0]


def test_the_background_that_all_frames_share_is_packed_once(small_experiment, tmp_path):
    experiment = small_experiment(background={"water_um": 5.0}, labels={"background": True}, scan={"frames": 4})
    context = make_context(experiment, cut=Cut(frames_per_shard=2))
    create_store(tmp_path / "s.zarr", SeriesContent(context.scene, context.plan, load_reflections(context.scene)))
    packer = StoredUnits(open_group(tmp_path / "s.zarr")).packers["background"]
    first, second = context.plan.units()
    frames = [finished_frame(context, frame, render_frame(context, frame)) for frame in range(4)]
    shard = packer.pack(first, frames[:2])
    assert packer.pack(second, frames[2:]) is shard
    brighter = frames[0]["background"][0] + 1
    changed = packer.pack(second, [{"background": [brighter]}] * 2)
    np.testing.assert_array_equal(packer.unpack(changed, 2), np.stack([brighter] * 2))
    brighter += 1  # what can be written is packed as it is
    changed = packer.pack(second, [{"background": [brighter]}] * 2)
    np.testing.assert_array_equal(packer.unpack(changed, 2), np.stack([brighter] * 2))
    assert packer.pack(first, frames[:2]) == shard
