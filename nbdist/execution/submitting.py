"""Turning units into Dask tasks, and the tasks that are in flight."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future

from nbdist.execution.tasks import assemble_task, partial_task, unit_task
from nbdist.execution.worker_plugin import RunPlugin
from nbdist.planning import Unit


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
        When it was submitted; seconds of the monotonic clock.
    """

    units: Sequence[Unit]
    window: str
    keys: frozenset[str]
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

    def __init__(self, client: Client, plugin: RunPlugin, retries: int) -> None:
        self._client, self._plugin, self._retries = client, plugin.name, retries
        self._run, self._context = plugin.run, plugin.context
        self._serial = itertools.count()

    @property
    def split(self) -> bool:
        """Whether a frame is rendered by several tasks."""
        return self._context.plan.split

    def submit(self, units: Sequence[Unit], window: str, workers: Sequence[str]) -> tuple[Future, Task]:
        """Submit units as one task, or a single one split; `workers` may take it, and others should these be lost."""
        where: dict[str, Any] = {"workers": list(workers), "allow_other_workers": True} if workers else {}
        if not self.split:
            key = f"unit-{self._run}-{next(self._serial)}"
            future = self._client.submit(unit_task, self._plugin, spans_of(units), key=key, pure=False, **where)
            return future, Task(units, window, frozenset({key}))
        (unit,) = units
        return self._submit_split(unit, window, where)

    def _submit_split(self, unit: Unit, window: str, where: dict[str, Any]) -> tuple[Future, Task]:
        plan, serial = self._context.plan, next(self._serial)
        keys = []

        def partial(frame: int, t: int, c: int) -> Future:
            key = f"partial-{self._run}-{serial}-{frame}-{t}-{c}"
            keys.append(key)
            piece = (frame, tuple(plan.tiles[t]), tuple(plan.chunks[c]))
            return self._client.submit(
                partial_task, self._plugin, *piece, key=key, retries=self._retries, pure=False, **where
            )

        frames = [
            [[partial(frame, t, c) for c in range(len(plan.chunks))] for t in range(len(plan.tiles))]
            for frame in unit.frames
        ]
        key = f"frame-{self._run}-{serial}"
        future = self._client.submit(
            assemble_task,
            self._plugin,
            tuple(unit),
            time.time(),
            frames,
            key=key,
            retries=self._retries,
            pure=False,
            priority=1,
            **where,
        )
        return future, Task([unit], window, frozenset({key, *keys}))
