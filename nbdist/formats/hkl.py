"""Structure-factor amplitudes as nanoBragg reads them: `h k l F` a line, any further columns ignored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError
from nbdist.formats.text import data_lines, read_text

WHAT = "structure-factor file"
LARGEST_INDEX = 1_000_000
INDEX_BITS = 21
PACKING = np.array([2 ** (2 * INDEX_BITS), 2**INDEX_BITS, 1])
"""hkl times these is one whole number: they are in the order of h, k, l, and that of -h-k-l has the other sign."""
BLOCK_CHARACTERS = 2**22


def unpacked(packed: NDArray[np.int64]) -> NDArray[np.int32]:
    """Miller indices int32 (n, 3) of numbers that `PACKING` made of them."""
    indices, rest, half = np.empty((len(packed), 3), dtype=np.int32), packed, 2 ** (INDEX_BITS - 1)
    for axis in (2, 1):
        indices[:, axis] = (rest + half) % 2**INDEX_BITS - half
        rest = (rest - indices[:, axis]) >> INDEX_BITS
    indices[:, 0] = rest
    return indices


def read_hkl(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read amplitudes from a text file.

    Parameters
    ----------
    path
        Lines of `h k l F`: whole Miller indices and an amplitude in electrons. Blank lines and `#` comments are skipped.

    Returns
    -------
    indices : int64 array (n, 3)
    amplitudes : float64 array (n,), electrons

    Raises
    ------
    FileFormatError
        With the file and line, for a line that does not hold three whole numbers and a finite amplitude.
    """
    text = read_text(path, WHAT)
    indices, amplitudes = _read_fast(text) or _read_lines(text, path)
    if len(amplitudes) and not indices[-1].any() and amplitudes[-1] == 0:
        *_, (_, last) = data_lines(text)
        if len(last) > 4 and not last[4].strip("0."):
            raise FileFormatError(
                f"{WHAT} {path} ends with '{' '.join(last)}', as SHELX's HKLF 4 does: its fourth column is F^2, and here it is F; give the "
                ".fcf, or F without that line (HKLF 3)"
            )
    if len(amplitudes) == 0:
        raise FileFormatError(f"{WHAT} {path} holds no reflections")
    return indices, amplitudes


def _read_fast(text: str) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Whole-file parse of a regular file; None sends the caller to the line-by-line reader, which can name a bad line."""
    indices: list[NDArray[np.int64]] = []
    amplitudes: list[NDArray[np.float64]] = []
    for lines in _blocks(text):
        if not any(line.split("#", 1)[0].strip() for line in lines):
            continue
        try:
            table = np.loadtxt(lines, dtype=np.float64, usecols=(0, 1, 2, 3), ndmin=2)
        except (ValueError, IndexError):
            return None
        whole = table[:, :3]
        if not (np.isfinite(table).all() and (whole == np.rint(whole)).all() and (np.abs(whole) < LARGEST_INDEX).all()):
            return None
        indices.append(whole.astype(np.int64))
        amplitudes.append(table[:, 3].copy())
    return (np.concatenate(indices), np.concatenate(amplitudes)) if indices else None


def _blocks(text: str) -> Iterator[list[str]]:
    """The lines of a text, so many at a time that they take little memory beside it."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + BLOCK_CHARACTERS) + 1 or len(text)
        yield text[start:end].splitlines()
        start = end


def _read_lines(text: str, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    indices: list[tuple[int, int, int]] = []
    amplitudes: list[float] = []
    for number, columns in data_lines(text):
        try:
            if len(columns) < 4:
                raise ValueError
            h, k, l, amplitude = (float(column) for column in columns[:4])
            if any(index != round(index) or abs(index) >= LARGEST_INDEX for index in (h, k, l)):
                raise ValueError
            if not np.isfinite(amplitude):
                raise ValueError
        except (ValueError, OverflowError):
            found = " ".join(columns[:6])
            raise FileFormatError(
                f"{path}, line {number}: expected 'h k l F' (whole h, k, l), found '{found}'"
            ) from None
        indices.append((int(h), int(k), int(l)))
        amplitudes.append(amplitude)
    return np.array(indices, dtype=np.int64).reshape(-1, 3), np.array(amplitudes, dtype=np.float64)
