"""The ledger of a run: which unit is handed out next, which are in flight, and which are set aside. All of the policy of retries is here.

Units go out in order, those first that come back. One that fails is tried again a few times, alone, and at other workers where there
are others; a unit of several pieces counts the failures of each. One whose workers died under it is a suspect: it may have killed them,
or have waited beside the one that did. Suspects go out one at a time, so that who dies then is known to have killed. A worker that fails
unit after unit while others succeed is itself to blame: always idle, it would drain the whole list. What its units were charged is
forgotten.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence

from nbdist.errors import UnfinishedError
from nbdist.run.executors import Outcome
from nbdist.run.failures import ErrorLine
from nbdist.run.progress import Progress, Work

logger = logging.getLogger(__name__)
RETRIES = 2
"""How often a unit that fails is tried again."""
ROUNDS = 2
"""How often units are rendered that a run finds damaged or gone at its own end: what is harmed twice is harmed on purpose."""
MOST_FAILED = 1000
"""A run in which so many units failed has met something that the others would meet too; it ends."""
FAILS_IN_A_ROW = 3
"""A worker is to blame for so many units in a row that failed there and nowhere else, while another worker succeeds."""


class Ledger:
    """The units of a run, from the first that is handed out to the last of which it is known what became of it.

    Parameters
    ----------
    units
        All units of the run; read one by one.
    progress
        Is told what becomes of them.
    retries
        How often a unit that fails is tried again.
    """

    def __init__(self, units: Sequence[Work], progress: Progress, retries: int = RETRIES) -> None:
        self._fresh: Iterator[Work] = iter(units)
        self._progress, self._retries = progress, retries
        self._open = len(units)
        self._again: list[tuple[int, Work]] = []
        self._suspects: deque[Work] = deque()
        self._suspect_in_flight: int | None = None
        self._in_flight: set[int] = set()
        self._failures: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._failed_at: defaultdict[int, set[str]] = defaultdict(set)
        self._succeeded_at: set[str] = set()
        self._failed_in_a_row: defaultdict[str, list[Work]] = defaultdict(list)
        self._last_error = ErrorLine()
        self._excused: set[int] = set()

    @property
    def left(self) -> int:
        """Units that are neither done nor set aside."""
        return self._open

    @property
    def in_flight(self) -> int:
        """Units that were handed out and of which nothing is known yet."""
        return len(self._in_flight)

    @property
    def finished(self) -> bool:
        """Whether every unit is done or set aside."""
        return self._open == 0

    def take(self, most: int) -> list[Work]:
        """The next units of one task, at most so many; none where there are none to hand out now."""
        units: list[Work] = []
        if self._suspects and self._suspect_in_flight is None:
            units.append(self._suspects.popleft())
            self._suspect_in_flight = units[0].number
            most = 1
        while len(units) < most:
            unit = heapq.heappop(self._again)[1] if self._again else next(self._fresh, None)
            if unit is None:
                break
            if unit.number in self._failures:  # alone, so that it takes no other along
                if units:
                    self._hand_out_again(unit)
                else:
                    units.append(unit)
                break
            units.append(unit)
        self._in_flight.update(unit.number for unit in units)
        return units

    def avoided(self, units: Sequence[Work]) -> set[str]:
        """Addresses of the workers at which units of a task failed."""
        return self._failed_at.get(units[0].number, set()) if units else set()  # what failed is alone in its task

    def settle(self, outcome: Outcome) -> None:
        """Take in what became of a task.

        Raises
        ------
        UnfinishedError
            If so many units have failed that the run had better end.
        """
        units = {unit.number: unit for unit in outcome.units}
        self._in_flight.difference_update(units)
        if self._suspect_in_flight in units and not outcome.killed:
            self._suspect_in_flight = None
        self._note_worker(outcome, [units[number] for number, error in outcome.errors.items() if not error.lasting])
        for record in outcome.records:
            self._done(units.pop(record["unit"]))
            self._progress.unit_done(record)
        for number, error in outcome.errors.items():
            self._failed(units.pop(number), error, outcome.piece)
        if outcome.killed:
            self._killed(list(units.values()), outcome.killed)
        else:
            for unit in units.values():
                self._hand_out_again(unit)

    def failing_workers(self, there: Collection[str]) -> dict[str, ErrorLine]:
        """Those of the workers that are there which fail unit after unit while another succeeds, each once, with what to say of it.

        What their units were charged is forgotten, each unit once, so that this comes to an end.
        """
        self._succeeded_at.intersection_update(there)  # what others did says nothing about those that are there
        failing = {}
        for worker in [*self._failed_in_a_row]:
            units = self._failed_in_a_row[worker]
            if worker not in there:
                del self._failed_in_a_row[worker]
            elif len(units) >= FAILS_IN_A_ROW and self._succeeded_at - {worker}:
                del self._failed_in_a_row[worker]
                self._succeeded_at.discard(worker)
                self._excuse(units)
                line = f"{len(units)} units in a row failed there, while others succeed elsewhere: {self._last_error}"
                failing[worker] = ErrorLine.from_text(line, self._last_error.traceback)
        return failing

    def _note_worker(self, outcome: Outcome, failed: list[Work]) -> None:
        worker = outcome.worker
        for record in outcome.records:
            self._failed_at.pop(record["unit"], None)
        if outcome.records:
            self._succeeded_at.add(worker)
            self._failed_in_a_row.pop(worker, None)
        if not worker:
            return
        for unit in failed:
            places = self._failed_at[unit.number]
            if not outcome.records and not places and unit.number not in self._excused:  # else it may be the unit
                self._failed_in_a_row[worker].append(unit)
                self._last_error = outcome.errors[unit.number]
            places.add(worker)

    def _hand_out_again(self, unit: Work) -> None:
        heapq.heappush(self._again, (unit.number, unit))

    def _done(self, unit: Work) -> None:
        self._failures.pop(unit.number, None)
        self._open -= 1

    def _failed(self, unit: Work, error: ErrorLine, piece: str) -> None:
        """A unit failed: it is tried again, or set aside."""
        logger.warning("unit %d failed: %s", unit.number, error)
        failures = self._failures[unit.number]
        failures[piece] += 1
        if error.lasting or failures[piece] > self._retries:
            del self._failures[unit.number]
            self._set_aside(unit, error)
        else:
            self._progress.unit_retried(unit, error)
            self._hand_out_again(unit)

    def _killed(self, units: Sequence[Work], reason: str) -> None:
        """The workers of units died under them, again and again."""
        for unit in units:
            if unit.number == self._suspect_in_flight:
                self._suspect_in_flight = None
                self._set_aside(unit, reason)
            else:
                self._progress.unit_retried(unit, reason)
                self._suspects.append(unit)

    def _set_aside(self, unit: Work, error: str) -> None:
        self._open -= 1
        self._progress.unit_failed(unit, error)
        if len(self._progress.failed) >= MOST_FAILED:
            raise UnfinishedError(
                f"{len(self._progress.failed)} units failed, the last of them ({unit.number}) with: {error}"
            )

    def _excuse(self, units: Sequence[Work]) -> None:
        """Forget that units failed, and hand those out again that were set aside for it."""
        for unit in units:
            self._excused.add(unit.number)
            self._failures.pop(unit.number, None)
            if self._progress.failed.pop(unit.number, None) is not None:
                self._open += 1
                self._hand_out_again(unit)
