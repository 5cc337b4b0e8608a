"""The `nbdist` command: its subcommands, and how an error is told.

Subcommands import what they need when they run, so that `nbdist --help` loads neither torch nor Dask.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings

import typer

from nbdist.cli.bench import bench
from nbdist.cli.check import check
from nbdist.cli.demo import demo
from nbdist.cli.finish import finish
from nbdist.cli.info import info
from nbdist.cli.init import init, schema
from nbdist.cli.nanobragg import nanobragg
from nbdist.cli.plan import plan
from nbdist.cli.preview import preview
from nbdist.cli.run import run as run_command
from nbdist.cli.trace import trace
from nbdist.cli.verify import verify
from nbdist.errors import NbdistError

EXIT_UNFINISHED, EXIT_WRONG, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="nbdist",
    help="Large synthetic X-ray diffraction data sets: nanoBragg's physics, on Dask, into Zarr stores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nbdist {version('nbdist')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what the machine does."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    logging.basicConfig(level=logging.WARNING, format="nbdist: %(message)s", stream=sys.stderr)
    logging.getLogger("nbdist").setLevel(logging.INFO if verbose else logging.WARNING)
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "info" if verbose else "critical")
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    if not debug:
        warnings.simplefilter("ignore")


for _command in (demo, init, check, plan, info, preview, verify, finish, schema, trace, bench):
    app.command()(_command)
app.command(name="run")(run_command)
# its flags have one dash and are read by itself
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)(nanobragg)


def run() -> None:
    """Entry point of the console script."""
    debug = "--debug" in sys.argv
    try:
        app()
    except NbdistError as error:
        if debug:
            raise
        typer.echo(f"nbdist: {error}", err=True)
        sys.exit(EXIT_WRONG)
    except KeyboardInterrupt:
        typer.echo("nbdist: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_UNFINISHED)
