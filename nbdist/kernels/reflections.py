"""Which reflections cross the Ewald sphere, and when: what the integrated method, the labels and the predictions of spots rest on.

A reciprocal lattice point G turns about the spindle u. Its excitation error, the distance to the Ewald sphere along the sphere's normal, is

    e(phi) = lambda |G|^2 / 2 + s . G(phi) = A (cos(phi - phi_0) - c)

for a beam along s: A is the length of s seen across the spindle times that of G, phi_0 the phi at which the two are nearest, and c says
how far the point is from turning into the sphere. It crosses at phi_0 +- acos(c) where |c| <= 1, once in each half of a turn; elsewhere
each half keeps the phi where it comes nearest. The point lights up while |e| is within the spread of its spot.
(W. Kabsch, Acta Cryst. D66 (2010) 133; Z. Otwinowski and W. Minor, International Tables for Crystallography F, 11.4.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import dual_vectors
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.mosaic import crystal_axes, small_turns
from nbdist.scene.rocking import SHAPE_WIDTHS
from nbdist.scene.specimen import Lattice

Array = NDArray[np.float64]

GAUSS_VARIANCE = 0.63 / 4
"""Variance of the spot of a gauss crystal of fudge 1, in units of 1 / size^2: exp(-2 r^2 / 0.63) is its intensity."""
MOST_REFLECTIONS = 50_000_000
"""More than a crystal has: of a uniform amplitude, within the resolution of the detector."""
CLASSES_RAD = (0.01, 0.1, math.inf)
"""Widths by which crossings are kept apart, so that a few wide ones (near the spindle) do not slow the search for the others."""


class Spread(NamedTuple):
    """What widens the spots of a lattice; arrays are float64, at phi 0.

    Attributes
    ----------
    shape
        Covariance (3, 3) of its shape in reciprocal space, 1/Angstrom^2.
    mosaic
        Covariance (3, 3) of the rotation vectors of its blocks, radians^2, in the lab.
    """

    shape: Array
    mosaic: Array


def spread_of(lattice: Lattice) -> Spread:
    """Covariances of a lattice's spots: of exp(-(2 fudge / 0.63) dh.W.dh), W its shape metric, and of its mosaicity.

    Other shapes count as the gauss of their width; counted mosaic domains widen a spot like normal ones of their second moments.
    """
    real, axes = lattice.real_vectors_A, crystal_axes(lattice.real_vectors_A)
    reciprocal, turns = dual_vectors(real), small_turns(lattice.mosaic)
    variance = GAUSS_VARIANCE * (SHAPE_WIDTHS[lattice.shape] / SHAPE_WIDTHS["gauss"]) ** 2
    shape = reciprocal.T @ np.linalg.inv(lattice.shape_metric) @ reciprocal * (variance / lattice.fudge)
    return Spread(shape, axes.T @ np.diag(lattice.mosaic_sigma_rad**2) @ axes + turns.T @ turns / len(turns))


@dataclass(frozen=True, eq=False)
class ReflectionList:
    """The reflections of a lattice that have an amplitude and may reach the detector, in the order of their indices; F(000) is left out.

    Attributes
    ----------
    miller
        Indices h, k, l, int32 (n, 3).
    vectors
        Reciprocal lattice vectors at phi 0, float64 (n, 3), 1/Angstrom.
    amplitudes
        F in electrons, float64 (tables, n).
    """

    miller: NDArray[np.int32]
    vectors: Array
    amplitudes: Array

    @classmethod
    def of(cls, lattice: Lattice, reflections: Reflections, kept_A: float) -> ReflectionList:
        """Those within a spacing in Angstrom; of a uniform amplitude, or where unlisted ones have one, all of the lattice.

        Raises
        ------
        ExperimentError
            If that is more than a crystal has.
        """
        reciprocal = dual_vectors(lattice.real_vectors_A)
        longest = 1 / kept_A
        if not reflections.default_F and _in_order(reflections.indices):
            miller, amplitudes = reflections.indices, np.atleast_2d(reflections.amplitudes)
            vectors = miller @ reciprocal
            h, k, l = miller.T
            within = _squares(vectors) <= longest * longest
            kept = np.flatnonzero(within & ((h | k | l) != 0) & amplitudes.any(axis=0))
            return cls(miller.take(kept, axis=0).astype(np.int32), vectors.take(kept, axis=0), amplitudes[:, kept])
        table = AmplitudeTable.of(reflections)
        if reflections.default_F:
            limits = np.floor(np.linalg.norm(lattice.real_vectors_A, axis=1) * longest)
            if np.prod(2 * limits + 1) > MOST_REFLECTIONS:
                raise ExperimentError(
                    f"{lattice.amplitudes_field}: an amplitude for every reflection within {kept_A:.3g} A makes more than "
                    f"{MOST_REFLECTIONS} of them; give a list"
                )
            ranges = [np.arange(-int(limit), int(limit) + 1) for limit in limits]
            miller = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
        else:
            miller = np.argwhere((table.values != 0).any(axis=0)) + np.array(table.lowest)
        vectors = miller @ reciprocal
        kept = ((vectors * vectors).sum(axis=1) <= longest * longest) & miller.any(axis=1)
        miller, vectors = miller[kept], vectors[kept]
        highest = np.array(table.values.shape[1:]) - 1
        place = tuple(np.clip(miller - np.array(table.lowest), 0, highest).T)
        amplitudes = np.stack([values[place] for values in table.values])
        return cls(miller.astype(np.int32), vectors, amplitudes)

    def __len__(self) -> int:
        return len(self.miller)

    def numbers(self, miller: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Where reflections (n, 3) stand in the list, int64 (n,); -1 for those that it lacks."""
        if not len(self):
            return np.full(len(miller), -1)
        lowest, highest = self.miller.min(axis=0), self.miller.max(axis=0)
        size = (highest - lowest + 1).astype(np.int64)

        def key(indices: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
            h, k, l = (indices - lowest).T.astype(np.int64)
            return np.asarray((h * size[1] + k) * size[2] + l)

        within = ((miller >= lowest) & (miller <= highest)).all(axis=1)
        keys, wanted = key(self.miller), np.where(within, key(miller), -1)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[place] == wanted, place, -1)


