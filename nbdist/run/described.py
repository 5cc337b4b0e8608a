"""What an experiment comes to, section by section, in names and values with their units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from nbdist.experiment.beam import EV_ANGSTROM, Beam
from nbdist.experiment.fields import Section
from nbdist.experiment.lattice import cell_from_real
from nbdist.formats.amounts import count, panels_row
from nbdist.scene import Lattice, Scene
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.completeness import Completeness
from nbdist.scene.rocking import panel_resolutions_A
from nbdist.scene.specimen import TwinDomain

RESOLUTION_POINTS = 256
"""Points along a side of a panel at which its resolution is worked out, at most."""
Rows = list[tuple[str, str]]
"""Names and values."""


def described(
    scene: Scene, reflections: Sequence[Reflections], held: Mapping[str, Completeness]
) -> Iterator[tuple[str, Rows]]:
    """What an experiment comes to: yield the name of each section, and its rows.

    Parameters
    ----------
    reflections
        Amplitudes of each lattice.
    held
        How complete those of files are, by the field of their crystal.
    """
    yield "beam", _beam(scene)
    for lattice, its in zip(scene.specimen.lattices, reflections, strict=True):
        if lattice.twin is not None:
            yield lattice.field, _twin(lattice.twin)
            continue
        crystal = _crystal(lattice, weighted=len(reflections) > 1)
        yield lattice.field, [*crystal, *_amplitudes(scene, its, held.get(lattice.field))]
    yield "scan", _scan(scene)
    yield "detector", _detector(scene)
    yield "sampling", _sampling(scene)
    for section in ("background", "absorption", "shadows", "noise", "readout"):
        if section == "noise" and not scene.experiment.noise.photon_noise:
            continue  # its seed draws nothing
        if asked_for := _asked_for(getattr(scene.experiment, section)):
            yield section, asked_for


def _asked_for(section: Section) -> Rows:
    """The fields that differ from their defaults, by their names in the file."""
    rows = []
    for name, value in section.content().items():
        several = isinstance(value, list) and all(isinstance(item, dict) for item in value)
        for number, item in enumerate(value if several else [value]):
            place = f"{name}.{number}" if several and len(value) > 1 else name
            rows.append((place, _written(item)))
    return rows


def _written(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_written(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_written, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _vector(values: Iterable[float], digits: int = 6) -> str:
    return " ".join(f"{value:.{digits}g}" for value in values)


def _beam(scene: Scene) -> Rows:
    beam = scene.experiment.beam
    wavelength = beam.mean_wavelength_A
    factor = beam.polarization_factor
    divergence = beam.divergence_sigmas_mrad
    return [
        ("wavelength", f"{wavelength:.6g} A ({EV_ANGSTROM / wavelength:.1f} eV)"),
        ("fluence", f"{beam.fluence:.6g} photons/m^2"),
        *([] if beam.steady else [("from frame to frame", _changes(beam))]),
        ("sources", f"{len(scene.instrument.sources)}"),
        *([("spectrum", f"normal, {100 * beam.bandwidth_sigma:g} % rms")] if beam.bandwidth_sigma else []),
        *(
            [("divergence", "normal, {:g} mrad rms along the polarization, {:g} across".format(*divergence))]
            if any(divergence)
            else []
        ),
        (
            "polarization",
            "correction left out" if factor is None else f"K = {factor:g}" + (" (unpolarised)" if factor == 0 else ""),
        ),
        ("direction", _vector(scene.instrument.beam_direction)),
    ]


def _changes(beam: Beam) -> str:
    flicker, jitter = beam.flicker, beam.exposure_jitter_sigma
    parts = [f"{100 * flicker.sigma:g} % rms of {flicker.spectrum} flicker"] if flicker.sigma else []
    return ", ".join([*parts, f"{100 * jitter:g} % rms of the exposure"] if jitter else parts)


def _crystal(lattice: Lattice, weighted: bool) -> Rows:
    cell = cell_from_real(lattice.real_vectors_A)
    if lattice.size_A is None:
        sizes_um = np.linalg.norm(lattice.real_vectors_A, axis=1) * lattice.N_cells * 1e-4
        cells, size = " x ".join(map(str, lattice.N_cells)), " x ".join(f"{value:.4g}" for value in sizes_um) + " um"
    else:
        cells, size = f"{lattice.cells_in_all:.6g} in all", f"{1e-4 * lattice.size_A:.4g} um in all directions"
    sigmas = lattice.mosaic_sigma_rad
    integrated = sigmas.any() and lattice.normal_domains is None
    return [
        *([("weight", f"{lattice.weight:g}")] if weighted else []),
        ("cell", f"{_vector(cell[:3])} A, {_vector(cell[3:])} deg"),
        ("space group", lattice.space_group),
        ("volume", f"{abs(np.linalg.det(lattice.real_vectors_A)):.6g} A^3"),
        ("cells", f"{cells}, {lattice.shape}"),
        ("size", size),
        *(
            [("mosaicity", f"normal, {_vector(np.rad2deg(sigmas))} deg rms about a, c* x a, c*")]
            if sigmas.any()
            else []
        ),
        *(
            [
                (
                    "dose",
                    f"{lattice.decay.dose_MGy(0):.4g} MGy in the first frame, {lattice.decay.dose_MGy_per_frame:g} MGy a frame",
                )
            ]
            if lattice.decay
            else []
        ),
        ("mosaic domains", "none, integrated over" if integrated else f"{lattice.domains}"),
        ("interpolation", "on" if lattice.interpolate else "off"),
    ]


def _twin(twin: TwinDomain) -> Rows:
    return [
        ("law", twin.law),
        ("fraction", f"{twin.fraction:g}"),
        ("obliquity", f"{twin.obliquity_deg:.4f} deg"),
    ]


def _amplitudes(scene: Scene, reflections: Reflections, held: Completeness | None) -> Rows:
    listed = len(reflections.indices)
    others = f"{reflections.default_F:g} for all others"
    rows = [
        ("amplitudes", f"{listed:,} reflections, F {others}" if listed else f"F = {others.removesuffix(' others')}"),
    ]
    if reflections.origin:
        rows.append(("", reflections.origin))
    if held is not None:
        rows.append(
            (
                "completeness",
                f"{100 * held.share:.1f} % of the {held.there:,} reflections to the detector's corner at {scene.finest_A:.3g} A",
            )
        )
    return rows


def _scan(scene: Scene) -> Rows:
    scan = scene.experiment.scan
    chosen = " (auto)" if scan.phi_steps == "auto" else ""
    steps = f"{scene.phi_steps}{chosen} a frame, {scan.phi_rule}"
    start, end = scan.phi_start_deg, scan.frame_start_deg(scan.frames)
    return [
        ("frames", f"{scan.frames} of {scan.osc_range_deg:g} deg"),
        ("rocking width", f"{scene.rocking_width_deg:.3g} deg at {scene.finest_A:.3g} A, at the least"),
        ("phi", f"{start:g} to {end:g} deg" if start != end else f"{start:g} deg"),
        ("phi steps", "none, phi is integrated over" if scene.method == "integrated" else steps),
        ("spindle", _vector(scene.spindle_axis)),
    ]


def _detector(scene: Scene) -> Rows:
    panels = scene.instrument.panels
    dead = sum(int((~panel.usable).sum()) for panel in panels)
    name, shapes = panels_row(scene.instrument.shapes)
    named = scene.experiment.detector.name
    rows = [("name", named)] if named else []
    rows.append((name, f"{shapes}, {dead:,} not rendered or dead"))
    for number, panel in enumerate(panels):
        edge, finest = panel_resolutions_A(panel, scene.experiment.beam.mean_wavelength_A, RESOLUTION_POINTS)
        rows += [
            (f"panel {number}", f"distance {1e3 * panel.distance_m:.6g} mm, pivot {panel.pivot}"),
            ("  origin", f"{_vector(1e3 * panel.origin_m, 9)} mm"),
            ("  fast, slow", f"{_vector(panel.fast)}, {_vector(panel.slow)}"),
            ("  resolution", f"{edge:.3g} A at the nearest edge, {finest:.3g} A at its finest"),
        ]
    return rows


def _sampling(scene: Scene) -> Rows:
    sampling = scene.experiment.sampling
    chosen = " (auto)" if sampling.oversample == "auto" else ""
    if scene.method == "integrated":
        return [
            ("method", f"integrated, to {sampling.tolerance:g} of a spot's peak"),
            ("oversample", "as each spot needs (auto)" if chosen else f"{sampling.oversample}"),
            ("precision", sampling.precision),
        ]
    parts = f"{len(scene.instrument.sources)} sources x {scene.phi_steps} phi x {scene.specimen.domains} domains"
    instrument = scene.instrument
    rays = len(instrument.sources) * sum(
        slow * fast * instrument.rays_per_pixel(number) for number, (slow, fast) in enumerate(instrument.shapes)
    )
    return [
        ("oversample", f"{scene.instrument.oversample}{chosen}"),
        ("steps", f"{scene.steps} = {parts} x {scene.instrument.oversample}^2 subpixels"),
        ("pixel-steps", f"{count(float(rays) * scene.orientations_per_frame)} a frame"),
        ("precision", sampling.precision),
    ]
