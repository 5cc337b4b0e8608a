"""The `nbdist` command: its subcommands, and how an error is told.

Subcommands import what they need when they run, so that `nbdist --help` loads neither torch nor Dask.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup

from nbdist.cli.arguments import naming_its_file
from nbdist.cli.bench import bench
from nbdist.cli.card import card
from nbdist.cli.certificate import certificate
from nbdist.cli.check import check
from nbdist.cli.compare import compare
from nbdist.cli.conversion import from_dials, from_image, from_xds
from nbdist.cli.dataset import dataset
from nbdist.cli.demo import demo
from nbdist.cli.detectors import detectors
from nbdist.cli.display import console
from nbdist.cli.doctor import doctor
from nbdist.cli.export import export
from nbdist.cli.finish import finish
from nbdist.cli.info import info
from nbdist.cli.init import init, schema
from nbdist.cli.json_output import USAGE, JsonIntoFile
from nbdist.cli.kernels import kernels
from nbdist.cli.labels import labels
from nbdist.cli.nanobragg import nanobragg
from nbdist.cli.plan import plan
from nbdist.cli.preview import preview
from nbdist.cli.readout import readout
from nbdist.cli.report import report
from nbdist.cli.run import run as run_command
from nbdist.cli.stopping import EXIT_WRONG, listening, status_of, was_told
from nbdist.cli.streams import steady_streams
from nbdist.cli.trace import trace
from nbdist.cli.verify import verify
from nbdist.cli.view import view
from nbdist.errors import NbdistError, one_line, printable
from nbdist.version import __version__

WORK = frozenset(
    {
        "run",
        "dataset",
        "readout",
        "demo",
        "init",
        "kernels",
        "from-dials",
        "from-xds",
        "from-image",
        "preview",
        "report",
        "compare",
        "labels",
        "export",
        "verify",
        "finish",
        "card",
        "nanobragg",
        "trace",
    }
)
"""Commands that write files, or whose status is their verdict: what they print for persons may be lost. The others do nothing but print."""


class _Raised(BaseException):
    """Carries an error past typer, which would answer some of them in its own words."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


@contextlib.contextmanager
def _past_typer() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, OSError, EOFError) as error:
        raise _Raised(error) from None


class _Commands(TyperGroup):
    """The subcommands; their errors are told by `run`."""

    @_past_typer()
    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the arguments."""
        return super().make_context(*arguments, **options)

    @_past_typer()
    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        return super().invoke(ctx)


app = typer.Typer(
    name="nbdist",
    cls=_Commands,
    help="Large synthetic X-ray diffraction data sets: nanoBragg's physics, on Dask, into Zarr stores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nbdist {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what the machine does."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    logging.basicConfig(level=logging.WARNING, format="nbdist: %(message)s", stream=sys.stderr)
    logging.raiseExceptions = False
    logging.getLogger("nbdist").setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING if verbose else logging.CRITICAL)
    # a request of Dask's that was interrupted before it began fails in a callback; Dask sets this logger's level itself
    logging.getLogger("tornado.application").addFilter(lambda record: verbose or not was_told())
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "info" if verbose else "critical")
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # processes that this one starts load nothing from the working folder
    if not debug:
        warnings.simplefilter("ignore")
        # of Python's own helper process, where this one ends while a worker starts
        sys.warnoptions.append("ignore:resource_tracker:UserWarning")


for _command in (
    demo,
    init,
    from_dials,
    from_xds,
    from_image,
    check,
    plan,
    info,
    dataset,
    readout,
    preview,
    report,
    view,
    compare,
    labels,
    export,
    verify,
    finish,
    card,
    schema,
    detectors,
    trace,
    bench,
    certificate,
    doctor,
):
    app.command(cls=JsonIntoFile if _command in (bench, check, compare) else None)(
        _command if _command is trace else naming_its_file(_command)  # trace reads another program's log as well
    )
app.command(name="run")(naming_its_file(run_command))
app.add_typer(kernels, name="kernels")
# its flags have one dash and are read by itself
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)(nanobragg)


@functools.cache
def _every_command() -> Callable[[], object]:
    """What `app` does, made once: that takes longer than some commands do."""
    # by its name however it is started: completion goes by that
    return functools.partial(typer.main.get_command(app), prog_name="nbdist", standalone_mode=False)


def run(command: Callable[[], object] | None = None) -> None:
    """Run the command that the arguments name, and exit with its status; any other function may stand in for it."""
    with listening(), steady_streams() as streams:
        try:
            status = _status(command or _every_command())
            printed_alone = console.quiet or _named_command() not in WORK
        finally:
            console.quiet = False  # which --json asked for
        lost = streams.lost()
        if lost is not None and status < EXIT_WRONG and printed_alone:
            typer.echo(f"nbdist: standard output cannot be written: {one_line(lost)}", err=True)
            status = EXIT_WRONG
    sys.exit(status)


def _named_command() -> str:
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _status(command: Callable[[], object]) -> int:
    """Run the command; its exit status. An error is said in one line, and raised with `--debug`."""
    try:
        ended_with = command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as raised:
        error = raised.error if isinstance(raised, _Raised) else raised
        interrupted = status_of(error)
        if interrupted is not None:
            typer.echo("nbdist: interrupted", err=True)
            return interrupted
        if isinstance(error, USAGE):
            return _usage_error_status(error)
        if "--debug" in sys.argv:
            raise error from error.__cause__
        typer.echo(f"nbdist: {printable(_message(error))}", err=True)
        return EXIT_WRONG
    return ended_with if isinstance(ended_with, int) else 0  # of `typer.Exit`


def _usage_error_status(error: Any) -> int:
    """Say in one line what is wrong with a command line, and where its options are listed."""
    if not error.format_message():  # nothing was asked for: help is shown
        error.show()
    else:
        path = error.ctx.command_path if getattr(error, "ctx", None) is not None else "nbdist"
        said = error.format_message().replace("Value error, ", "").rstrip(".")
        found = _value_of(getattr(error, "param", None))
        if found is not None and found not in said:
            said += f", found '{found}'"
        mark = "" if said.endswith("?") else ";"
        typer.echo(f"nbdist: {said[0].lower()}{printable(said[1:])}{mark} {path} --help lists what there is", err=True)
    return EXIT_WRONG


def _value_of(option: Any) -> str | None:
    """The word that the command line has for an option."""
    for word, after in pairwise([*sys.argv, ""]):
        name, equals, value = word.partition("=")
        if name in getattr(option, "opts", ()) and name.startswith("--"):
            return value if equals else after
    return None


def _message(error: BaseException) -> str:
    if isinstance(error, NbdistError):
        return str(error).replace("\n", "\\n")  # of a file's name
    if isinstance(error, MemoryError):
        return "there is not enough memory; fewer workers, a smaller --tile or --frames-per-shard 1 take less"
    if isinstance(error, OSError):
        return one_line(error)
    return f"{type(error).__name__}: {one_line(error)}; this is a fault of nbdist, and its traceback is in {_keep_traceback(error)}"


def _keep_traceback(error: BaseException) -> str:
    """Write the traceback of an error that nobody foresaw to a file, since what led to it may have taken hours; the file's name."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="nbdist-traceback-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError as full:
        return f"no file ({one_line(full)}): --debug shows it"
    return file.name
