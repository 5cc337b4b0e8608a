"""What runs on a worker: the tasks that render units with the context that the run's plugin holds.

A task takes one unit, or several where they are quick, and answers for each of them: a unit that fails does not take the others of its
task along. Records and errors travel back to the client, pixels do not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from distributed import get_worker
from numpy.typing import NDArray

from nbdist.errors import is_fatal
from nbdist.execution.rendering import assemble_frame, finished_frame, render_partial, render_unit, write_unit
from nbdist.execution.worker_plugin import Answer, RunPlugin
from nbdist.planning import PhiChunk, Tile, Unit
from nbdist.store.locations import one_line

TASK_LIMIT_S = 10.0
"""A task gives back the units it has not begun after so long: they were slower than thought, or another kind of worker got them."""


def _plugin(name: str) -> RunPlugin:
    plugin: RunPlugin = get_worker().plugins[name]
    return plugin


def render_units(plugin_name: str, spans: Sequence[tuple[int, int]]) -> Answer:
    """Render units one after the other; those that are not begun in time are left out of the answer.

    Raises
    ------
    Exception
        One that every other unit would meet too: see `is_fatal`.
    """
    plugin, began = _plugin(plugin_name), time.perf_counter()
    answer = Answer(plugin.kind, address=get_worker().address)
    plan = plugin.context.plan
    for unit in (plan.unit(number) for first, last in spans for number in range(first, last)):
        try:
            answer.records.append(render_unit(plugin.context, plugin.writer, unit))
        except Exception as error:
            if is_fatal(error):
                raise
            answer.errors[unit.number] = one_line(error)
        answer.seconds = time.perf_counter() - began
        if answer.seconds > TASK_LIMIT_S:
            break
    return answer


class Partial(NamedTuple):
    """A partial intensity, and what made it: the kernel ("compiled" or "eager"), the type of the device, and the seconds."""

    values: NDArray[np.float64]
    kernel: str
    device: str
    seconds: float


def render_piece(plugin_name: str, frame: int, tile: tuple[int, int, int, int], chunk: tuple[int, int]) -> Partial:
    """Render one (tile, chunk) of a frame on a worker that holds the run's plugin."""
    context, began = _plugin(plugin_name).context, time.perf_counter()
    values = render_partial(context, frame, Tile(*tile), PhiChunk(*chunk))
    renderer = context.renderer
    return Partial(values, renderer.engine.mode, renderer.device.type, time.perf_counter() - began)


def assemble_unit(
    plugin_name: str, numbers: tuple[int, int, int], started: float, frames: list[list[list[Partial]]]
) -> Answer:
    """Add the partials of a unit's frames, given by frame, tile and chunk, and write it."""
    plugin, unit, began = _plugin(plugin_name), Unit(*numbers), time.perf_counter()
    parts = [part for tiles in frames for chunks in tiles for part in chunks]
    finished = [
        finished_frame(
            plugin.context,
            frame,
            assemble_frame(plugin.context, [[part.values for part in chunks] for chunks in tiles]),
        )
        for frame, tiles in zip(unit.frames, frames, strict=True)
    ]
    made = {
        "kernel": _common({part.kernel for part in parts}),
        "device": _common({part.device for part in parts}),
        "started": started,
        "seconds": sum(part.seconds for part in parts) + time.perf_counter() - began,
    }
    record = write_unit(plugin.context, plugin.writer, unit, finished, made)
    return Answer(plugin.kind, [record], seconds=record["seconds"], address=get_worker().address)


def _common(names: set[str]) -> str:
    return names.pop() if len(names) == 1 else "mixed"
