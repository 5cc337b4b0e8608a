"""Where and when reflections are seen: those of a series, each time that one crosses the Ewald sphere, and those of a frame.

Of several sources, or of a spread beam, it is the mean that is meant, of the spread of them all. A reflection passes through the sphere
with the excitation error e(phi), a Gaussian of the variance n.C.n about the diffracted ray n; C is the covariance of its spot (see
`kernels.reference.integrated`). It gives a frame

    r_e^2 fluence F^2 V lambda^2 polarization capture <exp(-e^2 / (2 n.C.n)) / sqrt(2 pi n.C.n)>

photons, with the integral V of |F_latt|^2 over the reciprocal space about it, and the mean over the phi of the frame; a still has one phi.
Where the path through the sphere is straight, all of its frames add up to Darwin's formula: the mean becomes 1 / (|de/dphi| osc), with
|de/dphi| = 1 / (lambda L) of the Lorentz factor L = 1 / |u.(b x n)| for a spindle u and a beam b. A reflection that turns back on its
way has a Lorentz factor and a rocking width all the same: lambda L is the integral of the density over phi, and the width that of a
Gaussian of the variance of phi.
(C. G. Darwin, Phil. Mag. 43 (1922) 800; W. Kabsch, Acta Cryst. D66 (2010) 133.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.kernels.spots import STILL_RAD, Diffraction
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.instrument import Instrument
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.rocking import FWHM_OF_DEVIATION
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice
from nbdist.scene.spots import peak_integral

Array = NDArray[np.float64]
NODES, NODE_WEIGHTS = (half[8:] for half in np.polynomial.legendre.leggauss(16))
"""Those above 0 of the Gauss-Legendre nodes on [-1, 1], and their weights."""
SMALL_RAD = 1e-6
"""By which rays are turned to see how places on a panel change."""
TOUCHES = 3.0
"""Deviations of a spot within which a masked pixel, or the edge of a panel, touches it."""


class Passages(NamedTuple):
    """Reflections on their way through the Ewald sphere, by identity; arrays (n,), angles in radians.

    Attributes
    ----------
    reflection
        Identity in the series.
    lattice, number
        Which reflection of which list.
    vector
        Reciprocal lattice vector at phi 0 (3, n), 1/Angstrom.
    F2
        Squared amplitude, the mean over sources.
    crossing
        Phi of the crossing, or of the nearest approach.
    begin, end
        From where to where it is lit.
    sigma
        Deviation of its excitation error at the crossing, 1/Angstrom.
    """

    reflection: NDArray[np.int64]
    lattice: NDArray[np.int64]
    number: NDArray[np.int64]
    vector: Array
    F2: Array
    crossing: Array
    begin: Array
    end: Array
    sigma: Array

    def by_lattice(self, lattices: int) -> list[slice]:
        """Where those of each lattice are."""
        edges = np.searchsorted(self.lattice, np.arange(lattices + 1)).tolist()
        return [slice(*ends) for ends in pairwise(edges)]

    def repeated(self, which: int, times: int) -> Passages:
        """One of them so many times."""
        again: list[Any] = [column[..., np.full(times, which)] for column in self]
        return Passages(*again)


class Excitation(NamedTuple):
    """e(phi) = at_rest + cosine cos(phi) + sine sin(phi) of each reflection, and its deviation; arrays (n,), 1/Angstrom."""

    at_rest: Array
    cosine: Array
    sine: Array
    sigma: Array

    def at(self, phi: Array) -> Array:
        """e(phi)."""
        return self.at_rest + self.cosine * np.cos(phi) + self.sine * np.sin(phi)

    def mean(self, low: Array, high: Array) -> tuple[Array, Array, Array]:
        """Mean density of e = 0 between two phi (n,), in Angstrom; and the mean and the variance of the phi at which it is met."""
        middle, half = (low + high) / 2, (high - low) / 2
        total, first, second = np.zeros((3, len(middle)))
        c, s = np.cos(middle) / self.sigma, np.sin(middle) / self.sigma
        at_rest, along, across = (
            self.at_rest / self.sigma,
            self.cosine * c + self.sine * s,
            self.sine * c - self.cosine * s,
        )
        for node, weight in zip(NODES, NODE_WEIGHTS, strict=True):  # and those on the other side
            odd = np.sin(node * half)
            even = np.sqrt(1 - odd * odd)  # the cosine: a passage keeps to half a turn, and sines are slow
            even *= along
            even += at_rest
            odd *= across
            before, after = _normal_density(even - odd), _normal_density(np.add(even, odd, out=even))
            before *= weight / 2
            after *= weight / 2
            both = before + after
            after -= before
            after *= node
            first += after
            total += both
            both *= node * node
            second += both
        met = np.maximum(total, 1e-300)
        at = first / met
        density = total / (self.sigma * math.sqrt(2 * math.pi))
        return density, middle + at * half, np.maximum(second / met - at * at, 0) * half * half


class Places(NamedTuple):
    """Where spots are; arrays (n,).

    Attributes
    ----------
    panel
        -1 for none.
    at
        Slow and fast (2, n) in pixels; NaN where there is no panel.
    extent
        Second moments slow^2, fast^2 and slow x fast (3, n) in pixels^2, of the spot itself, before pixels take their parts of it.
    two_theta
        Scattering angle, radians.
    capture
        Share of the photons that the sensor absorbs, of those that obstacles leave; times the solid angle that a pixel is taken for, over
        the one that it has there.
    polarization
        Polarization factor.
    touched
        Whether a masked pixel or the edge of the panel is within 3 deviations.
    """

    panel: NDArray[np.int64]
    at: Array
    extent: Array
    two_theta: Array
    capture: Array
    polarization: Array
    touched: NDArray[np.bool_]


class Prediction:
    """Predicts the reflections of a scene, by either method.

    Parameters
    ----------
    diffraction
        The reflections of the scene's lattices.

    Attributes
    ----------
    F2
        Squared amplitudes of each lattice's list (n,), the mean over sources, electron^2.
    """

    def __init__(self, diffraction: Diffraction) -> None:
        self.scene = scene = diffraction.scene
        self.diffraction = diffraction
        self.beam = diffraction.mean_beam
        sources = scene.instrument.sources
        self._crossings = [diffraction.mean_crossings(lattice) for lattice in range(len(diffraction.lists))]
        self._masked_before = [masked_before(panel) for panel in scene.instrument.panels]
        shares = sources.weights / sources.weights.sum()
        self.F2: list[Array] = []
        for its, table in zip(diffraction.lists, diffraction.tables, strict=True):
            parts = shares if table is None else np.bincount(table, shares, minlength=len(its.amplitudes))
            self.F2.append(its.amplitudes[0] ** 2 if table is None else parts @ its.amplitudes**2)

    def between(self, first: float, last: float) -> Passages:
        """The reflections that light up from one phi to another, radians, each time that they do."""
        found = []
        for lattice, (its, crossings) in enumerate(zip(self.diffraction.lists, self._crossings, strict=True)):
            lit = crossings.between(first, last)
            begin, end = np.maximum(lit.begins, lit.first), np.minimum(lit.ends, lit.last)
            still = last - first <= STILL_RAD
            seen = (np.maximum(begin, first) <= np.minimum(end, last)) if still else (begin < last) & (end > first)
            some = np.flatnonzero(seen)
            identity = self.diffraction.identity(lattice, lit.number[some], lit.branch[some])
            order = np.argsort(identity)  # whatever is looked up in the list is read from its beginning to its end
            F2 = self.F2[lattice][lit.number[some[order]]]
            order, F2 = order[F2 > 0], F2[F2 > 0]
            some, identity = some[order], identity[order]
            number = lit.number[some]
            vector = np.ascontiguousarray(its.vectors[number].T)
            reals = lit.crossing[some], begin[some], end[some], lit.sigma[some]
            found.append((identity, np.full(len(some), lattice), number, vector, F2, *reals))
        return Passages(*(np.concatenate(columns, axis=-1) for columns in zip(*found, strict=True)))

    def excitation(self, passages: Passages) -> Excitation:
        """How reflections pass through the sphere."""
        vector, u, beam = passages.vector, self.scene.spindle_axis, self.beam
        along = (u @ vector) * (u @ beam.direction)
        return Excitation(
            at_rest=beam.wavelength_A / 2 * _dot(vector, vector) + along,
            cosine=beam.direction @ vector - along,
            sine=np.cross(beam.direction, u) @ vector,
            sigma=passages.sigma,
        )

    def photons(self, passages: Passages, places: Places, density: Array, frame: Array) -> Array:
        """Expected photons (n,), at the mean fluence, of reflections whose excitation error is 0 with a mean density (n,), in Angstrom.

        What dose has left of them is that of `frame` (n,).
        """
        instrument, limit = self.scene.instrument, self.scene.instrument.d_min_A
        volumes = np.array([lattice.weight * spot_volume(lattice) for lattice in self.scene.specimen.lattices])
        squared = _dot(passages.vector, passages.vector)
        left = np.ones(len(squared)) if limit is None else (squared * limit * limit <= 1).astype(np.float64)
        if self.scene.specimen.decays:
            lattices = self.scene.specimen.lattices
            for lattice, its in zip(lattices, passages.by_lattice(len(lattices)), strict=True):
                left[its] *= lattice.left_by_dose(frame[its], np.sqrt(squared[its]))
        return np.asarray(
            (instrument.photons_per_electron2 * self.beam.wavelength_A**2)
            * (passages.F2 * volumes[passages.lattice] * places.polarization * places.capture * left)
            * np.where(places.panel >= 0, density, 0.0)
        )

    def places(self, passages: Passages, excitation: Excitation, phi: Array, variance: Array) -> Places:
        """Where reflections are seen, met at phi of a mean and a variance (n,).

        A spot that is off the sphere shows its part on it: the mean of its Gaussian there.
        """
        G, u, beam = passages.vector, self.scene.spindle_axis[:, None], self.beam
        turn = np.cos(phi), np.sin(phi)
        back = turn[0], -turn[1]  # from the lab to the crystal, where the covariances are
        towards = _turned(beam.direction[:, None], u, back)
        normal = towards + beam.wavelength_A * G
        normal /= np.sqrt(_dot(normal, normal))
        along_normal = self._moved(passages, back, normal)
        variance_of_normal = _dot(normal, along_normal)
        on_sphere = along_normal / variance_of_normal
        ray = towards + beam.wavelength_A * (G - excitation.at(phi) * on_sphere)
        ray /= np.sqrt(_dot(ray, ray))
        path = _cross(u, G)
        path -= _dot(path, normal) * on_sphere
        sides = _across(ray)
        moved = [self._moved(passages, back, side) for side in sides]
        seen = [_dot(side, along_normal) for side in sides]
        moves = [_dot(side, path) for side in sides]
        spread = [
            beam.wavelength_A**2
            * (_dot(sides[i], moved[j]) - seen[i] * seen[j] / variance_of_normal + variance * moves[i] * moves[j])
            for i, j in ((0, 0), (1, 1), (0, 1))
        ]
        ray, *onward = (_turned(vector, u, turn) for vector in (ray, *sides))
        return _places(self.scene.instrument, self._masked_before, beam.direction, ray, onward, spread)

    def _moved(self, passages: Passages, back: tuple[Array, Array], vector: Array) -> Array:
        """C.v of the covariance C of each spot and a vector v (3, n), seen from the crystal, which is turned `back` to the lab's phi."""
        G, beam, spreads = passages.vector, self.beam, self.diffraction.spreads
        out = np.empty(vector.shape)
        for spread, its in zip(spreads, passages.by_lattice(len(spreads)), strict=True):
            v, g = vector[:, its], G[:, its]
            out[:, its] = spread.shape @ v + _cross(
                spread.mosaic @ _cross(g, v), g
            )  # a mosaic rotation w moves G by w x G
        if beam.bandwidth_sigma:
            out += beam.bandwidth_sigma**2 * _dot(G, vector) * G
        for sigma, axis in zip(beam.divergence_sigma_rad, beam.divergence_axes, strict=True):
            if sigma:
                move = np.cross(axis, beam.direction) * (sigma / beam.wavelength_A)
                turned = _turned(move[:, None], self.scene.spindle_axis[:, None], back)
                out += _dot(turned, vector) * turned
        return out


