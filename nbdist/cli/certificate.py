"""`nbdist certificate`: a certificate for a Dask cluster that somebody starts, so that nobody else can talk to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def certificate(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Where to keep it: the first of these that others cannot write into."),
    ],
) -> None:
    """Make a certificate and its key, readable by you alone, and print them as --security takes them: CA,CERT,KEY.

    It is its own authority: whoever holds the key gets in, and nobody else.
    """
    from nbdist.clusters.tls import certificate_in_folder

    cert, key = certificate_in_folder(folders)
    typer.echo(f"{cert},{cert},{key}")
