"""Verifying a store: every shard decodes, and frames rendered again are the same to the bit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from nbdist import generate, verify
from nbdist.errors import StoreError


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(scan={"frames": 6}, noise={"photon_noise": True, "seed": 3})


@pytest.fixture(scope="module", params=["eager", "compiled"])
def whole(request, experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("verify") / "series.zarr"
    generate(experiment, location, serial=True, kernel=request.param, frames_per_shard=2, tile=(50, 80))
    return location


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy.zarr"))


def test_a_whole_store_is_good(whole):
    found = verify(whole, sample=3)
    assert found.good
    assert found.frames_decoded == 6
    assert found.compared == dict.fromkeys((0, 2, 5), 0.0), "spread evenly from the first frame to the last"


def test_a_sample_of_nothing_compares_nothing(whole):
    found = verify(whole, sample=0)
    assert found.good
    assert found.compared == {}


def test_a_sample_larger_than_the_series_compares_every_frame_once(whole):
    assert sorted(verify(whole, sample=100).compared) == list(range(6))


def test_a_shard_cut_short_is_named(copy):
    shard = copy / "intensity/c/1/0/0"
    os.truncate(shard, shard.stat().st_size - 10)
    found = verify(copy, sample=6)
    assert not found.good
    assert list(found.damaged) == [1]
    assert "intensity/c/1/0/0" in found.damaged[1] or "another size" in found.damaged[1]
    assert found.frames_decoded == 4
    assert sorted(found.compared) == [0, 1, 4, 5], "frames of the damaged unit are not compared"


def test_a_deleted_shard_is_named(copy):
    (copy / "counts/c/2/0/0").unlink()
    found = verify(copy, sample=1)
    assert found.damaged == {2: "counts/c/2/0/0 is missing"}
    assert not found.good


def test_a_unit_that_was_never_finished_is_missing(copy):
    (copy / "records/00000000.json").unlink()
    found = verify(copy, sample=0)
    assert (found.missing, found.damaged, found.good) == ([0], {}, False)


def test_one_changed_pixel_is_found(copy):
    # the shard is written again whole, with its record, so that only rendering it again can tell
    array = zarr.open_group(str(copy), mode="r+")["intensity"]
    frames = array[2:4]
    brightest = np.unravel_index(frames.argmax(), frames.shape)
    frames[brightest] = np.nextafter(frames[brightest], np.float32(0))
    array[2:4] = frames
    record = copy / "records/00000001.json"
    content = json.loads(record.read_text())
    content["shard_bytes"]["intensity"] = (copy / "intensity/c/1/0/0").stat().st_size
    record.write_text(json.dumps(content))
    found = verify(copy, sample=6)
    assert not found.good
    differing = {frame: difference for frame, difference in found.compared.items() if difference}
    assert list(differing) == [2 + int(brightest[0])]
    assert 0 < differing[2 + int(brightest[0])] < 1.2e-7, "one unit in the last place of float32"


def test_another_experiment_is_refused(whole, experiment):
    with pytest.raises(StoreError, match="another experiment"):
        verify(whole, experiment=experiment.with_changes(beam={"wavelength_A": 1.1}))


def test_progress_is_reported_unit_by_unit_and_frame_by_frame(whole):
    told = []
    verify(whole, sample=2, report=lambda *told_now: told.append(told_now))
    assert told == [("decoded", 1, 3), ("decoded", 2, 3), ("decoded", 3, 3), ("compared", 1, 2), ("compared", 2, 2)]


def test_what_is_not_a_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        verify(tmp_path / "missing.zarr")


def test_a_file_that_changed_since_is_noticed(small_experiment, tmp_path):
    hkl = tmp_path / "small.hkl"
    hkl.write_text("1 2 3 100\n2 0 1 50\n")
    experiment = small_experiment(structure_factors={"kind": "file", "file": str(hkl), "default_F": 10.0})
    generate(experiment, tmp_path / "a.zarr", serial=True, kernel="eager", frames=range(1))
    assert not verify(tmp_path / "a.zarr").damaged
    hkl.write_text("1 2 3 100\n2 0 1 51\n")
    with pytest.raises(StoreError, match="other files"):
        verify(tmp_path / "a.zarr")
