"""A curve against sin(theta)/lambda, as nanoBragg's `.stol` files: two columns, the first ascending, in 1/Angstrom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError
from nbdist.formats.text import data_lines, read_text


def read_stol(path: Path, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a curve; later columns are ignored.

    Parameters
    ----------
    what
        Names the file in an error: "amplitude curve".

    Returns
    -------
    sin(theta)/lambda in 1/Angstrom and the curve's values, float64 (n,) each.

    Raises
    ------
    FileFormatError
        With the file and line, for a line that is not two numbers, neither of them negative, or whose first one is not above the one
        before.
    """
    rows: list[tuple[float, float]] = []
    for number, columns in data_lines(read_text(path, what)):
        try:
            stol, value = float(columns[0]), float(columns[1])
            good = 0 <= stol < np.inf and 0 <= value < np.inf
        except (ValueError, IndexError):
            good = False
        if not good:
            found = " ".join(columns[:3])
            raise FileFormatError(
                f"{path}, line {number}: expected 'sin(theta)/lambda value', neither negative, found '{found}'"
            )
        if rows and stol <= rows[-1][0]:
            raise FileFormatError(
                f"{path}, line {number}: sin(theta)/lambda {stol:g} is not above {rows[-1][0]:g} of the line before"
            )
        rows.append((stol, value))
    if not rows:
        raise FileFormatError(f"{what} {path} holds no numbers")
    curve = np.array(rows)
    return curve[:, 0], curve[:, 1]
