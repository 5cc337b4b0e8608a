"""How a (h, k, l) finds its amplitude in a table, and between the reflections of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nbdist.scene.amplitude_table import AmplitudeTable


class AmplitudeTensors(NamedTuple):
    """The table on a device: F flat in the kernel's dtype, index bounds (6,) as floats, strides (3,) int32."""

    values: Tensor
    bounds: Tensor
    strides: Tensor


def on_device(table: AmplitudeTable, device: torch.device) -> list[AmplitudeTensors]:
    """Put the tables of a lattice on a device in their own dtype; on a CPU they are not copied."""
    low = np.array(table.lowest, dtype=np.float64)
    _, nh, nk, nl = table.values.shape
    dtype = torch.float64 if table.values.dtype == np.float64 else torch.float32
    bounds = torch.as_tensor(np.concatenate([low, low + np.array([nh, nk, nl]) - 1])).to(device=device, dtype=dtype)
    strides = torch.tensor([nk * nl, nl, 1], dtype=torch.int32, device=device)
    return [AmplitudeTensors(torch.from_numpy(values.ravel()).to(device), bounds, strides) for values in table.values]


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
