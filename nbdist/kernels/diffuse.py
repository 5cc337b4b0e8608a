"""What the diffuse scattering of a lattice is computed from: the halos of its reflections, and what all far ones add up to.

A halo falls off with the fourth power of the distance only: half of what a pixel gets may be from reflections that are many cells away. So
the halos of the eight reflections about a point are added as they are, and what all others give is interpolated between its values at
these eight, which come from one convolution of all F^2. As it is convex, a trilinear interpolation alone would be too large: it is
multiplied with what corrects it in a crystal whose F are all the same. There it is right to 1 %, whatever the correlation length; where F^2
vary as Wilson's do, the error is 2 % of the mean or less (rms), and 4 % where the correlation reaches five times as many cells along one
axis as along another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.amplitude_table import AmplitudeTable, table_cells
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.diffuse import Disorder, Nodes
from nbdist.scene.scene import Scene

Array = NDArray[np.float64]

CORNERS = np.array(list(product((0, 1), repeat=3)))
"""Of a cell of the reciprocal lattice, (8, 3)."""
FADED = 40.0
"""Terms of a sum are left out where they are below exp(-40) of the first."""
CONVOLUTION_BYTES = 3 * 2 * 8
"""Of a cell of the table while the halos are added up: three arrays over its box and the room beside it, in double."""
ROOM = 0.25
"""Beside the box of a table, of its side: reflections at an edge are no nearer than that to others at the opposite one."""
LEAST_ROOM = 16
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def halo_bytes(scene: Scene, reflections: Sequence[Reflections]) -> int:
    """Expected bytes of the halos of a scene's lattices, and of what they are added up in."""
    total = largest = 0
    for lattice, its in zip(scene.specimen.lattices, reflections, strict=True):
        if lattice.disorder is not None and lattice.disorder.halo is not None:
            cells = table_cells(its)
            total += cells * np.dtype(scene.instrument.precision).itemsize
            largest = max(largest, cells // len(np.atleast_2d(its.amplitudes)))
    return total + CONVOLUTION_BYTES * largest


@dataclass(frozen=True, eq=False)
class Halos:
    """The numbers of a lattice's diffuse scattering.

    Attributes
    ----------
    disorder
        Displacements and correlation.
    table
        Amplitudes.
    far
        At each reflection of the tables what all others add, in units of F^2; None where displacements are not correlated, and F^2 itself
        is interpolated.
    peak
        Of a halo, in units of F^2: its integral over a cell of reciprocal space, which has a volume of 1, is 1.
    between
        What a halo at the second of two corners of a cell is at the first (8, 8); 0 at itself.
    correction
        Coefficients (3, 3, 3) of x^i y^j z^k, x the fraction of h above a whole number, of what multiplies the trilinear interpolation.
    """

    disorder: Disorder
    table: AmplitudeTable
    far: NDArray[np.floating[Any]] | None
    peak: float
    between: Array
    correction: Array

    @classmethod
    def of(cls, disorder: Disorder, table: AmplitudeTable) -> Halos:
        """Add up the halos of a table of amplitudes."""
        if disorder.halo is None:
            constant = np.zeros((3, 3, 3))
            constant[0, 0, 0] = 1
            return cls(disorder, table, None, 0.0, np.zeros((8, 8)), constant)
        between = halo(CORNERS[:, None] - CORNERS, disorder.halo)
        np.fill_diagonal(between, 0)
        return cls(
            disorder,
            table,
            np.stack([_far(values, disorder.halo) for values in table.values]),
            float(halo(np.zeros(3), disorder.halo)),
            between,
            _correction(disorder.halo),
        )


class Exposed(NamedTuple):
    """A lattice as a backend prepared its halos, and how it is exposed in a frame.

    Attributes
    ----------
    prepared
        What the backend made of its `Halos`.
    share
        What multiplies it.
    real
        Rows a, b, c at each phi of the nodes (n, 3, 3), Angstrom.
    nodes
        Their weights, and where in a pixel.
    """

    prepared: Any
    share: float
    real: Array
    nodes: Nodes


def halo(index: Array, width: Array) -> Array:
    """The halo of a reflection at distances (..., 3) in h, k, l: 8 pi |gamma| V* / (1 + 4 pi^2 |gamma dq|^2)^2, of integral 1.

    Parameters
    ----------
    width
        P (3, 3), as `Disorder.halo`; |gamma| V* is |P| / (2 pi)^3.
    """
    squared = np.square(index @ width.T).sum(axis=-1)
    return np.asarray(np.linalg.det(width) / np.pi**2 / (1 + squared) ** 2)


def halo_sum(places: Array, width: Array) -> Array:
    """Sum of the halos of all whole numbers at places (n, 3), float64 (n,); its mean over a cell is 1.

    A sum over the reciprocal lattice and one over the direct lattice, each of terms that fade quickly (P. P. Ewald, Ann. Phys. 369 (1921)
    253): 1 / A^2 is the integral of t exp(-t A) over t from 0, and a lattice sum of Gaussians is one of Gaussians.
    """
    split = min(np.pi / np.linalg.det(width) ** (2 / 3), FADED)
    near = _whole_numbers(math.sqrt(FADED / split), width)
    above = 1 + np.square((places[:, None] - near) @ width.T).sum(axis=-1)
    total = (np.linalg.det(width) / np.pi**2 * np.exp(-split * above) * (1 + split * above) / above**2).sum(axis=1)
    root = math.sqrt(split)
    inverse = np.asarray(np.linalg.inv(width).T, dtype=np.float64)
    direct = _whole_numbers((math.sqrt(FADED) * root + split) / np.pi, inverse)
    distance = np.pi * np.linalg.norm(direct @ inverse.T, axis=1)
    waves = np.exp(-2 * distance) * _erfc(distance / root - root) - np.exp(2 * distance) * _erfc(distance / root + root)
    return np.asarray(total + 0.5 * np.cos(2 * np.pi * places @ direct.T) @ waves)


def _whole_numbers(radius: float, scale: Array) -> Array:
    """All n (m, 3) with |scale (n - x)| <= radius for an x between 0 and 1, and others."""
    most = np.floor(radius * np.linalg.norm(np.linalg.inv(scale), axis=1) + 1).astype(int)
    return np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)


