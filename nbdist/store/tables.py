"""Tables of a store, in Parquet: rows of frames, one object a unit, written and checked like a shard; and rows of the series, one object.

series.zarr/
  NAME/00000007.parquet   the rows of the frames of unit 7, by frame; the first columns say whose they are
  NAME/series.parquet     the rows of a table of the series

They are packed by pyarrow, which is imported when a table is met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import require_extra
from nbdist.frames.products import Key, Products, SeriesTable, TableProduct
from nbdist.frames.tables import Columns
from nbdist.planning import Unit

if TYPE_CHECKING:
    import pyarrow

SAMPLE: Key = "sample"
FRAME: Key = "frame"
ROWS_TOGETHER, TABLES_TOGETHER = 2**18, 1024
"""Rows, or tables of fewer, that are put together, about."""


@dataclass(frozen=True)
class Keys:
    """The first columns of a table of frames, which say whose its rows are.

    Attributes
    ----------
    names
        Those of a table product's `keys`.
    frames_per_sample
        Frames of each sample of a data set; None of a series.
    """

    names: tuple[Key, ...]
    frames_per_sample: int | None

    def columns(self, frames: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Their values for rows of frames, which are numbered through the whole store, (n,)."""
        if self.frames_per_sample is None:
            return [frames]
        values = {SAMPLE: frames // self.frames_per_sample, FRAME: frames % self.frames_per_sample}
        return [values[name] for name in self.names]

    def frames(self, rows: pyarrow.Table) -> NDArray[np.int64]:
        """The frame of each row in the whole store, (n,): of a row of a sample its first one."""
        columns = {name: rows[name].to_numpy() for name in self.names}
        if self.frames_per_sample is None:
            return np.asarray(columns[FRAME])
        return np.asarray(columns[SAMPLE] * self.frames_per_sample + columns.get(FRAME, 0))


def parquet(table: str) -> Any:
    """The module `pyarrow.parquet`, for a table of this name.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    require_extra("tables", f"the table {table}")
    import pyarrow.parquet

    return pyarrow.parquet


def arrow_schema(product: TableProduct | SeriesTable) -> pyarrow.Schema:
    """The columns of a table with their units and meaning; those that say whose the rows are come first."""
    parquet(product.name)
    import pyarrow

    keys = product.keys if isinstance(product, TableProduct) else ()
    fields = [pyarrow.field(name, pyarrow.int64(), nullable=False) for name in keys]
    for column in product.columns:
        described = {"units": column.units, "long_name": column.long_name}
        kind = pyarrow.string() if column.dtype == "str" else pyarrow.from_numpy_dtype(np.dtype(column.dtype))
        fields.append(pyarrow.field(column.name, kind, nullable=False, metadata=described))
    return pyarrow.schema(fields)


def packed(table: pyarrow.Table) -> memoryview:
    """A table as an object of a store."""
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    # numbers of which hardly two are equal: a dictionary of them takes time and room, and nobody looks for a range of them
    texts = [field.name for field in table.schema if field.type == pyarrow.string()]
    pyarrow.parquet.write_table(table, sink, compression="zstd", use_dictionary=texts or False, write_statistics=False)
    return memoryview(sink.getvalue()).cast("B")


def unpacked(content: bytes, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """The rows of an object; all columns, or those named, and no others are decoded.

    Raises
    ------
    Exception
        Of pyarrow's many, if the bytes are not Parquet.
    """
    import pyarrow
    import pyarrow.parquet

    wanted = None if columns is None else list(columns)
    return pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content)).read(wanted, use_threads=False)


def joined(schema: pyarrow.Schema, parts: Iterable[pyarrow.Table]) -> Iterator[pyarrow.Table]:
    """The rows of tables in tables of many, each in one piece, the first of them even where there are none.

    A table takes some 2.6 kB beside its rows, of which a unit may have one: as many as there are units would fill the memory.
    """
    import pyarrow

    held, rows = [schema.empty_table()], 0
    for part in parts:
        held.append(part)
        rows += len(part)
        if rows >= ROWS_TOGETHER or len(held) > TABLES_TOGETHER:
            yield pyarrow.concat_tables(held).combine_chunks()
            held, rows = [], 0
    if held:
        yield pyarrow.concat_tables(held).combine_chunks()


def series_key(name: str) -> str:
    """Key of the object with the rows of a table of the series."""
    return f"{name}/series.parquet"


def series_rows(product: SeriesTable, columns: Columns) -> pyarrow.Table:
    """The rows of a table of the series."""
    schema = arrow_schema(product)
    import pyarrow

    return pyarrow.table([np.asarray(columns[column.name], column.dtype) for column in product.columns], schema)


class TablePacker:
    """Packs and unpacks the objects of a table.

    Parameters
    ----------
    product
        The table.
    frames_per_sample
        Frames of each sample of a data set; None of a series.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed, when a table is first packed, unpacked or looked through.
    """

    def __init__(self, product: TableProduct, frames_per_sample: int | None = None) -> None:
        self._product = product
        self.keys = Keys(product.keys, frames_per_sample)

    @cached_property
    def schema(self) -> pyarrow.Schema:
        """The columns, those of `keys` first."""
        return arrow_schema(self._product)

    def key(self, unit: int) -> str:
        """Key of the object with a unit's rows."""
        return f"{self._product.name}/{unit:08d}.parquet"

    def pack(self, unit: Unit, frames: Sequence[Products]) -> memoryview:
        """The object with the rows of a unit's frames."""
        rows = [self._product.rows(frame) for frame in frames]
        counts = [len(its[self._product.columns[0].name]) for its in rows]
        columns: list[NDArray[Any]] = [*self.keys.columns(np.repeat(np.array(unit.frames, dtype=np.int64), counts))]
        for column in self._product.columns:
            columns.append(np.concatenate([np.asarray(its[column.name], column.dtype) for its in rows]))
        schema = self.schema
        import pyarrow

        return packed(pyarrow.table(columns, schema))

    def wrong(self, unit: Unit, content: bytes) -> str | None:
        """What is wrong with the rows of a unit's object, or None.

        Raises
        ------
        Exception
            Of pyarrow's many, if the bytes are not Parquet.
        """
        schema, table = self.schema, unpacked(content)
        if not table.schema.equals(schema):
            return "has other columns than its table"
        numbers = self.keys.frames(table)
        ordered = (np.diff(numbers) >= 0).all() and ((numbers >= unit.first_frame) & (numbers < unit.last_frame)).all()
        return None if ordered else "holds rows of other frames"
