"""`nbdist info` and `verify`: looking at a store."""

from __future__ import annotations

import os
import shutil

from nbdist.store.failures import FailureRecords
from nbdist.store.objects import Folder


def test_info_tells_a_complete_store(nbdist, finished):
    told = nbdist("info", finished)
    assert told.code == 0
    for said in (
        "frames 3 of 3 complete, 3 of 3 units",
        "image 96 x 80 pixels",
        "arrays intensity float32",
        "phi 10 to 11.5 deg, 0.5 a frame",
        "steps 4",
        "cut tile 96 x 80, phi chunk 4, 1 frame(s) a shard",
        "cpu float32 compiled",
    ):
        assert said in told.out
    assert "unfinished" not in told.out


def test_info_tells_how_to_go_on_with_an_unfinished_store(nbdist, part):
    told = nbdist("info", part)
    assert told.code == 0
    assert "frames 1 of 3 complete, 1 of 3 units" in told.out
    assert "unfinished; go on with: nbdist run" in told.out


def test_info_tells_which_units_failed(nbdist, part, tmp_path):
    copy = shutil.copytree(part, tmp_path / "copy.zarr")
    failures = FailureRecords(Folder(copy))
    for unit in (0, 2):
        failures.keep(unit, {"error": f"the cat sat on unit {unit}"})
    told = nbdist("info", copy)
    assert "failed unit 2: the cat sat on unit 2" in told.out
    assert "unit 0:" not in told.out, "it is complete since"


def test_verify_finds_a_good_store_good(nbdist, finished):
    found = nbdist("verify", finished, "--sample", 2)
    assert found.code == 0
    assert "3 frames decode" in found.out
    assert "2 of 2 frames rendered again are the same to the bit" in found.out


def test_verify_exits_1_at_a_damaged_shard_and_names_it(nbdist, finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy.zarr")
    os.truncate(copy / "intensity/c/2/0/0", 100)
    found = nbdist("verify", copy, "--sample", 0)
    assert found.code == 1
    assert "unit 2 is damaged: intensity/c/2/0/0 does not decode" in found.out
    assert "--resume" in found.out


def test_verify_exits_1_at_units_that_were_never_finished(nbdist, part):
    found = nbdist("verify", part, "--sample", 1)
    assert found.code == 1
    assert "2 unit(s) were never finished" in found.out
    assert "1 of 1 frames rendered again are the same to the bit" in found.out


def test_verify_refuses_another_experiment(nbdist, finished, write_experiment, tmp_path):
    other = write_experiment(tmp_path / "other.yaml", scan={"frames": 2})
    refused = nbdist("verify", finished, "--experiment", other)
    assert refused.code == 2
    assert "another experiment" in refused.err
    assert refused.err.count("\n") == 1
