"""Small atomic models as PDB files, for the tests of structure factors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

CELL = (20.0, 24.0, 28.0, 90.0, 90.0, 90.0)
SITES = (
    ("N", (3.1, 4.2, 5.3), 1.0, 12.0),
    ("C", (4.4, 4.9, 5.6), 1.0, 14.0),
    ("C", (5.2, 4.1, 6.7), 1.0, 13.0),
    ("O", (6.4, 4.4, 6.9), 0.6, 18.0),
    ("S", (7.7, 9.9, 11.2), 1.0, 16.0),
    ("SE", (12.4, 2.6, 20.1), 0.8, 20.0),
    ("H", (4.9, 5.9, 5.2), 1.0, 15.0),
)
"""Element, place in Angstrom, occupancy, B in Angstrom^2."""
Site = tuple[str, tuple[float, float, float], float, float]


def atom_lines(sites: Sequence[Site]) -> str:
    """ATOM records."""
    return "".join(
        f"ATOM  {number:5d} {element:>2s}   MSE A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{B:6.2f}          {element:>2s}\n"
        for number, (element, (x, y, z), occupancy, B) in enumerate(sites, start=1)
    )


def write_model(
    path: Path, sites: Sequence[Site] = SITES, space_group: str | None = "P 21 21 21", extra: str = "", cell=CELL
) -> Path:
    """Write a model; without a space group it has no CRYST1. `extra` are lines after it."""
    a, b, c, *angles = cell
    crystal = (
        f"CRYST1{a:9.3f}{b:9.3f}{c:9.3f}" + "{:7.2f}{:7.2f}{:7.2f} ".format(*angles) + f"{space_group or '':<11s}\n"
    )
    path.write_text(("" if space_group is None else crystal) + extra + atom_lines(sites) + "END\n")
    return path
