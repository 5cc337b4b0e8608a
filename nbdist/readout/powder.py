"""Rings of a powder: cones about the beam, each spread over a width of two theta."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from nbdist.readout.draws import Draws, Stage
from nbdist.scene.background import PowderRings
from nbdist.scene.instrument import Instrument

Array = NDArray[np.float64]

REACH = 6.0
"""Deviations from a ring beyond which it gives nothing."""
WAVES, AZIMUTHS = 12, 720
"""Waves around a ring that its texture is made of, and angles at which it is tabled, for linear interpolation."""


def ring_photons_per_sr(powder: PowderRings, instrument: Instrument, towards: Array, pixel_sr: Array) -> Array:
    """Unpolarised photons a steradian (...) along unit vectors (..., 3), the mean over pixels of a solid angle (...).

    A ring of N photons at 2theta_0, sin(theta_0) = lambda / (2 d), is

        N g(2theta - 2theta_0) / (2 pi sin(2theta))

    times its `texture`, with a Gaussian g; the variances of its width, of the spread of d and of the pixel (its solid angle / 12) add up. A
    pixel's angles are its own, wherever its panel is and however it is tilted.
    """
    beam, wavelength_A = instrument.sources.mean
    two_theta = np.arccos(np.clip(towards @ beam, -1, 1))
    total = np.zeros(two_theta.shape)
    along, across = instrument.obstacles.across
    azimuth = np.arctan2(towards @ across, towards @ along) if powder.texture else total
    for number, (d_A, photons) in enumerate(zip(powder.d_A, powder.photons, strict=True)):
        sine = wavelength_A / (2 * d_A)
        if sine >= 1:
            continue
        theta = np.arcsin(sine)
        variance = powder.sigma_rad**2 + (2 * np.tan(theta) * powder.d_spread) ** 2 + pixel_sr / 12
        off = (two_theta - 2 * theta) ** 2 / variance
        near = np.nonzero(off < REACH**2)
        density = photons * np.exp(-0.5 * off[near]) / np.sqrt(2 * np.pi * variance[near])
        if powder.texture:
            angles, factor = texture(powder.texture, powder.seed, number)
            density *= np.interp(azimuth[near], angles, factor)
        total[near] += density
    return total / (2 * np.pi * np.maximum(np.sin(two_theta), 1e-9))


@functools.lru_cache(maxsize=64)
def texture(rms: float, seed: int, ring: int) -> tuple[Array, Array]:
    """What multiplies a ring along its azimuth: angles (n,) from -pi to pi, and the factor there (n,), whose mean is 1.

    It is exp(rms g), over its mean: g is a sum of the first waves around the ring, of normal amplitudes, so that its mean square is 1 over
    many seeds. The azimuth is that of shadows: from the spindle axis towards beam x spindle axis.
    """
    amplitudes = Draws(seed).normals(Stage.TEXTURE, 2 * WAVES, 2 * WAVES * ring).astype(np.float64)
    angles = np.linspace(-np.pi, np.pi, AZIMUTHS + 1)
    turns = np.arange(1, WAVES + 1)[:, None] * angles
    wave = (amplitudes[:WAVES] @ np.cos(turns) + amplitudes[WAVES:] @ np.sin(turns)) / np.sqrt(WAVES)
    factor = np.exp(rms * wave)
    return angles, factor / factor[1:].mean()
