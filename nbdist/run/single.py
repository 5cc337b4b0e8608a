"""One image, rendered here tile by tile, or by local workers.

It is cut into tiles, which change no bit, and not into phi chunks, which change roundings: so it has the same bits on any number of
workers, and as a frame of a series.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nbdist.clusters.local_workers import LocalWorkers
from nbdist.errors import RunError
from nbdist.experiment import Experiment
from nbdist.kernels.devices import Device, pick_device
from nbdist.planning import Cut
from nbdist.run.context import RunContext, make_context
from nbdist.run.executors.choice import local_processes, this_process
from nbdist.run.jobs import ImageJob
from nbdist.run.ledger import Ledger
from nbdist.run.loop import run_units
from nbdist.run.progress import Progress, Record, Work, silent
from nbdist.run.rendering import Photons, assemble_frame

TILE = 256
"""Side of a tile: a whole number of the blocks that the renderer works in on a CPU."""
SMALLEST_TILE = 32
"""One block of the renderer."""
PIECES = 32
"""Pieces that keep the workers of one machine busy; an image is cut the same for any number of them."""
Report = Callable[[int, int], None]


def single_context(experiment: Experiment, device: Device, kernel: str = "compiled") -> RunContext:
    """Resolve, load and cut an experiment of one frame.

    Raises
    ------
    NbdistError
        If the experiment, one of its files or the device is wrong.
    """
    device = "cuda" if pick_device(device, experiment.sampling.method) == "cuda" else "cpu"
    side = TILE
    while device == "cpu" and side > SMALLEST_TILE and _tiles(experiment.detector.shapes[0], side) < PIECES:
        side //= 2
    return make_context(experiment, device=device, kernel=kernel, cut=Cut((side, side)))


def _tiles(image_shape: tuple[int, int], side: int) -> int:
    slow, fast = (-(-pixels // side) for pixels in image_shape)
    return slow * fast


def render_image(context: RunContext, workers: int = 1, report: Report = lambda done, total: None) -> Photons:
    """Expected photons of frame 0, of each panel (slow, fast), in the experiment's precision.

    Parameters
    ----------
    workers
        Local processes; 1 renders in this one.
    report
        Called with (pieces done, all pieces).

    Raises
    ------
    RunError
        If a piece fails, or no worker is left.
    """
    job = ImageJob(context)
    pieces = job.pieces
    progress, workers = _Pieces(report, len(pieces)), min(workers, len(pieces))
    who = (
        this_process("cpu" if context.device == "cpu" else "cuda")
        if workers == 1
        else local_processes(LocalWorkers(workers, (), "cpu"))
    )
    with who.executor(job, progress, len(pieces)) as executor:
        run_units(Ledger(pieces, progress, retries=0), executor, progress, silent)
    partials, chunks = [progress.partials[piece.number] for piece in pieces], len(context.plan.chunks)
    return assemble_frame(context, 0, [partials[start : start + chunks] for start in range(0, len(partials), chunks)])


class _Pieces(Progress):
    """Keeps the partial intensities of an image's pieces, by number."""

    def __init__(self, report: Report, total: int) -> None:
        super().__init__(frames_total=1)
        self.partials: dict[int, NDArray[np.float64]] = {}
        self._report, self._total = report, total

    def unit_done(self, record: Record) -> None:
        """Keep a piece."""
        self.partials[record["unit"]] = record["values"]
        self._report(len(self.partials), self._total)

    def unit_failed(self, unit: Work, error: str) -> None:
        """An image with a piece missing is none.

        Raises
        ------
        RunError
            Always.
        """
        raise RunError(f"a piece of the image cannot be rendered: {error}")
