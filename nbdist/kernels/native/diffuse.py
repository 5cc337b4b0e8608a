"""Diffuse scattering on a CPU, in C++."""

from __future__ import annotations

import ctypes

import numpy as np

from nbdist.kernels.diffuse import Exposed, Halos

_real, _int, _pointer = ctypes.c_double, ctypes.c_int64, ctypes.c_void_p


class Request(ctypes.Structure):
    """The struct `Diffuse` in diffuse.cpp."""

    _fields_ = (
        *((name, _int) for name in ("turns", "places", "beside")),
        *((name, _pointer) for name in ("real", "turn_weight", "shift", "place_weight", "far")),
        ("displacement", _real * 9),
        ("halo", _real * 9),
        ("between", _real * 64),
        ("correction", _real * 27),
        ("peak", _real),
        ("scale", _real),
    )


class DiffuseRequest:
    """A lattice's diffuse scattering in a frame, as the kernel wants it; holds the arrays that it points into."""

    def __init__(self, exposed: Exposed) -> None:
        halos: Halos = exposed.prepared
        self.halos = halos
        nodes = exposed.nodes
        self._arrays = [
            np.ascontiguousarray(values, dtype=np.float64)
            for values in (
                exposed.real,
                nodes.phi_weight,
                np.stack([nodes.slow, nodes.fast], axis=1),
                nodes.weight,
            )
        ]
        width = np.zeros((3, 3)) if halos.disorder.halo is None else halos.disorder.halo
        self.request = Request(
            len(nodes.phi_weight),
            len(nodes.weight),
            nodes.beside,
            *(values.ctypes.data for values in self._arrays),
            None if halos.far is None else halos.far.ctypes.data,
            (_real * 9)(*halos.disorder.displacement.ravel()),
            (_real * 9)(*width.ravel()),
            (_real * 64)(*halos.between.ravel()),
            (_real * 27)(*halos.correction.ravel()),
            halos.peak,
        )
