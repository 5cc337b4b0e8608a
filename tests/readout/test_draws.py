"""Deviates have the distributions they say, and depend on seed, sample, frame, stage and pixel alone.

Seeds are fixed, so no limit here is met by luck: five standard deviations is what a right generator stays within.
"""

from __future__ import annotations

from math import erfc, lgamma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.native.build import load
from nbdist.readout import deviates
from nbdist.readout.compiled import compiled
from nbdist.readout.deviates import _inverted, exp_of_minus, philox, whole_mean_table
from nbdist.readout.draws import Draws, Stage

PIXELS = 2_000_000
MEANS = [1e-6, 0.1, 1.0, 9.99, 10.01, 31.99, 32.0, 33.0, 400.0, 1e3, 1e6, 1e9]


def counts_of(mean, seed=11, frame=0, pixels=PIXELS):
    return Draws(seed, frame).poisson(np.full(pixels, mean, dtype=np.float32))


def poisson_law(mean):
    """The first count that matters, and the probabilities of all that do, from the ratios of neighbours."""
    most, reach = int(mean), int(13 * np.sqrt(mean) + 25)
    first = max(0, most - reach)
    logarithms = np.concatenate([[0], np.cumsum(np.log(mean) - np.log(np.arange(first + 1, most + reach + 1)))])
    probabilities = np.exp(logarithms - logarithms.max())
    return first, probabilities / probabilities.sum()


def poisson_probabilities(counts, mean):
    return np.exp(counts * np.log(mean) - mean - np.array([lgamma(k + 1) for k in counts]))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_words_are_the_known_answers_of_philox(counter, key, words):
    # the lines for philox4x32 10 in kat_vectors of the authors' Random123
    drawn = philox(key[0] | key[1] << 32, np.array([counter[0]], dtype=np.uint64), counter[1:])
    assert [int(word[0]) for word in drawn] == list(words)


