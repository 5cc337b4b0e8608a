"""The reflections of a series: each time that one crosses the Ewald sphere, where and when, and with how many photons.

Of several sources, or of a spread beam, a crossing is where their mean is; the columns are those of `frames.tables.REFLECTION_COLUMNS`.

The photons of a crossing are Darwin's formula on an absolute scale (C. G. Darwin, Phil. Mag. 43 (1922) 800):

    r_e^2 fluence lambda^3 L P capture F^2 V / osc,     L = 1 / |d.(u x b)|

for a spindle u, a beam b and a diffracted beam d; V is the integral of |F_latt|^2 over reciprocal space, 1/Angstrom^3. It takes the path
through the sphere for straight: of reflections that nearly graze it (L above 20 or so) it is an estimate, and there is none of those
that graze it and of stills.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment.lattice import turned
from nbdist.experiment.scan import Scan
from nbdist.kernels.reflections import deviations_lit
from nbdist.kernels.spots import Diffraction
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.instrument import Instrument
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.rocking import FWHM_OF_DEVIATION
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice

Array = NDArray[np.float64]
LARGEST_LORENTZ = 1e3
"""Beyond it a reflection grazes the sphere."""
OFF_THE_SPHERE = 1e-6
"""How far, over the sphere's radius, a point passes that does not cross it."""
SPOT_VOLUMES = {
    "square": 1.0,
    "round": 1.0,
    "gauss": (0.63 * math.pi / 2) ** 1.5,
    "tophat": 4 / 3 * math.pi * 0.63**3,
}
"""Integral of |F_latt|^2 over h, k, l about a reflection, in units of the cells of the crystal, at a fudge of 1."""


def series_reflections(scene: Scene, reflections: Sequence[Reflections]) -> dict[str, NDArray[Any]]:
    """Every crossing of the series' scan, by identity.

    Parameters
    ----------
    reflections
        Amplitudes of each lattice.
    """
    diffraction = Diffraction(scene, reflections)
    first, last = diffraction.scan_rad
    sources = scene.instrument.sources
    identities, lattices, numbers, reals = [], [], [], []
    for lattice, its in enumerate(diffraction.lists):
        table = reflections[lattice].table_of_source
        for source, weight in enumerate(sources.weights):
            if not weight:
                continue
            lit = diffraction.crossings(lattice, source).between(first, last)
            F = its.amplitudes[0 if table is None else table[source], lit.number]
            kept = F != 0
            lit = lit._replace(**{name: values[kept] for name, values in lit._asdict().items()})
            identities.append(diffraction.identity(lattice, lit.number, lit.branch))
            lattices.append(np.full(len(lit.number), lattice))
            numbers.append(lit.number)
            ones = np.full(len(lit.number), weight)
            reals.append(np.stack([ones, ones * lit.crossing, ones * F[kept] ** 2, lit.begins, lit.ends]))
    identity, place, inverse = np.unique(np.concatenate(identities), return_index=True, return_inverse=True)
    weights, crossing, F2, begins, ends = np.concatenate(reals, axis=1)
    of = np.concatenate(lattices)[place], np.concatenate(numbers)[place]
    total = np.bincount(inverse, weights, minlength=len(identity))
    phi = np.bincount(inverse, crossing) / total
    F2 = np.bincount(inverse, F2) / total
    begin, end = np.full(len(identity), np.inf), np.full(len(identity), -np.inf)
    np.minimum.at(begin, inverse, begins)
    np.maximum.at(end, inverse, ends)
    return _columns(diffraction, identity, *of, phi, F2, begin, end)


