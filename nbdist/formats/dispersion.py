"""Measured anomalous dispersion of an element: f' and f'' against photon energy, as CHOOCH writes them of a fluorescence scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError
from nbdist.formats.text import data_lines, read_text

Array = NDArray[np.float64]
WHAT = "table of dispersion"


def read_dispersion(path: Path) -> tuple[Array, Array, Array]:
    """Read photon energy in eV, ascending, f' and f'' in electrons, float64 (n,) each.

    CHOOCH's files (`.efs`) have the columns E, f'', f'; all others E, f', f''. Lines before the first one of three numbers are a title.

    Raises
    ------
    FileFormatError
        With the file and line, for a line that is not three numbers, energies that do not ascend, or an f'' below 0.
    """
    rows: list[tuple[float, float, float]] = []
    first, second = (2, 1) if path.suffix.lower() == ".efs" else (1, 2)
    for number, columns in data_lines(read_text(path, WHAT)):
        try:
            values = [float(column) for column in columns[:3]]
            good = len(values) == 3 and bool(np.isfinite(values).all())
        except ValueError:
            good = False
        if not good:
            if not rows:
                continue
            raise FileFormatError(f"{path}, line {number}: expected three numbers, found '{' '.join(columns[:4])}'")
        if rows and values[0] <= rows[-1][0]:
            raise FileFormatError(
                f"{path}, line {number}: energy {values[0]:g} is not above {rows[-1][0]:g} of the line before"
            )
        if values[second] < 0:
            raise FileFormatError(
                f"{path}, line {number}: f'' (column {second + 1}) is {values[second]:g}, below 0; .efs files have E f'' f', "
                "others E f' f''"
            )
        rows.append((values[0], values[first], values[second]))
    if not rows:
        raise FileFormatError(f"{WHAT} {path} holds no line of three numbers")
    table = np.array(rows)
    return table[:, 0], table[:, 1], table[:, 2]
