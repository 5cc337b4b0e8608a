"""Which unit is handed out next, and which is set aside: the whole policy of retries.

Units go out in order. One that fails is tried again, alone, a few times. One whose workers died under it is a suspect: it may have killed
them, or have waited beside the one that did. Suspects go out one at a time, so that who dies then is known to have killed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence

from nbdist.planning import Unit
from nbdist.run.progress import Progress


class Supply:
    """The units that are still to be handed out.

    Parameters
    ----------
    units
        All units of the run; read one by one.
    retries
        How often a unit that fails is tried again.
    """

    def __init__(self, units: Iterable[Unit], retries: int, progress: Progress) -> None:
        self._fresh: Iterator[Unit] = iter(units)
        self._retries = retries
        self._progress = progress
        self._again: deque[Unit] = deque()
        self._suspects: deque[Unit] = deque()
        self._suspect_out: int | None = None
        self._failures: Counter[int] = Counter()

    def take(self, most: int) -> list[Unit]:
        """The next units of one task, at most so many; none where there are none to hand out now."""
        if self._suspects and self._suspect_out is None:
            suspect = self._suspects.popleft()
            self._suspect_out = suspect.number
            return [suspect]
        units: list[Unit] = []
        while len(units) < most:
            unit = self._again.popleft() if self._again else next(self._fresh, None)
            if unit is None:
                break
            if unit.number in self._failures:  # alone, so that it takes no other along
                if units:
                    self._again.appendleft(unit)
                else:
                    units.append(unit)
                break
            units.append(unit)
        return units

    @property
    def empty(self) -> bool:
        """Whether nothing is left to be handed out, now or when the suspect that is out is back."""
        if not self._again and not self._suspects and (unit := next(self._fresh, None)) is not None:
            self._again.append(unit)
        return not self._again and not self._suspects

    def done(self, number: int) -> None:
        """Forget what was noted of a unit."""
        self._failures.pop(number, None)
        self._cleared(number)

    def give_back(self, units: Sequence[Unit]) -> None:
        """Take back units that were handed out and not begun, to be handed out next."""
        self._again.extendleft(reversed(units))
        for unit in units:
            self._cleared(unit.number)

    def failed(self, unit: Unit, error: str) -> None:
        """Take back a unit that failed: to be tried again, or set aside."""
        self._failures[unit.number] += 1
        self._cleared(unit.number)
        if self._failures[unit.number] > self._retries:
            del self._failures[unit.number]
            self._progress.unit_failed(unit, error)
        else:
            self._progress.unit_retried(unit, error)
            self._again.append(unit)

    def pardon(self, units: Sequence[Unit]) -> None:
        """Forget that units failed, and hand those out again that were set aside for it: their worker was to blame."""
        for unit in units:
            self._failures.pop(unit.number, None)
            if self._progress.failed.pop(unit.number, None) is not None:
                self._again.append(unit)

    def killed(self, units: Sequence[Unit], error: str) -> None:
        """Take back units whose workers died under them, again and again."""
        for unit in units:
            if unit.number == self._suspect_out:
                self._cleared(unit.number)
                self._progress.unit_failed(unit, error)
            else:
                self._progress.unit_retried(unit, error)
                self._suspects.append(unit)

    def _cleared(self, number: int) -> None:
        if number == self._suspect_out:
            self._suspect_out = None
