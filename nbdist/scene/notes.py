"""What an experiment probably does not mean: one line each, for whoever is about to render it.

An experiment with a note is valid and is rendered as it is. `check`, `plan` and `run` say the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nbdist.experiment.crystal import LATTICE_FIELDS
from nbdist.experiment.lattice import ANGLE_TOLERANCE_DEG, CELL_TOLERANCE, cell_from_real, dual_vectors
from nbdist.experiment.structure_factors import FromFile
from nbdist.scene.amplitudes import Reflections, rounded_metric
from nbdist.scene.completeness import Completeness, completeness
from nbdist.scene.resolve import recommended_oversample
from nbdist.scene.rocking import own_width_rad, recommended_phi_steps, recommended_points
from nbdist.scene.scene import Scene
from nbdist.scene.sources import DEFAULT_SPREAD_SOURCES
from nbdist.scene.specimen import Lattice

LONGEST_WAVELENGTH_A, SHORTEST_WAVELENGTH_A, SHORTEST_AXIS_A = 10.0, 0.01, 1.0
SHORTEST_DISTANCE_MM = 10.0
OFF_THE_BEAMS = 0.01
"""Of the beam's wavelength, by which the mean of its sources may differ, besides what the points of a normal spectrum do."""
COARSEST_STEP = 1.13
"""Phi step over a rocking width (1 / 0.886): sin^2(pi N x) has no period below 1/N, so a sum over steps up to it loses nothing."""
WHOLE_LIST = 0.9
"""Share of the reflections to the detector's edge with which a list counts as whole."""
FEW_MATES_MISSING = 0.05
LEAST_CAPTURED = 0.01
"""Share of the photons that fall on a sensor head-on, below which it is hardly one."""
EXACT_CELL, EXACT_ANGLE_DEG = 1e-4, 0.01
"""How far a cell may be from one of its space group without a word: what is rounded in a matrix file."""


def file_completeness(scene: Scene, reflections: Sequence[Reflections]) -> dict[str, Completeness]:
    """How much of what the detector reaches the files of amplitudes hold, by the fields of the crystals' lattices."""
    held: dict[str, Completeness] = {}
    of_each: dict[tuple[int, str], Completeness] = {}
    for lattice, its in zip(scene.specimen.lattices, reflections, strict=True):
        if lattice.twin is None and isinstance(lattice.structure_factors, FromFile):
            key = id(its), str(rounded_metric(dual_vectors(lattice.real_vectors_A)).tolist())
            if key not in of_each:
                of_each[key] = completeness(lattice, its, scene.finest_A)
            held[lattice.field] = of_each[key]
    return held


def notes(
    scene: Scene, reflections: Sequence[Reflections], held: Mapping[str, Completeness] | None = None
) -> list[str]:
    """Return what is probably not meant, one line each, without units of work or wording of any one command.

    `reflections` are those of each lattice, and `held` their `file_completeness`, worked out where it is left out.
    """
    held = file_completeness(scene, reflections) if held is None else held
    its_notes = (
        *_wavelengths(scene),
        *_distances(scene),
        *_sensors(scene),
        *(note for lattice in scene.specimen.of_crystals for note in _lattice(scene, lattice)),
        *(
            note
            for lattice, its in zip(scene.specimen.lattices, reflections, strict=True)
            if lattice.twin is None
            for note in _amplitudes(scene, lattice, its, held)
        ),
        *_sampling(scene),
        *_series(scene),
    )
    return list(dict.fromkeys(its_notes))  # lattices that share a file share what is said of it


def _wavelengths(scene: Scene) -> Iterator[str]:
    wavelengths = scene.instrument.sources.wavelengths_A
    shortest, longest = wavelengths.min(), wavelengths.max()
    if longest > LONGEST_WAVELENGTH_A or shortest < SHORTEST_WAVELENGTH_A:
        odd = longest if longest > LONGEST_WAVELENGTH_A else shortest
        yield (
            f"beam: a wavelength of {odd:.4g} A is none of X-ray diffraction; wavelength_A is in Angstrom, energy_eV in eV, "
            "wavelengths of a source_file in metres"
        )
    beams, (_, mean) = scene.experiment.beam.mean_wavelength_A, scene.instrument.sources.mean
    if abs(mean / beams - 1) > OFF_THE_BEAMS + scene.instrument.bandwidth_sigma:
        yield (
            f"beam: the mean wavelength of its sources is {mean:.5g} A, and its own {beams:.5g} A, which resolutions, a matrix_file, "
            "and exports go by; wavelength_A should be the mean"
        )


