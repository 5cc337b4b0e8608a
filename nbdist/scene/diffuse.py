"""The numbers of a crystal's disorder, and where in a pixel and an oscillation its scattering is worked out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment.crystal import Crystal
from nbdist.scene.mosaic import crystal_axes
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.spots import peak_integral

Array = NDArray[np.float64]

NODE_TOLERANCE = 1e-3
"""Of a halo's peak, which the mean over a pixel and an oscillation is good to."""
MOST_NODES = 16
"""Along a dimension."""
OF_ONE_INDEX = math.pi
"""Extent of a pixel, where the contents of cells are displaced as a whole, is taken against 1/pi of an index: F^2 has kinks."""


@dataclass(frozen=True, eq=False)
class Disorder:
    """Displacements of a lattice, in terms of Miller indices; arrays float64.

    Attributes
    ----------
    displacement
        D (3, 3): |D h|^2 = 4 pi^2 q.U.q, which is twice the Debye-Waller exponent, for displacements of covariance U.
    halo
        P (3, 3): |P dh| = 2 pi |gamma dq|, the distance from a reflection in halves of its halo's width; None where displacements are
        not correlated.
    cells
        Cells whose peaks the crystal has: the integral of F_latt^2 over a cell of reciprocal space.
    fineness
        Largest stretch of reciprocal space, 1/Angstrom, to that on the scale of what varies there.
    """

    displacement: Array
    halo: Array | None
    cells: float
    fineness: float


def disorder_of(crystal: Crystal, real_vectors_A: Array, cells_in_all: float) -> Disorder | None:
    """The disorder of a crystal; None where it has none.

    Parameters
    ----------
    real_vectors_A
        Rows a, b, c (3, 3).
    cells_in_all
        Cells of the crystal.
    """
    if crystal.diffuse is None:
        return None
    # dq along the crystal's axes is this times dh
    across = 2 * np.pi * crystal_axes(real_vectors_A) @ np.linalg.inv(real_vectors_A)
    lengths = crystal.diffuse.correlation_lengths_A
    halo = None if lengths is None else np.array(lengths)[:, None] * across
    varying = OF_ONE_INDEX * real_vectors_A if halo is None else halo @ real_vectors_A
    return Disorder(
        displacement=np.array(crystal.diffuse.sigmas_A)[:, None] * across,
        halo=halo,
        cells=cells_in_all * peak_integral(crystal.shape, crystal.fudge),
        fineness=float(np.linalg.norm(varying, 2)),
    )


class Nodes(NamedTuple):
    """Points whose weighted sum is the mean over an oscillation and a pixel; places are fractions from 0 to 1, weights have a sum of 1.

    Attributes
    ----------
    phi, phi_weight
        Along the oscillation (n,).
    slow, fast, weight
        Along the pixel (m,).
    """

    phi: Array
    phi_weight: Array
    slow: Array
    fast: Array
    weight: Array

    @property
    def beside(self) -> bool:
        """Whether what neighbours have in their middles is looked at: a pixel's mean is its middle's and a 24th of the differences."""
        return len(self.weight) == len(MIDDLES)

    @property
    def looks(self) -> int:
        """How often a pixel is looked at: what its neighbours have in their middles is looked at anyway."""
        return len(self.phi) * (1 if self.beside else len(self.weight))


MIDDLES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])
"""Of a pixel and its neighbours, (5, 2): with weights of 20/24 and 1/24 they integrate all polynomials of third degree over the pixel."""
BESIDE_EXTENT = 0.25
"""Of a pixel, up to which its neighbours are near enough for that: the error is 0.2 of its fourth power along each side."""


def mean_nodes(
    disorder: Disorder, panel: PanelGeometry, wavelength_A: float, finest_A: float, osc_range_deg: float
) -> Nodes:
    """Where a panel's pixels are looked at for the mean of diffuse scattering over an oscillation and their area.

    Gauss-Legendre nodes, as many along each dimension as a halo of this width needs, or the middles of a pixel and its neighbours.

    Parameters
    ----------
    wavelength_A
        The shortest.
    finest_A
        Resolution that the detector reaches, Angstrom.
    """
    extent = disorder.fineness * panel.pixel_m / (wavelength_A * abs(panel.close_distance_m))
    turns = _nodes(disorder.fineness * abs(math.radians(osc_range_deg)) / finest_A)
    phi, phi_weight = np.polynomial.legendre.leggauss(turns)
    along, (places, weights) = _nodes(extent), np.polynomial.legendre.leggauss(_nodes(extent))
    if along > 1 and extent <= BESIDE_EXTENT:
        pixel = np.column_stack([MIDDLES + 0.5, np.where(MIDDLES.any(axis=1), 1, 20) / 24])
    else:
        pixel = np.array([(s, f, v * w) for (s, v), (f, w) in product(zip(places, weights, strict=True), repeat=2)])
        pixel = np.column_stack([(pixel[:, :2] + 1) / 2, pixel[:, 2] / 4])
    return Nodes((phi + 1) / 2, phi_weight / 2, *np.ascontiguousarray(pixel.T))


def _nodes(extent: float) -> int:
    """Gauss-Legendre nodes for 1 / (1 + x^2)^2 over an extent of x: its poles, of second order, lie at a distance of 1 from it."""
    half = max(extent / 2, 1e-9)
    convergence = 1 / half + math.sqrt(1 + 1 / half**2)
    count = 1
    while count < MOST_NODES and (2 * count + 1) * convergence ** (-2 * count) > NODE_TOLERANCE:
        count += 1
    return count