def series_reflections(scene: Scene, reflections: Sequence[Reflections]) -> dict[str, NDArray[Any]]:
    """Every passage of a reflection in the scan of a series, by identity: the columns of `frames.tables.REFLECTION_COLUMNS`.

    Parameters
    ----------
    reflections
        Amplitudes of each lattice.
    """
    return all_crossings(Diffraction(scene, reflections))


def all_crossings(diffraction: Diffraction) -> dict[str, NDArray[Any]]:
    """What `series_reflections` gives, of a list of reflections that is there."""
    prediction, scene = Prediction(diffraction), diffraction.scene
    scan = scene.experiment.scan
    first, last = prediction.diffraction.scan_rad
    passages = prediction.between(first, last)
    excitation = prediction.excitation(passages)
    osc_rad = math.radians(abs(scan.osc_range_deg))
    whole_way = density, _, variance = excitation.mean(passages.begin, passages.end)
    if osc_rad > STILL_RAD:
        density = density * (passages.end - passages.begin) / osc_rad
        met = passages.crossing
        edges = np.sort(_frames(scene, np.stack([passages.begin, passages.end])), axis=0)
        frame, whole = _frames(scene, met), (edges[0] >= 0) & (edges[1] <= scan.frames)
    else:
        met = np.full(len(passages.crossing), first)
        density, _, variance = excitation.mean(met, met)
        density *= scan.frames
        edges = np.stack([np.zeros(len(met)), np.full(len(met), float(scan.frames))])
        frame, whole = np.full(len(met), 0.5), np.zeros(len(met), dtype=bool)
    places = prediction.places(passages, excitation, met, variance)
    rows = _described(prediction, passages, whole_way, places)
    return rows | {
        "F": np.sqrt(passages.F2),
        "F2": passages.F2,
        "frame": frame,
        "two_theta_deg": np.rad2deg(places.two_theta),
        "polarization": places.polarization,
        "photons": prediction.photons(passages, places, density, np.clip(np.floor(frame), 0, scan.frames - 1)),
        "first_frame": np.clip(np.floor(edges[0]), 0, scan.frames - 1),
        "last_frame": np.clip(np.ceil(edges[1]) - 1, 0, scan.frames - 1),
        "whole": whole,
        "masked": places.touched,
    }


