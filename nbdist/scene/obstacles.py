"""What takes photons on their way from the sample: absorption by crystal and capillary, and the shadows of beam stop and pin.

All of it is a factor of the direction that a photon leaves the sample in, so it is the same in all frames: what absorbs is round about
the spindle, and what throws shadows does not turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.model import Experiment
from nbdist.experiment.obstacles import AbsorbingCrystal, BeamStop, Capillary, Pin
from nbdist.scene.panels import unit
from nbdist.scene.sources import are_parallel

Array = NDArray[np.float64]

RADII, AZIMUTHS = 32, 48
"""Points that stand for the volume of a crystal, of a radius or polar angle, and around it."""
ANGLES, SLANTS = 181, 129
"""Of tables of absorption, interpolated linearly."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(RADII)
RADIUS = (NODES + 1) / 2


class Absorber(Protocol):
    """What absorbs at the sample's place."""

    def left(self, towards: Array) -> Array:
        """Share of the photons (...) that gets away along unit vectors (..., 3)."""


class Outline(Protocol):
    """A flat shape in a plane with two coordinates, metres."""

    def outside(self, x: Array, y: Array) -> Array:
        """How far outside points lie; negative inside."""


@dataclass(frozen=True)
class Disc:
    """A disc about a point."""

    center_m: tuple[float, float]
    radius_m: float

    def outside(self, x: Array, y: Array) -> Array:
        """See `Outline`."""
        return np.hypot(x - self.center_m[0], y - self.center_m[1]) - self.radius_m


@dataclass(frozen=True)
class Rectangle:
    """A rectangle along the two axes, about a point."""

    center_m: tuple[float, float]
    sides_m: tuple[float, float]

    def outside(self, x: Array, y: Array) -> Array:
        """See `Outline`."""
        along, across = np.abs(x - self.center_m[0]), np.abs(y - self.center_m[1])
        return np.maximum(along - self.sides_m[0] / 2, across - self.sides_m[1] / 2)


@dataclass(frozen=True)
class Strip:
    """A strip that begins at a distance from a point and goes on outwards; its sides are parallel, or open like a wedge."""

    center_m: tuple[float, float]
    direction_rad: float
    start_m: float
    width_m: float
    wedge_rad: float

    def outside(self, x: Array, y: Array) -> Array:
        """See `Outline`."""
        x, y = x - self.center_m[0], y - self.center_m[1]
        sine, cosine = math.sin(self.direction_rad), math.cos(self.direction_rad)
        out, beside = x * cosine + y * sine - self.start_m, np.abs(y * cosine - x * sine) - self.width_m / 2
        half = self.wedge_rad / 2
        return np.maximum(-out, beside * math.cos(half) - out * math.sin(half))


@dataclass(frozen=True, eq=False)
class Sphere:
    """A sphere bathed in the beam: the mean over its volume of exp(-mu path), a table against two theta (n,) from 0 to pi."""

    beam: Array
    absorbed: Array

    def left(self, towards: Array) -> Array:
        """See `Absorber`."""
        two_theta = np.arccos(np.clip(towards @ self.beam, -1, 1))
        return np.interp(two_theta, np.linspace(0, np.pi, len(self.absorbed)), self.absorbed)

    @classmethod
    def of(cls, mu_R: float, beam: Array) -> Sphere:
        """Work out the table.

        From a point r of a sphere of radius R along a unit vector d the path is sqrt((r.d)^2 + R^2 - r^2) - r.d (International Tables
        C, 6.3.3). The mean is a Gauss-Legendre sum over radius and polar angle, and an even one around the beam: good to 1e-5 of it
        at mu R = 1, to 2e-4 at 3, to 1.2e-3 at 5.
        """
        around = np.arange(AZIMUTHS) * (2 * np.pi / AZIMUTHS)
        radius, cosine, around = np.meshgrid(RADIUS, NODES, around, indexing="ij")
        weight = (WEIGHTS * RADIUS**2)[:, None, None] * WEIGHTS[:, None] * np.ones(AZIMUTHS)
        z, x, inner = radius * cosine, radius * np.sqrt(1 - cosine**2) * np.cos(around), 1 - radius**2
        weight *= np.exp(-mu_R * (z + np.sqrt(z * z + inner))) / weight.sum()
        absorbed = np.empty(ANGLES)
        for number, angle in enumerate(np.linspace(0, np.pi, ANGLES)):
            along = z * math.cos(angle) + x * math.sin(angle)
            absorbed[number] = (weight * np.exp(-mu_R * (np.sqrt(along * along + inner) - along))).sum()
        return cls(beam, absorbed)


