"""Deviates of counters, in numpy: the specification, which compiled code repeats bit for bit.

Words. The generator is Philox 4x32 with ten rounds (J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC'11). Its key is
a seed's two halves, and its counter (number, frame, sample, stage << 24 | attempt): four 32-bit words for each, which can be had alone.

Bits. Nothing is computed here but by the operations that IEEE 754 rounds correctly (+ - * / and roots, each rounded by itself), and
constants come from decimal arithmetic. So every machine, library and compiler finds the same deviates.

Poisson counts take a block of words a pixel, two numbers W and V of 64 bits. A mean below 32 is cut into its whole part and the rest,
whose counts add up to the pixel's: that of the whole part comes from a table (A. J. Walker, ACM Trans. Math. Software 3 (1977) 253) by
W, that of the rest, below 1, inverts its distribution function at V. Other means are drawn by transformed rejection (PTRS:
W. Hoermann, Insurance: Mathematics and Economics 12 (1993) 39), an attempt a block. Its test compares the density of a count as
C. Loader (Fast and accurate computation of binomial probabilities, 2000) writes it, without differences of large numbers.

Normal and uniform deviates take 64 bits each, so that two consecutive ones share a block. A normal deviate is the quantile of the normal
distribution, z(p) = x f(w), x = 1 - 2p, w = -log(4p(1 - p)), with polynomials for f that err by less than 2e-7 of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]
Counter = tuple[int, int, int]
"""The three higher words of a counter: frame, sample, and stage << 24 | attempt."""

LARGEST_COUNT = 2**31 - 1
LARGEST_MEAN = 2.0**32
"""Larger means are as good as this one: no count of it, either, lies below the largest that can be held."""
TABLE_MEANS, TABLE_COUNTS = 32, 128
"""Whole means with a table, and its counts: what lies beyond has a probability of 1e-37 or less."""
PIECE = 2**15
"""Pixels drawn at a time: their words stay in a core's cache."""

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

# least maximal error: (1 - exp(-t))/t on 0 to 1; 2 atanh(s)/s in s^2, for ratios of up to sqrt 2
EXP = (
    *(1.0, -0.499999999999999925, 0.166666666666662448, -0.0416666666665736882, 0.00833333333226765715),
    *(-0.00138888888161262804, 0.000198412666482103822, -0.0000248014932371481221, 2.75554173049552741e-6),
    *(-2.75307977036055913e-7, 2.48003703950647542e-8, -1.9309460924429583e-9, 1.01391096517217851e-10),
)
ATANH = (
    *(2.0, 0.66666666666667646308, 0.39999999999301940255, 0.28571428760731872062, 0.22222197047088983399),
    *(0.18183632204378251579, 0.15312514111923801299, 0.14809857144897001342),
)
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)
LOG_2, TWO_PI = 0.6931471805599453094, 6.283185307179586477
LEAST_LOGARITHM = 700.0
MOST_OF_THE_REST = 18
"""A mean of 1 has this many counts with a probability of 2^-54."""

# in float32: log(1 + t)/t for ratios of up to sqrt 2; f(w) in w - 2.5 for w to 5; beyond, f/sqrt(w) in 1/sqrt(w) - 0.3
LOG_SINGLE = (
    *(0.9999999741, -0.4999999638, 0.3333419329, -0.2500135219, 0.1995593336, -0.165779929, 0.1497740128),
    *(-0.1426925821, 0.08533313083),
)
MIDDLE_LIMIT, MIDDLE_SHIFT, TAIL_SHIFT = 5.0, 2.5, 0.3
MIDDLE = (
    *(2.12331348, 0.3488020277, -0.005907725659, -0.001771622653, 0.0003087926634, -7.032063363e-6),
    *(-4.898814945e-6, 6.620377014e-7, 3.30020413e-8, -1.263165085e-8),
)
TAIL = (
    *(1.343938127, -0.2629211166, 0.237063127, 0.9747797937, 3.078103009, 17.82401689, -32.05470505),
    *(-406.2575315, 98.36288879, 4444.842657),
)
ROOT_HALF_BITS, ROOT_HALF_BITS_SINGLE = 0x3FE6A09E667F3BCD, 0x3F3504F3


def poisson(
    seed: int, counter: Counter, first_pixel: int, means: NDArray[np.float32], counts: NDArray[np.int32]
) -> None:
    """Write a Poisson deviate of each mean (both flat), held at 2^31 - 1; what is no positive number counts 0."""
    for start in range(0, means.size, PIECE):
        piece = slice(start, min(start + PIECE, means.size))
        pixels = np.arange(first_pixel + piece.start, first_pixel + piece.stop, dtype=np.uint64)
        counts[piece] = _piece_of_poisson(means[piece], pixels, seed, counter)


