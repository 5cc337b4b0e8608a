"""What a shape makes of a spot: what it holds, and how far it reaches, beyond which its terms are exactly 0 in floating point."""

from __future__ import annotations

import math

from nbdist.experiment.crystal import Shape

TOPHAT_RADIUS_SQUARED, GAUSS_WIDTH = 0.3969, 0.63
"""nanoBragg's: a top hat ends at r = 0.63, where a Gaussian is exp(-0.63)."""
ROUND_SCALE = 0.723601254558268
"""nanoBragg's factor that gives a sphere of N cells the volume of its brick."""
PEAK_INTEGRALS: dict[Shape, float] = {
    "square": 1.0,
    "round": 1.0,
    "gauss": (0.315 * math.pi) ** 1.5,
    "tophat": 4 / 3 * math.pi * 0.63**3,
}
"""See `peak_integral`, at a fudge of 1."""
EXPONENTS = {"float32": (-126, -149), "float64": (-1022, -1074)}
"""Exponents of 2 of the smallest normal number and of the smallest of all."""


def peak_integral(shape: Shape, fudge: float) -> float:
    """Integral of |F_latt|^2 over h, k and l about a reflection, for each of the crystal's cells; a square knows no fudge."""
    return PEAK_INTEGRALS[shape] * (1.0 if shape == "square" else fudge**-1.5)


def spot_limit(shape: Shape, cells_in_all: float, largest_F: float, precision: str) -> float:
    """fudge r^2 from where on (F_cell F_latt)^2 is exactly 0, however it is rounded; infinite for shapes with terms everywhere.

    A top hat ends at its radius. Of a Gaussian, the square of F_cell N exp(-fudge r^2/0.63) rounds to 0 below half of the smallest
    number there is, and the kernels' exponential is 0 where it would be no normal number.

    Parameters
    ----------
    largest_F
        No amplitude is larger, electrons.
    precision
        "float32" or "float64".
    """
    if shape == "tophat":
        return TOPHAT_RADIUS_SQUARED
    if shape != "gauss":
        return math.inf
    if largest_F == 0:
        return 0.0
    normal, smallest = EXPONENTS[precision]
    exponent = max(normal, (smallest - 1) / 2 - math.log2(cells_in_all) - math.log2(largest_F))
    # the exponential and the products are good to 1e-6, an exponent of float32 to 1e-4
    return max(0.0, (1e-3 - exponent) * math.log(2) * GAUSS_WIDTH)
