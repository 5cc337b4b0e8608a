"""The background: photons a pixel that are scattered beside the crystal, by materials without order, air and powder; a level, an image.

It is the same in all frames, but that what scatters does so in proportion to the frame's fluence. Solid angle and polarization of what
is at the sample's place are those that the crystal's photons have, also where they are evaluated for every subpixel and source; no
sensor's capture is applied, as nanoBragg has none for its water. Curves over the scattering angle are taken in the middle of a pixel, for
the mean direction and wavelength of the sources.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment.beam import EV_ANGSTROM
from nbdist.readout.air import air_photons
from nbdist.readout.interpolation import OfDirections, interpolated, near_the_beam, steps_on
from nbdist.readout.powder import ring_photons_per_sr
from nbdist.scene.background import PowderRings
from nbdist.scene.instrument import Factor, Instrument, Ray
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.tile import ROWS_AT_ONCE, Tile, bands

Array = NDArray[np.float64]
ELECTRON_REST_EV = 510998.95
ROWS_BETWEEN_NODES = 128
"""Rows of pixels that are interpolated together: what is in hand of them fits a core's cache."""
FEW_PIXELS = 64
"""So many are not worth the background of their panel."""


class PixelFactors(Protocol):
    """What evaluates the factors of a pixel that do not depend on the crystal."""

    def factors(self, tile: Tile, ray: Ray, which: Factor, source: int = 0) -> Array:
        """Product of the factors asked for, float64 (rows, columns)."""


class PanelBackground(NamedTuple):
    """Photons a pixel (slow, fast) of a panel, in the precision of the image, 0 where nothing is rendered; None for none.

    Attributes
    ----------
    scattered
        What is in proportion to the fluence.
    steady
        What is not.
    """

    scattered: NDArray[np.floating[Any]] | None
    steady: NDArray[np.floating[Any]] | None


class Backgrounds:
    """The backgrounds of an instrument's panels: each is worked out when it is first asked for, and kept.

    Parameters
    ----------
    instrument
        Whose.
    pixels
        What evaluates the factors of pixels.
    interpolates
        Whether what changes slowly from pixel to pixel is interpolated (see `interpolation`), in a tenth of the time: for a background that
        one sample alone has. In float64 nothing is.
    """

    def __init__(self, instrument: Instrument, pixels: PixelFactors, interpolates: bool = False) -> None:
        self._instrument, self._pixels, self._interpolates = instrument, pixels, interpolates
        self._kept: dict[int, PanelBackground] = {}
        self._making = threading.Lock()  # threads of a worker share a renderer

    def of(self, panel: int) -> PanelBackground:
        """The background of a panel."""
        with self._making:
            if panel not in self._kept:
                whole = self._instrument.panels[panel]
                images = self._worked_out(Tile(panel, 0, whole.spixels, 0, whole.fpixels), Tile(panel, *whole.region))
                for image in images:
                    if image is not None:
                        image.flags.writeable = False  # all frames share it
                self._kept[panel] = images
            return self._kept[panel]

    def within(self, tile: Tile) -> PanelBackground:
        """The background of a tile; a few pixels, as a trace asks for, are worked out alone, unless they lie between nodes of the panel."""
        if tile.pixels <= FEW_PIXELS and tile.panel not in self._kept and not self._steps(tile.panel):
            return self._worked_out(tile, tile)
        return PanelBackground(*(None if image is None else image[tile.slices] for image in self.of(tile.panel)))

    def _steps(self, panel: int) -> tuple[int, ...]:
        """Pixels from node to node of a panel; none where every pixel is worked out."""
        instrument = self._instrument
        rough = bool(instrument.background.powders) or instrument.obstacles.any
        if not self._interpolates or rough or instrument.precision == "float64":
            return ()
        return steps_on(instrument.panels[panel], instrument.sources.mean[1])

    def _worked_out(self, tile: Tile, part: Tile) -> PanelBackground:
        """Images of a tile, 0 outside of a part of it."""
        instrument, given = self._instrument, self._instrument.background
        panel, all_steps = instrument.panels[tile.panel], self._steps(tile.panel)
        band = ROWS_BETWEEN_NODES if all_steps else ROWS_AT_ONCE

        def image(photons: Callable[[Tile], Array]) -> NDArray[np.floating[Any]]:
            made = np.zeros(tile.shape, dtype=instrument.precision)
            for rows in bands(part, band):
                made[rows.within(tile)] = np.where(panel.usable[rows.slices], photons(rows), 0.0)
            return made

        def scattered(rows: Tile, steps: Sequence[int] = all_steps) -> Array:
            if not steps:
                return scattered_photons(instrument, self._pixels, rows)
            photons = scattered_photons(instrument, self._pixels, rows, partial(interpolated, panel, rows, steps[0]))
            for near in near_the_beam(panel, rows, instrument.sources.mean[0], steps[0]):
                photons[near.within(rows)] = scattered(near, steps[1:])
            return photons

        return PanelBackground(
            image(scattered) if given.scatters else None,
            image(lambda rows: steady_photons(instrument, rows)) if given.steady else None,
        )


