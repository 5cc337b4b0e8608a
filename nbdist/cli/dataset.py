"""`nbdist dataset`: render samples of a recipe into a Zarr store, as `nbdist run` does a series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.arguments import (
    DeviceName,
    DeviceOption,
    KernelOption,
    PhiChunkOption,
    ShardOption,
    TileOption,
    read_tile,
)
from nbdist.cli.json_output import JsonOption
from nbdist.cli.part import PartOption
from nbdist.cli.run import (
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
    rendering_words,
)
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
)
from nbdist.errors import NbdistError
from nbdist.formats.text import user_path

RecipeFile = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="Recipe (YAML or JSON): an experiment of distributions.")
]
SamplesOption = Annotated[
    int | None,
    typer.Option("--samples", min=1, help="How many samples a new data set has; --resume goes by the store's."),
]


def dataset(
    path: RecipeFile,
    output: OutputOption,
    samples: SamplesOption = None,
    grow: Annotated[
        int | None, typer.Option("--grow", min=1, metavar="SAMPLES", help="Make the store so many samples long.")
    ] = None,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    scheduler: SchedulerOption = None,
    scheduler_file: SchedulerFileOption = None,
    cluster: ClusterOption = None,
    security: SecurityOption = None,
    lifetime: LifetimeOption = None,
    dashboard: DashboardOption = False,
    serial: SerialOption = False,
    part: PartOption = None,
    tile: TileOption = None,
    phi_chunk: PhiChunkOption = None,
    frames_per_shard: ShardOption = None,
    device: DeviceOption = DeviceName.auto,
    kernel: KernelOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    log_file: LogFileOption = None,
    log_format: LogFormatOption = LogFormatName.text,
    stuck_after: StuckAfterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render samples of a recipe into a Zarr store."""
    where = Workers(workers, gpus, scheduler, scheduler_file, cluster, security, lifetime, serial, dashboard)
    share = checked_part(part, where, None, resume=resume, overwrite=overwrite)
    for name in (name for name, given in {"--samples": samples is not None, "--overwrite": overwrite}.items() if given):
        if grow is not None:
            raise NbdistError(f"--grow and {name} exclude each other")
    from nbdist.experiment.recipe import load_recipe
    from nbdist.planning import Cut
    from nbdist.run.datasets import DatasetSubject
    from nbdist.run.settings import RunSettings

    recipe = load_recipe(path)
    output = output if "://" in output else str(user_path(output))
    settings = RunSettings(
        cut=Cut(read_tile(tile), phi_chunk, frames_per_shard),
        kernel=kernel.value if kernel else None,
        device=device.value,
        part=share,
        resume=resume or grow is not None,
        overwrite=overwrite,
        serial=serial,
        made_by={"recipe_file": str(path.absolute()), "options": []},
    )
    subject = DatasetSubject(recipe, samples if grow is None else grow, grows=grow is not None)
    words = ["dataset", str(path), "-o", output]
    given = {"--samples": samples, "--grow": grow, **rendering_words(device, kernel)}
    render_logged(subject, output, where, settings, words, given, log_file, log_format, stuck_after)
