"""One image, rendered here tile by tile, or by local workers.

It is cut into tiles, which change no bit, and not into phi chunks, which change roundings: so it has the same bits on any number of
workers, and as a frame of a series.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError
from nbdist.experiment import Experiment
from nbdist.kernels.devices import Device, pick_device
from nbdist.run.context import RunContext, make_context
from nbdist.run.rendering import assemble_frame, render_partial

TILE = 256
"""Side of a tile: a whole number of the blocks that the renderer works in on a CPU."""
SMALLEST_TILE = 32
"""One block of the renderer."""
PIECES = 32
"""Pieces that keep the workers of one machine busy; an image is cut the same for any number of them."""
Report = Callable[[int, int], None]


def single_context(experiment: Experiment, device: Device, kernel: str) -> RunContext:
    """Resolve, load and cut an experiment of one frame.

    Raises
    ------
    NbdistError
        If the experiment, one of its files or the device is wrong.
    """
    device = "cuda" if pick_device(device) == "cuda" else "cpu"
    side = TILE
    while device == "cpu" and side > SMALLEST_TILE and _tiles(experiment.image_shape, side) < PIECES:
        side //= 2
    return make_context(experiment, device=device, kernel=kernel, tile=(side, side))


def _tiles(image_shape: tuple[int, int], side: int) -> int:
    slow, fast = (-(-pixels // side) for pixels in image_shape)
    return slow * fast


def render_image(
    context: RunContext, workers: int = 1, report: Report = lambda done, total: None
) -> NDArray[np.floating[Any]]:
    """Expected photons of frame 0, (slow, fast), in the experiment's precision.

    Parameters
    ----------
    workers
        Local processes; 1 renders in this one.
    report
        Called with (pieces done, all pieces).

    Raises
    ------
    RunError
        If a worker was lost or failed.
    """
    plan = context.plan
    pieces = [(tile, chunk) for tile in plan.tiles for chunk in plan.chunks]
    if workers == 1 or len(pieces) == 1:
        partials = []
        for done, (tile, chunk) in enumerate(pieces, start=1):
            partials.append(render_partial(context, 0, tile, chunk))
            report(done, len(pieces))
    else:
        partials = _on_workers(context, pieces, min(workers, len(pieces)), report)
    chunks = len(plan.chunks)
    return assemble_frame(context, [partials[start : start + chunks] for start in range(0, len(partials), chunks)])


def _on_workers(context: RunContext, pieces: list[Any], workers: int, report: Report) -> list[NDArray[np.float64]]:
    import cloudpickle
    from distributed import Client, KilledWorker, as_completed

    from nbdist.clusters.local import local_cluster
    from nbdist.clusters.running_cluster import required_versions
    from nbdist.run.failures import ErrorLine
    from nbdist.run.tasks import RUNS, call_as_bytes, make_call, partial_task, take_in
    from nbdist.run.worker_run import PieceError

    run = uuid.uuid4().hex[:8]
    with local_cluster(workers) as cluster, Client(cluster, set_as_default=False) as client:
        content = cloudpickle.dumps((context, client.id))
        answers = client.run(take_in, content, run, RUNS, required_versions(), on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, Exception) or "error" in answer:
                said = ErrorLine.of(answer) if isinstance(answer, Exception) else answer["error"]
                raise RunError(f"worker {address} failed: {said}")
        calls = [call_as_bytes(partial_task, run, 0, tuple(tile), tuple(chunk)) for tile, chunk in pieces]
        futures = [client.submit(make_call, call, pure=False) for call in calls]
        for done, future in enumerate(as_completed(futures, loop=client.loop), start=1):
            if future.status != "finished":
                error = future.exception() if future.status == "error" else RuntimeError(f"a task was {future.status}")
                if isinstance(error, PieceError):
                    raise RunError(f"worker {error.address} failed: {error.line}")
                if isinstance(error, KilledWorker):
                    raise RunError(f"worker {error.last_worker.address} died (killed, out of memory, or crashed)")
                raise RunError(f"a worker failed: {ErrorLine.of(error)}")
            report(done, len(pieces))
        return [part.values for part in client.gather(futures)]
