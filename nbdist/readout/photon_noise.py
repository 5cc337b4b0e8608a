"""Photon noise: exact Poisson deviates that depend on the seed, the frame and the pixel, and on nothing else.

The random words of a pixel are those of the key (seed, frame) and the counter (pixel, attempt) (see `random_words`), so a frame can be
drawn again alone, in any pieces and on any worker.

Small means are drawn by inverting the distribution function with one 53-bit uniform; others by transformed rejection
(PTRS: W. Hoermann, Insurance: Mathematics and Economics 12 (1993) 39), which is exact, with fresh words for every attempt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbdist.random_words import RandomWords, uniforms

SMALL_MEAN = 10.0
LARGEST_COUNT = 2**31 - 1
PIXELS_AT_A_TIME = 2**18
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
HALF_LOG_2_PI = 0.91893853320467274


def photon_counts(photons: NDArray[np.float32], seed: int, frame: int, first_pixel: int = 0) -> NDArray[np.int32]:
    """Draw the counts of an image of a frame.

    Parameters
    ----------
    photons
        Expected photons (slow, fast), as stored.
    seed
        0 to 2^64 - 1.
    frame
        Number of the frame in its series.
    first_pixel
        Counter of the first pixel, from which all others are counted on: the pixels of the panels before, where there are several.

    Returns
    -------
    int32 (slow, fast); a count past 2^31 - 1 is held there.
    """
    flat, words = photons.ravel(), RandomWords((seed, frame))
    counts = np.empty(flat.shape, dtype=np.int32)
    for start in range(0, flat.size, PIXELS_AT_A_TIME):
        piece = slice(start, min(start + PIXELS_AT_A_TIME, flat.size))
        counts[piece] = _draw(flat[piece].astype(np.float64), words, first_pixel + start)
    return counts.reshape(photons.shape)


def _draw(means: NDArray[np.float64], words: RandomWords, first_pixel: int) -> NDArray[np.int32]:
    counts = np.zeros(means.shape, dtype=np.int32)
    first = uniforms(words.blocks((first_pixel, 0, 0, 0), means.size)[:, 0])
    small = np.flatnonzero((means > 0) & (means < SMALL_MEAN))
    counts[small] = _invert(means[small], first[small])
    large = np.flatnonzero(means >= SMALL_MEAN)
    attempt = 1
    while large.size:
        drawn = uniforms(words.blocks((first_pixel, attempt, 0, 0), means.size)[large])
        for pair in (0, 2):
            candidate, accepted = _transformed_rejection(means[large], drawn[:, pair], drawn[:, pair + 1])
            counts[large[accepted]] = np.minimum(candidate[accepted], LARGEST_COUNT)
            large, drawn = large[~accepted], drawn[~accepted]
        attempt += 1
    return counts


def _invert(means: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.int32]:
    """Smallest k with P(X <= k) > u."""
    counts = np.zeros(means.shape, dtype=np.int32)
    active = np.arange(means.size)
    probability = np.exp(-means)
    cumulative = probability.copy()
    k = 0
    while True:
        above = drawn[active] >= cumulative
        active, probability, cumulative = active[above], probability[above], cumulative[above]
        if not active.size:
            return counts
        k += 1
        counts[active] = k
        probability = probability * means[active] / k
        grown = cumulative + probability
        going_on = grown > cumulative  # past the last digit of the distribution function the tail ends
        active, probability, cumulative = active[going_on], probability[going_on], grown[going_on]


def _transformed_rejection(
    means: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """One attempt of PTRS for means of 10 or more: candidates and which of them are accepted."""
    log_mean = np.log(means)
    b = 0.931 + 2.53 * np.sqrt(means)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_limit = 0.9277 - 3.6224 / (b - 2)
    centred = u - 0.5
    distance = 0.5 - np.abs(centred)
    candidate = np.floor((2 * a / distance + b) * centred + means + 0.43)
    quick = (distance >= 0.07) & (v <= v_limit)
    possible = (candidate >= 0) & ((distance >= 0.013) | (v <= distance))
    left = np.log(v) + np.log(inverse_alpha) - np.log(a / (distance * distance) + b)
    right = -means + candidate * log_mean - _log_factorial(np.maximum(candidate, 0))
    return candidate, quick | (possible & (left <= right))


def _log_factorial(whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """log n! by Stirling's series with the terms to n^-11, from n + 8 down: to 1e-15 of its value (Abramowitz and Stegun 6.1.41)."""
    x = whole + 9.0
    inverse = 1 / (x * x)
    series = np.zeros_like(x)
    for coefficient in reversed(STIRLING):
        series = series * inverse + coefficient
    rising = np.ones_like(x)  # (n + 1) ... (n + 8)
    for step in range(1, 9):
        rising *= whole + step
    return np.asarray((x - 0.5) * np.log(x) - x + HALF_LOG_2_PI + series / x - np.log(rising))
