"""The background of amorphous water in the beam."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.instrument import Factor, Instrument, Ray
from nbdist.scene.tile import Tile

AVOGADRO = 6.02214179e23
WATER_F, WATER_G_PER_MOL, WATER_G_PER_M3 = 2.57, 18.0, 1e6
"""Electrons of a water molecule at all angles, and the density of water: nanoBragg's values."""


class PixelFactors(Protocol):
    """What evaluates the factors of a pixel that do not depend on the crystal."""

    def factors(self, tile: Tile, ray: Ray, which: Factor, source: int = 0) -> NDArray[np.float64]:
        """Product of the factors asked for, float64 (rows, columns)."""


def water_photons(
    instrument: Instrument, pixels: PixelFactors, tile: Tile, photons_per_electron2: float
) -> NDArray[np.float64]:
    """Photons a pixel scattered by the water, float64 (rows, columns); not divided by steps.

    Parameters
    ----------
    photons_per_electron2
        Photons into one steradian of a single electron: r_e^2 times the fluence.
    """
    size_m = 1e-6 * instrument.water_um
    molecules = size_m**3 * WATER_G_PER_M3 * AVOGADRO / WATER_G_PER_MOL
    fixed = instrument.whole_pixel(tile.panel) & (Factor.OMEGA | Factor.POLAR)
    varying = instrument.every_term(tile.panel) & (Factor.OMEGA | Factor.POLAR)
    rays = [ray for ray in instrument.rays(tile.panel) if ray.layer == 0] if varying else [instrument.first_ray(0)]
    sources = range(len(instrument.sources)) if varying & Factor.POLAR else range(1)
    total = np.zeros(tile.shape)
    for ray in rays:
        for source in sources:
            weight = instrument.sources.weights[source] if len(sources) > 1 else 1.0
            total += weight * pixels.factors(tile, ray, varying, source)
    total *= pixels.factors(tile, instrument.first_ray(0), fixed)
    return total * (WATER_F**2 * photons_per_electron2 * molecules / (len(rays) * len(sources)))
