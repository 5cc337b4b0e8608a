"""Making a series: what `nbdist run` does, from an experiment to a complete store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from nbdist.clusters.local_workers import LocalWorkers, local_workers
from nbdist.errors import StoreError, is_fatal
from nbdist.experiment import Experiment
from nbdist.kernels.devices import Device, pick_device
from nbdist.planning import Unit
from nbdist.run.context import RunContext
from nbdist.run.events import EventLog, no_log
from nbdist.run.opening import incomplete, opened, watched
from nbdist.run.progress import Progress, Report, silent
from nbdist.store import mark_finished
from nbdist.store.failures import FailureRecords
from nbdist.store.locations import one_line
from nbdist.store.objects import normalised, objects_at
from nbdist.store.parts import Part

if TYPE_CHECKING:
    from distributed import Client, Security

    OpensClient = Callable[[], AbstractContextManager[Client]]

RETRIES = 2
STUCK_AFTER_S = 1800.0
"""A task in flight for longer than this, and far longer than any other, hangs; its worker is restarted."""
ROUNDS = 2
"""How often units are rendered that a run finds damaged or gone at its own end: what is harmed twice is harmed on purpose."""


def generate(
    experiment: Experiment,
    location: str | os.PathLike[str],
    client: Client | OpensClient | None = None,
    *,
    workers: int | None = None,
    gpus: str | None = None,
    security: Security | None = None,
    dashboard: bool = False,
    serial: bool = False,
    frames: range | None = None,
    tile: tuple[int, int] | None = None,
    phi_chunk: int | None = None,
    frames_per_shard: int | None = None,
    device: Device = "auto",
    kernel: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    stuck_after: float = STUCK_AFTER_S,
    part: Part | None = None,
    made_by: dict[str, Any] | None = None,
    report: Report = silent,
    log: EventLog = no_log,
) -> Progress:
    """Render a series, or what is missing of it, into a Zarr store.

    Parameters
    ----------
    experiment
        What to simulate.
    location
        Path of the store, or s3://BUCKET/PATH.
    client
        A Dask client whose workers render, or a function that opens one (in a `with`) and is called when there is something to render;
        without one, local processes do.
    workers
        Local processes (default: one a core, one a GPU); with a client, the threads to plan for (default: those it has now, or one).
    gpus
        "all" or "0,1": one local process for each of these GPUs, and `workers` more on the CPU.
    security
        Certificates with which local processes talk TLS; made for this run alone where left out.
    dashboard
        Show Dask's web pages of local workers on the loopback interface: every user of this machine can read them.
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
    stuck_after
        Seconds after which a worker whose unit takes far longer than any other is restarted.
    report
        Called with the progress after every event.
    log
        Gets every event, with its facts: `events.LogFile` writes them to a file.

    Returns
    -------
    The final progress: frames done and units that failed.

    Raises
    ------
    NbdistError
        If the experiment is wrong, the store exists (or is another experiment's), another run writes into it, or it cannot be written.
    """
    rendering: str
    local = None
    if client is not None:
        count, rendering = workers or (1 if callable(client) else sum(client.nthreads().values())), device
    elif serial or (part is not None and workers is None and gpus is None):
        count, rendering = 1, pick_device(device)
    else:
        local = local_workers(device, workers, gpus)
        count, rendering = local.count, local.device
    make = dict(
        workers=max(1, count) * (part.of if part else 1),
        device=rendering,
        kernel=kernel,
        tile=tile,
        phi_chunk=phi_chunk,
        frames_per_shard=frames_per_shard,
    )
    place = normalised(location)
    how: dict[str, Any] = dict(resume=resume, overwrite=overwrite, frames=frames, part=part, made_by=made_by)
    with opened(experiment, place, make=make, **how) as (context, units, occupation):
        report = watched(report, occupation)
        progress = Progress(frames_total=sum(len(unit.frames) for unit in units), log=log)
        progress.failures = FailureRecords(objects_at(place))
        progress.begun(store=str(location), units=len(units), resumed=resume)
        ended, left = "stopped", units
        try:
            for note in context.notes if units else ():
                progress.noted(note)
            if progress.notes:
                report(progress)
            for _ in range(ROUNDS):
                try:
                    if left:
                        _run(context, left, client, local, security, dashboard, progress, report, stuck_after)
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
            for unit in left:
                if unit.number not in progress.failed:
                    progress.unit_failed(unit, "was rendered but is not in the store that is seen from here")
            if part is None and not left:
                mark_finished(place)
            ended = "units failed" if progress.failed else "complete"
        finally:
            progress.ended(ended)
    return progress


def _run(
    context: RunContext,
    units: list[Unit],
    client: Client | OpensClient | None,
    local: LocalWorkers | None,
    security: Security | None,
    dashboard: bool,
    progress: Progress,
    report: Report,
    stuck_after: float,
) -> None:
    if client is None and local is None:
        from nbdist.run.serial import run_serial

        run_serial(context, units, progress, report, RETRIES)
        return
    from distributed import Client

    from nbdist.clusters.local import local_cluster
    from nbdist.run.dask_run import run_dask
    from nbdist.run.steady_clock import keep_steady

    keep_steady()
    with contextlib.ExitStack() as stack:
        if local is not None:
            local = local.at_most(len(units) * (context.plan.tasks_per_frame if context.plan.split else 1))
            cluster = stack.enter_context(local_cluster(local.cpu, local.gpus, security, dashboard))
            client = stack.enter_context(Client(cluster, set_as_default=False))
        elif callable(client):
            client = stack.enter_context(client())
        assert isinstance(client, Client)
        run_dask(context, units, client, progress, report, RETRIES, stuck_after)