def _distances(scene: Scene) -> Iterator[str]:
    """Name the first panel that is as near as a number of metres would put it."""
    for number, panel in enumerate(scene.experiment.detector.each_panel):
        origin_mm = None if panel.origin_mm is None else math.hypot(*panel.origin_mm)
        given = {"distance_mm": panel.distance_mm, "close_distance_mm": panel.close_distance_mm, "origin_mm": origin_mm}
        for name, its_mm in given.items():
            if its_mm is not None and its_mm < SHORTEST_DISTANCE_MM:
                field = scene.experiment.detector.panel_field(number)
                yield f"{field}: a distance of {its_mm:.4g} mm; {name} is in millimetres, not in metres"
                return


def _sensors(scene: Scene) -> Iterator[str]:
    """Name the first panel whose sensor captures almost nothing."""
    for number, panel in enumerate(scene.instrument.panels):
        captured = -math.expm1(-panel.attenuation_per_m * panel.layers * panel.layer_thickness_m)
        if panel.attenuation_per_m > 0 and captured < LEAST_CAPTURED:
            field = scene.experiment.detector.panel_field(number)
            yield (
                f"{field}: its sensor captures {captured:.2g} of the photons that fall on it head-on; thickness_um and "
                "attenuation_depth_um are in micrometres, and without sensor every photon is counted"
            )
            return


def _lattice(scene: Scene, lattice: Lattice) -> Iterator[str]:
    crystal, found = scene.experiment.each_crystal[lattice.field], cell_from_real(lattice.real_vectors_A)
    if min(found[:3]) < SHORTEST_AXIS_A:
        yield f"{lattice.field}: a cell axis of {min(found[:3]):.4g} A is shorter than an atom; axes are in Angstrom"
    if np.linalg.det(lattice.real_vectors_A) < 0:
        field = next(name for name in LATTICE_FIELDS if getattr(crystal, name) is not None)
        yield f"{lattice.field}.{field}: its vectors are left-handed, so indices mean the mirror image of the crystal"
    nearest = lattice.symmetry.nearest_cell(lattice.real_vectors_A)
    axes, angles_deg = nearest.apart_from(found)
    if axes > EXACT_CELL or angles_deg > EXACT_ANGLE_DEG:
        yield (
            f"{lattice.field}: its cell of {found} is not quite one of {lattice.space_group}, as {nearest} would be: equivalent "
            "reflections have the same F, but not the same resolution"
        )
    stated = lattice.stated_cell
    if stated is None or stated.is_meant_by(found):
        return
    scale = np.array(stated[:3]) / np.array(found[:3])
    wavelength = scene.experiment.beam.mean_wavelength_A
    advice = ""
    if np.ptp(scale) <= CELL_TOLERANCE * scale.mean() and stated.apart_from(found)[1] <= ANGLE_TOLERANCE_DEG:
        advice = f"; it fits a wavelength of {wavelength * scale.mean():.5g} A"
    yield (
        f"{lattice.field}.matrix_file: {crystal.matrix_file} says a cell of {stated}, but its matrix at {wavelength:.5g} A "
        f"is one of {found}{advice}"
    )


def _amplitudes(
    scene: Scene, lattice: Lattice, reflections: Reflections, of_files: Mapping[str, Completeness]
) -> Iterator[str]:
    """Say what a file lacks: of a list as it is, whether it is whole; of one that symmetry completes, what is missing and what it has."""
    yield from reflections.notes
    source = lattice.structure_factors
    if not isinstance(source, FromFile):
        return
    held = of_files[lattice.field]
    field, corner = f"{lattice.amplitudes_field}.file", f"{scene.finest_A:.3g} A"
    if held.completed:
        found, drawn = cell_from_real(lattice.real_vectors_A), "are drawn from Wilson's distribution"
        if reflections.cell is not None and not reflections.cell.is_meant_by(found):
            yield f"{field}: {source.file} is of a cell of {reflections.cell}, {lattice.field} of one of {found}"
        if held.missing:
            beyond = (
                f", which ends at {1 / held.finest_per_A:.3g} A," if held.finest_per_A < 0.97 / scene.finest_A else ""
            )
            yield (
                f"{field}: {held.missing:,} of the {held.there:,} reflections to the detector's corner at {corner} "
                f"({_percent(held.missing / held.there)}) are not in {source.file.name}{beyond} and "
                f"{drawn if source.missing == 'wilson' else f'have F = {source.default_F:g}'}"
            )
        return
    whole = held.share >= WHOLE_LIST and held.mates_missing <= FEW_MATES_MISSING
    if whole or source.default_F > 0:
        return
    text = f"{field}: lists {_percent(held.share)} of the reflections to the detector's edge at {corner}"
    if 0 < held.finest_per_A < 0.97 / scene.finest_A:
        text += f", none beyond {1 / held.finest_per_A:.3g} A"
    if held.mates_missing > FEW_MATES_MISSING:
        text += f", and the Friedel mates of {_percent(held.mates_missing)} of these are missing"
    yield (
        f"{text}; what is not listed has F = 0: without crystal.space_group no symmetry is applied, a list holds the whole of P1"
    )


