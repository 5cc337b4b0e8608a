"""Cells, reciprocal vectors and rotations, in float64 and Angstrom.

Rows of a (3, 3) array are the vectors a, b, c (or a*, b*, c*) in lab coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbdist.formats.description import rotation

Array = NDArray[np.float64]


CELL_TOLERANCE, ANGLE_TOLERANCE_DEG = 0.005, 0.5
"""How far a cell may be from another that is meant to be the same: share of an axis, and degrees."""


class Cell(NamedTuple):
    """A unit cell: axes in Angstrom, angles in degrees."""

    a: float
    b: float
    c: float
    alpha: float
    beta: float
    gamma: float

    def __str__(self) -> str:
        return " ".join(f"{number:.5g}" for number in self)

    def apart_from(self, other: Cell) -> tuple[float, float]:
        """Largest relative difference of an axis from another cell's, and largest difference of an angle in degrees."""
        axes = np.abs(np.array(self[:3]) / np.array(other[:3]) - 1)
        return float(axes.max()), float(np.abs(np.array(self[3:]) - np.array(other[3:])).max())

    def is_meant_by(self, other: Cell) -> bool:
        """Whether another cell is so near that it is meant to be the same."""
        axes, angles_deg = self.apart_from(other)
        return axes <= CELL_TOLERANCE and angles_deg <= ANGLE_TOLERANCE_DEG


def cell_volume_A3(cell: Sequence[float]) -> float:
    """Volume of a cell (Angstrom, degrees) in cubic Angstrom.

    Raises
    ------
    ValueError
        If the three angles cannot belong to a cell.
    """
    a, b, c, *angles = cell
    if not all(0 < angle < 180 for angle in angles):
        raise ValueError(f"angles {angles} must lie between 0 and 180 degrees")
    ca, cb, cg = np.cos(np.deg2rad(angles))
    squared = 1 - ca * ca - cb * cb - cg * cg + 2 * ca * cb * cg
    if squared <= 1e-12:
        raise ValueError(f"angles {angles} enclose no volume")
    return float(a * b * c * np.sqrt(squared))


def reciprocal_from_cell(cell: Sequence[float]) -> Array:
    """Reciprocal vectors of a cell in the usual setting: a* along x, b* in the x-y plane (Busing & Levy, Acta Cryst. 22 (1967) 457).

    Parameters
    ----------
    cell
        a, b, c in Angstrom, alpha, beta, gamma in degrees.

    Returns
    -------
    float64 array (3, 3), rows a*, b*, c* in 1/Angstrom.
    """
    a, b, c, *angles = cell
    volume = cell_volume_A3(cell)
    ca, cb, cg = np.cos(np.deg2rad(angles))
    sa, sb, sg = np.sin(np.deg2rad(angles))
    a_star, b_star, c_star = b * c * sa / volume, c * a * sb / volume, a * b * sg / volume
    cos_gamma_star = (ca * cb - cg) / (sa * sb)
    cos_beta_star = (cg * ca - cb) / (sg * sa)
    sin_gamma_star = np.sqrt(1 - cos_gamma_star**2)
    c_star_z = 1 / c
    c_star_x = c_star * cos_beta_star
    cos_alpha_star = (cb * cg - ca) / (sb * sg)
    c_star_y = c_star * (cos_alpha_star - cos_beta_star * cos_gamma_star) / sin_gamma_star
    return np.array(
        [
            [a_star, 0.0, 0.0],
            [b_star * cos_gamma_star, b_star * sin_gamma_star, 0.0],
            [c_star_x, c_star_y, c_star_z],
        ]
    )


def dual_vectors(vectors: Array) -> Array:
    """Real-space rows from reciprocal rows, or the other way round: a = V (b* x c*), cyclic."""
    a, b, c = vectors
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / np.dot(a, np.cross(b, c))


def cell_from_real(vectors: Array) -> Cell:
    """Axes (Angstrom) and angles (degrees) of real-space rows a, b, c."""
    lengths = np.linalg.norm(vectors, axis=1)
    a, b, c = vectors / lengths[:, None]
    angles = np.rad2deg(np.arccos(np.clip([b @ c, c @ a, a @ b], -1, 1)))
    return Cell(*map(float, lengths), *map(float, angles))


def axis_rotation(axis: ArrayLike, angle_rad: float) -> Array:
    """Right-handed rotation matrix about `axis` (any length), float64 (3, 3)."""
    return rotation(np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis), angle_rad)


def turned(vectors: Array, turns_rad: Array) -> Array:
    """Vectors (..., 3) turned by rotation vectors (..., 3): right-handed, about each by its length in radians (Rodrigues' formula)."""
    angles = np.linalg.norm(turns_rad, axis=-1, keepdims=True)
    across = np.cross(turns_rad, vectors)
    # sin(a)/a, and (1 - cos(a))/a^2 = (sin(a/2)/(a/2))^2 / 2
    first, second = np.sinc(angles / np.pi), np.sinc(angles / (2 * np.pi)) ** 2 / 2
    return np.asarray(vectors + first * across + second * np.cross(turns_rad, across))


def xyz_rotation(angles_deg: Sequence[float]) -> Array:
    """Rotation about lab x, then lab y, then lab z, by angles in degrees."""
    x, y, z = np.deg2rad(np.asarray(angles_deg, dtype=np.float64))
    return axis_rotation((0, 0, 1), z) @ axis_rotation((0, 1, 0), y) @ axis_rotation((1, 0, 0), x)
