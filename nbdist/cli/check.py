"""`nbdist check`: whether an experiment is valid, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.arguments import load
from nbdist.cli.check_numbers import scene_numbers
from nbdist.cli.display import console, facts
from nbdist.cli.json_output import JsonFileOption, JsonOption, print_json, write_json
from nbdist.errors import NbdistError


def check(
    path: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="Experiment or recipe (YAML or JSON).", show_default=False)
    ],
    draw: Annotated[
        int | None,
        typer.Option(
            "--draw",
            min=1,
            metavar="N",
            help="Draw and check the first N samples of a recipe; 3 by default.",
        ),
    ] = None,
    as_json: JsonOption = False,
    json_file: JsonFileOption = None,
) -> None:
    """Check an experiment file or a recipe, and show what follows from it."""
    from nbdist.experiment.files import is_recipe

    if is_recipe(path):
        from nbdist.cli.check_recipe import check_recipe

        check_recipe(path, draw or 3, json_file)
        return
    if draw is not None:
        raise NbdistError(f"--draw is of a recipe, and {path} has no section recipe")
    _check(path, json_file)


def _check(path: Path, json_file: Path | None) -> None:
    from nbdist.readout.chain import Readout
    from nbdist.run.described import described
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections
    from nbdist.scene.notes import file_completeness, notes

    experiment = load(path)
    scene = resolve(experiment)
    Readout(scene)  # refuses a file that is no kernel
    reflections = load_reflections(scene)
    held = file_completeness(scene, reflections)
    console.print(f"{path}: valid")
    for section, rows in described(scene, reflections, held):
        facts(rows, section)
    said = notes(scene, reflections, held)
    for note in said:
        console.print(f"note: {note}")
    numbers = {"file": path, "valid": True, **scene_numbers(scene, reflections, held), "notes": said}
    print_json("check", **numbers)
    write_json(json_file, numbers)
