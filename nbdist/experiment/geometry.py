"""Where the detector's pixels are: conventions, pivots and rotations, to a pixel origin and three unit vectors a panel.

The rules are nanoBragg's; `PanelGeometry` is all that the physics needs to know of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbdist.experiment.beam import Beam
from nbdist.experiment.detector import Convention, Detector, Panel, Pivot
from nbdist.experiment.lattice import axis_rotation, xyz_rotation

Array = NDArray[np.float64]
Axis = tuple[float, float, float]


class Axes(NamedTuple):
    """The lab-frame vectors of a convention before any rotation."""

    beam: Axis
    fast: Axis
    slow: Axis
    normal: Axis
    two_theta: Axis
    polarization: Axis
    spindle: Axis
    pivot: Pivot


X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
MINUS_X, MINUS_Y, MINUS_Z = (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)

CONVENTIONS: dict[Convention, Axes] = {
    "mosflm": Axes(X, Z, MINUS_Y, X, MINUS_Z, Z, Z, "beam"),
    "denzo": Axes(X, Z, MINUS_Y, X, MINUS_Z, Z, Z, "beam"),
    "adxv": Axes(Z, X, MINUS_Y, Z, MINUS_X, X, X, "beam"),
    "xds": Axes(Z, X, Y, Z, X, X, X, "sample"),
    "dials": Axes(Z, X, Y, Z, Y, Y, Y, "sample"),
    "custom": Axes(X, Z, MINUS_Y, X, MINUS_Z, Z, Z, "sample"),
}


@dataclass(frozen=True)
class PanelGeometry:
    """One panel in the lab frame, lengths in metres, float64."""

    first_row: int
    spixels: int
    fpixels: int
    pixel_m: float
    origin_m: Array
    fast: Array
    slow: Array
    normal: Array
    close_distance_m: float
    distance_m: float
    pivot: Pivot


def unit(vector: ArrayLike) -> Array:
    """`vector` at length 1."""
    array = np.asarray(vector, dtype=np.float64)
    return np.asarray(array / np.linalg.norm(array))


def beam_direction(beam: Beam, detector: Detector) -> Array:
    """Unit vector along which the beam travels."""
    return unit(beam.direction or CONVENTIONS[detector.convention].beam)


def polarization_vector(beam: Beam, detector: Detector) -> Array:
    """Unit vector of the E field before it is made normal to each source."""
    return unit(beam.polarization_vector or CONVENTIONS[detector.convention].polarization)


def default_beam_center_mm(convention: Convention, panel: Panel) -> tuple[float, float]:
    """Xbeam, Ybeam (mm) that nanoBragg takes for `convention` when none are given."""
    pixel = panel.pixel_size_mm
    size_fast, size_slow = panel.fpixels * pixel, panel.spixels * pixel
    if convention in ("mosflm", "denzo"):
        return (size_slow + pixel) / 2, (size_fast + pixel) / 2
    if convention == "adxv":
        return (size_fast + pixel) / 2, (size_slow - pixel) / 2
    return size_fast / 2, size_slow / 2


def _beam_spot_mm(convention: Convention, panel: Panel) -> tuple[float, float]:
    """Position of the direct beam along fast and slow (mm) from the first pixel's corner."""
    x, y = panel.beam_center_mm or default_beam_center_mm(convention, panel)
    if convention == "mosflm":
        return y + panel.pixel_size_mm / 2, x + panel.pixel_size_mm / 2
    if convention == "denzo":
        return y, x
    if convention == "adxv":
        return x, panel.spixels * panel.pixel_size_mm - y
    return x, y


def _near_point_mm(convention: Convention, panel: Panel) -> tuple[float, float]:
    """Foot of the perpendicular from the sample along fast and slow (mm), before rotation."""
    if panel.near_point_pixels is not None:
        x, y = panel.near_point_pixels
        return (x - 0.5) * panel.pixel_size_mm, (y - 0.5) * panel.pixel_size_mm
    if convention == "custom":
        return _beam_spot_mm(convention, panel)
    return panel.fpixels * panel.pixel_size_mm / 2, panel.spixels * panel.pixel_size_mm / 2


