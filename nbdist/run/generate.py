"""Making a series: what `nbdist run` does, from an experiment to a complete store."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbdist.errors import StoreError, UnfinishedError, is_fatal, one_line
from nbdist.experiment import Experiment
from nbdist.kernels.devices import Device, device_notes
from nbdist.planning import Cut
from nbdist.run.card import keep_card
from nbdist.run.events import EventLog, no_log
from nbdist.run.executors.choice import Workers, chosen_workers
from nbdist.run.ledger import ROUNDS, Ledger
from nbdist.run.loop import run_units
from nbdist.run.opening import HeldStore, incomplete, opened
from nbdist.run.origins import RENDERED, Origin
from nbdist.run.progress import Progress, Report, silent
from nbdist.run.settings import LocalProcesses, Pacing, RunSettings
from nbdist.run.subjects import SeriesSubject, Subject
from nbdist.store import mark_finished
from nbdist.store.failures import FailureRecords
from nbdist.store.parts import Part
from nbdist.store.places import normalised, objects_at

if TYPE_CHECKING:
    from distributed import Client, Security

    from nbdist.run.executors.choice import OpensClient

logger = logging.getLogger(__name__)
GO_ON = "what is complete is kept, go on with --resume"


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
    stuck_after: float = Pacing.stuck_after_s,
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
        Where to render ("auto": on a GPU that is there, and integrated frames on cores), and "compiled" (the default) or "eager"; a
        store that goes on keeps its own kernel.
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
        Called with the progress after every event; where there is none, the progress' notes are logged as warnings.
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
    settings = RunSettings(
        cut=Cut(tile, phi_chunk, frames_per_shard),
        kernel=kernel,
        device=device,
        frames=frames,
        part=part,
        resume=resume,
        overwrite=overwrite,
        serial=serial,
        local=LocalProcesses(workers, gpus, security, dashboard),
        pacing=Pacing(stuck_after_s=stuck_after),
        made_by=made_by,
    )
    chosen = chosen_workers(settings, client, experiment.sampling.method)
    return run_series(experiment, location, settings, chosen, report=report, log=log)


def run_series(
    experiment: Experiment,
    location: str | os.PathLike[str],
    settings: RunSettings,
    workers: Workers | None = None,
    *,
    origin: Origin = RENDERED,
    report: Report = silent,
    log: EventLog = no_log,
) -> Progress:
    """Make a series, or what is missing of it, in a Zarr store, as settings say; see `generate`.

    Parameters
    ----------
    workers
        Who renders; by default, this process or local ones, as the settings say.
    origin
        Where the photons come from; they are rendered by default.

    Raises
    ------
    NbdistError
        As `generate`.
    UnfinishedError
        At the end, if what the origin does not have yet was left out.
    """
    return fill_store(SeriesSubject(experiment, origin), location, settings, workers, report=report, log=log)


def fill_store(
    subject: Subject[Any],
    location: str | os.PathLike[str],
    settings: RunSettings,
    workers: Workers | None = None,
    *,
    report: Report = silent,
    log: EventLog = no_log,
) -> Progress:
    """Make a store of a subject, or what is missing of it, as settings say; see `run_series`.

    Raises
    ------
    NbdistError, UnfinishedError
        As `run_series`.
    """
    place, workers = normalised(location), workers or chosen_workers(settings, method=subject.method)
    planned_for = workers.count * (settings.part.of if settings.part else 1)
    with opened(subject, place, settings, planned_for, workers.device) as store:
        subject, wanted, store = store.subject, store.units, replace(store, units=store.subject.ready(store.units))

        def reported(progress: Progress) -> None:
            store.occupation.require()  # the run ends where its store is not its own any more
            report(progress)

        progress = Progress(_frames(store), frames_per_sample=subject.frames_per_sample, log=log)
        progress.workers = sum(workers.kinds.values())
        progress.kinds, progress.failures = dict(workers.kinds), FailureRecords(objects_at(place))
        progress.begun(store=str(location), units=len(store.units), resumed=settings.resume)
        ended = "stopped"
        try:
            if store.units:
                for note in (*device_notes(settings.device, workers.device), *store.context.notes):
                    progress.noted(note)
                    if report is silent:
                        logger.warning("%s", note)
            if progress.notes:
                reported(progress)
            complete = _render_all(store, workers, progress, reported)
            if not progress.failed:
                subject.require_ready(wanted)
            if settings.part is None and complete:
                mark_finished(place)
                keep_card(place)
            ended = "units failed" if progress.failed else "complete"
        finally:
            progress.ended(ended)
    return progress


def _render_all(store: HeldStore[Any], workers: Workers, progress: Progress, report: Report) -> bool:
    """Render the units of a series, and those again that are found damaged or gone at the end; whether all are complete."""
    left, location = store.units, store.context.location
    for _ in range(ROUNDS):
        try:
            if left:
                job = store.subject.job(store.context)
                with workers.executor(job, progress, len(left)) as executor:
                    run_units(Ledger(left, progress), executor, progress, report)
        except UnfinishedError as error:
            raise UnfinishedError(f"{error}; {GO_ON}") from None
        except OSError as error:
            if not is_fatal(error):
                raise
            raise StoreError(f"{location}: writing stopped: {one_line(error)}; {GO_ON}") from None
        left = incomplete(store.context, store.units)
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
    return not left


def _frames(store: HeldStore[Any]) -> int:
    return sum(len(unit.frames) for unit in store.units)
