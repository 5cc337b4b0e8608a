"""Reading the tables of a store: rows of frames, a unit at a time, and rows of the series.

What holds: no object is read besides those of the frames asked for, and no column decoded besides those asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import DamagedError, MissingExtraError, StoreError
from nbdist.frames.products import TableProduct
from nbdist.planning import Unit, Units
from nbdist.store.completeness import complete_units
from nbdist.store.locations import open_group
from nbdist.store.number_set import NumberSet
from nbdist.store.objects import Objects
from nbdist.store.places import objects_of
from nbdist.store.schema import kind_of, schema_of
from nbdist.store.tables import TablePacker, arrow_schema, joined, series_key, unpacked
from nbdist.store.units import DECODED_AT_ONCE, batches

if TYPE_CHECKING:
    import pyarrow

NO_TABLES = "none (an experiment asks for them by `labels`)"


def read_table(
    location: str | os.PathLike[str],
    name: str,
    frames: slice | range | None = None,
    columns: Sequence[str] | None = None,
    *,
    samples: slice | range | None = None,
) -> pyarrow.Table:
    """Read rows of a table of frames, or of samples, of a store.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    name
        Of the table.
    frames
        Frames whose rows are read, and no object besides theirs; all when left out.
    columns
        The columns that are read; all when left out.
    samples
        Of a data set: samples whose rows are read, and no object besides theirs. Its `frames` are those of all samples, one after the
        other, and a row of a sample is its first frame's.

    Returns
    -------
    The rows of those frames that are complete, in the order of frames; their number is the column `frame`. In a data set the first
    column is `sample`, and `frame` counts from its first one.

    Raises
    ------
    StoreError
        If there is no store of nbdist or no such table or column in it, or samples or frames are asked for that it has not.
    MissingExtraError
        If pyarrow is not installed.
    """
    group = open_group(location)
    reader = table_reader(group, name, columns)
    found = (rows for _, rows in reader.units(frames_of(group, frames, samples)))
    import pyarrow

    return pyarrow.concat_tables(joined(reader.columns, found))


def frames_of(group: zarr.Group, frames: slice | range | None, samples: slice | range | None = None) -> range:
    """Frames of a store: a slice of them, or of the samples of a data set; all where both are None.

    Raises
    ------
    StoreError
        If a range lies outside, frames and samples are given, samples of a series, or samples that are not consecutive.
    """
    schema, location = schema_of(group), objects_of(group).location
    if samples is None:
        return _chosen(group, frames, schema.frames, "frames")
    together = schema.frames_per_sample
    if together is None:
        raise StoreError(f"{location} is a series, which has no samples; ask for frames")
    if frames is not None:
        raise StoreError(f"{location}: frames or samples can be asked for, not both")
    chosen = _chosen(group, samples, schema.frames // together, "samples")
    if together > 1 and chosen.step != 1:
        raise StoreError(
            f"{location}: samples {chosen.start}:{chosen.stop}:{chosen.step} of {together} frames; they should be consecutive"
        )
    return range(chosen.start * together, chosen.stop * together, chosen.step)


def _chosen(group: zarr.Group, wanted: slice | range | None, count: int, what: str) -> range:
    """Those of so many frames or samples that are wanted: a slice of them, all where None."""
    every = range(count)
    if wanted is None:
        return every
    if isinstance(wanted, slice):
        return every[wanted]
    if wanted and not (wanted[0] in every and wanted[-1] in every):
        whole = f"{objects_of(group).location}: {what} {wanted.start}:{wanted.stop} lie outside the {kind_of(group)}"
        raise StoreError(f"{whole} of {count} {what}")
    return wanted


def consecutive_frames(group: zarr.Group, frames: slice | range | None) -> range:
    """Frames of a series that are a scan: one at least, one after the other; all where None.

    Raises
    ------
    StoreError
        If there is none, they do not follow one another, or they lie outside.
    """
    chosen = frames_of(group, frames)
    if not chosen or chosen.step != 1:
        raise StoreError(
            f"{objects_of(group).location}: frames {chosen.start}:{chosen.stop}:{chosen.step} are no scan; they should be consecutive"
        )
    return chosen


def table_reader(group: zarr.Group, name: str, columns: Sequence[str] | None = None) -> TableReader:
    """What reads rows of a table of an open store.

    Raises
    ------
    StoreError
        If there is no such table or column in it.
    """
    schema, location = schema_of(group), objects_of(group).location
    tables = {table.name: table for table in schema.tables}
    if name not in tables:
        raise StoreError(f"{location}: there is no table {name}; tables: {', '.join(tables) or NO_TABLES}")
    return TableReader(group, tables[name], columns)


class TableReader:
    """Reads rows of a table of frames, a unit at a time.

    Attributes
    ----------
    schema
        What the store holds.
    columns
        The columns that are read, as pyarrow describes them.

    Raises
    ------
    StoreError
        If there is no such column in it.
    """

    def __init__(self, group: zarr.Group, table: TableProduct, columns: Sequence[str] | None = None) -> None:
        self.schema = schema_of(group)
        self._group, self._objects = group, objects_of(group)
        self._packer = TablePacker(table, self.schema.frames_per_sample)
        self.columns = selected(self._objects.location, table.name, self._packer.schema, columns)

    def touched(self, frames: range) -> Units:
        """The units that hold any of some frames."""
        units = self.schema.units
        return Units(units.frames, units.size, NumberSet(np.array(frames, dtype=int) // units.size))

    def units(self, frames: range) -> Iterator[tuple[Unit, pyarrow.Table]]:
        """Those units with any of some frames that are complete, in order, each with its rows of these frames; a few are read at once."""
        wanted = complete_units(self._group, self.touched(frames))
        with ThreadPoolExecutor(DECODED_AT_ONCE) as pool:
            for some in batches(wanted, 16 * DECODED_AT_ONCE):
                yield from zip(some, pool.map(lambda unit: self.of_unit(unit, frames), some), strict=True)

    def of_unit(self, unit: Unit, frames: range) -> pyarrow.Table:
        """The rows of some frames, of those that lie in a unit."""
        key, keys = self._packer.key(unit.number), self._packer.keys
        if frames.step == 1 and frames.start <= unit.first_frame and unit.last_frame <= frames.stop:
            return _decoded(self._objects, key, self.columns)

        def chosen(rows: pyarrow.Table) -> pyarrow.Table:
            here = np.array([frame for frame in unit.frames if frame in frames], dtype=np.int64)
            return rows.filter(np.isin(keys.frames(rows), here))

        return _decoded(self._objects, key, self.columns, keys.names, chosen)

    def frame_of_rows(self, rows: pyarrow.Table) -> NDArray[np.int64]:
        """The frame of each row (n,), counted through the whole store; the rows have all columns that say whose they are."""
        return self._packer.keys.frames(rows)


def read_series_table(group: zarr.Group, name: str, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """Read the rows of a table of the series from an open store; all columns, or those named.

    Raises
    ------
    StoreError
        If there is no such table or column in it, or it does not decode.
    MissingExtraError
        If pyarrow is not installed.
    """
    objects, tables = objects_of(group), {table.name: table for table in schema_of(group).series_tables}
    if name not in tables:
        raise StoreError(
            f"{objects.location}: there is no table {name}; tables of the series: {', '.join(tables) or NO_TABLES}"
        )
    wanted = selected(objects.location, name, arrow_schema(tables[name]), columns)
    return _decoded(objects, series_key(name), wanted)


def _decoded(
    objects: Objects,
    key: str,
    columns: pyarrow.Schema,
    needed: Sequence[str] = (),
    chosen: Callable[[pyarrow.Table], pyarrow.Table] | None = None,
) -> pyarrow.Table:
    """These columns of an object, of all its rows or those chosen by other columns that are needed for it."""
    content = objects.read(key)
    try:
        rows = unpacked(content or b"", [*columns.names, *(name for name in needed if name not in columns.names)])
        if chosen is not None:
            rows = chosen(rows)
        rows = rows.select(columns.names)
        return rows if rows.schema.equals(columns) else rows.cast(columns)
    except (MemoryError, MissingExtraError):
        raise  # it says nothing about the rows
    except Exception as error:
        what = "is missing" if content is None else f"does not decode ({type(error).__name__})"
        raise DamagedError(f"{objects.location}: {key} {what}") from None


def selected(location: str, table: str, schema: pyarrow.Schema, columns: Sequence[str] | None) -> pyarrow.Schema:
    """Those columns of a table that are named, all where None.

    Raises
    ------
    StoreError
        If one is not among them.
    """
    if columns is None:
        return schema
    for name in columns:
        if name not in schema.names:
            raise StoreError(f"{location}: {table} has no column {name}; columns: {', '.join(schema.names)}")
    import pyarrow

    return pyarrow.schema([schema.field(name) for name in columns])
