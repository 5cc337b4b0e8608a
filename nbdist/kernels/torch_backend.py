"""Partial intensities and factors by the reference's own functions: on a GPU, and on a CPU without a compiler.

The detector is worked through in blocks on a fixed grid, each with its own reference scattering vector.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbdist.kernels.backend import Turned, WholePixelFactors
from nbdist.kernels.diffuse import Exposed, Halos
from nbdist.kernels.reference.amplitudes import on_device
from nbdist.kernels.reference.diffuse import HaloTensors, diffuse_intensity
from nbdist.kernels.reference.orientation_sum import orientation_part
from nbdist.kernels.reference.pixels import directions, positions, scattering_vectors
from nbdist.kernels.spots import Diffraction, SpotMeasures, Underneath, measured
from nbdist.kernels.torch_compile import Kernels
from nbdist.kernels.torch_scene import TorchInstrument, TorchLattice
from nbdist.kernels.torch_spots import TorchSpots, models
from nbdist.native.build import processor
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.instrument import Factor, Instrument, Ray
from nbdist.scene.specimen import Lattice
from nbdist.scene.tile import Tile

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


class TorchBackend:
    """Renders tiles of an instrument by torch operations: compiled by torch.compile, or eagerly.

    Parameters
    ----------
    instrument
        Beam and detector.
    device
        "cpu", "cuda" or "cuda:N".
    compiled
        Whether to try torch.compile.
    why_eager
        Why a compiled kernel cannot be had here, where one was wanted.
    """

    def __init__(self, instrument: Instrument, device: str, compiled: bool, why_eager: str = "") -> None:
        self.why_eager = why_eager
        self.kernels = Kernels("compiled" if compiled else "eager")
        self.compiler = f"torch {torch.__version__}"
        self.tensors = TorchInstrument(instrument, device)
        self.device = self.tensors.device.type
        self.processor = torch.cuda.get_device_name(self.tensors.device) if self.device == "cuda" else processor()
        self._instrument = instrument
        empty = functools.partial(torch.empty, dtype=torch.float64, device=self.tensors.device)
        self._whole_pixel = WholePixelFactors[Tensor](instrument, self._factors, self.tensors.tensor, empty)

    @property
    def mode(self) -> str:
        """Whether its functions are "compiled" or "eager", as it turned out."""
        return self.kernels.mode

    def prepare(self, lattice: Lattice, table: AmplitudeTable) -> TorchLattice:
        """Put a lattice and its amplitudes on the device."""
        return self.tensors.lattice(lattice, table)

    def factors(self, tile: Tile, ray: Ray, which: Factor, source: int = 0) -> NDArray[np.float64]:
        """Product of the factors asked for, float64 (rows, columns)."""
        return in_main_memory(self._factors(tile, ray, which, source))

    def partial(self, tile: Tile, lattices: Sequence[Turned]) -> NDArray[np.float64]:
        """Un-normalised partial intensity of a tile, float64 (rows, columns); see `Backend.partial`."""
        tensors, scale = self.tensors, self._whole_pixel.of(tile)
        total = torch.zeros(tile.shape, dtype=torch.float64, device=tensors.device)
        groups = [
            [(tensors.tensor(real), tensors.tensor(reference)) for real, reference in turned.groups]
            for turned in lattices
        ]
        for block in self.blocks(tile):
            for turned, its_groups in zip(lattices, groups, strict=True):
                for ray in self._instrument.rays(tile.panel):
                    values = self._partial(tile.panel, block, ray, turned, its_groups) * block.vector(scale[ray.layer])
                    total[block.target] += block.image(values)
        return in_main_memory(total)

    def keep_nothing(self) -> None:
        """Free the whole-pixel factors that are kept, and keep none any more."""
        self._whole_pixel.keep_nothing()

    def prepare_integrated(self) -> None:
        """Do nothing: its functions are not compiled."""

    def integrated(
        self, tile: Tile, diffraction: Diffraction, frame: int, under: Underneath | None = None
    ) -> tuple[NDArray[np.floating[Any]], SpotMeasures | None]:
        """Partial intensity of a tile by the integrated method; see `Backend.integrated`."""
        tensors, instrument = self.tensors, self._instrument
        image = torch.zeros(tile.shape, dtype=torch.float64, device=tensors.device)
        spots, varying = diffraction.spots(frame), instrument.every_term(tile.panel) & ~Factor.LIMIT
        factors = self._whole_pixel.with_every_term(tile, Factor.LIMIT)
        given: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
        for lattice, source in product(range(len(diffraction.lists)), range(len(instrument.sources))):
            some = np.flatnonzero((spots.entries.lattice == lattice) & (spots.entries.source == source))
            if not len(some):
                continue
            entries = spots.entries.of(some)
            G, model = models(diffraction, entries, lattice, source, tensors)
            for layer, factor in enumerate(factors[source]):
                its = TorchSpots(tensors, tile.panel, layer, source)
                for entry, pixel, value in its.values(
                    tile, G, model, tensors.tensor(entries.strength), factor, varying
                ):
                    # in the same order each time: index_add_ of a GPU adds as its threads come
                    image.view(-1).index_put_((pixel,), value, accumulate=True)
                    if under is not None:
                        given.append((entries.spot[entry.cpu().numpy()], pixel.cpu().numpy(), value.cpu().numpy()))
        measures = None
        if under is not None:
            summed = in_main_memory(image)
            measures = measured(given, len(spots.reflection), tile, summed, under, instrument.tolerance)
        return in_main_memory(image.to(tensors.dtype)), measures

    def prepare_diffuse(self, halos: Halos) -> tuple[list[HaloTensors], AmplitudeTable]:
        """Put a lattice's halos on the device, one for each table of amplitudes; the table says which each source sees."""
        tensor, width = self.tensors.tensor, halos.disorder.halo
        tables = on_device(halos.table, self.tensors.device)
        far = tables if halos.far is None else on_device(replace(halos.table, values=halos.far), self.tensors.device)
        on_it = [
            HaloTensors(
                tensor(halos.disorder.displacement),
                None if width is None else tensor(width),
                tensor(halos.between),
                tensor(halos.correction),
                table,
                None if width is None else others,
            )
            for table, others in zip(tables, far, strict=True)
        ]
        return on_it, halos.table

    def diffuse(self, tile: Tile, lattices: Sequence[Exposed]) -> NDArray[np.float64]:
        """Diffuse scattering of a tile; see `Backend.diffuse`."""
        tensors, sources = self.tensors, self._instrument.sources
        factors = self._whole_pixel.with_every_term(tile)
        total = torch.zeros(tile.shape, dtype=torch.float64, device=tensors.device)
        panel, curved = tensors.panels[tile.panel], self._instrument.panels[tile.panel].curved
        for block, exposed, (number, source) in product(self.blocks(tile), lattices, enumerate(tensors.sources)):
            (halos, table), nodes = exposed.prepared, exposed.nodes
            share = exposed.share * float(sources.weights[number]) / len(sources)
            for layer, scale in enumerate(factors[number]):
                depth = tensors.depth(tile.panel, Ray(layer, 0.0, 0.0))
                summed = torch.zeros_like(block.slow)
                for slow, fast, weight in zip(*nodes[2:], strict=True):
                    towards, _ = directions(positions(block.slow + slow, block.fast + fast, depth, panel, curved))
                    q = scattering_vectors(towards, *source)
                    for axes, turn_weight in zip(exposed.real, nodes.phi_weight, strict=True):
                        intensity = diffuse_intensity(tensors.tensor(axes) @ q, halos[table.of_source(number)])
                        summed += share * float(weight * turn_weight) * intensity
                total[block.target] += block.image(summed * block.vector(scale))
        return in_main_memory(total)

    def _partial(
        self, panel: int, block: Block, ray: Ray, turned: Turned, groups: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        tensors, lattice = self.tensors, turned.prepared
        assert isinstance(lattice, TorchLattice)
        vectors, depth, curved = tensors.panels[panel], tensors.depth(panel, ray), self._instrument.panels[panel].curved
        coordinates = (block.slow + ray.slow_shift, block.fast + ray.fast_shift, depth)
        towards, _ = directions(positions(*block.middle, depth, vectors, curved))
        total = torch.zeros_like(block.slow)
        for number, source in enumerate(tensors.sources):
            weight = float(self._instrument.sources.weights[number]) * turned.share
            if weight == 0:
                continue
            q_reference = scattering_vectors(towards, *source)[:, 0]
            summed: Tensor | None = None
            for real, reference in groups:
                pixels = self.kernels.pixel_part(
                    coordinates, vectors, source, q_reference, reference, curved, tensors.dtype
                )
                part = self.kernels.orientation_sum(
                    pixels,
                    orientation_part(real, reference, q_reference, tensors.dtype),
                    lattice.cells,
                    lattice.fudge,
                    lattice.of_source(number),
                    lattice.variant,
                )
                summed = part if summed is None else summed + part
            assert summed is not None
            if every_term := self._instrument.every_term(panel):
                summed = summed * self._block_factors(panel, block, ray, every_term, number)
            total += summed * weight
        return total

    def _factors(self, tile: Tile, ray: Ray, which: Factor, source: int = 0) -> Tensor:
        image = torch.empty(tile.shape, dtype=torch.float64, device=self.tensors.device)
        for block in self.blocks(tile):
            image[block.target] = block.image(self._block_factors(tile.panel, block, ray, which, source))
        return image

    def _block_factors(self, panel: int, block: Block, ray: Ray, which: Factor, source: int) -> Tensor:
        tensors = self.tensors
        coordinates = block.slow + ray.slow_shift, block.fast + ray.fast_shift
        rows = self.kernels.pixel_factors(
            coordinates,
            tensors.panels[panel],
            tensors.sources[source],
            tensors.sensors[panel][ray.layer],
            tensors.choice(which, panel),
        )
        return rows[0] * rows[1] * rows[2] * rows[3]

    def blocks(self, tile: Tile) -> Iterator[Block]:
        """Cut a tile along the fixed grid of its panel."""
        tensors, side = self.tensors, BLOCK_PIXELS.get(self.device, BLOCK_PIXELS["cuda"])
        panel = self._instrument.panels[tile.panel]
        for slow0, slow1, slow_middle in _grid(tile.slow_start, tile.slow_stop, side, panel.spixels):
            for fast0, fast1, fast_middle in _grid(tile.fast_start, tile.fast_stop, side, panel.fpixels):
                shape = (slow1 - slow0, fast1 - fast0)
                count = shape[0] * shape[1]
                index = torch.arange(-(-count // VECTOR_LANES) * VECTOR_LANES, device=tensors.device)
                index = index.clamp_max(count - 1)
                yield Block(
                    slow=(index // shape[1] + slow0).to(torch.float64),
                    fast=(index % shape[1] + fast0).to(torch.float64),
                    middle=(tensors.tensor([slow_middle]), tensors.tensor([fast_middle])),
                    target=(
                        slice(slow0 - tile.slow_start, slow1 - tile.slow_start),
                        slice(fast0 - tile.fast_start, fast1 - tile.fast_start),
                    ),
                    shape=shape,
                )


def in_main_memory(image: Tensor) -> NDArray[Any]:
    """An image (rows, columns) as a numpy array: from a GPU a copy in page-locked memory, which torch reuses once the array is gone."""
    if image.device.type == "cuda":  # a copy to pageable memory takes 35 times as long (docs/benchmarks.md)
        image = torch.empty(image.shape, dtype=image.dtype, pin_memory=True).copy_(image)
    return np.asarray(image.numpy())


def _grid(start: int, stop: int, side: int, size: int) -> Iterator[tuple[int, int, float]]:
    """Yield (start, stop, middle of the whole grid cell) of the pieces of [start, stop) on a grid of `side` over `size` pixels."""
    for low in range(start // side * side, stop, side):
        high = min(low + side, size)
        yield max(low, start), min(high, stop), (low + high) / 2
