"""`nbdist export`: what it prints, and how it goes on."""

from __future__ import annotations

import shlex
from functools import partial

import pytest

from nbdist import generate
from nbdist.store.units import FINISHED, record_key


@pytest.fixture(scope="module")
def store(small_experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("store") / "series.zarr"
    experiment = small_experiment(
        panel={"spixels": 12, "fpixels": 10, "pixel_size_mm": 4.0}, scan={"frames": 4}, noise={"photon_noise": True}
    )
    generate(experiment, location, serial=True, frames_per_shard=1)
    return location


@pytest.fixture
def export(nbdist):
    return partial(nbdist, "export")


def test_a_series_is_exported_with_a_line_of_what_it_came_to(store, export, tmp_path):
    ended = export(store, "-o", tmp_path, "--serial", "--frames", "1:3")
    assert ended.code == 0
    assert "master.h5: 2 counts images in" in ended.out
    assert "images/s)" in ended.out
    assert "note: DIALS reads no polarization from NXmx and takes 0.999 along x; this one's: dials.import" in ended.err
    assert "2/2 frames" in ended.err
    assert (tmp_path / "series_data_000001.h5").exists()
    assert (
        "series_master.h5: no image was missing"
        in export(store, "-o", tmp_path, "--frames", "1:3", "--resume", "--serial").out
    )


def test_frames_that_are_not_there_yet_end_it_with_the_command_that_goes_on(store, export, tmp_path):
    for key in (record_key(2), FINISHED):
        (store / key).rename(tmp_path / key.rpartition("/")[2])
    try:
        words = [store, "-o", tmp_path / "out", "--format", "cbf", "--prefix", "mine", "--serial"]
        ended = export(*words)
        assert ended.code == 1
        assert "1 of frames 0:4 are not complete; the most in a row that are: --frames 0:2" in ended.err
        again = next(line for line in ended.err.splitlines() if line.startswith("Go on with: nbdist export "))
    finally:
        for key in (record_key(2), FINISHED):
            (tmp_path / key.rpartition("/")[2]).rename(store / key)
    assert export(*shlex.split(again)[5:]).code == 0
    assert (tmp_path / "out" / "mine_00004.cbf").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume", "--overwrite"], "--resume and --overwrite exclude each other"),
        (["--frames", "2:9"], "--frames 2:9: lies outside 0:4"),
        (["--serial", "--workers", "2"], "--serial, --workers exclude each other"),
    ],
)
def test_options_that_cannot_be_are_refused(words, said, store, export, tmp_path):
    ended = export(store, "-o", tmp_path / "out", *words)
    assert (ended.code, ended.err.strip()) == (2, f"nbdist: {said}")
    assert not (tmp_path / "out").exists()
