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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.kernels.reflections import Crossings, Spread
from nbdist.kernels.spots import STILL_RAD, Diffraction
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.instrument import Instrument
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.rocking import FWHM_OF_DEVIATION
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice

Array = NDArray[np.float64]
SPOT_VOLUMES = {
    "square": 1.0,
    "round": 1.0,
    "gauss": (0.63 * math.pi / 2) ** 1.5,
    "tophat": 4 / 3 * math.pi * 0.63**3,
}
"""Integral of |F_latt|^2 over h, k, l about a reflection, in units of the cells of the crystal, at a fudge of 1."""
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
        Reciprocal lattice vector at phi 0 (n, 3), 1/Angstrom.
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
            even, odd = at_rest + along * np.cos(node * half), across * np.sin(node * half)
            before, after = np.exp(-0.5 * (even - odd) ** 2), np.exp(-0.5 * (even + odd) ** 2)
            both = weight / 2 * (before + after)
            total += both
            first += (weight / 2 * node) * (after - before)
            second += (node * node) * both
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
        Slow and fast (n, 2) in pixels; NaN where there is no panel.
    extent
        Second moments slow^2, fast^2 and slow x fast (n, 3) in pixels^2, of the spot itself, before pixels take their parts of it.
    two_theta
        Scattering angle, radians.
    capture
        Share of the photons that the sensor absorbs; times the solid angle that a pixel is taken for, over the one that it has there.
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
    scene
        The scene.
    reflections
        Amplitudes of each lattice.
    """

    def __init__(self, scene: Scene, reflections: Sequence[Reflections]) -> None:
        self.scene = scene
        self.diffraction = Diffraction(scene, reflections)
        self.beam = self.diffraction.mean_beam
        sources = scene.instrument.sources
        self._crossings = [
            Crossings(
                its.vectors,
                spread,
                scene.spindle_axis,
                self.beam,
                scene.instrument.tolerance,
                self.diffraction.scan_rad,
                scene.instrument.beam_direction,
            )
            for its, spread in zip(self.diffraction.lists, self.diffraction.spreads, strict=True)
        ]
        shares = sources.weights / sources.weights.sum()
        self._F2 = []
        for its, given in zip(self.diffraction.lists, reflections, strict=True):
            table = given.table_of_source
            parts = shares if table is None else np.bincount(table, shares, minlength=len(its.amplitudes))
            self._F2.append(its.amplitudes[0] ** 2 if table is None else parts @ its.amplitudes**2)

    def between(self, first: float, last: float) -> Passages:
        """The reflections that light up from one phi to another, radians, each time that they do."""
        found = []
        for lattice, (its, crossings) in enumerate(zip(self.diffraction.lists, self._crossings, strict=True)):
            lit = crossings.between(first, last)
            begin, end = np.maximum(lit.begins, lit.first), np.minimum(lit.ends, lit.last)
            still = last - first <= STILL_RAD
            seen = (np.maximum(begin, first) <= np.minimum(end, last)) if still else (begin < last) & (end > first)
            some = np.flatnonzero(seen & (self._F2[lattice][lit.number] > 0))
            number = lit.number[some]
            identity = self.diffraction.identity(lattice, number, lit.branch[some])
            of = np.full(len(some), lattice)
            reals = lit.crossing[some], begin[some], end[some], lit.sigma[some]
            found.append((identity, of, number, its.vectors[number], self._F2[lattice][number], *reals))
        passages = Passages(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
        order = np.argsort(passages.reflection, kind="stable")
        return Passages(*(column[order] for column in passages))  # type: ignore[arg-type]

    def excitation(self, passages: Passages) -> Excitation:
        """How reflections pass through the sphere."""
        vector, u, beam = passages.vector, self.scene.spindle_axis, self.beam
        along = (vector @ u) * (u @ beam.direction)
        return Excitation(
            at_rest=beam.wavelength_A / 2 * (vector * vector).sum(axis=1) + along,
            cosine=vector @ beam.direction - along,
            sine=np.cross(u, vector) @ beam.direction,
            sigma=passages.sigma,
        )

    def photons(self, passages: Passages, places: Places, density: Array) -> Array:
        """Expected photons (n,) of reflections whose excitation error is 0 with a mean density (n,), in Angstrom."""
        instrument, limit = self.scene.instrument, self.scene.instrument.d_min_A
        volumes = np.array([lattice.weight * spot_volume(lattice) for lattice in self.scene.specimen.lattices])
        resolved = 1.0 if limit is None else (passages.vector**2).sum(axis=1) * limit * limit <= 1
        return np.asarray(
            (instrument.photons_per_electron2 * self.beam.wavelength_A**2)
            * (passages.F2 * volumes[passages.lattice] * places.polarization * places.capture * resolved)
            * np.where(places.panel >= 0, density, 0.0)
        )

    def places(self, passages: Passages, excitation: Excitation, phi: Array, variance: Array) -> Places:
        """Where reflections are seen, met at phi of a mean and a variance (n,).

        A spot that is off the sphere shows its part on it: the mean of its Gaussian there.
        """
        u, wavelength_A = self.scene.spindle_axis, self.beam.wavelength_A
        turns = _rotations(u, phi)
        normal, C = self._spots(passages, turns)
        Cn = np.matmul(C, normal[:, :, None])[:, :, 0]
        of_sphere = Cn / (Cn * normal).sum(axis=1)[:, None]
        ray = self.beam.direction @ turns
        ray = ray + wavelength_A * (passages.vector - excitation.at(phi)[:, None] * of_sphere)
        ray /= np.linalg.norm(ray, axis=1)[:, None]
        v = np.cross(u, passages.vector)
        path = v - (v * normal).sum(axis=1)[:, None] * of_sphere
        # two vectors across the ray, from the axis that it is farthest from
        across = np.cross(ray, np.eye(3)[np.abs(ray).argmin(axis=1)])
        across /= np.linalg.norm(across, axis=1)[:, None]
        sides = np.stack([across, np.cross(ray, across)], axis=1)
        seen = np.stack([Cn, of_sphere, path], axis=2)
        along_Cn, along_sphere, along_path = np.moveaxis(sides @ seen, 2, 0)
        spread = sides @ C @ sides.transpose(0, 2, 1) - along_Cn[:, :, None] * along_sphere[:, None]
        spread += variance[:, None, None] * along_path[:, :, None] * along_path[:, None]
        spread *= wavelength_A**2
        onward = turns.transpose(0, 2, 1)
        rays = np.matmul(ray[:, None], onward)[:, 0]
        return _places(self.scene.instrument, self.beam.direction, rays, sides @ onward, spread)

    def _spots(self, passages: Passages, turns: Array) -> tuple[Array, Array]:
        """Diffracted rays (n, 3), and covariances (n, 3, 3) in 1/Angstrom^2, turned by the spindle (n, 3, 3); seen from the crystal."""
        G, beam = passages.vector, self.beam
        normal = beam.direction @ turns + beam.wavelength_A * G
        normal /= np.linalg.norm(normal, axis=1)[:, None]
        spreads: Sequence[Spread] = self.diffraction.spreads
        shapes, roots = np.stack([its.shape for its in spreads]), np.stack([_root(its.mosaic) for its in spreads])
        moves = [*np.moveaxis(np.cross(roots[passages.lattice], G[:, None]), 1, 0)]
        if beam.bandwidth_sigma:
            moves.append(beam.bandwidth_sigma * G)
        for sigma, axis in zip(beam.divergence_sigma_rad, beam.divergence_axes, strict=True):
            if sigma:
                moves.append(np.cross(axis, beam.direction) * (sigma / beam.wavelength_A) @ turns)
        J = np.stack(moves, axis=1)
        return normal, shapes[passages.lattice] + np.matmul(J.transpose(0, 2, 1), J)


def series_reflections(scene: Scene, reflections: Sequence[Reflections]) -> dict[str, NDArray[Any]]:
    """Every passage of a reflection in the scan of a series, by identity: the columns of `frames.tables.REFLECTION_COLUMNS`.

    Parameters
    ----------
    reflections
        Amplitudes of each lattice.
    """
    prediction, scan = Prediction(scene, reflections), scene.experiment.scan
    first, last = prediction.diffraction.scan_rad
    passages = prediction.between(first, last)
    excitation = prediction.excitation(passages)
    osc_rad = math.radians(abs(scan.osc_range_deg))
    if osc_rad > STILL_RAD:
        density, _, variance = excitation.mean(passages.begin, passages.end)
        density *= (passages.end - passages.begin) / osc_rad
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
    rows = _described(prediction, passages, excitation, places)
    return rows | {
        "F": np.sqrt(passages.F2),
        "F2": passages.F2,
        "frame": frame,
        "two_theta_deg": np.rad2deg(places.two_theta),
        "polarization": places.polarization,
        "photons": prediction.photons(passages, places, density),
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
    low, high = np.maximum(passages.begin, first), np.minimum(passages.end, last)
    density, met, variance = excitation.mean(low, high)
    if last - first > STILL_RAD:
        density *= (high - low) / (last - first)
    places = prediction.places(passages, excitation, met, variance)
    rows = _described(prediction, passages, excitation, places)
    sigma = np.sqrt(places.extent[:, :2])
    rows |= {
        "sigma_slow": sigma[:, 0],
        "sigma_fast": sigma[:, 1],
        "extent_slow_fast": places.extent[:, 2],
        "photons": prediction.photons(passages, places, density),
    }
    seen = places.panel >= 0
    return {name: values[seen] for name, values in rows.items()}


def _described(
    prediction: Prediction, passages: Passages, excitation: Excitation, places: Places
) -> dict[str, NDArray[Any]]:
    """What a table has of reflections, of a series and of a frame."""
    miller = np.zeros((len(passages.number), 3), dtype=np.int32)
    for lattice, its in enumerate(prediction.diffraction.lists):
        some = passages.lattice == lattice
        miller[some] = its.miller[passages.number[some]]
    density, _, variance = excitation.mean(passages.begin, passages.end)
    return {
        "reflection": passages.reflection,
        **dict(zip("hkl", miller.T, strict=True)),
        "lattice": passages.lattice,
        "panel": places.panel,
        "slow": places.at[:, 0],
        "fast": places.at[:, 1],
        "phi_deg": np.rad2deg(passages.crossing),
        "d_A": 1 / np.linalg.norm(passages.vector, axis=1),
        "lorentz": density * (passages.end - passages.begin) / prediction.beam.wavelength_A,
        "rocking_width_deg": np.rad2deg(FWHM_OF_DEVIATION * np.sqrt(variance)),
    }


def spot_volume(lattice: Lattice) -> float:
    """Integral of |F_latt|^2 about a reflection over reciprocal space, 1/Angstrom^3."""
    cell_A3 = abs(float(np.linalg.det(lattice.real_vectors_A)))
    scaled = 1.0 if lattice.shape == "square" else lattice.fudge**-1.5
    return SPOT_VOLUMES[lattice.shape] * scaled * lattice.cells_in_all / cell_A3


def _frames(scene: Scene, phi_rad: Array) -> Array:
    """Frames from the start of a rotation to a phi."""
    scan = scene.experiment.scan
    return np.asarray((np.rad2deg(phi_rad) - scan.phi_start_deg) / scan.osc_range_deg)


def _rotations(axis: Array, phi: Array) -> Array:
    """Rotations (n, 3, 3) about a unit axis (Rodrigues' formula)."""
    cross = np.cross(np.eye(3), axis)
    cosine, sine = np.cos(phi)[:, None, None], np.sin(phi)[:, None, None]
    return np.asarray(np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross))


