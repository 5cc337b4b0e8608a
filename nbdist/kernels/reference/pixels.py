"""Pixels in space: positions, scattering vectors and the factors that multiply an orientation sum, in float64.

All functions are elementwise over P points, so that they can be compiled and run on any device. Positions are given by
fractional pixel coordinates, so that a subpixel is a pixel coordinate like any other. Lengths are metres, scattering vectors
1/Angstrom. The formulas are nanoBragg's (J. M. Holton), written out in the package's physics notes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nbdist.scene.panels import SMALLEST_DISTANCE_M


class PanelVectors(NamedTuple):
    """Where a panel is, float64 tensors: vectors (3,), scalars (), metres.

    `curvature` is the radius of a curved detector (its `distance`).
    """

    origin: Tensor
    fast: Tensor
    slow: Tensor
    normal: Tensor
    beam: Tensor
    pixel: Tensor
    close_distance: Tensor
    curvature: Tensor


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _rotate(vector: Tensor, axis: Tensor, angle: Tensor) -> Tensor:
    """Rotate (3, P) vectors about a unit axis (3,) by P angles in radians (Rodrigues' formula)."""
    axis = axis[:, None]
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return vector * cosine + _cross(axis.expand_as(vector), vector) * sine + axis * (_dot(axis, vector) * (1 - cosine))


def positions(slow: Tensor, fast: Tensor, depth: Tensor, panel: PanelVectors, curved: bool) -> Tensor:
    """Lab positions of points on a panel.

    Parameters
    ----------
    slow, fast
        Pixel coordinates, float64 (P,); a pixel's centre is at + 1/2.
    depth
        Depth in the sensor, metres, float64 ().
    panel
        The panel.
    curved
        Wrap the panel around the sample: the spot of the beam, at `panel.curvature`, is turned about beam x fast by a point's offset
        from it along fast, as an arc, then about beam x slow by that along slow. Every point is at the same distance, whatever its
        depth.

    Returns
    -------
    float64 (3, P), metres.
    """
    along_fast, along_slow = fast * panel.pixel, slow * panel.pixel
    flat = torch.stack(
        [
            panel.origin[i] + along_fast * panel.fast[i] + along_slow * panel.slow[i] + depth * panel.normal[i]
            for i in range(3)
        ]
    )
    if not curved:
        return flat
    spot = (panel.curvature * panel.beam)[:, None].expand_as(flat)
    offset = flat - spot
    turned = _rotate(spot, _cross(panel.beam, panel.fast), _dot(offset, panel.fast) / panel.curvature)
    return _rotate(turned, _cross(panel.beam, panel.slow), _dot(offset, panel.slow) / panel.curvature)


def directions(position: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (3, P) from the sample to `position` (3, P), and the distances (P,) in metres."""
    distance = torch.sqrt(_dot(position, position)).clamp_min(SMALLEST_DISTANCE_M)
    return position / distance, distance


def scattering_vectors(direction: Tensor, incident: Tensor, wavelength: Tensor) -> Tensor:
    """q = (d - i) / lambda, (3, P) in 1/Angstrom, from unit vectors d (3, P), i (3,) and a wavelength () in Angstrom."""
    return (direction - incident[:, None]) / wavelength


def solid_angle(distance: Tensor, panel: PanelVectors, point_pixels: bool) -> Tensor:
    """Solid angle of a pixel, steradian (P,): pixel^2/R^2 close_distance/R, or 1/R^2 (no area) for point pixels."""
    if point_pixels:
        return 1.0 / (distance * distance)
    return panel.pixel * panel.pixel * panel.close_distance / (distance * distance * distance)


def polarization(direction: Tensor, incident: Tensor, vector: Tensor, kahn_factor: Tensor) -> Tensor:
    """Polarization factor (P,) (R. Kahn et al., J. Appl. Cryst. 15 (1982) 330).

    Parameters
    ----------
    direction, incident
        Unit vectors of the scattered (3, P) and the incident beam (3,).
    vector
        E vector of the beam (3,); only its part normal to `incident` counts. Parallel to `incident` it names no plane, and K has to
        be 0.
    kahn_factor
        K, (); 0 is an unpolarised beam.
    """
    magnetic = _cross(vector, incident)
    magnetic = magnetic / _positive(torch.sqrt(_dot(magnetic, magnetic)))
    electric = _cross(incident, magnetic)
    electric = electric / _positive(torch.sqrt(_dot(electric, electric)))
    along_magnetic, along_electric = _dot(direction, magnetic), _dot(direction, electric)
    cos_squared = _dot(direction, incident) ** 2
    sin_squared = 1 - cos_squared
    # cos(2 psi) sin^2 = (E^2 - B^2) sin^2/(E^2 + B^2), and E^2 + B^2 is sin^2: no angle is needed, no 0/0 in the beam
    doubled = along_electric * along_electric - along_magnetic * along_magnetic
    return 0.5 * (
        1 + cos_squared - kahn_factor * doubled * sin_squared / _positive(along_electric**2 + along_magnetic**2)
    )


def _positive(value: Tensor) -> Tensor:
    return torch.clamp_min(value, 1e-300)


def capture(
    direction: Tensor, panel: PanelVectors, layer: Tensor, layer_thickness: Tensor, attenuation: Tensor
) -> Tensor:
    """Fraction of the photons that stop in one sensor layer, (P,).

    Parameters
    ----------
    direction
        Unit vectors (3, P).
    layer
        Which layer, from 0, ().
    layer_thickness, attenuation
        Metres and 1/metre, ().
    """
    path = layer_thickness * attenuation / _dot(direction, panel.normal)
    return torch.exp(-layer * path) - torch.exp(-(layer + 1) * path)


def resolved(q: Tensor, d_min: Tensor) -> Tensor:
    """1.0 where 1/|q| >= d_min, else 0.0, (P,); q (3, P) in 1/Angstrom, d_min () in Angstrom."""
    return (_dot(q, q) * d_min * d_min <= 1).to(q.dtype)
