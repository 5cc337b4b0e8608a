"""Structure-factor amplitudes as a dense table over a box of Miller indices.

The table covers the box of the listed reflections with a border of one cell that holds `default_F`: an index is clamped into the
border and needs no other test to be answered right (see `amplitudes`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.symmetry import LARGEST_TABLE

AT_ONCE = 2**18
"""Reflections that are put into a table at a time: what a table takes while it is built is the table."""


@dataclass(frozen=True, eq=False)
class AmplitudeTable:
    """F in electrons over a box of Miller indices, border included; `values` (tables, nh, nk, nl) is in the precision of the kernel.

    A table with one value stands for "every reflection has default_F". `table_of_source` says which table each source sees, int64
    (sources,); None where there is one table.
    """

    values: NDArray[np.floating[Any]]
    lowest: tuple[int, int, int]
    table_of_source: NDArray[np.int64] | None = None

    @property
    def uniform(self) -> bool:
        """Whether all reflections have one amplitude."""
        return self.values[0].size == 1

    def of_source(self, source: int) -> int:
        """Number of the table that a source sees."""
        return 0 if self.table_of_source is None else int(self.table_of_source[source])

    @classmethod
    def of(cls, reflections: Reflections, precision: str = "float64") -> AmplitudeTable:
        """Build the table; a reflection listed twice keeps its last amplitude.

        Raises
        ------
        ExperimentError
            If the box of indices is too large to be a crystal's.
        """
        indices, amplitudes = reflections.indices, np.atleast_2d(reflections.amplitudes)
        lowest, shape = _box(indices)
        with np.errstate(over="ignore"):  # an image of what the precision does not hold is refused
            values = np.full((len(amplitudes), *shape), reflections.default_F, dtype=precision)
            for start in range(0, len(indices), AT_ONCE):
                some = slice(start, start + AT_ONCE)
                h, k, l = (indices[some] - np.array(lowest)).T
                for table, listed in zip(values, amplitudes, strict=True):
                    table[h, k, l] = listed[some]
        return cls(values, lowest, reflections.table_of_source)


def amplitude_bytes(reflections: Reflections, precision: str) -> int:
    """Bytes of the table that `AmplitudeTable.of` would build, and of the reflections as a store holds them, which it is built of.

    Raises
    ------
    ExperimentError
        If the box of indices is too large to be a crystal's.
    """
    listed = np.dtype(np.int32).itemsize * reflections.indices.size + reflections.amplitudes.nbytes
    return listed + table_cells(reflections) * np.dtype(precision).itemsize


def table_cells(reflections: Reflections) -> int:
    """Cells of the tables that `AmplitudeTable.of` would build; raises `ExperimentError` if the box of indices is too large."""
    return len(np.atleast_2d(reflections.amplitudes)) * math.prod(_box(reflections.indices)[1])


def _box(indices: NDArray[np.integer[Any]]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Lowest indices and shape of the table of some reflections, border included."""
    if len(indices) == 0:
        return (0, 0, 0), (1, 1, 1)
    low, high = indices.min(axis=0).astype(int) - 1, indices.max(axis=0).astype(int) + 1
    high = np.maximum(high, low + 3)  # room for one stencil of the interpolation
    h, k, l = (int(n) for n in high - low + 1)
    if h * k * l > LARGEST_TABLE:
        raise ExperimentError(f"structure_factors: a table of {(h, k, l)} reflections is too large")
    return (int(low[0]), int(low[1]), int(low[2])), (h, k, l)
