"""nanoBragg's X-ray source list: `x y z weight wavelength` a line, positions and wavelengths in metres, later columns optional.

Blanks, commas, semicolons, colons and exclamation marks stand between columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbdist.errors import FileFormatError
from nbdist.formats.text import data_lines, read_text

WHAT = "source file"
SEPARATORS = str.maketrans(",;:!", "    ")


@dataclass(frozen=True)
class SourceLine:
    """One source: where it lies as seen from the sample (m, one to three numbers), its weight and wavelength (m) where given."""

    position_m: tuple[float, ...]
    weight: float | None
    wavelength_m: float | None


def read_source_list(path: Path) -> list[SourceLine]:
    """Read a nanoBragg source file.

    Raises
    ------
    FileFormatError
        With the file and line, for a line that is not one to five numbers that a source can have.
    """
    sources: list[SourceLine] = []
    for number, columns in data_lines(read_text(path, WHAT).translate(SEPARATORS)):
        try:
            values = [float(column) for column in columns[:5]]
        except ValueError:
            values = []
        if not values or not np.isfinite(values).all():
            found = " ".join(columns)
            raise FileFormatError(f"{path}, line {number}: expected 'x y z weight wavelength_m', found '{found}'")
        weight = values[3] if len(values) > 3 else None
        wavelength_m = values[4] if len(values) > 4 else None
        if weight is not None and weight < 0:
            raise FileFormatError(f"{path}, line {number}: weight {weight:g} is negative")
        if wavelength_m is not None and wavelength_m <= 0:
            raise FileFormatError(f"{path}, line {number}: wavelength {wavelength_m:g} m is not above 0")
        if len(values) >= 3 and not any(values[:3]):
            raise FileFormatError(f"{path}, line {number}: a source at the sample (0 0 0) has no direction")
        sources.append(SourceLine(tuple(values[:3]), weight, wavelength_m))
    if not sources:
        raise FileFormatError(f"{WHAT} {path} holds no sources")
    if not any(source.weight is None or source.weight > 0 for source in sources):
        raise FileFormatError(f"{WHAT} {path}: all weights are 0")
    return sources
