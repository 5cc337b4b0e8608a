"""What each step of a whole series takes on one core: frames, counts and labels, packing, writing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nbdist.experiment import Experiment
from nbdist.run.context import make_context
from nbdist.run.rendering import finished_frame, render_frame
from nbdist.scene.amplitudes import load_reflections
from nbdist.store import SeriesContent, StoredUnits, create_store, open_group

STEPS = ("frames", "counts and labels", "packing", "writing")


def series_steps(
    experiment: Experiment, folder: Path, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, float], int]:
    """Seconds of each step of a series that this process renders as a worker does, and the bytes that it wrote.

    Parameters
    ----------
    folder
        An empty one, to write in.
    clock
        What seconds are of.
    """
    location = folder / "series.zarr"
    context = make_context(experiment)
    context.threads = 1
    create_store(location, SeriesContent(context.scene, context.plan, load_reflections(context.scene)))
    seconds, written = dict.fromkeys(STEPS, 0.0), 0
    finished_frame(context, 0, render_frame(context, 0))  # what is made once
    packers = StoredUnits(open_group(location)).packers
    for unit in context.plan.units():
        began = clock()
        images = [render_frame(context, frame) for frame in unit.frames]
        rendered = clock()
        products = [finished_frame(context, frame, image) for frame, image in zip(unit.frames, images, strict=True)]
        finished = clock()
        packed = [packer.pack(unit, products) for packer in packers.values()]
        done = clock()
        for number, shard in enumerate(packed):
            (folder / f"{unit.number}-{number}").write_bytes(shard)
            written += len(shard)
        ended = clock()
        for step, spent in zip(STEPS, np.diff([began, rendered, finished, done, ended]), strict=True):
            seconds[step] += float(spent)
    return seconds, written
