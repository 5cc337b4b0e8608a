"""`nbdist run` as a process whose scheduler, client and workers are killed: it ends in order or goes on, and `--resume` completes it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import psutil
import pytest
from command_line import run_command
from harm import Harm
from waiting import LIMIT_S, until

from nbdist import generate, load_experiment
from nbdist.experiment import experiment_to_yaml
from nbdist.store import summarize

pytestmark = [pytest.mark.integration, pytest.mark.slow]
FRAMES = 60


class Command:
    """`nbdist run` on one store, started as often as it takes."""

    def __init__(self, folder, experiment):
        self.file, self.store, self.log = folder / "series.yaml", folder / "a.zarr", folder / "log.json"
        self.file.write_text(experiment_to_yaml(experiment))
        self.process = None

    def words(self):
        """Of the command, after `nbdist`."""
        resume = ("--resume",) if self.store.exists() else ("--frames-per-shard", "1")
        log = ("--log-file", self.log, "--log-format", "json")
        return list(map(str, ("run", self.file, "-o", self.store, *log, *resume)))

    def start(self, *options, **environment):
        self.process = subprocess.Popen(
            [shutil.which("nbdist"), *self.words(), *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    @property
    def records(self):
        return len(list((self.store / "records").glob("0*.json")))

    def wait_for_records(self, number):
        until(lambda: self.records >= number, f"{number} records", process=self.process)

    def end(self, number=None):
        """Send a signal, if one is given, and wait; returns the exit status and what was said."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=LIMIT_S)
        assert "Traceback" not in err
        return self.process.returncode, out + err

    def resume(self):
        """Resume in this process; the number of frames that were rendered."""
        return generate(load_experiment(self.file), self.store, serial=True, resume=True).frames_done

    def events(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def command(tmp_path, light_experiment):
    made = Command(tmp_path, light_experiment(FRAMES))
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


POISON = """
if frame in (30, 31):
    raise ValueError("a cosmic ray")
"""


def test_a_poisoned_unit_is_set_aside_with_its_error_and_resume_tries_it_again(
    command, processes, undisturbed_series, assert_same_bits
):
    cluster = processes(workers=1, harm=POISON)
    command.start("--scheduler", cluster.address)
    status, said = command.end()
    assert status == 1
    assert "unit 30 failed: ValueError: a cosmic ray" in said
    assert f"nbdist run {command.file} -o {command.store} --resume" in said
    assert "58 done, 4 tried again, 2 failed" in said
    assert summarize(command.store).complete == set(range(FRAMES)) - {30, 31}
    events = command.events()
    assert sorted(event["unit"] for event in events if event["event"] == "unit-failed") == [30, 31]
    assert events[-1]["event"] == "run-ended"
    assert (events[-1]["units"], events[-1]["failed"], events[-1]["retried"]) == (58, 2, 4)
    assert command.resume() == 2, "only what was missing"
    assert_same_bits(command.store, undisturbed_series(FRAMES))


def test_a_lost_scheduler_ends_the_run_and_resume_completes_it(
    command, processes, undisturbed_series, monkeypatch, capsys, assert_same_bits
):
    monkeypatch.setattr("nbdist.run.executors.dask.RECONNECT_TIMEOUT_S", 1.0)
    cluster = processes(workers=2, held_after=30)

    def kill():
        command.wait_for_records(10)
        cluster.kill(cluster.scheduler)

    killing = threading.Thread(target=kill)
    killing.start()
    ended = run_command([*command.words(), "--scheduler", cluster.address], monkeypatch, capsys)
    killing.join()
    assert ended.status == 1
    assert "the Dask scheduler was lost" in ended.err
    assert f"Go on with: nbdist run {command.file} -o {command.store} --resume" in ended.err
    complete = len(summarize(command.store).complete)
    assert command.resume() == FRAMES - complete, "only what was missing"
    assert_same_bits(command.store, undisturbed_series(FRAMES))


def test_a_scheduler_that_comes_back_is_taken_up_again(command, processes, undisturbed_series, assert_same_bits):
    cluster = processes(workers=1, held_after=30)
    command.start("--scheduler", cluster.address)
    command.wait_for_records(10)
    cluster.kill(cluster.scheduler)
    cluster.start_scheduler()
    cluster.add_worker()
    cluster.harm.release()
    status, said = command.end()
    assert status == 0, said
    assert "scheduler-reconnected" in [event["event"] for event in command.events()]
    assert_same_bits(command.store, undisturbed_series(FRAMES))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["told to end", "killed"])
def test_a_run_with_workers_of_its_own_that_is_ended_leaves_no_process_and_resume_completes_it(
    number, command, undisturbed_series, tmp_path, assert_same_bits
):
    command.start("--workers", 1, **Harm(tmp_path, held_after=30).environment)
    command.wait_for_records(3)
    family = psutil.Process(command.process.pid).children(recursive=True)
    assert len(family) >= 2
    status, said = command.end(number)
    if number == signal.SIGTERM:
        assert status == 128 + signal.SIGTERM
        assert f"Go on with: nbdist run {command.file} -o {command.store} --resume" in said
        assert command.events()[-1]["how"] == "stopped"
    _, alive = psutil.wait_procs(family, timeout=LIMIT_S)
    assert alive == []
    assert command.resume() > 0
    assert_same_bits(command.store, undisturbed_series(FRAMES))


def test_a_run_survives_kills_of_everything_in_random_order(
    command, processes, light_experiment, undisturbed_series, tmp_path, assert_same_bits
):
    seed = int.from_bytes(os.urandom(4))
    chance, cluster, statuses = random.Random(seed), processes(workers=2, held_after=0), []
    command.start("--scheduler", cluster.address)
    for turn in range(1, 7):
        before = command.records
        cluster.harm.hold_after(9 * turn)  # so that there is something left for each turn
        until(lambda before=before: command.records > before or command.process.poll() is not None, f"a unit ({seed})")
        time.sleep(chance.uniform(0, 0.5))
        victim = chance.choice(["worker", "worker", "worker", "all workers", "client", "scheduler"])
        if victim == "scheduler":
            cluster.kill(cluster.scheduler)
            for worker in list(cluster.workers):
                cluster.kill(worker)
            cluster.start_scheduler()
        elif victim == "client":
            command.process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        else:
            for worker in cluster.workers[: len(cluster.workers) if victim == "all workers" else 1]:
                cluster.kill(worker)
        while len(cluster.workers) < 2:
            cluster.add_worker()
        if victim == "client" or command.process.poll() is not None:
            statuses.append(command.end()[0])
            command.start("--scheduler", cluster.address)
    cluster.harm.release()
    while (status := command.end()[0]) != 0:
        statuses.append(status)
        assert len(statuses) < 20, (seed, statuses)
        command.start("--scheduler", cluster.address)
    assert_same_bits(command.store, undisturbed_series(FRAMES))
