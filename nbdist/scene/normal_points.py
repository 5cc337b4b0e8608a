"""Evenly spread points that stand for a normal distribution: what a sum takes in place of an integral.

Their mean of a smooth function converges about as 1/n, where that of random points converges as 1/sqrt(n).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nbdist.random_words import RandomWords, uniforms


def normal_points(count: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """Points of independent standard normal deviates, float64 (count, dimensions).

    They are a Kronecker sequence u_i = s + i (1/g, 1/g^2, ...) mod 1 with g^(dimensions + 1) = g + 1, the golden ratio and its likes in
    more dimensions, whose multiples stay farthest from whole numbers (M. Roberts, The unreasonable effectiveness of quasirandom
    sequences, 2018), through the quantile of the normal distribution (M. J. Wichura, Algorithm AS 241, Appl. Statist. 37 (1988) 477,
    in Python's own library). The shift s is uniform and follows from the seed, so that the mean over seeds is exact.
    """
    ratio = 1.5
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    words = RandomWords((seed, dimensions)).blocks((0, 0, 0, 0), 1)[0]
    shift = uniforms(words)[:dimensions]
    places = (shift + np.arange(count)[:, None] * ratio ** -np.arange(1.0, dimensions + 1)) % 1.0
    quantile = np.frompyfunc(NormalDist().inv_cdf, 1, 1)
    return np.asarray(quantile(np.maximum(places, 2.0**-54)), dtype=np.float64)
