"""What a worker holds of a run, and what it answers.

The client hands a run to each worker, which makes all that it needs before its first task: the device, the store, the renderer
with its kernel. What is wrong with a worker shows then, and is told to the client. Tasks that come earlier wait. The threads of a
worker share what it holds.
"""

from __future__ import annotations

import pickle
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from nbdist.clusters.gpus import worker_device
from nbdist.clusters.message_streams import send_at_once
from nbdist.run.failures import ErrorLine
from nbdist.run.jobs import Job
from nbdist.run.progress import Record

GPU_RESOURCE = "GPU"
"""A worker that declares this Dask resource is of the kind "gpu", as one that has a GPU and may use it."""
PREPARING_S, ELSEWHERE_S = 30.0, 1.0
"""How long a task waits until its worker is prepared, and then before it is given back: this worker may get it again."""


@dataclass
class WorkerRun:
    """A run on a worker; several workers of one process share the job.

    Attributes
    ----------
    kind
        "cpu" or "gpu".
    client
        Name of the client that began it.
    wanted
        The device that it asks for.
    """

    job: Job[Any]
    client: str
    wanted: str
    kind: str


_runs: dict[tuple[str, str], WorkerRun | None] = {}
"""By name of the run and address of the worker; None where it was dropped."""
_changed = threading.Condition()
_preparing = threading.Lock()


def prepare(content: bytes, run: str, worker: Any) -> dict[str, Any]:
    """Prepare a worker for a run; what the client is told of it: kind of worker, and kernel.

    Raises
    ------
    Exception
        Whatever is wrong here: torch, the device, the store.
    """
    send_at_once(worker.batched_stream)
    key = run, worker.address
    with _preparing:
        with _changed:
            if _runs.get(key) is None:
                _runs.pop(key, None)  # tasks wait from now on
            known = next((held for (name, _), held in _runs.items() if name == run and held is not None), None)
        held = known or _made(content)
        held = replace(held, kind=kind_of(held, worker))
        kernel = held.job.kernel  # compiled before the first task
        with _changed:
            _runs.setdefault(key, held)  # not where it was dropped meanwhile
            _changed.notify_all()
    return {"kind": held.kind, **kernel}


def _made(content: bytes) -> WorkerRun:
    job, client = pickle.loads(content)
    wanted, job.context.device = job.context.device, worker_device(job.context.device)
    job.context.threads = 1  # the processes and the threads of a worker share the cores
    job.prepare()
    return WorkerRun(job, client, wanted, "")


def kind_of(run: WorkerRun, worker: Any) -> str:
    """Kind of a worker: "gpu" where it took a GPU, or declares the resource and is not told to leave it alone; else "cpu"."""
    declared = worker.state.total_resources.get(GPU_RESOURCE, 0) >= 1
    return "gpu" if run.job.context.device.startswith("cuda") or (declared and run.wanted != "cpu") else "cpu"


def prepared_run(name: str, address: str) -> WorkerRun | None:
    """The run of a task, once this worker is prepared; None where that takes too long, or the run was dropped here.

    Torch's number of threads is each thread's own: one, as the native kernel's.
    """
    with _changed:
        _changed.wait_for(lambda: (name, address) in _runs, PREPARING_S)
        held = _runs.get((name, address))
    if held is None:
        time.sleep(ELSEWHERE_S)
        return None
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    return held


def drop_runs(runs: list[str], address: str) -> None:
    """Free what a worker holds of runs; tasks of theirs that come after are given back."""
    with _changed:
        _runs.update({(name, address): None for name in runs})
        _changed.notify_all()


def held_runs(address: str) -> list[tuple[str, str]]:
    """Names of the runs that a worker holds, each with its client."""
    with _changed:
        return [(name, run.client) for (name, holder), run in _runs.items() if holder == address and run is not None]


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
    held
        Whether the worker held the run; where not, it is prepared again.
    worker_error
        What went wrong at the worker that its units have no part in: its store, its disk.
    """

    address: str
    kind: str = "cpu"
    records: list[Record] = field(default_factory=list)
    errors: dict[int, ErrorLine] = field(default_factory=dict)
    seconds: float = 0.0
    held: bool = True
    worker_error: ErrorLine | None = None


class PieceError(Exception):
    """A piece of a frame failed at a worker."""

    def __init__(self, line: ErrorLine, address: str, piece: str) -> None:
        super().__init__(line, address, piece)
        self.line, self.address, self.piece = line, address, piece
