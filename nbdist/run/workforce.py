"""The workers of a run: each is handed the run, and one that is not fit for it is named, restarted once, and then left out.

An error at a worker is that worker's: it cannot take in the run, it does not see the store, every unit fails there. A worker that Dask
has paused for its memory gets no tasks until it goes on. The run ends when nobody is left for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import cloudpickle
from distributed import Client
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from nbdist.clusters.running_cluster import required_versions
from nbdist.errors import UnfinishedError
from nbdist.run.context import RunContext
from nbdist.run.failures import ErrorLine
from nbdist.run.progress import Progress
from nbdist.run.roster import Roster, WorkerThere
from nbdist.run.tasks import RUNS, clients_there, give_up, held_runs, take_in, workers_there
from nbdist.store.locations import one_line

logger = logging.getLogger(__name__)
RESTART_TIMEOUT_S, BACK_S = 30.0, 120.0
"""How long a worker is waited for that was told to end, and that is to come back."""
TAKING_IN_S = 600.0
"""What a worker may need at least to take in a run: Python and torch start slowly from a busy file system."""
PAUSED_S = 60.0
"""So long a paused worker keeps its units; a run all of whose workers are paused for so long ends."""
LISTEN_S = 5.0
"""Messages of workers that may have been lost are fetched this often."""
DEATHS = 2
"""A worker that dies so often while it takes in the run is left out."""
DIED = "it died while it took in the run (killed, out of memory, or crashed)"
NAMED = 5
"""Workers that one line names."""
GO_ON = "what is complete is kept, go on with --resume"


class Workforce:
    """The workers of one run.

    Attributes
    ----------
    roster
        Who is there.
    vacated
        Workers whose tasks are to be taken back; whoever does it empties the set.
    """

    def __init__(self, client: Client, context: RunContext, run: str, progress: Progress, stuck_after: float) -> None:
        self.roster = Roster(run, progress)
        self.vacated: set[str] = set()
        self._client, self._run, self._progress, self._stuck_after = client, run, progress, stuck_after
        self._content = cloudpickle.dumps((context, client.id))
        self._wants_compiled = context.plan.settings.kernel == "compiled"
        self._scheduler = ""
        self._handed: set[str] = set()
        self._told_to_end: set[str] = set()
        self._restarted: set[str] = set()
        self._coming_back: dict[str, float] = {}
        self._deaths: Counter[str] = Counter()
        self._barred: dict[str, str] = {}
        self._paused: set[str] = set()
        self._emptied: set[str] = set()
        self._listened = 0.0

    # ---- beginning and end

    def connect(self) -> None:
        """Listen to the workers of the scheduler that is there now, and hand them the run.

        Raises
        ------
        OSError
            If the scheduler does not answer.
        """
        self._client.subscribe_topic(RUNS, self.roster.hear)
        self._scheduler = ""
        self._handed.clear()
        self.look()
        in_background(self._free_abandoned)

    def connected(self) -> bool:
        """Whether the scheduler of this run answers; if so, its events are listened to, again if need be."""
        try:
            if self._client.status != "running" or self._client.run_on_scheduler(workers_there)[0] != self._scheduler:
                return False
            self._client.subscribe_topic(RUNS, self.roster.hear)
        except (OSError, FutureCancelledError):
            return False
        return True

    def close(self) -> None:
        """Leave nothing of the run with the workers."""
        self._client.unsubscribe_topic(RUNS)
        self._client.run(give_up, [self._run], on_error="ignore")

    def _free_abandoned(self) -> None:
        """Free the workers of runs whose client is gone, killed before it could do so."""
        held = self._client.run(held_runs, on_error="ignore")
        clients = set(
            self._client.run_on_scheduler(clients_there)
        )  # asked later: who holds a run of theirs is among them
        abandoned = {run for runs in held.values() for run, client in runs if client not in clients}
        if abandoned:
            self._client.run(give_up, sorted(abandoned), on_error="ignore")

    # ---- what becomes of workers

    def look(self) -> None:
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
        if self.roster.starting and time.monotonic() - self._listened > LISTEN_S:
            self._listened = time.monotonic()
            for event in self._client.get_events(RUNS):
                self.roster.hear(event)
        before, starting = self.roster.there, self.roster.starting
        lost, failed = self.roster.update({address: WorkerThere(*facts) for address, facts in there.items()})
        self._handed -= lost
        for address in sorted((lost & starting) - self._told_to_end):
            self._died(address, before[address].nanny)
        self._told_to_end &= there.keys()
        for message in failed:
            self.blame(message["worker"], ErrorLine.told(message["error"], message.get("traceback", "")))
        self._greet(sorted(self.roster.starting - self._handed))
        self._leave_out_eager()
        self._watch_paused()
        self._watch_time()
        self.roster.count()

    def blame(self, address: str, error: ErrorLine) -> None:
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
            self._leave_out(address, error)
            return
        logger.warning("worker %s failed: %s; it is restarted", self.roster.named(address), error)
        self._restarted.add(nanny)
        self._coming_back[nanny] = time.monotonic() + BACK_S
        self._dismiss(address)
        self.restart({address})

    def hand_again(self, address: str) -> None:
        """Hand the run again to a worker that lost it, as when a run beside this one took its client for dead."""
        if address in self.roster.fit and self.roster.taken_in.pop(address, None) is not None:
            self._handed.discard(address)

    def restart(self, workers: set[str]) -> None:
        """Restart workers, or remove those that nobody restarts."""
        self._told_to_end |= workers
        # not the client's own method, which refuses workers that have no nanny; the scheduler removes those
        call: dict[str, Any] = dict(
            workers=sorted(workers), timeout=RESTART_TIMEOUT_S, stimulus_id=f"nbdist-{time.time()}"
        )
        call |= dict(wait_for_workers=False, on_error="return")
        in_background(lambda: self._client.sync(self._client.scheduler.restart_workers, **call))

    def _dismiss(self, address: str) -> None:
        self.roster.unfit.add(address)
        self.vacated.add(address)

    def _leave_out(self, address: str, reason: str) -> None:
        named, nanny = self.roster.named(address), self.roster.there[address].nanny
        self._dismiss(address)
        in_background(lambda: self._client.run(give_up, [self._run], workers=[address], on_error="ignore"))
        if nanny:
            self._barred[nanny] = reason
        self._note_left_out(named, reason)

    def _note_left_out(self, named: str, reason: str) -> None:
        logger.warning("worker %s is left out: %s", named, reason)
        self._progress.worker_left_out(named, reason)
        if not self.roster.fit and not self._coming_back:
            raise UnfinishedError(f"no worker is left: {_listed(self._progress.left_out)}; {GO_ON}")

    def _died(self, address: str, nanny: str) -> None:
        """A worker went away before it said whether it can take in the run; its nanny starts it again."""
        if not nanny:
            return
        self._deaths[nanny] += 1
        self._progress.worker_failed(address, DIED)
        self._coming_back[nanny] = time.monotonic() + BACK_S
        if self._deaths[nanny] >= DEATHS:
            self._barred[nanny] = f"{DIED}, {DEATHS} times"

    def _greet(self, addresses: list[str]) -> None:
        """Hand the run to workers that are new, but for those that were left out before they were started again."""
        for address in addresses:
            self._handed.add(address)
            nanny = self.roster.there[address].nanny
            self._coming_back.pop(nanny, None)
            if nanny in self._barred:
                self._leave_out(address, self._barred[nanny])
        welcome = [address for address in addresses if address in self.roster.fit]
        if welcome:
            in_background(lambda: self._hand(welcome))

    def _hand(self, addresses: list[str]) -> None:
        """Hand workers the run. Each tells by an event what came of it; what no event tells of is in the answers of all."""
        versions = required_versions()
        call: dict[str, Any] = dict(workers=addresses, on_error="return")
        answers = self._client.run(take_in, self._content, self._run, RUNS, versions, **call)
        for address, answer in answers.items():
            if isinstance(answer, OSError):
                self._handed.discard(address)  # it was not reached; if it is still there, it is handed the run again
            elif isinstance(answer, Exception):
                self.roster.hear((time.time(), {"run": self._run, "worker": address, "error": ErrorLine.of(answer)}))

    def _leave_out_eager(self) -> None:
        """Leave out workers that could not compile the kernel where others could: tens of times slower, and of other last bits."""
        if not self._wants_compiled:
            return
        said = {address: self.roster.taken_in[address] for address in self.roster.fit & self.roster.taken_in.keys()}
        on_cpu = {address: facts for address, facts in said.items() if facts["kind"] == "cpu"}
        if all(facts["kernel"] == "eager" for facts in on_cpu.values()):
            return
        for address, facts in on_cpu.items():
            if facts["kernel"] == "eager":
                reason = f"the kernel cannot be compiled there, as it can elsewhere ({facts['why_eager']})"
                self._progress.worker_failed(self.roster.named(address), reason)
                self._leave_out(address, reason)

    def _watch_paused(self) -> None:
        """Name workers that Dask paused for their memory, take back the units of those that stay so, and end a run that has no others."""
        paused, limit = self.roster.paused_since, min(PAUSED_S, self._stuck_after)
        told = {
            address: f"worker {self.roster.named(address)} is paused by Dask: {self._memory(address)}"
            for address in paused
        }
        for address in paused.keys() - self._paused:
            logger.warning("%s", told[address])
            there = self.roster.there[address]
            facts = {"memory_bytes": there.memory, "memory_limit_bytes": there.memory_limit}
            self._progress.log("worker-paused", worker=self.roster.named(address), **facts)
        for address in (self._paused - paused.keys()) & self.roster.there.keys():
            self._progress.log("worker-resumed", worker=self.roster.named(address))
        self._paused = set(paused)
        now, fit = time.monotonic(), self.roster.fit
        for_long = {address for address, since in paused.items() if now - since > limit}
        self._emptied &= for_long
        if fit and fit <= for_long:
            reasons = {
                **{self.roster.named(address): self._memory(address) for address in fit},
                **self._progress.left_out,
            }
            raise UnfinishedError(
                f"Dask has paused every worker for its memory, for more than {limit:g} s: {_listed(reasons)}; "
                f"give them more (dask worker --memory-limit), {GO_ON}"
            )
        self.vacated |= (for_long & fit) - self._emptied
        self._emptied |= for_long

    def _memory(self, address: str) -> str:
        there = self.roster.there[address]
        return f"it uses {there.memory / 2**20:.0f} MiB of its memory limit of {there.memory_limit / 2**20:.0f} MiB"

    def _watch_time(self) -> None:
        """Blame workers that take in the run for too long, and give up those that do not come back."""
        now, limit = time.monotonic(), max(TAKING_IN_S, self._stuck_after)
        for address in sorted(self.roster.starting):
            if now - self.roster.since[address] > limit:
                self.blame(address, ErrorLine(f"it did not take in the run within {limit:g} s"))
        for nanny in [nanny for nanny, deadline in self._coming_back.items() if now > deadline]:
            del self._coming_back[nanny]
            self._note_left_out(f"of {nanny}", f"it did not come back within {BACK_S:g} s of its end")


def in_background(step: Callable[[], object]) -> threading.Thread:
    """Take a step for which workers are asked, of which one may hang; the run goes on without it."""

    def taken() -> None:
        try:
            step()
        except (OSError, ValueError, RuntimeError, FutureCancelledError) as error:
            logger.info("%s: %s", getattr(step, "__name__", "a step"), one_line(error))

    thread = threading.Thread(target=taken, daemon=True)
    thread.start()
    return thread


def _listed(reasons: dict[str, str]) -> str:
    """Workers with their reasons in one line, those of the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for worker, reason in reasons.items():
        by_reason.setdefault(reason, []).append(worker)
    return "; ".join(f"{_few(workers)}: {reason}" for reason, workers in list(by_reason.items())[:NAMED])


def _few(workers: Iterable[str]) -> str:
    named = list(workers)
    return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")
