"""From a piece of the detector and a range of phi steps to its partial intensity, and from summed partials to photons.

A partial intensity is additive and never normalised: `steps` is the whole experiment's and is divided out once, by `photons`.

The detector is worked through in blocks on a fixed grid, each with its own reference scattering vector, and phi steps in fixed
groups, each with its own reference orientation (see `orientation_sum`). Neither grid depends on how the work was cut into tiles and
chunks, so neither do the numbers, beyond the order of the last float64 additions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbdist.experiment.geometry import PanelGeometry
from nbdist.experiment.resolved import ResolvedExperiment
from nbdist.physics.amplitudes import AmplitudeTable
from nbdist.physics.factors import FactorChoice, SensorNumbers, pixel_factors
from nbdist.physics.kernels import KernelMode, Kernels
from nbdist.physics.orientation_sum import Variant, orientation_part
from nbdist.physics.pixels import PanelVectors, directions, positions, scattering_vectors

CLASSICAL_RADIUS_SQUARED_M2 = 7.94079248018965e-30
"""Square of the classical electron radius, the value nanoBragg uses."""
AVOGADRO = 6.02214179e23
WATER_F, WATER_G_PER_MOL, WATER_G_PER_M3 = 2.57, 18.0, 1e6

BLOCK_PIXELS = {"cpu": 128, "cuda": 1024}
"""Side of the fixed blocks: small enough for a core's cache, large enough to fill a GPU."""
GROUP_DEG = 1.0
"""Phi that one reference orientation stands for."""
KEPT_FACTORS_BYTES = 256 * 2**20
VECTOR_LANES = 16
"""Blocks are padded to whole vectors, so that no pixel is computed by the scalar remainder of a loop (other last bits)."""

Box = tuple[int, int, int, int]
"""slow start, slow stop, fast start, fast stop: pixels of the whole image."""


class Block(NamedTuple):
    """Pixel coordinates of a block on its panel (which starts at image row `panel`; padded, float64), and its place in the box."""

    panel: int
    slow: Tensor
    fast: Tensor
    middle: tuple[float, float]
    target: tuple[slice, slice]
    shape: tuple[int, int]


class Factors(NamedTuple):
    """What multiplies an orientation sum, (P,) each: solid angle (sr), polarization, capture fraction, 1 within the resolution."""

    omega: Tensor
    polar: Tensor
    capture: Tensor
    resolved: Tensor

    @property
    def product(self) -> Tensor:
        """All of them."""
        return self.omega * self.polar * self.capture * self.resolved


