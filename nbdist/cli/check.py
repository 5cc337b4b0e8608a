"""`nbdist check`: whether an experiment is valid, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.arguments import load
from nbdist.cli.display import console, facts
from nbdist.errors import NbdistError
from nbdist.formats.text import user_path


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
            help="Of a recipe: the first so many samples are drawn and checked; 3 by default.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Of a recipe: write all samples that were drawn, too.")
    ] = None,
) -> None:
    """Check an experiment file or a recipe, and show what follows from it."""
    from nbdist.experiment.files import is_recipe

    if is_recipe(path):
        from nbdist.cli.check_recipe import check_recipe

        check_recipe(path, draw or 3, json_file and user_path(json_file))
        return
    if draw is not None or json_file is not None:
        raise NbdistError(f"{'--json' if draw is None else '--draw'} is of a recipe, and {path} has no section recipe")
    _check(path)


def _check(path: Path) -> None:
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
    for note in notes(scene, reflections, held):
        console.print(f"note: {note}")
