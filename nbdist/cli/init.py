"""`nbdist init`: a commented experiment file or recipe to edit; `nbdist schema`: the JSON schema of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.display import console
from nbdist.errors import NbdistError
from nbdist.formats.files import written_whole
from nbdist.formats.text import user_path


def init(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write: experiment.yaml, or recipe.yaml.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Write a recipe instead, of which a data set is drawn.")
    ] = False,
) -> None:
    """Write a commented experiment file to edit, or a recipe."""
    if recipe:
        from nbdist.experiment.recipe.template import TEMPLATE
    else:
        from nbdist.experiment.template import TEMPLATE

    output = user_path(output or ("recipe.yaml" if recipe else "experiment.yaml"))
    if output.exists() and not overwrite:
        raise NbdistError(f"{output} exists; --overwrite replaces it")
    with written_whole(output) as file:
        file.write(TEMPLATE.encode())
    use = "nbdist dataset {} --samples 1000" if recipe else "nbdist run {}"
    console.print(f"wrote {output}\nnext: nbdist check {output}; {use.format(output)} -o {output.stem}.zarr")


def schema(
    recipe: Annotated[bool, typer.Option("--recipe", help="Print the schema of a recipe instead.")] = False,
) -> None:
    """Print the JSON schema of an experiment file, for editors."""
    if recipe:
        from nbdist.experiment.recipe import recipe_schema as its_schema
    else:
        from nbdist.experiment import experiment_schema as its_schema

    typer.echo(json.dumps(its_schema(), indent=2))
