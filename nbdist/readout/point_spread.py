"""Point spread: the light of a photon over the pixels around the one that it fell on.

A kernel is a density integrated over each pixel, of a photon in the middle of its own. It reaches to a fixed number of pixels along rows
and columns, and no further than a panel is wide; what falls beyond, and beyond the panel's edges, is lost. How far it reaches is the
experiment's (`reach_mm`), or follows from the share of the light that may be lost: 1e-6 of a Gaussian, 3e-3 of kernels with tails.

A Gaussian is the product of one along each axis, and spreads in two passes in float32, whose terms are added from the middle outwards. All
others are convolved by Fourier transforms, block by block with a margin as wide as the kernel reaches ("overlap-save"). Their weights are
multiples of 2^-32, and so is the light, to which the roundings of the transform are rounded away: of whole photons it is exact, whichever
library transforms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.readout import PointSpread
from nbdist.scene.arrays import load_array

Array = NDArray[np.float64]
Image = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]

LOST_BY_GAUSSIAN, LOST_BY_TAILS = 1e-6, 3e-3
"""Share of the light that may fall beyond a kernel's reach where the experiment does not say how far that is."""
GRID = 2.0**-32
"""Photons: weights of transformed kernels and their light are multiples of it."""
LARGEST_BLOCK = 1536
"""Side of the largest block that is transformed, unless a kernel's margins take more than half of it."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
"""Of Gauss and Legendre's integration over an angle."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Where the light of a photon falls.

    Attributes
    ----------
    taps
        Of a product of one factor along each axis: the light in the photon's pixel and the next ones on a side, float32 (1 + reach).
    weights
        Of any other: light in the pixels around the photon's, float64 (2 reach + 1, 2 reach + 1).
    shape
        Of the panels on which it spreads light (slow, fast).
    """

    taps: NDArray[np.float32] | None = None
    weights: Array | None = None
    shape: tuple[int, int] = (LARGEST_BLOCK, LARGEST_BLOCK)

    @cached_property
    def block(self) -> int:
        """Side of the blocks that are transformed, margins included: of sizes that transform quickly, the least work for a panel."""
        assert self.weights is not None
        margin = len(self.weights) - 1
        largest = max(LARGEST_BLOCK, 2 * margin)
        sizes = [2**a * odd for odd in (1, 3, 5, 9) for a in range(4, 15) if margin < 2**a * odd <= largest]

        def work(side: int) -> float:
            blocks = math.prod(math.ceil(length / (side - margin)) for length in self.shape)
            return blocks * side * side * math.log(side)

        return min(sizes, key=work)

    @cached_property
    def transform(self) -> NDArray[np.complex128]:
        """Transform of the weights, (block, block/2 + 1)."""
        assert self.weights is not None
        return np.fft.rfft2(np.rint(self.weights / GRID) * GRID, s=(self.block, self.block))

    @property
    def transform_bytes(self) -> int:
        """Bytes of its transform, and of a block's."""
        return 0 if self.weights is None else 8 * self.block**2

    @property
    def kept_bytes(self) -> int:
        """Bytes of it that threads share."""
        return 0 if self.weights is None else self.weights.nbytes + self.transform_bytes

    def __getstate__(self) -> dict[str, Any]:
        return {"taps": self.taps, "weights": self.weights, "shape": self.shape}


