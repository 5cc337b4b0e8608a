"""The MOSFLM orientation ("A") matrix: nine numbers, columns a*, b*, c* times the wavelength, rows x, y, z.

MOSFLM itself writes three lines of A, one of misset angles, three of U, one of the cell (Angstrom, degrees) and one of misset angles;
other programs stop earlier.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError
from nbdist.formats.text import data_lines, read_text

WHAT = "orientation matrix file"


def read_mosflm_matrix(path: Path) -> NDArray[np.float64]:
    """Return the first nine numbers of `path` as a (3, 3) float64 array, dimensionless (reciprocal vectors x wavelength).

    MOSFLM writes more lines after the first three; they are ignored, as nanoBragg ignores them (`read_mosflm_cell` reads the cell).

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


def read_mosflm_cell(path: Path) -> tuple[float, float, float, float, float, float] | None:
    """Return the cell that a matrix file gives after its matrix, Angstrom and degrees; None where it gives none.

    It is the first line of six positive numbers, the last three of them below 180.

    Raises
    ------
    FileFormatError
        If the file cannot be read.
    """
    for _, columns in data_lines(read_text(path, WHAT)):
        try:
            numbers = [float(column) for column in columns]
        except ValueError:
            continue
        if len(numbers) == 6 and all(0 < number < np.inf for number in numbers) and max(numbers[3:]) < 180:
            a, b, c, alpha, beta, gamma = numbers
            return a, b, c, alpha, beta, gamma
    return None
