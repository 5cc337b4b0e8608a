"""From an experiment to its scene: the only way from fields to numbers, which all others read.

`check`, `plan`, the kernels and the store take their numbers from the scene that `resolve` returns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.crystal import LATTICE_FIELDS, Crystal
from nbdist.experiment.detector import Detector
from nbdist.experiment.lattice import Cell, cell_from_real, dual_vectors, reciprocal_from_cell, xyz_rotation
from nbdist.experiment.model import Experiment
from nbdist.experiment.sampling import MOST_OVERSAMPLE
from nbdist.experiment.scan import MOST_AUTOMATIC_PHI_STEPS
from nbdist.experiment.space_groups import P1, space_group
from nbdist.experiment.structure_factors import FromFile, FromModel, StructureFactors
from nbdist.experiment.twin import law_rows
from nbdist.formats.atomic_model import read_atomic_model
from nbdist.formats.merged import read_crystal
from nbdist.formats.mosflm_matrix import read_mosflm_cell, read_mosflm_matrix
from nbdist.formats.text import said_of
from nbdist.scene.arrays import load_array, load_smv
from nbdist.scene.background import make_background
from nbdist.scene.diffuse import disorder_of
from nbdist.scene.instrument import Factor, Instrument
from nbdist.scene.mosaic import NormalDomains, crystal_axes, mosaic_rotations
from nbdist.scene.obstacles import make_obstacles
from nbdist.scene.panels import (
    CONVENTIONS,
    PanelGeometry,
    beam_direction,
    panel_geometry,
    polarization_vector,
    unit,
)
from nbdist.scene.rocking import panel_resolutions_A, recommended_phi_steps, rocking_width_deg
from nbdist.scene.rounding import rounded_up
from nbdist.scene.scene import Scene
from nbdist.scene.sources import Sources, are_parallel, make_sources, spread_sources
from nbdist.scene.specimen import KnownCrystal, Lattice, Specimen, TwinDomain, largest_size_A

Array = NDArray[np.float64]
LARGEST_TWIN_STRAIN = 0.05
"""By which a lattice that a twin law strains may change lengths; the obliquity is below 3 degrees then."""
DEFAULT_DOMAINS = 100
"""Rotations that stand for a normal mosaicity in the sum."""


def resolve(
    experiment: Experiment,
    crystals: Mapping[str, KnownCrystal] = MappingProxyType({}),
    sample: int = 0,
    usable: Sequence[NDArray[np.bool_]] | None = None,
) -> Scene:
    """Work out the numbers of `experiment`, reading its small files (matrix, sources, mask, rotations).

    Of `crystals`, by their fields, it is known what lattice and space group they have, and of `usable` which pixels of each panel are
    rendered, and no file is asked for it: a store knows that of its own (`store.SeriesSummary.scene`). `sample` is its number in a data
    set.

    Raises
    ------
    ExperimentError, FileFormatError
        If a file cannot be read, a matrix is singular, the mask has another shape than the detector, ...
    """
    detector, beam = experiment.detector, experiment.beam
    direction, polarization = beam_direction(beam, detector), polarization_vector(beam, detector)
    listed = make_sources(beam, direction, polarization)
    sources = listed if experiment.sampling.integrated else spread_sources(listed, beam, direction, polarization)
    _check_polarization(experiment, sources, polarization)
    panels = _panels(detector, direction, beam.mean_wavelength_A, usable or _usable_pixels(detector))
    spindle = unit(experiment.scan.spindle_axis or CONVENTIONS[detector.convention].spindle)
    finest_A = min(panel_resolutions_A(panel, beam.mean_wavelength_A)[1] for panel in panels)
    finest_A = max(finest_A, experiment.sampling.d_min_A or 0.0)
    lattices = tuple(
        lattice
        for field, crystal in experiment.each_crystal.items()
        for lattice in _lattices(field, crystal, crystals.get(field), experiment, listed, len(sources), finest_A)
    )
    return Scene(
        experiment=experiment,
        instrument=_instrument(experiment, panels, direction, polarization, spindle, sources, lattices),
        specimen=Specimen(lattices),
        spindle_axis=spindle,
        phi_steps=_phi_steps(experiment, min(lattice.rocking_width_deg for lattice in lattices)),
        finest_A=finest_A,
        sample=sample,
    )


def _panels(
    detector: Detector, beam: Array, wavelength_A: float, usable: Sequence[NDArray[np.bool_]]
) -> tuple[PanelGeometry, ...]:
    panels = []
    for number, (panel, pixels) in enumerate(zip(detector.each_panel, usable, strict=True)):
        try:
            panels.append(panel_geometry(panel, detector, beam, wavelength_A, pixels))
        except ValueError as error:
            raise ExperimentError(f"{detector.panel_field(number)}: {error}") from None
    return tuple(panels)


def _lattices(
    field: str,
    crystal: Crystal,
    known: KnownCrystal | None,
    experiment: Experiment,
    listed: Sources,
    sources: int,
    finest_A: float,
) -> Iterator[Lattice]:
    """The lattice of a crystal and those of its twin domains; `listed` and `sources` are as of `_lattice`."""
    structure_factors = crystal.structure_factors or experiment.structure_factors
    assert structure_factors is not None, "an experiment is validated"
    if known is not None:
        crystal = crystal.model_copy(update={"space_group": known.space_group, "matrix_file": None})
        real = np.array(known.real_vectors_A, dtype=np.float64)
    else:
        if isinstance(structure_factors, FromModel):
            crystal = _as_its_model(field, crystal, structure_factors, experiment.beam.mean_wavelength_A)
        elif isinstance(structure_factors, FromFile) and not crystal.has_lattice:
            crystal = crystal.model_copy(update={"cell": _cell_of_file(field, crystal, structure_factors.file)})
        real = dual_vectors(_reciprocal_vectors(field, crystal, experiment.beam.mean_wavelength_A))
    own = _lattice(field, crystal, real, structure_factors, experiment, listed, sources, finest_A)
    yield replace(own, weight=crystal.weight * (1 - sum(twin.fraction for twin in crystal.twin)))
    for number, twin in enumerate(crystal.twin):
        place = f"{field}.twin.{number}"
        turned, obliquity_deg = _twinned(f"{place}.law", twin.law, real)
        its = _lattice(field, crystal, turned, structure_factors, experiment, listed, sources, finest_A)
        domain = TwinDomain(twin.law, twin.fraction, obliquity_deg)
        yield replace(its, field=place, weight=crystal.weight * twin.fraction, twin=domain)


def _twinned(field: str, law: str, real: Array) -> tuple[Array, float]:
    """Rows a, b, c of a twin's domain, and the obliquity in degrees.

    The law L would make them L A, rows of A turned and strained: A M with M = A^-1 L A. The domain has its crystal's cell, so it is
    turned by the rotation next to M alone: U V^T, where M = U S V^T with its singular values S. The obliquity is the angle between the
    directions that L leaves, of the lattice and of the reciprocal lattice (Y. Le Page, J. Appl. Cryst. 15 (1982) 255).

    Raises
    ------
    ExperimentError
        If the strain is larger than a lattice may have to lie on its twin's.
    """
    L = np.array(law_rows(law))
    U, S, Vt = np.linalg.svd(np.linalg.inv(real) @ L @ real)
    along, across = (np.linalg.svd(matrix - np.eye(3))[2][-1] for matrix in (L.T, L))
    axis, normal = along @ real, across @ dual_vectors(real)
    obliquity_deg = float(np.degrees(np.arctan2(np.linalg.norm(np.cross(axis, normal)), abs(axis @ normal))))
    strain = float(np.abs(S - 1).max())
    if strain > LARGEST_TWIN_STRAIN:
        raise ExperimentError(
            f"{field}: {law} does not bring the lattice onto itself: lengths would change by {100 * strain:.3g} % (at most "
            f"{100 * LARGEST_TWIN_STRAIN:g} %), and the obliquity is {obliquity_deg:.3g} degrees"
        )
    return real @ (U @ Vt), obliquity_deg


def _lattice(
    field: str,
    crystal: Crystal,
    real: Array,
    structure_factors: StructureFactors,
    experiment: Experiment,
    listed: Sources,
    sources: int,
    finest_A: float,
) -> Lattice:
    """The numbers of a crystal whose rows a, b, c are `real`, without regard to twins.

    `listed` are the sources without their normal spread, `sources` how many there are with it.
    """
    N_cells, mosaic, normal_domains = _cells(crystal, real), _mosaic(field, crystal), None
    size_A = None if crystal.size_um is None else 1e4 * crystal.size_um
    if size_A is None:
        cells_in_all, metric = np.prod(N_cells, dtype=np.float64), np.diag(np.square(N_cells, dtype=np.float64))
    else:
        scaled = size_A * dual_vectors(real)
        cells_in_all, metric = abs(np.linalg.det(scaled)), scaled @ scaled.T
    sigma_rad, integrated = np.deg2rad(crystal.mosaicity.sigmas_deg), experiment.sampling.integrated
    if sigma_rad.any() and not integrated:
        domains = crystal.mosaicity.domains or DEFAULT_DOMAINS
        normal_domains = NormalDomains(domains, sigma_rad, crystal_axes(real), crystal.mosaicity.seed)
    points = sources * (normal_domains.count if normal_domains else len(mosaic))
    return Lattice(
        field=field,
        real_vectors_A=real,
        N_cells=N_cells,
        size_A=size_A,
        cells_in_all=float(cells_in_all),
        shape_metric=metric,
        shape=crystal.shape,
        fudge=crystal.fudge,
        mosaic=mosaic,
        normal_domains=normal_domains,
        mosaic_sigma_rad=sigma_rad,
        decay=crystal.decay,
        disorder=disorder_of(crystal, real, float(cells_in_all)),
        weight=crystal.weight,
        structure_factors=structure_factors,
        amplitudes_field=_amplitudes_field(field, crystal),
        interpolate=_interpolate(experiment, structure_factors, N_cells),
        rocking_width_deg=rocking_width_deg(
            crystal,
            experiment.beam,
            largest_size_A(real, N_cells) if size_A is None else size_A,
            mosaic,
            listed,
            math.inf if integrated else points,
            finest_A,
        ),
        stated_cell=None if crystal.matrix_file is None else _stated_cell(crystal.matrix_file),
        stated_space_group=crystal.space_group,
    )


def _instrument(
    experiment: Experiment,
    panels: tuple[PanelGeometry, ...],
    direction: Array,
    polarization: Array,
    spindle: Array,
    sources: Sources,
    lattices: tuple[Lattice, ...],
) -> Instrument:
    beam, sampling = experiment.beam, experiment.sampling
    oversampled = Factor.LIMIT
    for factor, wanted in (
        (Factor.OMEGA, sampling.oversample_omega),
        (Factor.POLAR, sampling.oversample_polar),
        (Factor.CAPTURE, sampling.oversample_thick),
    ):
        oversampled |= factor if wanted else Factor(0)
    return Instrument(
        panels=panels,
        beam_direction=direction,
        polarization_vector=polarization,
        polarization_factor=beam.polarization_factor,
        sources=sources,
        bandwidth_sigma=beam.bandwidth_sigma,
        divergence_sigma_rad=1e-3 * np.array(beam.divergence_sigmas_mrad),
        fluence_per_m2=beam.fluence,
        oversample=_oversample(experiment, max(lattice.largest_A for lattice in lattices), panels),
        subpixels=None if sampling.oversample == "auto" else sampling.oversample,
        tolerance=sampling.tolerance,
        oversampled=oversampled,
        d_min_A=sampling.d_min_A,
        point_pixels=experiment.detector.point_pixels,
        background=make_background(experiment, [panel.usable for panel in panels]),
        obstacles=make_obstacles(experiment, direction, spindle),
        precision=sampling.precision,
    )


def _stated_cell(path: Path) -> Cell | None:
    cell = read_mosflm_cell(path)
    return None if cell is None else Cell(*cell)


def _phi_steps(experiment: Experiment, width_deg: float) -> int:
    scan = experiment.scan
    if experiment.sampling.integrated:
        return 1
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
        wanted = np.float64(3.0 * largest_A) / (wavelength_A * abs(panel.distance_m) / panel.pixel_m)
    return max(1, rounded_up(min(wanted, 1e15)))


def _oversample(experiment: Experiment, largest_A: float, panels: Sequence[PanelGeometry]) -> int:
    given = experiment.sampling.oversample
    if given != "auto":
        return int(given)
    if experiment.sampling.integrated:
        return 1
    wavelength_A = experiment.beam.mean_wavelength_A
    automatic = max(recommended_oversample(largest_A, wavelength_A, panel) for panel in panels)
    if automatic > MOST_OVERSAMPLE:
        raise ExperimentError(
            f"sampling.oversample: auto asks for {automatic:.3g} subpixels a side, more than {MOST_OVERSAMPLE}, for a crystal of "
            f"{largest_A:.4g} A at a wavelength of {wavelength_A:.4g} A; are beam.wavelength_A and the crystal's size in their units?"
        )
    return int(automatic)


def _interpolate(experiment: Experiment, structure_factors: StructureFactors, N_cells: tuple[int, int, int]) -> bool:
    if structure_factors.kind == "uniform":
        return False
    given = experiment.sampling.interpolate
    if experiment.sampling.integrated:
        return False
    return min(N_cells) <= 2 if given == "auto" else bool(given)


def _amplitudes_field(field: str, crystal: Crystal) -> str:
    return "structure_factors" if crystal.structure_factors is None else f"{field}.structure_factors"


def _as_its_model(field: str, crystal: Crystal, source: FromModel, wavelength_A: float) -> Crystal:
    """A crystal with the space group of its atomic model, and its cell where the crystal has none; of a model without them, its own."""
    cell = None
    if crystal.has_lattice:
        cell = cell_from_real(dual_vectors(_reciprocal_vectors(field, crystal, wavelength_A)))
    group = P1 if cell is None or crystal.space_group is None else space_group(crystal.space_group, cell).xhm()
    with said_of(f"{_amplitudes_field(field, crystal)}.file"):
        model = read_atomic_model(source.file, cell, group)
    given = crystal.space_group and space_group(crystal.space_group, model.cell).xhm()
    if given not in (None, model.space_group_name):
        raise ExperimentError(
            f"{field}.space_group: {given} is not that of the model {source.file}, {model.space_group_name}; leave it out"
        )
    own_cell = {} if crystal.has_lattice else {"cell": model.cell}
    return crystal.model_copy(update={"space_group": model.space_group_name, **own_cell})


def _cell_of_file(field: str, crystal: Crystal, path: Path) -> tuple[float, ...]:
    with said_of(f"{_amplitudes_field(field, crystal)}.file"):
        cell = read_crystal(path).cell
    if cell is None:
        raise ExperimentError(
            f"{field}: give one of {', '.join(LATTICE_FIELDS)}; found none of them, and no cell in its reflection file {path}"
        )
    return cell


def _reciprocal_vectors(field: str, crystal: Crystal, wavelength_A: float) -> Array:
    if crystal.cell is not None:
        reciprocal = reciprocal_from_cell(crystal.cell)
    else:
        if crystal.matrix_file is not None:
            source = f"{field}.matrix_file: {crystal.matrix_file}"
            with said_of(f"{field}.matrix_file"):
                vectors = read_mosflm_matrix(crystal.matrix_file).T / wavelength_A
        else:
            real = crystal.reciprocal_vectors_per_A is None
            source = f"{field}.{'real_vectors_A' if real else 'reciprocal_vectors_per_A'}"
            vectors = np.array(crystal.real_vectors_A if real else crystal.reciprocal_vectors_per_A, dtype=np.float64)
        scale = np.prod(np.linalg.norm(vectors, axis=1))
        if scale == 0 or abs(np.linalg.det(vectors)) < 1e-9 * scale:
            raise ExperimentError(f"{source}: the matrix is singular, its three vectors span no volume")
        reciprocal = vectors if crystal.real_vectors_A is None else dual_vectors(vectors)
    return np.asarray(reciprocal @ xyz_rotation(crystal.misset_deg).T)


def _cells(crystal: Crystal, real: Array) -> tuple[int, int, int]:
    size_mm = crystal.size_mm if crystal.size_um is None else 1e-3 * crystal.size_um
    if size_mm is not None:
        na, nb, nc = (max(1, rounded_up(count)) for count in 1e7 * np.array(size_mm) / np.linalg.norm(real, axis=1))
        return na, nb, nc
    return crystal.N_cells or (1, 1, 1)


def _mosaic(field: str, crystal: Crystal) -> Array:
    if crystal.mosaic_rotations_file is not None:
        rotations = np.asarray(load_array(crystal.mosaic_rotations_file, f"{field}.mosaic_rotations_file"))
        field = f"{field}.mosaic_rotations_file: {crystal.mosaic_rotations_file}"
    elif crystal.mosaic_rotations is not None:
        field = f"{field}.mosaic_rotations"
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


def _usable_pixels(detector: Detector) -> list[NDArray[np.bool_]]:
    """Pixels of each panel that are rendered, (slow, fast): not masked, and in no gap between modules."""
    usable = [np.ones(shape, dtype=bool) for shape in detector.shapes]
    if detector.mask_file is not None:
        if len(set(detector.shapes)) > 1:
            raise ExperimentError("detector.mask_file: the panels differ in size; give each its own mask_file")
        unmasked = _unmasked(detector.mask_file, "detector.mask_file")
        wanted = detector.shapes[0] if len(usable) == 1 else (len(usable), *detector.shapes[0])
        if unmasked.shape != wanted:
            axes = "slow, fast" if len(usable) == 1 else "panel, slow, fast"
            raise ExperimentError(
                f"detector.mask_file: {detector.mask_file} has shape {unmasked.shape}, the detector {wanted} ({axes})"
            )
        usable = list(unmasked.reshape(len(usable), *detector.shapes[0]))
    for number, (panel, pixels) in enumerate(zip(detector.each_panel, usable, strict=True)):
        for first_fast, last_fast, first_slow, last_slow in panel.gaps:
            pixels[first_slow:last_slow, first_fast:last_fast] = False
        if panel.mask_file is not None:
            unmasked = _unmasked(panel.mask_file, f"detector.panels.{number}.mask_file")
            if unmasked.shape != pixels.shape:
                raise ExperimentError(
                    f"detector.panels.{number}.mask_file: {panel.mask_file} has shape {unmasked.shape}, the panel {pixels.shape} "
                    "(slow, fast)"
                )
            pixels &= unmasked
    region = detector.region_of_interest
    if region is not None:
        inside = np.zeros_like(usable[0])
        inside[slice(*region.slow), slice(*region.fast)] = True
        usable[0] &= inside
    return usable


def _unmasked(path: Path, field: str) -> NDArray[np.bool_]:
    """Pixels that a mask leaves: 0 in a .npy array, anything but 0 in an SMV image (nanoBragg's -mask)."""
    image = load_smv(path, field)
    return np.asarray(load_array(path, field) == 0 if image is None else image != 0)