def _normal(panel: Panel, convention: Axes, fast: Array, slow: Array, turn: Array, beam: Array) -> Array:
    """Unit normal before rotation: the one given, or worked out from fast and slow (nanoBragg: where it is not a unit vector).

    One that nobody gave points away from the sample.
    """
    own_axes = panel.fast_axis is not None or panel.slow_axis is not None
    normal = np.asarray(panel.normal_axis or convention.normal, dtype=np.float64)
    if np.linalg.norm(normal) == 1.0 and not (own_axes and panel.normal_axis is None):
        return normal
    normal = unit(np.cross(fast, slow))
    if panel.normal_axis is None:
        away = turn.T @ (np.array(panel.origin_mm) if panel.origin_mm is not None else beam)
        normal = normal if normal @ away >= 0 else -normal
    return normal


def panel_geometry(panel: Panel, first_row: int, detector: Detector, beam: Array) -> PanelGeometry:
    """Place `panel` in the lab.

    Parameters
    ----------
    panel, detector
        The panel and the detector it belongs to.
    first_row
        Row of the image at which the panel starts.
    beam
        Unit vector of the beam, float64 (3,).

    Raises
    ------
    ValueError
        If the detector plane contains the beam, or fast and slow are parallel.
    """
    convention = CONVENTIONS[detector.convention]
    pivot = detector.pivot or convention.pivot
    fast, slow = unit(panel.fast_axis or convention.fast), unit(panel.slow_axis or convention.slow)
    if np.linalg.norm(np.cross(fast, slow)) < 1e-6:
        raise ValueError("fast_axis and slow_axis are parallel")
    turn = xyz_rotation(panel.rotation_deg)
    swing = axis_rotation(panel.two_theta_axis or convention.two_theta, np.deg2rad(panel.two_theta_deg))
    rotation = swing @ turn
    normal = _normal(panel, convention, fast, slow, turn, beam)
    obliquity = float(beam @ (turn @ normal))
    if abs(obliquity) < 1e-9:
        raise ValueError("the detector plane contains the beam")
    if panel.close_distance_mm is not None:
        close_mm = panel.close_distance_mm
    else:
        close_mm = abs(obliquity * (100.0 if panel.distance_mm is None else panel.distance_mm))
    distance_mm = close_mm / obliquity

    near_fast, near_slow = _near_point_mm(detector.convention, panel)
    swung_origin = rotation @ (-near_fast * fast - near_slow * slow + close_mm * normal)
    fast, slow, normal = rotation @ fast, rotation @ slow, rotation @ normal
    if panel.origin_mm is not None:
        origin_mm = np.array(panel.origin_mm)
        along_beam = float(beam @ normal)
        distance_mm = float(origin_mm @ normal) / along_beam if abs(along_beam) > 1e-9 else distance_mm
    elif pivot == "sample":
        origin_mm = swung_origin
    else:
        spot_fast, spot_slow = _beam_spot_mm(detector.convention, panel)
        origin_mm = -spot_fast * fast - spot_slow * slow + distance_mm * beam
    if origin_mm @ normal <= 0:
        raise ValueError(
            "the detector's normal points towards the sample; give fast, slow and normal so that it points away"
        )
    return PanelGeometry(
        first_row=first_row,
        spixels=panel.spixels,
        fpixels=panel.fpixels,
        pixel_m=1e-3 * panel.pixel_size_mm,
        origin_m=1e-3 * origin_mm,
        fast=fast,
        slow=slow,
        normal=normal,
        close_distance_m=1e-3 * float(origin_mm @ normal),
        distance_m=1e-3 * distance_mm,
        pivot=pivot,
    )
