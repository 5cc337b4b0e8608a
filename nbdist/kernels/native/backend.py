"""Renders areas of a scene on a CPU through the compiled kernel: the same methods as `TorchEngine`."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbdist.kernels.native.build import load, processor, variant_source
from nbdist.kernels.reference.factors import Factor
from nbdist.kernels.reference.pixels import SMALLEST_DISTANCE_M
from nbdist.kernels.torch_scene import Area, Orientations, Sample, Scene
from nbdist.scene.panels import PanelGeometry

BLOCK_PIXELS = 32
"""Side of the fixed blocks: small enough for a core's nearest cache, and for float32 far from a block's middle."""
CALL_PIXEL_STEPS = 10**8
"""Work of one call at least, where there is so much: short enough to be interrupted."""

MOST_ROUNDED_CELLS = 64
"""Up to so many cells along an axis the rounding of a float32 distance is below what its terms bring along."""

_real, _int, _pointer = ctypes.c_double, ctypes.c_int64, ctypes.c_void_p


class Work(ctypes.Structure):
    """The struct of that name in detector.h."""

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
        ("N_cells", _real * 3),
        ("fudge", _real),
        ("table", _pointer),
        *((name, _int * 3) for name in ("low", "high", "step")),
        *((name, _pointer) for name in ("scale", "out")),
        *((name, _int) for name in ("scale_stride", "out_stride", "add", "threads")),
    )


class NativeEngine:
    """Renders areas of a scene in C++, on as many threads as torch uses.

    Parameters
    ----------
    scene
        The experiment, on the CPU.

    Raises
    ------
    BuildError
        If the kernel cannot be compiled here.
    """

    mode = "compiled"
    processor = processor()

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        library = load(variant_source(scene.variant, is_sharp(scene.resolved.N_cells)))
        self._library, self.compiler = library.code, library.compiler
        sources = scene.resolved.sources
        self._incident = _doubles(sources.directions)
        self._wavelength = _doubles(sources.wavelengths_A)
        self._weight = _doubles(sources.weights)

    def factors(self, area: Area, sample: Sample, which: Factor, source: int = 0) -> Tensor:
        """Product of the factors asked for, float64 (rows, columns)."""
        out = torch.empty(area.shape, dtype=torch.float64)
        work = self._work(area, sample, which)
        work.incident, work.wavelength = _address(self._incident[source:]), _address(self._wavelength[source:])
        work.out, work.out_stride = out.data_ptr(), out.stride(0)
        self._call("nbdist_factors", work)
        return out

    def partial(self, out: Tensor, scale: Sequence[Tensor], area: Area, groups: Sequence[Orientations]) -> None:
        """Write the un-normalised partial intensity, all samples, sources and orientations, to `out`; `scale` is that of each layer."""
        assert out.stride(1) == 1
        scene, lowest, shape = self.scene, self.scene.lowest_index, self.scene.table_shape
        assert all(group.real.is_contiguous() for group in groups)
        cells = np.array([group.real.data_ptr() for group in groups], dtype=np.uint64)
        reference = torch.stack([group.reference for group in groups])
        size = np.array([len(group.real) for group in groups], dtype=np.int64)
        for number, sample in enumerate(scene.samples()):
            factor = scale[sample.layer]
            assert factor.stride(1) == 1
            work = self._work(area, sample, scene.every_term)
            work.add = number > 0
            work.sources, work.incident, work.wavelength, work.weight = (
                len(self._weight),
                _address(self._incident),
                _address(self._wavelength),
                _address(self._weight),
            )
            work.groups, work.group_size = len(groups), size.ctypes.data
            work.reference, work.cells = reference.data_ptr(), cells.ctypes.data
            work.N_cells = (_real * 3)(*scene.resolved.N_cells)
            work.fudge = scene.resolved.experiment.crystal.fudge
            work.table = scene.table.values.data_ptr()
            work.low = (_int * 3)(*lowest)
            work.high = (_int * 3)(*(low + n - 1 for low, n in zip(lowest, shape, strict=True)))
            work.step = (_int * 3)(shape[1] * shape[2], shape[2], 1)
            for piece in _pieces(area, int(size.sum()) * len(self._weight), work.threads):
                rows, columns = piece.first_row - area.first_row, piece.first_column - area.first_column
                work.first_row, work.last_row, work.first_column, work.last_column = piece[1:]
                work.out, work.out_stride = out[rows:, columns:].data_ptr(), out.stride(0)
                work.scale, work.scale_stride = factor[rows:, columns:].data_ptr(), factor.stride(0)
                self._call("nbdist_partial", work)

    def _call(self, name: str, work: Work) -> None:
        if getattr(self._library, name)(ctypes.byref(work)) != 0:
            raise MemoryError("the kernel found no memory")

    def _work(self, area: Area, sample: Sample, which: Factor) -> Work:
        scene, panel = self.scene, self.scene.resolved.panels[area.panel]
        experiment = scene.resolved.experiment
        sensor = scene.sensors[sample.layer]
        return Work(
            *area[1:],
            panel.spixels,
            panel.fpixels,
            BLOCK_PIXELS,
            row_shift=sample.slow_shift,
            column_shift=sample.fast_shift,
            layer=sample.layer,
            layer_thickness=scene.layer_thickness_m,
            **_vectors(panel, scene),
            pixel=panel.pixel_m,
            close_distance=panel.close_distance_m,
            curvature=panel.distance_m,
            smallest_distance=SMALLEST_DISTANCE_M,
            curved=experiment.detector.curved,
            point_pixels=experiment.detector.point_pixels,
            polarization=(_real * 3)(*scene.resolved.polarization_vector),
            kahn_factor=experiment.beam.polarization_factor or 0.0,
            attenuation=float(sensor.attenuation),
            d_min=experiment.sampling.d_min_A or 0.0,
            factors=which.value,
            threads=torch.get_num_threads(),
        )


def is_sharp(N_cells: Sequence[float]) -> bool:
    """Whether a crystal has so many cells that float32 needs the remainder of a distance."""
    return max(N_cells) > MOST_ROUNDED_CELLS


def _vectors(panel: PanelGeometry, scene: Scene) -> dict[str, Any]:
    named = {
        "origin": panel.origin_m,
        "fast": panel.fast,
        "slow": panel.slow,
        "normal": panel.normal,
        "beam": scene.resolved.beam_direction,
    }
    return {name: (_real * 3)(*vector) for name, vector in named.items()}


def _pieces(area: Area, steps: int, threads: int) -> Iterator[Area]:
    """Cut an area along the blocks into calls of about `CALL_PIXEL_STEPS`, with two blocks for every thread at least."""
    wanted = max(2 * threads, CALL_PIXEL_STEPS // (steps * BLOCK_PIXELS**2))
    left = area.first_column // BLOCK_PIXELS
    across = -(-area.last_column // BLOCK_PIXELS) - left
    columns = min(wanted, across) * BLOCK_PIXELS
    rows = max(1, wanted // across) * BLOCK_PIXELS
    for row in range(area.first_row // BLOCK_PIXELS * BLOCK_PIXELS, area.last_row, rows):
        for column in range(left * BLOCK_PIXELS, area.last_column, columns):
            yield Area(
                area.panel,
                max(row, area.first_row),
                min(row + rows, area.last_row),
                max(column, area.first_column),
                min(column + columns, area.last_column),
            )


def _doubles(values: object) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64)


def _address(values: NDArray[np.float64]) -> int:
    return int(values.ctypes.data)
