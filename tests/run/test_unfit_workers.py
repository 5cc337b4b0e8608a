"""An error at a worker is that worker's: it is named, restarted once, then left out, and the run goes on without it.

Most workers here are threads of this process, which nobody restarts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import threading
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from distributed import Future, get_worker
from distributed.core import Status
from injected import Here, in_process_client, run
from waiting import LIMIT_S, until

from nbdist import generate
from nbdist.clusters import running_cluster
from nbdist.errors import StoreError, UnfinishedError
from nbdist.run import rendering
from nbdist.run.context import RunContext, make_context
from nbdist.run.executors import worker_run
from nbdist.run.executors.choice import Workers, chosen_workers
from nbdist.run.executors.dask import DaskExecutor
from nbdist.run.executors.dask_workers import DaskWorkers
from nbdist.run.executors.roster import CANDIDATES, Roster, WorkerThere
from nbdist.run.failures import ErrorLine
from nbdist.run.generate import run_series
from nbdist.run.progress import Progress
from nbdist.run.settings import LocalProcesses, Pacing, RunSettings
from nbdist.scene import Tile
from nbdist.store import UnitWriter, summarize

CUT = {"frames_per_shard": 1}


@pytest.fixture
def threaded():
    """`threaded(1, 2)`: a client of workers in this process with so many threads each, and the workers in that order."""
    with contextlib.ExitStack() as stack:

        def make(*threads):
            client = stack.enter_context(in_process_client(*({"nthreads": count} for count in threads)))
            return client, [client.cluster.workers[number] for number in range(len(threads))]

        yield make


@pytest.fixture
def events():
    """Facts of the events of a run, by name, as `events.log` was told."""

    class Events(dict):
        def log(self, name, **facts):
            self.setdefault(name, []).append(facts)

    return Events()


@pytest.fixture
def heavy(small_experiment, monkeypatch):
    """A frame that is split, whose pieces are all ones and cost nothing."""
    monkeypatch.setattr(rendering, "partial_that_fits", lambda context, tile, frame, chunk: np.ones(tile.shape))
    experiment = small_experiment(
        panel={"spixels": 1000, "fpixels": 1100},
        crystal={"mosaic_spread_deg": 0.3, "mosaic_domains": 1000},
        scan={"frames": 1, "phi_steps": 10},
    )
    assert make_context(experiment, workers=2).plan.split
    return experiment


def _cannot_take_in(monkeypatch, *bad, error):
    """Workers at these addresses cannot take in a run."""

    def taking_in(content, run, worker, original=worker_run.prepare):
        if worker.address in bad:
            raise error
        return original(content, run, worker)

    monkeypatch.setattr(worker_run, "prepare", taking_in)


def _cannot_write(monkeypatch, *bad, error):
    """Workers at these addresses cannot write."""

    def writing(self, *arguments, original=UnitWriter.write):
        if get_worker().address in bad:
            raise error
        return original(self, *arguments)

    monkeypatch.setattr(UnitWriter, "write", writing)


FAULTS = {
    "torch": (_cannot_take_in, ImportError("libtorch_cpu.so: cannot open shared object file")),
    "no store": (_cannot_take_in, StoreError("there is no store")),
    "read-only": (_cannot_write, OSError(errno.EROFS, "Read-only file system")),
    "full disk": (_cannot_write, OSError(errno.ENOSPC, "No space left on device")),
    "removed": (_cannot_write, StoreError("was removed while a run wrote into it")),
}


@pytest.mark.integration
@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_that_is_wrong_alone_is_named_and_left_out_and_all_is_rendered(
    fault, light_experiment, undisturbed_series, threaded, events, monkeypatch, tmp_path, assert_same_bits
):
    undisturbed, (client, (bad, good)) = undisturbed_series(30), threaded(1, 1)
    harm, error = FAULTS[fault]
    harm(monkeypatch, bad.address, error=error)
    progress = generate(light_experiment(30), tmp_path / "a.zarr", client, log=events.log, **CUT)
    assert (progress.frames_done, progress.failed, progress.retried) == (30, {}, 0)
    ((named, reason),) = progress.left_out.items()
    assert named == f"{bad.address} on {os.uname().nodename}"
    assert reason.startswith(f"{type(error).__name__}: ")
    (failed,) = events["worker-failed"]
    assert (failed["worker"], failed["error"]) == (named, reason)
    assert failed["traceback"].startswith("Traceback")
    assert events["worker-left-out"] == [{"worker": named, "reason": reason}]
    assert good.address in client.nthreads()
    assert bad.address in client.nthreads(), "it is not closed: others may use it"
    assert_same_bits(tmp_path / "a.zarr", undisturbed)


@pytest.mark.integration
@pytest.mark.parametrize("fault", ["torch", "read-only"])
def test_a_run_that_no_worker_is_left_for_ends_and_says_why_each_was_left_out(
    fault, light_experiment, threaded, monkeypatch, tmp_path
):
    client, workers = threaded(1, 1)
    harm, error = FAULTS[fault]
    harm(monkeypatch, *(worker.address for worker in workers), error=error)
    with pytest.raises(UnfinishedError, match="no worker is left") as ended:
        generate(light_experiment(30), tmp_path / "a.zarr", client, **CUT)
    said = str(ended.value)
    assert all(worker.address in said for worker in workers)
    assert type(error).__name__ in said
    assert "--resume" in said
    assert "\n" not in said


@pytest.mark.integration
@pytest.mark.parametrize("split", [False, True], ids=["whole frames", "split frames"])
def test_what_the_client_sees_too_ends_the_run_and_no_worker_is_blamed(
    split, light_experiment, heavy, threaded, events, monkeypatch, tmp_path
):
    client, workers = threaded(1, 1)
    error = OSError(errno.ENOSPC, "No space left on device")
    _cannot_write(monkeypatch, *(worker.address for worker in workers), error=error)

    def probe(self, size):
        raise error

    monkeypatch.setattr(UnitWriter, "require_usable", probe)
    experiment = heavy if split else light_experiment(30)
    cut = {} if split else CUT
    with pytest.raises(StoreError, match=r"writing stopped: the disk is full; .* --resume"):
        generate(experiment, tmp_path / "a.zarr", client, log=events.log, **cut)
    assert "worker-failed" not in events


@pytest.mark.parametrize("size", [1, 100_000])
def test_the_probe_of_a_store_leaves_nothing_behind(size, light_experiment, tmp_path):
    generate(light_experiment(2), tmp_path / "a.zarr", serial=True, frames=range(1), **CUT)
    before = sorted(tmp_path.rglob("*"))
    UnitWriter(tmp_path / "a.zarr").require_usable(size)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.integration
def test_a_worker_without_a_compiler_is_left_out_where_another_has_one(
    light_experiment, threaded, monkeypatch, tmp_path
):
    client, (bad, _) = threaded(1, 1)

    def taking_in(content, run, worker, original=worker_run.prepare):
        said = original(content, run, worker)
        if worker.address == bad.address:
            return said | {"kernel": "eager", "why_eager": "no C++ compiler (g++)"}
        return said | {"kernel": "compiled"}

    monkeypatch.setattr(worker_run, "prepare", taking_in)
    progress = generate(light_experiment(10), tmp_path / "a.zarr", client, kernel="compiled", frames_per_shard=1)
    assert (progress.frames_done, progress.failed) == (10, {})
    ((named, reason),) = progress.left_out.items()
    assert named.startswith(bad.address)
    assert "no C++ compiler (g++)" in reason


@pytest.mark.integration
def test_workers_none_of_which_has_a_compiler_render_without(light_experiment, threaded, monkeypatch, tmp_path):
    client, _ = threaded(1, 1)
    eager = {"kernel": "eager", "why_eager": "no C++ compiler (g++)"}
    monkeypatch.setattr(worker_run, "prepare", lambda *a, f=worker_run.prepare: f(*a) | eager)
    progress = generate(light_experiment(4), tmp_path / "a.zarr", client, kernel="compiled", frames_per_shard=1)
    assert (progress.frames_done, progress.left_out) == (4, {})


@pytest.mark.integration
def test_a_unit_that_hangs_by_the_clock_that_is_handed_in_is_rendered_elsewhere(light_experiment, threaded, tmp_path):
    client, _ = threaded(1, 1)
    now, hung, released = [0.0], threading.Event(), threading.Event()

    def hanging(context, frame):
        if frame == 3 and not hung.is_set():
            hung.set()
            released.wait(LIMIT_S)
        return rendering.render_frame(context, frame)

    def report(progress):
        if hung.is_set() and progress.frames_done == 7 and not progress.retried:
            now[0] += Pacing.stuck_after_s / 2

    def executor(job, progress, units):
        return contextlib.closing(DaskExecutor(job, client, progress, clock=lambda: now[0]))

    workers = Workers(2, "cpu", executor)
    try:
        progress = run(
            light_experiment(8), tmp_path / "a.zarr", workers=workers, render_frame=Here(hanging), report=report
        )
    finally:
        released.set()
    assert now[0] >= Pacing.stuck_after_s
    assert (progress.frames_done, progress.failed) == (8, {})
    assert progress.retried >= 1


async def _remove(address, dask_scheduler):
    await dask_scheduler.remove_worker(address, stimulus_id="it is lost")


@pytest.mark.integration
def test_a_worker_may_be_lost_while_its_units_are_taken_back(light_experiment, threaded, monkeypatch, tmp_path):
    client, (bad, _) = threaded(1, 1)
    done, lost = threading.Event(), []

    def updating(workers, original=DaskWorkers.update):
        original(workers)
        if done.is_set() and not lost:
            lost.append(bad.address)
            workers.to_vacate.add(bad.address)
            client.run_on_scheduler(_remove, bad.address)

    monkeypatch.setattr(DaskWorkers, "update", updating)
    slow = Here(lambda *a, f=rendering.render_frame: threading.Event().wait(0.1) or f(*a))
    told = {"render_frame": slow, "report": lambda progress: progress.frames_done and done.set()}
    progress = run(light_experiment(40), tmp_path / "a.zarr", client, pacing=Pacing(task_s=0.1), **told)
    assert lost
    assert (progress.frames_done, progress.failed) == (40, {})


@pytest.mark.integration
def test_a_worker_is_not_restarted_for_a_unit_that_hung_at_another(light_experiment, threaded, tmp_path):
    client, _ = threaded(1, 1)
    now, hung_at, released = [0.0], [], threading.Event()

    def hanging(context, frame):
        if frame == 3:
            hung_at.append(get_worker().address)
            released.wait(LIMIT_S if len(hung_at) == 1 else 2.5)  # at the other worker for some looks at the workers
        return rendering.render_frame(context, frame)

    def report(progress):
        if hung_at and progress.frames_done == 7 and not now[0]:
            now[0] += Pacing.stuck_after_s + 1
            client.run_on_scheduler(_remove, hung_at[0])

    def executor(job, progress, units):
        return contextlib.closing(DaskExecutor(job, client, progress, clock=lambda: now[0]))

    workers, told = Workers(2, "cpu", executor), {"render_frame": Here(hanging), "report": report}
    try:
        progress = run(light_experiment(8), tmp_path / "a.zarr", workers=workers, **told)
    finally:
        released.set()
    assert len(set(hung_at)) == 2
    assert (progress.frames_done, progress.failed, progress.retried) == (8, {}, 0)


# ---- paused


@pytest.mark.integration
def test_a_paused_worker_is_named_and_its_units_are_rendered_by_the_others(
    light_experiment, threaded, events, tmp_path, caplog
):
    client, (bad, _) = threaded(1, 1)

    def pause(progress):
        if progress.frames_done >= 5 and bad.status == Status.running:
            client.run(lambda dask_worker: setattr(dask_worker, "status", Status.paused), workers=[bad.address])

    # its memory is looked after by Dask, which would let it go on
    bad.memory_manager.memory_pause_fraction = False
    slow = Here(lambda *a, f=rendering.render_frame: threading.Event().wait(0.05) or f(*a))
    kinds = []

    def report(progress):
        pause(progress)
        kinds.append(dict(progress.kinds))

    told = {"report": report, "log": events.log}
    progress = run(
        light_experiment(60), tmp_path / "a.zarr", client, render_frame=slow, pacing=Pacing(paused_s=1.0), **told
    )
    assert (progress.frames_done, progress.failed, progress.left_out) == (60, {}, {})
    assert {"cpu": 1, "paused": 1} in kinds
    (paused,) = events["worker-paused"]
    assert paused["worker"].startswith(bad.address)
    assert paused.keys() == {"worker", "memory_bytes", "memory_limit_bytes"}
    assert any("is paused by Dask: it uses" in record.getMessage() for record in caplog.records)


@pytest.mark.integration
def test_a_run_whose_workers_are_all_paused_ends_and_says_so(light_experiment, threaded, tmp_path):
    client, (only,) = threaded(1)
    only.memory_manager.memory_pause_fraction = False
    client.run(lambda dask_worker: setattr(dask_worker, "status", Status.paused))
    with pytest.raises(
        UnfinishedError, match=r"paused every worker for its memory.* MiB of its memory limit of"
    ) as ended:
        run(light_experiment(3), tmp_path / "a.zarr", client, pacing=Pacing(paused_s=1.0))
    assert only.address in str(ended.value)


# ---- threads


@pytest.mark.integration
@pytest.mark.parametrize("split", [False, True], ids=["whole frames", "split frames"])
def test_the_threads_of_a_worker_render_at_the_same_time_with_one_thread_of_the_kernel_each(
    split, light_experiment, heavy, threaded, monkeypatch, tmp_path
):
    both, met, kernel_threads = threading.Barrier(2, timeout=LIMIT_S), threading.Event(), set()

    def meeting(context, *arguments, original):
        kernel_threads.add(context.threads)
        if not met.is_set():
            both.wait()  # breaks, and the run fails, where one thread waits for the other
            met.set()
        return original(context, *arguments)

    name = "partial_that_fits" if split else "render_frame"
    monkeypatch.setattr(rendering, name, partial(meeting, original=getattr(rendering, name)))
    client, _ = threaded(2)
    experiment, cut = (heavy, {}) if split else (light_experiment(8), CUT)
    progress = generate(experiment, tmp_path / "a.zarr", client, **cut)
    assert met.is_set()
    assert (progress.frames_done, progress.failed) == (1 if split else 8, {})
    assert kernel_threads == {1}


@pytest.mark.parametrize(("device", "alone"), [("cpu", False), ("cuda", True)])
def test_threads_take_turns_on_a_gpu_and_nowhere_else(device, alone, light_experiment):
    class Fake:
        def __init__(self):
            self.backend = SimpleNamespace(device=device)

    context = make_context(light_experiment(1))
    context._renderer = Fake()
    entered = []

    def enter():
        with context.turn:
            entered.append(True)

    with context.turn:
        other = threading.Thread(target=enter)
        other.start()
        other.join(0.2 if alone else LIMIT_S)
        assert bool(entered) is not alone
    other.join(LIMIT_S)
    assert entered


def test_threads_share_a_renderer_and_get_the_bits_of_one(small_experiment):
    context = make_context(small_experiment(), kernel="compiled")
    tiles = [Tile(0, row, row + 8, 0, 80) for row in range(0, 96, 8)]
    alone = [make_context(small_experiment(), kernel="compiled").renderer.partial(tile, 1) for tile in tiles]
    found, start = {}, threading.Barrier(4)

    def render(first):
        start.wait(LIMIT_S)
        for number in [*range(first, len(tiles)), *range(first)]:
            found.setdefault(number, []).append(context.renderer.partial(tiles[number], 1))

    threads = [threading.Thread(target=render, args=(3 * first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert sorted(found) == list(range(len(tiles)))
    assert all((image == alone[number]).all() for number, images in found.items() for image in images)
    assert all(len(images) == 4 for images in found.values())
    factors = context.renderer.backend._whole_pixel
    assert factors._kept_bytes == 8 * sum(tile.pixels for tile, _ in factors._kept), "what is kept is counted once"


# ---- the scheduler, and what it is taken for


@pytest.mark.integration
def test_tasks_that_were_cancelled_by_somebody_else_are_handed_out_again(light_experiment, threaded, events, tmp_path):
    client, _ = threaded(1, 1)
    cancelled = []

    def cancel(progress):
        if progress.frames_done >= 5 and not cancelled:
            cancelled.extend(list(client.futures))
            client.cancel([Future(key, client=client) for key in cancelled], force=True)

    progress = generate(light_experiment(60), tmp_path / "a.zarr", client, report=cancel, log=events.log, **CUT)
    assert cancelled
    assert (progress.frames_done, progress.failed) == (60, {})
    assert "scheduler-reconnected" not in events
    assert client.status == "running"


@pytest.mark.integration
def test_workers_that_are_killed_while_they_take_in_the_run_come_back_and_render(
    light_experiment, client, events, tmp_path
):
    def harm():
        from nbdist.run.executors import worker_run

        worker_run.prepare = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)

    client.wait_for_workers(2, timeout=LIMIT_S)
    client.run(harm)
    progress = generate(light_experiment(10), tmp_path / "a.zarr", client, log=events.log, **CUT)
    assert (progress.frames_done, progress.failed, progress.left_out) == (10, {}, {})
    assert progress.workers_lost == 2
    assert all("died while it was prepared for the run" in facts["error"] for facts in events["worker-failed"])
    until(lambda: len(client.nthreads()) == 2, "the workers")


@pytest.mark.integration
def test_a_worker_that_is_wrong_until_it_is_restarted_is_restarted(light_experiment, client, events, tmp_path):
    def harm():
        from nbdist.run.executors import worker_run

        def failing(*arguments):
            raise ImportError("libtorch_cpu.so: cannot open shared object file")

        worker_run.prepare = failing

    client.wait_for_workers(2, timeout=LIMIT_S)
    bad = min(client.nthreads())
    client.run(harm, workers=[bad])
    progress = generate(light_experiment(10), tmp_path / "a.zarr", client, log=events.log, **CUT)
    assert (progress.frames_done, progress.failed, progress.left_out) == (10, {}, {})
    (failed,) = events["worker-failed"]
    assert failed["worker"].startswith(bad)
    until(lambda: len(client.nthreads()) == 2 and bad not in client.nthreads(), "the worker to be another process")


@pytest.mark.integration
def test_a_scheduler_of_another_version_is_named(threaded, monkeypatch):
    client, _ = threaded(1)
    monkeypatch.setattr(running_cluster, "_version_on_scheduler", lambda client, name: "1.0.0")
    with pytest.raises(
        running_cluster.RunError, match=r"the scheduler at inproc://.* python 1\.0\.0, 3\..* here"
    ) as refused:
        running_cluster.check_versions(client)
    assert "\n" not in str(refused.value)


# ---- pieces


@pytest.mark.integration
def test_a_piece_that_fails_is_rendered_again_and_the_others_are_kept(heavy, threaded, monkeypatch, tmp_path):
    settings = RunSettings(local=LocalProcesses(workers=2))  # planned for two, rendered by one in order
    plan = make_context(heavy, workers=2).plan
    pieces, rendered = len(plan.tiles) * len(plan.chunks), []

    def last_fails_twice(*arguments, original=rendering.partial_that_fits):
        rendered.append(arguments)
        if pieces <= len(rendered) < pieces + 2:
            raise ValueError("a cosmic ray")
        return original(*arguments)

    monkeypatch.setattr(rendering, "partial_that_fits", last_fails_twice)
    progress = run_series(heavy, tmp_path / "a.zarr", settings, chosen_workers(settings, threaded(1)[0]))
    assert (progress.frames_done, progress.retried, progress.failed) == (1, 2, {})
    assert len(rendered) == pieces + 2


def test_an_error_keeps_its_traceback_on_its_way():
    try:
        raise ValueError("no\namplitudes")
    except ValueError as error:
        line = ErrorLine.of(error)
    again = pickle.loads(pickle.dumps(worker_run.PieceError(line, "tcp://a", "0 0"))).line
    assert again == line
    assert again.startswith("ValueError: no amplitudes (test_unfit_workers.py:")
    assert again.traceback == line.traceback
    assert "raise ValueError" in again.traceback


def test_tasks_are_bound_to_a_few_fit_workers_where_there_are_others():
    roster = Roster("run", Progress())
    there = {f"tcp://{number}": WorkerThere(1, "", False, 0, 0) for number in range(1000)}
    roster.update(there)
    assert roster.places("") == ((), False), "any worker"
    roster.unfit.update(list(there)[:10])
    for _ in range(50):
        workers, only = roster.places("")
        assert only
        assert len(workers) == CANDIDATES
        assert roster.unfit.isdisjoint(workers)
    roster.unfit.update(there)
    assert roster.places("") is None


def test_what_a_worker_that_is_gone_has_said_does_not_count():
    roster = Roster("run", Progress())
    roster.note_event((1.0, {"run": "run", "worker": "tcp://gone", "kind": "cpu", "kernel": "eager", "host": "h"}))
    roster.update({"tcp://here": WorkerThere(1, "", False, 0, 0)})
    assert roster.prepared == {}
    assert roster.starting == {"tcp://here"}


def test_a_worker_that_its_nanny_started_again_is_named_with_its_host_before_it_tells_it():
    roster = Roster("run", Progress())
    roster.update({"tcp://first": WorkerThere(1, "tcp://nanny", False, 0, 0)})
    roster.note_event((1.0, {"run": "run", "worker": "tcp://first", "host": "node7", "error": "OSError"}))
    roster.update({"tcp://first": WorkerThere(1, "tcp://nanny", False, 0, 0)})
    roster.update({"tcp://again": WorkerThere(1, "tcp://nanny", False, 0, 0)})
    assert roster.named("tcp://again") == "tcp://again on node7"


def test_a_context_travels_with_locks_of_its_own(light_experiment):
    context = make_context(light_experiment(1))
    again: RunContext = pickle.loads(pickle.dumps(context))
    assert again.renderer is again.renderer


@pytest.mark.integration
def test_a_client_plans_for_all_threads(small_experiment, threaded, tmp_path):
    client, _ = threaded(3)
    experiment = small_experiment(scan={"frames": 100})
    generate(experiment, tmp_path / "a.zarr", client, frames=range(1))
    planned = make_context(experiment, workers=3).plan.settings
    assert summarize(tmp_path / "a.zarr").settings == planned
    assert planned != make_context(experiment, workers=1).plan.settings
