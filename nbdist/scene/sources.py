"""The sources of the beam: one direction, wavelength and weight each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import Beam, Divergence
from nbdist.experiment.lattice import axis_rotation, turned
from nbdist.formats.source_list import read_source_list
from nbdist.formats.text import said_of
from nbdist.scene.normal_points import even_set, normal_points
from nbdist.scene.panels import unit

Array = NDArray[np.float64]
SOURCE_DISTANCE_M = 10.0
"""Where nanoBragg puts a source whose line in the source file leaves coordinates out."""
DEFAULT_SPREAD_SOURCES = 100


@dataclass(frozen=True)
class Sources:
    """n sources, float64: unit directions the photons travel (n, 3), wavelengths in Angstrom (n,), weights of mean 1 (n,)."""

    directions: Array
    wavelengths_A: Array
    weights: Array

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def mean(self) -> tuple[Array, float]:
        """Mean direction, a unit vector (3,), and mean wavelength in Angstrom."""
        return unit(self.weights @ self.directions), float(self.weights @ self.wavelengths_A) / len(self)

    def wavelength_nodes(self, most: int) -> tuple[Array, NDArray[np.int64] | None]:
        """Wavelengths that stand for those of the sources, ascending (nodes,), and which of them each has (sources,); None for one.

        Up to `most` different ones stand for themselves. Where there are more, the range of photon energies is cut into as many equal
        stretches, and those that hold sources have these sources' weighted mean.
        """
        nodes_A, node = np.unique(self.wavelengths_A, return_inverse=True)
        if len(nodes_A) > most:
            energy = 1 / self.wavelengths_A
            stretch = np.minimum((most * (energy.max() - energy) / np.ptp(energy)).astype(np.int64), most - 1)
            _, node = np.unique(stretch, return_inverse=True)
            weights = np.maximum(self.weights, 1e-12)  # a stretch may have no others than sources of weight 0
            nodes_A = np.bincount(node, weights * self.wavelengths_A) / np.bincount(node, weights)
        return nodes_A, node.astype(np.int64) if len(nodes_A) > 1 else None


def make_sources(beam: Beam, direction: Array, polarization: Array) -> Sources:
    """List the sources of `beam`: its explicit list, its file, or its divergence and dispersion grids; without their normal spread.

    Parameters
    ----------
    direction, polarization
        Unit vectors (3,) of the beam and of the E field.

    Raises
    ------
    FileFormatError
        If the source file cannot be read.
    ExperimentError
        If beams are spread about beam x polarization where the two are parallel.
    """
    mean_A = beam.mean_wavelength_A
    if beam.sources is not None:
        directions = [unit(source.direction) for source in beam.sources]
        wavelengths = [source.wavelength_A or mean_A for source in beam.sources]
        weights = [source.weight for source in beam.sources]
    elif beam.source_file is not None:
        with said_of("beam.source_file"):
            lines = read_source_list(beam.source_file)
        behind = -SOURCE_DISTANCE_M * direction
        positions = [np.concatenate([line.position_m, behind[len(line.position_m) :]]) for line in lines]
        directions = [-unit(position) for position in positions]
        wavelengths = [mean_A if line.wavelength_m is None else 1e10 * line.wavelength_m for line in lines]
        weights = [1.0 if line.weight is None else line.weight for line in lines]
    else:
        spectrum = _spectrum(mean_A, beam.dispersion.percent, beam.dispersion.steps)
        tilted = tilted_directions(direction, polarization, _divergence_grid(beam.divergence))
        directions = [tilt for tilt in tilted for _ in spectrum]
        wavelengths = spectrum * len(tilted)
        weights = [1.0] * len(wavelengths)
    relative = np.array(weights, dtype=np.float64)
    return Sources(np.array(directions), np.array(wavelengths, dtype=np.float64), relative / relative.mean())


def spread_sources(sources: Sources, beam: Beam, direction: Array, polarization: Array) -> Sources:
    """Put points of the normal spectrum and divergence of `beam` in place of every source, one source's after the other's.

    A point is a deviate for each spread that there is: it makes the wavelength lambda (1 + d), and turns the direction about the E
    field, then about beam x E field. The first point of a source is the source itself, in place of the point nearest to it: factors
    that are evaluated once for a pixel are the first source's.

    Raises
    ------
    ExperimentError
        If it is turned about beam x E field where the two are parallel.
    """
    sigma = np.array([beam.bandwidth_sigma, *(1e-3 * mrad for mrad in beam.divergence_sigmas_mrad)])
    spread = np.flatnonzero(sigma)
    if not len(spread):
        return sources
    count = beam.spread_sources or DEFAULT_SPREAD_SOURCES
    points = normal_points(even_set(count, len(spread), beam.spread_seed))
    points[np.linalg.norm(points, axis=1).argmin()] = points[0]
    points[0] = 0.0
    deviates = np.zeros((count, 3))
    deviates[:, spread] = points * sigma[spread]
    upright = _upright(direction, polarization, bool(sigma[1]), "beam.divergence_sigma_mrad.0")
    along, across = deviates[:, 1:2] * upright, deviates[:, 2:] * polarization
    return Sources(
        directions=turned(turned(sources.directions[:, None], across), along).reshape(-1, 3),
        wavelengths_A=np.outer(sources.wavelengths_A, 1 + deviates[:, 0]).ravel(),
        weights=np.repeat(sources.weights, count),
    )


def are_parallel(a: Array, b: Array) -> bool:
    """Whether two unit vectors have no plane in common that either of them names."""
    return bool(np.linalg.norm(np.cross(a, b)) < 1e-9)


def tilted_directions(direction: Array, polarization: Array, tilts: list[tuple[float, float]]) -> list[Array]:
    """Turn a beam by pairs of (horizontal, vertical) angles in radians, as nanoBragg does: about the E field, then about beam x E field.

    Raises
    ------
    ExperimentError
        If it is turned about beam x E field where the two are parallel.
    """
    is_tilted = any(horizontal != 0 for horizontal, _ in tilts)
    upright = _upright(direction, polarization, is_tilted, "beam.divergence.horizontal_mrad")
    return [axis_rotation(upright, h) @ axis_rotation(polarization, v) @ direction for h, v in tilts]


def _upright(direction: Array, polarization: Array, is_turned_about: bool, field: str) -> Array:
    """Unit vector of beam x E field; where the two are parallel any will do, unless `field` turns beams about it."""
    if not are_parallel(direction, polarization):
        return unit(np.cross(direction, polarization))
    if is_turned_about:
        raise ExperimentError(f"{field}: has no axis, because beam.polarization_vector is parallel to the beam")
    return direction


def _divergence_grid(divergence: Divergence) -> list[tuple[float, float]]:
    """(horizontal, vertical) tilts in radians, as nanoBragg lays them out."""

    def axis(range_rad: float, steps: int) -> tuple[float, list[float]]:
        step = range_rad / (steps - 1) if steps > 1 else 0.0
        return step, [step * position - range_rad / 2 for position in range(steps)] if steps > 1 else [0.0]

    horizontal_range, vertical_range = 1e-3 * divergence.horizontal_mrad, 1e-3 * divergence.vertical_mrad
    horizontal_step, horizontal = axis(horizontal_range, divergence.horizontal_steps)
    vertical_step, vertical = axis(vertical_range, divergence.vertical_steps)

    def share(tilt: float, step: float, steps: int, range_rad: float) -> float:
        if range_rad == 0 or steps == 1:
            return 0.0
        even = step * step / 4 if steps % 2 == 0 else 0.0
        return (tilt * tilt - even) / (range_rad * range_rad)

    return [
        (h, v)
        for h, v in product(horizontal, vertical)
        if not divergence.round
        or 4.0
        * (
            share(h, horizontal_step, divergence.horizontal_steps, horizontal_range)
            + share(v, vertical_step, divergence.vertical_steps, vertical_range)
        )
        <= 1.1
    ]


def _spectrum(mean_A: float, percent: float, steps: int) -> list[float]:
    if steps == 1:
        return [mean_A]
    spread = percent / 100
    return [mean_A * (1 + spread * position / (steps - 1) - spread / 2) for position in range(steps)]
