"""The instrument: what stays the same from crystal to crystal, and makes the factors of a pixel that do not depend on the crystal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntFlag
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.background import Background
from nbdist.scene.obstacles import Obstacles
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.sources import Sources
from nbdist.scene.tile import Tile, bands

Array = NDArray[np.float64]

CLASSICAL_RADIUS_SQUARED_M2 = 7.94079248018965e-30
"""Square of the classical electron radius, the value nanoBragg uses."""


class Factor(IntFlag):
    """Which factors of a pixel are meant; the others are 1."""

    OMEGA = 1
    POLAR = 2
    CAPTURE = 4
    LIMIT = 8


class Ray(NamedTuple):
    """One subpixel of every pixel in one layer of the sensor; the shifts are fractions of a pixel."""

    layer: int
    slow_shift: float
    fast_shift: float


@dataclass(frozen=True, eq=False)
class Instrument:
    """Beam, detector and sampling of an experiment; arrays are float64.

    Attributes
    ----------
    panels
        Geometry, size and usable pixels of each panel.
    beam_direction, polarization_vector
        Unit vectors (3,).
    polarization_factor
        Kahn factor; None leaves the correction out.
    sources
        Directions, wavelengths and weights: what the method adds up.
    bandwidth_sigma
        Root mean square of the normal spectrum of every source, relative to its wavelength; among the sources where the method is sum.
    divergence_sigma_rad
        Root mean square of its normal divergence (2,), radians: a rotation about beam x polarization, which spreads along the
        polarization vector, and one about the polarization vector; among the sources where the method is sum.
    fluence_per_m2
        Photons on the crystal in a frame.
    oversample
        Subpixels along each side of a pixel.
    subpixels
        The same where it was given; None where it is chosen: by the crystal's size for the sum, for each reflection when integrated.
    tolerance
        Of an integrated spot, relative to its peak.
    oversampled
        The factors that are evaluated for every ray and source, where they apply; the others once for a pixel.
    d_min_A
        Resolution beyond which nothing is added, Angstrom; None for no limit.
    point_pixels
        Solid angle 1/R^2, without pixel area and obliquity.
    background
        What scatters besides the crystal.
    obstacles
        What takes photons on their way to the detector.
    precision
        "float32" or "float64": of the sum over orientations.
    """

    panels: tuple[PanelGeometry, ...]
    beam_direction: Array
    polarization_vector: Array
    polarization_factor: float | None
    sources: Sources
    bandwidth_sigma: float
    divergence_sigma_rad: Array
    fluence_per_m2: float
    oversample: int
    subpixels: int | None
    tolerance: float
    oversampled: Factor
    d_min_A: float | None
    point_pixels: bool
    background: Background
    obstacles: Obstacles
    precision: str

    @property
    def photons_per_electron2(self) -> float:
        """Photons that one electron scatters into one steradian: r_e^2 times the fluence."""
        return CLASSICAL_RADIUS_SQUARED_M2 * self.fluence_per_m2

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each panel."""
        return tuple(panel.shape for panel in self.panels)

    @property
    def pixels(self) -> int:
        """Pixels of all panels."""
        return sum(panel.spixels * panel.fpixels for panel in self.panels)

    @cached_property
    def transmissions(self) -> tuple[NDArray[np.float32] | None, ...]:
        """Share of the sample's photons that obstacles leave, in the middle of each pixel (slow, fast) of a panel; None for all of them.

        Worked out where it is first asked for, and kept: one factor more of whole pixels, the same for all that the sample scatters.
        """
        if not self.obstacles.any:
            return (None,) * len(self.panels)
        return tuple(self._transmitted(number) for number in range(len(self.panels)))

    def _transmitted(self, number: int) -> NDArray[np.float32]:
        panel, obstacles = self.panels[number], self.obstacles
        share = np.empty(panel.shape, dtype=np.float32)
        for rows in bands(Tile(number, 0, panel.spixels, 0, panel.fpixels)):
            towards, distance = panel.pixel_directions(rows)
            passed = obstacles.shadow(towards, distance, panel.solid_angle_sr(distance))
            share[rows.slices] = obstacles.absorption(towards) * passed
        return share

    def shadow(self, tile: Tile) -> Array:
        """Share of the photons (rows, columns) that passes what throws shadows, in the middle of each pixel."""
        panel = self.panels[tile.panel]
        towards, distance = panel.pixel_directions(tile)
        return self.obstacles.shadow(towards, distance, panel.solid_angle_sr(distance))

    def polarization(self, towards: Array, beam: Array) -> Array:
        """Polarization factor (...) of unit vectors (..., 3) out of a beam (3,); 1 where it is left out.

        R. Kahn et al., J. Appl. Cryst. 15 (1982) 330.
        """
        K = self.polarization_factor
        if K is None:
            return np.ones(towards.shape[:-1])
        magnetic = np.cross(self.polarization_vector, beam)
        magnetic = magnetic / max(float(np.linalg.norm(magnetic)), 1e-300)
        along_b, along_e = towards @ magnetic, towards @ np.cross(beam, magnetic)
        return np.asarray((1 + (towards @ beam) ** 2 - K * (along_e**2 - along_b**2)) / 2)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # what is kept is made again elsewhere

    def rays_per_pixel(self, panel: int) -> int:
        """Subpixels of all layers of a panel."""
        return self.oversample**2 * self.panels[panel].layers

    def rays(self, panel: int) -> Iterator[Ray]:
        """Every layer's subpixels on a panel."""
        side = self.oversample
        for layer in range(self.panels[panel].layers):
            for slow in range(side):
                for fast in range(side):
                    yield Ray(layer, (slow + 0.5) / side, (fast + 0.5) / side)

    def whole_pixel(self, panel: int) -> Factor:
        """The factors that are evaluated once for a pixel of a panel."""
        return self._applicable(panel) & ~self.oversampled

    def every_term(self, panel: int) -> Factor:
        """The factors that are evaluated for every ray and source on a panel."""
        return self._applicable(panel) & self.oversampled

    def _applicable(self, panel: int) -> Factor:
        polarized = Factor.POLAR if self.polarization_factor is not None else Factor(0)
        captured = Factor.CAPTURE if self.panels[panel].attenuation_per_m > 0 else Factor(0)
        return Factor.OMEGA | polarized | captured | (Factor.LIMIT if self.d_min_A is not None else Factor(0))

    def first_ray(self, layer: int) -> Ray:
        """The ray of a layer that stands for whole pixels."""
        shift = 0.5 / self.oversample
        return Ray(layer, shift, shift)