@dataclass(frozen=True, eq=False)
class Cylinder:
    """A long cylinder bathed in the beam: the mean over its cross-section of exp(-mu path).

    Within the cross-section the paths are those of a disc; a ray at an angle to the axis has one 1/sin as long.

    Attributes
    ----------
    forward, sideways
        Unit vectors (3,) across the axis: where the beam goes, as far as that is across, and axis x forward.
    table
        The mean (ANGLES, SLANTS), against the angle about the axis from forward, 0 to pi, and the sine of the angle to the axis.
    """

    forward: Array
    sideways: Array
    table: Array

    def left(self, towards: Array) -> Array:
        """See `Absorber`."""
        x, y = towards @ self.forward, towards @ self.sideways
        angle = np.arctan2(np.abs(y), x) * ((ANGLES - 1) / np.pi)
        sine = np.minimum(np.hypot(x, y), 1.0) * (SLANTS - 1)
        row, column = np.minimum(angle.astype(np.int64), ANGLES - 2), np.minimum(sine.astype(np.int64), SLANTS - 2)
        down, right, table = angle - row, sine - column, self.table
        return np.asarray(
            (1 - down) * ((1 - right) * table[row, column] + right * table[row, column + 1])
            + down * ((1 - right) * table[row + 1, column] + right * table[row + 1, column + 1])
        )

    @classmethod
    def of(cls, mu_R: float, beam: Array, axis: Array) -> Cylinder:
        """Work out the table, by sums as a sphere's.

        Across the axis they are good to 1e-5 of the mean at mu R = 1, to 4e-4 at 3, to 3.1e-3 at 5; along it, where next to nothing is
        left, to 2e-3 of what is left across it.
        """
        forward = beam - (beam @ axis) * axis
        sine_in = float(np.linalg.norm(forward))
        forward = forward / sine_in
        around = (np.arange(AZIMUTHS) + 0.5) * (2 * np.pi / AZIMUTHS)
        radius, around = np.meshgrid(RADIUS, around, indexing="ij")
        weight = (WEIGHTS * RADIUS)[:, None] * np.ones(AZIMUTHS)
        x, y, inner = radius * np.cos(around), radius * np.sin(around), 1 - radius**2
        weight *= np.exp(-mu_R / sine_in * (x + np.sqrt(x * x + inner))) / weight.sum()
        sines, table = np.linspace(0, 1, SLANTS)[1:], np.zeros((ANGLES, SLANTS))
        for number, angle in enumerate(np.linspace(0, np.pi, ANGLES)):
            along = x * math.cos(angle) + y * math.sin(angle)
            path = (np.sqrt(along * along + inner) - along).ravel()
            exponents = np.outer(-mu_R / sines, path)
            table[number, 1:] = np.exp(exponents, out=exponents) @ weight.ravel()
        return cls(forward, np.cross(axis, forward), table)


@dataclass(frozen=True, eq=False)
class Tube:
    """A tube about the sample, whose photons come and go through its wall and contents, radially in its cross-section.

    Attributes
    ----------
    axis
        Unit vector (3,).
    depth
        mu times the path from its axis outwards, at right angles to it.
    entered
        The same of the beam, along it.
    """

    axis: Array
    depth: float
    entered: float

    def left(self, towards: Array) -> Array:
        """See `Absorber`."""
        sine = np.sqrt(np.maximum(1 - (towards @ self.axis) ** 2, 1e-24))
        return np.exp(-self.entered - self.depth / sine)


@dataclass(frozen=True, eq=False)
class Shadow:
    """A flat thing across the beam behind the sample.

    Attributes
    ----------
    distance_m
        Of its plane from the sample, along the beam.
    outline
        Of what it is in its plane.
    transmission
        Share of the photons that pass where it is.
    edge_m
        Width of the penumbra, in its plane.
    """

    distance_m: float
    outline: Outline
    transmission: float
    edge_m: float


