"""Renders the spots of a frame on a CPU, in C++: the integrated method."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.kernels.spots import Diffraction, FrameSpots, SpotMeasures, Underneath
from nbdist.native.build import Library
from nbdist.scene.instrument import Factor

_real, _int, _pointer = ctypes.c_double, ctypes.c_int64, ctypes.c_void_p


class Request(ctypes.Structure):
    """The struct `Request` in integrated.cpp."""

    _fields_ = (
        ("spots", _int),
        *(
            (name, _pointer)
            for name in (
                "first_entry",
                "lattice",
                "source",
                "vector",
                "phi",
                "low",
                "high",
                "strength",
            )
        ),
        ("lattices", _int),
        ("shape", _pointer),
        ("mosaic", _pointer),
        ("spindle", _real * 3),
        ("divergence_axis", _real * 6),
        ("band_variance", _real),
        ("divergence_variance", _real * 2),
        ("tolerance", _real),
        ("subpixels", _int),
        ("layers", _int),
        ("varying", _int),
        ("factor", _pointer),
        ("image", _pointer),
        ("photons", _real),
        ("background", _pointer),
        ("share", _real),
        *((name, _pointer) for name in ("spot", "moments", "boxes", "beside")),
    )


class Spots:
    """A frame's spots as the kernel takes them: arrays that live as long as this does.

    Parameters
    ----------
    diffraction
        Of the scene.
    spots
        Of a frame of it.
    """

    def __init__(self, diffraction: Diffraction, spots: FrameSpots) -> None:
        entries, instrument = spots.entries, diffraction.scene.instrument
        self.count = len(spots.reflection)
        self._first = np.searchsorted(entries.spot, np.arange(self.count + 1)).astype(np.int64)
        self._columns = [
            np.ascontiguousarray(column)
            for column in (
                entries.lattice,
                entries.source,
                entries.vector,
                entries.phi,
                entries.low,
                entries.high,
                entries.strength,
            )
        ]
        self._shape = np.stack([spread.shape for spread in diffraction.spreads])
        self._mosaic = np.stack([spread.mosaic for spread in diffraction.spreads])
        self._request = Request(
            self.count,
            self._first.ctypes.data,
            *(column.ctypes.data for column in self._columns),
            len(self._shape),
            self._shape.ctypes.data,
            self._mosaic.ctypes.data,
            (_real * 3)(*diffraction.scene.spindle_axis),
            (_real * 6)(*diffraction.divergence_axes.ravel()),
            instrument.bandwidth_sigma**2,
            (_real * 2)(*instrument.divergence_sigma_rad**2),
            instrument.tolerance,
            instrument.subpixels or 0,
        )

    def render(
        self,
        library: Library,
        work: ctypes.Structure,
        factors: Sequence[Sequence[NDArray[np.floating[Any]]]],
        varying: Factor,
        image: NDArray[np.floating[Any]],
        under: Underneath | None,
    ) -> SpotMeasures | None:
        """Write the un-normalised partial intensity of a tile, and measure its spots where that is asked for.

        Parameters
        ----------
        work
            The geometry of the tile.
        factors
            What multiplies its pixels (rows, columns), by source and layer, in the precision of the kernel.
        varying
            Those of them that change within a pixel, and are taken in its middle.
        image
            Where to write, (rows, columns) in the precision of the kernel.
        under
            What the measures need.

        Raises
        ------
        MemoryError
            If the kernel finds no memory.
        """
        request, arrays = self._request, [factor for layers in factors for factor in layers]
        addresses = np.array([array.ctypes.data for array in arrays], dtype=np.uint64)
        request.layers, request.factor, request.image = len(factors[0]), addresses.ctypes.data, image.ctypes.data
        request.varying = varying.value
        measures = None
        if under is not None:
            measures = SpotMeasures.empty(self.count, under, (image.shape[0], image.shape[1]))
            request.photons, request.share = under.photons, under.spot_share or 0.0
            for name, array in (("background", under.background), *measures._asdict().items()):
                setattr(request, name, None if array is None else array.ctypes.data)
        if library.code.nbdist_integrated(ctypes.byref(work), ctypes.byref(request)) != 0:
            raise MemoryError("the kernel found no memory")
        return measures
