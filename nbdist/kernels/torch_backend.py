"""Partial intensities and factors by the specification's own functions: on a GPU, and on a CPU without a compiler.

The detector is worked through in blocks on a fixed grid, each with its own reference scattering vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nbdist.kernels.native.build import processor
from nbdist.kernels.reference.factors import Factor
from nbdist.kernels.reference.orientation_sum import orientation_part
from nbdist.kernels.reference.pixels import directions, positions, scattering_vectors
from nbdist.kernels.torch_compile import Kernels
from nbdist.kernels.torch_scene import Area, Orientations, Sample, Scene

BLOCK_PIXELS = {"cpu": 128, "cuda": 512}
"""Side of the fixed blocks: small enough for a core's cache, large enough to fill a GPU."""
VECTOR_LANES = 16
"""Blocks are padded to whole vectors, so that no pixel is computed by the scalar remainder of a loop (other last bits)."""


class Block(NamedTuple):
    """Coordinates of a block's pixels on their panel (padded, float64), the block's middle, and its place in the area."""

    slow: Tensor
    fast: Tensor
    middle: tuple[Tensor, Tensor]
    target: tuple[slice, slice]
    shape: tuple[int, int]

    def image(self, values: Tensor) -> Tensor:
        """Values (P,) of the padded pixels as (rows, columns)."""
        return values[: self.shape[0] * self.shape[1]].reshape(self.shape)

    def vector(self, image: Tensor) -> Tensor:
        """Values (rows, columns) of an area as (P,) of the block's padded pixels."""
        values = image[self.target].reshape(-1)
        return torch.nn.functional.pad(values, (0, len(self.slow) - len(values)))


class TorchEngine:
    """Renders areas of a scene by torch operations: compiled by torch.compile, or eagerly.

    Parameters
    ----------
    scene
        The experiment on its device.
    compiled
        Whether to try torch.compile.
    why_eager
        Why a compiled kernel cannot be had here, where one was wanted.
    """

    def __init__(self, scene: Scene, compiled: bool, why_eager: str = "") -> None:
        self.scene, self.why_eager = scene, why_eager
        self.kernels = Kernels("compiled" if compiled else "eager")
        self.compiler = f"torch {torch.__version__}"
        on_gpu = scene.device.type == "cuda"
        self.processor = torch.cuda.get_device_name(scene.device) if on_gpu else processor()

    @property
    def mode(self) -> str:
        """compiled or eager, as it turned out."""
        return self.kernels.mode

    def factors(self, area: Area, sample: Sample, which: Factor, source: int = 0) -> Tensor:
        """Product of the factors asked for, float64 (rows, columns)."""
        image = torch.empty(area.shape, dtype=torch.float64, device=self.scene.device)
        for block in self.blocks(area):
            image[block.target] = block.image(self._factors(area, block, sample, which, source))
        return image

    def partial(self, out: Tensor, scale: Sequence[Tensor], area: Area, groups: Sequence[Orientations]) -> None:
        """Write the un-normalised partial intensity, all samples, sources and orientations, to `out`; `scale` is that of each layer."""
        out.zero_()
        for block in self.blocks(area):
            for sample in self.scene.samples():
                values = self._partial(area, block, sample, groups) * block.vector(scale[sample.layer])
                out[block.target] += block.image(values)

    def _partial(self, area: Area, block: Block, sample: Sample, groups: Sequence[Orientations]) -> Tensor:
        scene = self.scene
        vectors, depth, curved = scene.panels[area.panel], scene.depth(sample), scene.variant.curved
        coordinates = (block.slow + sample.slow_shift, block.fast + sample.fast_shift, depth)
        towards, _ = directions(positions(*block.middle, depth, vectors, curved))
        total = torch.zeros_like(block.slow)
        for number, source in enumerate(scene.sources):
            weight = float(scene.resolved.sources.weights[number])
            if weight == 0:
                continue
            q_reference = scattering_vectors(towards, *source)[:, 0]
            summed: Tensor | None = None
            for real, reference in groups:
                pixels = self.kernels.pixel_part(coordinates, vectors, source, q_reference, reference, scene.variant)
                orientations = orientation_part(real, reference, q_reference, scene.dtype)
                part = self.kernels.orientation_sum(
                    pixels, orientations, scene.cells, scene.fudge, scene.table, scene.variant
                )
                summed = part if summed is None else summed + part
            assert summed is not None
            if scene.every_term:
                summed = summed * self._factors(area, block, sample, scene.every_term, number)
            total += summed * weight
        return total

    def _factors(self, area: Area, block: Block, sample: Sample, which: Factor, source: int) -> Tensor:
        coordinates = block.slow + sample.slow_shift, block.fast + sample.fast_shift
        scene = self.scene
        rows = self.kernels.pixel_factors(
            coordinates,
            scene.panels[area.panel],
            scene.sources[source],
            scene.sensors[sample.layer],
            scene.choice(which),
        )
        return rows[0] * rows[1] * rows[2] * rows[3]

    def blocks(self, area: Area) -> Iterator[Block]:
        """Cut an area along the fixed grid of its panel."""
        scene = self.scene
        side = BLOCK_PIXELS.get(scene.device.type, BLOCK_PIXELS["cuda"])
        panel = scene.resolved.panels[area.panel]
        for slow0, slow1, slow_middle in _grid(area.first_row, area.last_row, side, panel.spixels):
            for fast0, fast1, fast_middle in _grid(area.first_column, area.last_column, side, panel.fpixels):
                shape = (slow1 - slow0, fast1 - fast0)
                count = shape[0] * shape[1]
                index = torch.arange(-(-count // VECTOR_LANES) * VECTOR_LANES, device=scene.device)
                index = index.clamp_max(count - 1)
                yield Block(
                    slow=(index // shape[1] + slow0).to(torch.float64),
                    fast=(index % shape[1] + fast0).to(torch.float64),
                    middle=(scene.tensor([slow_middle]), scene.tensor([fast_middle])),
                    target=(
                        slice(slow0 - area.first_row, slow1 - area.first_row),
                        slice(fast0 - area.first_column, fast1 - area.first_column),
                    ),
                    shape=shape,
                )


def _grid(start: int, stop: int, side: int, size: int) -> Iterator[tuple[int, int, float]]:
    """Yield (start, stop, middle of the whole grid cell) of the pieces of [start, stop) on a grid of `side` over `size` pixels."""
    for low in range(start // side * side, stop, side):
        high = min(low + side, size)
        yield max(low, start), min(high, stop), (low + high) / 2
