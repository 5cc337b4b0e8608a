"""How finely a detector resolves, and how wide a reflection rocks there: what phi steps have to sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment.beam import Beam
from nbdist.experiment.crystal import Crystal
from nbdist.scene.mosaic import small_turns
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.rounding import rounded_up
from nbdist.scene.sources import Sources

SHAPE_WIDTHS = {"square": 0.886, "round": 1.155, "gauss": 0.934, "tophat": 1.26}
"""Full width at half maximum of F_latt^2 in units of 1/size, at a fudge of 1."""
FWHM_OF_DEVIATION = 2 * math.sqrt(2 * math.log(2))
POINTS_PER_WIDTH = 10
"""Mosaic domains and sources that fill a width of the crystal's own, so that a spread of them counts as one peak."""
STEPS_PER_WIDTH = 3


def panel_resolutions_A(panel: PanelGeometry, wavelength_A: float, points: int = 32) -> tuple[float, float]:
    """d (Angstrom) where the panel's edge is nearest to the beam, and the finest on the panel (at its farthest corner as a rule).

    Parameters
    ----------
    points
        Intervals along a side at whose ends it is worked out, at most.
    """
    rows, columns = (np.linspace(0, size, min(size, points) + 1) for size in panel.shape)
    spacing = panel.resolution_A(rows[:, None], columns, wavelength_A)
    edges = np.concatenate([spacing[0], spacing[-1], spacing[:, 0], spacing[:, -1]])
    return float(edges.max()), float(spacing.min())


def own_width_rad(crystal: Crystal, largest_A: float, d_A: float) -> float:
    """Width of a lattice point seen from the origin, full width at half maximum in radians: about d / size.

    Parameters
    ----------
    largest_A
        Size of the crystal along its longest axis, Angstrom.
    d_A
        Resolution, Angstrom.
    """
    own = SHAPE_WIDTHS[crystal.shape] * d_A / largest_A
    return own if crystal.shape == "square" else own / math.sqrt(crystal.fudge)


def rocking_width_deg(
    crystal: Crystal,
    beam: Beam,
    largest_A: float,
    mosaic: NDArray[np.float64],
    sources: Sources,
    points: float,
    d_A: float,
) -> float:
    """Rotation in degrees, full width at half maximum, over which a reflection at a resolution crosses the Ewald sphere at the least.

    The width of a lattice point, and the spreads of mosaic domains, of beam directions and of wavelengths (times tan theta), counted
    ones and normal ones, add in quadrature; of a normal spread that differs from axis to axis, a reflection sees the least. Domains and
    sources that the sum takes are counted, not continuous: they widen the peak of the crystal's own width only so far as there are ten
    of them in each such width.

    Parameters
    ----------
    largest_A
        Size of the crystal along its longest axis, Angstrom.
    mosaic, sources
        Rotations of counted domains (n, 3, 3), and the sources, without normal spreads.
    points
        Domains times sources that the sum takes; infinity where spreads are integrated over.
    d_A
        Resolution, Angstrom.
    """
    own = own_width_rad(crystal, largest_A, d_A)
    weights = sources.weights / sources.weights.sum()
    wavelength = float(weights @ sources.wavelengths_A)
    sine = min(wavelength / (2 * d_A), 1 - 1e-9)
    colours = weights @ (sources.wavelengths_A / wavelength - 1) ** 2 + beam.bandwidth_sigma**2
    variances = [
        small_turns(mosaic).var(axis=0).mean() + math.radians(min(crystal.mosaicity.sigmas_deg)) ** 2,
        weights @ ((sources.directions - weights @ sources.directions) ** 2).sum(axis=1) / 2,
        (1e-3 * min(beam.divergence_sigmas_mrad)) ** 2,
        colours * sine**2 / (1 - sine**2),
    ]
    widened = math.hypot(own, FWHM_OF_DEVIATION * math.sqrt(float(sum(variances))))
    return math.degrees(min(widened, own * max(1.0, points / POINTS_PER_WIDTH)))


def recommended_points(own_rad: float, sigmas_rad: Sequence[float]) -> int:
    """Points of a normal distribution for ten in each cell of a spot's own width, over those by which the distribution widens it.

    Parameters
    ----------
    own_rad
        Full width at half maximum of the spot itself.
    sigmas_rad
        Root mean square along each dimension.
    """
    widened = math.prod(math.hypot(1, FWHM_OF_DEVIATION * sigma / own_rad) for sigma in sigmas_rad)
    return math.ceil(min(POINTS_PER_WIDTH * widened, 1e15))


def recommended_phi_steps(osc_range_deg: float, width_deg: float) -> int:
    """Phi steps of a frame that sample a rocking width three times; 1 for a still."""
    return max(1, rounded_up(min(STEPS_PER_WIDTH * abs(osc_range_deg) / max(width_deg, 1e-100), 1e15)))
