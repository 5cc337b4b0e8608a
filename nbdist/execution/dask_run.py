"""The Dask run: units go to workers through a bounded window, records come back, pixels do not.

The window is ours: a task is submitted when another finishes, so a million units grow neither the scheduler nor the client. What a
worker needs (amplitudes, geometry, plan) reaches it once, as a worker plugin, and so does a worker that joins later. Where workers
with and without a GPU are there together, each kind has a window of its own onto the same units, and tasks of its own size.

What is lost is handed out again: by Dask where a worker died, by `Supply` where a unit failed, and by this loop where a worker hangs
or the connection to the scheduler broke.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from nbdist.errors import UnfinishedError, is_fatal
from nbdist.execution.context import RunContext
from nbdist.execution.health import Health
from nbdist.execution.progress import Progress, Report
from nbdist.execution.roster import ANY, TASKS_PER_WORKER, Pace, Roster
from nbdist.execution.submitting import Submitter, Task
from nbdist.execution.supply import Supply
from nbdist.execution.tasks import abandoned_plugins
from nbdist.execution.worker_plugin import JOINED, Answer, RunPlugin
from nbdist.planning import Unit
from nbdist.store.locations import one_line

logger = logging.getLogger(__name__)
TICK_S = 1.0
"""Seconds between two looks at the workers."""
STUCK_FACTOR = 10.0
"""A task hangs that is in flight for so many times what another took, or what was expected."""
RESTART_TIMEOUT_S = 30.0
RESULT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 10.0
RECONNECT_TIMEOUT_S = 20.0
"""How long a scheduler that is gone is waited for."""


def run_dask(
    context: RunContext,
    units: Iterable[Unit],
    client: Client,
    progress: Progress,
    report: Report,
    retries: int,
    stuck_after: float,
) -> None:
    """Render `units` on the workers of `client`; a unit that fails after its retries is set aside in `progress.failed`.

    Parameters
    ----------
    stuck_after
        Seconds that every task may be in flight; one that takes far longer than any other too is taken from its worker.

    Raises
    ------
    UnfinishedError
        If the scheduler is lost.
    OSError
        If the store cannot be written any more (disk full, no permission).
    """
    run = _Run(context, units, client, progress, report, retries, stuck_after)
    try:
        run.loop()
    finally:
        run.close()


class _Run:
    """The client's side of a run."""

    def __init__(
        self,
        context: RunContext,
        units: Iterable[Unit],
        client: Client,
        progress: Progress,
        report: Report,
        retries: int,
        stuck_after: float,
    ) -> None:
        name = uuid.uuid4().hex[:8]
        self.client, self.progress, self.report = client, progress, report
        client._timeout = RECONNECT_TIMEOUT_S  # else it gives up as early as at its first connection
        self.stuck_after = stuck_after
        self.plugin = RunPlugin(context, name, client.id)
        self.submitter = Submitter(client, self.plugin, retries)
        self.frames_per_unit = context.plan.settings.frames_per_shard
        self.tasks_per_unit = context.plan.tasks_per_frame * self.frames_per_unit
        self.expected_s = context.plan.cost.seconds * self.frames_per_unit * TASKS_PER_WORKER
        self.supply = Supply(units, retries, progress)
        self.roster = Roster(name, progress)
        self.health = Health()
        self.running: dict[Future, Task] = {}
        self.finished: SimpleQueue[Future] = SimpleQueue()
        self.looked = 0.0

    def loop(self) -> None:
        """Hand out units until none is left and none in flight."""
        self._guarded(self._connect)
        self._guarded(self._fill)
        self.report(self.progress)
        while self.running:
            self._guarded(self._step)
            self.report(self.progress)

    def close(self) -> None:
        """Give up what is in flight and leave nothing of this run with the scheduler, if that is still there."""
        if self.client.status != "running":
            return
        self._in_background(self._leave).join(CLOSE_TIMEOUT_S)

    def _leave(self) -> None:
        self.client.cancel(list(self.running), force=True)
        self.client.unsubscribe_topic(JOINED)
        self.client.unregister_worker_plugin(self.plugin.name)

    def _in_background(self, step: Callable[[], object]) -> threading.Thread:
        """Take a step for which every worker is asked, of which one may hang; the run goes on without it."""

        def taken() -> None:
            try:
                step()
            except (OSError, ValueError, RuntimeError, FutureCancelledError) as error:
                logger.info("%s: %s", getattr(step, "__name__", "a step"), one_line(error))

        thread = threading.Thread(target=taken, daemon=True)
        thread.start()
        return thread

    def _connect(self) -> None:
        """Make this run known to the scheduler and the workers."""
        self.client.subscribe_topic(JOINED, self.roster.hear)
        self.client.register_plugin(self.plugin, name=self.plugin.name)
        self.progress.dashboard = self.client.dashboard_link
        self._look(now=True)
        self._in_background(self._remove_abandoned)

    def _remove_abandoned(self) -> None:
        """Free the scheduler and the workers of the amplitudes of runs that were killed."""
        for name in self.client.run_on_scheduler(abandoned_plugins):
            self.client.unregister_worker_plugin(name)

    def _step(self) -> None:
        for future in self._next_finished():
            self._collect(future)
        self._look()
        self._fill()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Take a step; where the connection to the scheduler breaks in it, take it up again if that can be had."""
        try:
            step()
        except (OSError, FutureCancelledError) as error:
            if is_fatal(error):
                raise
            self._reconnect()
            self._guarded(self._fill)

    def _next_finished(self) -> list[Future]:
        """Futures that finished, waiting for the first of them up to the next look at the workers."""
        futures = []
        with contextlib.suppress(Empty):
            futures.append(self.finished.get(timeout=TICK_S))
            while True:
                futures.append(self.finished.get_nowait())
        return futures

    def _look(self, now: bool = False) -> None:
        """See which workers there are, and which tasks hang, every now and then."""
        if not now and time.monotonic() - self.looked < TICK_S:
            return
        self.looked = time.monotonic()
        if self.client.status != "running":
            raise CommClosedError
        if not self.roster.complete:
            for event in self.client.get_events(JOINED):
                self.roster.hear(event)
        before = set(self.roster.threads)
        self.roster.update(self.client.nthreads())
        self.health.lost(before - set(self.roster.threads))
        self._take_from_stuck_workers()

    def _fill(self) -> None:
        """Submit tasks until every window is full."""
        in_flight = {window: 0 for window in self._windows()}
        for task in self.running.values():
            in_flight[task.window] = in_flight.get(task.window, 0) + 1
        for window, size in self._windows().items():
            while in_flight[window] < size and (units := self.supply.take(self._units_per_task(window))):
                avoided = self.health.avoided(units[0].number)  # a unit that failed is alone in its task
                workers = self.roster.candidates(window, avoided) if window != ANY or avoided else ()
                future, task = self.submitter.submit(units, window, workers)
                self.running[future] = task
                future.add_done_callback(self.finished.put)
                in_flight[window] += 1
        self.progress.in_flight = sum(len(task.units) for task in self.running.values())

    def _windows(self) -> dict[str, int]:
        if not self.submitter.split:
            return {window: max(1, size) for window, size in self.roster.windows.items()}
        # two frames at least: while the last tasks of one are rendered, the next has begun
        return {ANY: max(2, -(-TASKS_PER_WORKER * self.progress.workers // self.tasks_per_unit))}

    def _units_per_task(self, window: str) -> int:
        """As many units as make a task of about a second, but a share of those left when they run out."""
        if self.submitter.split:
            return 1
        left = self.progress.frames_total - self.progress.frames_done
        share = left // (2 * TASKS_PER_WORKER * max(1, self.progress.workers) * self.frames_per_unit)
        return max(1, min(self.roster.pace(window).units_per_task(), share))

    def _collect(self, future: Future) -> None:
        """Take in what became of a task."""
        task = self.running.get(future)
        if task is None:
            return
        if future.status == "cancelled":  # not by this run
            raise CommClosedError
        if future.status == "error":
            error = future.exception()
            del self.running[future]
            self._collect_error(error, task)
            return
        try:
            answer = future.result(timeout=RESULT_TIMEOUT_S)
        except TimeoutError:
            holding = self.client.who_has([future])
            self._take_back([task], "the answer of its worker did not arrive")
            self._restart({address for addresses in holding.values() for address in addresses})
            return
        del self.running[future]
        future.release()
        self._collect_answer(answer, task)

    def _collect_answer(self, answer: Answer, task: Task) -> None:
        pace = self.roster.paces.setdefault(answer.kind, Pace())
        pace.add(len(answer.records), answer.seconds, time.monotonic() - task.since)
        units = {unit.number: unit for unit in task.units}
        done, failed = [record["unit"] for record in answer.records], [units[number] for number in answer.errors]
        self.health.note(answer.address, done, failed)
        for record in answer.records:
            self.supply.done(units.pop(record["unit"]).number)
            self.progress.unit_done(record)
        for number, error in answer.errors.items():
            self.supply.failed(units.pop(number), error)
        self.supply.give_back(list(units.values()))
        self._restart_sick_workers()

    def _restart_sick_workers(self) -> None:
        """Restart workers that fail unit after unit while others succeed, and forget the failures of these units."""
        sick = self.health.sick()
        for address, units in sick.items():
            logger.warning("%d units in a row failed at %s, while others succeed: restarting it", len(units), address)
            self.supply.pardon(units)
        if sick:
            self._restart(set(sick))

    def _collect_error(self, error: BaseException, task: Task) -> None:
        """A task that did not answer: its workers died, or something is wrong that its units have no part in."""
        if is_fatal(error):
            raise error
        if isinstance(error, KilledWorker):
            self.supply.killed(task.units, "every worker that rendered it died (killed, out of memory, or crashed)")
            return
        for unit in task.units:
            logger.warning("unit %d failed: %s", unit.number, one_line(error))
            self.supply.failed(unit, one_line(error))

    def _reconnect(self) -> None:
        """Take back all that is in flight after the connection to the scheduler broke, and begin again if it can be had.

        Raises
        ------
        UnfinishedError
            If the scheduler is not found again.
        """
        self.supply.give_back([unit for task in self.running.values() for unit in task.units])
        self.running.clear()
        deadline = time.monotonic() + RECONNECT_TIMEOUT_S
        while time.monotonic() < deadline and self.client.status in ("running", "connecting"):
            time.sleep(0.2)
            if self.client.status == "running":
                with contextlib.suppress(OSError):
                    self._connect()
                    self.progress.log("scheduler-reconnected")
                    return
        raise UnfinishedError("the Dask scheduler was lost; what is complete is kept, go on with --resume")

    def _take_from_stuck_workers(self) -> None:
        """Restart the workers of tasks that are in flight for far too long, and hand their units out again."""
        now, stuck = time.monotonic(), []
        overdue = [task for task in self.running.values() if now - task.since > self._patience(task)]
        processing = self.client.processing() if overdue else {}
        hanging: set[str] = set()
        for task in overdue:
            task.since = now
            if on := [address for address, keys in processing.items() if not task.keys.isdisjoint(keys)]:
                hanging.update(on)
                stuck.append(task)  # the others wait for workers
        if not stuck:
            return
        logger.warning("a task is in flight for too long; its worker is restarted: %s", ", ".join(sorted(hanging)))
        self._take_back(stuck, "it was in flight for too long (--stuck-after)")
        self._restart(hanging)

    def _restart(self, workers: set[str]) -> None:
        """Restart workers, or remove those that nobody restarts."""
        # not the client's own method, which refuses workers that have no nanny; the scheduler removes those
        call: dict[str, Any] = dict(
            workers=sorted(workers), timeout=RESTART_TIMEOUT_S, stimulus_id=f"nbdist-{time.time()}"
        )
        call |= dict(wait_for_workers=False, on_error="return")
        self._in_background(lambda: self.client.sync(self.client.scheduler.restart_workers, **call))

    def _patience(self, task: Task) -> float:
        usual = max(self.expected_s, self.roster.pace(task.window).longest_s)
        return max(self.stuck_after, STUCK_FACTOR * usual)

    def _take_back(self, tasks: list[Task], reason: str) -> None:
        """Give up tasks, and treat their units as those whose worker died."""
        futures = [future for future, task in self.running.items() if task in tasks]
        for future in futures:
            del self.running[future]
        self.client.cancel(futures, force=True)
        for task in tasks:
            self.supply.killed(task.units, reason)
