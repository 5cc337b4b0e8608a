"""`nbdist view`: look at a store in a browser."""

from __future__ import annotations

import contextlib
import os
from typing import Annotated

import typer

from nbdist.cli.arguments import StoreLocation
from nbdist.cli.display import console
from nbdist.errors import require_extra


def view(
    location: StoreLocation,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of this machine to serve on; 0: any that is free.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")] = False,
) -> None:
    """Look at a store in a browser: frames, spots and rocking curves, served to you alone until Ctrl-C."""
    require_extra("view", "nbdist view")
    from nbdist.view.model import Model
    from nbdist.view.server import LOOPBACK, ViewServer, has_display, opened_in_browser

    model = Model(location)
    server = ViewServer(model, port)
    console.print(f"{model.images.name}: {model.progress()}")
    console.print(f"open {server.address}")
    host, at = os.uname().nodename, server.port
    console.print(f"from another machine: ssh -L {at}:{LOOPBACK}:{at} {host}, and open the same address there")
    console.print("Ctrl-C ends it")
    with contextlib.ExitStack() as stack:
        if not no_browser and has_display() and not stack.enter_context(opened_in_browser(server.address)):
            console.print("no browser was found: open the address in one")
        server.serve()