def kernel_of(spread: PointSpread, field: str, pixel_mm: float, shape: tuple[int, int]) -> Kernel:
    """The kernel of an experiment on pixels of a size, for panels of a shape (slow, fast).

    Raises
    ------
    ExperimentError
        If the file of an image cannot be read, or is no kernel.
    """
    widest = max(shape) - 1
    if spread.kind == "image":
        assert spread.file is not None
        assert spread.pixel_size_mm is not None
        image = load_array(spread.file, f"{field}.file")
        good = image.ndim == 2 and image.dtype.kind in "fiu" and all(side % 2 for side in image.shape)
        if not (good and np.isfinite(image).all() and (image >= 0).all() and image.sum() > 0):
            raise ExperimentError(
                f"{field}.file: {spread.file} is not an image (slow, fast) of odd numbers of pixels, none below 0 and not all 0; "
                f"found {image.dtype} {image.shape}"
            )
        weights = _within(image_weights(image.astype(np.float64), spread.pixel_size_mm / pixel_mm), widest)
        return Kernel(weights=weights, shape=shape)
    assert spread.fwhm_mm is not None
    fwhm_px = spread.fwhm_mm / pixel_mm
    lost = LOST_BY_GAUSSIAN if spread.kind == "gaussian" else LOST_BY_TAILS
    beyond = light_beyond(spread.kind, fwhm_px, spread.beta or 1.5)
    if spread.reach_mm is None:
        reach = next((k for k in range(widest) if beyond(np.array(k + 0.5)) <= lost), widest)
    else:
        reach = min(round(spread.reach_mm / pixel_mm), widest)
    if spread.kind == "gaussian":
        return Kernel(taps=gaussian_taps(fwhm_px, reach))
    if spread.kind == "fibre":
        return Kernel(weights=fibre_weights(fwhm_px, reach), shape=shape)
    return Kernel(weights=radial_weights(beyond, reach), shape=shape)


def light_beyond(kind: str, fwhm_px: float, beta: float) -> Callable[[Array], Array]:
    """Share of a photon's light beyond distances r, as a function of them in pixels.

    Of the density (beta - 1)/(pi a^2) (1 + r^2/a^2)^-beta (A. F. J. Moffat, Astron. Astrophys. 3 (1969) 455) it is (1 + r^2/a^2)^(1 - beta)
    with a = fwhm/(2 sqrt(2^(1/beta) - 1)); a fibre is that of beta 1.5. Of a Gaussian it is 2^-(2r/fwhm)^2.
    """
    if kind == "gaussian":
        return lambda r: np.asarray(2.0 ** -np.square(2 * r / fwhm_px))
    a = fwhm_px / (2 * math.sqrt(2 ** (1 / beta) - 1))
    return lambda r: np.asarray((1 + np.square(r / a)) ** (1 - beta))


def gaussian_taps(fwhm_px: float, reach: int) -> NDArray[np.float32]:
    """Light along an axis in the photon's pixel and the next ones on a side, float32 (1 + reach).

    Differences of the normal distribution function at the pixels' edges, whose width is sigma = fwhm/(2 sqrt(2 ln 2)).
    """
    scale = 2 * math.sqrt(math.log(2)) / fwhm_px  # 1/(sqrt(2) sigma)
    light = [(math.erf((k + 0.5) * scale) - math.erf((k - 0.5) * scale)) / 2 for k in range(reach + 1)]
    return np.array(light, dtype=np.float32)


def fibre_weights(fwhm_px: float, reach: int) -> Array:
    """Light in the pixels around a photon's, float64 (2 reach + 1, 2 reach + 1), of the density g/(2 pi (g^2 + r^2)^(3/2)).

    A point source in front of a taper of fibres (J. M. Holton, C. Nielsen and K. A. Frankel, J. Synchrotron Rad. 19 (2012) 1006). Over a
    rectangle it is the solid angle of that, seen from a height g, over 2 pi: arctan(x y/(g sqrt(g^2 + x^2 + y^2))) at its corners.
    """
    g = fwhm_px / (2 * math.sqrt(2 ** (2 / 3) - 1))
    edges = np.arange(-reach, reach + 2) - 0.5
    x, y = edges[:, None], edges
    solid_angle = np.arctan(x * y / (g * np.sqrt(g * g + x * x + y * y)))
    return np.asarray(np.diff(np.diff(solid_angle, axis=0), axis=1) / (2 * math.pi))