def frame_reflections(prediction: Prediction, frame: int) -> dict[str, NDArray[Any]]:
    """The reflections of a frame that meet a panel, by identity: where the parts are seen that the frame has of them, and their photons."""
    first, last = prediction.diffraction.frame_rad(frame)
    passages = prediction.between(first, last)
    excitation = prediction.excitation(passages)
    whole_way = excitation.mean(passages.begin, passages.end)
    low, high = np.maximum(passages.begin, first), np.minimum(passages.end, last)
    cut = np.flatnonzero((low > passages.begin) | (high < passages.end))
    density, met, variance = (column.copy() for column in whole_way)
    density[cut], met[cut], variance[cut] = Excitation(*(its[cut] for its in excitation)).mean(low[cut], high[cut])
    if last - first > STILL_RAD:
        density *= (high - low) / (last - first)
    places = prediction.places(passages, excitation, met, variance)
    rows = _described(prediction, passages, whole_way, places)
    rows |= {
        "sigma_slow": np.sqrt(places.extent[0]),
        "sigma_fast": np.sqrt(places.extent[1]),
        "extent_slow_fast": places.extent[2],
        "photons": prediction.photons(passages, places, density, np.full(len(density), frame)),
    }
    seen = places.panel >= 0
    return {name: values[seen] for name, values in rows.items()}