@pytest.mark.parametrize("mean", [0, 1, 9, 31])
def test_the_table_of_a_whole_mean_holds_poissons_probabilities(mean):
    counts = np.arange(128)
    entries = whole_mean_table()[mean]
    own = (entries >> 7).astype(np.float64) / 2**63
    found = own + np.bincount(entries & 127, 2.0**-7 - own, minlength=128)
    expected = poisson_probabilities(counts, mean) if mean else counts == 0
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("mean", MEANS)
def test_counts_have_the_mean_variance_and_tails_of_poissons_law(mean):
    counts, mean = counts_of(mean), float(np.float32(mean))
    drawn = counts - mean
    assert abs(drawn.mean()) <= 5 * np.sqrt(mean / PIXELS)
    # the fourth central moment of Poisson's distribution is m + 3 m^2: 5 sigma are 0.5 % where the mean is large
    assert abs((drawn**2).mean() - mean) <= 5 * np.sqrt((mean + 2 * mean**2) / PIXELS)
    # bins of a quarter of a standard deviation, or of a count; those of less than 20 go into the last of their side
    first, probabilities = poisson_law(mean)
    width = max(1, round(np.sqrt(mean) / 4))
    starts = np.arange(0, len(probabilities), width)
    expected = PIXELS * np.add.reduceat(probabilities, starts)
    found = np.bincount((counts - first) // width, minlength=len(starts))
    assert len(found) == len(starts), "a count of less than 1e-20"
    low, high = np.flatnonzero(expected >= 20)[[0, -1]]
    expected, found = (
        np.concatenate([[n[:low].sum()], n[low : high + 1], [n[high + 1 :].sum()]]) for n in (expected, found)
    )
    # each end by its own binomial law, and all together: chi-square has mean n and variance 2 n
    assert (np.abs(found - expected)[[0, -1]] <= 5 * np.sqrt(expected[[0, -1]]) + 5).all()
    degrees = len(expected) - 3
    chi_squared = ((found - expected)[1:-1] ** 2 / expected[1:-1]).sum()
    assert abs(chi_squared - degrees) <= 5 * np.sqrt(2 * degrees) + 5


@pytest.mark.parametrize("mean", [1e-12, 1e-6, 0.1, 0.5, 0.999999])
def test_the_first_count_is_as_probable_as_it_should_be(mean):
    # the share of a rare count, far below what samples show: 0 up to exp(-m), to the last digits of the uniform deviate
    edge = np.exp(-mean) + np.array([-3, 3]) * 2.0**-52
    assert _inverted(np.full(2, mean), edge).tolist() == [0, 1]


def test_the_exponential_is_that_of_the_library_to_its_last_digits():
    x = np.concatenate([np.linspace(0, 2, 10_001), np.linspace(2, 700, 10_001)])
    # a rounding of x is one of x 1e-16 of its exponential
    assert (np.abs(exp_of_minus(x) / np.exp(-x) - 1) <= (2 + x) * 2.0**-52).all()
    assert exp_of_minus(np.array([0.0, 1e9])).tolist() == [1.0, exp_of_minus(np.array([700.0]))[0]]


def test_what_is_no_positive_mean_counts_nothing():
    assert not Draws(1).poisson(np.array([0, -1, np.nan, -np.inf], dtype=np.float32)).any()


def test_counts_past_int32_are_held_at_its_largest():
    counts = Draws(1).poisson(np.array([[np.inf, 1e30, 1e12, 4e9, 1e9]], dtype=np.float32))[0]
    assert counts[:4].tolist() == [2**31 - 1] * 4
    # 5 sigma of 1e9
    assert abs(int(counts[4]) - 1e9) < 5 * np.sqrt(1e9)


def test_counts_are_int32_in_the_shape_of_the_frame():
    counts = Draws(1).poisson(np.ones((7, 5), dtype=np.float32))
    assert counts.dtype == np.int32
    assert counts.shape == (7, 5)


def test_normal_deviates_have_the_moments_and_tails_of_the_normal_distribution():
    drawn = Draws(3).normals(Stage.READ_NOISE, PIXELS)
    assert drawn.dtype == np.float32
    z = drawn.astype(np.float64)
    # the variance of z^n is the difference of the moments (2n)!! - (n!!)^2 of the standard normal distribution
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((z**power).mean() - moment) <= 5 * np.sqrt(variance / PIXELS)
    for limit in (-3, -2, -1, -0.1, 0, 0.5, 1.5, 2.5, 3.5):
        share = erfc(limit / np.sqrt(2)) / 2
        assert abs((z > limit).mean() - share) <= 5 * np.sqrt(share * (1 - share) / PIXELS)


def test_uniform_deviates_fill_the_unit_interval_evenly():
    drawn = Draws(3).uniforms(Stage.BAD_PIXELS, PIXELS)
    assert drawn.dtype == np.float64
    assert 0 < drawn.min() < drawn.max() < 1
    found = np.bincount((drawn * 50).astype(int), minlength=50)
    assert ((found - PIXELS / 50) ** 2 / (PIXELS / 50)).sum() <= 49 + 5 * np.sqrt(2 * 49)


@given(
    means=st.lists(st.floats(0, 1e5, width=32), min_size=2, max_size=40),
    place=st.integers(0),
    value=st.floats(0, 1e5, width=32),
)
def test_counts_of_a_pixel_depend_on_its_own_mean_only(means, place, value):
    photons = np.array([means], dtype=np.float32)
    before = Draws(3, 8).poisson(photons)
    photons[0, place % len(means)] = value
    after = Draws(3, 8).poisson(photons)
    others = np.arange(len(means)) != place % len(means)
    np.testing.assert_array_equal(after[0, others], before[0, others])


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (4_001, 4_002), (17, 70_003), (32_767, 99_999)])
def test_pixels_are_drawn_the_same_alone(start, stop):
    draws, means = Draws(5, 2), np.random.default_rng(1).uniform(0, 60, 100_000).astype(np.float32)
    np.testing.assert_array_equal(draws.poisson(means[start:stop], start), draws.poisson(means)[start:stop])
    for draw in (draws.normals, draws.uniforms):
        whole = draw(Stage.TEXTURE, len(means))
        np.testing.assert_array_equal(draw(Stage.TEXTURE, stop - start, start), whole[start:stop])


@pytest.fixture(scope="module")
def many_means():
    """Of all sizes, those near the ends of the methods' ranges, and what is no mean."""
    random = np.random.default_rng(5)
    means = np.concatenate([10 ** random.uniform(-7, 10, 400_000), random.uniform(0, 40, 600_000), np.arange(64)])
    edges = np.nextafter(np.float32([0, 1, 31, 32, 2**31, 2**32]), np.float32(np.inf))
    return np.concatenate([means, edges, [0, -1, np.nan, np.inf]]).astype(np.float32)


