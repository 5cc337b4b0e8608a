"""A store is held before anything of it is made or removed, and one that holds nothing blocks nobody."""

from __future__ import annotations

import contextlib

import pytest

from nbdist import generate
from nbdist.errors import RunError, StoreError
from nbdist.store import summarize
from nbdist.store.objects import Folder

HOW = {"serial": True, "frames_per_shard": 1}


@contextlib.contextmanager
def _no_workers():
    raise RunError("the queue refuses the job")
    yield


def _failed_start(experiment, location, **how):
    with pytest.raises(RunError, match="the queue refuses"):
        generate(experiment, location, _no_workers, **how)


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_after_a_start_that_failed_the_same_command_works(how, small_experiment, tmp_path):
    location = tmp_path / "a.zarr"
    for _ in range(2):
        _failed_start(small_experiment(), location, **how)
    assert generate(small_experiment(), location, **HOW, **how).frames_done == 3
    assert summarize(location).frames_complete == 3


def test_a_store_that_holds_nothing_makes_room_for_the_corrected_experiment(small_experiment, tmp_path):
    location = tmp_path / "a.zarr"
    _failed_start(small_experiment(), location)
    corrected = small_experiment(scan={"frames": 2})
    with pytest.raises(StoreError, match=r"another experiment.* a run without --resume replaces it"):
        generate(corrected, location, **HOW, resume=True)
    generate(corrected, location, **HOW)
    assert summarize(location).frames_complete == 2
    assert summarize(location).fingerprint == corrected.fingerprint


def test_a_store_of_which_one_unit_is_finished_is_not_replaced_unasked(small_experiment, tmp_path):
    location = tmp_path / "a.zarr"
    generate(small_experiment(), location, **HOW, frames=range(1))
    before = summarize(location).fingerprint
    for other in (small_experiment(), small_experiment(scan={"frames": 2})):
        with pytest.raises(StoreError, match="exists; --resume goes on with it, --overwrite replaces it"):
            generate(other, location, **HOW)
    assert (summarize(location).fingerprint, summarize(location).frames_complete) == (before, 1)


@pytest.mark.parametrize("begun", [False, True], ids=["finished", "empty"])
def test_of_two_runs_that_replace_a_store_at_once_one_is_refused_and_harms_nothing(
    begun, small_experiment, tmp_path, monkeypatch
):
    location, refused, original = tmp_path / "a.zarr", [], Folder.clear
    how = {**HOW, "overwrite": not begun}
    if begun:
        _failed_start(small_experiment(), location)
    else:
        generate(small_experiment(), location, **HOW)

    def clear(folder, keep=()):
        assert folder.read("records/runs/run.lock") is not None, "it is held while it is removed"
        if not refused:
            refused.append(True)
            for other in (how, {**HOW, "resume": True}):
                with pytest.raises(StoreError, match="another run writes into it"):
                    generate(small_experiment(), location, **other)
        original(folder, keep)
        assert folder.read("records/runs/run.lock") is not None

    monkeypatch.setattr(Folder, "clear", clear)
    assert generate(small_experiment(), location, **how).frames_done == 3
    assert refused
    assert summarize(location).frames_complete == 3
    assert not list(location.rglob("*.lock"))


def test_a_place_where_nothing_but_a_beat_was_left_is_free(small_experiment, tmp_path):
    location = tmp_path / "a.zarr"
    Folder(location).write("records/runs/abc.beat", b"1")
    assert generate(small_experiment(), location, **HOW).frames_done == 3
    assert not list(location.rglob("*.beat"))
