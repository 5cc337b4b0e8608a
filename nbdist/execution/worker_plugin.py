"""What a worker holds of a run: the plugin with the run's context. The client makes it, and loads no torch for that."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from typing import Any

from distributed import WorkerPlugin

from nbdist.execution.context import RunContext
from nbdist.execution.gpus import worker_device
from nbdist.execution.steady_clock import keep_steady
from nbdist.execution.tasks import name_of_plugin
from nbdist.store import UnitWriter

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
