"""The scaling chain of one pixel: every factor between the amplitudes and its photons, from the functions that render the image.

The chain multiplies out: I_pixel_final = r_e^2 fluence / steps x I_before_scaling x omega_pixel x polar x capture_fraction
(+ I_background, where there is water). I_before_scaling is the sum of F_cell^2 F_latt^2 over subpixels, layers, sources (with their
weights), phi steps and mosaic domains. A factor that is worked out for every term of that sum (oversample_omega, _polar, _thick; the
capture of several layers) is stated as its mean, each with the weight that the factors before it leave to a term; a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nbdist.frames.renderer import CLASSICAL_RADIUS_SQUARED_M2, Box, Renderer
from nbdist.kernels.reference.factors import Factor, pixel_factors
from nbdist.kernels.reference.orientation_sum import cell_amplitudes, nearest_reflections, orientation_part, pixel_part
from nbdist.kernels.reference.pixels import PanelVectors, directions, positions, scattering_vectors
from nbdist.kernels.reference.shapes import grating, lattice_factor, round_amplitude, zero_offset
from nbdist.kernels.torch_backend import TorchEngine
from nbdist.kernels.torch_scene import Area, Sample, Scene
from nbdist.scene.amplitudes import Reflections

Number = float | int
METRES_PER_ANGSTROM = 1e-10


class Line(NamedTuple):
    """One line of a trace: a key and its numbers."""

    key: str
    values: tuple[Number, ...]


@dataclass(frozen=True)
class PixelTrace:
    """The chain of one pixel.

    Attributes
    ----------
    lines
        Keys and numbers in order. Before the terms of each orientation stand its `phi_step`, `phi_deg` and `mosaic_domain`, and
        where subpixels are listed each sample's `layer`, `subpixel`, `source`.
    notes
        What is out of the ordinary about this pixel, one sentence each.
    """

    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    def value(self, key: str) -> Number:
        """The only number of the first line with `key`."""
        return next(line.values[0] for line in self.lines if line.key == key)


class Choice(NamedTuple):
    """What of a pixel's terms is listed: a source, one mosaic domain or all (None), every subpixel or the first."""

    source: int = 0
    mosaic: int | None = None
    subpixels: bool = False


@dataclass(frozen=True)
class _Sample:
    """One subpixel in one layer, seen by one source: its factors, weight and terms (tensors over M orientations)."""

    layer: int
    subpixel: tuple[int, int]
    source: int
    weight: float
    factors: tuple[float, float, float, float]
    terms: dict[str, Tensor]

    @property
    def intensity(self) -> float:
        """Weighted sum of the terms, without factors; 0 beyond the resolution limit."""
        return self.weight * self.factors[3] * float(self.terms["term"].sum())


def trace_pixel(
    renderer: Renderer,
    reflections: Reflections,
    pixel: tuple[int, int],
    frame: int = 0,
    choice: Choice | None = None,
) -> PixelTrace:
    """Work out the chain of one pixel of a frame.

    Parameters
    ----------
    renderer
        The experiment, as it renders images (eager mode: one pixel is not worth compiling for).
    reflections
        The amplitudes that its table was made of, to tell listed reflections from others.
    pixel
        Slow and fast coordinate in the whole image.
    choice
        What is listed; sums always run over everything.

    Returns
    -------
    The chain in nanoBragg's words and units (metres, Angstrom, photons): the keys' suffixes say which.
    """
    choice = choice or Choice()
    box: Box = (pixel[0], pixel[0] + 1, pixel[1], pixel[1] + 1)
    place = _Place.of(renderer.scene, pixel)
    samples = list(_samples(renderer.scene, place, frame))
    partial = sum(s.intensity * s.factors[0] * s.factors[1] * s.factors[2] for s in samples)
    photons = float(renderer.photons(torch.tensor([[partial]], dtype=torch.float64, device=renderer.device), box))
    lines = [
        *_geometry(renderer.scene, place, choice.source, _mean_factors(samples)[0]),
        *_cell(renderer.scene, frame, choice),
        *_term_lines(renderer.scene, samples, frame, choice),
        *_scaling(renderer, place, samples, box, photons, choice.source),
    ]
    return PixelTrace(tuple(lines), tuple(_notes(renderer, reflections, samples, pixel, box, partial, choice)))


