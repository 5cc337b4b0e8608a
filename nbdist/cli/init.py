"""`nbdist init`: a commented experiment file to edit; `nbdist schema`: the JSON schema of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.display import console
from nbdist.errors import NbdistError, one_line
from nbdist.formats.text import user_path


def init(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("experiment.yaml"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write a commented experiment file to edit."""
    from nbdist.experiment.template import TEMPLATE

    output = user_path(output)
    if output.exists() and not overwrite:
        raise NbdistError(f"{output} exists; --overwrite replaces it")
    try:
        output.write_text(TEMPLATE, encoding="utf-8")
    except OSError as error:
        raise NbdistError(f"{output} cannot be written: {one_line(error)}") from None
    console.print(f"wrote {output}\nnext: nbdist check {output}; nbdist run {output} -o {output.stem}.zarr")


def schema() -> None:
    """Print the JSON schema of an experiment file, for editors."""
    from nbdist.experiment import experiment_schema

    typer.echo(json.dumps(experiment_schema(), indent=2))