def rocking_curve(prediction: Prediction, frame: int, reflection: int, most: int) -> dict[str, NDArray[Any]]:
    """A reflection that a frame shows, frame by frame: where the part of each is seen, and its photons at the mean fluence.

    Parameters
    ----------
    reflection
        Its identity in the series.
    most
        Frames before and after this one, at most.

    Returns
    -------
    Columns (n,) of the frames of the series that have a part of it, ascending: `frame`, `panel`, `slow`, `fast`, `sigma_slow`,
    `sigma_fast` (pixels) and `photons`. A still has one row.

    Raises
    ------
    ValueError
        If the frame does not show it.
    """
    diffraction, scan = prediction.diffraction, prediction.scene.experiment.scan
    passages = prediction.between(*diffraction.frame_rad(frame))
    (which,) = np.flatnonzero(passages.reflection == reflection)
    still = np.ptp(diffraction.frame_rad(frame)) <= STILL_RAD
    if still:
        frames = np.array([frame])
    else:
        edges = sorted(_frames(prediction.scene, np.array([passages.begin[which], passages.end[which]])))
        near = np.arange(max(0, frame - most), min(scan.frames, frame + most + 1))
        frames = near[(near + 1 > edges[0]) & (near < edges[1])]
    its = passages.repeated(int(which), len(frames))
    excitation = prediction.excitation(its)
    first, last = np.transpose([diffraction.frame_rad(int(number)) for number in frames])
    low, high = np.maximum(its.begin, first), np.minimum(its.end, last)
    density, met, variance = excitation.mean(low, high)
    if not still:
        density *= (high - low) / (last - first)
    places = prediction.places(its, excitation, met, variance)
    return {
        "frame": frames,
        "panel": places.panel,
        "slow": places.at[0],
        "fast": places.at[1],
        "sigma_slow": np.sqrt(places.extent[0]),
        "sigma_fast": np.sqrt(places.extent[1]),
        "photons": prediction.photons(its, places, density, frames),
    }


