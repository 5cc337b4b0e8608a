"""Reflection files for tests, as gemmi writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import gemmi
import numpy as np

CELL = (24.0, 24.0, 19.0, 90.0, 90.0, 90.0)
TYPES = {
    "F": "F",
    "I": "J",
    "F(+)": "G",
    "F(-)": "G",
    "I(+)": "K",
    "I(-)": "K",
    "FC": "F",
    "FWT": "F",
    "DELFWT": "F",
    "PHIC": "P",
}
"""Types of columns by their labels; others have the type F."""


ITEMS = {
    "F": "F_meas_au",
    "I": "intensity_meas",
    "F(+)": "pdbx_F_plus",
    "F(-)": "pdbx_F_minus",
    "I(+)": "pdbx_I_plus",
    "I(-)": "pdbx_I_minus",
    "FC": "F_calc_au",
}
"""Items of a CIF by the labels of an MTZ file."""


def unit(name: str = "P 43 21 2", d_A: float = 3.0, cell: Sequence[float] = CELL) -> np.ndarray:
    """The asymmetric unit of a space group to a resolution, int32 (n, 3), as gemmi has it."""
    return gemmi.make_miller_array(gemmi.UnitCell(*cell), gemmi.SpaceGroup(name), d_A)


def write_mtz(
    path: Path,
    columns: Mapping[str, np.ndarray],
    indices: np.ndarray,
    space_group: str | None = "P 43 21 2",
    cell: Sequence[float] = CELL,
    types: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """An MTZ file of columns by their labels, and of others' types than theirs in TYPES; a CIF of the same where the name ends so."""
    if path.suffix == ".cif":
        path.write_text(_cif(columns, indices, space_group, cell))
        return path
    mtz = gemmi.Mtz(with_base=True)
    if space_group is not None:
        mtz.spacegroup = gemmi.SpaceGroup(space_group)
    mtz.set_cell_for_all(gemmi.UnitCell(*cell))
    mtz.add_dataset("d")
    for label in columns:
        mtz.add_column(label, (TYPES | dict(types)).get(label, "F"))
    mtz.set_data(np.column_stack([indices, *columns.values()]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


def _cif(columns: Mapping[str, np.ndarray], indices: np.ndarray, space_group: str | None, cell: Sequence[float]) -> str:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_test", *(f"_cell.{name} {value}" for name, value in zip(names, cell, strict=True))]
    lines += [] if space_group is None else [f"_symmetry.space_group_name_H-M '{space_group}'"]
    lines += ["loop_", *(f"_refln.index_{axis}" for axis in "hkl"), *(f"_refln.{ITEMS[label]}" for label in columns)]
    for hkl, *values in zip(indices, *columns.values(), strict=True):
        lines.append(" ".join([*map(str, hkl), *("?" if np.isnan(value) else repr(float(value)) for value in values)]))
    return "\n".join(lines) + "\n"
