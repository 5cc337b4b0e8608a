"""The workers of a Dask cluster as an executor: units go to them as tasks, records come back, pixels do not.

The window is ours: there is room for another task when one finishes, so a million units grow neither the scheduler nor the client. What
a worker needs (geometry, plan) is handed to it once, and so to a worker that joins later. Where workers with and without a GPU are there
together, each kind has a window of its own onto the same units, and tasks of its own size.

What is in flight is given back where the connection to the scheduler broke, or where a worker hangs or is not fit for the run (see
`dask_workers`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from distributed import Client, Future, KilledWorker
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from nbdist.clusters.message_streams import send_at_once
from nbdist.errors import UnfinishedError, is_fatal, one_line
from nbdist.run.executors import Outcome, Room
from nbdist.run.executors.dask_workers import DaskWorkers, in_background
from nbdist.run.executors.roster import ANY, TASKS_PER_WORKER, Places
from nbdist.run.executors.submitting import Submitter, Task
from nbdist.run.executors.tasks import tasks_at_workers
from nbdist.run.executors.worker_run import Answer, PieceError
from nbdist.run.failures import ErrorLine
from nbdist.run.jobs import Job
from nbdist.run.progress import Progress, Work
from nbdist.run.settings import Pacing

logger = logging.getLogger(__name__)
TICK_S = 1.0
"""Seconds between two looks at the workers."""
STUCK_FACTOR = 10.0
"""A task hangs that is at a worker for so many times what another was in flight, or what was expected."""
JOINING_S = 30.0
"""How long a run waits at its beginning until the workers that are there have been prepared for it."""
RESULT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 10.0
RECONNECT_TIMEOUT_S = 20.0
"""How long a scheduler that is gone is waited for."""


class Arrival(NamedTuple):
    """When a task was first seen at a worker; seconds of the clock."""

    worker: str
    since: float


class DaskExecutor:
    """Renders the units of a job on the workers of a Dask client.

    Parameters
    ----------
    job
        What is rendered.
    client
        Its workers render; it stays open.
    progress
        Is told which workers there are.
    pacing
        Sizes of tasks and waiting times.
    clock
        Seconds that only go forward.
    """

    def __init__(
        self,
        job: Job[Any],
        client: Client,
        progress: Progress,
        pacing: Pacing = Pacing(),  # noqa: B008  (it is frozen)
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name = uuid.uuid4().hex[:8]
        self._job, self._client, self._progress, self._pacing, self._clock = job, client, progress, pacing, clock
        plan = job.context.plan
        self._submitter = Submitter(client, name, job, pacing, clock)
        self._tasks_per_unit = plan.tasks_per_frame * job.frames_per_unit
        self._expected_s = plan.cost.seconds * job.frames_per_unit * TASKS_PER_WORKER
        self._workers = DaskWorkers(client, job, name, progress, pacing, clock)
        self._roster = self._workers.roster
        self._running: dict[Future, Task] = {}
        self._finished: SimpleQueue[Future] = SimpleQueue()
        self._not_submitted: list[Work] = []
        self._joining_until = math.inf
        self._connected = False
        self._connection_doubtful = False
        self._looked = -math.inf
        self._arrivals: dict[str, Arrival] = {}

    @property
    def workers(self) -> Collection[str]:
        """Addresses of the workers that are there."""
        return self._roster.there.keys()

    def room(self, units_left: int) -> list[Room]:
        """Room in the window of each kind of worker; none until the workers that are there at the beginning are prepared."""
        if self._joining:
            return []
        in_flight = Counter(task.window for task in self._running.values())
        return [
            Room(kind, max(0, size - in_flight[kind]), self._units_per_task(kind, units_left))
            for kind, size in self._windows().items()
            if self._roster.places(kind) is not None
        ]

    def submit(self, units: Sequence[Work], kind: str, avoided: Collection[str]) -> None:
        """Submit units as one task, or one unit as several."""
        try:
            future, task = self._submitter.submit(units, kind, partial(self._places, kind, avoided))
        except (OSError, FutureCancelledError):
            self._not_submitted.extend(units)
            self._connection_doubtful = True
            return
        self._running[future] = task
        future.add_done_callback(self._finished.put)

    def collect(self) -> Iterator[Outcome]:
        """What became of tasks, and of workers; where the connection to the scheduler breaks, it is taken up again if that can be had.

        What goes wrong while the scheduler answers is the matter of one worker, or passes: the next call comes soon.

        Raises
        ------
        UnfinishedError
            If the scheduler is lost, or no worker is left.
        OSError, StoreError
            If the store cannot be written, here as at a worker.
        """
        try:
            yield from self._collected()
        except (OSError, FutureCancelledError) as error:
            if is_fatal(error):
                raise
            if self._workers.scheduler_answers():
                logger.info("going on after: %s", one_line(error))
            else:
                yield from self._reconnect()

    def restart_or_exclude(self, worker: str, error: ErrorLine) -> None:
        """Restart a worker, or leave it out.

        Raises
        ------
        UnfinishedError
            If no worker is left for the run.
        """
        self._workers.restart_or_exclude(worker, error)

    def close(self) -> None:
        """Give up what is in flight and leave nothing of this run with the cluster, if that is still there."""
        if self._client.status == "running":
            in_background(self._leave).join(CLOSE_TIMEOUT_S)

    def _leave(self) -> None:
        self._client.cancel(list(self._running), force=True)
        self._workers.close()

    @property
    def _joining(self) -> bool:
        """Whether the run still waits at its beginning for workers to be prepared."""
        if self._connected and (not self._roster.starting or self._clock() > self._joining_until):
            self._joining_until = -math.inf
        return self._joining_until > -math.inf

    def _places(self, window: str, avoided: Collection[str]) -> Places:
        return self._roster.places(window, avoided) or Places()

    def _windows(self) -> dict[str, int]:
        if not self._job.split:
            return {window: max(1, size) for window, size in self._roster.windows.items()}
        # two frames at least: while the last tasks of one are rendered, the next has begun
        return {ANY: max(2, math.ceil(TASKS_PER_WORKER * self._progress.workers / self._tasks_per_unit))}

    def _units_per_task(self, window: str, units_left: int) -> int:
        """As many units as make a task of the wanted length, but a share of those left when they run out."""
        if self._job.split:
            return 1
        share = units_left // (2 * TASKS_PER_WORKER * max(1, self._progress.workers))
        return max(1, min(self._roster.pace(window).units_per_task(self._pacing), share))

    def _collected(self) -> Iterator[Outcome]:
        if not self._connected:
            self._connect()
        if self._joining:
            self._roster.changed.wait(TICK_S)
            self._roster.changed.clear()
            self._workers.update()
            return
        if self._not_submitted:
            yield Outcome(self._not_submitted)
            self._not_submitted = []
        futures = self._next_finished()
        try:
            while futures:
                yield from self._outcome(futures[0])
                del futures[0]
        finally:
            for future in futures:  # not looked at, for the connection broke
                self._finished.put(future)
        if self._connection_doubtful:
            self._connection_doubtful = False
            raise CommClosedError
        yield from self._look()

    def _next_finished(self) -> list[Future]:
        """Futures that finished, waiting for the first of them up to the next look at the workers."""
        futures = []
        with contextlib.suppress(Empty):
            futures.append(self._finished.get(timeout=TICK_S))
            while True:
                futures.append(self._finished.get_nowait())
        return futures

    def _outcome(self, future: Future) -> Iterator[Outcome]:
        """What became of a task whose future is finished."""
        task = self._running.get(future)
        if task is None:
            return
        if future.status == "cancelled":  # not by this run: it was lost with the connection, or with what it needed
            del self._running[future]
            self._connection_doubtful = True
            yield Outcome(task.units)
        elif future.status == "error":
            error = future.exception()
            del self._running[future]
            yield self._failed(error, task)
        else:
            try:
                answer = future.result(timeout=RESULT_TIMEOUT_S)
            except TimeoutError:
                holding = self._client.who_has([future])
                yield from self._taken_back([task], killed="the answer of its worker did not arrive")
                self._workers.restart({address for addresses in holding.values() for address in addresses})
                return
            del self._running[future]
            future.release()
            yield from self._answered(answer, task)

    def _answered(self, answer: Answer, task: Task) -> Iterator[Outcome]:
        self._roster.paces[answer.kind].add(len(answer.records), answer.seconds, self._clock() - task.since)
        yield Outcome(task.units, answer.address, answer.records, answer.errors)
        if not answer.held:
            self._workers.prepare_again(answer.address)
        elif answer.worker_error is not None:
            self._job.require_usable(max(1, self._progress.workers), answer.worker_error)
            self._workers.restart_or_exclude(answer.address, answer.worker_error)

    def _failed(self, error: BaseException, task: Task) -> Outcome:
        """A task that did not answer: its workers died, a piece of it failed, or a worker could not even begin it."""
        if isinstance(error, KilledWorker):
            return Outcome(task.units, killed="every worker that rendered it died (killed, out of memory, or crashed)")
        if isinstance(error, ImportError):  # of a worker that cannot be prepared either, and says so
            return Outcome(task.units)
        if isinstance(error, PieceError):
            self._submitter.keep_pieces(task)
            errors = {unit.number: error.line for unit in task.units}
            return Outcome(task.units, error.address, errors=errors, piece=error.piece)
        line = ErrorLine.of(error)
        return Outcome(task.units, errors={unit.number: line for unit in task.units})

    def _connect(self) -> None:
        """Make this run known to the workers."""
        with contextlib.suppress(KeyError):  # of a scheduler without web pages
            self._progress.dashboard = self._client.dashboard_link or None
        if (stream := self._client.scheduler_comm) is not None:  # as it is where the scheduler is lost this moment
            send_at_once(stream)
        self._workers.connect()
        if not self._connected:
            self._connected, self._joining_until = True, self._clock() + JOINING_S

    def _reconnect(self) -> Iterator[Outcome]:
        """Give back all that is in flight after the connection to the scheduler broke, and begin again if it can be had.

        Raises
        ------
        UnfinishedError
            If the scheduler is not found again.
        """
        for task in self._running.values():
            yield Outcome(task.units)
        self._running.clear()
        deadline = self._clock() + RECONNECT_TIMEOUT_S
        while self._clock() < deadline and self._client.status in ("running", "connecting"):
            time.sleep(0.2)
            if self._client.status == "running":
                with contextlib.suppress(OSError):
                    self._connect()
                    self._progress.log("scheduler-reconnected")
                    return
        raise UnfinishedError("the Dask scheduler was lost")

    def _look(self) -> Iterator[Outcome]:
        """See which workers there are, and which tasks hang, every now and then."""
        if self._clock() - self._looked < TICK_S:
            return
        self._looked = self._clock()
        self._workers.update()
        at_workers = self._client.run_on_scheduler(tasks_at_workers, self._name)
        yield from self._taken_from_unfit_workers(at_workers)
        yield from self._taken_from_stuck_workers(at_workers)

    def _taken_from_unfit_workers(self, at_workers: dict[str, str]) -> Iterator[Outcome]:
        """Tasks of workers that get none any more, and those that only such workers might take."""
        keys = {key for key, worker in at_workers.items() if worker in self._workers.to_vacate}
        self._workers.to_vacate.clear()
        fit = self._roster.fit
        yield from self._taken_back(
            [
                task
                for task in self._running.values()
                if not task.keys.isdisjoint(keys) or any(fit.isdisjoint(workers) for workers in task.only)
            ]
        )

    def _taken_from_stuck_workers(self, at_workers: dict[str, str]) -> Iterator[Outcome]:
        """Tasks that are at one worker for far too long; it is restarted, and not the one to which Dask moves a task that was there."""
        now, before = self._clock(), self._arrivals
        self._arrivals = {
            key: before[key] if key in before and before[key].worker == worker else Arrival(worker, now)
            for key, worker in at_workers.items()
            if worker not in self._roster.starting  # tasks that came too early wait there
        }
        hanging: set[str] = set()
        stuck = []
        for task in self._running.values():
            patience_s, arrivals = self._patience_s(task), [self._arrivals.get(key) for key in task.keys]
            if at := {arrival.worker for arrival in arrivals if arrival and now - arrival.since > patience_s}:
                hanging |= at
                stuck.append(task)
        if not stuck:
            return
        logger.warning("a task is in flight for too long; its worker is restarted: %s", ", ".join(sorted(hanging)))
        yield from self._taken_back(stuck, killed="it was in flight for too long (--stuck-after)")
        self._workers.restart(hanging)

    def _patience_s(self, task: Task) -> float:
        usual_s = max(self._expected_s, self._roster.pace(task.window).longest_s)
        return max(self._pacing.stuck_after_s, STUCK_FACTOR * usual_s)

    def _taken_back(self, tasks: list[Task], killed: str = "") -> Iterator[Outcome]:
        """Give up tasks."""
        futures = [future for future, task in self._running.items() if task in tasks]
        for future in futures:
            del self._running[future]
        if futures:
            self._client.cancel(futures, force=True)
        for task in tasks:
            yield Outcome(task.units, killed=killed)
