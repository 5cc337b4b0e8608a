"""The amplitudes of a series, kept in its store: those that its frames were rendered with, for workers and readers alike.

reflections/
  hkl         (reflection, axis) int32   Miller indices
  F           (amplitude) float64        amplitudes in electrons

Lattices with other amplitudes follow each other. The attribute `sets` of the group says of each set which `lattices` have it, from where
to where its `reflections` go, and the amplitude `default_F` of every reflection that it does not list; `uniform` amplitudes list none.
Where sources see other amplitudes, those of each wavelength are a set, whose `sources` are their numbers, and whose `amplitudes` say from
where to where they go in F; the indices are there once. Else a set is of all sources, and its amplitudes go as its reflections do.

A set may have `notes`, what whoever renders should know of its making, the `cell` of its file, and its `origin` in words.

The attribute `crystals` has the `space_group` and the `real_vectors_A` (rows a, b, c) of each crystal, which files of the experiment may
have said, and the `completeness` of its file, as `scene.completeness.Completeness` has it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from nbdist.errors import NbdistError, StoreError
from nbdist.experiment.lattice import Cell
from nbdist.scene.amplitudes import Reflections, distinct
from nbdist.scene.completeness import Completeness
from nbdist.scene.specimen import KnownCrystal, Lattice
from nbdist.store.locations import open_group
from nbdist.store.schema import OF_REFLECTIONS, REFLECTIONS

REFLECTIONS_PER_CHUNK = 2**18


def create_reflections(
    group: zarr.Group, reflections: Sequence[Reflections], crystals: Sequence[Lattice], held: Mapping[str, Completeness]
) -> None:
    """Write the amplitudes of each lattice into a new store, in the order in which they are listed; those that lattices share, once.

    `crystals` are the lattices that are no twin's, and `held` is how complete their files are, by their fields.
    """
    listed, sets, first, first_F = distinct(reflections), list[dict[str, Any]](), 0, 0
    tables = [table for its in listed for table in np.atleast_2d(its.amplitudes)]
    alike = len(tables) == len(listed)
    for its in listed:
        lattices = [number for number, other in enumerate(reflections) if other is its]
        last = first + len(its.indices)
        for table in range(len(np.atleast_2d(its.amplitudes))):
            last_F = first_F + len(its.indices)
            entry = {"lattices": lattices, "reflections": [first, last], "default_F": float(its.default_F)}
            if not alike:
                entry["amplitudes"] = [first_F, last_F]
            if its.table_of_source is not None:
                entry["sources"] = np.flatnonzero(its.table_of_source == table).tolist()
            said: dict[str, Any] = {"notes": [*its.notes], "cell": its.cell and [*its.cell], "origin": its.origin}
            entry |= {name: value for name, value in said.items() if value and not table}
            sets.append(entry)
            first_F = last_F
        first = last
    description: dict[str, Any] = {"long_name": "amplitudes that the frames are rendered with", "sets": sets}
    description["crystals"] = {
        lattice.field: {"space_group": lattice.space_group, "real_vectors_A": lattice.real_vectors_A.tolist()}
        for lattice in crystals
    }
    for field, its_file in held.items():
        description["crystals"][field]["completeness"] = [*its_file]
    place = group.create_group(REFLECTIONS, attributes=description)
    for name, parts, axes, attributes in (
        ("hkl", [its.indices for its in listed], ("reflection", "axis"), {"long_name": "Miller indices"}),
        (
            "F",
            tables,
            ("reflection" if alike else "amplitude",),
            {"units": "electron", "long_name": "structure-factor amplitude"},
        ),
    ):
        rows = sum(map(len, parts))
        array = place.create_array(
            name,
            shape=(rows, *parts[0].shape[1:]),
            dtype=OF_REFLECTIONS[f"{REFLECTIONS}/{name}"],
            chunks=(max(1, min(rows, REFLECTIONS_PER_CHUNK)), *parts[0].shape[1:]),
            compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()],
            dimension_names=axes,
            attributes=attributes,
        )
        if rows:
            array[...] = parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_crystals(group: zarr.Group) -> dict[str, KnownCrystal]:
    """The crystals of a store by their fields; none of one that was made before they were kept."""
    kept = group[REFLECTIONS].attrs.get("crystals", {})
    return {
        str(field): KnownCrystal(
            str(its["space_group"]), tuple(tuple(map(float, row)) for row in np.reshape(its["real_vectors_A"], (3, 3)))
        )
        for field, its in kept.items()
    }


def read_held(group: zarr.Group) -> dict[str, Completeness]:
    """How complete the files of the crystals of a store are, by their fields; none of one that was made before that was kept."""
    kept: Any = group[REFLECTIONS].attrs.get("crystals", {})
    return {
        str(field): Completeness(*its["completeness"])
        for field, its in kept.items()
        if its.get("completeness") is not None
    }


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
    group = open_group(location, patient=True)
    found: dict[int, Reflections] = {}
    try:
        place = group[REFLECTIONS]
        indices, amplitudes = place["hkl"], place["F"]
        sets = list(place.attrs["sets"])
        for lattices, its in itertools.groupby(sets, key=lambda entry: tuple(map(int, entry["lattices"]))):
            tables = list(its)
            some = [slice(*map(int, table.get("amplitudes", table["reflections"]))) for table in tables]
            listed = np.asarray(indices[slice(*map(int, tables[0]["reflections"]))])
            cell = tables[0].get("cell")
            one = Reflections(
                listed,
                np.asarray(amplitudes[some[0]]),
                float(tables[0]["default_F"]),
                cell=None if cell is None else Cell(*cell),
                notes=tuple(map(str, tables[0].get("notes", ()))),
                origin=str(tables[0].get("origin", "")),
            )
            if "sources" in tables[0]:
                sources = [np.array(table["sources"], dtype=np.int64) for table in tables]
                number = np.zeros(sum(map(len, sources)), dtype=np.int64)
                for table, its_sources in enumerate(sources):
                    number[its_sources] = table
                stacked = np.stack([one.amplitudes, *(np.asarray(amplitudes[one_of]) for one_of in some[1:])])
                one = one._replace(amplitudes=stacked, table_of_source=number)
            if one.indices.shape != (one.amplitudes.shape[-1], 3):
                raise StoreError(
                    f"{location}: {REFLECTIONS} hold {one.indices.shape} indices for {one.amplitudes.shape[-1]} amplitudes"
                )
            found |= dict.fromkeys(lattices, one)
    except NbdistError:
        raise
    except Exception as error:
        raise StoreError(f"{location}: {REFLECTIONS} do not decode ({type(error).__name__})") from None
    return tuple(found[lattice] for lattice in sorted(found))
