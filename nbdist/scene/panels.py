"""Where the detector's pixels are: conventions, pivots and rotations, to a pixel origin and three unit vectors a panel.

The rules are nanoBragg's; `PanelGeometry` is all that the physics needs to know of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import Beam
from nbdist.experiment.detector import Convention, Detector, Panel, Pivot, Sensor
from nbdist.experiment.lattice import axis_rotation, xyz_rotation
from nbdist.experiment.materials import attenuation_depth_um
from nbdist.scene.tile import Tile

Array = NDArray[np.float64]
Axis = tuple[float, float, float]

SMALLEST_OBLIQUITY = 1e-9
"""Cosine between the beam and a plane's normal below which the beam runs along the plane."""
SMALLEST_DISTANCE_M = 1e-150
"""Keeps the direction to a pixel at the sample itself a number; its solid angle is not one, and the image is refused."""
LARGEST_CURVED_TILT = 1e-6
"""Cosine between the beam and the axes of a curved panel above which it is tilted; axes come with six digits at times."""


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
    "dxtbx": Axes(MINUS_Z, X, MINUS_Y, MINUS_Z, X, X, X, "sample"),  # xds, turned by half a turn about x
    "custom": Axes(X, Z, MINUS_Y, X, MINUS_Z, Z, Z, "sample"),
}


@dataclass(frozen=True)
class PanelGeometry:
    """One panel in the lab frame, lengths in metres, float64.

    Attributes
    ----------
    spixels, fpixels
        Rows and columns.
    origin_m
        Outer corner of the first pixel (3,).
    fast, slow, normal, beam
        Unit vectors (3,); the normal points away from the sample.
    close_distance_m
        From the sample to the plane along its normal, above 0.
    distance_m
        From the sample to the plane along the beam, below 0 where the plane is met backwards; the close distance where the beam runs
        along the plane. The radius of a curved panel.
    curved
        Whether the panel is wrapped around the sample.
    layers, layer_thickness_m, attenuation_per_m
        Of its sensor; without one a layer of no thickness. An attenuation of 0 counts every photon once in every layer.
    usable
        Pixels (slow, fast) that are rendered and not masked, bool.
    region
        Rows and columns that are rendered: slow start, slow stop, fast start, fast stop.
    """

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
    beam: Array
    curved: bool
    layers: int
    layer_thickness_m: float
    attenuation_per_m: float
    usable: NDArray[np.bool_]
    region: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.spixels, self.fpixels

    def positions_m(self, slow: ArrayLike, fast: ArrayLike) -> Array:
        """Lab positions (..., 3) of pixel coordinates, metres; a pixel's centre is at + 1/2.

        On a curved panel the offsets from the beam's spot along fast and slow are arcs: the spot is turned about b x f, then b x s.
        """
        slow, fast = np.broadcast_arrays(np.asarray(slow, dtype=np.float64), np.asarray(fast, dtype=np.float64))
        flat = self.origin_m + self.pixel_m * (fast[..., None] * self.fast + slow[..., None] * self.slow)
        if not self.curved:
            return flat
        spot = self.distance_m * self.beam
        along_fast, along_slow = ((flat - spot) @ axis / self.distance_m for axis in (self.fast, self.slow))
        return _turned(
            _turned(spot, np.cross(self.beam, self.fast), along_fast), np.cross(self.beam, self.slow), along_slow
        )

    def directions(self, slow: ArrayLike, fast: ArrayLike) -> tuple[Array, Array]:
        """Unit vectors (..., 3) from the sample to pixel coordinates, and the distances (...) in metres."""
        position = self.positions_m(slow, fast)
        distance = np.maximum(np.linalg.norm(position, axis=-1), SMALLEST_DISTANCE_M)
        return position / distance[..., None], distance

    def pixel_directions(self, tile: Tile) -> tuple[Array, Array]:
        """Unit vectors (rows, columns, 3) to the middles of the pixels of a tile, and the distances (rows, columns) in metres."""
        slow, fast = (np.arange(start, stop) + 0.5 for start, stop in (tile[1:3], tile[3:5]))
        return self.directions(slow[:, None], fast)

    def resolution_A(self, slow: ArrayLike, fast: ArrayLike, wavelength_A: float) -> Array:
        """Spacing d (...) in Angstrom that scatters to pixel coordinates: wavelength / |d - b|, of a beam along b."""
        # axis by axis, as vectors that lie together take six times as long
        position = list(self._axes_m(slow, fast))
        distance = np.maximum(_length(position), SMALLEST_DISTANCE_M)
        apart = [along / distance - beam for along, beam in zip(position, self.beam, strict=True)]
        return np.asarray(wavelength_A / np.maximum(_length(apart), 1e-12))

    def _axes_m(self, slow: ArrayLike, fast: ArrayLike) -> Iterator[Array]:
        """What `positions_m` gives, along x, y and z (...)."""
        if self.curved:
            yield from np.moveaxis(self.positions_m(slow, fast), -1, 0)
            return
        slow, fast = np.asarray(slow, dtype=np.float64), np.asarray(fast, dtype=np.float64)
        for origin_m, along_fast, along_slow in zip(self.origin_m, self.fast, self.slow, strict=True):
            yield origin_m + self.pixel_m * (fast * along_fast + slow * along_slow)

    def solid_angle_sr(self, distance_m: Array, point_pixels: bool = False) -> Array:
        """Solid angle (...) of pixels at distances R from the sample: pixel^2 close_distance / R^3, or 1 / R^2 of point pixels."""
        if point_pixels:
            return np.asarray(1 / (distance_m * distance_m))
        return np.asarray(self.pixel_m * self.pixel_m * self.close_distance_m / (distance_m * distance_m * distance_m))

    def coordinates(self, directions: ArrayLike, depth_m: ArrayLike = 0.0) -> Array:
        """Where rays from the sample along directions (..., 3) meet the panel: slow and fast pixel coordinates (..., 2).

        NaN where a ray does not meet its plane. Whether the point lies within the panel's edges is not asked. A depth (...) in the sensor,
        metres, is behind the panel's front; a curved panel is met there at any depth, and its arcs along fast end a quarter turn from
        the beam.
        """
        towards, axes = np.asarray(directions, dtype=np.float64), np.stack([self.slow, self.fast])
        pixels = np.linalg.inv(axes @ axes.T) / self.pixel_m  # slow and fast need not be at right angles
        if self.curved:
            towards = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
            return np.asarray((self._arcs(towards) * self.distance_m - axes @ self.origin_m) @ pixels)
        axes = pixels @ axes
        with np.errstate(divide="ignore"):
            length = (self.close_distance_m + np.asarray(depth_m)) / (towards @ self.normal)
        length = np.where(length > 0, length, np.nan)[..., None]
        depth = np.asarray(depth_m)[..., None] * (axes @ self.normal)
        return np.asarray(length * (towards @ axes.T) - depth - axes @ self.origin_m)

    def _arcs(self, towards: Array) -> Array:
        """Angles (..., 2) about b x s and b x f by which `positions_m` turns the beam's spot into unit vectors (..., 3)."""
        across, slant = np.cross(self.beam, self.slow), float(self.fast @ self.slow)
        along_fast = np.arcsin(np.clip(towards @ across / (self.fast @ across), -1, 1))
        lean = np.arctan2(slant * np.sin(along_fast), np.cos(along_fast))
        along_slow = np.arctan2(towards @ self.slow, towards @ self.beam) - lean
        return np.stack([along_slow, along_fast], axis=-1)


