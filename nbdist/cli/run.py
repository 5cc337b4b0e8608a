"""`nbdist run`: render a series into a Zarr store, with progress, to the end or to where `--resume` goes on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbdist.cli.arguments import (
    DeviceName,
    DeviceOption,
    ExperimentFile,
    KernelName,
    KernelOption,
    PhiChunkOption,
    PrecisionOption,
    ShardOption,
    TileOption,
    load,
    read_span,
    read_tile,
)
from nbdist.cli.display import console, error_console
from nbdist.cli.json_output import JsonOption, print_json, run_numbers
from nbdist.cli.part import PartOption, made_by, read_part
from nbdist.cli.progress_display import Display, summary
from nbdist.cli.stopping import EXIT_UNFINISHED, status_of
from nbdist.cli.workers import (
    ClusterOption,
    DashboardOption,
    GpusOption,
    LifetimeOption,
    SchedulerFileOption,
    SchedulerOption,
    SecurityOption,
    Workers,
    WorkersOption,
    words_of,
)
from nbdist.errors import NbdistError, UnfinishedError
from nbdist.formats.amounts import duration, size
from nbdist.formats.text import user_path

if TYPE_CHECKING:
    from nbdist.run.events import EventLog
    from nbdist.run.executors.choice import Workers as ChosenWorkers
    from nbdist.run.progress import Progress, Report
    from nbdist.run.settings import RunSettings
    from nbdist.run.subjects import Subject
    from nbdist.store.parts import Part


class LogFormatName(StrEnum):
    """How a line of the log is written."""

    text = "text"
    json = "json"


OutputOption = Annotated[str, typer.Option("--output", "-o", metavar="STORE", help="Zarr store to write.")]
SerialOption = Annotated[bool, typer.Option("--serial", help="Work in this process, without Dask.")]
FramesOption = Annotated[
    str | None,
    typer.Option(
        "--frames",
        metavar="FIRST:LAST",
        help="Make these frames alone, rounded out to whole shards; LAST is not among them.",
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the store that exists.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the store that exists.")]
LogFileOption = Annotated[
    Path | None, typer.Option("--log-file", metavar="PATH", help="Append a line for each event to this file.")
]
LogFormatOption = Annotated[LogFormatName, typer.Option("--log-format", help="Format of the lines of --log-file.")]
StuckAfterOption = Annotated[
    float | None,
    typer.Option(
        "--stuck-after",
        min=1,
        metavar="SECONDS",
        help="Restart a worker whose unit takes longer than this (half an hour) and ten times longer than any other.",
    ),
]


def run(
    path: ExperimentFile,
    output: OutputOption,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    scheduler: SchedulerOption = None,
    scheduler_file: SchedulerFileOption = None,
    cluster: ClusterOption = None,
    security: SecurityOption = None,
    lifetime: LifetimeOption = None,
    dashboard: DashboardOption = False,
    serial: SerialOption = False,
    frames: FramesOption = None,
    part: PartOption = None,
    tile: TileOption = None,
    phi_chunk: PhiChunkOption = None,
    frames_per_shard: ShardOption = None,
    precision: PrecisionOption = None,
    device: DeviceOption = DeviceName.auto,
    kernel: KernelOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    log_file: LogFileOption = None,
    log_format: LogFormatOption = LogFormatName.text,
    stuck_after: StuckAfterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render a rotation series into a Zarr store."""
    where = Workers(workers, gpus, scheduler, scheduler_file, cluster, security, lifetime, serial, dashboard)
    share = checked_part(part, where, frames, resume=resume, overwrite=overwrite)
    experiment = load(path, precision)
    output = output if "://" in output else str(user_path(output))
    from nbdist.planning import Cut
    from nbdist.run.settings import RunSettings
    from nbdist.run.subjects import SeriesSubject

    settings = RunSettings(
        cut=Cut(read_tile(tile), phi_chunk, frames_per_shard),
        kernel=kernel.value if kernel else None,
        device=device.value,
        frames=read_span(frames, "--frames", experiment.scan.frames) if frames is not None else None,
        part=share,
        resume=resume,
        overwrite=overwrite,
        serial=serial,
        made_by=made_by(path, precision),
    )
    given = {"--frames": frames, "--precision": precision and precision.value, **rendering_words(device, kernel)}
    words, subject = ["run", str(path), "-o", output], SeriesSubject(experiment)
    render_logged(subject, output, where, settings, words, given, log_file, log_format, stuck_after)


def rendering_words(device: DeviceName, kernel: KernelName | None) -> dict[str, object]:
    """What was said of how to render, by option."""
    return {"--device": device.value if device != DeviceName.auto else None, "--kernel": kernel and kernel.value}


def checked_part(text: str | None, where: Workers, frames: str | None, *, resume: bool, overwrite: bool) -> Part | None:
    """The part that is asked for, of options that do not exclude each other.

    Raises
    ------
    NbdistError
        Naming two that do.
    """
    where.check()
    if resume and overwrite:
        raise NbdistError("--resume and --overwrite exclude each other")
    return read_part(text, where.elsewhere, {"--frames": frames is not None, "--overwrite": overwrite})


