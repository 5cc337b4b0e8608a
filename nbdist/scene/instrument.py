"""The instrument: what stays the same from crystal to crystal, and makes the factors of a pixel that do not depend on the crystal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.panels import PanelGeometry
from nbdist.scene.sources import Sources

Array = NDArray[np.float64]


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
        Directions, wavelengths and weights.
    fluence_per_m2
        Photons on the crystal in a frame.
    layers, layer_thickness_m, attenuation_per_m
        Of the sensor; without one a layer of no thickness. An attenuation of 0 counts every photon once in every layer.
    oversample
        Subpixels along each side of a pixel.
    whole_pixel, every_term
        The factors that are evaluated once for a pixel, and for every ray and source.
    d_min_A
        Resolution beyond which nothing is added, Angstrom; None for no limit.
    point_pixels
        Solid angle 1/R^2, without pixel area and obliquity.
    water_um
        Side of a cube of water in the beam, micrometres.
    precision
        "float32" or "float64": of the sum over orientations.
    """

    panels: tuple[PanelGeometry, ...]
    beam_direction: Array
    polarization_vector: Array
    polarization_factor: float | None
    sources: Sources
    fluence_per_m2: float
    layers: int
    layer_thickness_m: float
    attenuation_per_m: float
    oversample: int
    whole_pixel: Factor
    every_term: Factor
    d_min_A: float | None
    point_pixels: bool
    water_um: float
    precision: str

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each panel."""
        return tuple(panel.shape for panel in self.panels)

    @property
    def pixels(self) -> int:
        """Pixels of all panels."""
        return sum(panel.spixels * panel.fpixels for panel in self.panels)

    @property
    def rays_per_pixel(self) -> int:
        """Subpixels of all layers."""
        return self.oversample**2 * self.layers

    def rays(self) -> Iterator[Ray]:
        """Every layer's subpixels."""
        side = self.oversample
        for layer in range(self.layers):
            for slow in range(side):
                for fast in range(side):
                    yield Ray(layer, (slow + 0.5) / side, (fast + 0.5) / side)

    def first_ray(self, layer: int) -> Ray:
        """The ray of a layer that stands for whole pixels."""
        shift = 0.5 / self.oversample
        return Ray(layer, shift, shift)
