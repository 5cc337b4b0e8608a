"""What an experiment means in numbers: vectors, sources, orientations and counts, ready for planning and physics.

`resolve` is the only way from fields to numbers; `check`, `plan`, the kernel and the store all read what it returns.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError, FileFormatError
from nbdist.experiment.lattice import Cell, axis_rotation, dual_vectors, reciprocal_from_cell, xyz_rotation
from nbdist.experiment.model import Experiment
from nbdist.experiment.sampling import MOST_OVERSAMPLE
from nbdist.experiment.scan import MOST_AUTOMATIC_PHI_STEPS
from nbdist.formats.mosflm_matrix import read_mosflm_cell, read_mosflm_matrix
from nbdist.formats.smv import is_smv, read_smv
from nbdist.scene.mosaic import mosaic_rotations
from nbdist.scene.panels import (
    CONVENTIONS,
    PanelGeometry,
    beam_direction,
    panel_geometry,
    polarization_vector,
    unit,
)
from nbdist.scene.rocking import panel_resolutions_A, recommended_phi_steps, rocking_width_deg
from nbdist.scene.sources import Sources, are_parallel, make_sources

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ResolvedExperiment:
    """The numbers of an experiment; arrays are float64, lengths in the unit that their name says.

    Attributes
    ----------
    experiment
        What was resolved.
    panels
        Geometry of each panel.
    beam_direction, polarization_vector, spindle_axis
        Unit vectors (3,).
    sources
        Directions, wavelengths and weights.
    real_vectors_A
        Rows a, b, c (3, 3) at phi 0.
    N_cells
        Cells along a, b, c.
    mosaic
        Rotations of the mosaic domains (n, 3, 3).
    finest_A
        Resolution that the detector reaches within `sampling.d_min_A`, Angstrom.
    rocking_width_deg
        Rotation over which a reflection there crosses the Ewald sphere at the least, full width at half maximum.
    phi_steps
        Orientations that stand for one frame's oscillation.
    oversample
        Subpixels along each side of a pixel.
    interpolate
        Whether amplitudes are interpolated between reflections.
    usable
        Pixels (slow, fast) that are rendered and not masked, bool.
    stated_cell
        The cell that a matrix file gives beside its matrix, if it does.
    """

    experiment: Experiment
    panels: tuple[PanelGeometry, ...]
    beam_direction: Array
    polarization_vector: Array
    spindle_axis: Array
    sources: Sources
    real_vectors_A: Array
    N_cells: tuple[int, int, int]
    mosaic: Array
    finest_A: float
    rocking_width_deg: float
    phi_steps: int
    oversample: int
    interpolate: bool
    usable: NDArray[np.bool_]
    stated_cell: Cell | None

    @property
    def steps(self) -> int:
        """The divisor of the whole experiment: sources x phi steps x mosaic domains x oversample^2 (never a part's)."""
        return len(self.sources) * self.phi_steps * len(self.mosaic) * self.oversample**2

    @property
    def orientations_per_frame(self) -> int:
        """Phi steps x mosaic domains."""
        return self.phi_steps * len(self.mosaic)

    @property
    def sensor_layers(self) -> int:
        """Layers of the sensor, at least 1."""
        sensor = self.experiment.detector.sensor
        return 1 if sensor is None else sensor.layers

    def phi_deg(self, frame: int) -> list[float]:
        """Phi of every step of `frame`, degrees."""
        return self.experiment.scan.phi_deg(frame, self.phi_steps)

    def phi_rotations(self, frame: int) -> Array:
        """Spindle rotation of every phi step of `frame`, (n, 3, 3)."""
        steps = self.phi_deg(frame)
        rotations = np.empty((len(steps), 3, 3))
        for rotation, phi in zip(rotations, steps, strict=True):
            rotation[...] = axis_rotation(self.spindle_axis, np.deg2rad(phi))
        return rotations

    def frame_orientation_A(self, frame: int) -> Array:
        """Real-space rows a, b, c (3, 3) at the middle of `frame`, Angstrom, without mosaicity."""
        scan = self.experiment.scan
        middle = np.deg2rad(scan.frame_start_deg(frame) + scan.osc_range_deg / 2)
        return np.asarray(self.real_vectors_A @ axis_rotation(self.spindle_axis, middle).T)


def resolve(experiment: Experiment) -> ResolvedExperiment:
    """Work out the numbers of `experiment`, reading its small files (matrix, sources, mask, rotations).

    Raises
    ------
    ExperimentError, FileFormatError
        If a file cannot be read, a matrix is singular, the mask has another shape than the detector, ...
    """
    detector, beam = experiment.detector, experiment.beam
    convention = CONVENTIONS[detector.convention]
    direction, polarization = beam_direction(beam, detector), polarization_vector(beam, detector)
    sources = make_sources(beam, direction, polarization)
    _check_polarization(experiment, sources, polarization)
    panels, first_row = [], 0
    for number, panel in enumerate(detector.panels):
        try:
            panels.append(panel_geometry(panel, first_row, detector, direction))
        except ValueError as error:
            raise ExperimentError(f"detector.panels.{number}: {error}") from None
        first_row += panel.spixels
    real = dual_vectors(_reciprocal_vectors(experiment))
    N_cells = _cells(experiment, real)
    largest_A, mosaic = largest_size_A(real, N_cells), _mosaic(experiment)
    finest_A = min(panel_resolutions_A(panel, beam.mean_wavelength_A)[1] for panel in panels)
    finest_A = max(finest_A, experiment.sampling.d_min_A or 0.0)
    width_deg = rocking_width_deg(experiment.crystal, largest_A, mosaic, sources, finest_A)
    return ResolvedExperiment(
        experiment=experiment,
        panels=tuple(panels),
        beam_direction=direction,
        polarization_vector=polarization,
        spindle_axis=unit(experiment.scan.spindle_axis or convention.spindle),
        sources=sources,
        real_vectors_A=real,
        N_cells=N_cells,
        mosaic=mosaic,
        finest_A=finest_A,
        rocking_width_deg=width_deg,
        phi_steps=_phi_steps(experiment, width_deg),
        oversample=_oversample(experiment, largest_A, panels),
        interpolate=_interpolate(experiment, N_cells),
        usable=_usable_pixels(experiment),
        stated_cell=None if experiment.crystal.matrix_file is None else _stated_cell(experiment.crystal.matrix_file),
    )


def largest_size_A(real_vectors_A: Array, N_cells: tuple[int, int, int]) -> float:
    """Size of the crystal along its longest axis, Angstrom."""
    return float((np.linalg.norm(real_vectors_A, axis=1) * N_cells).max())


def _stated_cell(path: Path) -> Cell | None:
    cell = read_mosflm_cell(path)
    return None if cell is None else Cell(*cell)


def _phi_steps(experiment: Experiment, width_deg: float) -> int:
    scan = experiment.scan
    if scan.phi_steps != "auto":
        return scan.phi_steps
    automatic = recommended_phi_steps(scan.osc_range_deg, width_deg)
    if automatic > MOST_AUTOMATIC_PHI_STEPS:
        raise ExperimentError(
            f"scan.phi_steps: auto asks for {automatic:.3g} steps a frame, more than {MOST_AUTOMATIC_PHI_STEPS}, for reflections "
            f"{width_deg:.3g} degrees wide in frames of {scan.osc_range_deg:g}; are the crystal's size and the cell in their units?"
        )
    return automatic


def _check_polarization(experiment: Experiment, sources: Sources, polarization: Array) -> None:
    """Refuse a polarised source along the E vector: its psi has no zero. An unpolarised one needs none."""
    if not experiment.beam.polarization_factor:
        return
    for number, direction in enumerate(sources.directions):
        if are_parallel(direction, polarization):
            which = f"source {number}" if len(sources) > 1 else "the beam"
            raise ExperimentError(
                f"beam.polarization_vector: is parallel to {which}, which only polarization_factor 0 or null allows; "
                f"found {experiment.beam.polarization_factor:g}"
            )


def recommended_oversample(largest_A: float, wavelength_A: float, panel: PanelGeometry) -> int:
    """Subpixels for three samples across a spot of the crystal's size: ceil(3 size / (lambda distance / pixel)), as nanoBragg."""
    with np.errstate(over="ignore"):
        wanted = np.ceil(np.float64(3.0 * largest_A) / (wavelength_A * abs(panel.distance_m) / panel.pixel_m))
    return max(1, int(min(wanted, 1e15)))


def _oversample(experiment: Experiment, largest_A: float, panels: list[PanelGeometry]) -> int:
    given = experiment.sampling.oversample
    if given != "auto":
        return int(given)
    wavelength_A = experiment.beam.mean_wavelength_A
    automatic = max(recommended_oversample(largest_A, wavelength_A, panel) for panel in panels)
    if automatic > MOST_OVERSAMPLE:
        raise ExperimentError(
            f"sampling.oversample: auto asks for {automatic:.3g} subpixels a side, more than {MOST_OVERSAMPLE}, for a crystal of "
            f"{largest_A:.4g} A at a wavelength of {wavelength_A:.4g} A; are beam.wavelength_A and the crystal's size in their units?"
        )
    return int(automatic)


def _interpolate(experiment: Experiment, N_cells: tuple[int, int, int]) -> bool:
    if experiment.structure_factors.kind == "uniform":
        return False
    given = experiment.sampling.interpolate
    return min(N_cells) <= 2 if given == "auto" else bool(given)


def _reciprocal_vectors(experiment: Experiment) -> Array:
    crystal = experiment.crystal
    if crystal.cell is not None:
        reciprocal = reciprocal_from_cell(crystal.cell)
    else:
        if crystal.matrix_file is not None:
            source = f"crystal.matrix_file: {crystal.matrix_file}"
            reciprocal = read_mosflm_matrix(crystal.matrix_file).T / experiment.beam.mean_wavelength_A
        else:
            source = "crystal.reciprocal_vectors_per_A"
            reciprocal = np.array(crystal.reciprocal_vectors_per_A, dtype=np.float64)
        scale = np.prod(np.linalg.norm(reciprocal, axis=1))
        if scale == 0 or abs(np.linalg.det(reciprocal)) < 1e-9 * scale:
            raise ExperimentError(f"{source}: the matrix is singular, its three vectors span no volume")
    return np.asarray(reciprocal @ xyz_rotation(crystal.misset_deg).T)


def _cells(experiment: Experiment, real: Array) -> tuple[int, int, int]:
    crystal = experiment.crystal
    if crystal.size_mm is not None:
        counts = np.ceil(1e7 * np.array(crystal.size_mm) / np.linalg.norm(real, axis=1))
        na, nb, nc = (max(1, int(count)) for count in counts)
        return na, nb, nc
    return crystal.N_cells or (1, 1, 1)


def _mosaic(experiment: Experiment) -> Array:
    crystal = experiment.crystal
    if crystal.mosaic_rotations_file is not None:
        field = f"crystal.mosaic_rotations_file: {crystal.mosaic_rotations_file}"
        rotations = np.asarray(load_array(crystal.mosaic_rotations_file, "crystal.mosaic_rotations_file"))
    elif crystal.mosaic_rotations is not None:
        field = "crystal.mosaic_rotations"
        rotations = np.array(crystal.mosaic_rotations, dtype=np.float64)
    else:
        domains = crystal.mosaic_domains or (10 if crystal.mosaic_spread_deg > 0 else 1)
        return mosaic_rotations(crystal.mosaic_spread_deg, domains, crystal.mosaic_seed)
    if rotations.ndim != 3 or rotations.shape[1:] != (3, 3) or rotations.dtype.kind not in "fiu":
        raise ExperimentError(
            f"{field}: expected numbers of shape (n, 3, 3), found {rotations.dtype} {rotations.shape}"
        )
    rotations = rotations.astype(np.float64)
    error = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).reshape(len(rotations), -1).max(axis=1)
    wrong = np.flatnonzero(~(error < 1e-6) | (np.linalg.det(rotations) < 0))
    if len(wrong):
        raise ExperimentError(f"{field}: matrix {wrong[0]} is not a rotation")
    return rotations