@dataclass(frozen=True, eq=False)
class Obstacles:
    """All that takes photons on their way from the sample.

    Attributes
    ----------
    beam
        Unit vector (3,).
    across
        Unit vectors (2, 3) across the beam: the spindle axis, as far as it is across (of a spindle along the beam any vector), and beam x
        that.
    absorbers
        Of what leaves the sample's place.
    shadows
        Of things between sample and detector.
    """

    beam: Array
    across: Array
    absorbers: tuple[Absorber, ...]
    shadows: tuple[Shadow, ...]

    @property
    def any(self) -> bool:
        """Whether anything absorbs or throws a shadow."""
        return bool(self.absorbers or self.shadows)

    def absorption(self, towards: Array) -> Array:
        """Share of the sample's photons (...) along unit vectors (..., 3) that crystal and capillary leave."""
        share = np.ones(towards.shape[:-1])
        for absorber in self.absorbers:
            share *= absorber.left(towards)
        return share

    def shadow(self, towards: Array, distance_m: Array, pixel_sr: Array) -> Array:
        """Share (...) that passes what throws shadows, along unit vectors (..., 3) to pixels at distances (...) of a solid angle (...).

        What lies behind a pixel, or the pixel behind the sample, throws none. The share rises linearly over the penumbra, which is no
        narrower than a pixel, so that the shadow of an edge within it is the part that it covers.
        """
        share = np.ones(towards.shape[:-1])
        if not self.shadows:
            return share
        along = towards @ self.beam
        depth_m = distance_m * along
        along = np.where(along > 0, along, 1.0)
        places = (towards @ self.across.T) / along[..., None]
        seen = np.sqrt(pixel_sr) / along
        for its in self.shadows:
            outside = its.outline.outside(its.distance_m * places[..., 0], its.distance_m * places[..., 1])
            edge = np.maximum(its.edge_m, its.distance_m * seen)
            lit = np.clip(0.5 + outside / edge, 0.0, 1.0)
            share *= np.where(depth_m > its.distance_m, its.transmission + (1 - its.transmission) * lit, 1.0)
        return share


def make_obstacles(experiment: Experiment, beam: Array, spindle: Array) -> Obstacles:
    """Work out the numbers of absorption and shadows.

    Parameters
    ----------
    beam, spindle
        Unit vectors (3,).

    Raises
    ------
    ExperimentError
        If the spindle is along the beam, and anything is placed by it.
    """
    given, shadows = experiment.absorption, experiment.shadows
    placed = [
        field
        for field, its in (
            ("absorption.crystal", given.crystal if given.crystal and given.crystal.shape == "cylinder" else None),
            ("absorption.capillary", given.capillary),
            ("shadows.beam_stop", shadows.beam_stop),
            ("shadows.pin", shadows.pin),
        )
        if its is not None
    ]
    if placed and are_parallel(beam, spindle):
        raise ExperimentError(f"{placed[0]}: is placed by the spindle axis, which scan.spindle_axis has along the beam")
    absorbers: list[Absorber] = []
    if given.crystal is not None:
        absorbers.append(_crystal(given.crystal, beam, spindle))
    if given.capillary is not None:
        absorbers.append(_tube(given.capillary, beam, spindle))
    flat = _beam_stop(shadows.beam_stop) if shadows.beam_stop is not None else []
    if shadows.pin is not None:
        flat.append(_pin(shadows.pin))
    axis = np.eye(3)[np.abs(beam).argmin()] if are_parallel(beam, spindle) else spindle
    first = unit(axis - (axis @ beam) * beam)
    return Obstacles(beam, np.stack([first, np.cross(beam, first)]), tuple(absorbers), tuple(flat))


def _crystal(given: AbsorbingCrystal, beam: Array, spindle: Array) -> Absorber:
    mu_R = given.size_um / 2 / given.attenuation_length_um
    return Sphere.of(mu_R, beam) if given.shape == "sphere" else Cylinder.of(mu_R, beam, spindle)


def _tube(given: Capillary, beam: Array, axis: Array) -> Tube:
    depth = given.wall_um / given.attenuation_length_um
    if given.contents_attenuation_length_um is not None:
        depth += given.inner_radius_um / given.contents_attenuation_length_um
    return Tube(axis, depth, depth / math.sqrt(1 - float(beam @ axis) ** 2))


def _beam_stop(given: BeamStop) -> list[Shadow]:
    distance_m, edge_m = 1e-3 * given.distance_mm, 1e-3 * given.edge_mm
    center_m = (1e-3 * given.center_mm[0], 1e-3 * given.center_mm[1])
    outline: Outline
    if isinstance(given.size_mm, tuple):
        outline = Rectangle(center_m, (1e-3 * given.size_mm[0], 1e-3 * given.size_mm[1]))
    else:
        outline = Disc(center_m, 5e-4 * given.size_mm)
    shadows = [Shadow(distance_m, outline, given.transmission, edge_m)]
    if given.holder is not None:
        strip = Strip(center_m, math.radians(given.holder.direction_deg), 0.0, 1e-3 * given.holder.width_mm, 0.0)
        shadows.append(Shadow(distance_m, strip, given.holder.transmission, edge_m))
    return shadows


def _pin(given: Pin) -> Shadow:
    strip = Strip(
        (0.0, 0.0),
        math.radians(given.direction_deg),
        1e-3 * given.start_mm,
        1e-3 * given.width_mm,
        math.radians(given.wedge_deg),
    )
    return Shadow(1e-3 * given.distance_mm, strip, given.transmission, 1e-3 * given.edge_mm)