def _described(
    prediction: Prediction, passages: Passages, whole_way: tuple[Array, Array, Array], places: Places
) -> dict[str, NDArray[Any]]:
    """What a table has of reflections, of a series and of a frame; `whole_way` is the mean of all of each passage."""
    lattices = prediction.scene.specimen.lattices
    indices = [
        lattice.real_vectors_A @ passages.vector[:, its]
        for lattice, its in zip(lattices, passages.by_lattice(len(lattices)), strict=True)
    ]
    miller = np.rint(np.concatenate(indices, axis=1)).astype(np.int32)
    density, _, variance = whole_way
    return {
        "reflection": passages.reflection,
        **dict(zip("hkl", miller, strict=True)),
        "lattice": passages.lattice,
        "panel": places.panel,
        "slow": places.at[0],
        "fast": places.at[1],
        "phi_deg": np.rad2deg(passages.crossing),
        "d_A": 1 / np.sqrt(_dot(passages.vector, passages.vector)),
        "lorentz": density * (passages.end - passages.begin) / prediction.beam.wavelength_A,
        "rocking_width_deg": np.rad2deg(FWHM_OF_DEVIATION * np.sqrt(variance)),
    }


def spot_volume(lattice: Lattice) -> float:
    """Integral of |F_latt|^2 about a reflection over reciprocal space, 1/Angstrom^3."""
    cell_A3 = abs(float(np.linalg.det(lattice.real_vectors_A)))
    return peak_integral(lattice.shape, lattice.fudge) * lattice.cells_in_all / cell_A3


def _frames(scene: Scene, phi_rad: Array) -> Array:
    """Frames from the start of a rotation to a phi."""
    scan = scene.experiment.scan
    return np.asarray((np.rad2deg(phi_rad) - scan.phi_start_deg) / scan.osc_range_deg)


def _dot(a: Array, b: Array) -> Array:
    """Scalar products (n,) of vectors (3, n)."""
    return np.asarray(np.einsum("in,in->n", a, b))