def test_compiled_deviates_are_those_of_the_specification(many_means):
    seed, counter, first, draws = 2**63 + 7, (3, 5, Stage.PHOTONS << 24), 1001, Draws(2**63 + 7, 3, 5)
    counts = np.empty(many_means.shape, dtype=np.int32)
    deviates.poisson(seed, counter, first, many_means, counts)
    np.testing.assert_array_equal(draws.poisson(many_means, first), counts)
    for function, draw, dtype in (
        (deviates.normals, draws.normals, np.float32),
        (deviates.uniforms, draws.uniforms, np.float64),
    ):
        expected = np.empty(len(many_means), dtype=dtype)
        function(seed, (3, 5, Stage.TEXTURE << 24), first, expected)
        np.testing.assert_array_equal(draw(Stage.TEXTURE, len(many_means), first), expected)


def test_without_a_compiler_the_specification_draws_which_is_said_once(monkeypatch, tmp_path, caplog):
    means = np.linspace(0, 50, 1000, dtype=np.float32)
    expected = Draws(1).poisson(means), Draws(1).normals(Stage.TEXTURE, 1000), Draws(1).uniforms(Stage.TEXTURE, 1000)
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setenv("NBDIST_KERNELS", str(tmp_path))
    load.cache_clear(), compiled.cache_clear()
    try:
        with caplog.at_level("WARNING", logger="nbdist"):
            found = (
                Draws(1).poisson(means),
                Draws(1).normals(Stage.TEXTURE, 1000),
                Draws(1).uniforms(Stage.TEXTURE, 1000),
            )
    finally:
        load.cache_clear(), compiled.cache_clear()
    for its, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(its, theirs)
    assert [record.message for record in caplog.records] == [
        "the read-out's deviates cannot be compiled here (the C++ compiler /nowhere/g++ does not run (No such file or "
        "directory)); numpy draws them, twenty times slower"
    ]


def test_normal_deviates_reach_far_and_are_quantiles():
    # 2^-10, 2^-30 and the middle of 2 and 4 2^-64 of the distribution from either end, by the complementary error function
    words = np.array([2**54, 2**34, 2], dtype=np.uint64)
    z = deviates.quantiles(np.concatenate([words, words | np.uint64(2**63)])).astype(np.float64)
    np.testing.assert_array_equal(z[3:], -z[:3])
    shares = [erfc(value / np.sqrt(2)) / 2 for value in z[:3]]
    # a relative error of z of 2e-7 is one of z^2 2e-7 of the share
    np.testing.assert_allclose(shares, [2.0**-10, 2.0**-30, 1.5 * 2.0**-63], rtol=3e-5)


def test_pixels_frames_samples_stages_and_seeds_are_independent():
    pixels = 300_000
    streams = [
        Draws(seed, frame, sample).normals(stage, pixels)
        for seed, frame, sample, stage in [
            (7, 0, 0, Stage.READ_NOISE),
            (7, 0, 0, Stage.CALIBRATION),
            (7, 1, 0, Stage.READ_NOISE),
            (7, 0, 1, Stage.READ_NOISE),
            (8, 0, 0, Stage.READ_NOISE),
            (7 << 32, 0, 0, Stage.READ_NOISE),
            (2**64 - 1, 2**32 - 1, 2**32 - 1, Stage.READ_NOISE),
        ]
    ]
    streams += [counts_of(mean, seed, frame, pixels) for mean, seed in [(3.0, 7), (50.0, 12)] for frame in (0, 1)]
    # correlations of independent deviates have a standard deviation of 1/sqrt(n)
    correlations = np.corrcoef(streams)[np.triu_indices(len(streams), 1)]
    assert np.abs(correlations).max() <= 5 / np.sqrt(pixels)
    for drawn in streams:
        for step in (1, 2, 3):
            assert abs(np.corrcoef(drawn[:-step], drawn[step:])[0, 1]) <= 5 / np.sqrt(pixels)


def test_the_same_seed_and_frame_give_the_same_counts():
    # and have given them since this was written: what is stored can be made again
    counts = Draws(9, 4).poisson(np.array([0.5, 5, 20, 31, 33, 500, 1e6, 1e9] * 2, dtype=np.float32))
    assert counts.tolist() == [0, 3, 18, 42, 32, 518, 1002623, 1000049296, 0, 5, 18, 30, 40, 493, 1000408, 1000018647]
    assert Draws(9, 4).normals(Stage.READ_NOISE, 3).tolist() == [
        0.047378066927194595,
        0.026406215503811836,
        1.0742932558059692,
    ]
    assert Draws(9, 4).uniforms(Stage.JITTER, 2).tolist() == [0.9297427065635838, 0.9914554917346646]
