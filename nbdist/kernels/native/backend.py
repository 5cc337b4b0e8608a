"""Renders tiles on a CPU through the compiled kernel."""

from __future__ import annotations

import ctypes
import functools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.cores import usable_cores
from nbdist.kernels.backend import Turned, WholePixelFactors
from nbdist.kernels.diffuse import Exposed, Halos
from nbdist.kernels.native.diffuse import DiffuseRequest
from nbdist.kernels.native.integrated import Spots
from nbdist.kernels.native.sources import diffuse_source, factors_source, integrated_source, variant_source
from nbdist.kernels.spots import Diffraction, SpotMeasures, Underneath
from nbdist.kernels.variant import variant_of
from nbdist.native.build import Library, load, processor
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.instrument import Factor, Instrument, Ray
from nbdist.scene.panels import SMALLEST_DISTANCE_M
from nbdist.scene.specimen import Lattice
from nbdist.scene.spots import spot_limit
from nbdist.scene.tile import Tile

BLOCK_PIXELS = 32
"""Side of the fixed blocks: small enough for a core's nearest cache, and for float32 far from a block's middle."""
CALL_PIXEL_STEPS = 10**8
"""Work of one call at least, where there is so much: short enough to be interrupted."""

MOST_ROUNDED_CELLS = 64
"""Up to so many cells along an axis the rounding of a float32 distance is below what its terms bring along."""
LARGEST_INTERPOLATED = 2.0
"""No interpolated amplitude is larger than this times the largest of the table: a cubic's four weights are 1.25 together, at most."""

_real, _int, _pointer = ctypes.c_double, ctypes.c_int64, ctypes.c_void_p


class Work(ctypes.Structure):
    """The struct `Work` in detector.h."""

    _fields_ = (
        *((name, _int) for name in ("first_row", "last_row", "first_column", "last_column", "rows", "columns", "side")),
        *((name, _real) for name in ("row_shift", "column_shift", "layer", "layer_thickness")),
        *((name, _real * 3) for name in ("origin", "fast", "slow", "normal", "beam")),
        *((name, _real) for name in ("pixel", "close_distance", "curvature", "smallest_distance")),
        *((name, _int) for name in ("curved", "point_pixels")),
        ("polarization", _real * 3),
        *((name, _real) for name in ("kahn_factor", "attenuation", "d_min")),
        *((name, _int) for name in ("factors", "sources")),
        *((name, _pointer) for name in ("incident", "wavelength", "weight")),
        ("groups", _int),
        *((name, _pointer) for name in ("group_size", "reference", "cells")),
        *((name, _real * 3) for name in ("N_cells", "skew", "least_cells")),
        ("fudge", _real),
        ("limit", _real),
        *((name, _pointer) for name in ("table", "table_start")),
        *((name, _int * 3) for name in ("low", "high", "step")),
        *((name, _pointer) for name in ("scale", "out")),
        *((name, _int) for name in ("scale_stride", "out_stride", "add", "threads")),
    )


@dataclass(frozen=True, eq=False)
class PreparedLattice:
    """A lattice with the kernel of its variant.

    Attributes
    ----------
    table_start
        Where the table of each source begins in all of them.
    limit
        fudge r^2 from where on a term is 0, as `spot_limit` gives it.
    """

    lattice: Lattice
    table: AmplitudeTable
    table_start: NDArray[np.int64]
    limit: float
    library: Library


