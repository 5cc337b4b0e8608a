"""Structure-factor amplitudes as a dense table over a box of Miller indices.

The table covers the box of the listed reflections with a border of one cell that holds `default_F`: an index is clamped into the
border and needs no other test to be answered right (see `amplitudes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.amplitudes import Reflections

LARGEST_TABLE = 2**30
"""Cells of the largest table that is built (4 GiB in float32)."""


@dataclass(frozen=True)
class AmplitudeTable:
    """F in electrons over a box of Miller indices, border included; `values` is float64 (nh, nk, nl).

    A table with one value stands for "every reflection has default_F".
    """

    values: NDArray[np.float64]
    lowest: tuple[int, int, int]

    @classmethod
    def from_list(cls, indices: NDArray[np.int64], amplitudes: NDArray[np.float64], default_F: float) -> AmplitudeTable:
        """Build the table from listed reflections (n, 3), (n,); a reflection listed twice keeps its last amplitude.

        Raises
        ------
        ExperimentError
            If the box of indices is too large to be a crystal's.
        """
        low, high = indices.min(axis=0) - 1, indices.max(axis=0) + 1
        high = np.maximum(high, low + 3)  # room for one stencil of the interpolation
        shape = tuple(int(n) for n in high - low + 1)
        if int(np.prod(np.array(shape, dtype=object))) > LARGEST_TABLE:
            raise ExperimentError(f"structure_factors: a table of {shape} reflections is too large")
        values = np.full(shape, default_F, dtype=np.float64)
        values[tuple((indices - low).T)] = amplitudes
        return cls(values, (int(low[0]), int(low[1]), int(low[2])))

    @classmethod
    def of(cls, reflections: Reflections) -> AmplitudeTable:
        """Build the table of `load_reflections`."""
        if len(reflections.indices) == 0:
            return cls.uniform(reflections.default_F)
        return cls.from_list(*reflections)

    @classmethod
    def uniform(cls, amplitude: float) -> AmplitudeTable:
        """The same amplitude for every reflection."""
        return cls(np.full((1, 1, 1), amplitude, dtype=np.float64), (0, 0, 0))

    @property
    def nbytes(self) -> int:
        """Bytes of the float64 table."""
        return int(self.values.nbytes)
