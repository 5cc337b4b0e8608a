"""Atomic models in PDB and mmCIF files, read with gemmi: the cell, its space group and what is in it."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nbdist.errors import FileFormatError, one_line
from nbdist.formats.text import damage_named, unreadable_named, user_path, version_of

if TYPE_CHECKING:
    import gemmi


REFLECTIONS_BEGIN = (b"MTZ ", b"!FORMAT=XDS_ASCII")
CELL_DIGITS = 9
"""Of a cell that is given, after the point: those of lattices that are turned alike agree to them."""


@dataclass(frozen=True, eq=False)
class AtomicModel:
    """The content of a crystal's asymmetric unit.

    Attributes
    ----------
    cell
        a, b, c in Angstrom, alpha, beta, gamma in degrees: CRYST1, or `_cell`.
    space_group
        Of CRYST1, or of `_symmetry` or `_space_group`.
    atoms
        Those with an occupancy, as the file has them; copies that non-crystallographic symmetry makes are among them.
    models
        How many models the file holds; the atoms are the first one's.
    unknown
        Atoms that the file has of an unknown element (X, as in UNX and UNK), which are left out.
    packed
        Whether the file says in which cell; else the one that was given is its cell.
    """

    cell: tuple[float, float, float, float, float, float]
    space_group: gemmi.SpaceGroup
    structure: gemmi.Structure
    atoms: tuple[gemmi.Atom, ...]
    models: int
    unknown: int
    packed: bool

    @property
    def space_group_name(self) -> str:
        """As gemmi writes it, with the axes of an R lattice: "P 43 21 2", "R 3:H"."""
        return self.space_group.xhm()

    @cached_property
    def elements(self) -> dict[str, int]:
        """Symbols of the chemical elements, by atomic number, and the atomic number of each."""
        found = {atom.element.name: atom.element.atomic_number for atom in self.atoms}
        return dict(sorted(found.items(), key=lambda element: element[1]))


def read_atomic_model(path: Path, cell: Sequence[float] | None = None, space_group: str = "P 1") -> AtomicModel:
    """Read a model; NCS operators whose copies the file does not hold (MTRIX) are carried out. A file that stays as it is is read once.

    Parameters
    ----------
    path
        PDB or mmCIF, plain or .gz.
    cell, space_group
        Of a model whose file says none, as of a predicted one or of one from cryo-EM: its atoms lie in this cell (Angstrom, degrees) with
        the coordinates that they have, and the name is one of gemmi's.

    Raises
    ------
    FileFormatError
        If the file cannot be read, or has no cell, no space group, no atom with an occupancy, or an atom without a form factor.
    """
    version = version_of(path, "model")
    with damage_named(path, "model"):
        if cell is None or _structure(path, *version).cell.is_crystal():
            return _read(path, None, "P 1", *version)
        return _read(path, tuple(np.round(cell, CELL_DIGITS).tolist()), space_group, *version)


@functools.lru_cache(maxsize=2)
def _read(path: Path, given: tuple[float, ...] | None, given_group: str, *version: int) -> AtomicModel:
    import gemmi

    structure = _structure(path, *version).clone()
    packed = structure.cell.is_crystal()
    if not packed and given is not None:
        structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*given), given_group
        structure.setup_cell_images()
    cell, space_group = _cell(structure, path), structure.find_spacegroup()
    if space_group is None:
        raise FileFormatError(f"model {path}: its space group '{structure.spacegroup_hm}' is none that gemmi knows")
    models = len(structure)
    while len(structure) > 1:
        del structure[-1]
    structure.expand_ncs(gemmi.HowToNameCopiedChain.Dup)
    atoms, unknown = [], 0
    for residue in (residue for chain in structure[0] for residue in chain):
        for number in reversed(range(len(residue))):
            if residue[number].element.atomic_number == 0:
                del residue[number]
                unknown += 1
    for place in structure[0].all():
        if place.atom.element.it92 is None:
            raise FileFormatError(
                f"model {path}: atom {place} is of no element that has a form factor, found '{place.atom.element.name}'"
            )
        if place.atom.occ != 0:
            atoms.append(place.atom)
    if not atoms:
        raise FileFormatError(f"model {path}: holds no atom with an occupancy")
    return AtomicModel(cell, space_group, structure, tuple(atoms), models, unknown, packed)


@functools.lru_cache(maxsize=2)
def _structure(path: Path, *_: int) -> gemmi.Structure:
    import gemmi

    with unreadable_named(path, "model"), user_path(path).open("rb") as stream:
        if stream.read(32).startswith(REFLECTIONS_BEGIN):
            raise FileFormatError(f"model {path}: holds reflections; structure_factors of kind file reads it")
    try:
        structure = gemmi.read_structure(str(user_path(path)))
    except OSError as error:  # whose text names the file once more
        reason = os.strerror(error.errno) if error.errno else error
        raise FileFormatError(f"model {path} cannot be read: {reason}") from None
    except (ValueError, RuntimeError) as error:
        raise FileFormatError(f"model {path} cannot be read: {one_line(error)}") from None
    if len(structure) == 0:
        raise FileFormatError(
            f"model {path}: holds no atom; give PDB, or mmCIF with _atom_site.Cartn_x (a small molecule's CIF has none); "
            "reflections are read by structure_factors of kind file"
        )
    return structure


def _cell(structure: gemmi.Structure, path: Path) -> tuple[float, float, float, float, float, float]:
    if not structure.cell.is_crystal():
        raise FileFormatError(
            f"model {path}: has no unit cell (CRYST1, or _cell; 1 1 1 is none); crystal.cell and crystal.space_group say in which its "
            "atoms are to lie with the coordinates that they have"
        )
    a, b, c, alpha, beta, gamma = structure.cell.parameters
    return a, b, c, alpha, beta, gamma
