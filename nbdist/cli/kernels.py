"""`nbdist kernels build`: compile the kernels ahead, for images, shared homes and nodes without a compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.arguments import load, naming_its_file
from nbdist.cli.display import console
from nbdist.cli.progress_display import Steps
from nbdist.formats.text import user_path

kernels = typer.Typer(help="Compiled kernels.", no_args_is_help=True)


@kernels.command()
@naming_its_file
def build(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to keep them: later runs find them by NBDIST_KERNELS=DIR.")
    ],
    experiment: Annotated[
        Path | None, typer.Option("--experiment", help="Only those that this experiment may need; all by default.")
    ] = None,
) -> None:
    """Compile the kernels for this machine's processor, with its compiler.

    On machines with other processors, run it there into the same DIR. Whoever renders must own DIR, or root must, and nobody else may
    write there.
    """
    from nbdist.kernels.native.ahead import sources_of
    from nbdist.native.ahead import build_ahead
    from nbdist.readout.sources import SOURCES

    sources = [*sources_of(load(experiment) if experiment else None), *SOURCES]
    with Steps("kernels compiled") as steps:
        compiler = build_ahead(user_path(folder), sources, steps)
    console.print(f"{folder}: {len(sources)} kernels, compiled by {compiler}")
