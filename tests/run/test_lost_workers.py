"""Workers that are killed, told to end, or hang cost what they were rendering, and it is rendered again."""

from __future__ import annotations

import os
import signal

import pytest
from injected import run
from waiting import LIMIT_S, until

from nbdist.clusters import running_cluster
from nbdist.run.executors import dask, roster
from nbdist.run.settings import Pacing
from nbdist.store import summarize

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SHORT = Pacing(task_s=0.15)
"""Tasks of few units, so that there is always one to be lost."""
IMPATIENT = Pacing(task_s=0.15, stuck_after_s=3)


@pytest.fixture
def connected():
    """`connected(cluster)`: a client of a cluster of processes, once its workers are there."""
    from distributed import Client

    clients = []

    def connect(cluster):
        clients.append(Client(cluster.address, timeout=LIMIT_S, set_as_default=False))
        clients[-1].wait_for_workers(len(cluster.workers), timeout=LIMIT_S)
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


class Steps:
    """A report that takes the next step, once, when so many frames are done."""

    def __init__(self, **steps):
        self.steps = [(int(name.removeprefix("at_")), step) for name, step in steps.items()]

    def __call__(self, progress):
        while self.steps and progress.frames_done >= self.steps[0][0]:
            self.steps.pop(0)[1]()


def test_one_and_then_all_workers_are_killed_and_others_join(
    light_experiment, undisturbed_series, processes, connected, tmp_path, assert_same_bits
):
    cluster = processes(workers=2, held_after=50)  # until one has joined that takes their place
    client = connected(cluster)

    def kill_all():
        for worker in list(cluster.workers):
            cluster.kill(worker)
        cluster.add_worker()
        cluster.add_worker()

    steps = Steps(at_10=lambda: cluster.kill(cluster.workers[0]), at_30=kill_all)
    events = []

    def log(name, **facts):
        events.append(name)
        if events.count("worker-joined") == 3:
            cluster.harm.release()

    progress = run(
        light_experiment(60),
        tmp_path / "a.zarr",
        client,
        report=steps,
        log=log,
        pacing=SHORT,
    )
    assert not steps.steps
    assert (progress.frames_done, progress.failed) == (60, {})
    assert progress.workers_lost == events.count("worker-lost") == 2
    assert events.count("worker-joined") >= 3
    assert_same_bits(tmp_path / "a.zarr", undisturbed_series(60))


def test_a_worker_told_to_end_gives_back_its_units(
    light_experiment, undisturbed_series, processes, connected, tmp_path, assert_same_bits
):
    cluster = processes(workers=2, held_after=50)  # until it is missed
    client = connected(cluster)
    told = []

    def tell():
        told.append(cluster.workers[0])
        os.kill(told[0].pid, signal.SIGTERM)

    def log(name, **facts):
        if name == "worker-lost":
            cluster.harm.release()

    progress = run(light_experiment(60), tmp_path / "a.zarr", client, report=Steps(at_10=tell), log=log, pacing=SHORT)
    assert told[0].wait(LIMIT_S) is not None
    assert (progress.frames_done, progress.failed, progress.workers_lost) == (60, {}, 1)
    assert_same_bits(tmp_path / "a.zarr", undisturbed_series(60))


def test_a_worker_that_stands_still_is_given_up(
    light_experiment, undisturbed_series, processes, connected, tmp_path, assert_same_bits
):
    cluster = processes(workers=2)
    client = connected(cluster)
    stop = Steps(at_20=lambda: os.kill(cluster.workers[0].pid, signal.SIGSTOP))
    progress = run(light_experiment(60), tmp_path / "a.zarr", client, report=stop, pacing=IMPATIENT)
    assert (progress.frames_done, progress.failed) == (60, {})
    assert progress.retried > 0
    assert_same_bits(tmp_path / "a.zarr", undisturbed_series(60))


def test_a_worker_that_stands_still_before_a_run_is_named_and_gets_none_of_it(
    light_experiment, processes, connected, tmp_path, monkeypatch
):
    cluster = processes(workers=2)
    client = connected(cluster)
    stopped = next(its for its, pid in client.run(os.getpid).items() if pid == cluster.workers[0].pid)
    os.kill(cluster.workers[0].pid, signal.SIGSTOP)
    monkeypatch.setattr(running_cluster, "ANSWER_S", 4.0)
    monkeypatch.setattr(roster, "LATE_S", 0.5)
    monkeypatch.setattr(dask, "JOINING_S", 1.0)
    (note,) = running_cluster.check_versions(client)
    assert note.startswith("note: no answer of ")
    assert stopped in note
    progress = run(light_experiment(20), tmp_path / "a.zarr", client, pacing=SHORT)
    assert (progress.frames_done, progress.failed) == (20, {})
    assert progress.kinds == {"cpu": 1, "starting": 1}


HANGS = """
if frame == 30 and not (here / "hung").exists():
    (here / "hung").touch()
    time.sleep(10**6)
"""


def test_a_unit_that_hangs_is_rendered_elsewhere_and_its_worker_is_restarted(
    light_experiment, undisturbed_series, processes, connected, tmp_path, assert_same_bits
):
    cluster = processes(workers=1, harm=HANGS, nanny=True)
    client = connected(cluster)
    before = client.run(os.getpid)
    progress = run(light_experiment(60), tmp_path / "a.zarr", client, pacing=IMPATIENT)
    assert (progress.frames_done, progress.failed) == (60, {})
    assert progress.retried > 0
    assert set(client.run(os.getpid).values()).isdisjoint(before.values()), "it is another process"
    assert_same_bits(tmp_path / "a.zarr", undisturbed_series(60))


KILLS = """
if frame == 30 and not (here / "mended").exists():
    with (here / "kills").open("a") as kills:
        kills.write(".")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_unit_that_kills_its_workers_is_set_aside_and_no_other(
    light_experiment, undisturbed_series, processes, connected, tmp_path, assert_same_bits
):
    cluster = processes(workers=2, harm=KILLS, nanny=True, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    client = connected(cluster)
    progress = run(light_experiment(60), tmp_path / "a.zarr", client, pacing=SHORT)
    assert list(progress.failed) == [30]
    assert "worker" in progress.failed[30]
    assert cluster.mended.with_name("kills").read_text() == "..", "once among others, once alone"
    assert summarize(tmp_path / "a.zarr").complete == set(range(60)) - {30}
    cluster.mended.touch()
    until(client.nthreads, "workers")
    again = run(light_experiment(60), tmp_path / "a.zarr", client, resume=True)
    assert (again.frames_done, again.failed) == (1, {})
    assert_same_bits(tmp_path / "a.zarr", undisturbed_series(60))
