"""Tables of a store: one Parquet object a unit with the rows of its frames, written and checked like a shard.

series.zarr/
  NAME/00000007.parquet   the rows of the frames of unit 7, by frame; `frame` is the first column

They are packed by pyarrow, which is imported when a table is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nbdist.errors import require_extra
from nbdist.frames.products import Products, TableProduct
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
        parquet(self._product.name)
        import pyarrow

        fields = [pyarrow.field(FRAME, pyarrow.int64(), nullable=False)]
        for column in self._product.columns:
            described = {"units": column.units, "long_name": column.long_name}
            kind = pyarrow.from_numpy_dtype(np.dtype(column.dtype))
            fields.append(pyarrow.field(column.name, kind, nullable=False, metadata=described))
        return pyarrow.schema(fields)

    def key(self, unit: int) -> str:
        """Key of the object with a unit's rows."""
        return f"{self._product.name}/{unit:08d}.parquet"

    def pack(self, unit: Unit, frames: Sequence[Products]) -> memoryview:
        """The object with the rows of a unit's frames."""
        pq = parquet(self._product.name)
        import pyarrow

        tables = [self._rows(number, frame) for number, frame in zip(unit.frames, frames, strict=True)]
        sink = pyarrow.BufferOutputStream()
        pq.write_table(pyarrow.concat_tables(tables), sink, compression="zstd")
        return memoryview(sink.getvalue()).cast("B")

    def _rows(self, number: int, frame: Products) -> pyarrow.Table:
        import pyarrow

        columns = self._product.rows(frame)
        values = [np.asarray(columns[column.name], column.dtype) for column in self._product.columns]
        return pyarrow.table([np.full(len(values[0]), number), *values], self.schema)

    def wrong(self, unit: Unit, content: bytes) -> str | None:
        """What is wrong with the rows of a unit's object, or None.

        Raises
        ------
        Exception
            Of pyarrow's many, if the bytes are not Parquet.
        """
        table = self.unpack(content)
        if not table.schema.equals(self.schema):
            return "has other columns than its table"
        numbers = table[FRAME].to_numpy()
        ordered = (np.diff(numbers) >= 0).all() and ((numbers >= unit.first_frame) & (numbers < unit.last_frame)).all()
        return None if ordered else "holds rows of other frames"

    def unpack(self, content: bytes) -> pyarrow.Table:
        """The rows of an object."""
        import pyarrow

        return parquet(self._product.name).ParquetFile(pyarrow.BufferReader(content)).read()
