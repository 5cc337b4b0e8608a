"""`nbdist plan`: the pieces of a run, and what it will take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbdist.cli.arguments import (
    DeviceName,
    DeviceOption,
    KernelOption,
    PhiChunkOption,
    PrecisionOption,
    ShardOption,
    TileOption,
    load,
    read_tile,
)
from nbdist.cli.display import console, facts
from nbdist.cli.json_output import JsonOption, print_json
from nbdist.errors import NbdistError
from nbdist.formats.amounts import count, duration, panels_row, size

if TYPE_CHECKING:
    from nbdist.planning import Plan
    from nbdist.scene import Scene
    from nbdist.store.schema import Schema

SHORT_UNIT_S, SHORT_RUN_S, LONG_UNIT_S = 0.5, 1.0, 600.0


def plan(
    path: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="Experiment or recipe (YAML or JSON).", show_default=False)
    ],
    samples: Annotated[int | None, typer.Option("--samples", min=1, help="Samples of a recipe.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Worker processes; one a core, or one a GPU.")
    ] = None,
    tile: TileOption = None,
    phi_chunk: PhiChunkOption = None,
    frames_per_shard: ShardOption = None,
    precision: PrecisionOption = None,
    device: DeviceOption = DeviceName.auto,
    kernel: KernelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a run is cut, and its expected size and time."""
    from nbdist.clusters.local_workers import default_workers
    from nbdist.experiment.files import is_recipe
    from nbdist.experiment.recipe import load_recipe
    from nbdist.kernels.devices import device_notes, pick_device
    from nbdist.planning import Cut
    from nbdist.run.context import make_context
    from nbdist.run.sample_contexts import sample_contexts
    from nbdist.scene import resolve
    from nbdist.store.schema import schema_for, schema_of_samples

    recipe = load_recipe(path) if is_recipe(path) else None
    experiment = load(path, precision) if recipe is None else recipe.example
    where = pick_device(device.value, experiment.sampling.method)
    number = workers or default_workers(where)
    asked: dict[str, Any] = {
        "workers": number,
        "device": where,
        "kernel": kernel.value if kernel else "compiled",
        "cut": Cut(read_tile(tile), phi_chunk, frames_per_shard),
    }
    if recipe is not None:
        if precision is not None:
            raise NbdistError("--precision: is of an experiment; a recipe says it in sampling.precision")
        samples = samples or 1
        contexts = sample_contexts(recipe, samples, **asked)
        schema = schema_of_samples(recipe, samples, contexts.plan.settings)
        its = _expected(resolve(experiment), contexts.plan, schema, number, where)
        facts(_rows(its), f"{path}: {samples} sample(s) of {recipe.frames_per_sample} frame(s), as sample 0 is")
        notes = contexts.notes
    else:
        if samples is not None:
            raise NbdistError("--samples: is of a recipe, which this is not")
        context = make_context(experiment, **asked)
        schema, notes = schema_for(context.scene, context.plan.settings), context.notes
        its = _expected(context.scene, context.plan, schema, number, where)
        facts(_rows(its), f"{path}: {context.plan.frames} frames")
    said = [*device_notes(device.value, where), *notes]
    for note in said:
        console.print(f"note: {note}")
    print_json("plan", file=path, samples=samples, **asdict(its), warnings=_warnings(its), notes=said)


@dataclass(frozen=True)
class Expected:
    """How a run is cut, and what it takes, in numbers.

    Attributes
    ----------
    task_seconds
        Of what a worker does at a time: a unit, or a piece of a frame where frames are split.
    """

    method: str
    device: str
    workers: int
    frames: int
    panels_slow_fast_pixels: Sequence[tuple[int, int]]
    steps: int
    pixel_steps_per_frame: float
    phi_chunks_per_frame: int
    phi_chunk_steps: int
    tiles_per_frame: int
    tile_slow_fast_pixels: tuple[int, int]
    units: int
    frames_per_unit: int
    tasks_per_frame: int
    split: bool
    shards: int
    chunks_pixels: Sequence[tuple[int, ...]]
    disk_bytes: float
    disk_bytes_per_frame: float
    memory_bytes_per_worker: int
    memory_bytes_per_further_thread: int
    memory_bytes_here: int
    seconds: float
    seconds_per_frame: float
    task_seconds: float


