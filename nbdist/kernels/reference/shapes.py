"""Lattice transforms: how a small crystal's shape spreads its Bragg spots.

Every function takes the distances of h, k, l to the nearest whole numbers and returns F_latt^2; `cells` are the numbers of unit
cells along a, b, c, but for `isotropic`. They keep the dtype that they are given. Only the fraction of h enters: its whole part
changes nothing but a sign that the square removes. A distance is given as two parts, one on a grid of 2^-11 and a small rest, so that
float32 knows the phase N h of a crystal with thousands of cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nbdist.scene.spots import GAUSS_WIDTH, ROUND_SCALE, TOPHAT_RADIUS_SQUARED

# sin(pi x)/x as a polynomial in x^2 on |x| <= 1/2, least maximal relative error (Remez): 5e-9 and 3e-19.
_SIN_PI_FLOAT32 = (3.1415926368954115, -5.167709684799477, 2.5500697263299961, -0.5982421263420937, 0.07756038679079722)
_SIN_PI_FLOAT64 = (
    3.1415926535897932,
    -5.1677127800499695,
    2.5501640398772939,
    -0.59926452931873826,
    0.082145886569893039,
    -0.0073704304787646296,
    0.00046629968877916673,
    -2.190318542954864e-05,
    7.6947273844559142e-07,
)
Distances = Sequence[tuple[Tensor, Tensor]]
"""Distance to the nearest whole h, k, l: for each axis a part on the grid and the rest; the distance is their sum."""


def _sin_pi(x: Tensor, offset: Tensor | float) -> Tensor:
    """sin(pi x) + offset for |x| <= 1/2."""
    coefficients = _SIN_PI_FLOAT64 if x.dtype == torch.float64 else _SIN_PI_FLOAT32
    squared = x * x
    value = squared * coefficients[-1] + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        value = value * squared + coefficient
    return x * value + offset


def zero_offset(dtype: torch.dtype) -> float:
    """What moves the denominator of a grating off 0 without changing any other value."""
    return 1e-60 if dtype == torch.float64 else 1e-12


def grating(coarse: Tensor, rest: Tensor, cells: Tensor, offset: float) -> tuple[Tensor, Tensor, Tensor]:
    """One axis of a brick: sin(pi N d) up to its sign, sin(pi d), and the half turns that the sign comes from.

    d = coarse + rest is the distance to the nearest whole index; sin(pi N d) = (-1)^turns times the first.
    """
    distance = coarse + rest
    scaled = cells * distance
    turns = torch.round(scaled)
    # in the peak the quotient needs the phase to the last digit of the distance; beyond, to the last digit of a turn
    phase = torch.where(turns == 0, scaled, cells * rest + (cells * coarse - turns))
    return _sin_pi(phase, cells * offset), _sin_pi(distance, offset), turns


def square(distances: Distances, cells: Tensor) -> Tensor:
    """F_latt^2 of a brick: the product over the axes of (sin(pi N h)/sin(pi h))^2; N must be whole, at most 16384 in float32.

    One division serves the three axes. Numerator and denominator of an axis are moved off 0 in their limiting ratio N, so that the
    quotient needs no test at h = 0. N times the gridded part is exact, and so is what is left of it below one turn.
    """
    offset = zero_offset(distances[0][0].dtype)
    above: Tensor | None = None
    below: Tensor | None = None
    for axis, (coarse, rest) in enumerate(distances):
        upper, lower, _ = grating(coarse, rest, cells[axis], offset)
        above = upper if above is None else above * upper
        below = lower if below is None else below * lower
    assert above is not None
    assert below is not None
    ratio = above / below
    return ratio * ratio


def _radius_squared(distances: Distances, cells: Tensor) -> Tensor:
    a, b, c = ((coarse + rest) * cells[axis] for axis, (coarse, rest) in enumerate(distances))
    return a * a + b * b + c * c


def _cell_count(cells: Tensor) -> Tensor:
    return cells[0] * cells[1] * cells[2]


def round_amplitude(distances: Distances, cells: Tensor, fudge: Tensor) -> Tensor:
    """F_latt of a sphere: N 0.7236 3 (sin x / x - cos x)/x^2 with x = pi sqrt(fudge r^2)."""
    squared = (math.pi * math.pi) * fudge * _radius_squared(distances, cells)
    x = torch.sqrt(torch.clamp_min(squared, 1e-30))
    far = 3 * (torch.sin(x) / x - torch.cos(x)) / torch.clamp_min(squared, 1e-30)
    # below x = 1 the difference cancels; its series: 3 sum (-1)^n (2n+2) x^(2n) / (2n+3)!
    near = torch.full_like(squared, 0.0)
    for n in range(8, -1, -1):
        near = near * squared + (-1.0) ** n * 3 * (2 * n + 2) / math.factorial(2 * n + 3)
    return _cell_count(cells) * ROUND_SCALE * torch.where(squared < 1, near, far)


def round_(distances: Distances, cells: Tensor, fudge: Tensor) -> Tensor:
    """F_latt^2 of a sphere."""
    amplitude = round_amplitude(distances, cells, fudge)
    return amplitude * amplitude


def gauss(distances: Distances, cells: Tensor, fudge: Tensor) -> Tensor:
    """F_latt^2 = (N exp(-fudge r^2 / 0.63))^2."""
    count = _cell_count(cells)
    return count * count * torch.exp(_radius_squared(distances, cells) * (fudge * (-2 / GAUSS_WIDTH)))


def isotropic(distances: Distances, cells: Tensor, fudge: Tensor) -> Tensor:
    """F_latt^2 = (N exp(-fudge r^2 / 0.63))^2 with r = |K dh|, N the product of K's diagonal, for `cells` = K (3, 3), upper triangular.

    K^T K = L^2 G*, G* the reciprocal metric, makes r = L |q - G| and N = L^3/V: a crystal of size L in all directions.
    """
    along = [coarse + rest for coarse, rest in distances]
    rows = [sum(cells[row, axis] * along[axis] for axis in range(row, 3)) for row in range(3)]
    count = cells[0, 0] * cells[1, 1] * cells[2, 2]
    r2 = rows[0] * rows[0] + rows[1] * rows[1] + rows[2] * rows[2]
    return count * count * torch.exp(r2 * (fudge * (-2 / GAUSS_WIDTH)))


def tophat(distances: Distances, cells: Tensor, fudge: Tensor) -> Tensor:
    """F_latt^2 = N^2 where fudge r^2 < 0.3969, else 0."""
    count = _cell_count(cells)
    inside = _radius_squared(distances, cells) * fudge < TOPHAT_RADIUS_SQUARED
    return torch.where(inside, count * count, torch.zeros_like(count))


def lattice_factor(shape: str, distances: Distances, cells: Tensor, fudge: Tensor) -> Tensor:
    """F_latt^2 for a shape by name: square, round, gauss, tophat or isotropic."""
    if shape == "square":
        return square(distances, cells)
    return {"round": round_, "gauss": gauss, "tophat": tophat, "isotropic": isotropic}[shape](distances, cells, fudge)
