"""The spots of a frame, as the integrated method takes them: one entry for each reflection, source and stretch of phi.

A frame's phi is cut where a reflection turns back (each half turn has its own crossing) and into pieces where its path through the
Ewald sphere is curved by more than its spot: each piece is expanded about the phi in it that is nearest to the crossing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.kernels.reflections import (
    Crossings,
    HalfTurn,
    ReflectionList,
    Spread,
    SpreadBeam,
    excitation_sigma,
    spread_of,
)
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.scene import Scene
from nbdist.scene.tile import Tile

Array = NDArray[np.float64]

STRAIGHT = 0.5
"""Largest bulge of a piece's path, in units of the spot's smallest deviation."""
MOST_PIECES = 100
COUNTED = 0.1
"""Of a spot's peak: fainter pixels of it do not count as overlapped."""
STILL_RAD = 1e-12
"""A frame that turns by less is a still."""


LIST_BYTES, CROSSING_BYTES, MAKING_BYTES = 50, 160, 360
"""Of a reflection: in its list, in the crossings of each source, and while those of one are made (measured, of a whole turn)."""


def _error_function(values: Array) -> Array:
    return np.fromiter(map(math.erf, values.tolist()), np.float64, len(values))


def diffraction_bytes(scene: Scene, reflections: Sequence[Reflections]) -> int:
    """Expected bytes of the `Diffraction` of a scene at its height: of the reflections listed, or of all that the detector reaches."""
    total, largest = 0, 0
    for lattice, its in zip(scene.specimen.lattices, reflections, strict=True):
        count = len(its.indices)
        if its.default_F:
            cell_A3 = abs(float(np.linalg.det(lattice.real_vectors_A)))
            count = max(count, int(4 / 3 * math.pi * cell_A3 / scene.kept_A**3))
        total += count * (LIST_BYTES + CROSSING_BYTES * len(scene.instrument.sources))
        largest = max(largest, count)
    return total + MAKING_BYTES * largest


class Entries(NamedTuple):
    """What a frame's spots are made of; arrays (n,), sorted by spot, angles in radians.

    Attributes
    ----------
    spot
        Number of the spot in the frame, int64, ascending from 0.
    lattice, source
        Whose, int64.
    vector
        Reciprocal lattice vector at phi 0 (n, 3), 1/Angstrom.
    phi
        The phi about which it is expanded.
    low, high
        The stretch of phi, from there.
    strength
        F^2 N^2 x weight of the source and share of the lattice x the part of the frame's oscillation x what dose has left of it.
    """

    spot: NDArray[np.int64]
    lattice: NDArray[np.int64]
    source: NDArray[np.int64]
    vector: Array
    phi: Array
    low: Array
    high: Array
    strength: Array

    def of(self, which: NDArray[np.integer[Any]] | slice) -> Entries:
        """Some of them, in an order."""
        return Entries(*(column[which] for column in self))  # type: ignore[arg-type]


class FrameSpots(NamedTuple):
    """The spots of a frame and their entries.

    Attributes
    ----------
    reflection
        Identity of the reflection's crossing in the series (see `Diffraction.identity`), int64 (spots,).
    entries
        What they are made of.
    """

    reflection: NDArray[np.int64]
    entries: Entries


class SpotMeasures(NamedTuple):
    """What a tile holds of each of a frame's spots; zeros where a spot is not in it.

    Attributes
    ----------
    moments
        Photons, centroid (slow, fast) and second moments about it (slow^2, fast^2, slow x fast) in pixels, float64 (spots, 6).
    boxes
        Rows and columns (first and last, last exclusive) in which it is above the tolerance, and those of its peak, int64 (spots, 6).
    beside
        Photons of the background within its pixels, and the largest share of others in the Bragg photons of a pixel of at least a tenth
        of its peak, float64 (spots, 2).
    spot
        Of each pixel 0, or 1 + which of the spots with photons here gives most, where enough of its photons are Bragg photons; int32
        (rows, columns), None where that was not asked for.
    """

    moments: Array
    boxes: NDArray[np.int64]
    beside: Array
    spot: NDArray[np.int32] | None

    @classmethod
    def empty(cls, spots: int, under: Underneath, shape: tuple[int, int]) -> SpotMeasures:
        """All 0, to be filled; an image of (rows, columns), where it is asked for, to be written."""
        return cls(
            np.zeros((spots, 6)),
            np.zeros((spots, 6), dtype=np.int64),
            np.zeros((spots, 2)),
            None if under.spot_share is None else np.empty(shape, dtype=np.int32),
        )


