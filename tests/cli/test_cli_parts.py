"""`nbdist run --part`, `nbdist finish`, and what `nbdist info` says of a store that is not finished."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from nbdist.store import summarize

CUT = ("--frames-per-shard", 1)


def test_parts_and_finish(nbdist, experiment_file, finished, tmp_path):
    store = tmp_path / "a.zarr"
    ran = nbdist("run", experiment_file, "-o", store, "--part", "2/2", *CUT)
    assert ran.code == 0
    assert ran.out.startswith(f"{store}: 1 frames in ")
    again = f"nbdist run {experiment_file} -o {store} --part 1/2"
    left = nbdist("finish", store)
    assert (left.code, left.err) == (1, "")
    assert left.raw == (
        f"{store}: 2 of 3 units are missing or damaged\n  part 1/2: 2 unit(s), 0, 2\ngo on with:\n  {again}\n"
    )
    told = nbdist("info", store)
    assert told.code == 0
    assert told.raw.endswith(f"unfinished; go on with:\n  {again}\nand then: nbdist finish {store}\n")
    assert nbdist(*again.split()[1:]).code == 0
    assert nbdist(*again.split()[1:]).out == f"{store}: nothing was missing"
    done = nbdist("finish", store)
    assert (done.code, done.out) == (0, f"{store}: 3 frames, 3 units, all complete; metadata consolidated")
    image, whole = (zarr.open_group(str(path), mode="r")["intensity"][:] for path in (store, finished))
    np.testing.assert_array_equal(image, whole)
    assert "unfinished" not in nbdist("info", store).out


def test_a_damaged_unit_of_a_part_is_named(nbdist, experiment_file, tmp_path):
    store = tmp_path / "a.zarr"
    for part in ("1/2", "2/2"):
        nbdist("run", experiment_file, "-o", store, "--part", part, *CUT)
    shard = store / "intensity/c/1/0/0"
    shard.write_bytes(bytes(shard.stat().st_size))
    left = nbdist("finish", store)
    assert left.code == 1
    assert "part 2/2: 1 unit(s), 1" in left.out
    assert "unit 1: intensity/c/1/0/0 does not decode" in left.out
    assert "--part 2/2" in nbdist("verify", store, "--sample", 0).out


def test_the_command_that_goes_on_is_the_one_that_made_the_store(nbdist, experiment_file, tmp_path, monkeypatch):
    store = tmp_path / "a.zarr"
    monkeypatch.chdir(tmp_path)
    begun = nbdist(
        "run", experiment_file.name, "-o", store, "--precision", "float64", "--frames", "0:1", "--serial", *CUT
    )
    assert begun.code == 0
    again = f"nbdist run {experiment_file} -o {store} --precision float64 --resume"
    assert nbdist("info", store).raw.endswith(f"unfinished; go on with: {again}\n")
    assert again in nbdist("verify", store, "--sample", 0).out
    assert nbdist(*again.split()[1:], "--serial").code == 0
    assert summarize(store).frames_complete == 3


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (("--part", "0/4"), "part 0/4: expected NUMBER/PARTS, such as 3/16, counted from 1"),
        (("--part", "5/4"), "part 5/4: expected NUMBER/PARTS, such as 3/16, counted from 1"),
        (("--part", "1/2", "--frames", "0:1"), "--part and --frames exclude each other"),
        (("--part", "1/2", "--overwrite"), "--part and --overwrite exclude each other"),
        (("--part", "1/2", "--scheduler", "tcp://x:1"), "--part renders without a scheduler"),
    ],
)
def test_a_part_that_cannot_be_is_refused_in_one_line(options, answer, nbdist, experiment_file, tmp_path):
    refused = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", *options)
    assert refused.code == 2
    assert refused.err.startswith(f"nbdist: {answer}")
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "a.zarr").exists()


def test_finish_of_what_is_no_store_is_refused(nbdist, tmp_path):
    refused = nbdist("finish", tmp_path / "none.zarr")
    assert (refused.code, refused.err) == (2, f"nbdist: {tmp_path / 'none.zarr'}: there is no store\n")
