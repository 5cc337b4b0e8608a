"""`nbdist labels`: the reflections and spots of a series, and the tables of a data set, as files of other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.arguments import StoreLocation, load, read_span
from nbdist.cli.display import console, error_console
from nbdist.cli.json_output import JsonOption, print_json
from nbdist.cli.progress_display import Steps
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from nbdist.store.label_files import Kind


class Table(StrEnum):
    """Tables whose rows can be written; a series has the first two."""

    reflections = "reflections"
    spots = "spots"
    samples = "samples"
    frames = "frames"
    lattices = "lattices"


def labels(
    location: StoreLocation,
    parquet: Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write a Parquet file.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a CSV file.")] = None,
    dials: Annotated[
        Path | None, typer.Option("--dials", metavar="DIR", help="Write labels.expt and labels.refl of DIALS.")
    ] = None,
    table: Annotated[
        Table | None,
        typer.Option(
            "--table",
            help="Rows of --parquet and --csv; spots where the store has them. The last three are tables of a data set.",
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames", metavar="FIRST:LAST", help="Write rows of these frames alone; LAST is not among them."
        ),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option("--samples", metavar="FIRST:LAST", help="Write rows of these samples of a data set alone."),
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option("--experiment", help="Experiment file for --dials, where its inputs have moved since."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the labels of a series or a data set as Parquet or CSV, or those of a series as files of DIALS."""
    from nbdist.formats.text import user_path
    from nbdist.store import open_group, read_completeness
    from nbdist.store.dials import write_dials
    from nbdist.store.label_files import write_labels
    from nbdist.store.labels import has_spots
    from nbdist.store.schema import schema_of
    from nbdist.store.table_reading import frames_of

    if parquet is None and csv is None and dials is None:
        raise NbdistError("nothing to write: --parquet FILE, --csv FILE or --dials DIR")
    group = open_group(location)
    schema = schema_of(group)
    chosen = read_span(frames, "--frames", schema.frames) if frames is not None else None
    if samples is not None and schema.samples is None:
        raise NbdistError(f"--samples {samples}: {location} is a series, which has no samples; --frames chooses of it")
    some = read_span(samples, "--samples", schema.samples or 0) if samples is not None else None

    written: list[dict[str, object]] = []
    wanted: dict[Kind, Path | None] = {"parquet": parquet, "csv": csv}
    for kind, path in wanted.items():
        if path is not None:
            with Steps("units read") as steps:
                count = write_labels(location, user_path(path), kind, table, chosen, samples=some, report=steps)
            written.append({"file": path, "rows": count})
            console.print(f"wrote {path}: {count:,} rows")
    if dials is not None:
        moved = load(experiment) if experiment else None
        with Steps("units read") as steps:
            count = write_dials(location, dials, chosen, experiment=moved, report=steps)
        written += [{"file": dials / "labels.expt", "rows": None}, {"file": dials / "labels.refl", "rows": count}]
        console.print(f"wrote {dials}/labels.expt and {dials}/labels.refl: {count:,} reflections")
    every = frames_of(group, chosen, some)
    left_out = len(every) - len(read_completeness(group).frames & every)
    if left_out and (schema.samples is not None or has_spots(group)):
        error_console.print(
            f"note: {left_out:,} of the {len(every):,} frames are not rendered yet, and what they have is left out"
        )
    print_json("labels", store=location, written=written, frames_left_out=left_out)