def _sampling(scene: Scene) -> Iterator[str]:
    scan, wavelength_A = scene.experiment.scan, scene.experiment.beam.mean_wavelength_A
    largest = max(lattice.largest_A for lattice in scene.specimen.lattices)
    wanted = max(recommended_oversample(largest, wavelength_A, panel) for panel in scene.instrument.panels)
    integrated = scene.method == "integrated"
    if wanted > scene.instrument.oversample and not (integrated and scene.instrument.subpixels is None):
        yield f"spots are narrower than the sampling; sampling.oversample: {wanted} (or auto) takes three samples a spot"
    step, width = abs(scan.osc_range_deg) / scene.phi_steps, scene.rocking_width_deg
    if integrated:
        if scan.phi_steps not in (1, "auto"):
            yield f"scan.phi_steps: {scan.phi_steps} steps are not taken, as sampling.method integrated takes phi as continuous"
    elif step > COARSEST_STEP * width:
        yield (
            f"phi steps of {step:.3g} deg are wider than reflections rock, {width:.2g} deg at {scene.finest_A:.3g} A: those between "
            f"two steps are lost; scan.phi_steps: {recommended_phi_steps(scan.osc_range_deg, width)} (or auto) takes three a width"
        )
    for lattice, crystal in zip(scene.specimen.of_crystals, scene.experiment.each_crystal.values(), strict=True):
        if crystal.mosaic_spread_deg > 0 and crystal.mosaic_domains is None:
            yield f"a mosaic spread without mosaic_domains: {lattice.domains} are used"
    if not integrated:
        yield from _normal_spreads(scene)


def _normal_spreads(scene: Scene) -> Iterator[str]:
    """Say where the points of normal spreads are so few that a spot falls apart into the spots of each of them."""
    beam, osc_deg, own = scene.experiment.beam, abs(scene.experiment.scan.osc_range_deg), math.inf
    for lattice, crystal in zip(scene.specimen.of_crystals, scene.experiment.each_crystal.values(), strict=True):
        width_rad = own_width_rad(crystal, lattice.largest_A, scene.finest_A)
        own = min(own, width_rad)
        if lattice.normal_domains is None:
            continue
        # every phi step has domains of its own: a spot is made of those of all steps that it rocks over
        steps = max(1.0, scene.phi_steps * (min(1.0, lattice.rocking_width_deg / osc_deg) if osc_deg else 1.0))
        wanted = math.ceil(recommended_points(width_rad, sorted(lattice.mosaic_sigma_rad)[1:]) / steps)
        if wanted > lattice.domains:
            yield (
                f"{lattice.field}.mosaicity: {lattice.domains} domains are too few for spots {_degrees(width_rad)} wide at "
                f"{scene.finest_A:.3g} A, which fall apart into those of each domain; mosaicity.domains: {_rounded_up(wanted)}"
            )
    sigmas = (beam.bandwidth_sigma, *scene.instrument.divergence_sigma_rad.tolist())
    count, wanted = beam.spread_sources or DEFAULT_SPREAD_SOURCES, recommended_points(own, sigmas)
    if any(sigmas) and wanted > count:
        yield (
            f"beam: {count} sources are too few for its normal spectrum and divergence and spots {_degrees(own)} wide at "
            f"{scene.finest_A:.3g} A, which fall apart into those of each source; beam.spread_sources: {_rounded_up(wanted)}"
        )


def _degrees(angle_rad: float) -> str:
    return f"{math.degrees(angle_rad):.2g} deg"


def _rounded_up(number: int) -> int:
    """A number rounded up to two digits."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def _series(scene: Scene) -> Iterator[str]:
    scan = scene.experiment.scan
    if scan.osc_range_deg != 0:
        return
    if scene.phi_steps > 1 and not any(lattice.normal_domains for lattice in scene.specimen.lattices):
        yield "osc_range_deg is 0: all phi steps are the same orientation"
    if scan.frames > 1 and scene.experiment.beam.steady and not scene.specimen.decays:
        noisy = scene.experiment.noise.photon_noise or scene.experiment.readout.read_noise_electrons > 0
        alike = "differ in nothing but their noise" if noisy else "are all alike"
        yield f"scan.osc_range_deg is 0: the {scan.frames} frames {alike}"


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.01 else 2}f} %"
