"""Reading stored photons out again: what `nbdist readout` does, from a store of photons to one of other counts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nbdist.experiment import Experiment
from nbdist.planning import Cut
from nbdist.run.events import EventLog, no_log
from nbdist.run.executors.choice import chosen_workers
from nbdist.run.generate import run_series
from nbdist.run.progress import Progress, Report, silent
from nbdist.run.settings import LocalProcesses, Pacing, RunSettings
from nbdist.run.stored_photons import stored_photons
from nbdist.store.parts import Part

if TYPE_CHECKING:
    from distributed import Client, Security

    from nbdist.run.executors.choice import OpensClient


def read_out(
    photons: str | os.PathLike[str],
    location: str | os.PathLike[str],
    experiment: Experiment | None = None,
    client: Client | OpensClient | None = None,
    *,
    seed: int | None = None,
    workers: int | None = None,
    security: Security | None = None,
    dashboard: bool = False,
    serial: bool = False,
    frames: range | None = None,
    frames_per_shard: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    stuck_after: float = Pacing.stuck_after_s,
    part: Part | None = None,
    made_by: dict[str, Any] | None = None,
    report: Report = silent,
    log: EventLog = no_log,
) -> Progress:
    """Read the photons of a store out again, with another detector, seed or exposure, into a store of their own; nothing is rendered.

    The counts are those, to the bit, that `generate` draws for the same experiment where its exposure is that of the photons. A store
    that is not complete yet is read as far as it is.

    Parameters
    ----------
    photons
        Path or s3:// URL of the store whose `intensity` is read.
    location
        Path of the new store, or s3://BUCKET/PATH. It has `intensity`, too, in photons of its own exposure.
    experiment
        The experiment of the new store: that of the photons but for `readout`, `noise`, `labels`, `title` and the exposure, whose ratio
        multiplies photons. That of the photons where left out.
    client
        As in `generate`.
    seed
        Of the counts, which have photon noise where the experiment asks for none; the experiment's where left out.
    workers, security, dashboard, serial, frames, resume, overwrite, stuck_after, part, made_by, report, log
        As in `generate`.
    frames_per_shard
        Frames of an object of the new store; as many as the photons have where left out.

    Returns
    -------
    The final progress: frames done and units that failed.

    Raises
    ------
    NbdistError
        If there are no photons, the experiment is another one, the new store exists (or is another's), or it cannot be written.
    UnfinishedError
        At the end, if frames of the photons were not complete when it began; `resume` goes on with them.
    """
    asked = [] if experiment is None else ["--experiment", "EXPERIMENT.yaml"]  # whose file is not known here
    asked += [] if seed is None else ["--seed", str(seed)]
    settings = RunSettings(
        cut=Cut(frames_per_shard=frames_per_shard),
        device="cpu",
        frames=frames,
        part=part,
        resume=resume,
        overwrite=overwrite,
        serial=serial,
        local=LocalProcesses(workers, None, security, dashboard),
        pacing=Pacing(stuck_after_s=stuck_after),
        made_by={"options": asked, **(made_by or {})},
    )
    wanted, origin = stored_photons(photons, experiment, seed)
    return run_series(
        wanted, location, settings, chosen_workers(settings, client), origin=origin, report=report, log=log
    )
