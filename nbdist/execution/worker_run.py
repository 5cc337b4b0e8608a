"""What a worker holds of a run, and what it answers. The client makes the context, and loads no torch for that.

The client hands a run to each worker, which makes all that it needs before its first task: torch, the device, the store, the renderer
with its kernel. What is wrong with a worker shows then, and is told to the client. Tasks that come earlier wait. The threads of a
worker share what it holds.
"""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass, field
from typing import Any

from nbdist.execution.context import RunContext
from nbdist.execution.failures import ErrorLine
from nbdist.execution.gpus import worker_device
from nbdist.execution.steady_clock import keep_steady
from nbdist.store import UnitWriter

GPU_RESOURCE = "GPU"
"""A worker that declares this Dask resource is of the kind "gpu", as one that has a GPU and may use it."""
TAKING_IN_S = 30.0
"""How long a task waits for its run to be taken in before it is given back."""


@dataclass
class WorkerRun:
    """A run in a worker's process.

    Attributes
    ----------
    client
        Name of the client that began it.
    wanted
        The device that it asks for.
    """

    context: RunContext
    client: str
    wanted: str
    writer: UnitWriter | None


_runs: dict[str, WorkerRun | None] = {}
"""Runs by name; None for one that was given up here."""
_changed = threading.Condition()
_taking_in = threading.Lock()


def take_in(content: bytes, run: str, worker: Any) -> dict[str, Any]:
    """Take in a run, once a process, and make ready for its tasks; what the client is told of it: kind of worker, and kernel.

    Raises
    ------
    Exception
        Whatever is wrong here: torch, the device, the store.
    """
    with _taking_in:
        held = _runs.get(run)
        if held is None:
            keep_steady()
            context, client = pickle.loads(content)
            wanted, context.device = context.device, worker_device(context.device)
            writer = None if context.location is None else UnitWriter(context.location, context.store_id)
            held = WorkerRun(context, client, wanted, writer)
            _ = context.renderer  # made, and its kernel compiled, before the first task
            with _changed:
                _runs[run] = held
                _changed.notify_all()
    engine = held.context.renderer.engine
    return {"kind": kind_of(held, worker), "kernel": engine.mode, "why_eager": getattr(engine, "why_eager", "")}


def kind_of(run: WorkerRun, worker: Any) -> str:
    """Kind of a worker: "gpu" where it took a GPU, or declares the resource and is not told to leave it alone; else "cpu"."""
    declared = worker.state.total_resources.get(GPU_RESOURCE, 0) >= 1
    return "gpu" if run.context.device.startswith("cuda") or (declared and run.wanted != "cpu") else "cpu"


def run_here(name: str) -> WorkerRun | None:
    """The run of a task, once it is taken in; None where that takes too long, or the run was given up here.

    Torch's number of threads is each thread's own: one, for the processes and the threads of a worker share the cores.
    """
    with _changed:
        _changed.wait_for(lambda: name in _runs, TAKING_IN_S)
        held = _runs.get(name)
    if held is not None:
        import torch

        torch.set_num_threads(1)
    return held


def give_up(runs: list[str]) -> None:
    """Free what is held of runs; tasks of theirs that come after are given back."""
    with _changed:
        _runs.update(dict.fromkeys(runs))
        _changed.notify_all()


def held() -> list[tuple[str, str]]:
    """Names of the runs that are held, each with its client."""
    with _changed:
        return [(name, run.client) for name, run in _runs.items() if run is not None]


@dataclass
class Answer:
    """What became of the units of a task.

    Attributes
    ----------
    address
        Of the worker.
    kind
        Kind of the worker.
    records
        Of the units that are done.
    errors
        Of the units that failed, by number.
    seconds
        What the units that were begun took in all.
    trouble
        What went wrong at the worker that its units have no part in: its store, its disk.
    """

    address: str
    kind: str = "cpu"
    records: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[int, ErrorLine] = field(default_factory=dict)
    seconds: float = 0.0
    trouble: ErrorLine | None = None


class PieceError(Exception):
    """A piece of a frame failed at a worker."""

    def __init__(self, line: ErrorLine, address: str) -> None:
        super().__init__(line, address)
        self.line, self.address = line, address
