"""Making a series: what `nbdist run` does, from an experiment to a complete store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nbdist.errors import StoreError
from nbdist.execution.context import Device, RunContext, pick_device
from nbdist.execution.opening import incomplete, opened, watched
from nbdist.execution.progress import Progress, Report, silent
from nbdist.execution.serial import is_fatal
from nbdist.experiment import Experiment
from nbdist.planning import Unit
from nbdist.store import consolidate
from nbdist.store.locations import normalised, one_line
from nbdist.store.parts import Part

if TYPE_CHECKING:
    from distributed import Client

RETRIES = 2
ROUNDS = 2
"""How often units are rendered that a run finds damaged or gone at its own end: what is harmed twice is harmed on purpose."""


def generate(
    experiment: Experiment,
    location: str | os.PathLike[str],
    client: Client | None = None,
    *,
    workers: int | None = None,
    serial: bool = False,
    frames: range | None = None,
    tile: tuple[int, int] | None = None,
    phi_chunk: int | None = None,
    frames_per_shard: int | None = None,
    device: Device = "auto",
    kernel: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    part: Part | None = None,
    made_by: dict[str, Any] | None = None,
    report: Report = silent,
) -> Progress:
    """Render a series, or what is missing of it, into a Zarr store.

    Parameters
    ----------
    experiment
        What to simulate.
    location
        Path of the store, or s3://BUCKET/PATH.
    client
        A Dask client whose workers render; without one, `workers` local processes do (default: one a core, one a GPU).
    serial
        Render in this process instead.
    frames
        Part of the series (rounded out to whole shards); all when left out.
    tile, phi_chunk, frames_per_shard
        How to cut; chosen from the cost where left out.
    device, kernel
        Where to render, and "compiled" (the default) or "eager"; a store that goes on keeps its own.
    resume
        Go on with the store that exists; units that are complete and decode are kept.
    overwrite
        Remove the store that exists first.
    part
        Render this part of the series only, beside other processes that render the others; the first one makes the store.
    made_by
        What else to keep in the store's provenance: `experiment_file` and `options`, for the command that goes on.
    report
        Called with the progress after every event.

    Returns
    -------
    The final progress: frames done and units that failed.

    Raises
    ------
    NbdistError
        If the experiment is wrong, the store exists (or is another experiment's), another run writes into it, or it cannot be written.
    """
    device_type = pick_device(device) if client is None else ("cpu" if device == "auto" else device)
    serial = serial or (part is not None and client is None and workers is None)
    count = len(client.nthreads()) if client is not None else (1 if serial else workers or default_workers(device_type))
    make = dict(
        workers=max(1, count) * (part.of if part else 1),
        device=device_type if client is None else device,
        kernel=kernel,
        tile=tile,
        phi_chunk=phi_chunk,
        frames_per_shard=frames_per_shard,
    )
    place = normalised(location)
    how: dict[str, Any] = dict(resume=resume, overwrite=overwrite, frames=frames, part=part, made_by=made_by)
    with opened(experiment, place, make=make, **how) as (context, units, occupation):
        report = watched(report, occupation)
        progress = Progress(frames_total=sum(len(unit.frames) for unit in units))
        left = units
        for _ in range(ROUNDS):
            try:
                if left:
                    _run(context, left, client, count, serial, progress, report)
            except OSError as error:
                if not is_fatal(error):
                    raise
                raise StoreError(
                    f"{location}: writing stopped: {one_line(error)}; what is complete is kept, go on with --resume"
                ) from None
            left = incomplete(context, units)
            if not left or progress.failed:
                break
            progress.frames_total += sum(len(unit.frames) for unit in left)
        if left and not progress.failed:
            raise StoreError(
                f"{location}: unit {left[0].number} was rendered but is not in the store that is seen from here"
            )
        if part is None and not left and not incomplete(context, list(context.plan.units())):
            consolidate(place)
    return progress


def _run(
    context: RunContext,
    units: list[Unit],
    client: Client | None,
    count: int,
    serial: bool,
    progress: Progress,
    report: Report,
) -> None:
    if serial:
        from nbdist.execution.serial import run_serial

        run_serial(context, units, progress, report, RETRIES)
        return
    from distributed import Client

    from nbdist.execution.dask_run import local_cluster, run_dask
    from nbdist.execution.steady_clock import keep_steady

    keep_steady()
    if client is not None:
        run_dask(context, units, client, progress, report, RETRIES)
        return
    splits = context.plan.tasks_per_frame if context.plan.split else 1
    with local_cluster(min(count, len(units) * splits)) as cluster, Client(cluster) as local:
        run_dask(context, units, local, progress, report, RETRIES)


def default_workers(device: str) -> int:
    """One worker a usable core, or one a GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
