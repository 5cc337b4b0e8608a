"""The scaling chain of one pixel: every factor between the amplitudes and its photons, from the functions that render the image.

The chain multiplies out: I_pixel_final = r_e^2 fluence / steps x I_before_scaling x omega_pixel x polar x capture_fraction
(x transmission, where something is in the way; x fluence_factor, where the beam is not steady; + I_background, where there is any;
I_diffuse is what the crystals have of it). I_before_scaling is the sum of F_cell^2 F_latt^2 over subpixels, layers, sources (with their
weights), phi steps and mosaic domains; what dose has left of a lattice is in the weights. A factor that is worked out for every term of
that sum (oversample_omega, _polar, _thick; the capture of several layers) is stated as its mean, each with the weight that the factors
before it leave to a term; a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nbdist.frames.exposure import fluence_factor
from nbdist.frames.renderer import Renderer
from nbdist.kernels.reference.factors import pixel_factors
from nbdist.kernels.reference.orientation_sum import cell_amplitudes, nearest_reflections, orientation_part, pixel_part
from nbdist.kernels.reference.pixels import PanelVectors, directions, positions, scattering_vectors
from nbdist.kernels.reference.shapes import grating, lattice_factor, round_amplitude, zero_offset
from nbdist.kernels.torch_backend import TorchBackend
from nbdist.kernels.torch_scene import TorchInstrument, TorchLattice
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.instrument import CLASSICAL_RADIUS_SQUARED_M2, Factor, Instrument, Ray
from nbdist.scene.scene import Scene
from nbdist.scene.tile import Tile

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
    """What of a pixel's terms is listed: a source, a lattice, one mosaic domain or all (None), every subpixel or the first."""

    source: int = 0
    mosaic: int | None = None
    subpixels: bool = False
    lattice: int = 0


@dataclass(frozen=True, eq=False)
class _Part:
    """What one lattice adds through one ray, seen by one source: factors, weight, and terms (tensors over M orientations)."""

    lattice: int
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
    reflections: Sequence[Reflections],
    pixel: tuple[int, int],
    frame: int = 0,
    choice: Choice | None = None,
    panel: int = 0,
) -> PixelTrace:
    """Work out the chain of one pixel of a frame.

    Parameters
    ----------
    renderer
        The experiment, as torch's own operations render it.
    reflections
        The amplitudes of each lattice, to tell listed reflections from others.
    pixel
        Slow and fast coordinate on the panel.
    choice
        What is listed; sums always run over everything.

    Returns
    -------
    The chain in nanoBragg's words and units (metres, Angstrom, photons): the keys' suffixes say which.
    """
    choice = choice or Choice()
    place = _Place.of(renderer, Tile(panel, pixel[0], pixel[0] + 1, pixel[1], pixel[1] + 1))
    parts = list(_parts(place, frame))
    partial = sum(part.intensity * part.factors[0] * part.factors[1] * part.factors[2] for part in parts)
    partial *= place.transmission
    photons = renderer.photons(np.array([[partial]]), place.tile, frame).item()
    lines = [
        *_geometry(place, choice.source, _mean_factors(parts)[0]),
        *_cell(place, frame, choice),
        *_term_lines(place, parts, frame, choice),
        *_scaling(place, parts, photons, frame, choice.source),
    ]
    return PixelTrace(tuple(lines), tuple(_notes(place, reflections, parts, partial, frame, choice)))


@dataclass(frozen=True, eq=False)
class _Place:
    """The pixel on its panel as a tile of its own, and the middle of the block that the image renders it in."""

    renderer: Renderer
    tensors: TorchInstrument
    tile: Tile
    middle: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, renderer: Renderer, tile: Tile) -> _Place:
        instrument, backend = renderer.scene.instrument, renderer.backend
        if not isinstance(backend, TorchBackend):
            backend = TorchBackend(instrument, "cpu", compiled=False)
        return cls(renderer, backend.tensors, tile, next(backend.blocks(tile)).middle)

    @property
    def scene(self) -> Scene:
        return self.renderer.scene

    @property
    def instrument(self) -> Instrument:
        return self.renderer.scene.instrument

    @property
    def panel(self) -> PanelVectors:
        return self.tensors.panels[self.tile.panel]

    @property
    def curved(self) -> bool:
        return self.instrument.panels[self.tile.panel].curved

    @property
    def transmission(self) -> float:
        """What obstacles leave of the photons on their way to it."""
        image = self.instrument.transmissions[self.tile.panel]
        return 1.0 if image is None else float(image[self.tile.slow_start, self.tile.fast_start])

    def coordinates(self, ray: Ray) -> tuple[Tensor, Tensor]:
        """Slow and fast coordinate of a subpixel, (1,) each."""
        tensor = self.tensors.tensor
        return tensor([self.tile.slow_start + ray.slow_shift]), tensor([self.tile.fast_start + ray.fast_shift])

    def position(self, ray: Ray) -> Tensor:
        """Place of a subpixel in the lab, metres (3, 1)."""
        return positions(*self.coordinates(ray), self.tensors.depth(self.tile.panel, ray), self.panel, self.curved)


