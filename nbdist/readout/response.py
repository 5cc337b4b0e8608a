"""What a detector makes of the light in its pixels: stages of a few operations each, arrays in and arrays out, in the order of physics.

All in float64, pixel by pixel and from nothing but the pixel's own numbers, so that any part of a panel comes out as in the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.readout.deviates import exp_of_minus
from nbdist.readout.draws import Draws, Stage
from nbdist.readout.integers import BAD, GAP, marker
from nbdist.readout.point_spread import spread_along_axes

Array = NDArray[np.float64]

PIXELS_AT_A_TIME = 2**18
"""Whose random numbers are drawn together, and which are read together."""


@dataclass(frozen=True)
class Response:
    """The numbers of a detector's response.

    Attributes
    ----------
    dead_time
        Of a pixel after a photon, over the exposure of a frame.
    paralysable
        Whether a photon within the dead time makes it last longer.
    electrons_per_photon, read_noise_electrons, adu_per_electron, offset_adu
        Gain of the sensor, rms of the noise of a reading, and what the converter makes of a charge.
    hot_pixel_adu
        What a hot pixel reads too much.
    saturation
        Largest reading.
    rolls_over
        Whether readings past it begin at 0 again.
    dtype
        Of the readings: "int32", "uint16" or "uint32".
    """

    dead_time: float
    paralysable: bool
    electrons_per_photon: float
    read_noise_electrons: float
    adu_per_electron: float
    offset_adu: float
    hot_pixel_adu: float
    saturation: int
    rolls_over: bool
    dtype: str


def counted(photons: NDArray[Any], dead_time: float, paralysable: bool) -> Array:
    """Photons that a pixel counts, with a dead time (over the exposure) after each.

    G. F. Knoll, Radiation Detection and Measurement, chapter 4: of n photons n/(1 + n t) where a photon within the dead time goes unseen
    (non-paralysable), n exp(-n t) where it makes the dead time last longer (paralysable).
    """
    arrived = np.asarray(photons, dtype=np.float64)
    if not dead_time:
        return arrived
    return arrived * exp_of_minus(dead_time * arrived) if paralysable else arrived / (1.0 + dead_time * arrived)


def charge(light: NDArray[Any], electrons_per_photon: float, calibration: NDArray[np.float32] | None) -> Array:
    """Electrons of the light in each pixel: the mean gain, times what the pixel's own differs from it by."""
    electrons = np.asarray(light, dtype=np.float64) * electrons_per_photon
    return electrons if calibration is None else electrons * calibration


def amplified(
    electrons: Array,
    noise: NDArray[np.float32] | None,
    read_noise_electrons: float,
    adu_per_electron: float,
    offset_adu: float,
) -> Array:
    """What the converter is given, ADU: the charge with the noise of reading it, and the offset.

    Parameters
    ----------
    noise
        Standard normal deviates, one a pixel; None where there is no noise.
    """
    read = electrons if noise is None else electrons + read_noise_electrons * noise.astype(np.float64)
    return read * adu_per_electron + offset_adu


def with_bad_pixels(adu: Array, dead: NDArray[np.int64], hot: NDArray[np.int64], hot_pixel_adu: float) -> Array:
    """What the converter is given (ADU) where some pixels, by their numbers, read too much, and others nothing."""
    read = adu.copy()
    read.flat[hot] += hot_pixel_adu
    read.flat[dead] = 0.0
    return read


def digitised(adu: Array, saturation: int, rolls_over: bool) -> Array:
    """The nearest whole numbers (of two, the even one), from 0 on: held at `saturation`, or counted from 0 again after it."""
    whole = np.maximum(np.rint(adu), 0.0)
    if not rolls_over:
        return np.minimum(whole, float(saturation))
    return whole - np.floor(whole / (saturation + 1.0)) * (saturation + 1.0)


def marked(
    readings: NDArray[np.integer[Any]], usable: NDArray[np.bool_], bad: NDArray[np.int64]
) -> NDArray[np.integer[Any]]:
    """Readings with the markers of bad pixels, by their numbers, and of gaps and masked pixels."""
    image = readings.copy()
    image.flat[bad] = marker(BAD, image.dtype.name)
    image[~usable] = marker(GAP, image.dtype.name)
    return image


@dataclass(frozen=True, eq=False)
class PanelResponse:
    """What a panel has of its own, the same in all frames.

    Attributes
    ----------
    usable
        Pixels (slow, fast) that are rendered and not masked, bool.
    first_pixel
        Number of its first pixel among those of all panels.
    taps
        Of a point spread that is a product along the axes (see `point_spread.Kernel`); None where there is none, or it is done already.
    calibration
        Gain of each pixel over the mean, float32 (slow, fast); None where all are 1.
    dead, hot
        Which pixels read wrongly: numbers among the panel's, in order.
    bad
        Which of the usable pixels are marked, likewise.
    """

    usable: NDArray[np.bool_]
    first_pixel: int
    taps: NDArray[np.float32] | None
    calibration: NDArray[np.float32] | None
    dead: NDArray[np.int64]
    hot: NDArray[np.int64]
    bad: NDArray[np.int64]


def read(photons: NDArray[Any], panel: PanelResponse, response: Response, draws: Draws) -> NDArray[np.integer[Any]]:
    """What is read of the photons that arrived in a panel's pixels (slow, fast): all stages, some rows at a time."""
    rows, columns = photons.shape
    reach = 0 if panel.taps is None else len(panel.taps) - 1
    readings = np.empty(photons.shape, dtype=response.dtype)
    step = max(1, PIXELS_AT_A_TIME // columns)
    for first in range(0, rows, step):
        last, top = min(first + step, rows), max(first - reach, 0)
        light: NDArray[Any] = counted(photons[top : last + reach], response.dead_time, response.paralysable)
        if panel.taps is not None:
            light = spread_along_axes(light, panel.taps)[first - top :][: last - first]
        calibration = None if panel.calibration is None else panel.calibration[first:last]
        electrons = charge(light, response.electrons_per_photon, calibration)
        noise = None
        if response.read_noise_electrons:
            noise = draws.normals(Stage.READ_NOISE, electrons.size, panel.first_pixel + first * columns)
            noise = noise.reshape(electrons.shape)
        adu = amplified(electrons, noise, response.read_noise_electrons, response.adu_per_electron, response.offset_adu)
        dead, hot = (
            its[slice(*np.searchsorted(its, (first * columns, last * columns)))] - first * columns
            for its in (panel.dead, panel.hot)
        )
        adu = with_bad_pixels(adu, dead, hot, response.hot_pixel_adu)
        readings[first:last] = digitised(adu, response.saturation, response.rolls_over)
    return marked(readings, panel.usable, panel.bad)
