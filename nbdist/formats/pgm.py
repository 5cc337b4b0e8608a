"""Portable greymap images, binary ("P5"), 8 bits a pixel: the picture that nanoBragg writes for a quick look."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST = 255


def greys(image: NDArray[np.floating], scale: float) -> NDArray[np.uint8]:
    """Pixels times `scale`, cut at 0 and 255 and truncated, as nanoBragg does."""
    return np.clip(image.astype(np.float64) * scale, 0, LARGEST).astype(np.uint8)


def pgm_bytes(pixels: NDArray[np.uint8], comment: str) -> bytes:
    """A PGM file of 8-bit pixels (slow, fast): width and height, one comment line, the largest grey, then the pixels.

    Source: http://netpbm.sourceforge.net/doc/pgm.html
    """
    slow, fast = pixels.shape
    return f"P5\n{fast} {slow}\n# {comment}\n{LARGEST}\n".encode("ascii") + pixels.tobytes()