def render_logged(
    subject: Subject[Any],
    output: str,
    where: Workers,
    settings: RunSettings,
    words: Sequence[str],
    given: Mapping[str, object],
    log_file: Path | None,
    log_format: LogFormatName,
    stuck_after: float | None,
    rendered: bool = True,
) -> None:
    """Run as `render` does, with a log where a file is named.

    Parameters
    ----------
    words, given
        The command without the name of the program, and options of its own: of the command that goes on.
    rendered
        Whether photons are rendered, and not read.
    """
    from nbdist.run.events import LogFile, no_log
    from nbdist.run.settings import Pacing

    if stuck_after is not None:
        settings = replace(settings, pacing=Pacing(stuck_after_s=stuck_after))
    options = {
        **given,
        "--log-file": log_file,
        "--log-format": log_format.value if log_format != LogFormatName.text else None,
        "--stuck-after": None if stuck_after is None else f"{stuck_after:g}",
    }
    continuing = ["--resume"] if settings.part is None else ["--part", str(settings.part)]
    again = shlex.join(["nbdist", *words, *continuing, *where.words, *words_of(options)])
    with LogFile(log_file, log_format.value) if log_file is not None else nullcontext(no_log) as log:
        render(words[0], subject, output, where, settings, log, again, rendered)


def run_with_progress(
    command: str,
    output: str,
    work: Callable[[ChosenWorkers, RunSettings, Report], Progress],
    where: Workers,
    settings: RunSettings,
    again: str,
    method: str = "sum",
) -> Progress:
    """Do work with a progress display; raises typer.Exit where it was interrupted or units are left, and says how it goes on.

    What it came to is printed as JSON where that is asked for.

    Parameters
    ----------
    command, output
        Its name, and the store or folder that it fills.
    work
        Is given the workers, the settings with theirs, and what shows progress.
    again
        The command that goes on.
    method
        Of the sampling of what is rendered.
    """
    from nbdist.run.executors.choice import chosen_workers

    begun = False
    with Display() as display:
        try:
            with where.opened(settings) as (client, settings):
                begun = True
                progress = work(chosen_workers(settings, client, method), settings, display)
        except BaseException as stopped:
            display.close()
            interrupted = status_of(stopped)
            if interrupted is not None and begun:
                error_console.print(f"interrupted; what is complete is kept. Go on with: {again}")
                raise typer.Exit(interrupted) from None
            if isinstance(stopped, UnfinishedError):
                error_console.print(f"nbdist: {stopped}")
                error_console.print(f"Go on with: {again}")
                raise typer.Exit(EXIT_UNFINISHED) from None
            raise
    print_json(command, output=output, **run_numbers(progress), go_on=again if progress.failed else None)
    if progress.failed:
        debug = "--debug" in sys.argv
        for unit, error in sorted(progress.failed.items()):
            error_console.print(f"unit {unit} failed: {error}")
            if debug and (traceback := getattr(error, "traceback", "")):
                error_console.print(traceback)
        summary(progress)
        if all(getattr(error, "lasting", False) for error in progress.failed.values()):
            said = (
                "Their samples are no experiments, however often they are drawn: mend the recipe, for another data set"
            )
        else:
            said = f"Try them again with: {again}"
        error_console.print(f"{len(progress.failed)} unit(s) are left. {said}")
        raise typer.Exit(EXIT_UNFINISHED)
    return progress


def render(
    command: str,
    subject: Subject[Any],
    output: str,
    where: Workers,
    settings: RunSettings,
    log: EventLog,
    again: str,
    rendered: bool = True,
) -> None:
    """Run with a progress display and say how it ended; raises typer.Exit(1) where units are left.

    Parameters
    ----------
    command
        The name of this one.
    again
        The command that goes on.
    rendered
        Whether photons are rendered, and not read.
    """
    from nbdist.run.generate import fill_store

    def work(workers: ChosenWorkers, settings: RunSettings, report: Report) -> Progress:
        return fill_store(subject, output, settings, workers, report=report, log=log)

    progress = run_with_progress(command, output, work, where, settings, again, subject.method)
    if settings.frames is not None and progress.frames_done > len(settings.frames):
        error_console.print(f"note: {len(settings.frames)} frames were asked for; a shard is rendered whole")
    if progress.frames_total == 0:
        console.print(f"{output}: nothing was missing")
        return
    if progress.eager_units and settings.kernel != "eager" and rendered:
        error_console.print(
            f"note: {progress.eager_units} unit(s) were rendered without a compiled kernel, tens of times slower; "
            "compiling needs a C++ compiler (g++) where the workers run"
        )
    console.print(
        f"{output}: {progress.done} {progress.counted} in {duration(progress.seconds)} "
        f"({progress.per_s:.3g} {progress.counted}/s), {size(progress.bytes_written)} written"
    )
    summary(progress)
