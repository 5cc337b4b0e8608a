"""Whose the pixels of the sum are: a pixel's photons are counted for the reflection that gave most of them.

In one orientation a pixel has the term of its nearest reflection, h, k, l rounded. A reflection gives the sum of its terms over
subpixels, layers, sources, phi steps and mosaic domains. Only bright pixels are asked, and most of them have one nearest reflection in
all orientations, which the extent of the orientations tells beforehand; of the others the terms are worked out once more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.instrument import Instrument
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice
from nbdist.scene.spots import GAUSS_WIDTH, ROUND_SCALE, TOPHAT_RADIUS_SQUARED

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

TERMS_AT_ONCE = 2**16
ROUNDING = 1e-6
"""Of an index: what is worked out another way differs by less."""


class Givers(NamedTuple):
    """The reflections that gave most of the photons of some pixels; arrays (n,).

    Attributes
    ----------
    lattice
        Whose, int64; -1 where no term is more than 0.
    miller
        Its h, k, l, int64 (n, 3).
    share
        What it gave of all terms of the pixel, float64.
    """

    lattice: Whole
    miller: Whole
    share: Array


class _Candidates(NamedTuple):
    """The reflections of a lattice that may be the nearest to pixels in some orientation: a box of indices for each pixel.

    Attributes
    ----------
    low, size
        First h, k, l of each box and how many there are along each axis, int64 (n, 3).
    first
        Where the reflections of each box begin among all of them, int64 (n,).
    miller
        All of them, int64 (m, 3).
    """

    low: Whole
    size: Whole
    first: Whole
    miller: Whole

    @classmethod
    def within(cls, low: Whole, high: Whole) -> _Candidates:
        """The candidates of the boxes from `low` to `high` (n, 3), both inclusive."""
        size = high - low + 1
        count = size.prod(axis=1)
        first = np.cumsum(count) - count
        box = np.repeat(np.arange(len(low)), count)
        place = np.arange(len(box)) - first[box]
        k, l = size[box, 1], size[box, 2]
        return cls(low, size, first, low[box] + np.stack([place // (k * l), place // l % k, place % l], axis=1))

    def place(self, whole: Array) -> Whole:
        """Where reflections (3, orientations, n) stand among all."""
        h, k, l = (whole[axis] - self.low[:, axis] for axis in range(3))
        return np.asarray(((h * self.size[:, 1] + k) * self.size[:, 2] + l + self.first).astype(np.int64))


class Attribution:
    """Attributes the pixels of a frame.

    Parameters
    ----------
    scene
        The scene.
    tables
        Amplitudes of each lattice. Those that are interpolated between reflections count as their nearest reflection's.
    frame
        Whose orientations.
    """

    def __init__(self, scene: Scene, tables: Sequence[AmplitudeTable], frame: int) -> None:
        self._scene, self._tables, self._frame = scene, tables, frame
        self._orientations = [
            np.concatenate([group.real for group in scene.orientation_groups(lattice, frame)])
            for lattice in scene.specimen.lattices
        ]
        self._extents = [[_extent(real[:, axis]) for axis in range(3)] for real in self._orientations]

    def givers(self, panel: int, slow: Whole, fast: Whole) -> Givers:
        """Which reflections gave most to pixels (n,) of a panel."""
        count, lattices = len(slow), len(self._orientations)
        found = Givers(np.full(count, -1), np.zeros((count, 3), dtype=np.int64), np.ones(count))
        low, high = self._nearest(panel, slow, fast)
        alone = np.flatnonzero((low == high).all(axis=(0, 2))) if lattices == 1 else np.zeros(0, dtype=np.int64)
        found.lattice[alone], found.miller[alone] = 0, low[0, alone]
        others = np.setdiff1d(np.arange(count), alone, assume_unique=True)
        at_once = max(1, TERMS_AT_ONCE // max(len(real) for real in self._orientations))
        for start in range(0, len(others), at_once):
            some = others[start : start + at_once]
            for column, its in zip(
                found, self._compared(panel, slow[some], fast[some], low[:, some], high[:, some]), strict=True
            ):
                column[some] = its
        return found

    def _nearest(self, panel: int, slow: Whole, fast: Whole) -> tuple[Whole, Whole]:
        """Bounds (lattices, n, 3) of the nearest h, k, l in all orientations, of all rays and sources."""
        low = np.full((len(self._extents), len(slow), 3), np.inf)
        high = -low
        for q, _, _ in _scattering(self._scene.instrument, panel, slow, fast):
            for lattice, extents in enumerate(self._extents):
                for axis, extent in enumerate(extents):
                    index, along = extent.middle @ q, extent.axes @ q
                    ends = extent.ends[:, :, None] * along
                    least, most = low[lattice, :, axis], high[lattice, :, axis]
                    np.minimum(least, index + ends.min(axis=0).sum(axis=0), out=least)
                    np.maximum(most, index + ends.max(axis=0).sum(axis=0), out=most)
        return np.rint(low - ROUNDING).astype(np.int64), np.rint(high + ROUNDING).astype(np.int64)

    def _compared(self, panel: int, slow: Whole, fast: Whole, low: Whole, high: Whole) -> Givers:
        """The givers of pixels (n,) that more than one reflection may have given to."""
        scene = self._scene
        pixels, of_lattice, millers, sums = [], [], [], []
        for number, (lattice, table, real) in enumerate(
            zip(scene.specimen.lattices, self._tables, self._orientations, strict=True)
        ):
            candidates = _Candidates.within(low[number], high[number])
            total, shape = np.zeros(len(candidates.miller)), (3, len(real), len(slow))
            F2 = (lattice.cells_in_all * _amplitudes(table, candidates.miller)) ** 2 * scene.specimen.share(lattice)
            for q, weight, source in _scattering(scene.instrument, panel, slow, fast):
                # three products, not one of matrices: those are added up in another order by other numbers of cores
                index = sum(real[:, :, x].T[:, :, None] * q[x] for x in range(3))
                whole = np.rint(index)
                index -= whole
                if lattice.decay is not None:
                    weight = weight * lattice.left_by_dose(self._frame, np.sqrt((q * q).sum(axis=0)))
                terms = weight * spot_profile(lattice, index.reshape(3, -1).astype(np.float32)).reshape(shape[1:])
                place = candidates.place(whole)
                total += np.bincount(place.ravel(), terms.ravel(), len(total)) * F2[table.of_source(source)]
            pixels.append(np.repeat(np.arange(len(slow)), candidates.size.prod(axis=1)))
            of_lattice.append(np.full(len(total), number))
            millers.append(candidates.miller)
            sums.append(total)
        pixel, total = np.concatenate(pixels), np.concatenate(sums)
        order = np.lexsort((-total, pixel))  # of equal ones the first
        best = order[np.searchsorted(pixel[order], np.arange(len(slow)))]
        most, of_all = total[best], np.bincount(pixel, total, len(slow))
        lattice_of = np.where(most > 0, np.concatenate(of_lattice)[best], -1)
        return Givers(lattice_of, np.concatenate(millers)[best], most / np.where(most > 0, of_all, 1.0))


class _Extent(NamedTuple):
    """A box about vectors: its middle (3,), axes (3, 3) in rows, and its two ends (2, 3) along them."""

    middle: Array
    axes: Array
    ends: Array


def _extent(vectors: Array) -> _Extent:
    """The box about vectors (n, 3) along their principal axes."""
    middle = vectors.mean(axis=0)
    apart = vectors - middle
    _, axes = np.linalg.eigh(apart.T @ apart)
    along = apart @ axes
    return _Extent(middle, axes.T, np.stack([along.min(axis=0), along.max(axis=0)]))


def _scattering(instrument: Instrument, panel: int, slow: Whole, fast: Whole) -> Iterator[tuple[Array, Array, int]]:
    """Yield q (3, n) of pixels for every ray and source in 1/Angstrom, what its terms are weighted with (n,), and the source.

    Factors that all terms of a pixel have alike, solid angle and polarization, are left out.
    """
    geometry, sources, d_min_A = instrument.panels[panel], instrument.sources, instrument.d_min_A
    thickness_m = geometry.layer_thickness_m
    for ray in instrument.rays(panel):
        position = geometry.positions_m(slow + ray.slow_shift, fast + ray.fast_shift)
        if not geometry.curved:
            position = position + ray.layer * thickness_m * geometry.normal
        towards = position / np.linalg.norm(position, axis=1)[:, None]
        captured = np.ones(len(slow))
        if geometry.attenuation_per_m and geometry.layers > 1:
            path = thickness_m * geometry.attenuation_per_m / (towards @ geometry.normal)
            captured = np.exp(-ray.layer * path) - np.exp(-(ray.layer + 1) * path)
        for number, weight in enumerate(sources.weights):
            if weight:
                q = (towards - sources.directions[number]).T / sources.wavelengths_A[number]
                resolved = 1.0 if d_min_A is None else (q * q).sum(axis=0) * (d_min_A * d_min_A) <= 1
                yield q, weight * captured * resolved, number


def _amplitudes(table: AmplitudeTable, miller: Whole) -> Array:
    """F (tables, n) of reflections, electrons."""
    highest = np.array(table.values.shape[1:]) - 1
    h, k, l = np.clip(miller - np.array(table.lowest), 0, highest).T
    return np.asarray(table.values[:, h, k, l], dtype=np.float64)


def spot_profile(lattice: Lattice, distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """F_latt^2 / N^2 (n,) at distances (3, n) of h, k, l from the nearest whole ones, for a crystal of N cells.

    The formulas of `kernels.reference.shapes`, good to 1e-3 of the peak: they compare reflections, and make no image.
    """
    single = np.float32
    if lattice.shape == "square":
        product = np.ones(distances.shape[1], dtype=single)
        for cells, distance in zip(lattice.N_cells, distances, strict=True):
            angle = single(math.pi) * np.where(np.abs(distance) < 1e-7, single(1e-7), distance)
            product *= np.sin(single(cells) * angle) / (single(cells) * np.sin(angle))
        return product * product
    r2 = np.zeros(distances.shape[1], dtype=single)
    for axis, row in enumerate(np.sqrt(lattice.fudge) * lattice.shape_root):
        along = single(row[axis]) * distances[axis]
        for other in range(axis + 1, 3):
            if row[other]:
                along += single(row[other]) * distances[other]
        r2 += along * along
    if lattice.shape == "gauss":
        return np.asarray(np.exp(single(-2 / GAUSS_WIDTH) * r2))
    if lattice.shape == "tophat":
        return (r2 < TOPHAT_RADIUS_SQUARED).astype(single)
    x = np.maximum(single(math.pi) * np.sqrt(r2), single(4e-2))  # flat there
    amplitude = single(3 * ROUND_SCALE) * (np.sin(x) / x - np.cos(x)) / (x * x)
    return np.asarray(amplitude * amplitude)