class Renderer:
    """One experiment on one device: everything that does not change from frame to frame is prepared once.

    Parameters
    ----------
    resolved
        The experiment's numbers.
    table
        Its amplitudes.
    device
        Where to compute.
    mode
        "compiled" or "eager".
    """

    def __init__(
        self,
        resolved: ResolvedExperiment,
        table: AmplitudeTable,
        device: torch.device | str = "cpu",
        mode: KernelMode = "compiled",
    ) -> None:
        experiment = resolved.experiment
        detector, sampling, sensor = experiment.detector, experiment.sampling, experiment.detector.sensor
        self.resolved = resolved
        self.device = torch.device(device)
        self.kernels = Kernels(mode)
        self.dtype = torch.float64 if sampling.precision == "float64" else torch.float32
        self.table = table.to(self.device, self.dtype)
        uniform = table.values.size == 1
        self.variant = Variant(
            experiment.crystal.shape, resolved.interpolate and not uniform, uniform, detector.curved, self.dtype
        )
        self.choice = FactorChoice(
            curved=detector.curved,
            point_pixels=detector.point_pixels,
            polarized=experiment.beam.polarization_factor is not None,
            absorbing=sensor is not None and sensor.attenuation_depth_um is not None,
            limited=sampling.d_min_A is not None,
        )
        self._every_term = (
            sampling.oversample_omega or sampling.oversample_polar or sampling.oversample_thick or self.choice.limited
        )
        self._kept_factors: dict[tuple[float, ...], list[Factors]] = {}
        self._room: Tensor | None = None
        self._kept = 0
        self.panels = [self._panel_vectors(panel) for panel in resolved.panels]
        self.cells = self._tensor(resolved.N_cells).to(self.dtype)
        self.fudge = self._tensor(experiment.crystal.fudge).to(self.dtype)
        self.layers = resolved.sensor_layers
        self.layer_thickness_m = 0.0 if sensor is None else 1e-6 * sensor.thickness_um / sensor.layers
        attenuation = 1e6 / sensor.attenuation_depth_um if sensor and sensor.attenuation_depth_um else 0.0
        self.sensor = SensorNumbers(
            polarization_vector=self._tensor(resolved.polarization_vector),
            kahn_factor=self._tensor(experiment.beam.polarization_factor or 0.0),
            layer=self._tensor(0.0),
            layer_thickness=self._tensor(self.layer_thickness_m),
            attenuation=self._tensor(attenuation),
            d_min=self._tensor(sampling.d_min_A or 0.0),
        )
        self.sources = [
            (self._tensor(direction), self._tensor(wavelength))
            for direction, wavelength in zip(resolved.sources.directions, resolved.sources.wavelengths_A, strict=True)
        ]

    def _tensor(self, value: object) -> Tensor:
        return torch.as_tensor(np.asarray(value, dtype=np.float64), device=self.device)

    def _panel_vectors(self, panel: PanelGeometry) -> PanelVectors:
        numbers = (
            panel.origin_m,
            panel.fast,
            panel.slow,
            panel.normal,
            self.resolved.beam_direction,
            panel.pixel_m,
            panel.close_distance_m,
            panel.distance_m,
        )
        return PanelVectors(*(self._tensor(number) for number in numbers))

    # ---- partial intensities

    def partial(self, box: Box, frame: int, first_step: int = 0, last_step: int | None = None) -> Tensor:
        """Un-normalised partial intensity of a box over phi steps [first_step, last_step) of a frame.

        Returns
        -------
        float64 (slow, fast) on the renderer's device: the sum over subpixels, layers, sources, phi steps and mosaic domains of
        w omega polar capture F_cell^2 F_latt^2.
        """
        last_step = self.resolved.experiment.scan.phi_steps if last_step is None else last_step
        groups = list(self.orientation_groups(frame, first_step, last_step))
        total = torch.zeros(box[1] - box[0], box[3] - box[2], dtype=torch.float64, device=self.device)
        for panel, vectors, block in self.blocks(box):
            values = self._block_partial(panel, vectors, block, groups)
            total[block.target] = self._unpadded(values, block)
        return total

    def orientation_groups(self, frame: int, first_step: int, last_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (orientations (M, 3, 3), reference (3, 3)) of the fixed groups that the range of steps touches."""
        scan = self.resolved.experiment.scan
        width = abs(scan.osc_range_deg) / scan.phi_steps
        size = scan.phi_steps if width == 0 else max(1, min(scan.phi_steps, int(GROUP_DEG / width)))
        turned = self.resolved.real_vectors_A @ self.resolved.phi_rotations(frame).transpose(0, 2, 1)
        for start in range(first_step // size * size, last_step, size):
            stop = min(start + size, scan.phi_steps)
            reference = turned[(start + stop - 1) // 2]
            steps = turned[max(start, first_step) : min(stop, last_step)]
            real = steps[:, None] @ self.resolved.mosaic.transpose(0, 2, 1)[None]
            yield self._tensor(real.reshape(-1, 3, 3)), self._tensor(reference)

    def _block_partial(
        self, panel: PanelGeometry, vectors: PanelVectors, block: Block, groups: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        total = torch.zeros_like(block.slow)
        middle_slow, middle_fast = self._tensor([block.middle[0]]), self._tensor([block.middle[1]])
        for layer, (slow, fast), factors_of_source in self.samples(vectors, block):
            depth = self._tensor(layer * self.layer_thickness_m)
            for number, source in enumerate(self.sources):
                weight = self.resolved.sources.weights[number]
                if weight == 0:
                    continue
                towards, _ = directions(positions(middle_slow, middle_fast, depth, vectors, self.choice.curved))
                q_reference = scattering_vectors(towards, *source)[:, 0]
                summed: Tensor | None = None
                for real, reference in groups:
                    pixels = self.kernels.pixel_part(
                        (slow, fast, depth), vectors, source, q_reference, reference, self.variant
                    )
                    orientations = orientation_part(real, reference, q_reference, self.dtype)
                    part = self.kernels.orientation_sum(
                        pixels, orientations, self.cells, self.fudge, self.table, self.variant
                    )
                    summed = part if summed is None else summed + part
                assert summed is not None
                total += summed * (factors_of_source(number).product * weight)
        return total

    def samples(
        self, vectors: PanelVectors, block: Block
    ) -> Iterator[tuple[int, tuple[Tensor, Tensor], Callable[[int], Factors]]]:
        """Yield every (layer, subpixel coordinates, factors by source) of a block.

        A factor that is not oversampled is the first subpixel's (and first layer's and source's), and stands for the whole pixel.
        """
        whole_pixel = self._whole_pixel_factors(vectors, block)
        factors_of = self._term_factors if self._every_term else _same_for_every_term
        for layer in range(self.layers):
            for s in range(self.resolved.oversample):
                for f in range(self.resolved.oversample):
                    here = _subpixel(block, s, f, self.resolved.oversample)
                    yield layer, here, partial(factors_of, whole_pixel[layer], vectors, layer, here)

    def _term_factors(
        self, whole_pixel: Factors, vectors: PanelVectors, layer: int, here: tuple[Tensor, Tensor], source: int
    ) -> Factors:
        """The factors of one subpixel, layer and source, where some are evaluated for every term."""
        sampling = self.resolved.experiment.sampling
        own = self._factors(here, vectors, layer, source)
        return Factors(
            own.omega if sampling.oversample_omega else whole_pixel.omega,
            own.polar if sampling.oversample_polar else whole_pixel.polar,
            own.capture if sampling.oversample_thick else whole_pixel.capture,
            own.resolved,
        )

    def _whole_pixel_factors(self, vectors: PanelVectors, block: Block) -> list[Factors]:
        """The factors of every layer at the first subpixel: solid angle and polarization are the first layer's.

        The detector does not move, so they are worked out once and kept while they are few.
        """
        key = (block.panel, float(block.slow[0]), float(block.fast[0]), *block.shape)
        if key in self._kept_factors:
            return self._kept_factors[key]
        first = _subpixel(block, 0, 0, self.resolved.oversample)
        layers = [self._factors(first, vectors, layer, 0, compiled=False) for layer in range(self.layers)]
        one = torch.ones((), dtype=torch.float64, device=self.device).expand_as(block.slow)
        rows = [layers[0].omega]
        rows += [layers[0].polar] if self.choice.polarized else []
        rows += [layer.capture for layer in layers] if self.choice.absorbing else []
        kept = self._keep(rows)
        omega, rest = (kept or rows)[0], (kept or rows)[1:]
        polar = rest.pop(0) if self.choice.polarized else one
        factors = [Factors(omega, polar, rest[layer] if rest else one, one) for layer in range(self.layers)]
        if kept:
            self._kept_factors[key] = factors
        return factors

    def _keep(self, rows: list[Tensor]) -> list[Tensor]:
        """Copy rows (P,) into the room for what stays, and return them there; nothing where there is no room.

        One room for all: many small tensors that stay would leave holes between the many that go.
        """
        if self._room is None:
            self._room = torch.empty(KEPT_FACTORS_BYTES // 8, dtype=torch.float64, device=self.device)
        size = rows[0].numel()
        if self._kept + size * len(rows) > self._room.numel():
            return []
        places = [self._room[self._kept + n * size :][:size].copy_(row) for n, row in enumerate(rows)]
        self._kept += size * len(rows)
        return places

    def _factors(
        self, coordinates: tuple[Tensor, Tensor], vectors: PanelVectors, layer: int, source: int, compiled: bool = True
    ) -> Factors:
        sensor = self.sensor._replace(layer=self._tensor(float(layer)))
        if compiled:
            return Factors(*self.kernels.pixel_factors(coordinates, vectors, self.sources[source], sensor, self.choice))
        return Factors(*pixel_factors(*coordinates, vectors, *self.sources[source], sensor, self.choice))

    # ---- photons

    def photons(self, partial: Tensor, box: Box) -> Tensor:
        """Expected photons a pixel, float64 (slow, fast), from the sum of all partials of a box.

        Divides once by the experiment's steps, adds the background, and sets dead pixels to 0.
        """
        fluence = self.resolved.experiment.beam.fluence
        image = partial * (CLASSICAL_RADIUS_SQUARED_M2 * fluence / self.resolved.steps)
        if self.resolved.experiment.background.water_um > 0:
            image = image + self.background(box)
        usable = self.resolved.usable[box[0] : box[1], box[2] : box[3]]
        return image if usable.all() else torch.where(torch.as_tensor(usable, device=self.device), image, 0.0)

    def background(self, box: Box) -> Tensor:
        """Photons a pixel scattered by the water, float64 (slow, fast); not divided by steps."""
        size_m = 1e-6 * self.resolved.experiment.background.water_um
        molecules = size_m**3 * WATER_G_PER_M3 * AVOGADRO / WATER_G_PER_MOL
        scale = WATER_F**2 * CLASSICAL_RADIUS_SQUARED_M2 * self.resolved.experiment.beam.fluence * molecules
        sampling = self.resolved.experiment.sampling
        oversample = self.resolved.oversample if sampling.oversample_omega or sampling.oversample_polar else 1
        sources = range(len(self.sources)) if sampling.oversample_polar else range(1)
        total = torch.zeros(box[1] - box[0], box[3] - box[2], dtype=torch.float64, device=self.device)
        for _, vectors, block in self.blocks(box):
            fixed = self._whole_pixel_factors(vectors, block)[0]
            values = torch.zeros_like(block.slow)
            for s in range(oversample):
                for f in range(oversample):
                    here = _subpixel(block, s, f, self.resolved.oversample)
                    for source in sources:
                        own = self._factors(here, vectors, 0, source) if self._every_term else fixed
                        omega = own.omega if sampling.oversample_omega else fixed.omega
                        polar = own.polar if sampling.oversample_polar else fixed.polar
                        values += omega * polar
            total[block.target] = self._unpadded(values / (oversample**2 * len(sources)), block)
        return total * scale

    def frame(self, frame: int, box: Box | None = None) -> NDArray[np.float64]:
        """Expected photons of a box (default: the whole image) of a frame, float64 ndarray (slow, fast)."""
        box = box or (0, self.resolved.usable.shape[0], 0, self.resolved.usable.shape[1])
        return np.asarray(self.photons(self.partial(box, frame), box).cpu().numpy())

    # ---- blocks

    def blocks(self, box: Box) -> Iterator[tuple[PanelGeometry, PanelVectors, Block]]:
        """Cut a box along the fixed grid of each panel."""
        side = BLOCK_PIXELS.get(self.device.type, BLOCK_PIXELS["cuda"])
        for panel, vectors in zip(self.resolved.panels, self.panels, strict=True):
            top = panel.first_row
            rows = (max(box[0] - top, 0), min(box[1] - top, panel.spixels))
            if rows[0] >= rows[1]:
                continue
            for slow0, slow1, slow_middle in _grid(*rows, side, panel.spixels):
                for fast0, fast1, fast_middle in _grid(box[2], box[3], side, panel.fpixels):
                    target = (slice(slow0 + top - box[0], slow1 + top - box[0]), slice(fast0 - box[2], fast1 - box[2]))
                    shape = (slow1 - slow0, fast1 - fast0)
                    count = shape[0] * shape[1]
                    index = torch.arange(-(-count // VECTOR_LANES) * VECTOR_LANES, device=self.device)
                    index = index.clamp_max(count - 1)
                    slow = (index // shape[1] + slow0).to(torch.float64)
                    fast = (index % shape[1] + fast0).to(torch.float64)
                    yield panel, vectors, Block(top, slow, fast, (slow_middle, fast_middle), target, shape)

    @staticmethod
    def _unpadded(values: Tensor, block: Block) -> Tensor:
        return values[: block.shape[0] * block.shape[1]].reshape(block.shape)


def _grid(start: int, stop: int, side: int, size: int) -> Iterator[tuple[int, int, float]]:
    """Yield (start, stop, middle of the whole grid cell) of the pieces of [start, stop) on a grid of `side` over `size` pixels."""
    for low in range(start // side * side, stop, side):
        high = min(low + side, size)
        yield max(low, start), min(high, stop), (low + high) / 2


def _same_for_every_term(whole_pixel: Factors, *place: object) -> Factors:
    """Factors that stand for every subpixel and source of a pixel."""
    return whole_pixel


def _subpixel(block: Block, s: int, f: int, oversample: int) -> tuple[Tensor, Tensor]:
    """Coordinates of subpixel (s, f) of every pixel of a block."""
    return block.slow + (s + 0.5) / oversample, block.fast + (f + 0.5) / oversample
