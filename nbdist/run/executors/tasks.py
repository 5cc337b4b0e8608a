"""What is sent through Dask: calls as bytes, and functions whole, so that the scheduler needs no nbdist and neither reads nor runs any.

A function defined in another one has no name by which it could be looked up: it is sent as its code, and imports what it needs where it
runs. So a worker that has no nbdist, or one that cannot be imported, says so instead of failing to unpickle what it was sent.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

RUNS = "nbdist-runs"
"""Topic of the events by which workers tell the clients of runs that they are prepared for one, or why they cannot be."""


class Call:
    """A function and its arguments; where it is unpickled, the call is made, and what it returns stands in its place."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


make_call = pickle.loads
"""What Dask runs, with the bytes of `call_as_bytes`: it knows this function everywhere."""


def call_as_bytes(function: Callable[..., Any], *arguments: Any) -> bytes:
    """A call that `make_call` makes."""
    return pickle.dumps(Call(function, *arguments))


def unit_task(run: str, spans: list[tuple[int, int]], limit_s: float) -> Any:
    """Render units, given as half-open spans of their numbers; see `worker_tasks.render_units`."""
    from nbdist.run.executors import worker_tasks

    return worker_tasks.render_units(run, spans, limit_s)


def piece_task(run: str, frame: int, tile: tuple[int, ...], chunk: tuple[int, int]) -> Any:
    """Render one (tile, chunk) of a frame; see `worker_tasks.render_piece`."""
    from nbdist.run.executors import worker_tasks

    return worker_tasks.render_piece(run, frame, tile, chunk)


def _sent_whole() -> tuple[Callable[..., Any], ...]:
    def assemble(run: str, unit: tuple[int, int, int], started: float, frames: list[list[list[Any]]]) -> Any:
        from nbdist.run.executors import worker_tasks

        return worker_tasks.assemble_unit(run, unit, started, frames)

    async def prepare(
        job: bytes, run: str, topic: str, versions: dict[str, tuple[str, int]], dask_worker: Any = None
    ) -> dict[str, Any]:
        import asyncio
        import importlib.metadata
        import platform
        import signal
        import threading
        import traceback

        def prepared() -> dict[str, Any]:
            for name, (wanted, digits) in versions.items():
                try:
                    found = platform.python_version() if name == "python" else importlib.metadata.version(name)
                except importlib.metadata.PackageNotFoundError:
                    if name == "torch":  # what needs it says so
                        continue
                    raise
                if found.partition("+")[0].split(".")[:digits] != wanted.partition("+")[0].split(".")[:digits]:
                    raise RuntimeError(f"it has {name} {found}, the run {wanted}")
            from nbdist.run.executors import worker_run

            return worker_run.prepare(job, run, dask_worker)

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the client's to handle
        about: dict[str, Any] = {"run": run, "worker": dask_worker.address, "host": platform.node()}
        try:
            about |= await asyncio.to_thread(prepared)
        except Exception as error:
            about["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            about["traceback"] = traceback.format_exc()
            try:
                from nbdist.run.failures import ErrorLine

                line = ErrorLine.of(error)
                about |= {"error": str(line), "traceback": line.traceback}
            except Exception:  # of an nbdist that cannot be imported: the line says it
                pass
        dask_worker.log_event(topic, about)
        return about

    def drop_runs(runs: list[str], dask_worker: Any = None) -> None:
        import sys

        if (worker_run := sys.modules.get("nbdist.run.executors.worker_run")) is not None:
            worker_run.drop_runs(runs, dask_worker.address)

    def held_runs(dask_worker: Any = None) -> list[tuple[str, str]]:
        import sys

        worker_run = sys.modules.get("nbdist.run.executors.worker_run")
        return worker_run.held_runs(dask_worker.address) if worker_run is not None else []

    def workers_there(dask_scheduler: Any) -> tuple[str, dict[str, tuple[int, str, bool, int, int]]]:
        return dask_scheduler.id, {
            address: (
                state.nthreads,
                state.nanny or "",
                state.status.name == "paused",
                int(state.metrics.get("memory", 0)),
                int(state.memory_limit),
            )
            for address, state in dask_scheduler.workers.items()
        }

    def tasks_at_workers(run: str, dask_scheduler: Any) -> dict[str, str]:
        of_run = f"-{run}-"
        return {
            task.key: address
            for address, state in dask_scheduler.workers.items()
            for task in state.processing
            if of_run in str(task.key)
        }

    def clients_there(dask_scheduler: Any) -> list[str]:
        return list(dask_scheduler.clients)

    async def restart(workers: list[str], timeout_s: float, dask_scheduler: Any) -> None:
        import time

        stimulus = f"nbdist-{time.time()}"
        await dask_scheduler.restart_workers(
            workers, timeout=timeout_s, wait_for_workers=False, on_error="return", stimulus_id=stimulus
        )

    return assemble, prepare, drop_runs, held_runs, workers_there, tasks_at_workers, clients_there, restart


assemble_task, prepare, drop_runs, held_runs, workers_there, tasks_at_workers, clients_there, restart = _sent_whole()
"""On a worker: make a unit of its pieces (see `worker_tasks.assemble_unit`), prepare for a run, forget runs, and name those that are held
with their clients. On the scheduler: its name and its workers by address, with their threads, nanny, whether they are paused, and the
bytes they use and may use; where the tasks of a run are, by key; the names of its clients; and restart workers, or remove those that
nobody restarts (`Client.restart_workers` refuses them)."""
