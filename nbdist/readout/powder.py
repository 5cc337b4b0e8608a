"""Rings of a powder: cones about the beam, each spread over a width of two theta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.background import PowderRings
from nbdist.scene.instrument import Instrument

Array = NDArray[np.float64]

REACH = 6.0
"""Deviations from a ring beyond which it gives nothing."""


def ring_photons_per_sr(powder: PowderRings, instrument: Instrument, towards: Array, pixel_sr: Array) -> Array:
    """Unpolarised photons a steradian (...) along unit vectors (..., 3), the mean over pixels of a solid angle (...).

    A ring of N photons at 2theta_0, sin(theta_0) = lambda / (2 d), is

        N g(2theta - 2theta_0) / (2 pi sin(2theta))

    with a Gaussian g; the variances of its width, of the spread of d and of the pixel (its solid angle / 12) add up. A pixel's angle is its
    own, wherever its panel is and however it is tilted.
    """
    beam, wavelength_A = instrument.sources.mean
    two_theta = np.arccos(np.clip(towards @ beam, -1, 1))
    total = np.zeros(two_theta.shape)
    for d_A, photons in zip(powder.d_A, powder.photons, strict=True):
        sine = wavelength_A / (2 * d_A)
        if sine >= 1:
            continue
        theta = np.arcsin(sine)
        variance = powder.sigma_rad**2 + (2 * np.tan(theta) * powder.d_spread) ** 2 + pixel_sr / 12
        off = (two_theta - 2 * theta) ** 2 / variance
        near = np.nonzero(off < REACH**2)
        total[near] += photons * np.exp(-0.5 * off[near]) / np.sqrt(2 * np.pi * variance[near])
    return total / (2 * np.pi * np.maximum(np.sin(two_theta), 1e-9))
