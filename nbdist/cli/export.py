"""`nbdist export`: write a store as image files of other programs, or as what networks learn from."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.arguments import StoreLocation, load, read_span
from nbdist.cli.display import console, error_console
from nbdist.cli.json_output import JsonOption
from nbdist.cli.run import SerialOption, run_with_progress
from nbdist.cli.workers import (
    ClusterOption,
    CpuWorkersOption,
    LifetimeOption,
    SchedulerFileOption,
    SchedulerOption,
    SecurityOption,
    Workers,
    words_of,
)
from nbdist.errors import NbdistError
from nbdist.formats.amounts import duration, size
from nbdist.formats.text import user_path

if TYPE_CHECKING:
    from nbdist.run.executors.choice import Workers as ChosenWorkers
    from nbdist.run.exporting import Export
    from nbdist.run.progress import Progress, Report
    from nbdist.run.settings import RunSettings


class FormatName(StrEnum):
    """Format of the files."""

    nxmx = "nxmx"
    cbf = "cbf"
    smv = "smv"
    zarr_labels = "zarr-labels"
    hdf5 = "hdf5"


class WhatName(StrEnum):
    """What is written of a frame."""

    counts = "counts"
    intensity = "intensity"


def export(
    location: StoreLocation,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the files; made where there is none.")
    ],
    format: Annotated[FormatName, typer.Option("--format", help="Format of the files.")] = FormatName.nxmx,
    frames: Annotated[
        str | None,
        typer.Option("--frames", metavar="FIRST:LAST", help="Write these frames alone; LAST is not among them."),
    ] = None,
    what: Annotated[
        WhatName | None, typer.Option("--what", help="What pixels are written; counts where the store has them.")
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", metavar="NAME", help="Beginning of the files' names; the store's name by default."),
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(
            "--experiment",
            metavar="FILE",
            help="Experiment file of a series, where its inputs have moved; not of images with labels.",
        ),
    ] = None,
    workers: CpuWorkersOption = None,
    scheduler: SchedulerOption = None,
    scheduler_file: SchedulerFileOption = None,
    cluster: ClusterOption = None,
    security: SecurityOption = None,
    lifetime: LifetimeOption = None,
    serial: SerialOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Write what is missing of the export that is there.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the export that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a series as image files, with models and truth for DIALS, and XDS.INP; or a store as images with labels, for networks."""
    where = Workers(workers, None, scheduler, scheduler_file, cluster, security, lifetime, serial)
    where.check()
    if resume and overwrite:
        raise NbdistError("--resume and --overwrite exclude each other")
    from nbdist.run.export import FORMATS
    from nbdist.run.export import export as write
    from nbdist.run.settings import RunSettings
    from nbdist.store import open_group
    from nbdist.store.schema import schema_of

    series = schema_of(open_group(location)).frames
    chosen = read_span(frames, "--frames", series) if frames is not None else None
    moved = load(experiment) if experiment else None
    done: list[Export] = []

    def work(workers: ChosenWorkers, settings: RunSettings, report: Report) -> Progress:
        exported, progress = write(
            location,
            user_path(output),
            FORMATS[format.value],
            workers,
            frames=chosen,
            what=what.value if what else None,
            prefix=prefix,
            experiment=moved,
            resume=resume,
            overwrite=overwrite,
            report=report,
        )
        done.append(exported)
        return progress

    given = {
        "--format": format.value,
        "--frames": frames,
        "--what": what.value if what else None,
        "--prefix": prefix,
        "--experiment": experiment,
    }
    words = ["nbdist", "export", location, "-o", str(output), *words_of(given), *where.words, "--resume"]
    progress = run_with_progress(
        "export", str(output), work, where, RunSettings(device="cpu", serial=serial), shlex.join(words)
    )
    images = done[0].images
    if progress.frames_total == 0:
        console.print(f"{images}: no image was missing")
        return
    if progress.saturated_pixels:
        error_console.print(f"note: {progress.saturated_pixels} readings are too large for {format.value}, and held")
    rate = progress.frames_done / progress.seconds
    console.print(
        f"{images}: {progress.frames_done} {done[0].product} images in {duration(progress.seconds)} "
        f"({rate:.3g} images/s), {size(progress.bytes_written)} written"
    )