def _far(amplitudes: NDArray[np.floating[Any]], width: Array) -> NDArray[np.floating[Any]]:
    """What the halos of all other reflections are at each of a table (nh, nk, nl), in its precision."""
    default = float(amplitudes[0, 0, 0]) ** 2  # the border's
    elsewhere = default * float(halo_sum(np.zeros((1, 3)), width)[0] - halo(np.zeros(3), width))
    far = np.full(amplitudes.shape, elsewhere, dtype=amplitudes.dtype)
    if amplitudes.size == 1:
        return far
    sizes = [_factors_of_2_3_5(min(2 * n - 1, n + max(LEAST_ROOM, int(ROOM * n)))) for n in amplitudes.shape]
    offsets = [np.concatenate([np.arange(-(-n // 2)), np.arange(-(n // 2), 0)]).astype(float) for n in sizes]
    spread = np.empty(sizes, dtype=amplitudes.dtype)
    for plane, h in zip(spread, offsets[0], strict=True):
        across = np.stack(np.broadcast_arrays(h, offsets[1][:, None], offsets[2]), axis=-1)
        plane[...] = halo(across, width)
    spread[0, 0, 0] = 0
    axes = (0, 1, 2)
    transformed = np.fft.rfftn(spread, axes=axes)
    del spread
    transformed *= np.fft.rfftn(np.square(amplitudes) - amplitudes.dtype.type(default), sizes, axes=axes)
    inner = tuple(
        slice(1, n - 1) for n in amplitudes.shape
    )  # the border stands for all that is beyond, where nothing is listed
    far[inner] += np.fft.irfftn(transformed, sizes, axes=axes)[inner]
    return np.maximum(far, 0, out=far)


def _factors_of_2_3_5(least: int) -> int:
    """The smallest number from there on without other prime factors: of such lengths transforms are quick."""
    while True:
        rest = least
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return least
        least += 1


def _correction(width: Array) -> Array:
    """Coefficients of the correction, which is exact at whole and half indices where all F are the same."""
    places = np.array(list(product((0, 0.5, 1), repeat=3)))
    others = halo_sum(places % 1, width) - halo(places[:, None] - CORNERS, width).sum(axis=1)
    cubes = others.reshape(3, 3, 3)
    share = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    trilinear = np.einsum("abc,ia,jb,kc->ijk", cubes[::2, ::2, ::2], share, share, share)
    coefficients = np.linalg.inv(np.vander([0, 0.5, 1], increasing=True))
    return np.asarray(np.einsum("ijk,ai,bj,ck->abc", cubes / trilinear, coefficients, coefficients, coefficients))
