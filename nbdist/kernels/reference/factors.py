"""The factors of a pixel that do not depend on the crystal: solid angle, polarization, sensor capture, resolution limit."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nbdist.kernels.reference.pixels import (
    PanelVectors,
    capture,
    directions,
    polarization,
    positions,
    resolved,
    scattering_vectors,
    solid_angle,
)
from nbdist.scene.instrument import Factor


class SensorNumbers(NamedTuple):
    """Numbers of the beam and the sensor, float64 tensors: vectors (3,), scalars ().

    Lengths in metres, attenuation in 1/metre, d_min in Angstrom.
    """

    polarization_vector: Tensor
    kahn_factor: Tensor
    layer: Tensor
    layer_thickness: Tensor
    attenuation: Tensor
    d_min: Tensor


class FactorChoice(NamedTuple):
    """Which factors are evaluated, and how: Python numbers, fixed when compiled."""

    factors: int
    curved: bool
    point_pixels: bool


def pixel_factors(
    slow: Tensor,
    fast: Tensor,
    panel: PanelVectors,
    incident: Tensor,
    wavelength: Tensor,
    sensor: SensorNumbers,
    choice: FactorChoice,
) -> Tensor:
    """Solid angle (sr), polarization, capture fraction and resolution mask of P points in one sensor layer, float64 (4, P).

    Parameters
    ----------
    slow, fast
        Pixel coordinates (P,).
    incident, wavelength
        Unit vector (3,) and wavelength () in Angstrom of the source.
    """
    depth = sensor.layer * sensor.layer_thickness
    direction, distance = directions(positions(slow, fast, depth, panel, choice.curved))
    one = torch.ones_like(distance)
    return torch.stack(
        [
            solid_angle(distance, panel, choice.point_pixels) if choice.factors & Factor.OMEGA.value else one,
            polarization(direction, incident, sensor.polarization_vector, sensor.kahn_factor)
            if choice.factors & Factor.POLAR.value
            else one,
            capture(direction, panel, sensor.layer, sensor.layer_thickness, sensor.attenuation)
            if choice.factors & Factor.CAPTURE.value
            else one,
            resolved(scattering_vectors(direction, incident, wavelength), sensor.d_min)
            if choice.factors & Factor.LIMIT.value
            else one,
        ]
    )
