"""The scene: all numbers of an experiment, those of its instrument, of its specimen, and of the rotation of the one in the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment.lattice import axis_rotation
from nbdist.experiment.model import Experiment
from nbdist.experiment.sampling import Method
from nbdist.scene.instrument import Instrument
from nbdist.scene.specimen import Lattice, Orientations, Specimen

Array = NDArray[np.float64]

BEYOND_THE_DETECTOR = 0.97
"""Reflections are kept to this fraction of the finest spacing that the detector reaches: their tails may reach it."""
SPECTRUM_SIGMAS = 3
"""Of a normal spectrum, to which its reflections are kept."""
GROUP_DEG = 1.0
"""Phi that one reference orientation stands for."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The numbers of an experiment.

    Attributes
    ----------
    experiment
        What was resolved.
    instrument, specimen
        What stays the same from crystal to crystal, and what changes.
    spindle_axis
        Unit vector (3,).
    phi_steps
        Orientations that stand for one frame's oscillation; 1 where it is integrated.
    finest_A
        Resolution that the detector reaches within `sampling.d_min_A` at the beam's wavelength, Angstrom; `reach` says how much finer
        that is which others bring onto it.
    sample
        Number of the sample in its data set, which decides random numbers; 0 of a series.
    """

    experiment: Experiment
    instrument: Instrument
    specimen: Specimen
    spindle_axis: Array
    phi_steps: int
    finest_A: float
    sample: int = 0

    @property
    def method(self) -> Method:
        """How a pixel gets its photons: "sum", or "integrated"."""
        return self.experiment.sampling.method

    @property
    def steps(self) -> int:
        """The divisor of the whole experiment, never a part's: sources x phi steps x mosaic domains x oversample^2.

        Integrated, all but the sources are means, which have no divisor.
        """
        if self.method == "integrated":
            return len(self.instrument.sources)
        return len(self.instrument.sources) * self.phi_steps * self.specimen.domains * self.instrument.oversample**2

    @property
    def orientations_per_frame(self) -> int:
        """Phi steps x mosaic domains of all lattices."""
        return self.phi_steps * self.specimen.all_domains

    @property
    def shortest(self) -> float:
        """The shortest wavelength that the sources have, over the beam's; 1 where none is shorter than that."""
        sources = self.instrument.sources
        shortest_A = float(sources.wavelengths_A[sources.weights > 0].min())
        return min(1.0, shortest_A / self.experiment.beam.mean_wavelength_A)

    @property
    def reach(self) -> float:
        """Fraction of `finest_A` to which reflections may reach the detector: by their tails, and by the shortest wavelengths."""
        spread = self.instrument.bandwidth_sigma if self.method == "integrated" else 0.0  # else it is among the sources
        return self.shortest * min(BEYOND_THE_DETECTOR, 1 - SPECTRUM_SIGMAS * spread)

    @property
    def kept_A(self) -> float:
        """Spacing to which reflections are kept, Angstrom: to `reach`, but not far beyond `sampling.d_min_A`."""
        return max(self.reach * self.finest_A, BEYOND_THE_DETECTOR * (self.instrument.d_min_A or 0.0))

    @property
    def rocking_width_deg(self) -> float:
        """Rotation over which a reflection at the finest resolution crosses the Ewald sphere at the least, full width at half maximum."""
        return min(lattice.rocking_width_deg for lattice in self.specimen.lattices)

    def phi_deg(self, frame: int) -> list[float]:
        """Phi of every step of `frame`, degrees."""
        return self.experiment.scan.phi_deg(frame, self.phi_steps)

    def phi_rotations(self, frame: int) -> Array:
        """Spindle rotation of every phi step of `frame`, (n, 3, 3)."""
        steps = self.phi_deg(frame)
        rotations = np.empty((len(steps), 3, 3))
        for rotation, phi in zip(rotations, steps, strict=True):
            rotation[...] = axis_rotation(self.spindle_axis, np.deg2rad(phi))
        return rotations

    def orientation_groups(
        self, lattice: Lattice, frame: int, first_step: int = 0, last_step: int | None = None
    ) -> Iterator[Orientations]:
        """Yield the orientations of the fixed groups that a range of phi steps touches."""
        last_step = self.phi_steps if last_step is None else last_step
        osc_deg = abs(self.experiment.scan.osc_range_deg)
        size = self.phi_steps if osc_deg <= GROUP_DEG else max(1, int(GROUP_DEG * self.phi_steps / osc_deg))
        rotations = self.phi_rotations(frame)
        for start in range(first_step // size * size, last_step, size):
            stop = min(start + size, self.phi_steps)
            reference = lattice.real_vectors_A @ rotations[(start + stop - 1) // 2].T
            first = max(start, first_step)
            real = lattice.orientations_A(rotations[first : min(stop, last_step)], first)
            yield Orientations(np.ascontiguousarray(real.reshape(-1, 3, 3)), reference)

    def frame_orientations_A(self, frame: int) -> Array:
        """Real-space rows a, b, c of each lattice (lattices, 3, 3) at the middle of `frame`, Angstrom, without mosaicity."""
        scan = self.experiment.scan
        middle = axis_rotation(self.spindle_axis, np.deg2rad(scan.frame_start_deg(frame) + scan.osc_range_deg / 2))
        return np.stack([lattice.real_vectors_A @ middle.T for lattice in self.specimen.lattices])
