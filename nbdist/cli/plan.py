"""`nbdist plan`: the pieces of a run, and what it will take."""

from __future__ import annotations

import os
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
from nbdist.errors import NbdistError
from nbdist.formats.amounts import count, duration, panels_row, size

if TYPE_CHECKING:
    from nbdist.planning import Plan
    from nbdist.scene import Scene
    from nbdist.store.schema import Schema

SHORT_UNIT_S, LONG_UNIT_S = 0.5, 600.0


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
        rows = _rows(resolve(experiment), contexts.plan, schema, number, where)
        facts(rows, f"{path}: {samples} sample(s) of {recipe.frames_per_sample} frame(s), as sample 0 is")
        notes = contexts.notes
    else:
        if samples is not None:
            raise NbdistError("--samples: is of a recipe, which this is not")
        context = make_context(experiment, **asked)
        schema, notes = schema_for(context.scene, context.plan.settings), context.notes
        rows = _rows(context.scene, context.plan, schema, number, where)
        facts(rows, f"{path}: {context.plan.frames} frames")
    for note in (*device_notes(device.value, where), *notes):
        console.print(f"note: {note}")


def _rows(scene: Scene, plan: Plan, schema: Schema, workers: int, device: str) -> list[tuple[str, str]]:
    cost, settings, memory = plan.cost, plan.settings, plan.worker_memory_bytes()
    chunks = {array.panels.suffix: array.layout(settings.frames_per_shard).chunk for array in schema.arrays}
    unit_s = cost.seconds * settings.frames_per_shard / (plan.tasks_per_frame if plan.split else 1)
    total_s = cost.seconds * plan.frames / max(1, min(workers, plan.unit_count * plan.tasks_per_frame))
    piece, shorter = ("task", "a smaller --tile or --phi-chunk") if plan.split else ("unit", "fewer --frames-per-shard")
    counted = [
        ("steps", f"{scene.steps} (photons are divided by it once)"),
        ("pixel-steps", f"{count(cost.pixel_steps)} a frame, {count(cost.pixel_steps * plan.frames)} in all"),
        ("phi chunks", f"{len(plan.chunks)} a frame, of {settings.phi_chunk} steps"),
    ]
    rows = [
        panels_row(schema.panels),
        *([("method", "integrated")] if scene.method == "integrated" else counted),
        ("tiles", f"{len(plan.tiles)} a frame, of {settings.tile[0]} x {settings.tile[1]} pixels"),
        (
            "units",
            f"{plan.unit_count}, of {settings.frames_per_shard} frame(s); "
            + (f"each frame split into {plan.tasks_per_frame} tasks" if plan.split else "whole frames in one task"),
        ),
        (
            "shards",
            f"{plan.unit_count * schema.shards_per_unit}, inner chunks "
            + ", ".join(" x ".join(map(str, chunk)) for chunk in dict.fromkeys(chunks.values())),
        ),
        ("size on disk", f"about {size(cost.disk_bytes * plan.frames)} ({size(cost.disk_bytes)} a frame)"),
        (
            "memory",
            f"about {size(memory)} a worker, {size(memory * workers)} in all; "
            f"{size(plan.memory.per_thread)} for each further thread of a worker",
        ),
        (
            "time",
            f"about {duration(total_s)} on {workers} {device} worker(s); {duration(cost.seconds)} a frame, {duration(unit_s)} a {piece}",
        ),
    ]
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory * workers > here:
        rows.append(("warning", f"this machine has {size(here)}: fewer --workers or --frames-per-shard would fit"))
    if unit_s > LONG_UNIT_S:
        advice = f": {shorter} would make it shorter" if plan.split or settings.frames_per_shard > 1 else ""
        rows.append(("warning", f"a {piece} takes {duration(unit_s)}, which is lost when its worker is{advice}"))
    elif unit_s < SHORT_UNIT_S and plan.unit_count > workers:
        rows.append(
            ("warning", f"a {piece} takes {unit_s:.2g} s: more --frames-per-shard makes fewer and larger files of it")
        )
    return rows