def _length(along: Sequence[Array]) -> Array:
    """Lengths (...) of vectors by their components along x, y and z (...), added in this order."""
    x, y, z = along
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def _turned(vector: Array, axis: Array, angle: Array) -> Array:
    """Vectors (..., 3) turned about a unit axis (3,) by angles (...) in radians (Rodrigues' formula)."""
    cosine, sine = np.cos(angle)[..., None], np.sin(angle)[..., None]
    along = (vector @ axis)[..., None] * axis
    return np.asarray(vector * cosine + np.cross(axis, vector) * sine + along * (1 - cosine))


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


def _normal(panel: Panel, convention: Axes, fast: Array, slow: Array, turn: Array, swing: Array, beam: Array) -> Array:
    """Unit normal before rotation: the one given, or worked out from fast and slow (nanoBragg: where it is not a unit vector).

    One that nobody gave points away from the sample: to the side of the origin where that is given, else of the beam.
    """
    own_axes = panel.fast_axis is not None or panel.slow_axis is not None
    normal = np.asarray(panel.normal_axis or convention.normal, dtype=np.float64)
    x, y, z = normal  # whether it is one is a matter of the last bit, and nanoBragg squares and adds in this order
    if math.sqrt(x * x + y * y + z * z) != 1.0 or (own_axes and panel.normal_axis is None):
        normal = unit(np.cross(fast, slow))
    if panel.normal_axis is None and (own_axes or panel.origin_mm is not None):
        away = turn.T @ beam if panel.origin_mm is None else (swing @ turn).T @ np.array(panel.origin_mm)
        normal = normal if normal @ away >= 0 else -normal
    return normal


