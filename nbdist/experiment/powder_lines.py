"""Rings of known powders, as published structures have them."""

from __future__ import annotations

from typing import Literal

Preset = Literal["ice", "salt", "silver_behenate"]

POWDER_LINES: dict[Preset, tuple[tuple[float, float], ...]] = {
    "ice": (
        (3.895, 55.0),
        (3.661, 35.0),
        (3.439, 41.9),
        (2.668, 34.4),
        (2.249, 96.8),
        (2.068, 100.0),
        (1.947, 14.1),
        (1.916, 62.3),
        (1.882, 16.8),
        (1.719, 8.5),
        (1.522, 49.6),
        (1.472, 20.6),
        (1.443, 16.7),
        (1.371, 39.1),
        (1.366, 15.4),
        (1.298, 24.7),
        (1.261, 56.5),
        (1.224, 18.3),
    ),
    "salt": (
        (3.256, 4.7),
        (2.820, 75.5),
        (1.994, 100.0),
        (1.701, 4.8),
        (1.628, 48.0),
        (1.410, 27.2),
        (1.294, 4.1),
        (1.261, 85.3),
        (1.151, 68.3),
    ),
    "silver_behenate": tuple((58.380 / order, 1.0) for order in range(1, 14)),
}
"""Spacings in Angstrom, and multiplicity x |F|^2 relative to the strongest line.

Ice Ih at 100 K: cell of K. Roettger et al., Acta Cryst. B50 (1994) 644 (a 4.4975, c 7.3224 A), sites of A. Goto et al., J. Chem. Phys. 93
(1990) 1412, B 1.0 (O) and 1.5 A^2 (H). Sodium chloride: a 5.6402 A, B 1.7 (Na) and 1.4 A^2 (Cl). |F| of both from the form factors of
International Tables C, table 6.1.1.4, of neutral atoms; lines below 1 % of the strongest near others are left out. Silver behenate:
the 13 orders of 58.380 A of T. C. Huang et al., J. Appl. Cryst. 26 (1993) 180; |F| is taken to be the same in all of them, as of sheets
of silver alone.
"""