def _root(covariance: Array) -> Array:
    """Three vectors, rows of (3, 3), whose squares add up to a covariance."""
    variances, axes = np.linalg.eigh(covariance)
    return np.asarray(np.sqrt(np.maximum(variances, 0))[:, None] * axes.T)


def _places(instrument: Instrument, beam: Array, rays: Array, sides: Array, spread: Array) -> Places:
    """Where rays (n, 3) meet the nearest panel, with a covariance (n, 2, 2) along two sides (n, 2, 3), radians."""
    count = len(rays)
    panel, at, extent = np.full(count, -1), np.full((count, 2), np.nan), np.zeros((count, 3))
    capture, touched, nearest = np.ones(count), np.zeros(count, dtype=bool), np.full(count, np.inf)
    for number, its in enumerate(instrument.panels):
        where = its.coordinates(rays)
        with np.errstate(invalid="ignore"):
            inside = ((where >= 0) & (where < its.shape)).all(axis=1)
        some = np.flatnonzero(inside)
        distance = its.directions(where[some, 0], where[some, 1])[1]
        closer = distance < nearest[some]
        some = some[closer]
        nearest[some], panel[some] = distance[closer], number
        capture[some], depth_m = _absorbed(its, rays[some])
        at[some] = its.coordinates(rays[some], depth_m)
        moved = [its.coordinates(rays[some] + SMALL_RAD * sides[some, side], depth_m) for side in (0, 1)]
        J = (np.stack(moved, axis=2) - at[some][:, :, None]) / SMALL_RAD
        moments = J @ spread[some] @ J.transpose(0, 2, 1)
        extent[some] = np.stack([moments[:, 0, 0], moments[:, 1, 1], moments[:, 0, 1]], axis=1)
        taken_sr = its.solid_angle_sr(where[some, 0], where[some, 1], instrument.point_pixels)
        capture[some] *= taken_sr * np.abs(np.linalg.det(J))
        touched[some] = _touched(its, at[some], np.sqrt(extent[some, :2]))
    two_theta = 2 * np.arcsin(np.linalg.norm(rays - beam, axis=1) / 2)
    return Places(panel, at, extent, two_theta, capture, _polarization(instrument, beam, rays), touched)


