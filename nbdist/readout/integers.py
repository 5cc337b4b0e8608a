"""The whole numbers of `counts`: readings, and the two below or above them that mark pixels without one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

GAP, BAD = -1, -2
"""Gaps and masked pixels, and bad pixels; an unsigned type holds the same bits, its largest number and the one below."""


def marker(value: int, dtype: str) -> int:
    """`GAP` or `BAD` as a type of integers holds it."""
    return int(np.array(value, dtype=np.int64).astype(dtype))


def is_reading(image: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Pixels of counts that were read: neither a gap, nor masked, nor bad."""
    if image.dtype.kind == "u":
        return image < marker(BAD, image.dtype.name)
    return image >= 0
