"""The Dask run: units go to workers through a bounded window, records come back, pixels do not.

The window is ours: a task is submitted when another finishes, so a million units grow neither the scheduler nor the client. What a
worker needs (amplitudes, geometry, plan) reaches it once, as a worker plugin, and so does a worker that joins later.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import dask
import numpy as np
from distributed import Client, Future, LocalCluster, WorkerPlugin, as_completed, get_worker
from distributed.comm import CommClosedError
from numpy.typing import NDArray

from nbdist.errors import RunError
from nbdist.execution.context import RunContext, device_of_worker
from nbdist.execution.progress import Progress, Report
from nbdist.execution.rendering import assemble_frame, finished_frame, render_partial, render_unit, write_unit
from nbdist.execution.serial import is_fatal
from nbdist.execution.steady_clock import keep_steady
from nbdist.planning import PhiChunk, Tile, Unit
from nbdist.store import UnitWriter
from nbdist.store.locations import one_line

logger = logging.getLogger(__name__)
TASKS_PER_WORKER = 3
"""Tasks in flight for each worker thread: one running, the next ones on their way."""

WORKER_MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**25}
"""Dask's workers give freed memory back at once, by default; ours ask for the same few blocks all the time and keep them."""


class RunPlugin(WorkerPlugin):
    """Holds a run's context in every worker process; the renderer and the writer are made by the first task."""

    def __init__(self, context: RunContext, run: str) -> None:
        self.context = context
        self.name = f"nbdist-{run}"
        self._writer: UnitWriter | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_writer": None}

    def setup(self, worker: Any) -> None:
        """One torch thread a worker: the processes share the cores. An interrupt is the client's to handle."""
        import torch

        torch.set_num_threads(1)
        keep_steady()
        self.context.device = device_of_worker(self.context.device, getattr(worker, "name", None))
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    @property
    def writer(self) -> UnitWriter:
        """The store, opened once in this process."""
        if self._writer is None:
            assert self.context.location is not None
            self._writer = UnitWriter(self.context.location, self.context.store_id)
        return self._writer


def _plugin(run: str) -> RunPlugin:
    plugin: RunPlugin = get_worker().plugins[f"nbdist-{run}"]
    return plugin


def _unit_task(run: str, unit: Unit) -> dict[str, Any]:
    plugin = _plugin(run)
    return render_unit(plugin.context, plugin.writer, Unit(*unit))


class Partial(NamedTuple):
    """A partial intensity and the kernel ("compiled" or "eager") that made it."""

    values: NDArray[np.float64]
    kernel: str


def partial_task(run: str, frame: int, tile: Tile, chunk: PhiChunk) -> Partial:
    """Render one (tile, chunk) of a frame on a worker that holds the run's plugin."""
    context = _plugin(run).context
    values = render_partial(context, frame, Tile(*tile), PhiChunk(*chunk))
    return Partial(values, context.renderer.kernels.mode)


def _assemble_task(run: str, unit: Unit, started: float, frames: list[list[list[Partial]]]) -> dict[str, Any]:
    plugin, unit = _plugin(run), Unit(*unit)
    kernels = {part.kernel for tiles in frames for parts in tiles for part in parts}
    finished = [
        finished_frame(
            plugin.context,
            frame,
            assemble_frame(plugin.context, [[part.values for part in parts] for parts in tiles]),
        )
        for frame, tiles in zip(unit.frames, frames, strict=True)
    ]
    kernel = kernels.pop() if len(kernels) == 1 else "mixed"
    return write_unit(plugin.context, plugin.writer, unit, finished, started, kernel)


@dataclass
class _Submitter:
    """Turns units into tasks."""

    client: Client
    run: str
    context: RunContext
    retries: int

    def submit(self, unit: Unit) -> Future:
        if not self.context.plan.split:
            return self.client.submit(
                _unit_task, self.run, unit, key=f"unit-{self.run}-{unit.number}", retries=self.retries, pure=False
            )
        plan = self.context.plan
        frames = [
            [
                [
                    self.client.submit(
                        partial_task,
                        self.run,
                        frame,
                        tile,
                        chunk,
                        key=f"partial-{self.run}-{frame}-{t}-{c}",
                        retries=self.retries,
                        pure=False,
                    )
                    for c, chunk in enumerate(plan.chunks)
                ]
                for t, tile in enumerate(plan.tiles)
            ]
            for frame in unit.frames
        ]
        return self.client.submit(
            _assemble_task,
            self.run,
            unit,
            time.time(),
            frames,
            key=f"frame-{self.run}-{unit.number}",
            retries=self.retries,
            pure=False,
            priority=1,
        )

    @property
    def tasks_per_unit(self) -> int:
        plan = self.context.plan
        return plan.tasks_per_frame * plan.settings.frames_per_shard if plan.split else 1


def run_dask(
    context: RunContext, units: Sequence[Unit], client: Client, progress: Progress, report: Report, retries: int
) -> None:
    """Render `units` on the workers of `client`; a unit that fails after its retries is set aside in `progress.failed`.

    Raises
    ------
    OSError
        If the store cannot be written any more (disk full, no permission).
    """
    run = uuid.uuid4().hex[:8]
    plugin = RunPlugin(context, run)
    client.register_plugin(plugin, name=plugin.name)
    submitter = _Submitter(client, run, context, retries)
    progress.dashboard = client.dashboard_link
    pending: Iterator[Unit] = iter(units)
    running: dict[Future, Unit] = {}
    finished = as_completed()
    try:
        _refill(submitter, pending, running, finished, progress)
        report(progress)
        while running:
            future = next(finished)
            unit = running.pop(future)
            _collect(future, unit, progress)
            _refill(submitter, pending, running, finished, progress)
            report(progress)
    except CommClosedError:
        raise RunError("the Dask scheduler was lost; what is complete is kept, go on with --resume") from None
    except BaseException:
        with contextlib.suppress(OSError, TimeoutError):
            client.cancel(list(running), force=True)
        raise
    finally:
        with contextlib.suppress(OSError, TimeoutError):  # a scheduler that is gone took the plugin along
            client.unregister_worker_plugin(plugin.name)


def _refill(
    submitter: _Submitter, pending: Iterator[Unit], running: dict[Future, Unit], finished: Any, progress: Progress
) -> None:
    progress.workers = sum(submitter.client.nthreads().values())
    window = max(1, -(-TASKS_PER_WORKER * max(1, progress.workers) // submitter.tasks_per_unit))
    while len(running) < window and (unit := next(pending, None)) is not None:
        future = submitter.submit(unit)
        running[future] = unit
        finished.add(future)
    progress.in_flight = len(running)


def _collect(future: Future, unit: Unit, progress: Progress) -> None:
    if future.status == "finished":
        progress.add(future.result())
        return
    error = future.exception() if future.status == "error" else RuntimeError(f"the task was {future.status}")
    if is_fatal(error):
        raise error
    logger.warning("unit %d failed after its retries: %s", unit.number, one_line(error))
    progress.failed[unit.number] = one_line(error)


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[LocalCluster]:
    """Workers on this machine, one process and one thread each, reachable from this machine only."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    malloc = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in WORKER_MALLOC.items()}
    with dask.config.set(malloc):
        with _interrupts_ignored():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
                memory_limit=0,
            )
        with cluster:
            yield cluster


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started in here are deaf to Ctrl-C: the terminal sends it to all, and the client alone ends a run in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
