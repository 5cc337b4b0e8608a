"""`nbdist report`: what a store is, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbdist.cli.arguments import StoreLocation, read_span
from nbdist.cli.display import console
from nbdist.cli.progress_display import Steps
from nbdist.errors import require_extra
from nbdist.formats.files import require_writable, written_whole
from nbdist.formats.text import user_path


def report(
    location: StoreLocation,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("report.html"),
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames",
            metavar="FIRST:LAST",
            help="Look at some of these frames, or samples of a data set; at some of all.",
        ),
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            "--sample", min=1, help="How many of them to look at, spread evenly over those that are complete."
        ),
    ] = 8,
    verified: Annotated[
        int | None,
        typer.Option(
            "--verify",
            min=0,
            metavar="N",
            help="Decode every shard and render N frames again, as nbdist verify does; status 1 if it fails.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="Log of the run, whose events are counted: what was tried again."),
    ] = None,
) -> None:
    """Write one page on a series or a data set, finished or not: experiment, pictures, resolution, reflections, run and checks."""
    require_extra("pictures", "nbdist report")
    require_writable(output)
    from nbdist.run.report.pages import page_of, report_of
    from nbdist.store import summarize

    among = None
    if frames is not None:
        summary = summarize(location)
        among = read_span(frames, "--frames", summary.frames // (summary.schema.frames_per_sample or 1))
    with Steps() as steps:
        made = report_of(location, among=among, sample=sample, verified=verified, log=log, report=steps.named)
        page = page_of(made)
    with written_whole(user_path(output)) as file:
        file.write(page.encode())
    console.print(f"wrote {output}")
    wrong = [check.name for check in made.checks if check.result == "failed"]
    if verified is not None and wrong:
        console.print(f"not so: {'; '.join(wrong)} (see Checks)")
        raise typer.Exit(1)
