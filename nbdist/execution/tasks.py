"""What a Dask task calls. The scheduler imports this module, so it imports nothing itself: torch and the store load on the workers."""

from __future__ import annotations

from typing import Any


def unit_task(run: str, units: list[tuple[int, int, int]]) -> Any:
    """Render units of a run, given as plain numbers; see `worker_tasks.render_units`."""
    from nbdist.execution import worker_tasks

    return worker_tasks.render_units(run, units)


def partial_task(run: str, frame: int, tile: tuple[int, int, int, int], chunk: tuple[int, int]) -> Any:
    """Render one (tile, chunk) of a frame; see `worker_tasks.render_piece`."""
    from nbdist.execution import worker_tasks

    return worker_tasks.render_piece(run, frame, tile, chunk)


def assemble_task(run: str, unit: tuple[int, int, int], started: float, frames: list[list[list[Any]]]) -> Any:
    """Make a unit of its partials; see `worker_tasks.assemble_unit`."""
    from nbdist.execution import worker_tasks

    return worker_tasks.assemble_unit(run, unit, started, frames)
