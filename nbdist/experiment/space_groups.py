"""Space groups by the names and numbers that gemmi's table has for them; it is asked where one is named, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, WithJsonSchema

if TYPE_CHECKING:
    import gemmi

P1 = "P 1"
RHOMBOHEDRAL_WITHIN_DEG = 15.0
"""Between alpha and gamma, within which an R lattice counts as on rhombohedral axes; hexagonal ones have 90 and 120 degrees."""


def canonical_name(given: str | int) -> str:
    """Return the Hermann-Mauguin name of a space group as gemmi writes it: "P 43 21 2", "P 1 21/c 1", "R 3:H".

    An R lattice whose axes are not told ("R 3", "R32", 146) keeps its name without them: its cell decides.

    Parameters
    ----------
    given
        A name, with or without spaces, brackets and underscores, or a number from 1 to 230, which stands for the usual setting.

    Raises
    ------
    ValueError
        If there is none of that name, with those that are spelt alike.
    """
    import gemmi

    text = re.sub(r"[_()]", "", str(given)).strip()
    if text.isdecimal():
        found = gemmi.find_spacegroup_by_number(int(text)) if 1 <= int(text) <= 230 else None
    else:
        found = gemmi.find_spacegroup_by_name(text)
    if found is None:
        names = {group.short_name().lower(): group.xhm() for group in gemmi.spacegroup_table()}
        alike = get_close_matches(re.sub(r"\s", "", text).lower(), names, n=3)
        near = f"; near it: {', '.join(names[name] for name in alike)}" if alike else ""
        raise ValueError(f"should be a space group's Hermann-Mauguin name or number (1 to 230), found {given!r}{near}")
    axes_told = ":" in text or text.upper().startswith("H")
    return found.hm if found.ext in ("H", "R") and not axes_told else found.xhm()


def space_group(name: str, cell: Sequence[float]) -> gemmi.SpaceGroup:
    """Return the space group of a canonical name; of an R lattice whose axes are not told, that of the cell's (Angstrom, degrees)."""
    import gemmi

    found = gemmi.SpaceGroup(name)
    if found.ext not in ("H", "R") or ":" in name:
        return found
    return gemmi.SpaceGroup(f"{name}:{'R' if abs(cell[3] - cell[5]) < RHOMBOHEDRAL_WITHIN_DEG else 'H'}")


def may_be(name: str, wanted: str) -> bool:
    """Whether a crystal of which a program says one space group may have another: that, or one with screw axes or glides that it left open.

    Programs that have not looked at absences name the group of these rotations and this centring without any: P 4 2 2 for P 43 21 2.
    """
    import gemmi

    return (
        name == wanted
        or gemmi.SpaceGroup(name).operations() == gemmi.SpaceGroup(wanted).operations().derive_symmorphic()
    )


SpaceGroupName = Annotated[
    str,
    BeforeValidator(canonical_name),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 1, "maximum": 230}]}),
]
