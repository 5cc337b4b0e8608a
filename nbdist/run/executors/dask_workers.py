"""The Dask workers of a run: each is prepared for it, and one that is not fit for it is named, restarted once, and then left out.

An error at a worker is that worker's: it cannot be prepared, it does not see the store, every unit fails there. A worker that Dask
has paused for its memory gets no tasks until it goes on. The run ends when nobody is left for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import cloudpickle
from distributed import Client
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from nbdist.clusters.running_cluster import NAMED, few_of, required_versions
from nbdist.errors import UnfinishedError, one_line
from nbdist.run.executors.roster import Roster, WorkerThere
from nbdist.run.executors.tasks import RUNS, clients_there, drop_runs, held_runs, prepare, restart, workers_there
from nbdist.run.failures import ErrorLine
from nbdist.run.jobs import Job
from nbdist.run.progress import Progress
from nbdist.run.settings import Pacing

logger = logging.getLogger(__name__)
RESTART_TIMEOUT_S, RETURN_S = 30.0, 120.0
"""How long a worker is waited for that is to end, and that is to come back."""
PREPARING_S = 600.0
"""What a worker may need at least to be prepared: Python starts slowly from a busy file system."""
LISTEN_S = 5.0
"""Messages of workers that may have been lost are fetched this often."""
DEATHS = 2
"""A worker that dies so often while it is prepared is left out."""
DIED = "it died while it was prepared for the run (killed, out of memory, or crashed)"


class DaskWorkers:
    """The workers of one run.

    Attributes
    ----------
    roster
        Who is there.
    to_vacate
        Workers whose tasks are to be taken back; whoever does it empties the set.
    """

    def __init__(
        self, client: Client, job: Job[Any], run: str, progress: Progress, pacing: Pacing, clock: Callable[[], float]
    ) -> None:
        self.roster = Roster(run, progress, clock=clock)
        self.to_vacate: set[str] = set()
        self._client, self._run, self._progress, self._pacing, self._clock = client, run, progress, pacing, clock
        self._content = cloudpickle.dumps((job, client.id))
        self._wants_compiled = job.context.plan.settings.kernel == "compiled"
        self._scheduler = ""
        self._asked: set[str] = set()
        self._ending: set[str] = set()
        self._restarted: set[str] = set()
        self._return_deadlines: dict[str, float] = {}
        self._deaths: Counter[str] = Counter()
        self._left_out: dict[str, str] = {}
        self._paused: set[str] = set()
        self._vacated: set[str] = set()
        self._fetched = 0.0

    def connect(self) -> None:
        """Listen to the workers of the scheduler that is there now, and prepare them.

        Raises
        ------
        OSError
            If the scheduler does not answer.
        """
        self._client.subscribe_topic(RUNS, self.roster.note_event)
        self._scheduler = ""
        self._asked.clear()
        self.update()
        in_background(self._free_abandoned)

    def scheduler_answers(self) -> bool:
        """Whether the scheduler of this run answers; if so, its events are listened to, again if need be."""
        try:
            if self._client.status != "running" or self._client.run_on_scheduler(workers_there)[0] != self._scheduler:
                return False
            self._client.subscribe_topic(RUNS, self.roster.note_event)
        except (OSError, FutureCancelledError):
            return False
        return True

    def close(self) -> None:
        """Leave nothing of the run with the workers."""
        self._client.unsubscribe_topic(RUNS)
        self._client.run(drop_runs, [self._run], on_error="ignore")

    def _free_abandoned(self) -> None:
        """Free the workers of runs whose client is gone, killed before it could do so."""
        held = self._client.run(held_runs, on_error="ignore")
        clients = set(
            self._client.run_on_scheduler(clients_there)
        )  # asked later: who holds a run of theirs is among them
        abandoned = {run for runs in held.values() for run, client in runs if client not in clients}
        if abandoned:
            self._client.run(drop_runs, sorted(abandoned), on_error="ignore")

    def update(self) -> None:
        """See which workers are there, and what they say.

        Raises
        ------
        OSError
            If the scheduler does not answer, or is another than before.
        UnfinishedError
            If no worker is left for the run.
        """
        if self._client.status != "running":
            raise CommClosedError
        scheduler, there = self._client.run_on_scheduler(workers_there)
        if self._scheduler not in ("", scheduler):
            raise CommClosedError("another scheduler")
        self._scheduler = scheduler
        if self.roster.starting and self._clock() - self._fetched > LISTEN_S:
            self._fetched = self._clock()
            for event in self._client.get_events(RUNS):
                self.roster.note_event(event)
        before, starting = self.roster.there, self.roster.starting
        lost, failed = self.roster.update({address: WorkerThere(*facts) for address, facts in there.items()})
        self._asked -= lost
        for address in sorted((lost & starting) - self._ending):
            self._note_death(address, before[address].nanny)
        self._ending &= there.keys()
        for message in failed:
            self.restart_or_exclude(
                message["worker"], ErrorLine.from_text(message["error"], message.get("traceback", ""))
            )
        self._prepare_new(sorted(self.roster.starting - self._asked))
        self._exclude_workers_without_compiler()
        self._check_paused()
        self._check_deadlines()
        self.roster.count()

    def restart_or_exclude(self, address: str, error: ErrorLine) -> None:
        """Restart a worker for an error that is its own, or leave it out if it was restarted before or nobody restarts it.

        Raises
        ------
        UnfinishedError
            If no worker is left for the run.
        """
        if address not in self.roster.fit:
            return
        self._progress.worker_failed(self.roster.named(address), error)
        nanny = self.roster.there[address].nanny
        if not nanny or nanny in self._restarted:
            self._exclude(address, error)
            return
        logger.warning("worker %s failed: %s; it is restarted", self.roster.named(address), error)
        self._restarted.add(nanny)
        self._return_deadlines[nanny] = self._clock() + RETURN_S
        self._set_unfit(address)
        self.restart({address})

    def prepare_again(self, address: str) -> None:
        """Prepare a worker again that lost the run, as when a run beside this one took its client for dead."""
        if address in self.roster.fit and self.roster.prepared.pop(address, None) is not None:
            self._asked.discard(address)

    def restart(self, workers: set[str]) -> None:
        """Restart workers, or remove those that nobody restarts."""
        self._ending |= workers
        in_background(lambda: self._client.run_on_scheduler(restart, sorted(workers), RESTART_TIMEOUT_S))

    def _set_unfit(self, address: str) -> None:
        self.roster.unfit.add(address)
        self.to_vacate.add(address)

    def _exclude(self, address: str, reason: str) -> None:
        named, nanny = self.roster.named(address), self.roster.there[address].nanny
        self._set_unfit(address)
        in_background(lambda: self._client.run(drop_runs, [self._run], workers=[address], on_error="ignore"))
        if nanny:
            self._left_out[nanny] = reason
        self._note_left_out(named, reason)

    def _note_left_out(self, named: str, reason: str) -> None:
        logger.warning("worker %s is left out: %s", named, reason)
        self._progress.worker_left_out(named, reason)
        if not self.roster.fit and not self._return_deadlines:
            raise UnfinishedError(f"no worker is left: {_listed(self._progress.left_out)}")

    def _note_death(self, address: str, nanny: str) -> None:
        """A worker went away before it told whether it is prepared; its nanny starts it again."""
        if not nanny:
            return
        self._deaths[nanny] += 1
        self._progress.worker_failed(address, DIED)
        self._return_deadlines[nanny] = self._clock() + RETURN_S
        if self._deaths[nanny] >= DEATHS:
            self._left_out[nanny] = f"{DIED}, {DEATHS} times"

    def _prepare_new(self, addresses: list[str]) -> None:
        """Prepare workers that are new, but for those that were left out before they were started again."""
        for address in addresses:
            self._asked.add(address)
            nanny = self.roster.there[address].nanny
            self._return_deadlines.pop(nanny, None)
            if nanny in self._left_out:
                self._exclude(address, self._left_out[nanny])
        wanted = [address for address in addresses if address in self.roster.fit]
        if wanted:
            in_background(lambda: self._prepare(wanted))

    def _prepare(self, addresses: list[str]) -> None:
        """Prepare workers. Each tells by an event what came of it; what no event tells of is in the answers of all."""
        content = self._content, self._run, RUNS, required_versions()
        answers = self._client.run(prepare, *content, workers=addresses, on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, OSError):
                self._asked.discard(address)  # it was not reached; if it is still there, it is asked again
            elif isinstance(answer, Exception):
                self.roster.note_event(
                    (time.time(), {"run": self._run, "worker": address, "error": ErrorLine.of(answer)})
                )

    def _exclude_workers_without_compiler(self) -> None:
        """Leave out workers that could not compile the kernel where others could: tens of times slower, and of other last bits."""
        if not self._wants_compiled:
            return
        told = {address: self.roster.prepared[address] for address in self.roster.fit & self.roster.prepared.keys()}
        on_cpu = {address: facts for address, facts in told.items() if facts["kind"] == "cpu"}
        if all(facts["kernel"] == "eager" for facts in on_cpu.values()):
            return
        for address, facts in on_cpu.items():
            if facts["kernel"] == "eager":
                reason = f"the kernel cannot be compiled there, as it can elsewhere ({facts['why_eager']})"
                self._progress.worker_failed(self.roster.named(address), reason)
                self._exclude(address, reason)

    def _check_paused(self) -> None:
        """Name workers that Dask paused for their memory, take back the units of those that stay so, and end a run that has no others.

        Units of workers that are late are taken back, too.
        """
        paused, limit = self.roster.paused_since, min(self._pacing.paused_s, self._pacing.stuck_after_s)
        lines = {
            address: f"worker {self.roster.named(address)} is paused by Dask: {self._memory(address)}"
            for address in paused
        }
        for address in paused.keys() - self._paused:
            logger.warning("%s", lines[address])
            there = self.roster.there[address]
            facts = {"memory_bytes": there.memory, "memory_limit_bytes": there.memory_limit}
            self._progress.log("worker-paused", worker=self.roster.named(address), **facts)
        for address in (self._paused - paused.keys()) & self.roster.there.keys():
            self._progress.log("worker-resumed", worker=self.roster.named(address))
        self._paused = set(paused)
        now, fit = self._clock(), self.roster.fit
        for_long = {address for address, since in paused.items() if now - since > limit}
        if fit and fit <= for_long:
            reasons = {
                **{self.roster.named(address): self._memory(address) for address in fit},
                **self._progress.left_out,
            }
            raise UnfinishedError(
                f"Dask has paused every worker for its memory, for more than {limit:g} s: {_listed(reasons)}; "
                "give them more (dask worker --memory-limit)"
            )
        idle = (for_long & fit) | self.roster.late
        self.to_vacate |= idle - self._vacated
        self._vacated = idle

    def _memory(self, address: str) -> str:
        there = self.roster.there[address]
        return f"it uses {there.memory / 2**20:.0f} MiB of its memory limit of {there.memory_limit / 2**20:.0f} MiB"

    def _check_deadlines(self) -> None:
        """Restart or leave out workers that take too long to be prepared, and give up those that do not come back."""
        now, limit = self._clock(), max(PREPARING_S, self._pacing.stuck_after_s)
        for address in sorted(self.roster.starting):
            if now - self.roster.since[address] > limit:
                self.restart_or_exclude(address, ErrorLine(f"it was not prepared within {limit:g} s"))
        for nanny in [nanny for nanny, deadline in self._return_deadlines.items() if now > deadline]:
            del self._return_deadlines[nanny]
            self._note_left_out(f"of {nanny}", f"it did not come back within {RETURN_S:g} s of its end")


def in_background(step: Callable[[], object]) -> threading.Thread:
    """Take a step for which workers are asked, of which one may hang; the run goes on without it."""

    def run() -> None:
        try:
            step()
        except (OSError, ValueError, RuntimeError, FutureCancelledError) as error:
            logger.info("%s: %s", getattr(step, "__name__", "a step"), one_line(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _listed(reasons: dict[str, str]) -> str:
    """Workers with their reasons in one line, those of the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for worker, reason in reasons.items():
        by_reason.setdefault(reason, []).append(worker)
    return "; ".join(f"{few_of(workers)}: {reason}" for reason, workers in list(by_reason.items())[:NAMED])
