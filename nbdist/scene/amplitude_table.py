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

LARGEST_TABLE = 2**30
"""Cells of the largest table that is built (4 GiB in float32)."""


AT_ONCE = 2**18
"""Reflections that are put into a table at a time: what a table takes while it is built is the table."""


@dataclass(frozen=True)
class AmplitudeTable:
    """F in electrons over a box of Miller indices, border included; `values` (nh, nk, nl) is in the precision of the kernel.

    A table with one value stands for "every reflection has default_F".
    """

    values: NDArray[np.floating[Any]]
    lowest: tuple[int, int, int]

    @classmethod
    def of(cls, reflections: Reflections, precision: str = "float64") -> AmplitudeTable:
        """Build the table; a reflection listed twice keeps its last amplitude.

        Raises
        ------
        ExperimentError
            If the box of indices is too large to be a crystal's.
        """
        indices, amplitudes, default_F = reflections
        lowest, shape = _box(indices)
        with np.errstate(over="ignore"):  # an image of what the precision does not hold is refused
            values = np.full(shape, default_F, dtype=precision)
            for start in range(0, len(indices), AT_ONCE):
                some = slice(start, start + AT_ONCE)
                values[tuple((indices[some] - np.array(lowest)).T)] = amplitudes[some]
        return cls(values, lowest)


def amplitude_bytes(reflections: Reflections, precision: str) -> int:
    """Bytes of the table that `AmplitudeTable.of` would build, and of the reflections as a store holds them, which it is built of.

    Raises
    ------
    ExperimentError
        If the box of indices is too large to be a crystal's.
    """
    indices = np.dtype(np.int32).itemsize * reflections.indices.size
    return (
        indices + reflections.amplitudes.nbytes + math.prod(_box(reflections.indices)[1]) * np.dtype(precision).itemsize
    )


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
