"""Evenly spread points that stand for a normal distribution: what a sum takes in place of an integral.

Their mean of a smooth function converges about as 1/n, where that of random points converges as 1/sqrt(n).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nbdist.random_words import WORDS_PER_BLOCK, RandomWords

BITS = 32
"""Binary digits of a point before it is mapped; a sequence has 2^32 points."""
_standard_quantile = np.frompyfunc(NormalDist().inv_cdf, 1, 1)


def normal_points(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard normal deviates at places in (0, 1): the quantile of the normal distribution, of the same shape.

    It is Python's own (M. J. Wichura, Algorithm AS 241, Appl. Statist. 37 (1988) 477).
    """
    return np.asarray(_standard_quantile(places), dtype=np.float64)


def even_set(count: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """Points in (0, 1) whose number is known beforehand, float64 (count, dimensions): a Hammersley set.

    The first dimension is cut into `count` equal pieces, the others are those of `even_sequence`.
    """
    shift, *_ = even_sequence(1, 1, seed)[0]
    first = (np.arange(count)[:, None] + shift) / count
    return np.hstack([first, even_sequence(count, dimensions - 1, seed)])


def even_sequence(count: int, dimensions: int, seed: int, first: int = 0) -> NDArray[np.float64]:
    """Points first ... first + count - 1 of a scrambled Sobol' sequence in (0, 1), float64 (count, dimensions).

    Each of them, whatever its number, is uniform over the seeds, so that the mean over seeds is exact (J. Matousek, J. Complexity 14
    (1998) 527: random lower triangular matrices and a digital shift). Stretches of one sequence that follow on one another are even in
    their number, too: they suit the steps of a further variable.

    Parameters
    ----------
    dimensions
        At most 3.
    """
    words = RandomWords((seed, 0)).blocks((0, 0, 0, 0), -(-dimensions * (BITS + 1) // WORDS_PER_BLOCK)).ravel()
    random = (words >> np.uint64(64 - BITS))[: dimensions * (BITS + 1)].reshape(dimensions, BITS + 1)
    numbers = np.arange(first, first + count, dtype=np.uint64)
    points = np.empty((count, dimensions))
    for column, (shift, *below), directions in zip(points.T, random.tolist(), _directions(), strict=False):
        digits = np.full(count, shift, dtype=np.uint64)
        for bit in range((first + count - 1).bit_length()):
            scrambled = 0
            for place, lower in enumerate(below):
                if directions[bit] >> (BITS - 1 - place) & 1:  # the digit itself, and a random choice of those below it
                    scrambled ^= 1 << (BITS - 1 - place) | lower & (1 << (BITS - 1 - place)) - 1
            digits ^= (numbers >> np.uint64(bit) & np.uint64(1)) * np.uint64(scrambled)
        column[...] = (digits + 0.5) * 2.0**-BITS
    return points


def _directions() -> list[list[int]]:
    """Direction numbers of Sobol's sequence in three dimensions: of the polynomials 1, x + 1 and x^2 + x + 1.

    Source: S. Joe & F. Y. Kuo, SIAM J. Sci. Comput. 30 (2008) 2635, eq. (2) and their initial numbers.
    """
    second, third = [1], [1, 3]
    while len(third) < BITS:
        third.append(third[-1] << 1 ^ third[-2] << 2 ^ third[-2])
    while len(second) < BITS:
        second.append(second[-1] << 1 ^ second[-1])
    return [[number << (BITS - 1 - place) for place, number in enumerate(row)] for row in ([1] * BITS, second, third)]