def _usable_pixels(experiment: Experiment) -> NDArray[np.bool_]:
    detector = experiment.detector
    usable = np.ones(experiment.image_shape, dtype=bool)
    masks = [("detector", detector.mask_file, usable)]
    first_row = 0
    for number, panel in enumerate(detector.panels):
        masks.append((f"detector.panels.{number}", panel.mask_file, usable[first_row : first_row + panel.spixels]))
        first_row += panel.spixels
    for place, path, pixels in masks:
        if path is not None:
            unmasked = _unmasked(path, f"{place}.mask_file")
            if unmasked.shape != pixels.shape:
                whose = "the detector" if pixels is usable else "the panel"
                raise ExperimentError(
                    f"{place}.mask_file: {path} has shape {unmasked.shape}, {whose} {pixels.shape} (slow, fast)"
                )
            pixels &= unmasked
    region = detector.region_of_interest
    if region is not None:
        inside = np.zeros_like(usable)
        inside[slice(*region.slow), slice(*region.fast)] = True
        usable &= inside
    return usable


def _unmasked(path: Path, field: str) -> NDArray[np.bool_]:
    """Pixels that a mask leaves: 0 in a .npy array, anything but 0 in an SMV image (nanoBragg's -mask)."""
    if not is_smv(path):
        return np.asarray(load_array(path, field)) == 0
    try:
        return np.asarray(read_smv(path)[1] != 0)
    except FileFormatError as error:
        raise ExperimentError(f"{field}: {error}") from None


def load_array(path: Any, field: str) -> NDArray[Any]:
    """Read a .npy file without unpickling anything.

    Raises
    ------
    ExperimentError
        If it is missing or not a plain array.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ExperimentError(f"{field}: {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        array = None
    if not isinstance(array, np.ndarray):
        raise ExperimentError(f"{field}: {path} is not a .npy array")
    return array
