"""Trouble with the store while real processes write into it; each ends, after `--resume`, with the bits of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from harm import Harm
from waiting import LIMIT_S, until

from nbdist import generate, load_experiment
from nbdist.experiment import experiment_to_yaml
from nbdist.run.finish import finish
from nbdist.store import summarize

pytestmark = pytest.mark.integration

FRAMES = 40
CUT = ("--frames-per-shard", "1")


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        panel={"spixels": 48, "fpixels": 64, "pixel_size_mm": 1.2},
        scan={"frames": FRAMES, "phi_steps": 5},
        noise={"photon_noise": True, "seed": 5},
    )


@pytest.fixture(scope="module")
def file(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("experiment") / "e.yaml"
    path.write_text(experiment_to_yaml(experiment))
    return path


@pytest.fixture(scope="module")
def undisturbed(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("undisturbed") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=1)
    return location


@pytest.fixture
def start(file):
    """Start `nbdist run FILE -o STORE ...` in a process group of its own; all of them are killed at the end."""
    started = []

    def run(store, *options, **environment):
        process = subprocess.Popen(
            [shutil.which("nbdist"), "run", str(file), "-o", str(store), *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def held(tmp_path):
    """Harm that holds back frames once twenty are recorded until it is released: a run is not over before it is disturbed."""
    return Harm(tmp_path, held_after=20)


def ended(process):
    """How a process ended: code, out, err."""
    out, err = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in err, err
    return SimpleNamespace(code=process.returncode, out=out, err=err)


def wait_for_records(store, process, number):
    """Wait until that many units are recorded, while the process goes on."""
    until(lambda: len(list((store / "records").glob("0*.json"))) >= number, f"{number} units", process=process)


@pytest.fixture
def resumed(file):
    """`resumed(store)`: resume in this process; the number of frames that were rendered."""
    return lambda store: generate(load_experiment(file), store, serial=True, resume=True).frames_done


@pytest.mark.slow
def test_shards_harmed_behind_the_back_of_a_run(start, resumed, held, undisturbed, tmp_path, assert_same_bits):
    store = tmp_path / "a.zarr"
    run = start(store, "--workers", 1, *CUT, **held.environment)
    wait_for_records(store, run, 5)
    units = sorted(int(path.stem) for path in (store / "records").glob("0*.json"))
    cut, noise, gone = (store / f"intensity/c/{unit}/0/0" for unit in units[:3])
    for path in (cut, noise, gone):
        assert path.exists()
    os.truncate(cut, cut.stat().st_size // 2)
    noise.write_bytes(np.random.default_rng(1).bytes(noise.stat().st_size))
    gone.unlink()
    held.release()
    done = ended(run)
    assert done.code == 0, done.err
    assert summarize(store).frames_complete == FRAMES, "what was cut short or gone was rendered again by the run itself"
    found = finish(store)
    assert found.damaged.keys() == {units[1]}
    assert f"intensity/c/{units[1]}/0/0 does not decode" in found.damaged[units[1]]
    assert resumed(store) == 1, "noise of the right size is found by decoding"
    assert_same_bits(store, undisturbed)


@pytest.mark.parametrize("how", ["serial", pytest.param("a worker", marks=pytest.mark.slow)])
def test_a_store_removed_under_a_run(how, start, resumed, held, undisturbed, tmp_path, assert_same_bits):
    store = tmp_path / "a.zarr"
    run = start(store, *(("--serial",) if how == "serial" else ("--workers", 1)), *CUT, **held.environment)
    wait_for_records(store, run, 4)
    moved = store.rename(tmp_path / "trash")  # at once, as seen by the run
    shutil.rmtree(moved)
    held.release()
    done = ended(run)
    assert done.code == 2
    said = done.err.splitlines()[-1]
    assert said.startswith(f"nbdist: {store}")
    assert "removed" in said
    assert not store.exists(), "nothing is left that would be in the way"
    assert resumed(store) == FRAMES
    assert_same_bits(store, undisturbed)


def test_two_runs_at_once_are_one_run_and_a_refusal(start, resumed, held, undisturbed, tmp_path, assert_same_bits):
    store = tmp_path / "a.zarr"
    both = [start(store, "--serial", "--resume", *CUT, **held.environment) for _ in range(2)]
    until(lambda: any(run.poll() is not None for run in both), "one of them to be refused")
    held.release()
    first, second = sorted((ended(run) for run in both), key=lambda done: done.code)
    assert (first.code, second.code) == (0, 2)
    assert "another run writes into it (process" in second.err.splitlines()[-1]
    assert resumed(store) == 0
    assert_same_bits(store, undisturbed)


def test_a_killed_run_holds_nothing_and_leaves_nothing_half_written(
    start, resumed, held, undisturbed, tmp_path, assert_same_bits
):
    store = tmp_path / "a.zarr"
    complete = 0
    for kills in range(3):
        held.hold_after(10 * (kills + 1))
        run = start(store, "--serial", "--resume", *CUT, **held.environment)
        wait_for_records(store, run, complete + 3)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        kept = len(summarize(store).complete)
        assert complete + 2 <= kept <= FRAMES - 1, kills
        complete = kept
    assert (store / "records/runs/run.lock").exists(), "the run was killed, not ended"
    half = store / "intensity/c/0/0/0.0123456789abcdef.partial"
    half.write_bytes(b"half a shard")
    assert resumed(store) == FRAMES - complete
    assert not half.exists()
    assert not (store / "records/runs/run.lock").exists()
    assert_same_bits(store, undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB; `small_disk.grow()` makes it large."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*arguments):
        subprocess.run(["mount", "-t", "tmpfs", *arguments, "tmpfs", folder], check=True, capture_output=True)

    try:
        mount("-o", "size=800k")  # the empty store takes 300, its units 1000
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")
    yield SimpleNamespace(path=folder, grow=lambda: mount("-o", "remount,size=50m"))
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_and_stays_full(start, resumed, undisturbed, small_disk, assert_same_bits):
    store = small_disk.path / "a.zarr"
    full = ended(start(store, "--serial", *CUT))
    assert full.code == 2
    assert "writing stopped: the disk is full; what is complete is kept, go on with --resume" in full.err
    (small_disk.path / "ballast").write_bytes(b"")
    _fill(small_disk.path / "ballast")
    still = ended(start(store, "--serial", "--resume"))
    assert still.code == 2
    assert still.err.splitlines()[-1] == f"nbdist: {store} cannot be written: the disk is full"
    complete = len(summarize(store).complete)
    assert 0 < complete < FRAMES
    small_disk.grow()
    assert resumed(store) == FRAMES - complete
    assert_same_bits(store, undisturbed)


def _fill(path):
    """Write until nothing more fits."""
    with path.open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


CLOCK = """
import os, time
_time, _offset_file = time.time, os.environ["NBDIST_TEST_CLOCK"]


def _jumping():
    try:
        return _time() + float(open(_offset_file).read() or 0)
    except (OSError, ValueError):
        return _time()


time.time = _jumping
"""


@pytest.mark.slow
def test_a_clock_that_jumps(start, resumed, undisturbed, tmp_path, assert_same_bits):
    store, clock = tmp_path / "a.zarr", tmp_path / "offset"
    held = Harm(tmp_path, held_after=5, at_start=CLOCK)
    run = start(store, "--workers", 1, *CUT, NBDIST_TEST_CLOCK=str(clock), **held.environment)
    for number, offset, held_after in ((3, 86400, 12), (8, -86400, 18), (14, 0, FRAMES)):
        wait_for_records(store, run, number)
        clock.write_text(str(offset))
        held.hold_after(held_after)
    done = ended(run)
    assert done.code == 0, done.err
    started = [json.loads(path.read_text())["started"] for path in (store / "records").glob("0*.json")]
    assert max(started) - min(started) > 80000, "the clock did jump"
    assert resumed(store) == 0
    assert_same_bits(store, undisturbed)