def _squares(vectors: Array) -> Array:
    """Squared lengths (n,) of vectors (n, 3)."""
    x, y, z = vectors.T  # a sum over an axis of three takes seven times as long
    return np.asarray(x * x + y * y + z * z)


def _in_order(miller: NDArray[np.integer[Any]]) -> bool:
    """Whether indices (n, 3) are in the order of h, then k, then l, none of them twice."""
    h, k, l = np.diff(miller, axis=0).T
    return bool(((h > 0) | ((h == 0) & ((k > 0) | ((k == 0) & (l > 0))))).all())


class SpreadBeam(NamedTuple):
    """A source of the beam with its spread, or the mean of several.

    Attributes
    ----------
    direction
        Unit vector (3,) of the way the photons travel.
    wavelength_A
        Of the source.
    bandwidth_sigma
        Root mean square of its spectrum, relative.
    divergence_sigma_rad, divergence_axes
        Root mean squares of its divergence (2,), and the axes (2, 3) about which it is turned.
    """

    direction: Array
    wavelength_A: float
    bandwidth_sigma: float
    divergence_sigma_rad: Array
    divergence_axes: Array


def excitation_sigma(vectors: Array, phi: Array, spread: Spread, spindle_axis: Array, beam: SpreadBeam) -> Array:
    """Root mean square (n,) of the excitation error of vectors (n, 3) at a phi of each, 1/Angstrom; seen from the crystal, at phi 0."""
    normal = _from_crystal(beam.direction, phi, spindle_axis) + beam.wavelength_A * vectors
    normal /= np.sqrt(np.einsum("ni,ni->n", normal, normal))[:, None]
    variance = _form(normal, spread.shape) + _form(np.cross(vectors, normal), spread.mosaic)
    if beam.bandwidth_sigma:
        variance += (beam.bandwidth_sigma * (normal * vectors).sum(axis=1)) ** 2
    for sigma, axis in zip(beam.divergence_sigma_rad, beam.divergence_axes, strict=True):
        if sigma:
            move = _from_crystal(np.cross(axis, beam.direction), phi, spindle_axis)
            variance += (sigma / beam.wavelength_A * (normal * move).sum(axis=1)) ** 2
    return np.sqrt(variance)