class NativeBackend:
    """Renders tiles of an instrument in C++.

    Parameters
    ----------
    instrument
        Beam and detector.
    threads
        Of one call; all usable cores where left out, or as many as OMP_NUM_THREADS says.
    skip
        Whether terms that are 0 are left out where they can be told beforehand: that changes no bit, only the time.

    Raises
    ------
    BuildError
        If the kernel cannot be compiled here.
    """

    mode, why_eager, device = "compiled", "", "cpu"
    processor = processor()

    def __init__(self, instrument: Instrument, threads: int | None = None, skip: bool = True) -> None:
        self._instrument, self._threads, self._skip = instrument, threads or usable_threads(), skip
        self._library = load(factors_source())
        self.compiler = self._library.compiler
        sources = instrument.sources
        self._incident = _doubles(sources.directions)
        self._wavelength = _doubles(sources.wavelengths_A)
        self._weight = _doubles(sources.weights)
        self._whole_pixel = WholePixelFactors[NDArray[np.floating[Any]]](instrument, self.factors, np.asarray, np.empty)
        self._of_spots = WholePixelFactors[NDArray[np.floating[Any]]](
            instrument, self.factors, np.asarray, functools.partial(np.empty, dtype=instrument.precision)
        )

    def prepare(self, lattice: Lattice, table: AmplitudeTable) -> PreparedLattice:
        """Compile, or load, the kernel of a lattice's variant.

        Raises
        ------
        BuildError
            If it cannot be compiled here.
        """
        library = load(variant_source(variant_of(lattice, table), is_sharp(lattice)))
        limit = _spot_limit(lattice, table) if self._skip else math.inf
        return PreparedLattice(lattice, table, self._table_starts(table), limit, library)

    def factors(self, tile: Tile, ray: Ray, which: Factor, source: int = 0) -> NDArray[np.float64]:
        """Product of the factors asked for, float64 (rows, columns)."""
        out = np.empty(tile.shape)
        work = self._work(tile, ray, which)
        work.incident, work.wavelength = self._incident[source:].ctypes.data, self._wavelength[source:].ctypes.data
        work.out, work.out_stride = out.ctypes.data, tile.shape[1]
        _call(self._library, "nbdist_factors", work)
        return out

    def partial(self, tile: Tile, lattices: Sequence[Turned]) -> NDArray[np.float64]:
        """Un-normalised partial intensity of a tile, float64 (rows, columns); see `Backend.partial`."""
        out, scale = np.empty(tile.shape), self._whole_pixel.of(tile)
        for number, turned in enumerate(lattices):
            self._add(out, scale, tile, turned, first=number == 0)
        return out

    def keep_nothing(self) -> None:
        """Free the whole-pixel factors that are kept, and keep none any more."""
        self._whole_pixel.keep_nothing()
        self._of_spots.keep_nothing()

    def prepare_integrated(self) -> None:
        """Compile, or load, the kernel of the integrated method; raises `BuildError` where that fails."""
        load(integrated_source(self._instrument.precision))

    def integrated(
        self, tile: Tile, diffraction: Diffraction, frame: int, under: Underneath | None = None
    ) -> tuple[NDArray[np.floating[Any]], SpotMeasures | None]:
        """Partial intensity of a tile by the integrated method; see `Backend.integrated`."""
        instrument = self._instrument
        library = load(integrated_source(instrument.precision))
        work = self._work(tile, instrument.first_ray(0), Factor(0))
        work.sources = len(self._weight)
        work.incident, work.wavelength = self._incident.ctypes.data, self._wavelength.ctypes.data
        image = np.empty(tile.shape, dtype=instrument.precision)
        spots, factors = Spots(diffraction, diffraction.spots(frame)), self._of_spots.with_every_term(tile)
        varying = instrument.every_term(tile.panel) & ~Factor.LIMIT
        return image, spots.render(library, work, factors, varying, image, under)

    def prepare_diffuse(self, halos: Halos) -> Halos:
        """Compile, or load, the kernel of diffuse scattering; raises `BuildError` where that fails."""
        load(diffuse_source(self._instrument.precision))
        return halos

    def diffuse(self, tile: Tile, lattices: Sequence[Exposed]) -> NDArray[np.float64]:
        """Diffuse scattering of a tile; see `Backend.diffuse`."""
        library = load(diffuse_source(self._instrument.precision))
        out, factors = np.zeros(tile.shape), self._of_spots.with_every_term(tile)
        for source, weight in enumerate(self._weight):
            if weight == 0:
                continue
            for layer, factor in enumerate(factors[source]):
                scale = _doubles(factor)
                for exposed in lattices:
                    asked, table = DiffuseRequest(exposed), exposed.prepared.table
                    request = asked.request
                    request.scale = exposed.share * weight / len(self._weight)
                    work = self._work(tile, Ray(layer, 0.0, 0.0), Factor(0))
                    work.sources, work.incident = 1, self._incident[source:].ctypes.data
                    work.wavelength = self._wavelength[source:].ctypes.data
                    starts = self._table_starts(table)
                    self._look_up(work, table, starts[source:])
                    work.scale, work.out = scale.ctypes.data, out.ctypes.data
                    work.scale_stride = work.out_stride = tile.shape[1]
                    if library.code.nbdist_diffuse(ctypes.byref(work), ctypes.byref(request)) != 0:
                        raise MemoryError("the kernel found no memory")
        return out

    def _table_starts(self, table: AmplitudeTable) -> NDArray[np.int64]:
        """Where the table of each source begins in all of them, (sources,)."""
        number = np.array([table.of_source(source) for source in range(len(self._weight))], dtype=np.int64)
        return number * table.values[0].size

    @staticmethod
    def _look_up(work: Work, table: AmplitudeTable, table_start: NDArray[np.int64]) -> None:
        """Have a kernel find amplitudes in a table."""
        shape = table.values.shape[1:]
        work.table, work.table_start = table.values.ctypes.data, table_start.ctypes.data
        work.low = (_int * 3)(*table.lowest)
        work.high = (_int * 3)(*(low + n - 1 for low, n in zip(table.lowest, shape, strict=True)))
        work.step = (_int * 3)(shape[1] * shape[2], shape[2], 1)

    def _add(
        self, out: NDArray[np.float64], scale: Sequence[NDArray[np.float64]], tile: Tile, turned: Turned, first: bool
    ) -> None:
        """Add the partial intensity of a lattice to `out`, or write it there."""
        prepared: PreparedLattice = turned.prepared
        lattice, table, groups = prepared.lattice, prepared.table, turned.groups
        weight = self._weight * turned.share
        cells = np.array([group.real.ctypes.data for group in groups], dtype=np.uint64)
        reference = np.stack([group.reference for group in groups])
        size = np.array([len(group.real) for group in groups], dtype=np.int64)
        for number, ray in enumerate(self._instrument.rays(tile.panel)):
            work = self._work(tile, ray, self._instrument.every_term(tile.panel))
            work.add = number > 0 or not first
            work.sources, work.incident, work.wavelength, work.weight = (
                len(weight),
                self._incident.ctypes.data,
                self._wavelength.ctypes.data,
                weight.ctypes.data,
            )
            work.groups, work.group_size = len(groups), size.ctypes.data
            work.reference, work.cells = reference.ctypes.data, cells.ctypes.data
            work.N_cells = (_real * 3)(*lattice.shape_root.diagonal())
            work.skew = (_real * 3)(*lattice.shape_root[np.triu_indices(3, 1)])
            work.least_cells = (_real * 3)(*_least_cells(lattice))
            work.fudge, work.limit = lattice.fudge, prepared.limit
            self._look_up(work, table, prepared.table_start)
            work.out_stride = work.scale_stride = tile.shape[1]
            for piece in _pieces(tile, int(size.sum()) * len(weight), self._threads):
                rows, columns = piece.slow_start - tile.slow_start, piece.fast_start - tile.fast_start
                work.first_row, work.last_row, work.first_column, work.last_column = piece[1:]
                work.out, work.scale = out[rows:, columns:].ctypes.data, scale[ray.layer][rows:, columns:].ctypes.data
                _call(prepared.library, "nbdist_partial", work)

    def _work(self, tile: Tile, ray: Ray, which: Factor) -> Work:
        instrument = self._instrument
        panel = instrument.panels[tile.panel]
        named = {"origin": panel.origin_m, "fast": panel.fast, "slow": panel.slow, "normal": panel.normal}
        return Work(
            *tile[1:],
            panel.spixels,
            panel.fpixels,
            BLOCK_PIXELS,
            row_shift=ray.slow_shift,
            column_shift=ray.fast_shift,
            layer=ray.layer,
            layer_thickness=panel.layer_thickness_m,
            **{name: (_real * 3)(*vector) for name, vector in named.items()},
            beam=(_real * 3)(*instrument.beam_direction),
            pixel=panel.pixel_m,
            close_distance=panel.close_distance_m,
            curvature=panel.distance_m,
            smallest_distance=SMALLEST_DISTANCE_M,
            curved=panel.curved,
            point_pixels=instrument.point_pixels,
            polarization=(_real * 3)(*instrument.polarization_vector),
            kahn_factor=instrument.polarization_factor or 0.0,
            attenuation=panel.attenuation_per_m,
            d_min=instrument.d_min_A or 0.0,
            factors=which.value,
            threads=self._threads,
        )


