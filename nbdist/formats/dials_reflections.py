"""DIALS' table of reflections, `.refl`: named columns in MessagePack.

The file is an array of three: the text `dials::af::reflection_table`, the version 1, and a map of `identifiers` (the experiment that
each value of the column `id` means), `nrows` and `data`. A column of `data` is its type by DIALS' name, the number of rows, and their
values in one byte string, little-endian, a row's next to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

KINDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "bool": ("|b1", ()),
    "int": ("<i4", ()),
    "std::size_t": ("<u8", ()),
    "double": ("<f8", ()),
    "int6": ("<i4", (6,)),
    "vec3<double>": ("<f8", (3,)),
    "cctbx::miller::index<>": ("<i4", (3,)),
}
"""NumPy dtype and shape of a row of each type."""
COLUMNS = {
    "miller_index": "cctbx::miller::index<>",
    "id": "int",
    "imageset_id": "int",
    "panel": "std::size_t",
    "flags": "std::size_t",
    "entering": "bool",
    "d": "double",
    "lp": "double",
    "zeta": "double",
    "partiality": "double",
    "s1": "vec3<double>",
    "xyzcal.px": "vec3<double>",
    "xyzcal.mm": "vec3<double>",
    "xyzobs.px.value": "vec3<double>",
    "xyzobs.px.variance": "vec3<double>",
    "xyzobs.mm.value": "vec3<double>",
    "xyzobs.mm.variance": "vec3<double>",
    "bbox": "int6",
    "intensity.sum.value": "double",
    "intensity.sum.variance": "double",
    "background.sum.value": "double",
    "background.sum.variance": "double",
}
"""Types of the columns that this module writes, by DIALS' names for them."""


class Flag(IntFlag):
    """What DIALS knows of a reflection: bits of the column `flags`."""

    PREDICTED = 1
    OBSERVED = 2
    INDEXED = 4
    STRONG = 32
    INTEGRATED_SUM = 256
    FOREGROUND_INCLUDES_BAD_PIXELS = 16384


def reflection_table(columns: Mapping[str, NDArray[Any]], identifiers: Mapping[int, str]) -> bytes:
    """Content of a `.refl` file.

    Parameters
    ----------
    columns
        Some of `COLUMNS`, (row,) or (row, n) as their types have it.
    identifiers
        Identifier of the experiment that each value of `id` means.

    Raises
    ------
    ValueError
        If columns differ in their number of rows.
    """
    rows = {len(values) for values in columns.values()}
    if len(rows) != 1:
        raise ValueError(f"columns of {sorted(rows)} rows")
    (count,) = rows
    data = {}
    for name, values in columns.items():
        dtype, shape = KINDS[COLUMNS[name]]
        stored = np.ascontiguousarray(values, dtype=dtype).reshape(count, *shape)
        data[name] = [COLUMNS[name], [count, stored.tobytes()]]
    content = {"identifiers": dict(identifiers), "nrows": count, "data": data}
    return bytes(msgpack.packb(["dials::af::reflection_table", 1, content]))