class _Approach(NamedTuple):
    """How vectors come near to the Ewald sphere, A (cos(phi - phi_0) - c): A, phi_0 on the turn that counts as the first, and c; (n,)."""

    reach: Array
    middle: Array
    level: Array

    @classmethod
    def of(cls, vectors: Array, spindle_axis: Array, beam: SpreadBeam, counted_from: Array) -> _Approach:
        """The approach of vectors (n, 3) for a source; turns count from where they are nearest to the unit vector `counted_from` (3,)."""
        direction = beam.direction
        along, across = vectors @ spindle_axis, np.cross(spindle_axis, vectors)
        cosine, sine = vectors @ direction - along * (spindle_axis @ direction), across @ direction
        reach = np.maximum(np.hypot(cosine, sine), 1e-300)
        middle = np.arctan2(sine, cosine)
        if (counted_from != direction).any():
            counted = np.arctan2(across @ counted_from, vectors @ counted_from - along * (spindle_axis @ counted_from))
            middle += 2 * np.pi * np.round((counted - middle) / (2 * np.pi))
        square = _squares(vectors)
        return cls(reach, middle, (-beam.wavelength_A / 2 * square - (spindle_axis @ direction) * along) / reach)


class HalfTurn(NamedTuple):
    """Half turns of the spindle that belong to one crossing each, as in `Lit`; arrays (n,)."""

    branch: NDArray[np.int64]
    crossing: Array
    first: Array
    last: Array

    @classmethod
    def at(cls, phi: float, vectors: Array, spindle_axis: Array, beam: SpreadBeam, counted_from: Array) -> HalfTurn:
        """The half turns of vectors (n, 3) that hold a phi, radians, whether they light up in them or not."""
        approach = _Approach.of(vectors, spindle_axis, beam, counted_from)
        turn = np.floor((phi - approach.middle) / (2 * np.pi) + 0.5)
        middle = approach.middle + 2 * np.pi * turn
        half = (phi < middle).astype(np.int64)
        crossing = middle + (1 - 2 * half) * np.arccos(np.clip(approach.level, -1, 1))
        return cls(2 * turn.astype(np.int64) + half, crossing, middle - np.pi * half, middle + np.pi * (1 - half))


class Lit(NamedTuple):
    """Reflections that light up in a range of phi, one for each half turn of each; arrays (m,), angles in radians.

    Attributes
    ----------
    number
        In the list, int64.
    branch
        2 x turn + half: which of its crossings it is, int64; turns are counted from where it is nearest to the beam.
    crossing
        Phi of the crossing, or of the nearest approach.
    first, last
        The half turn that belongs to it.
    begins, ends
        The phi between which it lights up.
    sigma
        Root mean square of its excitation error at the crossing, 1/Angstrom.
    """

    number: NDArray[np.int64]
    branch: NDArray[np.int64]
    crossing: Array
    first: Array
    last: Array
    begins: Array
    ends: Array
    sigma: Array


class _Class(NamedTuple):
    """Crossings of similar width by the phi at which they begin, from 0 to a turn; `branch` is what they are there."""

    begins: Array
    ends: Array
    number: NDArray[np.int64]
    branch: NDArray[np.int64]
    crossing: Array
    middle: Array
    sigma: Array
    widest: float


