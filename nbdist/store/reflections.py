"""The amplitudes of a series, kept in its store: those that its frames were rendered with, for workers and readers alike.

reflections/
  hkl         (reflection, axis) int32   Miller indices
  F           (reflection) float64       amplitudes in electrons

The attribute `default_F` of the group is the amplitude of every reflection that is not listed; `uniform` amplitudes list none.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from nbdist.errors import NbdistError, StoreError
from nbdist.scene.amplitudes import Reflections
from nbdist.store.locations import open_group
from nbdist.store.schema import OF_REFLECTIONS, REFLECTIONS

REFLECTIONS_PER_CHUNK = 2**18


def create_reflections(group: zarr.Group, reflections: Reflections) -> None:
    """Write the amplitudes of an experiment into a new store, in the order in which they are listed."""
    description = {
        "default_F": float(reflections.default_F),
        "long_name": "amplitudes that the frames are rendered with",
    }
    place = group.create_group(REFLECTIONS, attributes=description)
    count = len(reflections.indices)
    for name, values, axes, attributes in (
        ("hkl", reflections.indices, ("axis",), {"long_name": "Miller indices"}),
        ("F", reflections.amplitudes, (), {"units": "electron", "long_name": "structure-factor amplitude"}),
    ):
        array = place.create_array(
            name,
            shape=values.shape,
            dtype=OF_REFLECTIONS[f"{REFLECTIONS}/{name}"],
            chunks=(max(1, min(count, REFLECTIONS_PER_CHUNK)), *values.shape[1:]),
            compressors=[BloscCodec(cname="zstd", clevel=1, shuffle=BloscShuffle.shuffle), Crc32cCodec()],
            dimension_names=("reflection", *axes),
            attributes={**attributes},
        )
        if count:
            array[...] = values


def read_reflections(location: str | os.PathLike[str]) -> Reflections:
    """Amplitudes that the frames of a series were rendered with.

    Parameters
    ----------
    location
        Path or URL of the store.

    Returns
    -------
    Miller indices int32 (n, 3), amplitudes float64 (n,) in electrons, and the amplitude of all others; n is 0 where every reflection
    has the same.

    Raises
    ------
    StoreError
        If there is no series of nbdist, or its reflections do not decode.
    """
    group: Any = open_group(location, patient=True)
    try:
        place = group[REFLECTIONS]
        indices, amplitudes = np.asarray(place["hkl"][...]), np.asarray(place["F"][...])
        default_F = float(place.attrs["default_F"])
    except NbdistError:
        raise
    except Exception as error:
        raise StoreError(f"{location}: {REFLECTIONS} do not decode ({type(error).__name__})") from None
    if indices.shape != (len(amplitudes), 3):
        raise StoreError(f"{location}: {REFLECTIONS} hold {indices.shape} indices for {len(amplitudes)} amplitudes")
    return Reflections(indices, amplitudes, default_F)
