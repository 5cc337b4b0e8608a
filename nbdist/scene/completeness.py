"""How many of the reflections that a detector reaches a list holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment.lattice import dual_vectors
from nbdist.formats.hkl import PACKING
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.specimen import Lattice
from nbdist.scene.symmetry import half_sphere

MATES_LOOKED_UP = 200_000
MOST_ROWS_COUNTED = 4_000_000
"""Rows of the reciprocal lattice beyond which its points are estimated by volume."""
MOST_POINTS_ASKED = 20_000_000
AT_ONCE = 2**18
"""Reflections that are looked at at a time."""


class Completeness(NamedTuple):
    """Reflections to a resolution, all of P1, without 000.

    Attributes
    ----------
    held, there
        Those that a list holds or that are equivalent to one that it holds, and those that the space group does not forbid.
    finest_per_A
        Of the list, wherever it ends.
    mates_missing
        Share of those held whose Friedel mates are not.
    completed
        Whether symmetry gives the whole of P1 that follows from the list; else it is used as it is.
    """

    held: int
    there: int
    finest_per_A: float
    mates_missing: float
    completed: bool = False

    @property
    def share(self) -> float:
        """Share of all that is held; 1 where there is nothing."""
        return self.held / self.there if self.there else 1.0

    @property
    def missing(self) -> int:
        """Those that the list lacks."""
        return max(0, self.there - self.held)


def completeness(lattice: Lattice, reflections: Reflections, d_A: float) -> Completeness:
    """How much of the reflections to a resolution (Angstrom) a list holds; of what was filled in, nothing counts."""
    reciprocal, indices, filled = dual_vectors(lattice.real_vectors_A), reflections.indices, reflections.filled
    inside, finest_per_A = np.empty(len(indices), dtype=bool), 0.0
    for start in range(0, len(indices), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        lengths = np.linalg.norm(indices[some] @ reciprocal, axis=1)
        if filled is not None:
            lengths[filled[some]] = 0
        inside[some] = (lengths > 0) & (lengths <= (1 + 1e-9) / d_A)
        finest_per_A = max(finest_per_A, float(lengths.max()))
    there = present_points(lattice, 1 / d_A)
    if filled is not None:  # each is listed once, and so is its mate
        return Completeness(int(inside.sum()), there, finest_per_A, 0.0, completed=True)
    listed = np.unique(indices[inside] @ PACKING)
    chosen = listed[:: -(-len(listed) // MATES_LOOKED_UP) or 1]
    missing = 1 - float(np.isin(-chosen, listed).mean()) if len(chosen) else 0.0
    return Completeness(len(listed), there, finest_per_A, missing)


def present_points(lattice: Lattice, radius_per_A: float) -> int:
    """Reflections of a lattice within a radius (1/Angstrom) that its space group does not forbid, without 000.

    Where there are too many to be asked one by one, those that its centring leaves of all lattice points are as good.
    """
    reciprocal = dual_vectors(lattice.real_vectors_A)
    points = lattice_points(reciprocal, radius_per_A)
    if lattice.symmetry.trivial:
        return points
    if points > MOST_POINTS_ASKED:
        return points // lattice.symmetry.centring
    return 2 * sum(int((~lattice.symmetry.absent(half)).sum()) for half in half_sphere(reciprocal, 1 / radius_per_A))


def lattice_points(reciprocal_per_A: NDArray[np.float64], radius_per_A: float) -> int:
    """Points of a reciprocal lattice (rows a*, b*, c*) within a radius of the origin, without it.

    They are counted row by row along c*; where there are too many rows, the sphere's volume over a cell's is as good.
    """
    h_limit, k_limit, _ = np.floor(np.linalg.norm(dual_vectors(reciprocal_per_A), axis=1) * radius_per_A).tolist()
    if (2 * h_limit + 1) * (2 * k_limit + 1) > MOST_ROWS_COUNTED:
        return int(4 / 3 * np.pi * radius_per_A**3 / abs(np.linalg.det(reciprocal_per_A)))
    h, k = np.arange(-h_limit, h_limit + 1), np.arange(-k_limit, k_limit + 1)
    rows = h[:, None, None] * reciprocal_per_A[0] + k[:, None] * reciprocal_per_A[1]
    c_squared = reciprocal_per_A[2] @ reciprocal_per_A[2]
    middle = -(rows @ reciprocal_per_A[2]) / c_squared
    half_squared = middle**2 - ((rows**2).sum(axis=-1) - radius_per_A**2) / c_squared
    meets = half_squared >= 0
    middle, half = middle[meets], np.sqrt(half_squared[meets])
    return int((np.floor(middle + half) - np.ceil(middle - half) + 1).sum()) - 1
