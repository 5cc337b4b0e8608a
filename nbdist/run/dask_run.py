"""The Dask run: units go to workers through a bounded window, records come back, pixels do not.

The window is ours: a task is submitted when another finishes, so a million units grow neither the scheduler nor the client. What a
worker needs (amplitudes, geometry, plan) is handed to it once, and so to a worker that joins later. Where workers with and without a GPU
are there together, each kind has a window of its own onto the same units, and tasks of its own size.

What is lost is handed out again: by Dask where a worker died, by `Supply` where a unit failed, and by this loop where a worker hangs, is
not fit for the run (see `workforce`), or the connection to the scheduler broke.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue

from distributed import Client, Future, KilledWorker
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from nbdist.errors import StoreError, UnfinishedError, is_fatal
from nbdist.planning import Unit
from nbdist.planning.plan import LARGEST_SHARD_BYTES
from nbdist.run.context import RunContext
from nbdist.run.failures import ErrorLine
from nbdist.run.health import Health
from nbdist.run.progress import Progress, Report
from nbdist.run.roster import ANY, TASKS_PER_WORKER, Pace, Places
from nbdist.run.submitting import Submitter, Task
from nbdist.run.supply import Supply
from nbdist.run.worker_run import Answer, PieceError
from nbdist.run.workforce import GO_ON, Workforce, in_background
from nbdist.store import UnitWriter
from nbdist.store.locations import one_line

logger = logging.getLogger(__name__)
TICK_S = 1.0
"""Seconds between two looks at the workers."""
STUCK_FACTOR = 10.0
"""A task hangs that is in flight for so many times what another took, or what was expected."""
JOINING_S = 30.0
"""How long a run waits at its beginning until the workers that are there have taken it in."""
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
        self.context, self.stuck_after = context, stuck_after
        self.submitter = Submitter(client, name, context, retries)
        self.frames_per_unit = context.plan.settings.frames_per_shard
        self.tasks_per_unit = context.plan.tasks_per_frame * self.frames_per_unit
        self.expected_s = context.plan.cost.seconds * self.frames_per_unit * TASKS_PER_WORKER
        self.supply = Supply(units, retries, progress)
        self.workforce = Workforce(client, context, name, progress, stuck_after)
        self.roster = self.workforce.roster
        self.health = Health()
        self.running: dict[Future, Task] = {}
        self.finished: SimpleQueue[Future] = SimpleQueue()
        self.looked = 0.0
        self.estranged = False

    def loop(self) -> None:
        """Hand out units until none is left and none in flight."""
        self._guarded(self._connect)
        deadline = time.monotonic() + JOINING_S
        while self.roster.starting and time.monotonic() < deadline:
            self.report(self.progress)
            self.roster.news.wait(TICK_S)
            self.roster.news.clear()
            self._guarded(self.workforce.look)
        self._guarded(self._fill)
        self.report(self.progress)
        while self.running or not self.supply.empty:
            self._guarded(self._step)
            self.report(self.progress)

    def close(self) -> None:
        """Give up what is in flight and leave nothing of this run with the cluster, if that is still there."""
        if self.client.status != "running":
            return
        in_background(self._leave).join(CLOSE_TIMEOUT_S)

    def _leave(self) -> None:
        self.client.cancel(list(self.running), force=True)
        self.workforce.close()

    def _connect(self) -> None:
        """Make this run known to the workers."""
        with contextlib.suppress(KeyError):  # of a scheduler without web pages
            self.progress.dashboard = self.client.dashboard_link or None
        self.workforce.connect()

    def _step(self) -> None:
        futures = self._next_finished()
        try:
            while futures:
                self._collect(futures[0])
                del futures[0]
        finally:
            for future in futures:  # not looked at, for the connection broke
                self.finished.put(future)
        if self.estranged:
            self.estranged = False
            raise CommClosedError
        self._look()
        self._fill()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Take a step; where the connection to the scheduler breaks in it, take it up again if that can be had.

        What goes wrong while the scheduler answers is the matter of one worker, or passes: the next step comes soon.
        """
        try:
            step()
        except (OSError, FutureCancelledError) as error:
            if is_fatal(error):
                raise
            if self.workforce.connected():
                logger.info("going on after: %s", one_line(error))
                return
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
        before = set(self.roster.there)
        self.workforce.look()
        self.health.lost(before - set(self.roster.there))
        self._take_from_unfit_workers()
        self._take_from_stuck_workers()

    def _fill(self) -> None:
        """Submit tasks until every window is full."""
        in_flight = {window: 0 for window in self._windows()}
        for task in self.running.values():
            in_flight[task.window] = in_flight.get(task.window, 0) + 1
        for window, size in self._windows().items():
            while in_flight[window] < size:
                if self.roster.places(window) is None or not (units := self.supply.take(self._units_per_task(window))):
                    break
                avoided = self.health.avoided(units[0].number)  # a unit that failed is alone in its task
                future, task = self.submitter.submit(units, window, partial(self._places, window, avoided))
                self.running[future] = task
                future.add_done_callback(self.finished.put)
                in_flight[window] += 1
        self.progress.in_flight = sum(len(task.units) for task in self.running.values())

    def _places(self, window: str, avoided: set[str]) -> Places:
        return self.roster.places(window, avoided) or Places()

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
        if future.status == "cancelled":  # not by this run: it was lost with the connection, or with what it needed
            del self.running[future]
            self.supply.give_back(task.units)
            self.estranged = True
            return
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
            self.workforce.restart({address for addresses in holding.values() for address in addresses})
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
        if not answer.held:
            self.workforce.hand_again(answer.address)
            return
        if answer.trouble is not None:
            self._require_store(answer.trouble)
            self.workforce.blame(answer.address, answer.trouble)
        self._blame_sick_workers(next(reversed(answer.errors.values()), ErrorLine()))

    def _require_store(self, trouble: ErrorLine) -> None:
        """See whether what a worker met is so here, too; then it is the store's fault, and the run's.

        Raises
        ------
        StoreError
            If the store is gone, or is another by now.
        OSError
            If it cannot be written.
        """
        plan, location = self.context.plan, self.context.location
        assert location is not None
        shard = plan.cost.product_bytes * self.frames_per_unit
        size = min(LARGEST_SHARD_BYTES, shard * max(1, self.progress.workers)) if trouble.disk_full else 1
        try:
            UnitWriter(location, self.context.store_id).require_usable(size)
        except OSError as error:
            if is_fatal(error):
                raise
            raise StoreError(f"{location}: cannot be written: {one_line(error)}") from None

    def _blame_sick_workers(self, error: ErrorLine) -> None:
        """Blame workers that fail unit after unit while others succeed, and forget the failures of these units."""
        for address, units in self.health.sick().items():
            self.supply.pardon(units)
            line = f"{len(units)} units in a row failed there, while others succeed elsewhere: {error}"
            self.workforce.blame(address, ErrorLine.told(line, error.traceback))

    def _collect_error(self, error: BaseException, task: Task) -> None:
        """A task that did not answer: its workers died, a piece of it failed, or a worker could not even begin it."""
        if isinstance(error, KilledWorker):
            self.supply.killed(task.units, "every worker that rendered it died (killed, out of memory, or crashed)")
        elif isinstance(error, ImportError):  # of a worker that cannot take in the run either, and says so
            self.supply.give_back(task.units)
        else:
            line, address = ErrorLine.of(error), ""
            if isinstance(error, PieceError):
                line, address = error.line, error.address
                self.health.note(address, [], task.units)
            for unit in task.units:
                logger.warning("unit %d failed%s: %s", unit.number, address and f" at {address}", line)
                self.supply.failed(unit, line)
            self._blame_sick_workers(line)

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
        raise UnfinishedError(f"the Dask scheduler was lost; {GO_ON}")

    def _take_from_unfit_workers(self) -> None:
        """Take back, without blame, tasks of workers that get none any more, and those that only such workers might take."""
        keys: set[str] = set()
        if self.workforce.vacated:
            vacated = sorted(self.workforce.vacated & self.roster.there.keys())
            keys.update(*self.client.processing(vacated).values()) if vacated else None
            self.workforce.vacated.clear()
        fit = self.roster.fit
        tasks = [
            task
            for task in self.running.values()
            if not task.keys.isdisjoint(keys) or any(fit.isdisjoint(workers) for workers in task.only)
        ]
        self._cancel(tasks)
        for task in tasks:
            self.supply.give_back(task.units)

    def _take_from_stuck_workers(self) -> None:
        """Restart the workers of tasks that are in flight for far too long, and hand their units out again."""
        now, stuck = time.monotonic(), []
        overdue = [task for task in self.running.values() if now - task.since > self._patience(task)]
        processing = self.client.processing() if overdue else {}
        starting = self.roster.starting  # tasks that came too early wait there
        hanging: set[str] = set()
        for task in overdue:
            task.since = now
            if on := [
                address
                for address, keys in processing.items()
                if address not in starting and not task.keys.isdisjoint(keys)
            ]:
                hanging.update(on)
                stuck.append(task)  # the others wait for workers
        if not stuck:
            return
        logger.warning("a task is in flight for too long; its worker is restarted: %s", ", ".join(sorted(hanging)))
        self._take_back(stuck, "it was in flight for too long (--stuck-after)")
        self.workforce.restart(hanging)

    def _patience(self, task: Task) -> float:
        usual = max(self.expected_s, self.roster.pace(task.window).longest_s)
        return max(self.stuck_after, STUCK_FACTOR * usual)

    def _take_back(self, tasks: list[Task], reason: str) -> None:
        """Give up tasks, and treat their units as those whose worker died."""
        self._cancel(tasks)
        for task in tasks:
            self.supply.killed(task.units, reason)

    def _cancel(self, tasks: list[Task]) -> None:
        futures = [future for future, task in self.running.items() if task in tasks]
        for future in futures:
            del self.running[future]
        if futures:
            self.client.cancel(futures, force=True)
