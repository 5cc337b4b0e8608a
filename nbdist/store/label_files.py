"""The labels of a series as one file: Parquet or CSV, written as it is read, a few units at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbdist.formats.files import written_whole
from nbdist.frames.products import SPOTS
from nbdist.store.labels import has_spots, indices_appender, read_reflection_rows
from nbdist.store.locations import open_group
from nbdist.store.table_reading import frames_of, table_reader

if TYPE_CHECKING:
    import pyarrow

Kind = Literal["parquet", "csv"]
ROWS_TOGETHER = 2**18
"""Rows that are written together, about."""


def write_labels(
    location: str | os.PathLike[str],
    path: Path,
    kind: Kind,
    table: str | None = None,
    frames: slice | range | None = None,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write one of the two tables of labels into a file.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    path
        File that is written, whole or not at all.
    table
        "spots", as `open_spots` reads them, or "reflections", as `open_reflections`; spots where the store has them, when left out.
    frames
        Frames whose rows are written; all when left out.
    report
        Called with (units read, all units that are read).

    Rows of spots have h, k, l after `reflection` where the store has the reflections of the series; null where theirs does
    not cross the Ewald sphere in the scan.

    Returns
    -------
    Rows written.

    Raises
    ------
    NbdistError
        If there is no series of nbdist, no such table in it, or the file cannot be written.
    """
    group = open_group(location)
    if table == "reflections" or (table is None and not has_spots(group)):
        rows = read_reflection_rows(group, frames)
        return _written(path, kind, rows.schema, iter([rows]))
    reader, chosen = table_reader(group, SPOTS.name), frames_of(group, frames)
    total, with_indices = len(reader.touched(chosen)), indices_appender(group)

    def parts() -> Iterator[pyarrow.Table]:
        for done, (_, rows) in enumerate(reader.units(chosen), start=1):
            yield with_indices(rows)
            report(done, total)

    return _written(path, kind, with_indices(reader.columns.empty_table()).schema, parts())


def _written(path: Path, kind: Kind, schema: pyarrow.Schema, parts: Iterator[pyarrow.Table]) -> int:
    import pyarrow

    count, held = 0, [schema.empty_table()]
    with written_whole(path) as stream, _writer(stream, kind, schema) as writer:

        def write() -> None:
            # in one piece: pyarrow 17 repeats the header of a CSV file after an empty one
            writer.write_table(pyarrow.concat_tables(held).combine_chunks())
            held.clear()

        for rows in parts:
            held.append(rows)
            count += len(rows)
            if sum(map(len, held)) >= ROWS_TOGETHER:
                write()
        if held:
            write()
    return count


def _writer(stream: Any, kind: Kind, schema: pyarrow.Schema) -> AbstractContextManager[Any]:
    if kind == "csv":
        from pyarrow.csv import CSVWriter

        return CSVWriter(stream, schema)
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(stream, schema, compression="zstd")
