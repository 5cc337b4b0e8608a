"""What `nbdist nanobragg` prints: nanoBragg's own lines, warnings, and where nbdist departs from nanoBragg.c.

Programs read nanoBragg's output line by line, so the lines have its words, units and numbers of digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import axis_rotation, cell_from_real, dual_vectors
from nbdist.experiment.model import Experiment
from nbdist.experiment.structure_factors import FromFile
from nbdist.formats.merged import form_of
from nbdist.formats.source_list import SEPARATORS
from nbdist.formats.text import data_lines, read_text
from nbdist.formats.upright import Upright
from nbdist.nanobragg.flags import Simulation
from nbdist.nanobragg.inputs import clipped_sizes
from nbdist.nanobragg.sweeps import DEGREES_A_RADIAN, phi_sweep, spectrum_sweep
from nbdist.nanobragg.words import Flags
from nbdist.scene.models import models_of
from nbdist.scene.panels import CONVENTIONS, PanelGeometry
from nbdist.scene.resolve import recommended_oversample
from nbdist.scene.rounding import ROUNDING
from nbdist.scene.scene import Scene

ROWS_AT_A_TIME = 256
SHAPES = {"square": "parallelpiped", "round": "ellipsoidal", "gauss": "gaussian", "tophat": "tophat-spot"}
TRICLINIC_DEG = 1e-6
MOST_LOOKED_AT = 5 * 10**7
"""Evaluations that are looked at to see whether a run meets a departure; a larger image is taken to meet it."""


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value + 0.0:g}" for value in values)


def report(simulation: Simulation, scene: Scene, reflections: int) -> Iterator[str]:
    """nanoBragg's lines on what is about to be rendered; `reflections` is the number of amplitudes that are listed."""
    experiment, flags, panel = simulation.experiment, simulation.flags, scene.instrument.panels[0]
    detector, scan, crystal, beam = experiment.detector, experiment.scan, experiment.only_crystal, experiment.beam
    yield f"{detector.convention} convention selected."
    yield f"pivoting detector around {'sample' if panel.pivot == 'sample' else 'direct beam spot'}"
    if flags.get("interpolate") is None:
        chosen = (
            "tricubic interpolation of structure factors" if experiment.sampling.interpolate else "no interpolation"
        )
        yield f"auto-selected {chosen}"
    if flags.get("misset") == "random":
        yield f"random orientation misset angles: {' '.join(f'{angle:f}' for angle in crystal.misset_deg)} deg"
    real = scene.specimen.lattices[0].real_vectors_A
    reciprocal = dual_vectors(real)
    yield f"Unit Cell: {_numbers(cell_from_real(real))}"
    yield f"Recp Cell: {_numbers(cell_from_real(reciprocal))}"
    yield f"volume = {abs(np.linalg.det(real)):g} A^3"
    for title, names, rows in (
        ("real-space cell vectors (Angstrom):", ("a", "b", "c"), real),
        ("reciprocal-space cell vectors (Angstrom^-1):", ("a_star", "b_star", "c_star"), reciprocal),
    ):
        yield title
        yield "     " + "  ".join(f"{name:<10}" for name in names)
        for axis, values in zip("XYZ", rows.T + 0.0, strict=True):
            yield f"{axis}: " + " ".join(f"{value:11.8f}" for value in values)
    lengths_A = np.linalg.norm(real, axis=1) * scene.specimen.lattices[0].N_cells
    yield f"crystal is {' x '.join(f'{1e-4 * length:g}' for length in lengths_A)} microns"
    if experiment.sampling.oversample == "auto":
        yield f"auto-selected {scene.instrument.oversample}-fold oversampling"
    sensor = detector.sensor
    thickness_um, layers = (0.0, 1) if sensor is None else (sensor.thickness_um, sensor.layers)
    for layer in range(layers):
        yield f"thick{layer} = {layer * thickness_um / layers:g} um"
    for step, phi in enumerate(scan.phi_deg(0, scene.phi_steps)):
        yield f"phi{step} = {phi:g}"
    yield f"  created a total of {len(scene.instrument.sources)} sources:"
    for direction, weight, wavelength_A in zip(
        scene.instrument.sources.directions,
        scene.instrument.sources.weights,
        scene.instrument.sources.wavelengths_A,
        strict=True,
    ):
        share = weight / len(scene.instrument.sources)
        yield f"{_numbers(-10 * direction)}   {share:g} {1e-10 * wavelength_A:g}"
    yield f"  created a total of {len(scene.specimen.lattices[0].mosaic)} mosaic domains"
    yield f"  {reflections} initialized hkls (all others ={flags.get('default_F', 0.0):g})"
    yield f"  {SHAPES[crystal.shape]} xtal: {'x'.join(map(str, scene.specimen.lattices[0].N_cells))} cells"
    spectrum = spectrum_sweep(flags)
    yield f"  wave={1e-10 * beam.mean_wavelength_A:g} meters +/- {spectrum.extent:g}% in {spectrum.steps} steps"
    if beam.polarization_factor is None:
        yield "  polarization effect disabled"
    else:
        yield f"  Kahn polarization factor: {beam.polarization_factor:f}"
    if detector.curved:
        yield "  curved detector: all pixels same distance from origin"
    if detector.point_pixels:
        yield "  pixel obliquity effect disabled"
    yield f"  incident fluence: {beam.fluence:g} photons/m^2"
    size = "x".join(f"{1e-3 * size:g}" for size in simulation.size_mm)
    yield (
        f"  distance={panel.distance_m:g} detsize={size}  pixel={panel.pixel_m:g} meters ({panel.fpixels}x{panel.spixels} pixels)"
    )
    depth_um = None if sensor is None else sensor.attenuation_depth_um
    yield f"  sensor is {1e-6 * thickness_um:g} m thick in {layers} layers with mu= {1e6 / depth_um if depth_um else 0:g}"
    spot = panel.distance_m * scene.instrument.beam_direction - panel.origin_m
    for name, (x, y), on_panel in (
        ("beam", simulation.beam_center_mm, spot),
        ("close", simulation.near_point_mm, -panel.origin_m),
    ):
        yield f"  X{name}={1e-3 * x:g} Y{name}={1e-3 * y:g}"
        yield f"  F{name}={on_panel @ panel.fast:g} S{name}={on_panel @ panel.slow:g}"
    for axis, vector in zip("XYZ", (panel.fast, panel.slow, panel.normal), strict=True):
        yield f"  DIRECTION_OF_DETECTOR_{axis}-AXIS= {_numbers(vector)}"
    yield f"  INCIDENT_BEAM_DIRECTION= {_numbers(scene.instrument.beam_direction)}"
    yield f"  spindle ROTATION_AXIS= {_numbers(scene.spindle_axis)}"
    yield f"  POLARIZATION_PLANE_NORMAL= {_numbers(np.cross(scene.instrument.beam_direction, scene.instrument.polarization_vector))}"
    yield f"  dials origin= {_numbers(1e3 * dials_frame(panel.origin_m))}"
    region = detector.region_of_interest
    (x0, x1), (y0, y1) = (region.fast, region.slow) if region else ((0, panel.fpixels + 1), (0, panel.spixels + 1))
    yield f"  roi: {x0} < x < {x1 - 1} && {y0} < y < {y1 - 1}"
    yield f"  {len(scene.instrument.sources)} sources"
    yield f"  {len(scene.specimen.lattices[0].mosaic)} mosaic domains over mosaic spread of {crystal.mosaic_spread_deg:g} degrees"
    yield (
        f"  {scene.phi_steps} phi steps from {scan.phi_start_deg:g} to {scan.phi_start_deg + simulation.osc_deg:g} degrees"
    )
    sampling = experiment.sampling
    on = [f" +{name}" for name in ("thick", "polar", "omega") if getattr(sampling, f"oversample_{name}")]
    yield f"  {scene.instrument.oversample}x{scene.instrument.oversample} pixel oversample steps{''.join(on)}"
    if flags.get("mask"):
        yield f"  skipping zero-flagged pixels in {flags.get('mask')}"