def _attenuation_per_m(sensor: Sensor | None, wavelength_A: float) -> float:
    """Attenuation of a sensor, 1/m; 0 where every photon counts once in every layer."""
    if sensor is None:
        return 0.0
    depth_um = sensor.attenuation_depth_um
    if sensor.material is not None:
        try:
            depth_um = attenuation_depth_um(sensor.material, wavelength_A)
        except ValueError as error:  # its wavelength is wrong, and not the panel
            said = f"{wavelength_A:g} A (beam.wavelength_A is in Angstrom, energy_eV in eV)"
            raise ExperimentError(f"beam: a wavelength of {said}: of {error}") from None
    return 1e6 / depth_um if depth_um else 0.0


def panel_geometry(
    panel: Panel, detector: Detector, beam: Array, wavelength_A: float, usable: NDArray[np.bool_]
) -> PanelGeometry:
    """Place `panel` in the lab.

    Parameters
    ----------
    panel, detector
        The panel and the detector it belongs to.
    beam
        Unit vector of the beam, float64 (3,).
    wavelength_A
        For which its sensor attenuates.
    usable
        Pixels (slow, fast) that are rendered and not masked.

    Raises
    ------
    ValueError
        If fast and slow are parallel, the plane contains the sample or faces away from it, its distance along the beam is needed and
        there is none, or a curved panel is tilted.
    ExperimentError
        If the attenuation of its sensor's material is not known at the wavelength.
    """
    convention, region = CONVENTIONS[detector.convention], detector.region_of_interest
    sensor = panel.sensor or detector.sensor
    pivot = detector.pivot or convention.pivot
    fast, slow = unit(panel.fast_axis or convention.fast), unit(panel.slow_axis or convention.slow)
    if np.linalg.norm(np.cross(fast, slow)) < 1e-6:
        raise ValueError("fast_axis and slow_axis are parallel")
    turn = xyz_rotation(panel.rotation_deg)
    swing = axis_rotation(panel.two_theta_axis or convention.two_theta, np.deg2rad(panel.two_theta_deg))
    rotation = swing @ turn
    normal = _normal(panel, convention, fast, slow, turn, swing, beam)
    near_fast, near_slow = _near_point_mm(detector.convention, panel)
    near_mm = -near_fast * fast - near_slow * slow
    fast, slow, normal_before, normal = rotation @ fast, rotation @ slow, normal, rotation @ normal
    if panel.origin_mm is not None:
        origin_mm, obliquity = np.array(panel.origin_mm), float(beam @ normal)
        close_mm = float(origin_mm @ normal)
    else:
        obliquity = float(beam @ (turn @ normal_before))
        if abs(obliquity) < SMALLEST_OBLIQUITY and (panel.close_distance_mm is None or pivot == "beam"):
            raise ValueError(
                "the detector plane contains the beam; give close_distance_mm with pivot: sample, or origin_mm"
            )
        if panel.close_distance_mm is not None:
            close_mm = panel.close_distance_mm
        else:
            close_mm = abs(obliquity * (100.0 if panel.distance_mm is None else panel.distance_mm))
        if pivot == "sample":
            origin_mm = rotation @ (near_mm + close_mm * normal_before)
        else:
            spot_fast, spot_slow = _beam_spot_mm(detector.convention, panel)
            origin_mm = -spot_fast * fast - spot_slow * slow + close_mm / obliquity * beam
    if abs(origin_mm @ normal) <= SMALLEST_OBLIQUITY * np.linalg.norm(origin_mm):
        raise ValueError("the detector plane contains the sample")
    if origin_mm @ normal < 0:
        raise ValueError(
            "the detector's normal points towards the sample; give fast, slow and normal so that it points away"
        )
    if detector.curved and max(abs(beam @ fast), abs(beam @ slow)) > LARGEST_CURVED_TILT:
        towards_fast, towards_slow = np.rad2deg(np.arccos([beam @ fast, beam @ slow]))
        raise ValueError(
            "detector.curved needs a panel that is not tilted, its fast and slow at right angles to the beam; "
            f"found {towards_fast:.6g} and {towards_slow:.6g} degrees"
        )
    return PanelGeometry(
        spixels=panel.spixels,
        fpixels=panel.fpixels,
        pixel_m=1e-3 * panel.pixel_size_mm,
        origin_m=1e-3 * origin_mm,
        fast=fast,
        slow=slow,
        normal=normal,
        close_distance_m=1e-3 * float(origin_mm @ normal),
        distance_m=1e-3 * (close_mm / obliquity if abs(obliquity) >= SMALLEST_OBLIQUITY else close_mm),
        pivot=pivot,
        beam=beam,
        curved=detector.curved,
        layers=1 if sensor is None else sensor.layers,
        layer_thickness_m=0.0 if sensor is None else 1e-6 * sensor.thickness_um / sensor.layers,
        attenuation_per_m=_attenuation_per_m(sensor, wavelength_A),
        usable=usable,
        region=(0, panel.spixels, 0, panel.fpixels) if region is None else (*region.slow, *region.fast),
    )
