"""What Dask calls. The scheduler imports this module, so it imports nothing itself: torch and the store load on the workers."""

from __future__ import annotations

from typing import Any


def unit_task(plugin: str, units: list[tuple[int, int, int]]) -> Any:
    """Render units, given as plain numbers, of the run whose plugin this is; see `worker_tasks.render_units`."""
    from nbdist.execution import worker_tasks

    return worker_tasks.render_units(plugin, units)


def partial_task(plugin: str, frame: int, tile: tuple[int, int, int, int], chunk: tuple[int, int]) -> Any:
    """Render one (tile, chunk) of a frame; see `worker_tasks.render_piece`."""
    from nbdist.execution import worker_tasks

    return worker_tasks.render_piece(plugin, frame, tile, chunk)


def assemble_task(plugin: str, unit: tuple[int, int, int], started: float, frames: list[list[list[Any]]]) -> Any:
    """Make a unit of its partials; see `worker_tasks.assemble_unit`."""
    from nbdist.execution import worker_tasks

    return worker_tasks.assemble_unit(plugin, unit, started, frames)


PLUGINS = "nbdist-"


def name_of_plugin(run: str, client: str) -> str:
    """Name of the worker plugin of a run; it tells which client began it."""
    return f"{PLUGINS}{run}@{client}"


def abandoned_plugins(dask_scheduler: Any) -> list[str]:
    """Names of the plugins of runs whose client is gone, killed before it could remove them; runs on the scheduler."""
    names = [name for name in dask_scheduler.worker_plugins if name.startswith(PLUGINS)]
    return [name for name in names if name.rpartition("@")[2] not in dask_scheduler.clients]
