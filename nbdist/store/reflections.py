"""The amplitudes of a series, kept in its store: those that its frames were rendered with, for workers and readers alike.

reflections/
  hkl         (reflection, axis) int32   Miller indices
  F           (reflection) float64       amplitudes in electrons

The attribute `default_F` of the group is the amplitude of every reflection that is not listed; `uniform` amplitudes list none. The
attribute `lattices` says which lattices have these amplitudes; those of others are in reflections_1, reflections_2 and so on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from nbdist.errors import NbdistError, StoreError
from nbdist.scene.amplitudes import Reflections
from nbdist.store.locations import open_group
from nbdist.store.schema import OF_REFLECTIONS, REFLECTIONS

REFLECTIONS_PER_CHUNK = 2**18


def create_reflections(group: zarr.Group, reflections: Sequence[Reflections]) -> None:
    """Write the amplitudes of each lattice into a new store, in the order in which they are listed; those that lattices share, once."""
    distinct = {id(its): its for its in reflections}
    numbers = {key: number for number, key in enumerate(distinct)}
    for number, its in enumerate(distinct.values()):
        description = {
            "default_F": float(its.default_F),
            "long_name": "amplitudes that the frames are rendered with",
            "lattices": [lattice for lattice, other in enumerate(reflections) if numbers[id(other)] == number],
        }
        _create(group.create_group(_name(number), attributes=description), its)


def _name(number: int) -> str:
    return REFLECTIONS if number == 0 else f"{REFLECTIONS}_{number}"


def _create(place: zarr.Group, reflections: Reflections) -> None:
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
            attributes=attributes,
        )
        if count:
            array[...] = values


def read_reflections(location: str | os.PathLike[str]) -> tuple[Reflections, ...]:
    """Amplitudes that the frames of a series were rendered with, of each lattice.

    Parameters
    ----------
    location
        Path or URL of the store.

    Returns
    -------
    Miller indices int32 (n, 3), amplitudes float64 (n,) in electrons, and the amplitude of all others; n is 0 where every reflection
    has the same. Lattices with the same amplitudes share one object.

    Raises
    ------
    StoreError
        If there is no series of nbdist, or its reflections do not decode.
    """
    group: Any = open_group(location, patient=True)
    found: dict[int, Reflections] = {}
    number = 0
    while (place := _opened(group, _name(number), location)) is not None:
        its = _read(place, location)
        found |= dict.fromkeys(map(int, place.attrs["lattices"]), its)
        number += 1
    return tuple(found[lattice] for lattice in sorted(found))


def _opened(group: Any, name: str, location: str | os.PathLike[str]) -> Any:
    try:
        return group[name]
    except KeyError:
        if name != REFLECTIONS:
            return None
        raise StoreError(f"{location}: {REFLECTIONS} do not decode (KeyError)") from None


def _read(place: Any, location: str | os.PathLike[str]) -> Reflections:
    try:
        indices, amplitudes = np.asarray(place["hkl"][...]), np.asarray(place["F"][...])
        default_F = float(place.attrs["default_F"])
    except NbdistError:
        raise
    except Exception as error:
        raise StoreError(f"{location}: {REFLECTIONS} do not decode ({type(error).__name__})") from None
    if indices.shape != (len(amplitudes), 3):
        raise StoreError(f"{location}: {REFLECTIONS} hold {indices.shape} indices for {len(amplitudes)} amplitudes")
    return Reflections(indices, amplitudes, default_F)
