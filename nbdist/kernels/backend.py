"""What a kernel is to the rest: a backend holds one instrument, takes lattices, and gives partial intensities as numpy arrays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from nbdist.kernels.diffuse import Exposed, Halos
from nbdist.kernels.spots import Diffraction, SpotMeasures, Underneath
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.instrument import Factor, Instrument, Ray
from nbdist.scene.specimen import Lattice, Orientations
from nbdist.scene.tile import Tile, bands

KernelMode = Literal["compiled", "eager"]
EVERY_FACTOR = ~Factor(0)
KEPT_FACTORS_BYTES = 256 * 2**20
"""What a backend keeps of its instrument from frame to frame, at most."""


class Turned(NamedTuple):
    """A lattice as a backend prepared it, what its sum is multiplied with, and its orientations in their groups."""

    prepared: Any
    share: float
    groups: Sequence[Orientations]


class Backend(Protocol):
    """What computes: `NativeBackend` on a CPU, `TorchBackend` on any device."""

    @property
    def mode(self) -> str:
        """Whether its functions are "compiled" or "eager", as it turned out."""

    @property
    def why_eager(self) -> str:
        """Why compiled ones cannot be had, where they were wanted."""

    @property
    def compiler(self) -> str:
        """What made the code that computes, with its version: the C++ compiler, or torch."""

    @property
    def processor(self) -> str:
        """Name of the processor or GPU that it runs on."""

    @property
    def device(self) -> str:
        """Kind of device that it runs on: "cpu" or "cuda"."""

    def prepare(self, lattice: Lattice, table: AmplitudeTable) -> Any:
        """Make what the backend needs of a lattice and its amplitudes, for `Turned`.

        Raises
        ------
        BuildError
            If its kernel cannot be compiled.
        """

    def factors(self, tile: Tile, ray: Ray, which: Factor, source: int = 0) -> NDArray[np.float64]:
        """Product of the factors asked for, float64 (rows, columns)."""

    def partial(self, tile: Tile, lattices: Sequence[Turned]) -> NDArray[np.float64]:
        """Un-normalised partial intensity of a tile, float64 (rows, columns).

        The sum over lattices, rays, sources and orientations of share x weight x factors x F_cell^2 F_latt^2.
        """

    def prepare_integrated(self) -> None:
        """Make what the integrated method needs, before its first frame.

        Raises
        ------
        BuildError
            If its kernel cannot be compiled.
        """

    def integrated(
        self, tile: Tile, diffraction: Diffraction, frame: int, under: Underneath | None = None
    ) -> tuple[NDArray[np.floating[Any]], SpotMeasures | None]:
        """Un-normalised partial intensity of a tile by the integrated method, (rows, columns) in the instrument's precision.

        The sum over reflections, layers and sources of share x weight x factors x F^2 N^2 x the mean of the spot; and what the tile has of
        each spot of the frame, where `under` is given.

        Raises
        ------
        BuildError
            If its kernel cannot be compiled.
        """

    def prepare_diffuse(self, halos: Halos) -> Any:
        """Make what the backend needs of a lattice's halos, for `Exposed`.

        Raises
        ------
        BuildError
            If its kernel cannot be compiled.
        """

    def diffuse(self, tile: Tile, lattices: Sequence[Exposed]) -> NDArray[np.float64]:
        """Diffuse scattering of a tile, float64 (rows, columns), 0 in masked pixels.

        The mean over sources and nodes, and the sum over lattices and layers, of share x weight x factors x intensity of one cell.
        """

    def keep_nothing(self) -> None:
        """Free what is kept of the instrument from frame to frame, and keep nothing any more: memory is short."""


FACTOR_ROWS = 256
"""Rows of pixels whose factors are worked out together: whole blocks of every backend."""

Values = TypeVar("Values", NDArray[np.float64], Any)


class WholePixelFactors(Generic[Values]):
    """The product of the factors that stand for whole pixels, for every layer; kept while they are few, as the detector does not move.

    They are taken at the first ray of each layer, solid angle and polarization of the first layer; what obstacles leave is one of them.
    They are worked out a few rows at a time: each image of a large detector takes a tenth of a worker's memory.

    Parameters
    ----------
    instrument
        Whose.
    evaluate
        Gives the product of some factors, for a source, in the backend's own arrays.
    own
        Makes such an array of a numpy one.
    empty
        Makes one of a shape, in the precision that is kept and given out.
    """

    def __init__(
        self,
        instrument: Instrument,
        evaluate: Callable[[Tile, Ray, Factor, int], Values],
        own: Callable[[NDArray[np.bool_] | NDArray[np.float32]], Values],
        empty: Callable[[tuple[int, int]], Values],
    ) -> None:
        self._instrument = instrument
        self._evaluate: Callable[[Tile, Ray, Factor, int], Values] = evaluate
        self._own: Callable[[NDArray[np.bool_] | NDArray[np.float32]], Values] = own
        self._empty: Callable[[tuple[int, int]], Values] = empty
        self._kept: dict[tuple[Tile, Factor | None], list[list[Values]]] = {}
        self._kept_bytes, self._most_bytes = 0, KEPT_FACTORS_BYTES
        self._keeping = threading.Lock()

    def of(self, tile: Tile) -> list[Values]:
        """Factors of a tile, (rows, columns) for every layer."""
        return self._keep(tile, None, lambda: self._images(tile, lambda values, *where: values, 1, alike=True))[0]

    def with_every_term(self, tile: Tile, which: Factor = EVERY_FACTOR) -> list[list[Values]]:
        """Factors of a tile times some of those evaluated for every ray, at the middle of each pixel: for every source and layer.

        Masked pixels have none.
        """
        instrument, terms = self._instrument, self._instrument.every_term(tile.panel) & which
        sources, usable = len(instrument.sources), instrument.panels[tile.panel].usable
        masked = not usable[tile.slices].all()
        if not terms and not masked:
            return [self.of(tile)] * sources

        def finished(values: Values, band: Tile, layer: int, source: int) -> Values:
            if terms:
                values = values * self._evaluate(band, Ray(layer, 0.5, 0.5), terms, source)
            return values * self._own(usable[band.slices]) if masked else values

        apart = sources if terms else 1
        images = self._keep(tile, terms, lambda: self._images(tile, finished, apart, alike=not terms))
        return images * (sources // apart)

    def _images(
        self, tile: Tile, finished: Callable[[Values, Tile, int, int], Values], sources: int, alike: bool
    ) -> list[list[Values]]:
        """Factors of some sources and each layer.

        `finished` says what is made of those of some rows, in a layer and for a source; `alike` that it does so in all layers.
        """
        instrument, which = self._instrument, self._instrument.whole_pixel(tile.panel)
        count, transmission = instrument.panels[tile.panel].layers, instrument.transmissions[tile.panel]
        captured = bool(which & Factor.CAPTURE)
        apart = 1 if alike and not captured else count
        images = [[self._empty(tile.shape) for _ in range(apart)] for _ in range(sources)]
        for band in bands(tile, FACTOR_ROWS):
            rows, _ = band.within(tile)
            fixed = self._evaluate(band, instrument.first_ray(0), which & ~Factor.CAPTURE, 0)
            if transmission is not None:
                fixed = fixed * self._own(transmission[band.slices])
            for layer in range(apart):
                values = fixed
                if captured:
                    values = fixed * self._evaluate(band, instrument.first_ray(layer), Factor.CAPTURE, 0)
                for source, layers in enumerate(images):
                    layers[layer][rows] = finished(values, band, layer, source)
        return [layers * (count // apart) for layers in images]

    def _keep(self, tile: Tile, terms: Factor | None, evaluate: Callable[[], list[list[Values]]]) -> list[list[Values]]:
        """What is kept of a tile with some factors for every ray, and without masked pixels; with None, of all its pixels as they are."""
        kept = self._kept.get((tile, terms))
        if kept is not None:
            return kept
        found = evaluate()
        distinct = {id(values): values for layers in found for values in layers}
        size = sum(values.itemsize for values in distinct.values()) * tile.pixels
        with self._keeping:  # threads of a worker share the backend
            if (tile, terms) not in self._kept and self._kept_bytes + size <= self._most_bytes:
                self._kept_bytes += size
                self._kept[tile, terms] = found
        return found

    def keep_nothing(self) -> None:
        """Forget all tiles, now and from now on."""
        with self._keeping:
            self._kept.clear()
            self._kept_bytes = self._most_bytes = 0
