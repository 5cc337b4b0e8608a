"""What `nbdist nanobragg` prints: the experiment as nanoBragg reports it, warnings, and where nbdist departs from nanoBragg.c."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nbdist.cli.nanobragg_inputs import clipped_sizes
from nbdist.cli.nanobragg_words import Flags
from nbdist.experiment.lattice import cell_from_real, dual_vectors
from nbdist.experiment.resolved import ResolvedExperiment, recommended_oversample

ROWS_AT_A_TIME = 256
TRICLINIC_DEG = 1e-6


def vector(values: Any) -> str:
    """Numbers in six digits."""
    return " ".join(f"{value + 0.0:.6g}" for value in values)


def experiment_rows(resolved: ResolvedExperiment, reflections: Any) -> Iterator[tuple[str, str]]:
    """Names and values of what is about to be rendered."""
    experiment, panel = resolved.experiment, resolved.panels[0]
    detector, scan, crystal = experiment.detector, experiment.scan, experiment.crystal
    yield "convention", f"{detector.convention}, pivot {panel.pivot}"
    yield "detector", f"{panel.fpixels} x {panel.spixels} pixels (fast x slow) of {1e3 * panel.pixel_m:g} mm"
    yield "distance", f"{1e3 * panel.distance_m:.6g} mm, close distance {1e3 * panel.close_distance_m:.6g} mm"
    yield "fast axis", vector(panel.fast)
    yield "slow axis", vector(panel.slow)
    yield "normal", vector(panel.normal)
    yield "first pixel", f"{vector(1e3 * panel.origin_m)} mm"
    yield "beam", f"{vector(resolved.beam_direction)}, polarization {vector(resolved.polarization_vector)}"
    yield "spindle", vector(resolved.spindle_axis)
    real, reciprocal = resolved.real_vectors_A, dual_vectors(resolved.real_vectors_A)
    yield "cell", f"{vector(cell_from_real(real))} (A, deg), volume {abs(np.linalg.det(real)):.6g} A^3"
    yield "reciprocal cell", f"{vector(cell_from_real(reciprocal))} (1/A, deg)"
    for name, rows in (("a, b, c (A)", real), ("a*, b*, c* (1/A)", reciprocal)):
        yield name, "; ".join(vector(row) for row in rows)
    sizes_um = 1e-4 * np.linalg.norm(real, axis=1) * resolved.N_cells
    cells = " x ".join(map(str, resolved.N_cells))
    yield "crystal", f"{crystal.shape}, {cells} cells, {' x '.join(f'{size:.6g}' for size in sizes_um)} um"
    listed = f"{len(reflections.indices)} listed, F = {reflections.default_F:g} for others"
    yield "structure factors", listed if len(reflections.indices) else f"F = {reflections.default_F:g} for all"
    yield "interpolation", "tricubic" if resolved.interpolate and len(reflections.indices) else "none"
    yield "sources", f"{len(resolved.sources)}, wavelength {experiment.beam.mean_wavelength_A:.6g} A"
    yield "mosaic domains", f"{len(resolved.mosaic)} over {crystal.mosaic_spread_deg:g} deg"
    end = scan.phi_start_deg + scan.osc_range_deg
    yield "phi steps", f"{resolved.phi_steps} from {scan.phi_start_deg:g} to {end:g} deg"
    yield "oversample", f"{resolved.oversample} x {resolved.oversample}, {resolved.sensor_layers} sensor layer(s)"
    yield "steps", str(resolved.steps)
    yield "fluence", f"{experiment.beam.fluence:.6g} photons/m^2"


def detector_solid_angle(resolved: ResolvedExperiment) -> float:
    """Solid angle of all rendered pixels, steradian (pixel^2 close_distance/R^3 at every pixel's centre; 1/R^2 for point pixels).

    A curved detector's pixels are all at the same distance.
    """
    panel, detector = resolved.panels[0], resolved.experiment.detector
    total = 0.0
    for start in range(0, panel.spixels, ROWS_AT_A_TIME):
        slow, fast = np.nonzero(resolved.usable[start : start + ROWS_AT_A_TIME])
        along_fast, along_slow = (fast + 0.5) * panel.pixel_m, (slow + start + 0.5) * panel.pixel_m
        position = panel.origin_m + np.outer(along_fast, panel.fast) + np.outer(along_slow, panel.slow)
        distance = np.full(len(fast), abs(panel.distance_m)) if detector.curved else np.linalg.norm(position, axis=1)
        area = 1.0 if detector.point_pixels else panel.pixel_m**2 * panel.close_distance_m / distance
        total += float((area / distance**2).sum())
    return total


def warnings(flags: Flags, resolved: ResolvedExperiment) -> Iterator[str]:
    """What nanoBragg would warn of."""
    yield from clipped_sizes(flags)[1]
    crystal = resolved.experiment.crystal
    if crystal.mosaic_spread_deg > 0 and crystal.mosaic_domains is None:
        yield f"a mosaic spread without -mosaic_dom: {len(resolved.mosaic)} domains are used"
    if crystal.mosaic_spread_deg == 0 and flags.get("mosaic_domains", 1) > 1:
        yield "mosaic domains without a spread (-mosaic): 1 domain is used"
    panel, wavelength = resolved.panels[0], resolved.experiment.beam.mean_wavelength_A
    largest = float((np.linalg.norm(resolved.real_vectors_A, axis=1) * resolved.N_cells).max())
    wanted = recommended_oversample(largest, wavelength, panel)
    if wanted > resolved.oversample:
        pixel = wavelength * abs(panel.distance_m) / panel.pixel_m
        yield (
            f"the crystal is {largest:.6g} A across, a pixel sees {pixel:.6g} A: intensity may vary across a pixel; "
            f"recommend -oversample {wanted}"
        )
    for name in dict.fromkeys(flags.unused):
        yield f"-{name} is read and not used, as in nanoBragg"
    if flags.get("dump"):
        yield "-dump: no Fdump.bin is written or read"
    if resolved.experiment.detector.sensor is not None and flags.get("detector_abs") is None:
        yield "-detector_thick without -detector_abs: every layer counts every photon"


def departures(flags: Flags, resolved: ResolvedExperiment, header: dict[str, Any]) -> Iterator[str]:
    """Places where nbdist does not do what nanoBragg.c does, of those that this run meets; `header`: from -img or -mask."""
    experiment = resolved.experiment
    sampling, sensor = experiment.sampling, experiment.detector.sensor
    phi = resolved.phi_deg(0)
    if 0.0 in phi and any(phi):
        yield "the step at phi 0 is rotated as every other; nanoBragg.c keeps the previous pixel's last orientation there"
    if sensor is not None and sensor.layers > 1:
        yield "layers are thickness/layers apart, within the sensor; nanoBragg.c's reach beyond it"
        if not sampling.oversample_thick and sensor.attenuation_depth_um is not None:
            yield "each layer carries its own capture fraction; nanoBragg.c scales all by the last one's"
    on = [name for name in ("thick", "polar", "omega") if getattr(sampling, f"oversample_{name}")]
    if on and (resolved.oversample > 1 or resolved.sensor_layers > 1 or len(resolved.sources) > 1):
        yield f"{' '.join(f'-oversample_{name}' for name in on)}: factors of every term; nanoBragg.c multiplies the running sum"
    if experiment.crystal.cell is not None:
        oblique = sum(abs(angle - 90) > TRICLINIC_DEG for angle in experiment.crystal.cell[3:])
        if oblique > 1:
            yield "-cell: the triclinic cell that was given; nanoBragg.c changes its angles"
    if not np.allclose(resolved.sources.weights, 1):
        yield "-sourcefile: weights count, normalised to mean 1; nanoBragg.c ignores them"
    if resolved.interpolate and flags.get("hkl"):
        yield "interpolation falls back to the nearest reflection pixel by pixel; nanoBragg.c switches it off for the rest"
    if experiment.background.water_um > 0:
        yield "-water: r_e^2 fluence counts once, and is not divided by steps; nanoBragg.c squares and divides it"
    if experiment.crystal.shape in ("gauss", "tophat"):
        yield f"{experiment.crystal.shape} spots have their radius in index space; nanoBragg.c mixes units"
    if header.get("header_twotheta") and flags.get("twotheta") is None:
        yield f"the header's TWOTHETA={header['header_twotheta']:g} is not used, as in nanoBragg; -twotheta gives it"