def radial_weights(beyond: Callable[[Array], Array], reach: int) -> Array:
    """Light in the pixels around a photon's, float64 (2 reach + 1, 2 reach + 1), of any density that depends on the distance alone.

    Along each ray from the photon the density is integrated by `beyond`, the share of the light beyond a distance: from the photon to a
    corner (x, y) lies 1/4 - (H(x, y) + H(y, x))/(2 pi) of it, where H(x, y) is the integral of beyond(x/cos(t)) over t from 0 to
    arctan(y/x).
    """
    edges = np.arange(reach + 1) + 0.5
    half = np.empty((reach + 1, reach + 1))
    for x, row in zip(edges, half, strict=True):
        angles = np.arctan(edges / x)[:, None]
        row[:] = angles[:, 0] / 2 * (beyond(x / np.cos(angles * (NODES + 1) / 2)) @ WEIGHTS)
    corner = 0.25 - (half + half.T) / (2 * math.pi)
    corner = np.concatenate([-corner[:1], corner])  # to the corners of the photon's own pixel, on its two sides
    corner = np.concatenate([-corner[:, :1], corner], axis=1)
    quarter = np.diff(np.diff(corner, axis=0), axis=1)
    right = np.concatenate([quarter[:, :0:-1], quarter], axis=1)
    return np.concatenate([right[:0:-1], right])


def image_weights(image: Array, pixel_px: float) -> Array:
    """Light in the pixels around a photon's, float64 (2 reach + 1, 2 reach + 1), of an image with an odd number of pixels a side.

    Parameters
    ----------
    image
        Density, constant within each of its pixels; what it adds up to is made 1.
    pixel_px
        Side of a pixel of the image, in pixels of the panel.
    """
    reach = max(math.ceil(side * pixel_px / 2 - 0.5) for side in image.shape)
    centres = np.arange(-reach, reach + 1)[:, None]
    shares = []
    for side in image.shape:
        edges = (np.arange(side + 1) - side / 2) * pixel_px
        within = np.clip(edges, centres - 0.5, centres + 0.5)
        shares.append(np.diff(within, axis=1) / pixel_px)
    weights = shares[0] @ image @ shares[1].T
    return np.asarray(weights / image.sum())


def _within(weights: Array, reach: int) -> Array:
    """The middle of a kernel that reaches further than a panel."""
    over = max(0, len(weights) // 2 - reach)
    return weights[over : len(weights) - over, over : len(weights) - over]


def spread_along_axes(image: Image, taps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolve an image (slow, fast) with a product of one kernel along each axis, as wide on both sides; what leaves it is lost.

    In float32: along fast, then along slow, each from the middle outwards, a pair of pixels at the same distance at a time.
    """
    light = np.asarray(image, dtype=np.float32)
    for axis in (1, 0):
        reach, length = len(taps) - 1, light.shape[axis]
        margins = [(reach, reach) if its == axis else (0, 0) for its in (0, 1)]
        padded = np.moveaxis(np.pad(light, margins), axis, 0)
        spread = taps[0] * padded[reach : reach + length]
        for k in range(1, reach + 1):
            spread += taps[k] * (padded[reach - k : reach - k + length] + padded[reach + k : reach + k + length])
        light = np.moveaxis(spread, 0, axis)
    return light


def spread_by_transform(
    image: Image, kernel: Kernel, seen: Callable[[Image], Image] | None = None
) -> NDArray[np.float32]:
    """Convolve an image (slow, fast) with a kernel of weights; what leaves the image is lost. Light is rounded to multiples of 2^-32.

    Parameters
    ----------
    seen
        What there is of an image, pixel by pixel, before it spreads; called with the pieces that are transformed.
    """
    assert kernel.weights is not None
    reach, block = len(kernel.weights) // 2, kernel.block
    step, light, around = block - 2 * reach, np.empty(image.shape, dtype=np.float32), np.empty((block, block))
    for row in range(0, image.shape[0], step):
        for column in range(0, image.shape[1], step):
            top, left = max(row - reach, 0), max(column - reach, 0)
            piece = image[top : row + step + reach, left : column + step + reach]
            around[...] = 0
            down, right = top - row + reach, left - column + reach
            around[down : down + piece.shape[0], right : right + piece.shape[1]] = (
                piece if seen is None else seen(piece)
            )
            product = np.fft.rfft2(around)
            product *= kernel.transform
            found = np.fft.irfft2(product, s=around.shape)[2 * reach :, 2 * reach :]
            part = light[row : row + step, column : column + step]
            part[...] = np.abs(np.rint(found[: part.shape[0], : part.shape[1]] / GRID)) * GRID
            del product, found  # before what is seen of the next piece is worked out
    return light
