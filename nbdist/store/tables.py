"""Tables of a store, in Parquet: rows of frames, one object a unit, written and checked like a shard; and rows of the series, one object.

series.zarr/
  NAME/00000007.parquet   the rows of the frames of unit 7, by frame; `frame` is the first column
  NAME/series.parquet     the rows of a table of the series

They are packed by pyarrow, which is imported when a table is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nbdist.errors import require_extra
from nbdist.frames.products import Products, SeriesTable, TableProduct
from nbdist.frames.tables import Columns
from nbdist.planning import Unit

if TYPE_CHECKING:
    import pyarrow

FRAME = "frame"


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
    """The columns of a table with their units and meaning; `frame` is the first of a table of frames."""
    parquet(product.name)
    import pyarrow

    fields = [pyarrow.field(FRAME, pyarrow.int64(), nullable=False)] if isinstance(product, TableProduct) else []
    for column in product.columns:
        described = {"units": column.units, "long_name": column.long_name}
        kind = pyarrow.from_numpy_dtype(np.dtype(column.dtype))
        fields.append(pyarrow.field(column.name, kind, nullable=False, metadata=described))
    return pyarrow.schema(fields)


def packed(table: pyarrow.Table) -> memoryview:
    """A table as an object of a store."""
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    # numbers of which hardly two are equal: a dictionary of them takes time and room, and nobody looks for a range of them
    pyarrow.parquet.write_table(table, sink, compression="zstd", use_dictionary=False, write_statistics=False)
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

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed, when a table is first packed, unpacked or looked through.
    """

    def __init__(self, product: TableProduct) -> None:
        self._product = product

    @cached_property
    def schema(self) -> pyarrow.Schema:
        """The columns, `frame` first."""
        return arrow_schema(self._product)

    def key(self, unit: int) -> str:
        """Key of the object with a unit's rows."""
        return f"{self._product.name}/{unit:08d}.parquet"

    def pack(self, unit: Unit, frames: Sequence[Products]) -> memoryview:
        """The object with the rows of a unit's frames."""
        rows = [self._product.rows(frame) for frame in frames]
        counts = [len(its[self._product.columns[0].name]) for its in rows]
        columns = [np.repeat(np.array(unit.frames, dtype=np.int64), counts)]
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
        numbers = table[FRAME].to_numpy()
        ordered = (np.diff(numbers) >= 0).all() and ((numbers >= unit.first_frame) & (numbers < unit.last_frame)).all()
        return None if ordered else "holds rows of other frames"
