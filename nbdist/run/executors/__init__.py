"""Who renders the units of a run: this process, or the workers of a Dask cluster, behind one small protocol.

An executor is handed units and tells what became of them. It decides nothing about a unit: whether one is tried again or set aside is
the ledger's (`nbdist.run.ledger`), and when the next ones are handed out is the loop's (`nbdist.run.loop`). What an executor looks after
is its own workers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nbdist.run.failures import ErrorLine
from nbdist.run.progress import Record, Work


@dataclass(frozen=True)
class Room:
    """Room for tasks of one kind of worker.

    Attributes
    ----------
    kind
        The kind of worker, empty where there is one.
    tasks
        How many more tasks it takes now.
    units
        How many units a task should have, at most.
    """

    kind: str
    tasks: int
    units: int


@dataclass(frozen=True)
class Outcome:
    """What became of a task; units that are in none of the fields were not begun.

    Attributes
    ----------
    units
        All units of the task.
    worker
        Address of the worker, where it is known.
    records
        Of the units that are done.
    errors
        Of the units that failed, by number.
    piece
        Name of the piece that failed, of a unit that several workers render.
    killed
        Why, where the workers died under the other units.
    """

    units: Sequence[Work]
    worker: str = ""
    records: Sequence[Record] = ()
    errors: Mapping[int, ErrorLine] = field(default_factory=dict)
    piece: str = ""
    killed: str = ""


class Executor(Protocol):
    """Renders the units of one run."""

    @property
    def workers(self) -> Collection[str]:
        """Addresses of the workers that are there."""

    def room(self, units_left: int) -> Iterable[Room]:
        """How much more is to be handed out now, of so many units that are left."""

    def submit(self, units: Sequence[Work], kind: str, avoided: Collection[str]) -> None:
        """Take on units as one task for a kind of worker, for others than those to be avoided where there are others."""

    def collect(self) -> Iterator[Outcome]:
        """What became of tasks: waits for the first, but not for ever, and looks after the workers.

        Raises
        ------
        OSError, NbdistError
            If the run cannot go on: the store cannot be written, or no worker is left.
        """

    def restart_or_exclude(self, worker: str, error: ErrorLine) -> None:
        """Do something about a worker that fails unit after unit.

        Raises
        ------
        UnfinishedError
            If no worker is left.
        """

    def close(self) -> None:
        """Give up what is in flight, and leave nothing of the run with the workers."""
