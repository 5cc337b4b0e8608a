"""What runs on a worker: the plugin that holds a run's context, and the tasks that render units with it.

A task takes one unit, or several where they are quick, and answers for each of them: a unit that fails does not take the others of its
task along. Records and errors travel back to the client, pixels do not.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from distributed import WorkerPlugin, get_worker
from numpy.typing import NDArray

from nbdist.execution.context import RunContext
from nbdist.execution.gpus import worker_device
from nbdist.execution.rendering import assemble_frame, finished_frame, render_partial, render_unit, write_unit
from nbdist.execution.serial import is_fatal
from nbdist.execution.steady_clock import keep_steady
from nbdist.execution.tasks import name_of_plugin
from nbdist.planning import PhiChunk, Tile, Unit
from nbdist.store import UnitWriter
from nbdist.store.locations import one_line

TASK_LIMIT_S = 10.0
"""A task gives back the units it has not begun after so long: they were slower than thought, or another kind of worker got them."""
GPU_RESOURCE = "GPU"
"""A worker that declares this Dask resource is of the kind "gpu", as one that has a GPU and may use it."""
JOINED = "nbdist-joined"
"""Topic of the events by which workers tell the clients of runs that they joined."""


class RunPlugin(WorkerPlugin):
    """Holds a run's context in every worker process; the renderer and the writer are made by the first task."""

    def __init__(self, context: RunContext, run: str, client: str) -> None:
        self.context = context
        self.run = run
        self.name = name_of_plugin(run, client)
        self.kind = "cpu"
        self._writer: UnitWriter | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_writer": None}

    def setup(self, worker: Any) -> None:
        """One torch thread a worker: the processes share the cores. An interrupt is the client's to handle."""
        import torch

        torch.set_num_threads(1)
        keep_steady()
        wanted, self.context.device = self.context.device, worker_device(self.context.device)
        self.kind = kind_of(wanted, self.context.device, worker)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        worker.log_event(JOINED, {"run": self.run, "worker": worker.address, "kind": self.kind})

    @property
    def writer(self) -> UnitWriter:
        """The store, opened once in this process."""
        if self._writer is None:
            assert self.context.location is not None
            self._writer = UnitWriter(self.context.location, self.context.store_id)
        return self._writer


def kind_of(wanted: str, device: str, worker: Any) -> str:
    """Kind of a worker: "gpu" where it took a GPU, or declares the resource and is not told to leave it alone; else "cpu"."""
    declared = worker.state.total_resources.get(GPU_RESOURCE, 0) >= 1
    return "gpu" if device.startswith("cuda") or (declared and wanted != "cpu") else "cpu"


def _plugin(name: str) -> RunPlugin:
    plugin: RunPlugin = get_worker().plugins[name]
    return plugin


@dataclass
class Answer:
    """What became of the units of a task.

    Attributes
    ----------
    kind
        Kind of the worker.
    records
        Of the units that are done.
    errors
        Of the units that failed, by number.
    seconds
        What the units that were begun took in all.
    address
        Of the worker.
    """

    kind: str
    records: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    address: str = ""


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
