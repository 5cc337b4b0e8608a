"""Making a series: what `nbdist run` does, from an experiment to a complete store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nbdist.errors import RunError, StoreError
from nbdist.execution.context import Device, RunContext, make_context, pick_device
from nbdist.execution.events import EventLog, no_log
from nbdist.execution.local_workers import LocalWorkers, local_workers
from nbdist.execution.progress import Progress, Report, silent
from nbdist.execution.serial import is_fatal
from nbdist.experiment import Experiment, resolve
from nbdist.planning import Unit, make_plan
from nbdist.store import complete_units, consolidate, create_store, exists, open_group, remove, summarize
from nbdist.store.locations import check_writable, normalised, one_line
from nbdist.store.units import store_id_of

if TYPE_CHECKING:
    from distributed import Client, Security

RETRIES = 2
STUCK_AFTER_S = 1800.0
"""A task in flight for longer than this, and far longer than any other, hangs; its worker is restarted."""


def generate(
    experiment: Experiment,
    location: str | os.PathLike[str],
    client: Client | None = None,
    *,
    workers: int | None = None,
    gpus: str | None = None,
    security: Security | None = None,
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
    report: Report = silent,
    log: EventLog = no_log,
) -> Progress:
    """Render a series, or what is missing of it, into a Zarr store.

    Parameters
    ----------
    experiment
        What to simulate.
    location
        Path of the store.
    client
        A Dask client whose workers render; without one, local processes do.
    workers
        Local processes (default: one a core, one a GPU); with a client, the workers to plan for (default: those it has now).
    gpus
        "all" or "0,1": one local process for each of these GPUs, and `workers` more on the CPU.
    security
        Certificates with which local processes talk TLS.
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
        If the experiment is wrong, the store exists (or is another experiment's), or cannot be written.
    """
    if resume and overwrite:
        raise RunError("resume and overwrite exclude each other")
    rendering: str
    local = None
    if client is not None:
        count, rendering = workers or len(client.nthreads()), device
    elif serial:
        count, rendering = 1, pick_device(device)
    else:
        local = local_workers(device, workers, gpus)
        count, rendering = local.count, local.device
    context = _prepare(
        experiment,
        normalised(location),
        resume=resume,
        overwrite=overwrite,
        frames=frames,
        make=dict(
            workers=max(1, count),
            device=rendering,
            kernel=kernel,
            tile=tile,
            phi_chunk=phi_chunk,
            frames_per_shard=frames_per_shard,
        ),
    )
    units = _pending(context, frames)
    progress = Progress(frames_total=sum(len(unit.frames) for unit in units), log=log)
    progress.begun(store=str(location), units=len(units), resumed=resume)
    how = "stopped"
    try:
        if units:
            _run(context, units, client, local, security, progress, report, stuck_after)
        how = "units failed" if progress.failed else "complete"
    except OSError as error:
        if not is_fatal(error):
            raise
        raise StoreError(
            f"{location}: writing stopped: {one_line(error)}; what is complete is kept, go on with --resume"
        ) from None
    finally:
        progress.ended(how)
    left = _incomplete(context, units)
    if left and not progress.failed:
        raise StoreError(
            f"{location}: unit {left[0].number} was rendered but is not in the store that is seen from here"
        )
    if not _incomplete(context, list(context.plan.units())):
        consolidate(normalised(location))
    return progress


def _run(
    context: RunContext,
    units: list[Unit],
    client: Client | None,
    local: LocalWorkers | None,
    security: Security | None,
    progress: Progress,
    report: Report,
    stuck_after: float,
) -> None:
    if client is None and local is None:
        from nbdist.execution.serial import run_serial

        run_serial(context, units, progress, report, RETRIES)
        return
    from distributed import Client

    from nbdist.execution.clusters import local_cluster
    from nbdist.execution.dask_run import run_dask

    if client is not None:
        run_dask(context, units, client, progress, report, RETRIES, stuck_after)
        return
    assert local is not None
    local = local.at_most(len(units) * (context.plan.tasks_per_frame if context.plan.split else 1))
    with local_cluster(local.cpu, local.gpus, security) as cluster, Client(cluster) as connected:
        run_dask(context, units, connected, progress, report, RETRIES, stuck_after)


def _prepare(
    experiment: Experiment,
    location: str,
    *,
    resume: bool,
    overwrite: bool,
    frames: range | None,
    make: dict[str, Any],
) -> RunContext:
    """Make or reopen the store; nothing is written before everything has been checked."""
    present = exists(location)
    if present and not (resume or overwrite):
        open_group(location)
        raise StoreError(f"{location} exists; --resume goes on with it, --overwrite replaces it")
    if present and resume:
        return _reopen(experiment, location, frames, make)
    if present:
        open_group(location, begun=True)
    check_writable(location)
    context = make_context(experiment, location=location, **{**make, "kernel": make["kernel"] or "compiled"})
    context.plan.units(frames)
    if present:
        remove(location)
    create_store(location, context.resolved, context.plan)
    context.store_id = store_id_of(open_group(location))
    return context


def _reopen(experiment: Experiment, location: str, frames: range | None, make: dict[str, Any]) -> RunContext:
    summary = summarize(location)
    if summary.fingerprint != experiment.fingerprint:
        raise StoreError(
            f"{location} holds another experiment (fingerprint {summary.fingerprint[:12]}, this one {experiment.fingerprint[:12]}); "
            "--resume needs the same one"
        )
    kept = summary.settings
    sizes = {name: make[name] for name in ("tile", "phi_chunk", "frames_per_shard")}
    wanted = make_plan(resolve(experiment), **sizes).settings
    for name, size in sizes.items():
        if size is not None and getattr(wanted, name) != getattr(kept, name):
            raise StoreError(f"{location} was begun with {name} {getattr(kept, name)}; it cannot go on with {size}")
    if make["kernel"] not in (None, kept.kernel):
        raise StoreError(f"{location} was begun with the {kept.kernel} kernel; it cannot go on with {make['kernel']}")
    context = make_context(experiment, location=location, workers=make["workers"], device=make["device"], settings=kept)
    context.plan.units(frames)
    context.store_id = store_id_of(open_group(location))
    return context


def _pending(context: RunContext, frames: range | None) -> list[Unit]:
    return _incomplete(context, list(context.plan.units(frames)), decode=True)


def _incomplete(context: RunContext, units: list[Unit], decode: bool = False) -> list[Unit]:
    assert context.location is not None
    complete = complete_units(open_group(context.location), units, decode)
    return [unit for unit in units if unit.number not in complete]