def _expected(scene: Scene, plan: Plan, schema: Schema, workers: int, device: str) -> Expected:
    cost, settings = plan.cost, plan.settings
    layouts = {array.panels.suffix: array.layout(settings.frames_per_shard).chunk for array in schema.arrays}
    return Expected(
        method=scene.method,
        device=device,
        workers=workers,
        frames=plan.frames,
        panels_slow_fast_pixels=schema.panels,
        steps=scene.steps,
        pixel_steps_per_frame=cost.pixel_steps,
        phi_chunks_per_frame=len(plan.chunks),
        phi_chunk_steps=settings.phi_chunk,
        tiles_per_frame=len(plan.tiles),
        tile_slow_fast_pixels=settings.tile,
        units=plan.unit_count,
        frames_per_unit=settings.frames_per_shard,
        tasks_per_frame=plan.tasks_per_frame,
        split=plan.split,
        shards=plan.unit_count * schema.shards_per_unit,
        chunks_pixels=list(dict.fromkeys(layouts.values())),
        disk_bytes=cost.disk_bytes * plan.frames,
        disk_bytes_per_frame=cost.disk_bytes,
        memory_bytes_per_worker=plan.worker_memory_bytes(),
        memory_bytes_per_further_thread=plan.memory.per_thread,
        memory_bytes_here=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        seconds=cost.seconds * plan.frames / max(1, min(workers, plan.unit_count * plan.tasks_per_frame)),
        seconds_per_frame=cost.seconds,
        task_seconds=cost.seconds * settings.frames_per_shard / (plan.tasks_per_frame if plan.split else 1),
    )


def _warnings(its: Expected) -> list[str]:
    piece, shorter = ("task", "a smaller --tile or --phi-chunk") if its.split else ("unit", "fewer --frames-per-shard")
    said = []
    if its.memory_bytes_per_worker * its.workers > its.memory_bytes_here:
        said.append(f"this machine has {size(its.memory_bytes_here)}: fewer --workers or --frames-per-shard would fit")
    if its.task_seconds > LONG_UNIT_S:
        advice = f": {shorter} would make it shorter" if its.split or its.frames_per_unit > 1 else ""
        said.append(f"a {piece} takes {duration(its.task_seconds)}, which is lost when its worker is{advice}")
    elif its.task_seconds < SHORT_UNIT_S and its.units > its.workers and its.seconds > SHORT_RUN_S:
        said.append(
            f"a {piece} takes {duration(its.task_seconds)}: more --frames-per-shard makes fewer and larger files of it"
        )
    return said


def _rows(its: Expected) -> list[tuple[str, str]]:
    piece, memory = "task" if its.split else "unit", its.memory_bytes_per_worker
    counted = [
        ("steps", f"{its.steps} (photons are divided by it once)"),
        (
            "pixel-steps",
            f"{count(its.pixel_steps_per_frame)} a frame, {count(its.pixel_steps_per_frame * its.frames)} in all",
        ),
        ("phi chunks", f"{its.phi_chunks_per_frame} a frame, of {its.phi_chunk_steps} steps"),
    ]
    return [
        panels_row(its.panels_slow_fast_pixels),
        *([("method", "integrated")] if its.method == "integrated" else counted),
        ("tiles", "{} a frame, of {} x {} pixels".format(its.tiles_per_frame, *its.tile_slow_fast_pixels)),
        (
            "units",
            f"{its.units}, of {its.frames_per_unit} frame(s); "
            + (f"each frame split into {its.tasks_per_frame} tasks" if its.split else "whole frames in one task"),
        ),
        (
            "shards",
            f"{its.shards}, inner chunks {', '.join(' x '.join(map(str, chunk)) for chunk in its.chunks_pixels)}",
        ),
        ("size on disk", f"about {size(its.disk_bytes)} ({size(its.disk_bytes_per_frame)} a frame)"),
        (
            "memory",
            f"about {size(memory)} a worker, {size(memory * its.workers)} in all; "
            f"{size(its.memory_bytes_per_further_thread)} for each further thread of a worker",
        ),
        (
            "time",
            f"about {duration(its.seconds)} on {its.workers} {its.device} worker(s); "
            f"{duration(its.seconds_per_frame)} a frame, {duration(its.task_seconds)} a {piece}",
        ),
        *(("warning", warning) for warning in _warnings(its)),
    ]