def scattered_photons(
    instrument: Instrument,
    pixels: PixelFactors,
    tile: Tile,
    of_pixels: Callable[[OfDirections], Array] | None = None,
) -> Array:
    """Photons a pixel that water, other materials, powders and air scatter, float64 (rows, columns); not divided by steps.

    Of n molecules at the sample's place, with F electrons and the incoherent scattering function S,

        r_e^2 fluence n omega (F^2 polarization + S P^2 (polarization + (P + 1/P - 2)/2))

    nanoBragg's formula, and that of Klein and Nishina for S free electrons: P = 1/(1 + E/(m c^2) (1 - cos 2theta)) is the energy that a
    photon keeps. (O. Klein, Y. Nishina, Z. Phys. 52 (1929) 853; International Tables C, 7.4.3.)

    Parameters
    ----------
    of_pixels
        Gives values of the pixels' directions and distances (rows, columns); they are worked out for each pixel where left out.
    """
    given, panel = instrument.background, instrument.panels[tile.panel]
    of_pixels = of_pixels or _of_each_pixel(panel, tile)
    beam, wavelength_A = instrument.sources.mean
    photons = np.zeros(tile.shape)
    if given.materials or given.powders:
        cosine = np.ones(())  # of whatever angle, where all scatter alike to every one
        if not all(material.isotropic for material in given.materials):
            cosine = np.clip(of_pixels(lambda towards, distance: towards @ beam), -1, 1)
        stol_per_A = np.sqrt((1 - cosine) / 2) / wavelength_A
        coherent, incoherent = np.zeros(tile.shape), np.zeros(tile.shape)
        for material in given.materials:
            electrons2 = material.molecules * instrument.photons_per_electron2
            coherent += electrons2 * material.F.at(stol_per_A) ** 2
            if material.incoherent is not None:
                incoherent += electrons2 * material.incoherent.at(stol_per_A)
        seen = solid_angle_polarization(instrument, pixels, tile)
        if incoherent.any():
            kept = 1 / (1 + EV_ANGSTROM / wavelength_A / ELECTRON_REST_EV * (1 - cosine))
            coherent += incoherent * kept**2
            distance = of_pixels(lambda towards, distance: distance)
            omega = panel.solid_angle_sr(distance, instrument.point_pixels)
            photons += incoherent * kept**2 * ((kept + 1 / kept) / 2 - 1) * omega
        for powder in given.powders:
            coherent += of_pixels(partial(_rings, powder, instrument, panel))
        photons += coherent * seen
        if instrument.obstacles.any:
            photons *= of_pixels(lambda towards, distance: instrument.obstacles.absorption(towards))
    if given.air is not None:
        photons += of_pixels(partial(air_photons, given.air, instrument, panel))
    if instrument.obstacles.any:
        photons *= of_pixels(partial(_shadow, instrument, panel))
    return photons


def _of_each_pixel(panel: PanelGeometry, tile: Tile) -> Callable[[OfDirections], Array]:
    middles = panel.pixel_directions(tile)
    return lambda values: values(*middles)


def _rings(powder: PowderRings, instrument: Instrument, panel: PanelGeometry, towards: Array, distance: Array) -> Array:
    return ring_photons_per_sr(powder, instrument, towards, panel.solid_angle_sr(distance))


def _shadow(instrument: Instrument, panel: PanelGeometry, towards: Array, distance: Array) -> Array:
    return instrument.obstacles.shadow(towards, distance, panel.solid_angle_sr(distance))


def steady_photons(instrument: Instrument, tile: Tile) -> Array:
    """Photons a pixel of the image, in the shadows of what lies before it, and of the level, float64 (rows, columns)."""
    given = instrument.background
    photons = np.full(tile.shape, given.level_photons)
    if given.images:
        photons += given.images[tile.panel][tile.slices] * instrument.shadow(tile)
    return photons


def solid_angle_polarization(instrument: Instrument, pixels: PixelFactors, tile: Tile) -> Array:
    """Solid angle (sr) times polarization of the first layer: at the first subpixel, or the mean of all where each has its own."""
    both = Factor.OMEGA | Factor.POLAR
    fixed, varying = instrument.whole_pixel(tile.panel) & both, instrument.every_term(tile.panel) & both
    first = pixels.factors(tile, instrument.first_ray(0), fixed)
    if not varying:
        return first
    rays = [ray for ray in instrument.rays(tile.panel) if ray.layer == 0]
    sources = range(len(instrument.sources)) if varying & Factor.POLAR else range(1)
    total = np.zeros(tile.shape)
    for ray in rays:
        for source in sources:
            weight = instrument.sources.weights[source] if len(sources) > 1 else 1.0
            total += weight * pixels.factors(tile, ray, varying, source)
    return total * first / (len(rays) * len(sources))