def normals(seed: int, counter: Counter, first: int, out: NDArray[np.float32]) -> None:
    """Write normal deviates of mean 0 and variance 1 for the numbers from `first` on."""
    for piece, words in _pieces(seed, counter, first, out.size):
        out[piece] = quantiles(words)


def uniforms(seed: int, counter: Counter, first: int, out: NDArray[np.float64]) -> None:
    """Write uniform deviates in (0, 1) for the numbers from `first` on."""
    for piece, words in _pieces(seed, counter, first, out.size):
        out[piece] = middles(words)


def middles(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The middle of that of 2^52 equal parts of (0, 1) which the highest 52 bits name."""
    return ((words >> 12).astype(np.float64) + 0.5) * 2.0**-52


def quantiles(words: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Normal deviates, up to 9.1 in size: the highest bit is the sign, and the others say how far from that end p lies."""
    high = (words >> 32).astype(np.uint32)
    far = (high & 0x7FFFFFFF).astype(np.int32).astype(np.float32)
    near = (words.astype(np.uint32) >> 1).astype(np.int32).astype(np.float32)
    p = (far + (near + 0.5) * 2.0**-31) * 2.0**-32
    y = 4 * p * (1 - p)
    exponent = (y.view(np.int32) - ROOT_HALF_BITS_SINGLE) >> 23
    t = (y.view(np.int32) - (exponent << 23)).view(np.float32) - 1
    w = exponent.astype(np.float32) * -LOG_2 - t * _polynomial(t, LOG_SINGLE)
    root = np.sqrt(np.maximum(w, MIDDLE_LIMIT))
    tail = root * _polynomial(1 / root - TAIL_SHIFT, TAIL)
    f = np.where(w < MIDDLE_LIMIT, _polynomial(w - MIDDLE_SHIFT, MIDDLE), tail)
    size = (1 - 2 * p) * f
    return np.where(high >> 31, -size, size)


def exp_of_minus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(-x) of numbers x from 0 on, to a few of its last digits; exp(-700) of those past 700."""
    x = np.where(x < LEAST_LOGARITHM, x, LEAST_LOGARITHM)
    halvings = np.floor(x / LOG_2)
    rest = x - halvings * LOG_2
    return np.asarray(np.ldexp(1 - rest * _polynomial(rest, EXP), -halvings.astype(np.int32)))


def philox(seed: int, numbers: NDArray[np.uint64], counter: Counter) -> Words:
    """Four words of 32 bits for each counter (number, *counter)."""
    a, b, c, d = numbers, *(np.full(1, word, dtype=np.uint64) for word in counter)
    first, second = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        left, right = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (
            (right >> HALF) ^ b ^ np.uint64(first),
            right & LOW,
            (left >> HALF) ^ d ^ np.uint64(second),
            left & LOW,
        )
        first, second = (first + WEYL[0]) & 0xFFFFFFFF, (second + WEYL[1]) & 0xFFFFFFFF
    return a, b, c, d


def _pieces(seed: int, counter: Counter, first: int, number: int) -> Iterator[tuple[slice, NDArray[np.uint64]]]:
    """64 random bits for each number from `first` on, a piece at a time: number n has half n % 2 of block n // 2."""
    for start in range(0, number, PIECE):
        piece = slice(start, min(start + PIECE, number))
        begin, end = first + piece.start, first + piece.stop
        a, b, c, d = philox(seed, np.arange(begin // 2, (end + 1) // 2, dtype=np.uint64), counter)
        both = np.stack([_joined(a, b), _joined(c, d)], axis=1).ravel()
        yield piece, both[begin % 2 :][: end - begin]


@functools.cache
def whole_mean_table() -> NDArray[np.int64]:
    """How counts of whole means are drawn: int64 (mean, column).

    A column is as likely as any other, and holds two counts: its own number with probability (entry >> 7) / 2^56, else entry & 127.
    Probabilities are multiples of 2^-63, the nearest to Poisson's; the most probable one takes what that leaves of 1.
    """
    table = np.empty((TABLE_MEANS, TABLE_COUNTS), dtype=np.int64)
    with localcontext(prec=50):
        for mean in range(TABLE_MEANS):
            probability, parts = Decimal(-mean).exp(), []
            for count in range(TABLE_COUNTS):
                parts.append(int((probability * 2**63).to_integral_value()))
                probability = probability * mean / (count + 1)
            parts[mean] += 2**63 - sum(parts)
            table[mean] = _walker(parts)
    return table


def _walker(parts: list[int]) -> list[int]:
    """Entries of a table whose counts have these parts of 2^63: what a column has not itself, it has of one with more than it can hold."""
    whole = 2**56
    scarce = [count for count, part in enumerate(parts) if part < whole]
    rich = [count for count, part in enumerate(parts) if part >= whole]
    left, entries = list(parts), [(whole - 1) << 7 | count for count in range(len(parts))]
    while scarce:
        count, other = scarce.pop(), rich[-1]
        entries[count] = left[count] << 7 | other
        left[other] -= whole - left[count]
        if left[other] < whole:
            scarce.append(rich.pop())
    return entries


@functools.cache
def stirling_rests() -> NDArray[np.float64]:
    """log k! - log(sqrt(2 pi k) (k/e)^k) for k below 16, where its series converges slowly; 0 is taken as 1/2 under the root."""
    rests = np.empty(16)
    with localcontext(prec=50):
        factorial, log_2_pi = Decimal(1), Decimal("6.28318530717958647692528676655900576839433879875021").ln()
        for k in range(16):
            factorial *= max(k, 1)
            log_power = k * Decimal(k).ln() - k if k else Decimal(0)
            root = (log_2_pi + max(Decimal(k), Decimal("0.5")).ln()) / 2
            rests[k] = float(factorial.ln() - log_power - root)
    return rests


def _piece_of_poisson(
    means: NDArray[np.float32], pixels: NDArray[np.uint64], seed: int, counter: Counter
) -> NDArray[np.int32]:
    m = np.minimum(np.where(means > 0, means, 0), LARGEST_MEAN).astype(np.float64)
    a, b, c, d = philox(seed, pixels, counter)
    whole = np.minimum(np.floor(m), TABLE_MEANS - 1)
    word = _joined(a, b)
    column = (word & 127).astype(np.int64)
    entry = whole_mean_table()[whole.astype(np.int64), column]
    counts = np.where((word >> 1 | 127).astype(np.int64) < entry, column, entry & 127)
    counts += _inverted(np.minimum(m - whole, 1), middles(_joined(c, d)))
    large = np.flatnonzero(m >= TABLE_MEANS)
    attempt = 0
    while large.size:
        a, b, c, d = philox(seed, pixels[large], (counter[0], counter[1], counter[2] | attempt))
        candidate, accepted = _transformed_rejection(m[large], middles(_joined(a, b)), middles(_joined(c, d)))
        counts[large[accepted]] = np.minimum(candidate[accepted], LARGEST_COUNT)
        large = large[~accepted]
        attempt += 1
    return counts.astype(np.int32)


def _inverted(means: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Smallest count whose distribution function exceeds u, for means from 0 to 1."""
    probability = 1 - means * _polynomial(means, EXP)
    below = probability
    counts = np.zeros(means.shape, dtype=np.int64)
    active = u >= below
    for count in range(1, MOST_OF_THE_REST):
        if not active.any():
            break
        counts += active
        probability = probability * means * (1.0 / count)
        further = below + probability
        active &= (u >= further) & (further > below)  # past the last digit of the distribution function its tail ends
        below = further
    return counts


def _transformed_rejection(
    m: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """One attempt of PTRS: candidates and which of them are accepted."""
    b = 0.931 + 2.53 * np.sqrt(m)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    centred = u - 0.5
    distance = 0.5 - np.abs(centred)
    k = np.floor((2 * a / distance + b) * centred + m + 0.43)
    quick = (distance >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
    possible = (k >= 0) & ((distance >= 0.013) | (v <= distance))
    k = np.maximum(k, 0)
    hat = v * inverse_alpha / (a / (distance * distance) + b)
    root = np.sqrt(TWO_PI * np.maximum(k, 0.5))
    accepted = quick | (possible & (_log(hat * root - 1, hat * root) <= -_deviance(k, m) - _stirling_rest(k)))
    return k, accepted


def _deviance(k: NDArray[np.float64], m: NDArray[np.float64]) -> NDArray[np.float64]:
    """k log(k/m) - k + m; m for k = 0."""
    t = (k - m) / m
    return np.asarray(k * _log(t, 1 + t) - (k - m))


def _stirling_rest(k: NDArray[np.float64]) -> NDArray[np.float64]:
    inverse = 1 / np.maximum(k, 1)
    series = inverse * _polynomial(inverse * inverse, STIRLING)
    return np.where(k < 16, stirling_rests()[np.minimum(k, 15).astype(np.int64)], series)


def _log(t: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """log y where y is 1 + t, to the digits of t where that is small; a number where y is 0."""
    bits = y.view(np.int64)
    exponent = (bits - ROOT_HALF_BITS) >> 52
    t = np.where(exponent == 0, t, (bits - (exponent << 52)).view(np.float64) - 1)
    s = t / (2 + t)
    return np.asarray(exponent.astype(np.float64) * LOG_2 + s * _polynomial(s * s, ATANH))


def _polynomial(x: NDArray[Any], coefficients: tuple[float, ...]) -> NDArray[Any]:
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value


def _joined(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return high << HALF | low
