"""Keeping jobs in a batch queue that refuses them, as far as it can be told without one."""

from __future__ import annotations

import os
import pwd
import threading
from types import SimpleNamespace

import pytest
from waiting import LIMIT_S

from nbdist.clusters import job_queue, queue_states
from nbdist.clusters.job_queue import LONGEST_PAUSE_S, LOOK_EVERY_S, QueuedJobs
from nbdist.errors import RunError


class FakeJob:
    """A job that the queue takes, or answers with `error`."""

    submit_command = "sbatch"

    def __init__(self, queue, number):
        self.queue, self.job_id = queue, str(number)

    def start(self):
        self.queue.asked += 1
        if self.queue.error is not None:
            raise self.queue.error
        self.queue.held.add(self.job_id)

    def close(self):
        self.queue.held.discard(self.job_id)


@pytest.fixture
def queue(monkeypatch):
    """A queue of jobs: `asked` submissions, jobs `held`, the `error` that it answers with, and `workers` by name."""
    state = SimpleNamespace(asked=0, held=set(), error=None, workers=[])
    monkeypatch.setattr(job_queue, "make_job", lambda *given: FakeJob(state, 1000 + state.asked))
    monkeypatch.setattr(QueuedJobs, "_names_of_workers", lambda self: list(state.workers))
    file = SimpleNamespace(kind="slurm", jobs=SimpleNamespace(minimum=1, maximum=2), log_folder=".")
    cluster = SimpleNamespace(name="c", scheduler_address="tcp://", sync=lambda call: call())
    state.jobs = QueuedJobs(file, cluster, security=None)
    return state


def _turns(queue, count):
    """Take turns of the thread that keeps jobs, without its waiting; returns the pauses before them."""
    pauses = []

    class Stop:
        def wait(self, pause_s):
            pauses.append(pause_s)
            return len(pauses) > count

        def is_set(self):
            return False

    queue.jobs._stop = Stop()
    queue.jobs._keep()
    return pauses[:count]


def test_submissions_that_are_refused_are_tried_ever_more_seldom_beside_a_healthy_job(queue):
    queue.jobs.file.jobs.maximum = 1
    queue.jobs._submit_missing()
    queue.workers = ["c-0"]
    queue.jobs.file.jobs.maximum = 2
    queue.error = RuntimeError("stderr:\nQOSMaxSubmitJobPerUserLimit")
    pauses = _turns(queue, 12)
    assert pauses[0] == LOOK_EVERY_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    assert sum(pauses) > 1000
    queue.error = None
    _turns(queue, 1)
    assert queue.jobs._pause() == LONGEST_PAUSE_S, "a job that has no worker yet proves nothing"
    queue.workers = [f"c-{number}" for number in range(20)]
    _turns(queue, 1)
    assert queue.jobs._pause() == LOOK_EVERY_S


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("stderr:\nInvalid partition"), "sbatch refused the job: Invalid partition"),
        (
            ValueError("Could not parse job id from submission command output\nhello"),
            "sbatch gave no number of the job",
        ),
    ],
)
def test_a_first_job_that_cannot_be_submitted_is_told_in_one_line(error, said, queue):
    queue.error = error
    with pytest.raises(RunError, match=said) as refused, queue.jobs:
        pass
    assert "\n" not in str(refused.value)


def test_an_interrupt_while_the_thread_is_waited_for_leaves_no_job(queue, monkeypatch):
    def interrupted(timeout=None):
        if timeout is None:
            raise KeyboardInterrupt

    queue.jobs.__enter__()
    assert len(queue.held) == 2
    monkeypatch.setattr(queue.jobs._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.jobs.__exit__()
    assert queue.held == set()
    monkeypatch.undo()
    threading.Thread.join(queue.jobs._thread, 10)


def test_an_interrupt_while_the_first_jobs_are_submitted_leaves_none(queue, monkeypatch):
    asked, number_told = threading.Event(), threading.Event()

    def start(job):
        asked.set()
        assert number_told.wait(LIMIT_S)
        job.queue.held.add(job.job_id)

    def interrupted():
        assert asked.wait(LIMIT_S)
        threading.Timer(0.1, number_told.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeJob, "start", start)
    monkeypatch.setattr(queue.jobs._begun, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.jobs.__enter__()
    queue.jobs._thread.join(LIMIT_S)
    assert queue.held == set()


def test_a_user_without_a_name_is_asked_about_by_number(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    asked = []
    answer = SimpleNamespace(stdout="1001 R\n", stderr="", returncode=0)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(queue_states.subprocess, "run", lambda command, **how: asked.append(command) or answer)
    assert queue_states.queue_states("slurm", ["1001"]) == {"1001": True}
    assert str(os.getuid()) in asked[0]
