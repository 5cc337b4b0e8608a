"""`nbdist check`: whether an experiment is valid, and what follows from it."""

from __future__ import annotations

from typing import Any

from nbdist.cli.arguments import ExperimentFile, load
from nbdist.cli.display import console, count, facts

RESOLUTION_POINTS = 256
"""Points along a side of a panel at which its resolution is worked out, at most."""


def check(path: ExperimentFile) -> None:
    """Check an experiment file and show what follows from it."""
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections
    from nbdist.scene.notes import notes

    experiment = load(path)
    resolved = resolve(experiment)
    reflections = load_reflections(resolved)
    console.print(f"{path}: valid")
    facts(_beam(resolved), "beam")
    facts(_crystal(resolved, reflections), "crystal")
    facts(_scan(resolved), "scan")
    facts(_detector(resolved), "detector")
    facts(_sampling(resolved), "sampling")
    for note in notes(resolved, reflections):
        console.print(f"note: {note}")


def _vector(values: Any, digits: int = 6) -> str:
    return " ".join(f"{value:.{digits}g}" for value in values)


def _beam(resolved: Any) -> list[tuple[str, str]]:
    from nbdist.experiment.beam import EV_ANGSTROM

    beam = resolved.experiment.beam
    wavelength = beam.mean_wavelength_A
    factor = beam.polarization_factor
    return [
        ("wavelength", f"{wavelength:.6g} A ({EV_ANGSTROM / wavelength:.1f} eV)"),
        ("fluence", f"{beam.fluence:.6g} photons/m^2"),
        ("sources", f"{len(resolved.sources)}"),
        (
            "polarization",
            "correction left out" if factor is None else f"K = {factor:g}" + (" (unpolarised)" if factor == 0 else ""),
        ),
        ("direction", _vector(resolved.beam_direction)),
    ]


def _crystal(resolved: Any, reflections: Any) -> list[tuple[str, str]]:
    import numpy as np

    from nbdist.experiment.lattice import cell_from_real

    cell = cell_from_real(resolved.real_vectors_A)
    size_um = np.linalg.norm(resolved.real_vectors_A, axis=1) * resolved.N_cells * 1e-4
    listed = len(reflections.indices)
    amplitudes = (
        f"{listed:,} reflections, F {reflections.default_F:g} for all others"
        if listed
        else f"F = {reflections.default_F:g} for all"
    )
    return [
        ("cell", f"{_vector(cell[:3])} A, {_vector(cell[3:])} deg"),
        ("volume", f"{abs(np.linalg.det(resolved.real_vectors_A)):.6g} A^3"),
        ("cells", f"{' x '.join(map(str, resolved.N_cells))}, {resolved.experiment.crystal.shape}"),
        ("size", f"{' x '.join(f'{value:.4g}' for value in size_um)} um"),
        ("mosaic domains", f"{len(resolved.mosaic)}"),
        ("amplitudes", amplitudes),
    ]


def _scan(resolved: Any) -> list[tuple[str, str]]:
    scan = resolved.experiment.scan
    chosen = " (auto)" if scan.phi_steps == "auto" else ""
    return [
        ("frames", f"{scan.frames} of {scan.osc_range_deg:g} deg"),
        ("phi", f"{scan.phi_start_deg:g} to {scan.frame_start_deg(scan.frames):g} deg"),
        ("phi steps", f"{resolved.phi_steps}{chosen} a frame, {scan.phi_rule}"),
        ("spindle", _vector(resolved.spindle_axis)),
    ]


def _detector(resolved: Any) -> list[tuple[str, str]]:
    from nbdist.scene.rocking import panel_resolutions_A

    slow, fast = resolved.experiment.image_shape
    rows = [("image", f"{slow} x {fast} pixels (slow x fast), {(~resolved.usable).sum():,} not rendered or dead")]
    for number, panel in enumerate(resolved.panels):
        edge, finest = panel_resolutions_A(panel, resolved.experiment.beam.mean_wavelength_A, RESOLUTION_POINTS)
        rows += [
            (f"panel {number}", f"distance {1e3 * panel.distance_m:.6g} mm, pivot {panel.pivot}"),
            ("  origin", f"{_vector(1e3 * panel.origin_m, 9)} mm"),
            ("  fast, slow", f"{_vector(panel.fast)}, {_vector(panel.slow)}"),
            ("  resolution", f"{edge:.3g} A at the nearest edge, {finest:.3g} A at its finest"),
        ]
    return rows


def _sampling(resolved: Any) -> list[tuple[str, str]]:
    sampling = resolved.experiment.sampling
    chosen = " (auto)" if sampling.oversample == "auto" else ""
    parts = f"{len(resolved.sources)} sources x {resolved.phi_steps} phi x {len(resolved.mosaic)} domains"
    pixels = resolved.experiment.detector.spixels * resolved.experiment.detector.fpixels
    return [
        ("oversample", f"{resolved.oversample}{chosen}"),
        ("interpolation", "on" if resolved.interpolate else "off"),
        ("steps", f"{resolved.steps} = {parts} x {resolved.oversample}^2 subpixels"),
        ("pixel-steps", f"{count(float(pixels) * resolved.steps * resolved.sensor_layers)} a frame"),
        ("precision", sampling.precision),
    ]
