"""Turning units into Dask tasks, and the tasks that are in flight."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future

from nbdist.planning import Unit
from nbdist.run.executors.roster import Places
from nbdist.run.executors.tasks import assemble_task, call_as_bytes, make_call, piece_task, unit_task
from nbdist.run.jobs import Job, piece_name
from nbdist.run.progress import Work
from nbdist.run.settings import Pacing

KEPT_UNITS = 2
"""So many split units that failed keep their finished pieces at the workers."""


@dataclass
class Task:
    """Units that a future stands for.

    Attributes
    ----------
    window
        The kind of worker it was meant for.
    keys
        Names of its Dask tasks.
    since
        When it was submitted; seconds of the clock.
    only
        Workers that may take it, or a piece of it, and none other: one entry a Dask task that is bound so.
    pieces
        Futures of the pieces of a split unit, by name.
    """

    units: Sequence[Work]
    window: str
    keys: frozenset[str]
    since: float
    only: Set[tuple[str, ...]] = frozenset()
    pieces: Mapping[str, Future] = field(default_factory=dict)


def spans_of(units: Sequence[Work]) -> list[tuple[int, int]]:
    """Half-open spans of consecutive unit numbers, in order: the scheduler keeps the last thousand messages to each worker."""
    spans: list[tuple[int, int]] = []
    for unit in units:
        if spans and spans[-1][1] == unit.number:
            spans[-1] = (spans[-1][0], unit.number + 1)
        else:
            spans.append((unit.number, unit.number + 1))
    return spans


class Submitter:
    """Submits units; every submission has names of its own, so that one given up never answers for the next."""

    def __init__(self, client: Client, run: str, job: Job[Any], pacing: Pacing, clock: Callable[[], float]) -> None:
        self._client, self._run, self._job, self._pacing, self._clock = client, run, job, pacing, clock
        self._serial = itertools.count()
        self._kept_pieces: dict[int, Mapping[str, Future]] = {}

    def submit(self, units: Sequence[Work], window: str, places: Callable[[], Places]) -> tuple[Future, Task]:
        """Submit units as one task, or a single one split; `places` says for each Dask task where it may go."""
        serial, bound, keys = next(self._serial), set(), []

        def submit(name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future:
            where = places()
            if where.only:
                bound.add(where.workers)
            if where.workers:
                options |= {"workers": list(where.workers), "allow_other_workers": not where.only}
            keys.append(f"{name}-{self._run}-{serial}")
            return self._client.submit(function, *arguments, key=keys[-1], pure=False, **options)

        pieces: dict[str, Future] = {}
        if self._job.split:
            (unit,) = units
            assert isinstance(unit, Unit)
            future = self._submit_split(unit, submit, pieces)
        else:
            call = call_as_bytes(unit_task, self._run, spans_of(units), self._pacing.task_limit_s)
            future = submit("unit", make_call, call)
        return future, Task(units, window, frozenset(keys), self._clock(), bound, pieces)

    def keep_pieces(self, task: Task) -> None:
        """Keep the finished pieces of a unit of which another piece failed, for the next time that it is submitted."""
        (unit,) = task.units
        finished = {name: future for name, future in task.pieces.items() if future.status == "finished"}
        self._kept_pieces[unit.number] = finished
        while len(self._kept_pieces) > KEPT_UNITS:
            del self._kept_pieces[next(iter(self._kept_pieces))]

    def _submit_split(self, unit: Unit, submit: Callable[..., Future], pieces: dict[str, Future]) -> Future:
        plan, kept = self._job.context.plan, self._kept_pieces.pop(unit.number, {})

        def piece(frame: int, t: int, c: int) -> Future:
            name = piece_name(frame, plan.tiles[t], plan.chunks[c])
            if name in kept and kept[name].status == "finished":
                pieces[name] = kept[name]
            else:
                call = call_as_bytes(piece_task, self._run, frame, tuple(plan.tiles[t]), tuple(plan.chunks[c]))
                pieces[name] = submit(f"piece-{frame}-{t}-{c}", make_call, call)
            return pieces[name]

        frames = [
            [[piece(frame, t, c) for c in range(len(plan.chunks))] for t in range(len(plan.tiles))]
            for frame in unit.frames
        ]
        return submit("frame", assemble_task, self._run, tuple(unit), time.time(), frames, priority=1)