def _absorbed(panel: PanelGeometry, rays: Array) -> tuple[Array, Array]:
    """Share of the photons along rays that the sensor absorbs (n,), and at which depth in metres: at its layers' fronts."""
    path = panel.layer_thickness_m * panel.attenuation_per_m / np.abs(rays @ panel.normal)
    fronts = np.arange(panel.layers)[:, None]
    parts = np.exp(-fronts * path) * (-np.expm1(-path) if panel.attenuation_per_m else 1.0)
    share = parts.sum(axis=0)
    return share, panel.layer_thickness_m * (fronts * parts).sum(axis=0) / share


def _touched(panel: PanelGeometry, at: Array, sigma: Array) -> NDArray[np.bool_]:
    """Whether a masked pixel, or none, is near spots (n, 2)."""
    first, last = np.floor(at - TOUCHES * sigma).astype(np.int64), np.ceil(at + TOUCHES * sigma).astype(np.int64)
    outside = ((first < 0) | (last > panel.shape)).any(axis=1)
    if panel.usable.all():
        return np.asarray(outside)
    masked = np.zeros((panel.spixels + 1, panel.fpixels + 1), dtype=np.int32)
    np.cumsum(np.cumsum(~panel.usable, axis=0, dtype=np.int32), axis=1, out=masked[1:, 1:])
    (top, left), (bottom, right) = (np.clip(corner, 0, panel.shape).T for corner in (first, last))
    inside = masked[bottom, right] - masked[top, right] - masked[bottom, left] + masked[top, left]
    return np.asarray(outside | (inside > 0))


def _polarization(instrument: Instrument, beam: Array, rays: Array) -> Array:
    """Polarization factor of rays (R. Kahn et al., J. Appl. Cryst. 15 (1982) 330); 1 where it is left out."""
    K, vector = instrument.polarization_factor, instrument.polarization_vector
    if K is None:
        return np.ones(len(rays))
    across = np.cross(vector, beam)
    across = across / max(float(np.linalg.norm(across)), 1e-300)
    along_b, along_e = rays @ across, rays @ np.cross(beam, across)
    return np.asarray((1 + (rays @ beam) ** 2 - K * (along_e**2 - along_b**2)) / 2)
