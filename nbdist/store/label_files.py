"""The labels of a store as one file: Parquet or CSV, written as it is read, a few units at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbdist.errors import StoreError
from nbdist.formats.files import written_whole
from nbdist.frames.products import SPOTS
from nbdist.frames.sample_products import CROSSINGS, SAMPLES
from nbdist.store.labels import has_spots, indices_appender, read_reflection_rows
from nbdist.store.locations import open_group
from nbdist.store.samples import sample_rows
from nbdist.store.schema import schema_of
from nbdist.store.table_reading import frames_of, table_reader
from nbdist.store.tables import joined

if TYPE_CHECKING:
    import pyarrow

Kind = Literal["parquet", "csv"]
REFLECTIONS = "reflections"
"""What the reflections of a series, or of the samples of a data set, are called by."""


def write_labels(
    location: str | os.PathLike[str],
    path: Path,
    kind: Kind,
    table: str | None = None,
    frames: slice | range | None = None,
    *,
    samples: slice | range | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write a table of a store into a file.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    path
        File that is written, whole or not at all.
    table
        "spots", as `open_spots` reads them, or "reflections", as `open_reflections`; of a data set also "samples", as `open_samples`, or
        another of its tables. When left out, spots where the store has them, else reflections, or samples of a data set.
    frames
        Frames whose rows are written; all when left out.
    samples
        Of a data set: samples whose rows are written, in place of `frames`.
    report
        Called with (units read, all units that are read).

    Rows of the spots of a series have h, k, l after `reflection` where the store has the reflections of the series; null where theirs does
    not cross the Ewald sphere in the scan. Those of a data set have them always, and `sample` is the first column of each of its tables.

    Returns
    -------
    Rows written.

    Raises
    ------
    NbdistError
        If there is no store of nbdist, no such table in it, or the file cannot be written.
    """
    group = open_group(location)
    of_samples = schema_of(group).frames_per_sample is not None
    if table is None:
        table = SPOTS.name if has_spots(group) else SAMPLES if of_samples else REFLECTIONS
    if table == REFLECTIONS and not of_samples:
        rows = read_reflection_rows(group, frames)
        return _written(path, kind, rows.schema, iter([rows]))
    table = CROSSINGS.name if table == REFLECTIONS else table
    reader, chosen = table_reader(group, table), frames_of(group, frames, samples)
    if of_samples and frames is not None and table in (SAMPLES, CROSSINGS.name):
        raise StoreError(f"{location}: rows of {table} are those of samples; ask for samples")
    total, with_indices = len(reader.touched(chosen)), indices_appender(group)
    if table == SAMPLES:
        schema, found = sample_rows(group, samples)
    else:
        schema = with_indices(reader.columns.empty_table()).schema
        found = (with_indices(rows) for _, rows in reader.units(chosen))

    def parts() -> Iterator[pyarrow.Table]:
        for done, rows in enumerate(found, start=1):
            yield rows
            report(done, total)

    return _written(path, kind, schema, parts())


def _written(path: Path, kind: Kind, schema: pyarrow.Schema, parts: Iterator[pyarrow.Table]) -> int:
    count = 0
    with written_whole(path) as stream, _writer(stream, kind, schema) as writer:
        for rows in joined(schema, parts):  # pyarrow 17 repeats the header of a CSV file after an empty piece
            writer.write_table(rows)
            count += len(rows)
    return count


def _writer(stream: Any, kind: Kind, schema: pyarrow.Schema) -> AbstractContextManager[Any]:
    if kind == "csv":
        from pyarrow.csv import CSVWriter

        return CSVWriter(stream, schema)
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(stream, schema, compression="zstd")