@dataclass(frozen=True)
class _Place:
    """The pixel on its panel, and the middle of the block that the image renders it in."""

    panel: PanelVectors
    slow: int
    fast: int
    middle: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, scene: Scene, pixel: tuple[int, int]) -> _Place:
        for number, panel in enumerate(scene.resolved.panels):
            if panel.first_row <= pixel[0] < panel.first_row + panel.spixels:
                slow, fast = pixel[0] - panel.first_row, pixel[1]
                block = next(TorchEngine(scene, compiled=False).blocks(Area(number, slow, slow + 1, fast, fast + 1)))
                return cls(scene.panels[number], slow, fast, block.middle)
        raise IndexError(pixel)

    def coordinates(self, scene: Scene, sample: Sample) -> tuple[Tensor, Tensor]:
        """Slow and fast coordinate of a subpixel, (1,) each."""
        return scene.tensor([self.slow + sample.slow_shift]), scene.tensor([self.fast + sample.fast_shift])

    def position(self, scene: Scene, sample: Sample) -> Tensor:
        """In space, metres (3, 1)."""
        return positions(*self.coordinates(scene, sample), scene.depth(sample), self.panel, scene.variant.curved)


def _samples(scene: Scene, place: _Place, frame: int) -> Iterator[_Sample]:
    side = scene.resolved.oversample
    groups = list(scene.orientation_groups(frame, 0, scene.resolved.phi_steps))
    for number, sample in enumerate(scene.samples()):
        coordinates = (*place.coordinates(scene, sample), scene.depth(sample))
        middle = positions(*place.middle, scene.depth(sample), place.panel, scene.variant.curved)
        direction, _ = directions(middle)
        for source, beam in enumerate(scene.sources):
            weight = float(scene.resolved.sources.weights[source])
            q_reference = scattering_vectors(direction, *beam)[:, 0]
            parts = []
            for real, reference in groups:
                pixels = pixel_part(
                    *coordinates, place.panel, *beam, q_reference, reference, scene.variant.curved, scene.dtype
                )
                parts.append(_terms(scene, pixels, orientation_part(real, reference, q_reference, scene.dtype)))
            terms = {key: torch.cat([part[key] for part in parts], dim=-1) for key in parts[0]}
            factors = _factors(scene, place, sample, source)
            yield _Sample(sample.layer, (number % side**2 // side, number % side), source, weight, factors, terms)


def _factors(scene: Scene, place: _Place, sample: Sample, source: int) -> tuple[float, float, float, float]:
    """Solid angle, polarization, capture and resolution of a sample: its own where evaluated for every term, else the pixel's."""
    first = scene.first_subpixel(0)
    chosen = [
        (Factor.OMEGA, first, 0),
        (Factor.POLAR, first, 0),
        (Factor.CAPTURE, scene.first_subpixel(sample.layer), 0),
        (Factor.LIMIT, sample, source),
    ]
    values = []
    for row, (factor, whole, whole_source) in enumerate(chosen):
        here, beam = (sample, source) if factor & scene.every_term else (whole, whole_source)
        choice = scene.choice(factor & (scene.every_term | scene.whole_pixel))
        coordinates = place.coordinates(scene, here)
        rows = pixel_factors(*coordinates, place.panel, *scene.sources[beam], scene.sensors[here.layer], choice)
        values.append(float(rows[row, 0]))
    return values[0], values[1], values[2], values[3]


def _terms(scene: Scene, pixels: Tensor, orientations: Tensor) -> dict[str, Tensor]:
    """What `orientation_sum` adds up, taken apart, float64: h, h0 and F_axes (3, M); F_latt, F_cell and term (M,)."""
    whole, distances = nearest_reflections(pixels, orientations)
    shape, cells = scene.variant.shape, scene.cells
    squared = lattice_factor(shape, distances, cells, scene.fudge)[:, 0]
    if scene.variant.uniform:
        F_cell = scene.table.values[0].expand_as(squared)
    else:
        F_cell = cell_amplitudes(whole, distances, scene.table, scene.variant)[:, 0]
    indices = torch.stack(
        [n.double() + (coarse.double() + rest.double()) for n, (coarse, rest) in zip(whole, distances, strict=True)]
    )
    terms = {
        "h": indices[..., 0],
        "h0": torch.stack(whole)[..., 0].double(),
        "F_cell": F_cell.double(),
        "term": (F_cell * F_cell * squared).double(),
    }
    if shape == "square":
        terms["F_axes"] = torch.stack([_axis(whole[i], distances[i], cells[i])[:, 0] for i in range(3)]).double()
        terms["F_latt"] = terms["F_axes"].prod(0)
    elif shape == "round":
        terms["F_latt"] = round_amplitude(distances, cells, scene.fudge)[:, 0].double()
    else:
        terms["F_latt"] = squared.sqrt().double()
    return {key: value.cpu() for key, value in terms.items()}


def _axis(whole: Tensor, distance: tuple[Tensor, Tensor], cells: Tensor) -> Tensor:
    """sin(pi N h)/sin(pi h) with its sign, which the square of the image does not need."""
    above, below, turns = grating(*distance, cells, zero_offset(cells.dtype))
    half_turns = turns + (cells - 1) * whole
    return above / below * (1 - 2 * torch.remainder(half_turns, 2))


def _mean_factors(samples: Sequence[_Sample]) -> tuple[float, float, float]:
    """Solid angle, polarization and capture that stand for all samples: their product with the intensity is the sum's."""
    weights = np.array([sample.intensity for sample in samples])
    means = []
    for factor in range(3):
        values = np.array([sample.factors[factor] for sample in samples])
        same = bool((values == values[0]).all()) or not weights.any()
        means.append(float(values[0]) if same else float((values * weights).sum() / weights.sum()))
        weights = weights * values
    return means[0], means[1], means[2]


def _geometry(scene: Scene, place: _Place, source: int, omega: float) -> Iterator[Line]:
    vectors, position = place.panel, place.position(scene, scene.first_subpixel(0))
    direction, distance = directions(position)
    incident, wavelength = scene.sources[source]
    q = scattering_vectors(direction, incident, wavelength) / METRES_PER_ANGSTROM
    yield _line("pix0_vector_m", vectors.origin)
    yield _line("fdet_vec", vectors.fast)
    yield _line("sdet_vec", vectors.slow)
    yield _line("pixel_pos_m", position)
    yield _line("airpath_m", distance)
    yield _line("close_distance_m", vectors.close_distance)
    yield _line("obliquity_factor", vectors.close_distance / distance)
    yield Line("omega_pixel", (omega,))
    yield _line("diffracted_vec", direction)
    yield _line("incident_vec", incident)
    yield _line("wavelength_A", wavelength)
    yield _line("scattering_vec_m_inv", q)


def _cell(scene: Scene, frame: int, choice: Choice) -> Iterator[Line]:
    """Real-space axes at the first phi step, in the listed domain or the first."""
    real, _ = next(scene.orientation_groups(frame, 0, 1))
    for name, axis in zip("abc", real[choice.mosaic or 0], strict=True):
        yield _line(f"rot_{name}_A", axis)


def _term_lines(scene: Scene, samples: Sequence[_Sample], frame: int, choice: Choice) -> Iterator[Line]:
    phi_deg = scene.resolved.phi_deg(frame)
    domains = len(scene.resolved.mosaic)
    seen = [sample for sample in samples if sample.source == choice.source]
    for sample in seen if choice.subpixels else seen[:1]:
        if choice.subpixels:
            yield from _sample_lines(sample)
        for step, phi in enumerate(phi_deg):
            for domain in range(domains) if choice.mosaic is None else (choice.mosaic,):
                yield Line("phi_step", (step,))
                yield Line("phi_deg", (phi,))
                yield Line("mosaic_domain", (domain,))
                yield from _orientation_lines(sample.terms, step * domains + domain)


def _sample_lines(sample: _Sample) -> Iterator[Line]:
    yield Line("layer", (sample.layer,))
    yield Line("subpixel", sample.subpixel)
    yield Line("source", (sample.source,))
    yield Line("source_weight", (sample.weight,))
    for name, value in zip(("omega", "polar", "capture", "resolved"), sample.factors, strict=True):
        yield Line(f"subpixel_{name}", (value,))
    yield Line("subpixel_sum", (sample.intensity,))


def _orientation_lines(terms: dict[str, Tensor], number: int) -> Iterator[Line]:
    yield _line("hkl_frac", terms["h"][:, number])
    yield Line("hkl_rounded", tuple(int(index) for index in terms["h0"][:, number]))
    if "F_axes" in terms:
        for name, value in zip("abc", terms["F_axes"][:, number], strict=True):
            yield _line(f"F_latt_{name}", value)
    yield _line("F_latt", terms["F_latt"][number])
    yield _line("F_cell", terms["F_cell"][number])
    yield _line("term", terms["term"][number])


def _scaling(
    renderer: Renderer,
    place: _Place,
    samples: Sequence[_Sample],
    box: Box,
    photons: float,
    source: int,
) -> Iterator[Line]:
    scene, experiment = renderer.scene, renderer.resolved.experiment
    sampling = experiment.sampling
    direction, _ = directions(place.position(scene, scene.first_subpixel(0)))
    _, polar, capture = _mean_factors(samples)
    yield Line("I_before_scaling", (sum(sample.intensity for sample in samples),))
    yield Line("r_e_sqr", (CLASSICAL_RADIUS_SQUARED_M2,))
    yield Line("fluence_photons_per_m2", (experiment.beam.fluence,))
    yield Line("steps", (renderer.resolved.steps,))
    yield Line("oversample_thick", (int(sampling.oversample_thick),))
    yield Line("oversample_polar", (int(sampling.oversample_polar),))
    yield Line("oversample_omega", (int(sampling.oversample_omega),))
    yield Line("capture_fraction", (capture,))
    yield Line("polar", (polar,))
    yield _line("cos_2theta", direction[:, 0] @ scene.sources[source][0])
    if experiment.background.water_um > 0:
        yield _line("I_background", renderer.background(box))
    yield Line("I_pixel_final", (photons,))


def _line(key: str, value: Tensor) -> Line:
    return Line(key, tuple(float(number) for number in value.reshape(-1).cpu()))


def _notes(
    renderer: Renderer,
    reflections: Reflections,
    samples: Sequence[_Sample],
    pixel: tuple[int, int],
    box: Box,
    partial: float,
    choice: Choice,
) -> Iterator[str]:
    resolved, detector = renderer.resolved, renderer.resolved.experiment.detector
    sampling, side = resolved.experiment.sampling, resolved.oversample
    if not resolved.usable[pixel]:
        region = detector.region_of_interest
        outside = region is not None and not (
            region.slow[0] <= pixel[0] < region.slow[1] and region.fast[0] <= pixel[1] < region.fast[1]
        )
        where = "lies outside the region of interest" if outside else "is masked"
        photons = partial * CLASSICAL_RADIUS_SQUARED_M2 * resolved.experiment.beam.fluence / resolved.steps
        yield f"the pixel {where}: the image holds 0; its diffraction alone would be {photons:.15g} photons"
    yield from _missing(renderer, reflections, samples, choice)
    if any(sample.factors[3] == 0 for sample in samples):
        beyond = sum(sample.factors[3] == 0 for sample in samples)
        yield f"{beyond} of {len(samples)} samples lie beyond d_min_A = {sampling.d_min_A:g} and add nothing"
    if side > 1:
        listed = "" if choice.subpixels else "; the geometry and the terms listed are the first one's"
        yield f"{side} x {side} subpixels make up the pixel{listed}"
    if renderer.scene.layers > 1:
        yield f"{renderer.scene.layers} sensor layers add up; capture_fraction is their mean, weighted by their intensity"
    on = [name for name in ("omega", "polar", "thick") if getattr(sampling, f"oversample_{name}")]
    if on and len(samples) > 1:
        yield f"{' and '.join(on)}: worked out for every term; the mean stands in the chain, weighted by intensity"
    if len(renderer.scene.sources) > 1:
        yield f"{len(renderer.scene.sources)} sources add up; the geometry and the terms listed are source {choice.source}'s"
    if detector.curved:
        yield "the detector is curved: every pixel at the same distance, its offsets from the beam along fast and slow laid along arcs"
    if detector.point_pixels:
        yield "point pixels: omega_pixel is 1/airpath^2, without area and obliquity"
    if resolved.experiment.scan.phi_zero_carryover:
        yield "phi_zero_carryover: a step at phi == 0 keeps the orientation of the step before it, as in nanoBragg.c"


def _missing(renderer: Renderer, reflections: Reflections, samples: Sequence[_Sample], choice: Choice) -> Iterator[str]:
    if renderer.scene.variant.uniform:
        return
    if renderer.scene.variant.interpolate:
        yield "F_cell is interpolated between reflections"
        return
    wanted = np.concatenate([sample.terms["h0"].numpy().T for sample in samples if sample.source == choice.source])
    near = np.unique(wanted.astype(np.int64), axis=0)
    listed = set(map(tuple, reflections.indices[np.isin(reflections.indices[:, 0], near[:, 0])].tolist()))
    missing = [index for index in map(tuple, near.tolist()) if index not in listed]
    if missing:
        shown = ", ".join(" ".join(map(str, index)) for index in missing[:3]) + (", ..." if len(missing) > 3 else "")
        yield f"reflections that are not listed ({shown}): F_cell is default_F = {reflections.default_F:g}"
