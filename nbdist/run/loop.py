"""The loop of a run, whoever renders: units go out while there is room, and what became of them goes into the ledger.

No more is in flight than the executor has room for, so a million units grow neither the scheduler nor the client.
"""

from __future__ import annotations

from nbdist.run.executors import Executor
from nbdist.run.ledger import Ledger
from nbdist.run.progress import Progress, Report


def run_units(ledger: Ledger, executor: Executor, progress: Progress, report: Report) -> None:
    """Hand out the units of a ledger until none is left and none in flight.

    Raises
    ------
    UnfinishedError
        If so many units fail, or so many workers, that the run had better end.
    OSError, StoreError
        If the store cannot be written any more (disk full, no permission, removed).
    """
    while not ledger.finished:
        for room in executor.room(ledger.left):
            for _ in range(room.tasks):
                if not (units := ledger.take(room.units)):
                    break
                executor.submit(units, room.kind, ledger.avoided(units))
        progress.in_flight = ledger.in_flight
        report(progress)
        for outcome in executor.collect():
            ledger.settle(outcome)
            for worker, error in ledger.failing_workers(executor.workers).items():
                executor.restart_or_exclude(worker, error)
    progress.in_flight = 0
    report(progress)
