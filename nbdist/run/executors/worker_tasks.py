"""What runs on a worker: the tasks that render units with what the worker holds of their run.

A task takes one unit, or several where they are quick, and answers for each of them: a unit that fails does not take the others of its
task along. Records and errors travel back to the client, pixels do not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from distributed import Reschedule, get_worker
from numpy.typing import NDArray

from nbdist.errors import is_fatal
from nbdist.frames.products import Products
from nbdist.planning import PhiChunk, Tile, Unit
from nbdist.run.executors.worker_run import Answer, PieceError, prepared_run
from nbdist.run.failures import ErrorLine
from nbdist.run.jobs import StoreJob, piece_name
from nbdist.run.rendering import (
    assemble_frame,
    common_makers,
    finished_frame,
    held_in,
    render_partial,
    rendered_by,
    write_unit,
)


def render_units(run: str, spans: Sequence[tuple[int, int]], limit_s: float) -> Answer:
    """Render units one after the other; those that are not begun are left out of the answer.

    They are not begun when those before took longer than `limit_s` (they were slower than thought, or another kind of worker got them),
    after an error that they would meet too, or where this worker does not hold the run.
    """
    address = get_worker().address
    held, began = prepared_run(run, address), time.perf_counter()
    if held is None:
        return Answer(address, held=False)
    answer = Answer(address, held.kind)
    for unit in (held.job.unit(number) for first, last in spans for number in range(first, last)):
        try:
            answer.records.append(held.job.render(unit))
        except Exception as error:
            if is_fatal(error):
                answer.worker_error = ErrorLine.of(error)
                break
            answer.errors[unit.number] = ErrorLine.of(error)
        answer.seconds = time.perf_counter() - began
        if answer.seconds > limit_s:
            break
    return answer


class Partial(NamedTuple):
    """A partial intensity, what made it (see `rendered_by`), and the seconds."""

    values: NDArray[np.floating[Any]]
    by: dict[str, str]
    seconds: float


def render_piece(run: str, frame: int, tile: tuple[int, ...], chunk: tuple[int, int]) -> Partial:
    """Render one (tile, chunk) of a frame.

    Raises
    ------
    PieceError
        If it fails, naming this worker.
    Reschedule
        If this worker does not hold the run: Dask hands the piece out again.
    """
    address = get_worker().address
    held, began = prepared_run(run, address), time.perf_counter()
    if held is None:
        raise Reschedule
    try:
        with held.job.context.frame(frame) as (context, number):
            values = render_partial(context, number, Tile(*tile), PhiChunk(*chunk))
    except Exception as error:
        raise PieceError(ErrorLine.of(error), address, piece_name(frame, tile, chunk)) from None
    return Partial(values, rendered_by(context), time.perf_counter() - began)


def assemble_unit(run: str, numbers: tuple[int, int, int], started: float, frames: list[list[list[Partial]]]) -> Answer:
    """Add the partials of a unit's frames, given by frame, tile and chunk, and write it; the answer is that of `render_units`."""
    address = get_worker().address
    held, unit, began = prepared_run(run, address), Unit(*numbers), time.perf_counter()
    if held is None:
        return Answer(address, held=False)
    job = held.job
    assert isinstance(job, StoreJob)
    answer = Answer(address, held.kind)
    parts = [part for tiles in frames for chunks in tiles for part in chunks]
    try:
        rendered = [part.by for part in parts]
        finished, saturated = list[Products](), list[int | None]()
        with job.context.turn:
            for number, tiles in zip(unit.frames, frames, strict=True):
                with job.context.frame(number) as (context, frame):
                    photons = assemble_frame(context, frame, [[part.values for part in chunks] for chunks in tiles])
                    finished.append(finished_frame(context, frame, photons))
                    saturated.append(held_in(context, finished[-1:]))
                here = rendered_by(context)  # it adds the background and makes photons of the sum
                rendered.append({**rendered[0], "compiler": here["compiler"], "processor": here["processor"]})
        answer.seconds = sum(part.seconds for part in parts) + time.perf_counter() - began
        made = {
            **common_makers(rendered),
            "started": started,
            "seconds": answer.seconds,
        }
        answer.records.append(write_unit(job.context, job.writer, unit, finished, saturated, made))
    except Exception as error:
        if is_fatal(error):
            answer.worker_error = ErrorLine.of(error)
        else:
            answer.errors[unit.number] = ErrorLine.of(error)
    return answer
