"""`nbdist verify`: every shard decodes, and a sample of frames rendered again is what it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.arguments import DeviceName, DeviceOption, StoreLocation, load
from nbdist.cli.display import console
from nbdist.cli.json_output import JsonOption, print_json
from nbdist.cli.progress_display import Steps


def verify(
    location: StoreLocation,
    sample: Annotated[int, typer.Option("--sample", min=0, help="Frames to render again.")] = 5,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", help="Experiment file, where its inputs have moved since.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Recipe of a data set, where its inputs have moved since.")
    ] = None,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
) -> None:
    """Decode every shard and render a sample of frames again, in this process."""
    from nbdist.experiment.recipe import load_recipe
    from nbdist.run.verify import verify as verify_store

    with Steps() as steps:
        result = verify_store(
            location,
            sample=sample,
            experiment=load(experiment) if experiment else None,
            recipe=load_recipe(recipe) if recipe else None,
            device=device.value,
            report=steps.named,
        )
    console.print(f"{location}: {result.frames_decoded} frames decode")
    for unit, wrong in result.damaged.items():
        console.print(f"unit {unit} is damaged: {wrong}")
    if result.missing:
        console.print(f"{len(result.missing)} unit(s) were never finished")
    if result.card:
        console.print(f"the data card is wrong: {result.card}")
    if result.compared:
        same = sum(difference == 0 for difference in result.compared.values())
        console.print(f"{same} of {len(result.compared)} frames rendered again are the same to the bit")
    for reason in sorted(set(result.foreign.values())):
        frames = [frame for frame, other in result.foreign.items() if other == reason]
        largest = max(result.compared[frame] for frame in frames)
        console.print(
            f"{len(frames)} of them were {reason}, where other last bits are expected; "
            f"they differ by {largest:.2g} of their maximum at most"
        )
    for frame, wrong in result.wrong.items():
        console.print(f"frame {frame} is wrong: {wrong}")
    commands: list[str] = []
    if result.damaged or result.missing:
        from nbdist.cli.finish import print_lines
        from nbdist.store import summarize
        from nbdist.store.number_set import NumberSet
        from nbdist.store.parts import commands_to_go_on

        console.print("damaged and missing units are rendered by:")
        commands = commands_to_go_on(summarize(location), result.missing | NumberSet(result.damaged))
        print_lines(commands)
    print_json(
        "verify",
        store=location,
        good=result.good,
        frames_decoded=result.frames_decoded,
        units_damaged=result.damaged,
        units_missing=result.missing,
        card=result.card,
        largest_differences_over_maximum=result.compared,
        frames_made_elsewhere=result.foreign,
        frames_wrong=result.wrong,
        go_on=commands,
    )
    if not result.good:
        raise typer.Exit(1)