def _columns(
    diffraction: Diffraction,
    identity: NDArray[np.int64],
    lattice: NDArray[np.int64],
    number: NDArray[np.int64],
    phi: Array,
    F2: Array,
    begin: Array,
    end: Array,
) -> dict[str, NDArray[Any]]:
    scene, instrument = diffraction.scene, diffraction.scene.instrument
    scan, osc_rad = scene.experiment.scan, math.radians(abs(scene.experiment.scan.osc_range_deg))
    miller, vector, volume = np.zeros((len(phi), 3), dtype=np.int32), np.zeros((len(phi), 3)), np.zeros(len(phi))
    for each, (its, crystal) in enumerate(zip(diffraction.lists, scene.specimen.lattices, strict=True)):
        some = lattice == each
        miller[some], vector[some] = its.miller[number[some]], its.vectors[number[some]]
        volume[some] = crystal.weight * _spot_volume(crystal)
    wavelength_A, beam = scene.experiment.beam.mean_wavelength_A, instrument.beam_direction
    towards = beam + wavelength_A * turned(vector, phi[:, None] * scene.spindle_axis)
    length = np.linalg.norm(towards, axis=1)
    towards /= length[:, None]
    panel, slow, fast, capture, masked = _met(instrument, towards)
    polarization = _polarization(instrument, towards)
    lorentz = 1 / np.maximum(np.abs(towards @ np.cross(scene.spindle_axis, beam)), 1 / LARGEST_LORENTZ)
    photons = np.zeros(len(phi))
    if osc_rad:
        factors = F2 * volume * lorentz * polarization * capture
        photons += instrument.photons_per_electron2 * wavelength_A**3 * factors / osc_rad
    frame, *edges = (_frames(scan, np.rad2deg(angle)) for angle in (phi, begin, end))
    edge = np.sort(np.stack(edges), axis=0)
    photons[(np.abs(length - 1) > OFF_THE_SPHERE) | (lorentz == LARGEST_LORENTZ) | (osc_rad == 0)] = np.nan
    width = (end - begin) / (2 * deviations_lit(instrument.tolerance)) * FWHM_OF_DEVIATION
    return {
        "reflection": identity,
        "lattice": lattice,
        "h": miller[:, 0],
        "k": miller[:, 1],
        "l": miller[:, 2],
        "d_A": 1 / np.linalg.norm(vector, axis=1),
        "F": np.sqrt(F2),
        "F2": F2,
        "phi_deg": np.rad2deg(phi),
        "frame": frame,
        "panel": panel,
        "slow": slow,
        "fast": fast,
        "two_theta_deg": np.rad2deg(np.arccos(np.clip(towards @ beam, -1, 1))),
        "lorentz": lorentz,
        "polarization": polarization,
        "photons": np.where(panel >= 0, photons, 0.0),
        "rocking_width_deg": np.rad2deg(width),
        "first_frame": np.clip(np.floor(edge[0]), 0, scan.frames - 1),
        "last_frame": np.where(osc_rad, np.clip(np.ceil(edge[1]) - 1, 0, scan.frames - 1), scan.frames - 1),
        "whole": (edge[0] >= 0) & (edge[1] <= scan.frames) & bool(osc_rad),
        "masked": masked,
    }


def _frames(scan: Scan, phi_deg: Array) -> Array:
    """Frames from the start of a scan to a phi; the middle of the first one, of stills."""
    if scan.osc_range_deg == 0:
        return np.full(len(phi_deg), 0.5)
    return np.asarray((phi_deg - scan.phi_start_deg) / scan.osc_range_deg)


def _spot_volume(lattice: Lattice) -> float:
    """Integral of |F_latt|^2 about a reflection over reciprocal space, 1/Angstrom^3."""
    cell_A3 = abs(float(np.linalg.det(lattice.real_vectors_A)))
    scaled = lattice.fudge**-1.5 if lattice.shape in ("gauss", "tophat") else 1.0
    return SPOT_VOLUMES[lattice.shape] * scaled * lattice.cells_in_all / cell_A3


def _met(instrument: Instrument, towards: Array) -> tuple[NDArray[Any], ...]:
    """Panel that each direction meets (-1: none), slow and fast there, what its sensor absorbs, and whether that pixel is masked."""
    count = len(towards)
    met, slow, fast = np.full(count, -1), np.full(count, np.nan), np.full(count, np.nan)
    capture, masked = np.ones(count), np.zeros(count, dtype=bool)
    for number, panel in enumerate(instrument.panels):
        at = panel.coordinates(towards)
        with np.errstate(invalid="ignore"):
            inside = (met < 0) & (at >= 0).all(axis=1) & (at[:, 0] < panel.spixels) & (at[:, 1] < panel.fpixels)
        some = np.flatnonzero(inside)
        met[some], slow[some], fast[some] = number, *at[some].T
        masked[some] = ~panel.usable[tuple(at[some].astype(int).T)]
        capture[some] = _capture(panel, towards[some])
    return met, slow, fast, capture, masked


def _capture(panel: PanelGeometry, towards: Array) -> Array:
    """Share of the photons along directions that the sensor absorbs."""
    if not panel.attenuation_per_m:
        return np.full(len(towards), float(panel.layers))
    thickness_m = panel.layers * panel.layer_thickness_m
    return np.asarray(-np.expm1(-thickness_m * panel.attenuation_per_m / np.abs(towards @ panel.normal)))


def _polarization(instrument: Instrument, towards: Array) -> Array:
    """Polarization factor of beams diffracted along directions; 1 where it is left out."""
    K, beam, vector = instrument.polarization_factor, instrument.beam_direction, instrument.polarization_vector
    if K is None:
        return np.ones(len(towards))
    across = np.cross(vector, beam)
    across = across / max(float(np.linalg.norm(across)), 1e-300)
    along_b, along_e = towards @ across, towards @ np.cross(beam, across)
    cosine = towards @ beam
    return np.asarray((1 + cosine**2 - K * (along_e**2 - along_b**2)) / 2)
