"""From a piece of the detector and a range of phi steps to its partial intensity, and from summed partials to photons.

A partial intensity is additive and never normalised: `steps` is the whole experiment's and is divided out once, by `photons`.

The detector is worked through in blocks on a fixed grid, each with its own reference scattering vector, and phi steps in fixed
groups, each with its own reference orientation (see `orientation_sum`). Neither grid depends on how the work was cut into tiles and
chunks, so neither do the numbers, beyond the order of the last float64 additions.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbdist.kernels.native.backend import NativeEngine
from nbdist.kernels.native.build import BuildError
from nbdist.kernels.reference.factors import Factor
from nbdist.kernels.torch_backend import TorchEngine
from nbdist.kernels.torch_scene import Area, Orientations, Sample, Scene
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.resolve import ResolvedExperiment

logger = logging.getLogger(__name__)

CLASSICAL_RADIUS_SQUARED_M2 = 7.94079248018965e-30
"""Square of the classical electron radius, the value nanoBragg uses."""
AVOGADRO = 6.02214179e23
WATER_F, WATER_G_PER_MOL, WATER_G_PER_M3 = 2.57, 18.0, 1e6
KEPT_FACTORS_BYTES = 256 * 2**20
"""What a renderer keeps of the detector from frame to frame, at most."""

KernelMode = Literal["compiled", "eager"]
Box = tuple[int, int, int, int]
"""slow start, slow stop, fast start, fast stop: pixels of the whole image."""


class Engine(Protocol):
    """What computes: `TorchEngine` on any device, `NativeEngine` on a CPU."""

    @property
    def mode(self) -> str:
        """compiled or eager."""

    @property
    def compiler(self) -> str:
        """What made the code that computes, with its version: the C++ compiler, or torch."""

    @property
    def processor(self) -> str:
        """What it runs on."""

    def factors(self, area: Area, sample: Sample, which: Factor, source: int = 0) -> Tensor:
        """Product of the factors asked for, float64 (rows, columns)."""

    def partial(self, out: Tensor, scale: Sequence[Tensor], area: Area, groups: Sequence[Orientations]) -> None:
        """Write the un-normalised partial intensity, all samples, sources and orientations, to `out` (rows, columns).

        `scale` (rows, columns) multiplies the terms of each layer.
        """


def make_engine(scene: Scene, mode: KernelMode) -> Engine:
    """The fastest engine for a scene; where the kernel cannot be compiled that is said once, and torch runs eagerly."""
    if mode == "compiled" and scene.device.type == "cpu":
        try:
            return NativeEngine(scene)
        except BuildError as error:
            logger.warning("the kernel cannot be compiled here (%s); going on without it, several times slower", error)
            return TorchEngine(scene, compiled=False, why_eager=str(error))
    return TorchEngine(scene, mode == "compiled")


class Renderer:
    """One experiment on one device: everything that does not change from frame to frame is prepared once.

    Parameters
    ----------
    resolved
        The experiment's numbers.
    reflections
        Its amplitudes; they become one table in the experiment's precision, and are not kept.
    device
        Where to compute.
    mode
        "compiled" or "eager".
    """

    def __init__(
        self,
        resolved: ResolvedExperiment,
        reflections: Reflections,
        device: torch.device | str = "cpu",
        mode: KernelMode = "compiled",
    ) -> None:
        self.resolved = resolved
        self.scene = Scene(resolved, reflections, device)
        self.device = self.scene.device
        self.engine = make_engine(self.scene, mode)
        self._kept_factors: dict[Area, list[Tensor]] = {}
        self._kept_bytes = 0
        self._keeping = threading.Lock()

    # ---- partial intensities

    def partial(self, box: Box, frame: int, first_step: int = 0, last_step: int | None = None) -> Tensor:
        """Un-normalised partial intensity of a box over phi steps [first_step, last_step) of a frame.

        Returns
        -------
        float64 (slow, fast) on the renderer's device: the sum over subpixels, layers, sources, phi steps and mosaic domains of
        w omega polar capture F_cell^2 F_latt^2.
        """
        last_step = self.resolved.phi_steps if last_step is None else last_step
        groups = list(self.scene.orientation_groups(frame, first_step, last_step))
        total = torch.empty(box[1] - box[0], box[3] - box[2], dtype=torch.float64, device=self.device)
        for area, rows in self._areas(box):  # they cover the box
            self.engine.partial(total[rows], self._whole_pixel_factors(area), area, groups)
        return total

    def _areas(self, box: Box) -> Iterator[tuple[Area, slice]]:
        """The part of each panel in a box, and its rows in the box."""
        for number, panel in enumerate(self.resolved.panels):
            top = panel.first_row
            first, last = max(box[0] - top, 0), min(box[1] - top, panel.spixels)
            if first < last:
                yield Area(number, first, last, box[2], box[3]), slice(first + top - box[0], last + top - box[0])

    def _whole_pixel_factors(self, area: Area) -> list[Tensor]:
        """Product of the factors that stand for whole pixels, (rows, columns) for every layer.

        They are taken at the first subpixel of each layer, solid angle and polarization of the first layer. The detector does not
        move: they are worked out once and kept while they are few.
        """
        kept = self._kept_factors.get(area)
        if kept is not None:
            return kept
        scene, which = self.scene, self.scene.whole_pixel
        fixed = self.engine.factors(area, scene.first_subpixel(0), which & ~Factor.CAPTURE)
        if which & Factor.CAPTURE:
            layers = [
                fixed * self.engine.factors(area, scene.first_subpixel(layer), Factor.CAPTURE)
                for layer in range(scene.layers)
            ]
        else:
            layers = [fixed] * scene.layers
        size = 8 * fixed.numel() * (scene.layers if which & Factor.CAPTURE else 1)
        with self._keeping:  # threads of a worker share the renderer
            if area not in self._kept_factors and self._kept_bytes + size <= KEPT_FACTORS_BYTES:
                self._kept_bytes += size
                self._kept_factors[area] = layers
        return layers

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
        fixed = self.scene.whole_pixel & (Factor.OMEGA | Factor.POLAR)
        varying = self.scene.every_term & (Factor.OMEGA | Factor.POLAR)
        samples = [s for s in self.scene.samples() if s.layer == 0] if varying else [self.scene.first_subpixel(0)]
        sources = range(len(self.scene.sources)) if varying & Factor.POLAR else range(1)
        total = torch.zeros(box[1] - box[0], box[3] - box[2], dtype=torch.float64, device=self.device)
        for area, rows in self._areas(box):
            values = total[rows]
            for sample in samples:
                for source in sources:
                    weight = self.resolved.sources.weights[source] if len(sources) > 1 else 1.0
                    values += weight * self.engine.factors(area, sample, varying, source)
            values *= self.engine.factors(area, self.scene.first_subpixel(0), fixed)
        return total * (scale / (len(samples) * len(sources)))

    def frame(self, frame: int, box: Box | None = None) -> NDArray[np.float64]:
        """Expected photons of a box (default: the whole image) of a frame, float64 ndarray (slow, fast)."""
        box = box or (0, self.resolved.usable.shape[0], 0, self.resolved.usable.shape[1])
        return np.asarray(self.photons(self.partial(box, frame), box).cpu().numpy())