def _cross(a: Array, b: Array) -> Array:
    """Vector products (3, n) of vectors (3, n)."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        np.multiply(a[j], b[k], out=out[i])
        out[i] -= a[k] * b[j]
    return out


def _turned(vector: Array, axis: Array, turn: tuple[Array, Array]) -> Array:
    """Vectors (3, n) turned about a unit axis (3, 1) by angles of a cosine and a sine (n,) (Rodrigues' formula)."""
    cosine, sine = turn
    along = (axis * vector).sum(axis=0) * axis
    out = (vector - along) * cosine
    out += _cross(axis, vector) * sine
    out += along
    return out


def _across(vector: Array) -> tuple[Array, Array]:
    """Two unit vectors (3, n) across unit vectors (3, n) and each other (T. Duff et al., J. Comput. Graph. Tech. 6 (2017) 1)."""
    x, y, z = vector
    sign = np.copysign(1.0, z)
    a = -1 / (sign + z)
    b = x * y * a
    return np.stack([1 + sign * x * x * a, sign * b, -sign * x]), np.stack([b, sign + y * y * a, -y])


def _normal_density(deviation: Array) -> Array:
    """exp(-x^2 / 2), written over x."""
    deviation *= deviation
    deviation *= -0.5
    return np.exp(deviation, out=deviation)


def _places(
    instrument: Instrument,
    masked: Sequence[NDArray[np.int32] | None],
    beam: Array,
    ray: Array,
    sides: Sequence[Array],
    spread: Sequence[Array],
) -> Places:
    """Where rays (3, n) meet the nearest panel, with variances along two sides (3, n) and their covariance, radians^2."""
    rays, *turned = (np.ascontiguousarray(vectors.T) for vectors in (ray, *sides))
    count = len(rays)
    panel, at, extent = np.full(count, -1), np.full((2, count), np.nan), np.zeros((3, count))
    capture, touched, nearest = np.ones(count), np.zeros(count, dtype=bool), np.full(count, np.inf)
    for number, (its, masked_pixels) in enumerate(zip(instrument.panels, masked, strict=True)):
        slow, fast = its.coordinates(rays).T
        with np.errstate(invalid="ignore"):
            some = np.flatnonzero((slow >= 0) & (slow < its.spixels) & (fast >= 0) & (fast < its.fpixels))
        position = its.positions_m(slow[some], fast[some]).T
        distance = np.sqrt(_dot(position, position))
        closer = distance < nearest[some]
        some, distance = some[closer], distance[closer]
        nearest[some], panel[some] = distance, number
        seen = rays.take(some, axis=0)
        share, depth_m = _absorbed(its, seen)
        place = its.coordinates(seen, depth_m)
        (s0, f0), (s1, f1) = (
            (its.coordinates(seen + SMALL_RAD * side.take(some, axis=0), depth_m) - place).T / SMALL_RAD
            for side in turned
        )
        first, second, both = (moment[some] for moment in spread)
        moments = np.stack(
            [
                s0 * s0 * first + s1 * s1 * second + 2 * s0 * s1 * both,
                f0 * f0 * first + f1 * f1 * second + 2 * f0 * f1 * both,
                s0 * f0 * first + s1 * f1 * second + (s0 * f1 + s1 * f0) * both,
            ]
        )
        at[:, some], extent[:, some] = place.T, moments
        capture[some] = share * its.solid_angle_sr(distance, instrument.point_pixels) * np.abs(s0 * f1 - s1 * f0)
        transmission = instrument.transmissions[number]
        if transmission is not None:
            capture[some] *= transmission[slow[some].astype(np.int64), fast[some].astype(np.int64)]
        touched[some] = _touched(its.shape, masked_pixels, place.T, np.sqrt(moments[:2]))
    apart = ray - beam[:, None]
    two_theta = 2 * np.arcsin(np.sqrt(_dot(apart, apart)) / 2)
    return Places(panel, at, extent, two_theta, capture, instrument.polarization(rays, beam), touched)


def _absorbed(panel: PanelGeometry, rays: Array) -> tuple[Array, Array]:
    """Share of the photons along rays that the sensor absorbs (n,), and at which depth in metres: at its layers' fronts."""
    path = panel.layer_thickness_m * panel.attenuation_per_m / np.abs(rays @ panel.normal)
    fronts = np.arange(panel.layers)[:, None]
    parts = np.exp(-fronts * path) * (-np.expm1(-path) if panel.attenuation_per_m else 1.0)
    share = parts.sum(axis=0)
    return share, panel.layer_thickness_m * (fronts * parts).sum(axis=0) / share


def masked_before(panel: PanelGeometry) -> NDArray[np.int32] | None:
    """How many masked pixels lie above and left of each corner of a pixel, (slow + 1, fast + 1); None where there are none."""
    if panel.usable.all():
        return None
    masked = np.zeros((panel.spixels + 1, panel.fpixels + 1), dtype=np.int32)
    inner = masked[1:, 1:]
    np.cumsum(np.cumsum(~panel.usable, axis=0, dtype=np.int32, out=inner), axis=1, out=inner)
    return masked


def _touched(shape: tuple[int, int], masked: NDArray[np.int32] | None, at: Array, sigma: Array) -> NDArray[np.bool_]:
    """Whether a masked pixel, or none, is near spots (2, n) of a panel with `masked_before` its corners."""
    reach, size = TOUCHES * sigma, np.array(shape)[:, None]
    first, last = np.floor(at - reach).astype(np.int64), np.ceil(at + reach).astype(np.int64)
    outside = ((first < 0) | (last > size)).any(axis=0)
    if masked is None:
        return np.asarray(outside)
    (top, left), (bottom, right) = (np.clip(corner, 0, size) for corner in (first, last))
    inside = masked[bottom, right] - masked[top, right] - masked[bottom, left] + masked[top, left]
    return np.asarray(outside | (inside > 0))
