"""Deviates of counters in C++: those of `deviates`, bit for bit, as fast as the machine makes them."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from nbdist.native.build import load
from nbdist.readout import deviates
from nbdist.readout.deviates import Counter
from nbdist.readout.sources import DEVIATES, INT, LONG, POINTER, WORD, if_compiled


class CompiledDeviates:
    """The functions of `deviates` by a library, without Python's lock.

    Raises
    ------
    BuildError
        If it cannot be compiled here.
    """

    def __init__(self) -> None:
        code = load(DEVIATES).code
        counter = [LONG, WORD, WORD, WORD, LONG, INT]
        self._poisson, self._normals, self._uniforms = code.nbdist_poisson, code.nbdist_normals, code.nbdist_uniforms
        self._poisson.argtypes = [*counter, POINTER, POINTER, POINTER, POINTER]
        self._normals.argtypes = self._uniforms.argtypes = [*counter, POINTER]
        for function in (self._poisson, self._normals, self._uniforms):
            function.restype = None
        self._table, self._rests = deviates.whole_mean_table(), deviates.stirling_rests()

    def poisson(
        self,
        seed: int,
        counter: Counter,
        first_pixel: int,
        means: NDArray[np.float32],
        counts: NDArray[np.int32],
    ) -> None:
        """Write a Poisson deviate of each mean; see `deviates.poisson`."""
        addresses = means.ctypes.data, counts.ctypes.data, self._table.ctypes.data, self._rests.ctypes.data
        self._poisson(seed, *counter, first_pixel, means.size, *addresses)

    def normals(self, seed: int, counter: Counter, first: int, out: NDArray[np.float32]) -> None:
        """Write normal deviates; see `deviates.normals`."""
        self._normals(seed, *counter, first, out.size, out.ctypes.data)

    def uniforms(self, seed: int, counter: Counter, first: int, out: NDArray[np.float64]) -> None:
        """Write uniform deviates; see `deviates.uniforms`."""
        self._uniforms(seed, *counter, first, out.size, out.ctypes.data)


@functools.cache
def compiled() -> CompiledDeviates | None:
    """The compiled functions; None where nothing can be compiled, which is said once."""
    return if_compiled(CompiledDeviates, "deviates", "draws them, twenty")
