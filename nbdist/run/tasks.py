"""What is sent through Dask: calls as bytes, and functions whole, so that the scheduler needs no nbdist and neither reads nor runs any.

A function defined in another one has no name by which it could be looked up: it is sent as its code, and imports what it needs where it
runs. So a worker that has no nbdist, or one that cannot be imported, says so instead of failing to unpickle what it was sent.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

RUNS = "nbdist-runs"
"""Topic of the events by which workers tell the clients of runs that they took one in, or why they cannot."""


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


def unit_task(run: str, spans: list[tuple[int, int]]) -> Any:
    """Render units, given as half-open spans of their numbers; see `worker_tasks.render_units`."""
    from nbdist.run import worker_tasks

    return worker_tasks.render_units(run, spans)


def partial_task(run: str, frame: int, tile: tuple[int, int, int, int], chunk: tuple[int, int]) -> Any:
    """Render one (tile, chunk) of a frame; see `worker_tasks.render_piece`."""
    from nbdist.run import worker_tasks

    return worker_tasks.render_piece(run, frame, tile, chunk)


def _sent_whole() -> tuple[Callable[..., Any], ...]:
    def assemble(run: str, unit: tuple[int, int, int], started: float, frames: list[list[list[Any]]]) -> Any:
        from nbdist.run import worker_tasks

        return worker_tasks.assemble_unit(run, unit, started, frames)

    async def take_in(
        context: bytes, run: str, topic: str, versions: dict[str, tuple[str, int]], dask_worker: Any = None
    ) -> dict[str, Any]:
        import asyncio
        import importlib.metadata
        import platform
        import signal
        import threading
        import traceback

        def taken() -> dict[str, Any]:
            for name, (wanted, digits) in versions.items():
                found = platform.python_version() if name == "python" else importlib.metadata.version(name)
                if found.partition("+")[0].split(".")[:digits] != wanted.partition("+")[0].split(".")[:digits]:
                    raise RuntimeError(f"it has {name} {found}, the run {wanted}")
            from nbdist.run import worker_run

            return worker_run.take_in(context, run, dask_worker)

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the client's to handle
        about: dict[str, Any] = {"run": run, "worker": dask_worker.address, "host": platform.node()}
        try:
            about |= await asyncio.to_thread(taken)
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

    def give_up(runs: list[str], dask_worker: Any = None) -> None:
        import sys

        if (worker_run := sys.modules.get("nbdist.run.worker_run")) is not None:
            worker_run.give_up(runs, dask_worker.address)

    def held_runs(dask_worker: Any = None) -> list[tuple[str, str]]:
        import sys

        worker_run = sys.modules.get("nbdist.run.worker_run")
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

    def clients_there(dask_scheduler: Any) -> list[str]:
        return list(dask_scheduler.clients)

    return assemble, take_in, give_up, held_runs, workers_there, clients_there


assemble_task, take_in, give_up, held_runs, workers_there, clients_there = _sent_whole()
"""On a worker: make a unit of its partials (see `worker_tasks.assemble_unit`), take in a run, forget runs, and name those that are held
with their clients. On the scheduler: its name and its workers by address, with their threads, nanny, whether they are paused, and the
bytes they use and may use; and the names of its clients."""
