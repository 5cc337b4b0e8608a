"""The MOSFLM orientation ("A") matrix: nine numbers, columns a*, b*, c* times the wavelength, rows x, y, z."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError
from nbdist.formats.text import data_lines, read_text

WHAT = "orientation matrix file"


def read_mosflm_matrix(path: Path) -> NDArray[np.float64]:
    """Return the first nine numbers of `path` as a (3, 3) float64 array, dimensionless (reciprocal vectors x wavelength).

    MOSFLM writes more lines (misset angles, cell) after the first three; they are ignored, as nanoBragg ignores them.

    Raises
    ------
    FileFormatError
        If there are fewer than nine numbers, or one of them is not a finite number (with its line).
    """
    numbers: list[float] = []
    for line, columns in data_lines(read_text(path, WHAT)):
        for column in columns:
            if len(numbers) == 9:
                break
            try:
                value = float(column)
            except ValueError:
                value = np.nan
            if not np.isfinite(value):
                raise FileFormatError(
                    f"{path}, line {line}: expected a number of the orientation matrix, found '{column}'"
                )
            numbers.append(value)
    if len(numbers) < 9:
        raise FileFormatError(f"{WHAT} {path} holds {len(numbers)} numbers, expected 9")
    return np.array(numbers).reshape(3, 3)