def usable_threads() -> int:
    """Threads that a process may use: what OMP_NUM_THREADS says, or the cores it may run on."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdecimal() and int(named):
        return int(named)
    return usable_cores()


def is_sharp(lattice: Lattice) -> bool:
    """Whether a brick has so many cells that float32 needs the remainder of a distance; the other shapes have no fringes."""
    return lattice.shape == "square" and max(lattice.N_cells) > MOST_ROUNDED_CELLS


def _least_cells(lattice: Lattice) -> NDArray[np.float64]:
    """n (3,) with r^2 >= sum_x (n_x dh_x)^2 for every dh.

    The roots of the metric's diagonal, times that of the least eigenvalue which the metric has when its diagonal is scaled to 1.
    """
    sides = np.sqrt(lattice.shape_metric.diagonal())
    least = np.linalg.eigvalsh(lattice.shape_metric / np.outer(sides, sides))[0]
    return np.asarray(sides * math.sqrt(max(0.0, least - 1e-12)))


def _spot_limit(lattice: Lattice, table: AmplitudeTable) -> float:
    largest = 1.0 if table.uniform else LARGEST_INTERPOLATED * float(np.abs(table.values).max())
    return spot_limit(lattice.shape, lattice.cells_in_all, largest, table.values.dtype.name)


def _call(library: Library, name: str, work: Work) -> None:
    if getattr(library.code, name)(ctypes.byref(work)) != 0:
        raise MemoryError("the kernel found no memory")


def _pieces(tile: Tile, steps: int, threads: int) -> Iterator[Tile]:
    """Cut a tile along the blocks into calls of about `CALL_PIXEL_STEPS`, with two blocks for every thread at least."""
    wanted = max(2 * threads, CALL_PIXEL_STEPS // (steps * BLOCK_PIXELS**2))
    left = tile.fast_start // BLOCK_PIXELS
    across = -(-tile.fast_stop // BLOCK_PIXELS) - left
    columns = min(wanted, across) * BLOCK_PIXELS
    rows = max(1, wanted // across) * BLOCK_PIXELS
    for row in range(tile.slow_start // BLOCK_PIXELS * BLOCK_PIXELS, tile.slow_stop, rows):
        for column in range(left * BLOCK_PIXELS, tile.fast_stop, columns):
            yield Tile(
                tile.panel,
                max(row, tile.slow_start),
                min(row + rows, tile.slow_stop),
                max(column, tile.fast_start),
                min(column + columns, tile.fast_stop),
            )


def _doubles(values: object) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64)
