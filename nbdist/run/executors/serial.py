"""This process as an executor: one unit after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from nbdist.errors import is_fatal
from nbdist.run.executors import Outcome, Room
from nbdist.run.failures import ErrorLine
from nbdist.run.jobs import Job
from nbdist.run.progress import Work


class SerialExecutor:
    """Renders a unit when it is asked what became of it."""

    workers = ("",)

    def __init__(self, job: Job[Any]) -> None:
        job.prepare()
        self._job = job
        self._waiting: list[Work] = []

    def room(self, units_left: int) -> Sequence[Room]:
        """Room for one unit."""
        return [Room("", 0 if self._waiting else 1, 1)]

    def submit(self, units: Sequence[Work], kind: str, avoided: Collection[str]) -> None:
        """Take on a unit."""
        self._waiting.extend(units)

    def collect(self) -> Iterator[Outcome]:
        """Render what was taken on.

        Raises
        ------
        OSError, StoreError
            If the store cannot be written any more.
        """
        while self._waiting:
            unit = self._waiting.pop(0)
            try:
                outcome = Outcome([unit], records=[self._job.render(unit)])
            except Exception as error:
                if is_fatal(error):
                    raise
                outcome = Outcome([unit], errors={unit.number: ErrorLine.of(error)})
            yield outcome

    def restart_or_exclude(self, worker: str, error: ErrorLine) -> None:
        """Do nothing: there is no other worker."""

    def close(self) -> None:
        """Do nothing: nothing is left behind."""
