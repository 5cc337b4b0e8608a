"""One run at a time: the second is refused while the first lives, and goes on when it has died."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from waiting import until

from nbdist import generate
from nbdist.errors import StoreError
from nbdist.store import occupancy, summarize
from nbdist.store.objects import Folder
from nbdist.store.occupancy import occupy, require_free
from nbdist.store.parts import Part

ELSEWHERE = {"id": "1", "host": "node17", "pid": 4711, "process": ["another boot", "pid:[1]", "4711", "5"]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(occupancy, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(occupancy, "WATCH_S", 1.0)
    monkeypatch.setattr(occupancy, "POLL_S", 0.05)
    return Folder(tmp_path / "a.zarr")


def test_a_store_is_held_until_it_is_released(place):
    first = occupy(place)
    with pytest.raises(StoreError, match=f"another run writes into it \\(process {os.getpid()} on ") as caught:
        occupy(place)
    assert "\n" not in str(caught.value)
    first.release()
    occupy(place).release()
    assert place.names("records/runs") == []


def test_parts_of_one_division_hold_a_store_together(place):
    held = [occupy(place, Part(1, 3)), occupy(place, Part(3, 3))]
    for refused in (Part(1, 3), Part(2, 2), None):
        with pytest.raises(StoreError, match="another run renders part"):
            occupy(place, refused)
    for part in held:
        part.release()
    whole = occupy(place)
    with pytest.raises(StoreError, match="another run writes into it"):
        occupy(place, Part(2, 3))
    whole.release()


def test_a_process_of_this_machine_that_died_holds_nothing(place, monkeypatch):
    monkeypatch.setattr(occupancy, "WATCH_S", 1e6)  # its death is seen, not waited for
    code = f"from nbdist.store.objects import Folder; from nbdist.store.occupancy import occupy; import os; \
occupy(Folder({place.location!r})); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    assert place.names("records/runs") == ["run.lock"]
    occupy(place).release()


def test_a_process_number_used_again_is_not_the_process(place):
    mine = occupancy._process_name(os.getpid())
    place.write(
        "records/runs/run.lock", json.dumps({**ELSEWHERE, "pid": os.getpid(), "process": [*mine[:3], "1"]}).encode()
    )
    require_free(place)
    assert place.names("records/runs") == []


def test_a_run_elsewhere_that_shows_no_life_is_given_up(place):
    place.write("records/runs/run.lock", json.dumps(ELSEWHERE).encode())
    started = time.monotonic()
    occupy(place).release()
    assert time.monotonic() - started > 0.9, "it was watched"


def test_a_run_elsewhere_that_shows_life_is_respected(place, monkeypatch):
    place.write("records/runs/run.lock", json.dumps(ELSEWHERE).encode())

    def read(folder, key, original=Folder.read):
        found = original(folder, key)
        if key == "records/runs/1.beat":
            folder.write(key, b"4")  # it beats after the first look
        return found

    monkeypatch.setattr(Folder, "read", read)
    with pytest.raises(StoreError, match=r"process 4711 on node17\); wait for its end"):
        occupy(place)


def test_a_garbled_lock_is_watched_and_given_up(place):
    place.write("records/runs/run.lock", b"{")
    occupy(place).release()


def test_the_count_grows_while_a_store_is_held(place):
    held = occupy(place)
    (beat,) = held.keys - {held.key}
    until(lambda: int(place.read(beat) or 0) >= 2, "two beats")
    held.require()
    held.release()
    assert place.names("records/runs") == []


def test_a_run_that_was_stopped_between_look_and_beat_leaves_its_successor_alone(place, monkeypatch):
    held = occupy(place)
    successor = json.dumps({**ELSEWHERE, "id": "2"}).encode()
    original, stopped = Folder.read, threading.Event()

    def read(folder, key):
        found = original(folder, key)
        if threading.current_thread() is held._thread and not stopped.is_set():
            original_write(folder, held.key, successor)  # it takes over while this one stands still
            stopped.set()
        return found

    original_write = Folder.write
    monkeypatch.setattr(Folder, "read", read)
    until(lambda: held._lost, "the loss to be noticed")
    assert place.read(held.key) == successor
    held.release()
    assert place.read(held.key) == successor


def test_a_beat_left_by_a_run_that_woke_up_too_late_is_removed_by_the_next(place):
    place.write("records/runs/0123abc.beat", b"7")
    occupy(place).release()
    assert place.names("records/runs") == []


def test_of_two_that_remove_a_dead_lock_one_alone_removes_it_and_a_new_one_stays(place, monkeypatch):
    dead, new = b"dead", b"new"
    place.write("a.lock", dead)
    assert [place.delete_if("a.lock", dead) for _ in range(2)] == [True, False]
    place.write("a.lock", dead)
    original = Folder.read

    def read(folder, key):
        found = original(folder, key)
        place.write("a.lock", new)  # another is quicker
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", read)
        assert not place.delete_if("a.lock", dead)
    assert place.read("a.lock") == new
    assert place.names("") == ["a.lock"]


@pytest.mark.parametrize("harm", ["taken over", "removed"])
def test_a_run_that_lost_its_store_notices(harm, place):
    held = occupy(place)
    if harm == "removed":
        place.delete("records/runs/run.lock")
    else:
        place.write("records/runs/run.lock", json.dumps(ELSEWHERE).encode())
    until(lambda: held._lost, "the loss to be noticed")
    with pytest.raises(StoreError, match="is not held by this run any more"):
        held.require()
    held.release()
    assert place.names("records/runs") == ([] if harm == "removed" else ["run.lock"]), "what is another's is left"


def test_a_run_that_another_took_over_ends(small_experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(occupancy, "HEARTBEAT_S", 0.05)
    location = tmp_path / "a.zarr"

    def steal(progress):
        if progress.frames_done == 1:
            Folder(location).write("records/runs/run.lock", json.dumps(ELSEWHERE).encode())
            until(
                lambda: "nbdist-occupation" not in [one.name for one in threading.enumerate()], "the loss to be noticed"
            )

    with pytest.raises(StoreError, match="another run took over"):
        generate(small_experiment(), location, serial=True, frames_per_shard=1, report=steal)
    assert summarize(location).complete == {0, 1}


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}, {"part": Part(1, 2)}])
def test_a_second_run_is_refused_while_the_first_writes(how, small_experiment, tmp_path):
    location, refused = tmp_path / "a.zarr", []

    def second(progress):
        if progress.frames_done == 1 and not refused:
            with pytest.raises(StoreError, match="another run writes into it"):
                generate(small_experiment(), location, serial=True, **how)
            refused.append(how)

    progress = generate(small_experiment(), location, serial=True, frames_per_shard=1, report=second)
    assert refused
    assert progress.frames_done == 3
    assert summarize(location).complete == {0, 1, 2}
    generate(small_experiment(), location, serial=True, resume=True)


def test_a_run_that_ends_leaves_no_lock(small_experiment, tmp_path):
    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(small_experiment(), tmp_path / "a.zarr", serial=True, report=interrupt)
    assert not list((tmp_path / "a.zarr").rglob("*.lock"))
    assert not [thread for thread in threading.enumerate() if thread.name == "nbdist-occupation"]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_lock_that_another_run_took_over_meanwhile_is_left_alone(where, place, monkeypatch):
    mine = occupancy._process_name(os.getpid())
    dead = {**ELSEWHERE, "process": [*mine[:3], "1"]} if where == "here" else ELSEWHERE
    taken = json.dumps({**ELSEWHERE, "id": "2", "pid": 4712}).encode()
    place.write("records/runs/run.lock", json.dumps(dead).encode())
    removal = occupancy._remove_dead

    def late(objects, name, content):
        objects.write("records/runs/run.lock", taken)
        removal(objects, name, content)

    monkeypatch.setattr(occupancy, "_remove_dead", late)
    with pytest.raises(StoreError, match="process 4712 on node17"):
        require_free(place)
    assert place.read("records/runs/run.lock") == taken