class Underneath(NamedTuple):
    """What is needed to measure spots.

    Attributes
    ----------
    photons
        Of one unit of a partial intensity.
    background
        Photons of the background, float32 (rows, columns).
    spot_share
        A pixel is its dominant spot's where the Bragg photons are more than this share of all; None where that is not asked for.
    """

    photons: float
    background: NDArray[np.float32] | None
    spot_share: float | None = None


def measured(
    given: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]],
    spots: int,
    tile: Tile,
    image: Array,
    under: Underneath,
    tolerance: float,
    own: Array | None = None,
) -> SpotMeasures:
    """Measure spots by what they give to the pixels of a tile.

    Parameters
    ----------
    given
        Numbers of spots, pixels (row by row) and values, (n,) each; a spot may give to a pixel more than once.
    spots
        How many there are.
    image
        Sum of all values, (rows, columns).
    tolerance
        Of its peak, below which a pixel is not in a spot's box.
    own
        Share of the values of a pixel that is the spot's own (rows, columns); all where left out.
    """
    measures = SpotMeasures.empty(spots, under, tile.shape)
    if measures.spot is not None:
        measures.spot.fill(0)
    if not given:
        return measures
    number, pixel, value = (np.concatenate(columns) for columns in zip(*given, strict=True))
    key, inverse = np.unique(number * tile.pixels + pixel, return_inverse=True)
    number, pixel, value = key // tile.pixels, key % tile.pixels, np.bincount(inverse, value)
    number, pixel, value = number[value > 0], pixel[value > 0], value[value > 0]
    rows, columns = pixel // tile.shape[1] + tile.slow_start, pixel % tile.shape[1] + tile.fast_start
    flat, background = image.reshape(-1), under.background
    if measures.spot is not None:
        order = np.lexsort((-number, value))  # the last to be written is the largest; of equal ones the first
        photons, other = flat[pixel] * under.photons, 0.0 if background is None else background.reshape(-1)[pixel]
        named = np.unique(number, return_inverse=True)[1] + 1
        named[~(photons > (under.spot_share or 0.0) * (photons + other))] = 0
        measures.spot.reshape(-1)[pixel[order]] = named[order]
    for start, stop in pairwise([*np.flatnonzero(np.diff(number, prepend=-1)).tolist(), len(number)]):
        its, spot = slice(start, stop), int(number[start])
        weight, slow, fast = value[its], rows[its] + 0.5, columns[its] + 0.5
        total, brightest = weight.sum(), int(weight.argmax())
        middle = weight @ slow / total, weight @ fast / total
        ds, df = slow - middle[0], fast - middle[1]
        moments = (weight @ (ds * ds), weight @ (df * df), weight @ (ds * df))
        measures.moments[spot] = (total * under.photons, *middle, *(moment / total for moment in moments))
        inside = weight >= tolerance * weight[brightest]
        r, c = rows[its][inside], columns[its][inside]
        measures.boxes[spot] = (
            r.min(),
            r.max() + 1,
            c.min(),
            c.max() + 1,
            rows[its][brightest],
            columns[its][brightest],
        )
        below = 0.0 if background is None else float(background.reshape(-1)[pixel[its][inside]].sum(dtype=np.float64))
        bright = weight >= COUNTED * weight[brightest]
        share = weight[bright] / flat[pixel[its][bright]]
        if own is not None:
            share = share * own.reshape(-1)[pixel[its][bright]]
        measures.beside[spot] = (below, 1 - share.min())
    return measures


