"""Turning units into Dask tasks, and the tasks that are in flight."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future

from nbdist.planning import Unit
from nbdist.run.context import RunContext
from nbdist.run.roster import Places
from nbdist.run.tasks import assemble_task, call_as_bytes, make_call, partial_task, unit_task


@dataclass
class Task:
    """Units that a future stands for.

    Attributes
    ----------
    window
        The kind of worker it was meant for.
    keys
        Names of its Dask tasks.
    only
        Workers that may take it, or a piece of it, and none other: one entry a Dask task that is bound so.
    since
        When it was submitted; seconds of the monotonic clock.
    """

    units: Sequence[Unit]
    window: str
    keys: frozenset[str]
    only: Set[tuple[str, ...]] = frozenset()
    since: float = field(default_factory=time.monotonic)


def spans_of(units: Sequence[Unit]) -> list[tuple[int, int]]:
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

    def __init__(self, client: Client, run: str, context: RunContext, retries: int) -> None:
        self._client, self._run, self._context, self._retries = client, run, context, retries
        self._serial = itertools.count()

    @property
    def split(self) -> bool:
        """Whether a frame is rendered by several tasks."""
        return self._context.plan.split

    def submit(self, units: Sequence[Unit], window: str, places: Callable[[], Places]) -> tuple[Future, Task]:
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

        if self.split:
            (unit,) = units
            future = self._submit_split(unit, submit)
        else:
            future = submit("unit", make_call, call_as_bytes(unit_task, self._run, spans_of(units)))
        return future, Task(units, window, frozenset(keys), bound)

    def _submit_split(self, unit: Unit, submit: Callable[..., Future]) -> Future:
        plan = self._context.plan

        def partial(frame: int, t: int, c: int) -> Future:
            piece = call_as_bytes(partial_task, self._run, frame, tuple(plan.tiles[t]), tuple(plan.chunks[c]))
            return submit(f"partial-{frame}-{t}-{c}", make_call, piece, retries=self._retries)

        frames = [
            [[partial(frame, t, c) for c in range(len(plan.chunks))] for t in range(len(plan.tiles))]
            for frame in unit.frames
        ]
        return submit("frame", assemble_task, self._run, tuple(unit), time.time(), frames, priority=1)
