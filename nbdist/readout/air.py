"""What the air along the beam scatters: an integral over the beam's path, each point of which sees a pixel under its own angle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.background import AirPath, Curve
from nbdist.scene.instrument import Instrument
from nbdist.scene.panels import PanelGeometry

Array = NDArray[np.float64]

POINTS = 12
"""Of the path: pixels converge to 1e-5 of the brightest."""
LARGEST_STOL = 6.0
"""1/Angstrom, to which the curve is tabled; it is backscatter at 1/6 A."""
CROMER_MANN = {
    "N": ((12.2126, 3.1322, 2.0125, 1.1663), (0.0057, 9.8933, 28.9975, 0.5826), -11.529),
    "O": ((3.0485, 2.2868, 1.5463, 0.867), (13.2771, 5.7011, 0.3239, 32.9089), 0.2508),
    "Ar": ((7.4845, 6.7723, 0.6539, 1.6442), (0.9072, 14.8407, 43.8983, 33.3929), 1.4445),
}
"""a, b and c of f = sum a exp(-b s^2) + c, s = sin(theta)/lambda (International Tables C, table 6.1.1.4), which end at s = 2/A."""
MOLECULES = (("N", 1.098, 0.7808), ("O", 1.208, 0.2095), ("Ar", None, 0.0093))
"""Atom, bond in Angstrom of two of them, and share of the molecules of dry air."""


def air_curve() -> Curve:
    """Root mean square F of a molecule of dry air, electrons, against sin(theta)/lambda.

    Atoms are taken to be independent and at rest: two at a distance r scatter 2 f^2 (1 + sin(qr)/(qr)), q = 4 pi s (P. Debye, Ann. Phys.
    46 (1915) 809).
    """
    stol = np.linspace(0, LARGEST_STOL, 6001)
    squares = np.minimum(stol, 2.0)[:, None] ** 2
    total = np.zeros_like(stol)
    for atom, bond_A, share in MOLECULES:
        a, b, c = CROMER_MANN[atom]
        f2 = (np.exp(-squares * b) @ np.array(a) + c) ** 2
        total += share * f2 * (1.0 if bond_A is None else 2 * (1 + np.sinc(4 * stol * bond_A)))
    return Curve(stol, np.sqrt(total))


AIR = air_curve()


def air_photons(
    path: AirPath,
    instrument: Instrument,
    panel: PanelGeometry,
    towards: Array,
    distance: Array,
    points: int = POINTS,
) -> Array:
    """Photons a pixel (...) of a panel.

    Over the point z of the path, seen by a pixel at a distance R at the angle alpha to the beam,

        r_e^2 fluence (molecules a metre) pixel^2 integral F^2 polarization cos(obliquity) / R^2 dz

    At a distance rho from the beam R = rho / sin(alpha), and dz / R^2 = d(alpha) / rho: over alpha the integrand is smooth, also where
    the path ends at the detector. Points behind a pixel's face give it nothing, and air absorbs nothing.

    Parameters
    ----------
    towards, distance
        Unit vectors (..., 3) from the sample to the pixels' middles, and their distances (...) in metres.
    points
        Of the Gauss-Legendre sum over alpha.
    """
    beam, wavelength_A = instrument.sources.mean
    along = towards @ beam
    sideways = towards - along[..., None] * beam
    sine = np.maximum(np.linalg.norm(sideways, axis=-1), 1e-6)
    sideways /= sine[..., None]
    depth, rho = distance * along, distance * sine
    # of the pixel's normal, the parts along the beam and away from it, and how far its face is along its normal
    if panel.curved:
        forward, outward, face = along, sine, distance
    else:
        forward, outward = np.full(distance.shape, panel.normal @ beam), sideways @ panel.normal
        face = np.full(distance.shape, panel.close_distance_m)
    with np.errstate(divide="ignore"):
        meets = face / forward  # where the beam's line meets the pixel's plane
    low = np.maximum(-path.before_m, np.where(forward < 0, meets, -np.inf))
    high = np.minimum(np.inf if path.after_m is None else path.after_m, np.where(forward > 0, meets, np.inf))
    first, last = np.arctan2(rho, depth - low), np.arctan2(rho, depth - np.maximum(low, high))
    middle, half = (first + last) / 2, (last - first) / 2
    tilted = instrument.polarization(
        sideways, beam
    )  # (1 - K cos(2 psi)) / 2 of what the sine squared is multiplied with
    polarized = instrument.polarization_factor is not None
    total = np.zeros(distance.shape)
    for node, weight in zip(*np.polynomial.legendre.leggauss(points), strict=True):
        s = np.sin((middle + node * half) / 2)
        cos, sin = 1 - 2 * s * s, 2 * s * np.sqrt(1 - s * s)
        part = weight * AIR.at(s / wavelength_A) ** 2
        if polarized:
            part *= cos * cos + tilted * (sin * sin)
        if not instrument.point_pixels:
            part *= np.maximum(forward * cos + outward * sin, 0.0)
        total += part
    area_m2 = 1.0 if instrument.point_pixels else panel.pixel_m**2
    return instrument.photons_per_electron2 * path.molecules_per_m * area_m2 * total * half / rho
