"""The response of a panel in C++: that of `response.read`, number for number, in one pass over its rows."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.native.build import load
from nbdist.readout.compiled import compiled
from nbdist.readout.draws import Draws, Stage
from nbdist.readout.integers import BAD, marker
from nbdist.readout.point_spread import Image
from nbdist.readout.response import PanelResponse, Response
from nbdist.readout.sources import DEVIATES, INT, LONG, POINTER, REAL, RESPONSE, WORD, if_compiled


class Reading(ctypes.Structure):
    """The struct `Reading` in response.cpp."""

    _fields_ = (
        ("rows", INT),
        ("columns", INT),
        ("counts", POINTER),
        ("light", POINTER),
        ("dead_time", REAL),
        ("paralysable", INT),
        ("taps", POINTER),
        ("reach", INT),
        ("calibration", POINTER),
        ("electrons_per_photon", REAL),
        ("read_noise_electrons", REAL),
        ("adu_per_electron", REAL),
        ("offset_adu", REAL),
        ("hot_pixel_adu", REAL),
        ("dead", POINTER),
        ("hot", POINTER),
        ("deads", INT),
        ("hots", INT),
        ("saturation", REAL),
        ("rolls_over", INT),
        ("usable", POINTER),
        ("normals", POINTER),
        ("seed", LONG),
        ("frame", WORD),
        ("sample", WORD),
        ("stage", WORD),
        ("first_pixel", LONG),
    )


class CompiledResponse:
    """`response.read` and `point_spread.spread_along_axes` by a library, without Python's lock.

    Raises
    ------
    BuildError
        If it cannot be compiled here.
    """

    def __init__(self) -> None:
        code = load(RESPONSE).code
        self._read = {
            "int32": code.nbdist_read,
            "uint16": code.nbdist_read_uint16,
            "uint32": code.nbdist_read_uint32,
        }
        for function in self._read.values():
            function.argtypes, function.restype = [ctypes.POINTER(Reading), POINTER], None
        self._spread = code.nbdist_spread
        self._spread.argtypes, self._spread.restype = [POINTER, INT, INT, POINTER, INT, POINTER], None
        self._normals = ctypes.cast(load(DEVIATES).code.nbdist_normals, POINTER)

    def spread_along_axes(self, image: Image, taps: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `point_spread.spread_along_axes`."""
        given = np.ascontiguousarray(image, dtype=np.float32)
        light = np.empty(given.shape, dtype=np.float32)
        self._spread(given.ctypes.data, *given.shape, taps.ctypes.data, len(taps) - 1, light.ctypes.data)
        return light

    def read(self, photons: Image, panel: PanelResponse, response: Response, draws: Draws) -> NDArray[np.integer[Any]]:
        """As `response.read`."""
        whole = photons.dtype.kind == "i"
        arrived = np.ascontiguousarray(photons, dtype=np.int32 if whole else np.float32)
        readings = np.empty(photons.shape, dtype=response.dtype)
        usable = np.ascontiguousarray(panel.usable)
        frame, sample, stage = draws.counter(Stage.READ_NOISE)
        its = Reading(
            rows=photons.shape[0],
            columns=photons.shape[1],
            counts=arrived.ctypes.data if whole else None,
            light=None if whole else arrived.ctypes.data,
            dead_time=response.dead_time,
            paralysable=response.paralysable,
            taps=None if panel.taps is None else panel.taps.ctypes.data,
            reach=0 if panel.taps is None else len(panel.taps) - 1,
            calibration=None if panel.calibration is None else panel.calibration.ctypes.data,
            electrons_per_photon=response.electrons_per_photon,
            read_noise_electrons=response.read_noise_electrons,
            adu_per_electron=response.adu_per_electron,
            offset_adu=response.offset_adu,
            hot_pixel_adu=response.hot_pixel_adu,
            dead=panel.dead.ctypes.data,
            hot=panel.hot.ctypes.data,
            deads=len(panel.dead),
            hots=len(panel.hot),
            saturation=response.saturation,
            rolls_over=response.rolls_over,
            usable=usable.ctypes.data,
            normals=self._normals,
            seed=draws.seed,
            frame=frame,
            sample=sample,
            stage=stage,
            first_pixel=panel.first_pixel,
        )
        self._read[response.dtype](ctypes.byref(its), readings.ctypes.data)
        bad = panel.bad[panel.usable.flat[panel.bad]]
        readings.flat[bad] = marker(BAD, response.dtype)
        return readings


@functools.cache
def compiled_response() -> CompiledResponse | None:
    """The compiled functions; None where nothing can be compiled, which is said once, of all that the read-out draws and reads."""
    return None if compiled() is None else if_compiled(CompiledResponse, "response", "works it out, ten")
