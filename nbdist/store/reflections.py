"""The amplitudes of a series, kept in its store: those that its frames were rendered with, for workers and readers alike.

reflections/
  hkl         (reflection, axis) int32   Miller indices
  F           (reflection) float64       amplitudes in electrons

Lattices with other amplitudes follow each other. The attribute `sets` of the group says of each set which `lattices` have it, from where
to where its `reflections` go, and the amplitude `default_F` of every reflection that it does not list; `uniform` amplitudes list none.
Where sources see other amplitudes, those of each wavelength are a set, whose `sources` are their numbers; else a set is of all sources.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from nbdist.errors import NbdistError, StoreError
from nbdist.scene.amplitudes import Reflections, distinct
from nbdist.store.locations import open_group
from nbdist.store.schema import OF_REFLECTIONS, REFLECTIONS

REFLECTIONS_PER_CHUNK = 2**18


def create_reflections(group: zarr.Group, reflections: Sequence[Reflections]) -> None:
    """Write the amplitudes of each lattice into a new store, in the order in which they are listed; those that lattices share, once."""
    listed, sets, first = distinct(reflections), [], 0
    for its in listed:
        lattices = [number for number, other in enumerate(reflections) if other is its]
        for table in range(len(np.atleast_2d(its.amplitudes))):
            last = first + len(its.indices)
            entry = {"lattices": lattices, "reflections": [first, last], "default_F": float(its.default_F)}
            if its.table_of_source is not None:
                entry["sources"] = np.flatnonzero(its.table_of_source == table).tolist()
            sets.append(entry)
            first = last
    description = {"long_name": "amplitudes that the frames are rendered with", "sets": sets}
    place = group.create_group(REFLECTIONS, attributes=description)
    for name, of_set, axes, attributes in (
        (
            "hkl",
            [its.indices for its in listed for _ in np.atleast_2d(its.amplitudes)],
            ("axis",),
            {"long_name": "Miller indices"},
        ),
        (
            "F",
            [amplitudes for its in listed for amplitudes in np.atleast_2d(its.amplitudes)],
            (),
            {"units": "electron", "long_name": "structure-factor amplitude"},
        ),
    ):
        array = place.create_array(
            name,
            shape=(first, *of_set[0].shape[1:]),
            dtype=OF_REFLECTIONS[f"{REFLECTIONS}/{name}"],
            chunks=(max(1, min(first, REFLECTIONS_PER_CHUNK)), *of_set[0].shape[1:]),
            compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()],
            dimension_names=("reflection", *axes),
            attributes=attributes,
        )
        if first:
            array[...] = of_set[0] if len(of_set) == 1 else np.concatenate(of_set)


def read_reflections(location: str | os.PathLike[str]) -> tuple[Reflections, ...]:
    """Amplitudes that the frames of a series were rendered with, of each lattice.

    Parameters
    ----------
    location
        Path or URL of the store.

    Returns
    -------
    Miller indices int32 (n, 3), amplitudes float64 (n,) in electrons, or (tables, n) where sources see others, and the amplitude of all
    others; n is 0 where every reflection has the same. Lattices with the same amplitudes share one object.

    Raises
    ------
    StoreError
        If there is no series of nbdist, or its reflections do not decode.
    """
    group: Any = open_group(location, patient=True)
    found: dict[int, Reflections] = {}
    try:
        place = group[REFLECTIONS]
        indices, amplitudes = np.asarray(place["hkl"][...]), np.asarray(place["F"][...])
        sets = list(place.attrs["sets"])
        for lattices, its in itertools.groupby(sets, key=lambda entry: tuple(map(int, entry["lattices"]))):
            tables = list(its)
            some = [slice(*map(int, table["reflections"])) for table in tables]
            one = Reflections(indices[some[0]], amplitudes[some[0]], float(tables[0]["default_F"]))
            if "sources" in tables[0]:
                sources = [np.array(table["sources"], dtype=np.int64) for table in tables]
                number = np.zeros(sum(map(len, sources)), dtype=np.int64)
                for table, its_sources in enumerate(sources):
                    number[its_sources] = table
                one = one._replace(amplitudes=np.stack([amplitudes[one_of] for one_of in some]), table_of_source=number)
            found |= dict.fromkeys(lattices, one)
    except NbdistError:
        raise
    except Exception as error:
        raise StoreError(f"{location}: {REFLECTIONS} do not decode ({type(error).__name__})") from None
    if indices.shape != (len(amplitudes), 3):
        raise StoreError(f"{location}: {REFLECTIONS} hold {indices.shape} indices for {len(amplitudes)} amplitudes")
    return tuple(found[lattice] for lattice in sorted(found))