class Crossings:
    """When each reflection of a list lights up for one source, on any turn of the spindle.

    Parameters
    ----------
    vectors
        Reciprocal lattice vectors at phi 0 (n, 3), 1/Angstrom.
    spread
        Of the lattice.
    spindle_axis
        Unit vector (3,).
    beam
        The source.
    tolerance
        A reflection is lit while it gives more than this part of its peak.
    scan_rad
        The phi of a whole series, first and last: what never lights up in it is left out.
    counted_from
        Direction of the beam from which turns are counted, the same for all sources, unit vector (3,).
    """

    def __init__(
        self,
        vectors: Array,
        spread: Spread,
        spindle_axis: Array,
        beam: SpreadBeam,
        tolerance: float,
        scan_rad: tuple[float, float],
        counted_from: Array,
    ) -> None:
        deviations = math.sqrt(-2 * math.log(tolerance)) + 0.3
        near_by = _near_by(vectors, spread, spindle_axis, beam, deviations, scan_rad)
        vectors = vectors.take(near_by, axis=0)
        reach, middle, level = _Approach.of(vectors, spindle_axis, beam, counted_from)
        half_turn = np.arccos(np.clip(level, -1, 1))
        begins, ends, index, halves, crossings, middles, sigmas = [], [], [], [], [], [], []
        for half in (0, 1):
            sign = 1 - 2 * half
            crossing = middle + sign * half_turn
            sigma = excitation_sigma(vectors, crossing, spread, spindle_axis, beam)
            slack = deviations * sigma / reach
            near, far = np.arccos(np.clip(level + slack, -1, 1)), np.arccos(np.clip(level - slack, -1, 1))
            a, b = (middle + near, middle + far) if half == 0 else (middle - far, middle - near)
            turns_left = np.floor((scan_rad[1] - a) / (2 * np.pi))  # the last turn on which it begins within the scan
            lit = np.flatnonzero(
                (level - slack < 1) & (level + slack > -1) & (b + turns_left * (2 * np.pi) >= scan_rad[0])
            )
            begins.append(a[lit])
            ends.append(b[lit])
            index.append(lit)
            halves.append(np.full(len(lit), half, dtype=np.int64))
            crossings.append(crossing[lit])
            middles.append(middle[lit])
            sigmas.append(sigma[lit])
        begin, end, number = np.concatenate(begins), np.concatenate(ends), near_by[np.concatenate(index)]
        which, crossing, centre = np.concatenate(halves), np.concatenate(crossings), np.concatenate(middles)
        deviation = np.concatenate(sigmas)
        turns = np.floor(begin / (2 * np.pi))  # each begins within the first turn
        branch = which - 2 * turns.astype(np.int64)
        begin, end, crossing, centre = (phi - 2 * np.pi * turns for phi in (begin, end, crossing, centre))
        self._classes = []
        width, least = end - begin, 0.0
        for most in CLASSES_RAD:
            some = np.flatnonzero((width >= least) & (width < most))
            some = some[np.argsort(begin[some], kind="stable")]
            least = most
            if len(some):
                self._classes.append(
                    _Class(
                        begin[some],
                        end[some],
                        number[some],
                        branch[some],
                        crossing[some],
                        centre[some],
                        deviation[some],
                        float(width[some].max()),
                    )
                )

    def between(self, first: float, last: float) -> Lit:
        """The reflections that light up from one phi to another, radians, in no order."""
        found: list[tuple[NDArray[np.int64], ...]] = []
        reals: list[Array] = []
        for its in self._classes:
            for turn in range(math.floor((first - its.widest) / (2 * np.pi)), math.floor(last / (2 * np.pi)) + 1):
                offset = 2 * np.pi * turn
                low, high = np.searchsorted(its.begins, [first - offset - its.widest, last - offset])
                some = low + np.flatnonzero(its.ends[low:high] >= first - offset)
                branch, middle = its.branch[some], its.middle[some]
                half = branch & 1
                found.append((its.number[some], 2 * turn + branch))
                half_turn = middle - np.pi * half, middle + np.pi * (1 - half)
                times = np.stack([its.crossing[some], *half_turn, its.begins[some], its.ends[some]]) + offset
                reals.append(np.concatenate([times, its.sigma[some][None]]))
        if not found:
            nothing = np.zeros(0, dtype=np.int64)
            return Lit(nothing, nothing, *np.zeros((6, 0)))
        index, branch = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Lit(index, branch, *np.concatenate(reals, axis=1))


def _near_by(
    vectors: Array,
    spread: Spread,
    spindle_axis: Array,
    beam: SpreadBeam,
    deviations: float,
    scan_rad: tuple[float, float],
) -> NDArray[np.int64]:
    """Numbers of the vectors (n, 3) that may light up in a scan, ascending, and of others: of a short one most are left out.

    The excitation error changes by at most |v| times the turn, and its deviation is at most that of the largest variances of the spread.
    Never a single vector: a matrix product of one adds up in another order.
    """
    half_rad = (scan_rad[1] - scan_rad[0]) / 2
    square = _squares(vectors)
    (towards,) = _from_crystal(beam.direction, np.array([scan_rad[0] + half_rad]), spindle_axis)
    error = np.abs(vectors @ towards + beam.wavelength_A / 2 * square)
    shape, mosaic = (float(np.linalg.eigvalsh(matrix)[-1]) for matrix in spread)
    beams = float(((beam.divergence_sigma_rad / beam.wavelength_A) ** 2).sum())
    variance = shape + beams + square * (mosaic + beam.bandwidth_sigma**2)
    found = np.flatnonzero(error <= (1 + 1e-6) * (deviations * np.sqrt(variance) + np.sqrt(square) * half_rad))
    return found if len(found) > 1 else np.arange(min(2, len(vectors)))


def _from_crystal(vector: Array, phi: Array, spindle_axis: Array) -> Array:
    """A vector of the lab (3,) as a crystal sees it that the spindle has turned by phi (n,), (n, 3) (Rodrigues' formula)."""
    along = (spindle_axis @ vector) * spindle_axis
    return np.asarray(
        along + np.outer(np.cos(phi), vector - along) - np.outer(np.sin(phi), np.cross(spindle_axis, vector))
    )


def _form(vectors: Array, matrix: Array) -> Array:
    """v . M . v of each vector (n, 3)."""
    return np.asarray(np.einsum("ni,ni->n", vectors @ matrix, vectors))
