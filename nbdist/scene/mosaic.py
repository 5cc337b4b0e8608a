"""The mosaic domains that a sum takes: those that nanoBragg draws, and points of a normal distribution.

nanoBragg's are a spherical cap of rotations from a portable generator, in single precision: Park and Miller's minimal standard with
a Bays-Durham shuffle of 32 (Press et al., Numerical Recipes in C, section 7.1). It is written out here because the domains of a seed
are part of the physics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.normal_points import even_sequence, normal_points

Array = NDArray[np.float64]
_MULTIPLIER, _MODULUS = 16807, 2147483647
_TABLE = 32
_LARGEST = np.float32(1.0 - 1.2e-7)


def uniform_deviates(seed: int) -> Iterator[float]:
    """Yield nanoBragg's single-precision uniform deviates in (0, 1) for a seed (its sign is of no account, 0 counts as 1)."""
    state = abs(seed) % _MODULUS or 1
    table = [0] * _TABLE
    for position in range(_TABLE + 7, -1, -1):
        state = _MULTIPLIER * state % _MODULUS
        if position < _TABLE:
            table[position] = state
    shuffled = table[0]
    divisor = 1 + (_MODULUS - 1) // _TABLE
    while True:
        state = _MULTIPLIER * state % _MODULUS
        slot = shuffled // divisor
        shuffled, table[slot] = table[slot], state
        yield float(min(np.float32(shuffled * (1.0 / _MODULUS)), _LARGEST))


def cap_rotation(spread_rad: float, deviates: Iterator[float]) -> Array:
    """One rotation matrix (3, 3) of a spherical cap of radius `spread_rad`, from the next three deviates."""
    r1, r2, r3 = (2.0 * next(deviates) - 1.0 for _ in range(3))
    radius = np.sqrt(1.0 - r2 * r2)
    x, y, z = radius * np.sin(np.pi * r1), radius * np.cos(np.pi * r1), r2
    angle = float(np.float32(spread_rad) * np.float32(1.0 - r3 * r3) ** np.float32(1.0 / 3.0))
    cosine, sine = np.cos(angle), np.sin(angle)
    versine = 1.0 - cosine
    return np.array(
        [
            [cosine + versine * x * x, versine * x * y - sine * z, versine * x * z + sine * y],
            [versine * x * y + sine * z, cosine + versine * y * y, versine * y * z - sine * x],
            [versine * x * z - sine * y, versine * y * z + sine * x, cosine + versine * z * z],
        ]
    )


def mosaic_rotations(spread_deg: float, domains: int, seed: int) -> Array:
    """Rotation matrices of the mosaic domains, float64 (domains, 3, 3); domain 0 is the identity.

    Source: nanoBragg's mosaic_rotation_umat; drawn on the CPU, so the same on every device.
    """
    deviates = uniform_deviates(seed)
    rotations = np.empty((domains, 3, 3))
    for rotation in rotations:
        rotation[...] = cap_rotation(np.deg2rad(spread_deg), deviates)
    rotations[0] = np.eye(3)
    return rotations


def small_turns(rotations: Array) -> Array:
    """Rotation vectors (n, 3) in radians of rotations (n, 3, 3) by small angles."""
    return np.asarray((rotations[:, [2, 0, 1], [1, 2, 0]] - rotations[:, [1, 2, 0], [2, 0, 1]]) / 2)


def crystal_axes(real_vectors_A: Array) -> Array:
    """Unit vectors x, y, z fixed to a crystal, rows of (3, 3): x along a, z along c* (that is a x b), y = z x x.

    Parameters
    ----------
    real_vectors_A
        Rows a, b, c (3, 3).
    """
    a, b, _ = real_vectors_A
    x, normal = a / np.linalg.norm(a), np.cross(a, b)
    z = normal / np.linalg.norm(normal)
    return np.stack([x, np.cross(z, x), z])


@dataclass(frozen=True, eq=False)
class NormalDomains:
    """Mosaic domains at points of normal rotation vectors w about axes fixed to the crystal, other ones at every phi step.

    As the steps' points follow on one another in one even sequence, phi and w are sampled together: a spot that some steps see
    is as smooth as with so many times the domains.

    Attributes
    ----------
    count
        Domains of a phi step.
    sigma_rad
        Root mean square of w about each axis (3,), radians.
    axes
        The axes, unit vectors (3, 3), in the orientation at phi 0.
    seed
        Of the points (see `even_sequence`).
    """

    count: int
    sigma_rad: Array
    axes: Array
    seed: int

    def turns_rad(self, step: int) -> Array:
        """Rotation vectors w (count, 3) at a phi step of a frame; exp(w) turns the crystal before the spindle does."""
        points = normal_points(even_sequence(self.count, 3, self.seed, first=step * self.count))
        return np.einsum("ni,ij->nj", points, self.sigma_rad[:, None] * self.axes)