def _parts(place: _Place, frame: int) -> Iterator[_Part]:
    scene, instrument, tensors = place.scene, place.instrument, place.tensors
    side, left_by_dose = instrument.oversample, list(place.renderer.left_by_dose(place.tile, frame))
    for lattice_number, (lattice, table) in enumerate(zip(scene.specimen.lattices, place.renderer.tables, strict=True)):
        of_lattice = tensors.lattice(lattice, table)
        share = scene.specimen.share(lattice) * left_by_dose[lattice_number].item()
        groups = [
            (tensors.tensor(real), tensors.tensor(reference))
            for real, reference in scene.orientation_groups(lattice, frame)
        ]
        for number, ray in enumerate(instrument.rays(place.tile.panel)):
            coordinates = (*place.coordinates(ray), tensors.depth(place.tile.panel, ray))
            direction, _ = directions(
                positions(*place.middle, tensors.depth(place.tile.panel, ray), place.panel, place.curved)
            )
            for source, beam in enumerate(tensors.sources):
                q_reference = scattering_vectors(direction, *beam)[:, 0]
                parts = []
                for real, reference in groups:
                    pixels = pixel_part(
                        *coordinates, place.panel, *beam, q_reference, reference, place.curved, tensors.dtype
                    )
                    orientations = orientation_part(real, reference, q_reference, tensors.dtype)
                    parts.append(_terms(of_lattice, source, pixels, orientations))
                yield _Part(
                    lattice_number,
                    ray.layer,
                    (number % side**2 // side, number % side),
                    source,
                    float(instrument.sources.weights[source]) * share,
                    _factors(place, ray, source),
                    {key: torch.cat([part[key] for part in parts], dim=-1) for key in parts[0]},
                )


def _factors(place: _Place, ray: Ray, source: int) -> tuple[float, float, float, float]:
    """Solid angle, polarization, capture and resolution of a ray: its own where evaluated for every term, else the pixel's."""
    instrument, tensors = place.instrument, place.tensors
    first, every_term = instrument.first_ray(0), instrument.every_term(place.tile.panel)
    chosen = [
        (Factor.OMEGA, first, 0),
        (Factor.POLAR, first, 0),
        (Factor.CAPTURE, instrument.first_ray(ray.layer), 0),
        (Factor.LIMIT, ray, source),
    ]
    values = []
    for row, (factor, whole, whole_source) in enumerate(chosen):
        here, beam = (ray, source) if factor & every_term else (whole, whole_source)
        choice = tensors.choice(factor & (every_term | instrument.whole_pixel(place.tile.panel)), place.tile.panel)
        rows = pixel_factors(
            *place.coordinates(here),
            place.panel,
            *tensors.sources[beam],
            tensors.sensors[place.tile.panel][here.layer],
            choice,
        )
        values.append(float(rows[row, 0]))
    return values[0], values[1], values[2], values[3]


def _terms(lattice: TorchLattice, source: int, pixels: Tensor, orientations: Tensor) -> dict[str, Tensor]:
    """What `orientation_sum` adds up, taken apart, float64: h, h0 and F_axes (3, M); F_latt, F_cell and term (M,)."""
    whole, distances = nearest_reflections(pixels, orientations)
    variant, cells, table = lattice.variant, lattice.cells, lattice.of_source(source)
    squared = lattice_factor(variant.shape, distances, cells, lattice.fudge)[:, 0]
    uniform = table.values[0].expand_as(squared)
    F_cell = uniform if variant.uniform else cell_amplitudes(whole, distances, table, variant)[:, 0]
    indices = torch.stack(
        [n.double() + (coarse.double() + rest.double()) for n, (coarse, rest) in zip(whole, distances, strict=True)]
    )
    terms = {
        "h": indices[..., 0],
        "h0": torch.stack(whole)[..., 0].double(),
        "F_cell": F_cell.double(),
        "term": (F_cell * F_cell * squared).double(),
    }
    if variant.shape == "square":
        terms["F_axes"] = torch.stack([_axis(whole[i], distances[i], cells[i])[:, 0] for i in range(3)]).double()
        terms["F_latt"] = terms["F_axes"].prod(0)
    elif variant.shape == "round":
        terms["F_latt"] = round_amplitude(distances, cells, lattice.fudge)[:, 0].double()
    else:
        terms["F_latt"] = squared.sqrt().double()
    return {key: value.cpu() for key, value in terms.items()}


def _axis(whole: Tensor, distance: tuple[Tensor, Tensor], cells: Tensor) -> Tensor:
    """sin(pi N h)/sin(pi h) with its sign, which the square of the image does not need."""
    above, below, turns = grating(*distance, cells, zero_offset(cells.dtype))
    half_turns = turns + (cells - 1) * whole
    return above / below * (1 - 2 * torch.remainder(half_turns, 2))


def _mean_factors(parts: Sequence[_Part]) -> tuple[float, float, float]:
    """Solid angle, polarization and capture that stand for all parts: their product with the intensity is the sum's."""
    weights = np.array([part.intensity for part in parts])
    means = []
    for factor in range(3):
        values = np.array([part.factors[factor] for part in parts])
        same = bool((values == values[0]).all()) or not weights.any()
        means.append(float(values[0]) if same else float((values * weights).sum() / weights.sum()))
        weights = weights * values
    return means[0], means[1], means[2]


def _geometry(place: _Place, source: int, omega: float) -> Iterator[Line]:
    vectors, position = place.panel, place.position(place.instrument.first_ray(0))
    direction, distance = directions(position)
    incident, wavelength = place.tensors.sources[source]
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


def _cell(place: _Place, frame: int, choice: Choice) -> Iterator[Line]:
    """Real-space axes at the first phi step, in the listed domain or the first."""
    lattice = place.scene.specimen.lattices[choice.lattice]
    real, _ = next(place.scene.orientation_groups(lattice, frame, 0, 1))
    for name, axis in zip("abc", real[choice.mosaic or 0], strict=True):
        yield Line(f"rot_{name}_A", tuple(map(float, axis)))


def _term_lines(place: _Place, parts: Sequence[_Part], frame: int, choice: Choice) -> Iterator[Line]:
    phi_deg = place.scene.phi_deg(frame)
    domains = place.scene.specimen.lattices[choice.lattice].domains
    seen = [part for part in parts if (part.source, part.lattice) == (choice.source, choice.lattice)]
    for part in seen if choice.subpixels else seen[:1]:
        if choice.subpixels:
            yield from _part_lines(part)
        for step, phi in enumerate(phi_deg):
            for domain in range(domains) if choice.mosaic is None else (choice.mosaic,):
                yield Line("phi_step", (step,))
                yield Line("phi_deg", (phi,))
                yield Line("mosaic_domain", (domain,))
                yield from _orientation_lines(part.terms, step * domains + domain)


def _part_lines(part: _Part) -> Iterator[Line]:
    yield Line("layer", (part.layer,))
    yield Line("subpixel", part.subpixel)
    yield Line("source", (part.source,))
    yield Line("source_weight", (part.weight,))
    for name, value in zip(("omega", "polar", "capture", "resolved"), part.factors, strict=True):
        yield Line(f"subpixel_{name}", (value,))
    yield Line("subpixel_sum", (part.intensity,))


def _orientation_lines(terms: dict[str, Tensor], number: int) -> Iterator[Line]:
    yield _line("hkl_frac", terms["h"][:, number])
    yield Line("hkl_rounded", tuple(int(index) for index in terms["h0"][:, number]))
    if "F_axes" in terms:
        for name, value in zip("abc", terms["F_axes"][:, number], strict=True):
            yield _line(f"F_latt_{name}", value)
    yield _line("F_latt", terms["F_latt"][number])
    yield _line("F_cell", terms["F_cell"][number])
    yield _line("term", terms["term"][number])


def _scaling(place: _Place, parts: Sequence[_Part], photons: float, frame: int, source: int) -> Iterator[Line]:
    scene, sampling = place.scene, place.scene.experiment.sampling
    direction, _ = directions(place.position(place.instrument.first_ray(0)))
    _, polar, capture = _mean_factors(parts)
    yield Line("I_before_scaling", (sum(part.intensity for part in parts),))
    yield Line("r_e_sqr", (CLASSICAL_RADIUS_SQUARED_M2,))
    yield Line("fluence_photons_per_m2", (place.instrument.fluence_per_m2,))
    if not scene.experiment.beam.steady:
        yield Line("fluence_factor", (fluence_factor(scene.experiment, frame, scene.sample),))
    yield Line("steps", (scene.steps,))
    yield Line("oversample_thick", (int(sampling.oversample_thick),))
    yield Line("oversample_polar", (int(sampling.oversample_polar),))
    yield Line("oversample_omega", (int(sampling.oversample_omega),))
    yield Line("capture_fraction", (capture,))
    yield Line("polar", (polar,))
    yield _line("cos_2theta", direction[:, 0] @ place.tensors.sources[source][0])
    if place.instrument.transmissions[place.tile.panel] is not None:
        yield Line("transmission", (place.transmission,))
    if place.renderer.scatters_diffusely:
        yield Line("I_diffuse", (place.renderer.diffuse(place.tile, frame).item(),))
    if place.renderer.has_background:
        yield Line("I_background", (place.renderer.background(place.tile, frame).item(),))
    yield Line("I_pixel_final", (photons,))


def _line(key: str, value: Tensor) -> Line:
    return Line(key, tuple(float(number) for number in value.reshape(-1).cpu()))


def _notes(
    place: _Place,
    reflections: Sequence[Reflections],
    parts: Sequence[_Part],
    partial: float,
    frame: int,
    choice: Choice,
) -> Iterator[str]:
    scene, instrument, detector = place.scene, place.instrument, place.scene.experiment.detector
    sampling, side = scene.experiment.sampling, instrument.oversample
    lattices = scene.specimen.lattices
    panel, pixel = instrument.panels[place.tile.panel], (place.tile.slow_start, place.tile.fast_start)
    if not panel.usable[pixel]:
        slow0, slow1, fast0, fast1 = panel.region
        inside = slow0 <= pixel[0] < slow1 and fast0 <= pixel[1] < fast1
        where = "is masked" if inside else "lies outside the region of interest"
        photons = partial * place.renderer.photons_per_unit(frame)
        yield f"the pixel {where}: the image holds 0; its diffraction alone would be {photons:.15g} photons"
    yield from _missing(place, reflections[choice.lattice], parts, choice)
    if any(part.factors[3] == 0 for part in parts):
        beyond = sum(part.factors[3] == 0 for part in parts)
        yield f"{beyond} of {len(parts)} samples lie beyond d_min_A = {sampling.d_min_A:g} and add nothing"
    if side > 1:
        listed = "" if choice.subpixels else "; the geometry and the terms listed are the first one's"
        yield f"{side} x {side} subpixels make up the pixel{listed}"
    if panel.layers > 1:
        yield f"{panel.layers} sensor layers add up; capture_fraction is their mean, weighted by their intensity"
    on = [name for name in ("omega", "polar", "thick") if getattr(sampling, f"oversample_{name}")]
    if on and len(parts) > len(lattices):
        yield f"{' and '.join(on)}: worked out for every term; the mean stands in the chain, weighted by intensity"
    if len(instrument.sources) > 1:
        yield f"{len(instrument.sources)} sources add up; the geometry and the terms listed are source {choice.source}'s"
    if len(lattices) > 1:
        shares = ", ".join(
            f"{sum(part.intensity for part in parts if part.lattice == n):.6g}" for n in range(len(lattices))
        )
        yield f"{len(lattices)} lattices add up ({shares} of I_before_scaling); the terms listed are lattice {choice.lattice}'s"
    if detector.curved:
        yield "the detector is curved: every pixel at the same distance, its offsets from the beam along fast and slow laid along arcs"
    if detector.point_pixels:
        yield "point pixels: omega_pixel is 1/airpath^2, without area and obliquity"
    if scene.experiment.scan.phi_zero_carryover:
        yield "phi_zero_carryover: a step at phi == 0 keeps the orientation of the step before it, as in nanoBragg.c"


def _missing(place: _Place, reflections: Reflections, parts: Sequence[_Part], choice: Choice) -> Iterator[str]:
    table, lattice = place.renderer.tables[choice.lattice], place.scene.specimen.lattices[choice.lattice]
    if table.uniform:
        return
    if lattice.interpolate:
        yield "F_cell is interpolated between reflections"
        return
    seen = [part for part in parts if (part.source, part.lattice) == (choice.source, choice.lattice)]
    near = np.unique(np.concatenate([part.terms["h0"].numpy().T for part in seen]).astype(np.int64), axis=0)
    listed = set(map(tuple, reflections.indices[np.isin(reflections.indices[:, 0], near[:, 0])].tolist()))
    missing = [index for index in map(tuple, near.tolist()) if index not in listed]
    if missing:
        shown = ", ".join(" ".join(map(str, index)) for index in missing[:3]) + (", ..." if len(missing) > 3 else "")
        yield f"reflections that are not listed ({shown}): F_cell is default_F = {reflections.default_F:g}"
