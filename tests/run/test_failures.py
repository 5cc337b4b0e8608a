"""Runs that meet trouble: units that fail, a full disk, an interruption, places that cannot be written."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import time

import pytest
from injected import run

from nbdist import generate
from nbdist.errors import StoreError
from nbdist.run.executors.roster import TASKS_PER_WORKER
from nbdist.run.rendering import render_frame
from nbdist.run.settings import Pacing
from nbdist.store import summarize


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(scan={"frames": 4})


@pytest.fixture(scope="module")
def undisturbed(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("undisturbed") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=1)
    return location


def _fail_at(frame_to_fail, failures):
    """A renderer that raises for one frame, as often as `failures` says."""
    left = [failures]

    def failing(context, frame):
        if frame == frame_to_fail and left[0] > 0:
            left[0] -= 1
            raise ValueError("a cosmic ray\nhit frame 1")
        return render_frame(context, frame)

    return failing


def assert_explained(progress, location):
    """The line of unit 1 has the type and place of its error; its whole traceback is at hand, in the store too."""
    (line,) = progress.failed.values()
    assert re.fullmatch(r"ValueError: a cosmic ray hit frame 1 \(nbdist/run/rendering\.py:\d+\)", line)
    record = json.loads((location / "records" / "failed" / "00000001.json").read_text())
    assert (record["unit"], record["frames"], record["error"]) == (1, [1, 2], line)
    assert record["traceback"] == line.traceback
    assert line.traceback.startswith("Traceback (most recent call last):")
    assert "in failing" in line.traceback


def test_a_unit_that_always_fails_is_set_aside_and_the_others_finish(
    experiment, undisturbed, tmp_path, assert_same_bits
):
    location = tmp_path / "a.zarr"
    progress = run(experiment, location, render_frame=_fail_at(1, failures=10**6))
    assert_explained(progress, location)
    assert progress.frames_done == 3
    assert summarize(location).complete == {0, 2, 3}
    again = generate(experiment, location, serial=True, resume=True)
    assert (again.frames_done, again.failed) == (1, {})
    assert not (location / "records" / "failed").exists()
    assert_same_bits(location, undisturbed)


def test_a_unit_that_is_removed_while_another_fails_is_left_too(experiment, tmp_path):
    location = tmp_path / "a.zarr"

    def remove(progress):
        if progress.units_done == 3:
            for shard in (location / "intensity" / "c" / "0").rglob("*"):
                if shard.is_file():
                    shard.unlink()

    progress = run(experiment, location, render_frame=_fail_at(3, failures=10**6), report=remove)
    assert progress.failed.keys() == {0, 3}
    assert "is not in the store" in progress.failed[0]


def test_a_clock_that_jumps_back_changes_nothing(experiment, undisturbed, tmp_path, monkeypatch, assert_same_bits):
    now, hours = time.time(), itertools.count(start=0, step=-3600)
    monkeypatch.setattr(time, "time", lambda: now + next(hours))
    progress = generate(experiment, tmp_path / "a.zarr", serial=True, frames_per_shard=1)
    assert (progress.frames_done, progress.failed) == (4, {})
    assert all(0 < record["seconds"] < 60 for record in summarize(tmp_path / "a.zarr").records)
    assert progress.seconds > 0
    assert_same_bits(tmp_path / "a.zarr", undisturbed)


@pytest.mark.integration
def test_a_unit_that_always_fails_on_dask_is_set_aside_and_the_others_finish(
    experiment, undisturbed, client, tmp_path, assert_same_bits
):
    location = tmp_path / "a.zarr"
    progress = run(experiment, location, client, render_frame=_fail_at(1, failures=10**6))
    assert_explained(progress, location)
    assert progress.frames_done == 3
    assert summarize(location).complete == {0, 2, 3}
    again = generate(experiment, location, client, resume=True)
    assert (again.frames_done, again.failed) == (1, {})
    assert not (location / "records" / "failed").exists()
    assert_same_bits(location, undisturbed)


@pytest.mark.integration
def test_only_a_bounded_window_of_tasks_of_several_units_is_in_flight(small_experiment, client, tmp_path):
    experiment = small_experiment(scan={"frames": 200, "phi_steps": 1}, panel={"spixels": 16, "fpixels": 16})
    in_flight, futures = [], []

    def report(progress):
        in_flight.append(progress.in_flight)
        futures.append(len(client.futures))

    progress = run(experiment, tmp_path / "a.zarr", client, pacing=Pacing(task_s=10.0), report=report)
    assert progress.frames_done == 200
    window = 2 * TASKS_PER_WORKER
    assert max(in_flight) > window, "a task has several units"
    assert max(futures) <= 2 * window, "some may have finished and not been looked at"
    assert in_flight[-1] == 0


def _mount(*arguments):
    try:
        subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("on_dask", [False, pytest.param(True, marks=pytest.mark.integration)], ids=["serial", "dask"])
def test_a_full_disk_stops_the_run_with_one_clear_line_and_resume_goes_on(
    on_dask, small_experiment, small_disk, tmp_path, request, assert_same_bits
):
    # 90 frames of 96 x 80 pixels are 2.8 MB in float32; amplitudes to 1 A leave no empty pixel to compress away
    experiment = small_experiment(
        scan={"frames": 90, "phi_steps": 1}, structure_factors={"kind": "uniform", "F": 100.0}
    )
    where = {"client": request.getfixturevalue("client")} if on_dask else {"serial": True}
    with pytest.raises(StoreError) as caught:
        generate(experiment, small_disk / "a.zarr", frames_per_shard=2, **where)
    message = str(caught.value)
    assert "the disk is full" in message
    assert "--resume" in message
    assert "\n" not in message
    complete = summarize(small_disk / "a.zarr").complete
    assert 0 < len(complete) < 45
    _mount("-o", "remount,size=50m", small_disk)
    progress = generate(experiment, small_disk / "a.zarr", resume=True, **where)
    assert progress.frames_done == 90 - 2 * len(complete), "what was complete is kept"
    generate(experiment, tmp_path / "undisturbed.zarr", serial=True, frames_per_shard=2)
    assert_same_bits(small_disk / "a.zarr", tmp_path / "undisturbed.zarr")


def test_a_disk_too_full_for_the_store_itself_is_said_in_one_line(experiment, tmp_path, small_disk):
    (small_disk / "ballast").write_bytes(bytes(2 * 2**20 - 8192))
    with pytest.raises(StoreError, match="the disk is full") as caught:
        generate(experiment, small_disk / "a.zarr", serial=True)
    assert "\n" not in str(caught.value)
    (small_disk / "ballast").unlink()
    generate(experiment, small_disk / "a.zarr", serial=True, overwrite=True)
    assert summarize(small_disk / "a.zarr").frames_complete == 4


def test_a_missing_parent_folder_is_named(experiment, tmp_path):
    with pytest.raises(StoreError, match=r"nowhere does not exist"):
        generate(experiment, tmp_path / "nowhere" / "a.zarr", serial=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_parent_that_is_a_file_is_named(experiment, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file is not a folder"):
        generate(experiment, tmp_path / "file" / "a.zarr", serial=True)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_rendered(experiment, tmp_path):
    folder = tmp_path / "readonly"
    folder.mkdir()
    if os.geteuid() == 0:
        _mount("-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", folder)  # root writes past permissions, not past this
    else:
        folder.chmod(0o500)
    rendered = []
    try:
        with pytest.raises(StoreError, match="cannot be written") as caught:
            run(experiment, folder / "a.zarr", render_frame=lambda context, frame: rendered.append(frame))
        assert rendered == []
        assert "\n" not in str(caught.value)
        assert list(folder.iterdir()) == []
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        else:
            folder.chmod(0o700)