def dials_frame(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """A lab vector in nanoBragg's DIALS frame, whose x, y, z are the lab's z, y, -x."""
    x, y, z = vector
    return np.array([z, y, -x])


def detector_solid_angle(scene: Scene) -> float:
    """Solid angle of all rendered pixels, steradian (pixel^2 close_distance/R^3; 1/R^2 for point pixels).

    As in the image it is that of the first subpixel, unless every subpixel carries its own: then the pixel's centre stands for them.
    """
    panel = scene.instrument.panels[0]
    inside = 0.5 if scene.experiment.sampling.oversample_omega else 0.5 / scene.instrument.oversample
    total = 0.0
    for start in range(0, panel.spixels, ROWS_AT_A_TIME):
        slow, fast = np.nonzero(panel.usable[start : start + ROWS_AT_A_TIME])
        _, distance_m = panel.directions(slow + start + inside, fast + inside)
        each = panel.solid_angle_sr(distance_m, scene.instrument.point_pixels)
        total += float(each.sum())
    return total


def warnings(simulation: Simulation, scene: Scene, folder: Path) -> Iterator[str]:
    """What a reader of the line may not expect, and what nanoBragg would warn of."""
    flags, crystal = simulation.flags, simulation.experiment.only_crystal
    yield from flags.warnings
    yield from clipped_sizes(flags)[1]
    if crystal.mosaic_spread_deg > 0 and crystal.mosaic_domains is None:
        yield f"a mosaic spread without -mosaic_dom: {len(scene.specimen.lattices[0].mosaic)} domains are used"
    if crystal.mosaic_spread_deg == 0 and flags.get("mosaic_domains", 1) > 1:
        yield "mosaic domains without a spread (-mosaic): 1 domain is used"
    panel, wavelength = scene.instrument.panels[0], simulation.experiment.beam.mean_wavelength_A
    largest = float(
        (np.linalg.norm(scene.specimen.lattices[0].real_vectors_A, axis=1) * scene.specimen.lattices[0].N_cells).max()
    )
    wanted = recommended_oversample(largest, wavelength, panel)
    if wanted > scene.instrument.oversample:
        pixel = wavelength * abs(panel.distance_m) / panel.pixel_m
        yield (
            f"the crystal is {largest:.6g} A across, a pixel sees {pixel:.6g} A: intensity may vary across a pixel; "
            f"recommend -oversample {wanted}"
        )
    dump = flags.get("dump")
    if dump or (not flags.get("hkl") and (folder / "Fdump.bin").exists()):
        yield f"{dump or 'Fdump.bin'}: no dump file (-dump) is written or read"
    sensor = simulation.experiment.detector.sensor
    if sensor is not None and flags.get("detector_abs", -1.0) < 0:
        yield f"-detector_thick without -detector_abs: the attenuation depth is the thickness, {sensor.thickness_um:g} um"
    if sensor is not None and flags.get("detector_abs") == 0:
        yield "-detector_abs inf before -detector_thick: nothing stops in the sensor, the image is empty"
    if flags.get("header_twotheta") and flags.get("twotheta") is None:
        yield f"the header's TWOTHETA={flags.get('header_twotheta'):g} is not used, as in nanoBragg; -twotheta gives it"


def departures(simulation: Simulation, scene: Scene, indices: NDArray[np.integer[Any]]) -> Iterator[str]:
    """Places where nbdist does not do what nanoBragg.c does, of those that this run meets; `indices` (n, 3) are those listed."""
    experiment, flags, panel = simulation.experiment, simulation.flags, scene.instrument.panels[0]
    sampling, sensor, crystal = experiment.sampling, experiment.detector.sensor, experiment.only_crystal
    polarized = experiment.beam.polarization_factor is not None
    if simulation.osc_deg < 0:
        yield f"-osc {simulation.osc_deg:g}: the crystal turns backwards; nanoBragg.c takes a range below 0 for none"
    if flags.get("osc") == 0 and flags.get("phistep", 0.0) > 0 and flags.get("phisteps", -1) < 0:
        yield "-osc 0 with -phistep is one step; nanoBragg.c takes none, and its pixels are no numbers"
    if _meets_phi_0(flags):
        yield "the step at phi 0 is rotated as every other; nanoBragg.c keeps the previous pixel's last orientation there"
    if sensor is not None:
        if min(flags.get("thicksteps", 0), flags.get("detector_thick", 0.0)) > 0:
            yield "layers are thickness/layers apart, within the sensor; nanoBragg.c's reach beyond it"
        if not sampling.oversample_thick:
            yield "each layer carries its own capture fraction; nanoBragg.c scales all by the last one's"
    elif sampling.oversample_thick:
        yield "-oversample_thick: without a sensor (-detector_thick) every photon counts; nanoBragg.c's image is 0"
    on = [
        f"-oversample_{name}"
        for name, matters in (("thick", sensor is not None), ("polar", polarized), ("omega", True))
        if matters and getattr(sampling, f"oversample_{name}")
    ]
    if on and scene.steps * panel.layers > 1:
        yield f"{' '.join(on)}: factors of every term; nanoBragg.c multiplies the running sum"
    if sampling.oversample_polar and not polarized:
        yield "-nopolar: off is off; with -oversample_polar nanoBragg.c computes polarization all the same"
    if polarized and not sampling.oversample_polar and _cuts_through_a_pixel(scene):
        yield "-dmin: the polarization is that of a pixel's first subpixel; nanoBragg.c takes the first that is not cut"
    if crystal.cell is not None and sum(abs(angle - 90) > TRICLINIC_DEG for angle in crystal.cell[3:]) > 1:
        yield "-cell: the triclinic cell that was given; nanoBragg.c changes its angles"
    if np.ptp(scene.instrument.sources.weights) > ROUNDING:
        yield "-sourcefile: weights count, normalised to mean 1; nanoBragg.c ignores them"
    yield from _what_files_hold_besides(experiment)
    if scene.specimen.lattices[0].interpolate and flags.get("hkl"):
        if _leaves_the_table(scene, indices):
            yield "interpolation falls back to the nearest reflection pixel by pixel; nanoBragg.c switches it off for the rest"
        if flags.get("default_F", 0.0) < 0:
            yield f"-default_F {flags.get('default_F'):g} is interpolated without its sign; nanoBragg.c takes it with it"
    if experiment.background.water_um > 0:
        yield "-water: r_e^2 fluence counts once, and is not divided by steps; nanoBragg.c squares and divides it"
    if crystal.shape in ("gauss", "tophat"):
        yield f"{crystal.shape} spots have their radius in index space; nanoBragg.c mixes units"
    if experiment.detector.curved:
        yield "-curved_det: offsets turn the beam along fast and slow; nanoBragg.c turns it by lab y and z"
    its_mm = _nanobragg_distance_mm(experiment, panel)
    if abs(its_mm / (1e3 * panel.distance_m) - 1) > ROUNDING:
        yield f"the distance is the one given; nanoBragg.c's choice of subpixels and its header take {its_mm:g} mm"
    if sampling.oversample == "auto" and panel.distance_m < 0 and scene.instrument.oversample > 1:
        yield "-oversample: a detector towards the source has as many subpixels as one behind the crystal; nanoBragg.c's has 1"
    lengths_mm = 1e-7 * np.linalg.norm(scene.specimen.lattices[0].real_vectors_A, axis=1)
    for name, size, count, length in zip(
        "xyz", clipped_sizes(flags)[0], scene.specimen.lattices[0].N_cells, lengths_mm, strict=True
    ):
        if size and abs(size / length - count) <= ROUNDING * count:
            yield f"sample_{name} of {size:g} mm is {count} cells; nanoBragg.c's rounding may make it {count + 1}"
    axis = flags.get("twotheta_axis") if flags.convention == "custom" else None
    if axis and flags.get("twotheta") and abs(math.hypot(*axis) - 1) > 1e-9:
        yield "-twotheta_axis is brought to length 1; nanoBragg.c turns by it as it is"


def dials_reading(simulation: Simulation, scene: Scene, image: Path, adc: float) -> Iterator[str]:
    """How DIALS is to import an image of 16 bits, by whose header it has another beam centre, offset and polarization.

    dxtbx knows the header by BEAMLINE=fake. It takes BEAM_CENTER_X and BEAM_CENTER_Y for those of adxv, a pixel further along both axes,
    and the offset for 1; and the detector for one at right angles to the beam, with its rows along the axis.
    """
    try:
        models = models_of(scene, range(1))
    except ExperimentError:  # DIALS has no model of such a detector
        return
    upright, pixel_mm = Upright.of(models), models.panels[0].pixel_mm
    (x, y), (fast, slow) = simulation.beam_center_mm, upright.centre_mm
    read = (x + pixel_mm) / pixel_mm, (simulation.size_mm[1] - y + pixel_mm) / pixel_mm
    if not upright.faithful or upright.sense < 0:
        yield f"DIALS cannot read from {image} how its detector and axis stand; images that say it: --save-experiment, nbdist run, export"
        return
    yield (
        f"DIALS reads a beam centre of {read[0]:.6g} {read[1]:.6g} pixels from {image} and an offset of 1; it is "
        f"{fast / pixel_mm:.6g} {slow / pixel_mm:.6g}: dials.import {image} mosflm_beam_centre={slow:.9g},{fast:.9g} "
        f"panel.pedestal={adc:g} polarization_fraction={models.beam.polarization_fraction:.6g}"
    )


def _meets_phi_0(flags: Flags) -> bool:
    """Whether nanoBragg's sum of radians is exactly 0 at some step, and not at all of them."""
    start, (phi, _) = flags.get("phi", 0.0) / DEGREES_A_RADIAN, phi_sweep(flags, DEGREES_A_RADIAN)
    zero = [start + phi.step * number == 0 for number in range(phi.steps)]
    return any(zero) and not all(zero)


def _nanobragg_distance_mm(experiment: Experiment, panel: PanelGeometry) -> float:
    """The close distance after all rotations over the cosine between beam and normal before two-theta."""
    given, swing = experiment.detector.panels[0], CONVENTIONS[experiment.detector.convention].two_theta
    back = axis_rotation(given.two_theta_axis or swing, -math.radians(given.two_theta_deg))
    with np.errstate(divide="ignore"):
        return float(1e3 * panel.close_distance_m / np.dot(panel.beam, back @ panel.normal))


def _what_files_hold_besides(experiment: Experiment) -> Iterator[str]:
    """Departures of what nanoBragg.c, which knows no comments and reads numbers across lines, does not read so in a text."""
    amplitudes, matrix = experiment.structure_factors, experiment.only_crystal.matrix_file
    if isinstance(amplitudes, FromFile) and form_of(amplitudes.file) == "text":
        text = read_text(amplitudes.file, "structure-factor file")
        if _goes_on_after_a_comment(text):
            yield "-hkl: # comments are left out; nanoBragg.c stops at the first"
        if any(len(columns) > 4 for _, columns in islice(data_lines(text), 1)):
            yield "-hkl: columns after the fourth are left out; nanoBragg.c reads them as the next reflection"
    if matrix is not None:
        text = read_text(matrix, "orientation matrix file")
        if len(text.partition("#")[0].split()) < 9 and _goes_on_after_a_comment(text):
            yield "-mat: # comments are left out; nanoBragg.c stops at the first"
    if experiment.beam.source_file is not None:
        lines = read_text(experiment.beam.source_file, "source file").splitlines(keepends=True)
        short = (line for line in lines if len(line.partition("#")[0].translate(SEPARATORS).split()) < 5)
        if any("#" in line or not line.endswith("\n") or line.endswith("\r\n") for line in short):
            yield "-sourcefile: # comments are left out, and a short line may end as it likes; nanoBragg.c makes a wavelength of 0 of such"


def _goes_on_after_a_comment(text: str) -> bool:
    return any(True for _ in islice(data_lines(text.partition("#")[2].partition("\n")[2]), 1))


def _corners(scene: Scene) -> tuple[tuple[float, float], ...]:
    """Where the outermost subpixels are in a pixel (slow, fast), the first one first."""
    first, last = 0.5 / scene.instrument.oversample, 1 - 0.5 / scene.instrument.oversample
    return tuple(dict.fromkeys((slow, fast) for slow in (first, last) for fast in (first, last)))


def _cuts_through_a_pixel(scene: Scene) -> bool:
    """Whether d_min cuts the first subpixel of some pixel for the first source, and not all of its others."""
    d_min, panel = scene.experiment.sampling.d_min_A, scene.instrument.panels[0]
    if d_min is None:
        return False
    if 4 * len(scene.instrument.sources) * int(panel.usable.sum()) > MOST_LOOKED_AT:
        return True
    for start in range(0, panel.spixels, ROWS_AT_A_TIME):
        slow, fast = np.nonzero(panel.usable[start : start + ROWS_AT_A_TIME])
        kept = np.zeros(len(slow), dtype=bool)
        for corner, (down, across) in enumerate(_corners(scene)):
            towards, _ = panel.directions(slow + start + down, fast + across)
            for source, (beam, wavelength) in enumerate(
                zip(scene.instrument.sources.directions, scene.instrument.sources.wavelengths_A, strict=True)
            ):
                seen = np.linalg.norm(towards - beam, axis=-1) * d_min <= wavelength
                if corner == source == 0:
                    cut = ~seen
                kept |= seen
        if (kept & cut).any():
            return True
    return False


def _leaves_the_table(scene: Scene, indices: NDArray[np.integer[Any]]) -> bool:
    """Whether a corner of a pixel comes, at some orientation, within two reflections of the table's end: there nanoBragg gives up."""
    orientations, panel = scene.orientations_per_frame * len(scene.instrument.sources), scene.instrument.panels[0]
    corners = _corners(scene)
    if not len(indices) or orientations * len(corners) * int(panel.usable.sum()) > MOST_LOOKED_AT:
        return True
    lowest, highest = indices.min(axis=0) + 2, indices.max(axis=0) - 2
    slow, fast = np.nonzero(panel.usable)
    beams = zip(scene.instrument.sources.directions, scene.instrument.sources.wavelengths_A, strict=True)
    for (beam, wavelength), (down, across) in product(beams, corners):
        towards, _ = panel.directions(slow + down, fast + across)
        scattering = (towards - beam) / wavelength
        for rotation in scene.phi_rotations(0):
            for domain in scene.specimen.lattices[0].mosaic:
                hkl = scattering @ (scene.specimen.lattices[0].real_vectors_A @ rotation.T @ domain.T).T
                if ((hkl < lowest) | (hkl > highest)).any():
                    return True
    return False
