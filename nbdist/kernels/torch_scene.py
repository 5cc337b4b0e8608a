"""An instrument and its lattices as tensors on one device: what the reference functions take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nbdist.kernels.reference.amplitudes import AmplitudeTensors, on_device
from nbdist.kernels.reference.factors import FactorChoice, SensorNumbers
from nbdist.kernels.reference.pixels import PanelVectors
from nbdist.kernels.variant import Variant, variant_of
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.instrument import Factor, Instrument, Ray
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.specimen import Lattice


class Beams(Sequence[tuple[Tensor, Tensor]]):
    """Sources on the device: of each its unit vector (3,) and its wavelength in Angstrom (), as views made when they are asked for."""

    def __init__(self, directions: Tensor, wavelengths_A: Tensor) -> None:
        self._directions, self._wavelengths_A = directions, wavelengths_A

    def __len__(self) -> int:
        return len(self._wavelengths_A)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self._directions[number], self._wavelengths_A[number]


@dataclass(frozen=True, eq=False)
class TorchLattice:
    """A lattice on the device: its variant, its cells as `shapes` wants them and the spot-size factor in the kernel's dtype, its tables."""

    lattice: Lattice
    variant: Variant
    cells: Tensor
    fudge: Tensor
    tables: Sequence[AmplitudeTensors]
    table: AmplitudeTable

    def of_source(self, source: int) -> AmplitudeTensors:
        """The table that a source sees."""
        return self.tables[self.table.of_source(source)]


class TorchInstrument:
    """An instrument on one device.

    Parameters
    ----------
    instrument
        Its numbers.
    device
        Where to compute.
    """

    def __init__(self, instrument: Instrument, device: torch.device | str = "cpu") -> None:
        self.instrument, self.device = instrument, torch.device(device)
        self.dtype = torch.float64 if instrument.precision == "float64" else torch.float32
        self.panels = [self._panel_vectors(panel) for panel in instrument.panels]
        self.sensors = [
            [
                SensorNumbers(
                    polarization_vector=self.tensor(instrument.polarization_vector),
                    kahn_factor=self.tensor(instrument.polarization_factor or 0.0),
                    layer=self.tensor(float(layer)),
                    layer_thickness=self.tensor(panel.layer_thickness_m),
                    attenuation=self.tensor(panel.attenuation_per_m),
                    d_min=self.tensor(instrument.d_min_A or 0.0),
                )
                for layer in range(panel.layers)
            ]
            for panel in instrument.panels
        ]
        self.sources = Beams(self.tensor(instrument.sources.directions), self.tensor(instrument.sources.wavelengths_A))

    def tensor(self, value: object) -> Tensor:
        """Numbers as float64 on the device."""
        return torch.as_tensor(np.asarray(value, dtype=np.float64), device=self.device)

    def lattice(self, lattice: Lattice, table: AmplitudeTable) -> TorchLattice:
        """A lattice with its amplitudes on the device."""
        cells = self.tensor(lattice.N_cells if lattice.size_A is None else lattice.shape_root).to(self.dtype)
        fudge = self.tensor(lattice.fudge).to(self.dtype)
        return TorchLattice(lattice, variant_of(lattice, table), cells, fudge, on_device(table, self.device), table)

    def choice(self, factors: Factor, panel: int) -> FactorChoice:
        """The factors to evaluate, on a panel."""
        return FactorChoice(factors.value, self.instrument.panels[panel].curved, self.instrument.point_pixels)

    def depth(self, panel: int, ray: Ray) -> Tensor:
        """Depth of a layer in a panel's sensor, metres ()."""
        sensor = self.sensors[panel][ray.layer]
        return sensor.layer * sensor.layer_thickness

    def _panel_vectors(self, panel: PanelGeometry) -> PanelVectors:
        numbers = (
            panel.origin_m,
            panel.fast,
            panel.slow,
            panel.normal,
            panel.beam,
            panel.pixel_m,
            panel.close_distance_m,
            panel.distance_m,
        )
        return PanelVectors(*(self.tensor(number) for number in numbers))
