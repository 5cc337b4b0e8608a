"""Merging: the weighted means of intensities that were observed several times, of Friedel mates together and apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.hkl import PACKING, unpacked

Array = NDArray[np.float64]


class Observations(NamedTuple):
    """Intensities as observed: Miller indices int32 (n, 3) of a reflection or one that is equivalent, I and its sigma (n,)."""

    indices: NDArray[np.int32]
    intensities: Array
    sigmas: Array


class Merged(NamedTuple):
    """Reflections, one of each set of equivalents and mates, int32 (n, 3), and their mean intensities (n,), NaN of none.

    `mean` is of both mates, `plus` of hkl and what is equivalent to it, `minus` of -h-k-l; a centric reflection is its own mate, and counts
    as `plus`. `observations` went into them.
    """

    indices: NDArray[np.int32]
    mean: Array
    plus: Array
    minus: Array
    observations: int


def merged(observations: Observations, rotations: NDArray[np.int64]) -> Merged:
    """Return the means sum(I/sigma^2) / sum(1/sigma^2) of equivalent observations.

    Parameters
    ----------
    observations
        One whose intensity is not finite, or whose sigma is not above 0, was rejected by whoever wrote it, and is left out.
    rotations
        W (m, 3, 3) of the space group: hkl W is equivalent to the row hkl.
    """
    used = np.isfinite(observations.intensities) & (observations.sigmas > 0)
    indices = observations.indices[used].astype(np.int64)
    last, is_mate = np.full(len(indices), np.iinfo(np.int64).min), np.zeros(len(indices), dtype=bool)
    for sign in (1, -1):  # the last of the equivalents in the order of h, k, l, else of the mates
        for rotation in rotations:
            packed = sign * (indices @ (rotation @ PACKING))
            is_mate[packed > last] = sign < 0
            np.maximum(last, packed, out=last)
    unique, which = np.unique(last, return_inverse=True)
    weights = 1 / np.square(observations.sigmas[used])
    weighted = weights * observations.intensities[used]

    def mean(some: NDArray[np.bool_]) -> Array:
        total = np.bincount(which[some], weights[some], len(unique))
        with np.errstate(invalid="ignore"):
            return np.asarray(np.bincount(which[some], weighted[some], len(unique)) / total)

    return Merged(
        unpacked(unique), mean(np.ones(len(last), dtype=bool)), mean(~is_mate), mean(is_mate), int(used.sum())
    )
