"""Charge sharing of a counting detector: photons that a neighbour counts.

The charge of a photon that is absorbed near the edge of its pixel goes to both sides of the edge, and the pixel with the larger part
counts it. So each photon is counted once, in its own pixel or in a neighbour, independently of all others: of Poisson counts some move,
and what each pixel counts is Poisson again with the mean that the thinned means add up to (thinning and superposition: J. F. C. Kingman,
Poisson Processes, 1993, chapters 1 and 5). The share is therefore taken of the expected photons, before counts are drawn, and is exact.

Along either axis a share `a` goes to each side: 1 - 2 a stays in the row and in the column, a (1 - 2 a) goes to each of the four
neighbours by an edge, and a^2 to each of the four by a corner. What goes over the edge of a panel is lost.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def charge_sharing_taps(fraction: float) -> NDArray[np.float32]:
    """Shares along an axis of the pixel itself and of a neighbour, float32 (2,): all eight neighbours have `fraction` together.

    1 - fraction = (1 - 2 a)^2 gives a = (1 - sqrt(1 - fraction))/2.
    """
    side = (1 - math.sqrt(1 - fraction)) / 2
    return np.array([1 - 2 * side, side], dtype=np.float32)
