"""What runs on a worker: the tasks that render units with what the worker holds of their run.

A task takes one unit, or several where they are quick, and answers for each of them: a unit that fails does not take the others of its
task along. Records and errors travel back to the client, pixels do not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from distributed import Reschedule, get_worker
from numpy.typing import NDArray

from nbdist.errors import is_fatal
from nbdist.planning import PhiChunk, Tile, Unit
from nbdist.run.failures import ErrorLine
from nbdist.run.rendering import (
    assemble_frame,
    finished_frame,
    render_partial,
    render_unit,
    rendered_by,
    write_unit,
)
from nbdist.run.worker_run import Answer, PieceError, run_here

TASK_LIMIT_S = 10.0
"""A task gives back the units it has not begun after so long: they were slower than thought, or another kind of worker got them."""


def render_units(run: str, spans: Sequence[tuple[int, int]]) -> Answer:
    """Render units one after the other; those that are not begun are left out of the answer.

    They are not begun when those before took too long, after an error that they would meet too, or where this worker does not hold
    the run.
    """
    address = get_worker().address
    held, began = run_here(run, address), time.perf_counter()
    if held is None:
        return Answer(address, held=False)
    assert held.writer is not None
    answer = Answer(address, held.kind)
    plan = held.context.plan
    for unit in (plan.unit(number) for first, last in spans for number in range(first, last)):
        try:
            answer.records.append(render_unit(held.context, held.writer, unit))
        except Exception as error:
            if is_fatal(error):
                answer.trouble = ErrorLine.of(error)
                break
            answer.errors[unit.number] = ErrorLine.of(error)
        answer.seconds = time.perf_counter() - began
        if answer.seconds > TASK_LIMIT_S:
            break
    return answer


class Partial(NamedTuple):
    """A partial intensity, what made it (see `rendered_by`), and the seconds."""

    values: NDArray[np.float64]
    by: dict[str, str]
    seconds: float


def render_piece(run: str, frame: int, tile: tuple[int, int, int, int], chunk: tuple[int, int]) -> Partial:
    """Render one (tile, chunk) of a frame.

    Raises
    ------
    PieceError
        If it fails, naming this worker.
    Reschedule
        If this worker does not hold the run: Dask hands the piece out again.
    """
    address = get_worker().address
    held, began = run_here(run, address), time.perf_counter()
    if held is None:
        raise Reschedule
    try:
        values = render_partial(held.context, frame, Tile(*tile), PhiChunk(*chunk))
    except Exception as error:
        raise PieceError(ErrorLine.of(error), address) from None
    return Partial(values, rendered_by(held.context), time.perf_counter() - began)


def assemble_unit(run: str, numbers: tuple[int, int, int], started: float, frames: list[list[list[Partial]]]) -> Answer:
    """Add the partials of a unit's frames, given by frame, tile and chunk, and write it; the answer is that of `render_units`."""
    address = get_worker().address
    held, unit, began = run_here(run, address), Unit(*numbers), time.perf_counter()
    if held is None:
        return Answer(address, held=False)
    assert held.writer is not None
    answer = Answer(address, held.kind)
    parts = [part for tiles in frames for chunks in tiles for part in chunks]
    try:
        finished = [
            finished_frame(
                held.context,
                frame,
                assemble_frame(held.context, [[part.values for part in chunks] for chunks in tiles]),
            )
            for frame, tiles in zip(unit.frames, frames, strict=True)
        ]
        rendered = [part.by for part in parts]
        here = rendered_by(held.context)  # it adds the background and makes photons of the sum
        rendered.append({**rendered[0], "compiler": here["compiler"], "processor": here["processor"]})
        answer.seconds = sum(part.seconds for part in parts) + time.perf_counter() - began
        made = {
            **{name: _common({by[name] for by in rendered}) for name in rendered[0]},
            "started": started,
            "seconds": answer.seconds,
        }
        answer.records.append(write_unit(held.context, held.writer, unit, finished, made))
    except Exception as error:
        if is_fatal(error):
            answer.trouble = ErrorLine.of(error)
        else:
            answer.errors[unit.number] = ErrorLine.of(error)
    return answer


def _common(names: set[str]) -> str:
    return names.pop() if len(names) == 1 else "mixed"