class Diffraction:
    """The reflections of a scene's lattices, and when they light up for each of its sources.

    Parameters
    ----------
    scene
        The scene.
    reflections
        Amplitudes of each lattice.

    Attributes
    ----------
    lists, spreads
        The reflections of each lattice, and what spreads their spots.
    tables
        Of each lattice which of its amplitudes each source sees, where sources see others.
    """

    def __init__(self, scene: Scene, reflections: Sequence[Reflections]) -> None:
        self.scene = scene
        lattices = scene.specimen.lattices
        self.lists = [
            ReflectionList.of(lattice, its, scene.kept_A) for lattice, its in zip(lattices, reflections, strict=True)
        ]
        self.spreads = [spread_of(lattice) for lattice in lattices]
        self.tables = [its.table_of_source for its in reflections]
        self._first = np.cumsum([0, *(len(its) for its in self.lists)])
        scan = scene.experiment.scan
        ends = np.deg2rad([scan.phi_start_deg, scan.phi_start_deg + scan.frames * scan.osc_range_deg])
        self.scan_rad = float(ends.min()), float(ends.max())
        self._first_turn = math.floor(self.scan_rad[0] / (2 * np.pi)) - 1
        self._branches = 2 * (math.floor(self.scan_rad[1] / (2 * np.pi)) + 2 - self._first_turn)
        self._crossings: dict[tuple[int, int], Crossings] = {}
        self._last: tuple[int, FrameSpots] | None = None

    @property
    def divergence_axes(self) -> Array:
        """Axes (2, 3) about which the beam's directions are spread: beam x polarization, and polarization."""
        instrument = self.scene.instrument
        across = np.cross(instrument.beam_direction, instrument.polarization_vector)
        length = float(np.linalg.norm(across))
        return np.stack([across / length if length else across, instrument.polarization_vector])

    def beam(self, source: int) -> SpreadBeam:
        """A source with its spread."""
        instrument = self.scene.instrument
        return SpreadBeam(
            instrument.sources.directions[source],
            float(instrument.sources.wavelengths_A[source]),
            instrument.bandwidth_sigma,
            instrument.divergence_sigma_rad,
            self.divergence_axes,
        )

    @cached_property
    def mean_beam(self) -> SpreadBeam:
        """All sources as one: their weighted means and what they are spread by, with the spread of each where that is not among them."""
        instrument, sources = self.scene.instrument, self.scene.instrument.sources
        shares = sources.weights / sources.weights.sum()
        wavelength_A, direction = float(shares @ sources.wavelengths_A), shares @ sources.directions
        direction = direction / np.linalg.norm(direction)
        apart = sources.directions - direction
        bandwidth = float(shares @ (sources.wavelengths_A / wavelength_A - 1) ** 2)
        spread = (apart * shares[:, None]).T @ apart
        if self.scene.method == "integrated":
            bandwidth += instrument.bandwidth_sigma**2
            moves = np.cross(self.divergence_axes, direction) * instrument.divergence_sigma_rad[:, None]
            spread += moves.T @ moves
        variances, axes = np.linalg.eigh(spread)
        sigmas = np.sqrt(np.maximum(variances[1:], 0))
        return SpreadBeam(direction, wavelength_A, math.sqrt(bandwidth), sigmas, np.cross(direction, axes.T[1:]))

    def crossings(self, lattice: int, source: int) -> Crossings:
        """When a lattice's reflections light up for a source; worked out once."""
        found = self._crossings.get((lattice, source))
        if found is None:
            found = self._crossings[lattice, source] = self._crossings_of(lattice, self.beam(source))
        return found

    def mean_crossings(self, lattice: int) -> Crossings:
        """When a lattice's reflections light up for all sources as one: those of the only source where there is one."""
        if self.scene.method == "integrated" and len(self.scene.instrument.sources) == 1:
            return self.crossings(lattice, 0)
        return self._crossings_of(lattice, self.mean_beam)

    def _crossings_of(self, lattice: int, beam: SpreadBeam) -> Crossings:
        return Crossings(
            self.lists[lattice].vectors,
            self.spreads[lattice],
            self.scene.spindle_axis,
            beam,
            self.scene.instrument.tolerance,
            self.scan_rad,
            self.scene.instrument.beam_direction,
        )

    def identity(self, lattice: int, index: NDArray[np.int64], branch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers that stand for crossings in the whole series, ascending by lattice, reflection and phi; int64 (n,).

        Parameters
        ----------
        lattice, index
            Which reflection of which list.
        branch
            2 x turn + half, as `Crossings` counts them.
        """
        later = branch ^ 1  # of a turn the second half comes before the first: it ends where that begins
        return (self._first[lattice] + index) * self._branches + later - 2 * self._first_turn

    def listed(self, identity: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which reflection of which lattice's list crosses, by `identity`: lattice and number in the list, int64 (n,)."""
        reflection = identity // self._branches
        lattice = np.searchsorted(self._first, reflection, side="right") - 1
        return lattice, reflection - self._first[lattice]

    def named_by(self, identity: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32], Array]:
        """Whose crossings these are by their `identity`: lattice, int64 (n,); h, k, l, int32 (n, 3); spacing, Angstrom, float64 (n,)."""
        lattice, listed = self.listed(identity)
        miller, spacing_A = np.empty((len(identity), 3), dtype=np.int32), np.empty(len(identity))
        for number, its in enumerate(self.lists):
            some = np.flatnonzero(lattice == number)
            index = listed[some]
            miller[some], spacing_A[some] = its.miller[index], 1 / np.linalg.norm(its.vectors[index], axis=1)
        return lattice, miller, spacing_A

    def frame_rad(self, frame: int) -> tuple[float, float]:
        """Phi at the ends of a frame, ascending, radians."""
        scan = self.scene.experiment.scan
        ends = np.deg2rad([scan.frame_start_deg(frame), scan.frame_start_deg(frame) + scan.osc_range_deg])
        return float(ends.min()), float(ends.max())

    def spots(self, frame: int) -> FrameSpots:
        """The spots of a frame; those of the frame that was last asked for are kept, as its panels and tiles share them."""
        last_frame = self._last
        if last_frame is not None and last_frame[0] == frame:
            return last_frame[1]
        parts = [
            self._entries(lattice, source, frame)
            for lattice in range(len(self.lists))
            for source, weight in enumerate(self.scene.instrument.sources.weights)
            if weight
        ]
        identity = np.concatenate([identity for identity, _ in parts])
        entries = Entries(*(np.concatenate(columns) for columns in zip(*(its for _, its in parts), strict=True)))
        order = np.argsort(identity, kind="stable")
        reflection, spot = np.unique(identity[order], return_inverse=True)
        found = FrameSpots(reflection, entries.of(order)._replace(spot=spot.astype(np.int64)))
        self._last = frame, found
        return found

    def named(
        self, frame: int, lattice: NDArray[np.int64], miller: NDArray[np.int64]
    ) -> tuple[FrameSpots, NDArray[np.int64]]:
        """Reflections as spots of a frame, each on the half turn that holds the middle of the frame, with all sources as one.

        Parameters
        ----------
        lattice, miller
            Whose reflections, int64 (n,), and their h, k, l (n, 3); the same one may be named more than once.

        Returns
        -------
        The spots, whose entries have no strength; and the spot of each reflection, int64 (n,), -1 for one that its list lacks.
        """
        start, stop = self.frame_rad(frame)
        spot, count = np.full(len(lattice), -1), 0
        identities: list[NDArray[np.int64]] = []
        parts: list[Entries] = []
        for number, its in enumerate(self.lists):
            some = np.flatnonzero(lattice == number)
            index = its.numbers(miller[some])
            some, index = some[index >= 0], index[index >= 0]
            index, inverse = np.unique(index, return_inverse=True)
            vector = its.vectors[index]
            half = HalfTurn.at(
                (start + stop) / 2,
                vector,
                self.scene.spindle_axis,
                self.mean_beam,
                self.scene.instrument.beam_direction,
            )
            low, high = np.maximum(half.first, start), np.minimum(half.last, stop)
            phi, filled = np.clip(half.crossing, low, high), np.zeros(len(index), dtype=np.int64)
            identities.append(self.identity(number, index, half.branch))
            parts.append(
                Entries(
                    count + np.arange(len(index)),
                    filled + number,
                    filled,
                    vector,
                    phi,
                    low - phi,
                    high - phi,
                    np.zeros(len(index)),
                )
            )
            spot[some] = count + inverse
            count += len(index)
        entries = Entries(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        return FrameSpots(np.concatenate(identities), entries), spot

    def partiality(self, spots: FrameSpots, which: NDArray[np.int64]) -> Array:
        """Share of the photons of some spots (n,), of those of all phi, that the stretch of phi has (n,): of a still, of its crossing's.

        The excitation error passes through a Gaussian: Phi(e_2 / sigma) - Phi(e_1 / sigma), for all sources as one.
        """
        entries, scene, beam = spots.entries, self.scene, self.mean_beam
        u = scene.spindle_axis
        first, after = (np.searchsorted(entries.spot, which, side) for side in ("left", "right"))
        vector, lattice, phi = entries.vector[first], entries.lattice[first], entries.phi[first]
        deviation = np.empty(len(first))
        for number, spread in enumerate(self.spreads):
            some = lattice == number
            deviation[some] = excitation_sigma(vector[some], phi[some], spread, u, beam)
        ends = phi + entries.low[first], entries.phi[after - 1] + entries.high[after - 1]
        along = (vector @ u) * (u @ beam.direction)
        at_rest = beam.wavelength_A / 2 * (vector * vector).sum(axis=1) + along
        cosine, sine = vector @ beam.direction - along, vector @ np.cross(beam.direction, u)
        low, high = ((at_rest + cosine * np.cos(end) + sine * np.sin(end)) / deviation for end in ends)
        still = np.abs(ends[1] - ends[0]) <= STILL_RAD
        share = 0.5 * np.abs(_error_function(high * 0.5**0.5) - _error_function(low * 0.5**0.5))
        return np.where(still, np.exp(-0.5 * low * low), share)

    def _entries(self, lattice: int, source: int, frame: int) -> tuple[NDArray[np.int64], Entries]:
        scene, its = self.scene, self.lists[lattice]
        first, last = self.frame_rad(frame)
        sources, table = scene.instrument.sources, self.tables[lattice]
        lit = self.crossings(lattice, source).between(first, last)
        start, stop = np.maximum(lit.first, first), np.minimum(lit.last, last)
        amplitude = its.amplitudes[0 if table is None else table[source], lit.number]
        kept = ((start < stop) if last - first > STILL_RAD else (start <= stop)) & (amplitude != 0)
        index, branch, crossing = lit.number[kept], lit.branch[kept], lit.crossing[kept]
        start, stop, amplitude = start[kept], stop[kept], amplitude[kept]
        vector = its.vectors[index]
        pieces = self._pieces(vector, self.spreads[lattice], stop - start)
        each = np.repeat(np.arange(len(index)), pieces)
        number = np.arange(len(each)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        width = ((stop - start) / pieces)[each]
        low = start[each] + number * width
        high = np.where(number + 1 == pieces[each], stop[each], low + width)
        phi = np.clip(crossing[each], low, high)
        its_lattice = scene.specimen.lattices[lattice]
        share = its_lattice.weight * its_lattice.cells_in_all**2 * sources.weights[source]
        part = (high - low) / (last - first) if last - first > STILL_RAD else np.ones(len(each))
        if its_lattice.decay is not None:
            part *= its_lattice.left_by_dose(frame, np.linalg.norm(vector, axis=1))[each]
        filled = np.full(len(each), 0, dtype=np.int64)
        return self.identity(lattice, index, branch)[each], Entries(
            spot=filled,
            lattice=filled + lattice,
            source=filled + source,
            vector=vector[each],
            phi=phi,
            low=low - phi,
            high=high - phi,
            strength=amplitude[each] ** 2 * share * part,
        )

    def _pieces(self, vector: Array, spread: Spread, width: Array) -> NDArray[np.int64]:
        """Into how many pieces the phi of each reflection is cut: its path bulges by (width/pieces)^2 |G across the spindle| / 8."""
        across = np.linalg.norm(np.cross(self.scene.spindle_axis, vector), axis=1)
        smallest = math.sqrt(float(np.linalg.eigvalsh(spread.shape)[0]))
        wanted = np.ceil(width * np.sqrt(across / (8 * STRAIGHT * smallest)))
        return np.clip(wanted, 1, MOST_PIECES).astype(np.int64)
