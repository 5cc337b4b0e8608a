"""`nbdist readout`: read the photons of a store out again, as another detector would, or with another seed or exposure."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.arguments import ShardOption, load, read_span
from nbdist.cli.part import PartOption, read_part
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
    render,
)
from nbdist.cli.workers import (
    ClusterOption,
    DashboardOption,
    LifetimeOption,
    SchedulerFileOption,
    SchedulerOption,
    SecurityOption,
    Workers,
    words_of,
)
from nbdist.errors import NbdistError
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
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Local processes; one a core.")] = None,
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
) -> None:
    """Read stored photons out again: another detector, seed or exposure; nothing is rendered."""
    where = Workers(workers, None, scheduler, scheduler_file, cluster, security, lifetime, serial, dashboard)
    where.check()
    if resume and overwrite:
        raise NbdistError("--resume and --overwrite exclude each other")
    share = read_part(part, where.elsewhere, {"--frames": frames is not None, "--overwrite": overwrite})
    from nbdist.planning import Cut
    from nbdist.run.events import LogFile, no_log
    from nbdist.run.settings import Pacing, RunSettings
    from nbdist.run.stored_photons import stored_photons

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
        pacing=Pacing() if stuck_after is None else Pacing(stuck_after_s=stuck_after),
        made_by={"options": asked},
    )
    given = {
        "--frames": frames,
        "--log-file": log_file,
        "--log-format": log_format.value if log_format != LogFormatName.text else None,
        "--stuck-after": None if stuck_after is None else f"{stuck_after:g}",
    }
    continuing = ["--resume"] if share is None else ["--part", str(share)]
    words = ["nbdist", "readout", photons, "-o", output, *asked, *continuing, *where.words, *words_of(given)]
    with LogFile(log_file, log_format.value) if log_file is not None else nullcontext(no_log) as log:
        render(wanted, output, where, settings, log, shlex.join(words), origin)
