"""Structure-factor amplitudes as a dense table, and how a (h, k, l) finds its value.

The table covers the box of the listed reflections with a border of one cell that holds `default_F`: an index is clamped into the
border and needs no other test to be answered right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbdist.errors import ExperimentError
from nbdist.experiment.amplitudes import Reflections

LARGEST_TABLE = 2**30
"""Cells of the largest table that is built (4 GiB in float32)."""


class AmplitudeTensors(NamedTuple):
    """The table on a device: F flat in the kernel's dtype, index bounds (6,) as floats, strides (3,) int32."""

    values: Tensor
    bounds: Tensor
    strides: Tensor


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

    def to(self, device: torch.device, dtype: torch.dtype) -> AmplitudeTensors:
        """Put the table on a device in the kernel's dtype."""
        low = np.array(self.lowest, dtype=np.float64)
        high = low + np.array(self.values.shape) - 1
        _, nk, nl = self.values.shape
        return AmplitudeTensors(
            torch.as_tensor(self.values.ravel()).to(device=device, dtype=dtype),
            torch.as_tensor(np.concatenate([low, high])).to(device=device, dtype=dtype),
            torch.tensor([nk * nl, nl, 1], dtype=torch.int32, device=device),
        )


def _flat_index(whole: Sequence[Tensor], bounds: Tensor, strides: Tensor) -> Tensor:
    index: Tensor | None = None
    for axis, value in enumerate(whole):
        inside = torch.minimum(torch.maximum(value, bounds[axis]), bounds[axis + 3]) - bounds[axis]
        term = inside.to(torch.int32) * strides[axis]
        index = term if index is None else index + term
    assert index is not None
    return index


def nearest(whole: Sequence[Tensor], table: AmplitudeTensors) -> Tensor:
    """F of the reflections at whole-number (h, k, l) tensors; default_F outside the table."""
    return table.values[_flat_index(whole, table.bounds, table.strides)]


def _cubic_weights(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lagrange weights of the points -1, 0, 1, 2 at 0 <= x < 1: the cubic through four values."""
    below, above, beyond = x + 1, x - 1, x - 2
    return (
        x * above * beyond * (-1 / 6),
        below * above * beyond * 0.5,
        below * x * beyond * -0.5,
        below * x * above * (1 / 6),
    )


def interpolated(whole: Sequence[Tensor], fractions: Sequence[Tensor], table: AmplitudeTensors) -> Tensor:
    """F between reflections by a tricubic polynomial through 4 x 4 x 4 of them (nanoBragg's polin3).

    Parameters
    ----------
    whole, fractions
        Nearest whole h, k, l and the signed distance to it, as three tensors each.

    Returns
    -------
    F; where the stencil floor(h) - 1 ... floor(h) + 2 touches the edge of the listed box, the nearest reflection's (nanoBragg
    keeps one reflection between the stencil and the edge).
    """
    corner, weights = [], []
    safe: Tensor | None = None
    for axis in range(3):
        step_down = (fractions[axis] < 0).to(whole[axis].dtype)
        first = whole[axis] - step_down - 1
        weights.append(_cubic_weights(fractions[axis] + step_down))
        # the table is the listed box and a border of one cell; nanoBragg leaves the box's outermost layer alone, too
        fits = (first >= table.bounds[axis] + 2) & (first + 3 <= table.bounds[axis + 3] - 2)
        safe = fits if safe is None else safe & fits
        corner.append(torch.minimum(first, table.bounds[axis + 3] - 3))
    assert safe is not None
    start = _flat_index(corner, table.bounds, table.strides)
    total: Tensor | None = None
    for i in range(4):
        for j in range(4):
            row: Tensor | None = None
            for k in range(4):
                offset = i * table.strides[0] + j * table.strides[1] + k * table.strides[2]
                term = weights[2][k] * table.values[start + offset]
                row = term if row is None else row + term
            assert row is not None
            term = weights[0][i] * weights[1][j] * row
            total = term if total is None else total + term
    assert total is not None
    return torch.where(safe, total, nearest(whole, table))
