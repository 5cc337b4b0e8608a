"""What each step of a whole store takes on one core: samples, frames, counts and labels, packing, writing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from nbdist.experiment import Experiment
from nbdist.planning import Unit
from nbdist.run.context import Context, make_context
from nbdist.run.rendering import finished_frame, render_frame
from nbdist.store import SeriesContent, StoredUnits, create_store, open_group
from nbdist.store.creation import StoreContent

STEPS = ("samples", "frames", "counts and labels", "packing", "writing")
"""The first is drawing samples and making what renders each: nothing of a series."""


def series_steps(
    experiment: Experiment, folder: Path, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, float], int]:
    """Seconds of each step of a series that this process renders as a worker does, and the bytes that it wrote; see `store_steps`."""
    context = make_context(experiment)
    assert context.reflections is not None, "they were read to make the plan"
    return store_steps(context, SeriesContent(context.scene, context.plan, context.reflections), folder, clock)


def store_steps(
    context: Context, content: StoreContent, folder: Path, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, float], int]:
    """Seconds of each step of a store that this process renders as a worker does, and the bytes that it wrote.

    Parameters
    ----------
    context, content
        What is rendered, and what its store is to hold.
    folder
        An empty one, to write in.
    clock
        What seconds are of.
    """
    location = folder / "a.zarr"
    context.threads = 1
    create_store(location, content)
    seconds, written = dict.fromkeys(STEPS, 0.0), 0
    packers = StoredUnits(open_group(location)).packers
    with context.frame(0) as (its, frame):  # what is made, and imported, once
        once = [finished_frame(its, frame, render_frame(its, frame))]
    for packer in packers.values():
        packer.pack(Unit(0, 0, 1), once)

    def spent(step: str, since: float) -> float:
        now = clock()
        seconds[step] += now - since
        return now

    for unit in context.plan.units():
        products, since = [], clock()
        for number in unit.frames:
            with context.frame(number) as (its, frame):
                since = spent("samples", since)
                image = render_frame(its, frame)
                since = spent("frames", since)
                products.append(finished_frame(its, frame, image))
                since = spent("counts and labels", since)
        packed = [packer.pack(unit, products) for packer in packers.values()]
        since = spent("packing", since)
        for number, shard in enumerate(packed):
            (folder / f"{unit.number}-{number}").write_bytes(shard)
            written += len(shard)
        spent("writing", since)
    return seconds, written
