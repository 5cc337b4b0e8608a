"""Which workers there are, and how each kind of them is doing: what the size of a window and of a task is worked out from."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from nbdist.run.progress import Progress
from nbdist.run.settings import Pacing

TASKS_PER_WORKER = 3
"""Tasks in flight for each worker thread: one running, the next ones on their way."""
CANDIDATES = 8
"""Workers of a kind that a task may go to; the scheduler takes the least busy of them."""
LATE_S = 25.0
"""A worker that is not prepared for a run by then, where others are, may stand still, as in a job that was suspended."""
ANY = ""
"""Stands for the kind of worker where there is no more than one."""


@dataclass
class Pace:
    """How quick one kind of worker is."""

    unit_s: float | None = None
    longest_s: float = 0.0

    def add(self, units: int, seconds: float, in_flight_s: float) -> None:
        """Take a finished task into account: its units, their seconds, and the seconds from its submission to its end."""
        if units:
            latest = seconds / units
            self.unit_s = latest if self.unit_s is None else 0.7 * self.unit_s + 0.3 * latest
        self.longest_s = max(0.99 * self.longest_s, in_flight_s)

    def units_per_task(self, pacing: Pacing) -> int:
        """How many units make a task of the wanted length; one before any is finished."""
        if self.unit_s is None:
            return 1
        return max(1, min(pacing.most_units, int(pacing.task_s / max(self.unit_s, 1e-6))))


class WorkerThere(NamedTuple):
    """A worker as the scheduler knows it; `nanny` is the address of the process that restarts it, empty where there is none.

    `memory` is what it uses, `memory_limit` what it may use (0: as much as there is), bytes.
    """

    threads: int
    nanny: str
    paused: bool
    memory: int
    memory_limit: int


class Places(NamedTuple):
    """Workers to which a task may go: none named means all, and where they are not `only` they are a preference."""

    workers: tuple[str, ...] = ()
    only: bool = False


@dataclass
class Roster:
    """The workers of a run, as far as the client knows.

    Attributes
    ----------
    there
        All of them by address.
    prepared
        What each told that is prepared for the run: its `kind` ("cpu", "gpu"), its `kernel`, its `host`.
    since
        When a worker was first seen, seconds of the clock.
    paused_since
        When a worker was first seen paused by Dask.
    unfit
        Those that get no tasks: they are restarted, or left out.
    hosts
        Names of hosts, as far as workers told them, by nanny where there is one: a worker that it starts again is at the same host.
    changed
        Set when a worker told something.
    """

    run: str
    progress: Progress
    there: dict[str, WorkerThere] = field(default_factory=dict)
    prepared: dict[str, dict[str, Any]] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    paused_since: dict[str, float] = field(default_factory=dict)
    unfit: set[str] = field(default_factory=set)
    hosts: dict[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    paces: defaultdict[str, Pace] = field(default_factory=lambda: defaultdict(Pace))
    changed: threading.Event = field(default_factory=threading.Event)
    _seen: set[tuple[float, str]] = field(default_factory=set)
    _events: SimpleQueue[dict[str, Any]] = field(default_factory=SimpleQueue)

    def note_event(self, event: tuple[float, Any]) -> None:
        """Note a worker's message; called in the thread of the Dask client."""
        stamp, message = event
        event_of = stamp, message["worker"]
        if message["run"] == self.run and event_of not in self._seen:  # events are fetched again where some may be lost
            self._seen.add(event_of)
            self._events.put(message)
            self.changed.set()

    def update(self, there: dict[str, WorkerThere]) -> tuple[set[str], list[dict[str, Any]]]:
        """Compare with the workers that are there now; those that went away, and messages of workers that cannot be prepared."""
        now = self.clock()
        failed = []
        while True:
            try:
                message = self._events.get_nowait()
            except Empty:
                break
            address = message["worker"]
            if address not in there:
                continue
            if "host" in message:
                self.hosts[there[address].nanny or address] = message["host"]
            if "error" in message:
                failed.append(message)
            elif address not in self.prepared:
                self.prepared[address] = message
                self.progress.worker_joined(address, kind=message["kind"])
        lost = self.there.keys() - there.keys()
        for address in lost:
            self.progress.worker_lost(address)
            self.unfit.discard(address)
            for known in (self.prepared, self.since, self.paused_since):
                known.pop(address, None)
        self.there = dict(there)
        for address, worker in there.items():
            self.since.setdefault(address, now)
            if worker.paused:
                self.paused_since.setdefault(address, now)
            else:
                self.paused_since.pop(address, None)
        self.count()
        return lost, failed

    def count(self) -> None:
        """Tell the progress how many workers of each kind there are."""
        counts: Counter[str] = Counter()
        for address in self.fit:
            kind = "paused" if address in self.paused_since else self.kind_of(address)
            counts[kind] += 1 if kind == "gpu" else self.there[address].threads  # a GPU's second thread writes
        self.progress.kinds = dict(counts)
        self.progress.workers = sum(counts.values()) - counts["paused"]

    def kind_of(self, address: str) -> str:
        """Kind of a worker: "starting" until it is prepared for the run."""
        return str(self.prepared[address]["kind"]) if address in self.prepared else "starting"

    def named(self, address: str) -> str:
        """A worker that is there as a person knows it, with its host."""
        host = self.hosts.get(self.there[address].nanny or address)
        return f"{address} on {host}" if host else address

    @property
    def starting(self) -> set[str]:
        """Workers of which it is not known yet whether they can be prepared."""
        return self.fit - self.prepared.keys()

    @property
    def fit(self) -> set[str]:
        """Workers that are neither restarted nor left out."""
        return self.there.keys() - self.unfit

    @property
    def late(self) -> set[str]:
        """Workers that are not prepared after `LATE_S` where others are: they might keep for ever what they are given."""
        if self.fit <= self.starting:
            return set()
        return {address for address in self.starting if self.clock() - self.since[address] > LATE_S}

    @property
    def able(self) -> set[str]:
        """Workers that may be given tasks now."""
        return self.fit - self.paused_since.keys() - self.late

    @property
    def windows(self) -> dict[str, int]:
        """Tasks in flight that each kind should have: one window for all unless there are workers of two kinds."""
        counts = {
            kind: number
            for kind, number in self.progress.kinds.items()
            if kind not in ("starting", "paused") and number
        }
        if len(counts) < 2:
            return {ANY: TASKS_PER_WORKER * self.progress.workers}
        return {kind: TASKS_PER_WORKER * number for kind, number in sorted(counts.items())}

    def places(self, window: str, avoided: Collection[str] = ()) -> Places | None:
        """A few workers of a kind to which a task may go, other than those to be avoided if there are others; None where nobody can.

        Where all workers will do, none is named, and Dask moves the task to one that is idle. Where some must not get it, the task
        goes to the few that are named here and nowhere else.
        """
        able, only = self.able, len(self.able) < len(self.there)
        if not only and window == ANY and not avoided:
            return Places()
        fit = [address for address in able if window == ANY or self.kind_of(address) == window]
        chosen = [address for address in fit if address not in avoided] or fit
        if not chosen:
            return None if only else Places()
        return Places(tuple(random.sample(chosen, min(CANDIDATES, len(chosen)))), only)

    def pace(self, window: str) -> Pace:
        """The pace of a kind, or of the only kind that there is."""
        if window == ANY:
            kinds = {about["kind"] for about in self.prepared.values()}
            known = [self.paces[kind] for kind in kinds if kind in self.paces]
            return known[0] if known else Pace()
        return self.paces[window]
