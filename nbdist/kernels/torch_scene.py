"""An experiment as tensors on one device: what does not change from frame to frame, and the orientations of a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nbdist.kernels.reference.amplitudes import on_device
from nbdist.kernels.reference.factors import Factor, FactorChoice, SensorNumbers
from nbdist.kernels.reference.orientation_sum import Variant
from nbdist.kernels.reference.pixels import PanelVectors
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.resolve import ResolvedExperiment

GROUP_DEG = 1.0
"""Phi that one reference orientation stands for."""


class Area(NamedTuple):
    """Pixels of one panel: rows and columns counted on the panel."""

    panel: int
    first_row: int
    last_row: int
    first_column: int
    last_column: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.last_row - self.first_row, self.last_column - self.first_column


class Sample(NamedTuple):
    """One subpixel of every pixel in one layer of the sensor; the shifts are fractions of a pixel."""

    layer: int
    slow_shift: float
    fast_shift: float


class Orientations(NamedTuple):
    """Consecutive phi steps with all their mosaic domains: rows a, b, c (M, 3, 3) of each, and of their reference (3, 3), Angstrom."""

    real: Tensor
    reference: Tensor


class Beams(Sequence[tuple[Tensor, Tensor]]):
    """Sources on the device: of each its unit vector (3,) and its wavelength in Angstrom (), as views made when they are asked for."""

    def __init__(self, directions: Tensor, wavelengths_A: Tensor) -> None:
        self._directions, self._wavelengths_A = directions, wavelengths_A

    def __len__(self) -> int:
        return len(self._wavelengths_A)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self._directions[number], self._wavelengths_A[number]


class Scene:
    """One experiment on one device.

    Parameters
    ----------
    resolved
        The experiment's numbers.
    reflections
        Its amplitudes.
    device
        Where to compute.

    Attributes
    ----------
    whole_pixel, every_term
        The factors that are evaluated once for a pixel, and for every subpixel, layer and source.
    table, lowest_index, table_shape
        The amplitudes on the device in the kernel's dtype, the only ones that are kept; the Miller indices of their lowest corner, and
        how many there are along each.
    """

    def __init__(
        self, resolved: ResolvedExperiment, reflections: Reflections, device: torch.device | str = "cpu"
    ) -> None:
        experiment = resolved.experiment
        detector, sampling, sensor = experiment.detector, experiment.sampling, experiment.detector.sensor
        self.resolved = resolved
        self.device = torch.device(device)
        self.dtype = torch.float64 if sampling.precision == "float64" else torch.float32
        table = AmplitudeTable.of(reflections, sampling.precision)
        self.table = on_device(table, self.device, self.dtype)
        self.lowest_index, self.table_shape = table.lowest, table.values.shape
        uniform = table.values.size == 1
        self.variant = Variant(
            experiment.crystal.shape, resolved.interpolate and not uniform, uniform, detector.curved, self.dtype
        )
        applicable = Factor.OMEGA
        oversampled = Factor.OMEGA if sampling.oversample_omega else Factor(0)
        if experiment.beam.polarization_factor is not None:
            applicable |= Factor.POLAR
            oversampled |= Factor.POLAR if sampling.oversample_polar else Factor(0)
        if sensor is not None and sensor.attenuation_depth_um is not None:
            applicable |= Factor.CAPTURE
            oversampled |= Factor.CAPTURE if sampling.oversample_thick else Factor(0)
        self.whole_pixel = applicable & ~oversampled
        self.every_term = oversampled | (Factor.LIMIT if sampling.d_min_A is not None else Factor(0))
        self.panels = [self._panel_vectors(panel) for panel in resolved.panels]
        self.cells = self.tensor(resolved.N_cells).to(self.dtype)
        self.fudge = self.tensor(experiment.crystal.fudge).to(self.dtype)
        self.layers = resolved.sensor_layers
        self.layer_thickness_m = 0.0 if sensor is None else 1e-6 * sensor.thickness_um / sensor.layers
        attenuation = 1e6 / sensor.attenuation_depth_um if sensor and sensor.attenuation_depth_um else 0.0
        self.sensors = [
            SensorNumbers(
                polarization_vector=self.tensor(resolved.polarization_vector),
                kahn_factor=self.tensor(experiment.beam.polarization_factor or 0.0),
                layer=self.tensor(float(layer)),
                layer_thickness=self.tensor(self.layer_thickness_m),
                attenuation=self.tensor(attenuation),
                d_min=self.tensor(sampling.d_min_A or 0.0),
            )
            for layer in range(self.layers)
        ]
        self.sources = Beams(self.tensor(resolved.sources.directions), self.tensor(resolved.sources.wavelengths_A))

    def tensor(self, value: object) -> Tensor:
        """Numbers as float64 on the device."""
        return torch.as_tensor(np.asarray(value, dtype=np.float64), device=self.device)

    def choice(self, factors: Factor) -> FactorChoice:
        """The factors to evaluate, on this detector."""
        detector = self.resolved.experiment.detector
        return FactorChoice(factors.value, detector.curved, detector.point_pixels)

    def depth(self, sample: Sample) -> Tensor:
        """Depth of a layer in the sensor, metres ()."""
        sensor = self.sensors[sample.layer]
        return sensor.layer * sensor.layer_thickness

    def samples(self) -> Iterator[Sample]:
        """Every layer's subpixels."""
        side = self.resolved.oversample
        for layer in range(self.layers):
            for slow in range(side):
                for fast in range(side):
                    yield Sample(layer, (slow + 0.5) / side, (fast + 0.5) / side)

    def first_subpixel(self, layer: int) -> Sample:
        """The sample of a layer that stands for whole pixels."""
        shift = 0.5 / self.resolved.oversample
        return Sample(layer, shift, shift)

    def orientation_groups(self, frame: int, first_step: int, last_step: int) -> Iterator[Orientations]:
        """Yield the orientations of the fixed groups that a range of phi steps touches."""
        scan = self.resolved.experiment.scan
        osc_deg = abs(scan.osc_range_deg)
        size = (
            self.resolved.phi_steps
            if osc_deg <= GROUP_DEG
            else max(1, int(GROUP_DEG * self.resolved.phi_steps / osc_deg))
        )
        turned = self.resolved.real_vectors_A @ self.resolved.phi_rotations(frame).transpose(0, 2, 1)
        for start in range(first_step // size * size, last_step, size):
            stop = min(start + size, self.resolved.phi_steps)
            reference = turned[(start + stop - 1) // 2]
            steps = turned[max(start, first_step) : min(stop, last_step)]
            real = steps[:, None] @ self.resolved.mosaic.transpose(0, 2, 1)[None]
            yield Orientations(self.tensor(real.reshape(-1, 3, 3)), self.tensor(reference))

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
        return PanelVectors(*(self.tensor(number) for number in numbers))
