"""`nbdist readout`: read the photons of a store out again, as another detector would, or with another seed or exposure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.arguments import ShardOption, load, read_span
from nbdist.cli.json_output import JsonOption
from nbdist.cli.part import PartOption
from nbdist.cli.run import (
    FramesOption,
    LogFileOption,
    LogFormatName,
    LogFormatOption,
    OutputOption,
    OverwriteOption,
    ResumeOption,
    SerialOption,
    StuckAfterOption,
    checked_part,
    render_logged,
)
from nbdist.cli.workers import (
    ClusterOption,
    CpuWorkersOption,
    DashboardOption,
    LifetimeOption,
    SchedulerFileOption,
    SchedulerOption,
    SecurityOption,
    Workers,
    words_of,
)
from nbdist.formats.text import user_path


def readout(
    photons: Annotated[
        str, typer.Argument(metavar="PHOTONS", help="Zarr store of nbdist whose photons are read.", show_default=False)
    ],
    output: OutputOption,
    experiment: Annotated[
        Path | None,
        typer.Option(
            "--experiment",
            metavar="FILE",
            help="Experiment file: that of the photons but for readout, noise, labels, title and the exposure.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**64 - 1, help="Draw counts with this seed of the noise.")
    ] = None,
    workers: CpuWorkersOption = None,
    scheduler: SchedulerOption = None,
    scheduler_file: SchedulerFileOption = None,
    cluster: ClusterOption = None,
    security: SecurityOption = None,
    lifetime: LifetimeOption = None,
    dashboard: DashboardOption = False,
    serial: SerialOption = False,
    frames: FramesOption = None,
    part: PartOption = None,
    frames_per_shard: ShardOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    log_file: LogFileOption = None,
    log_format: LogFormatOption = LogFormatName.text,
    stuck_after: StuckAfterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read stored photons out again: another detector, seed or exposure; nothing is rendered."""
    where = Workers(workers, None, scheduler, scheduler_file, cluster, security, lifetime, serial, dashboard)
    share = checked_part(part, where, frames, resume=resume, overwrite=overwrite)
    from nbdist.planning import Cut
    from nbdist.run.settings import RunSettings
    from nbdist.run.stored_photons import stored_photons
    from nbdist.run.subjects import SeriesSubject

    photons, output = (place if "://" in place else str(user_path(place)) for place in (photons, output))
    wanted, origin = stored_photons(photons, load(experiment) if experiment else None, seed)
    asked = words_of({"--experiment": experiment and experiment.absolute(), "--seed": seed})
    settings = RunSettings(
        cut=Cut(frames_per_shard=frames_per_shard),
        device="cpu",
        frames=read_span(frames, "--frames", wanted.scan.frames) if frames is not None else None,
        part=share,
        resume=resume,
        overwrite=overwrite,
        serial=serial,
        made_by={"options": asked},
    )
    words, given = ["readout", photons, "-o", output, *asked], {"--frames": frames}
    subject = SeriesSubject(wanted, origin)
    render_logged(subject, output, where, settings, words, given, log_file, log_format, stuck_after, rendered=False)
