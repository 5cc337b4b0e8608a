"""Which workers there are, and how each kind of them is doing: what the size of a window and of a task is worked out from."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from nbdist.execution.progress import Progress

TASKS_PER_WORKER = 3
"""Tasks in flight for each worker thread: one running, the next ones on their way."""
TASK_S = 1.0
"""What a task should take: quick units share one."""
MOST_UNITS = 1000
"""Units of a task, at most."""
CANDIDATES = 8
"""Workers of a kind that a task may go to; the scheduler takes the least busy of them."""
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

    def units_per_task(self) -> int:
        """How many units make a task of about `TASK_S`; one before any is finished."""
        if self.unit_s is None:
            return 1
        return max(1, min(MOST_UNITS, int(TASK_S / max(self.unit_s, 1e-6))))


@dataclass
class Roster:
    """The workers of a run, by kind, as far as the client knows."""

    run: str
    progress: Progress
    kind_of: dict[str, str] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)
    _joined: SimpleQueue[dict[str, str]] = field(default_factory=SimpleQueue)

    def hear(self, event: tuple[float, Any]) -> None:
        """Note a worker's message; called in the thread of the Dask client."""
        message = event[1]
        if message["run"] == self.run:
            self._joined.put(message)

    def update(self, threads: dict[str, int]) -> None:
        """Compare with the workers that are there now, by address, with their threads."""
        while True:
            try:
                message = self._joined.get_nowait()
            except Empty:
                break
            address, kind = message["worker"], message["kind"]
            if address not in self.kind_of:
                self.progress.worker_joined(address, kind=kind)
            self.kind_of[address] = kind
        for address in self.threads.keys() - threads.keys():
            self.kind_of.pop(address, None)
            self.progress.worker_lost(address)
        self.threads = dict(threads)
        counts: Counter[str] = Counter()
        for address, number in threads.items():
            kind = self.kind_of.get(address, "starting")
            counts[kind] += 1 if kind == "gpu" else number  # a GPU's second thread writes
        self.progress.kinds = dict(counts)
        self.progress.workers = sum(counts.values())

    @property
    def complete(self) -> bool:
        """Whether the kind of every worker is known."""
        return bool(self.threads) and self.threads.keys() <= self.kind_of.keys()

    @property
    def windows(self) -> dict[str, int]:
        """Tasks in flight that each kind should have: one window for all unless there are workers of two kinds."""
        counts = {kind: number for kind, number in self.progress.kinds.items() if kind != "starting"}
        if len(counts) < 2:
            return {ANY: TASKS_PER_WORKER * self.progress.workers}
        return {kind: TASKS_PER_WORKER * number for kind, number in sorted(counts.items())}

    def candidates(self, window: str, avoided: Collection[str] = ()) -> list[str]:
        """Addresses of a few workers of a kind, other than those to be avoided; none where there are no others."""
        able = [
            address
            for address in self.threads
            if address not in avoided and (window == ANY or self.kind_of.get(address) == window)
        ]
        return random.sample(able, min(CANDIDATES, len(able)))

    def pace(self, window: str) -> Pace:
        """The pace of a kind, or of the only kind that there is."""
        if window == ANY:
            known = [self.paces[kind] for kind in set(self.kind_of.values()) if kind in self.paces]
            return known[0] if known else Pace()
        return self.paces.setdefault(window, Pace())
