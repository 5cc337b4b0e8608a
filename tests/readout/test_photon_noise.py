"""Photon counts are Poisson deviates of the pixel's own mean, and depend on seed, frame and pixel only.

Seeds are fixed, so no limit here is met by luck: five standard deviations is what a right generator stays within.
"""

from __future__ import annotations

from math import lgamma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.readout import photon_noise as noise
from nbdist.readout.photon_noise import photon_counts

PIXELS = 100_000
MEANS = [0.01, 0.3, 1.0, 3.7, 9.0, 9.999, 10.0, 10.001, 12.5, 30.0, 137.0, 1e3, 3.3e4, 1e6]


def counts_of(mean, seed=11, frame=0, pixels=PIXELS):
    return photon_counts(np.full((pixels // 100, 100), mean, dtype=np.float32), seed, frame)


def poisson_pmf(k, mean):
    return np.exp(k * np.log(mean) - mean - np.array([lgamma(n + 1) for n in k]))


@pytest.mark.parametrize("mean", MEANS)
def test_mean_and_variance_are_poissons(mean):
    counts = counts_of(mean).astype(np.float64)
    mean = float(np.float32(mean))
    assert abs(counts.mean() - mean) <= 5 * np.sqrt(mean / PIXELS)
    # the fourth central moment of Poisson's distribution is m + 3 m^2
    assert abs(counts.var(ddof=1) - mean) <= 5 * np.sqrt((mean + 2 * mean**2) / PIXELS)


@pytest.mark.parametrize("mean", [0.5, 4.0, 9.999, 10.0, 25.0, 400.0])
def test_counts_are_distributed_as_poissons_law(mean):
    counts, mean = counts_of(mean).ravel(), float(np.float32(mean))
    k = np.arange(int(mean + 12 * np.sqrt(mean) + 20))
    expected = PIXELS * poisson_pmf(k, mean)
    kept = expected >= 20
    found = np.bincount(counts, minlength=len(k))[: len(k)]
    rest = PIXELS - expected[kept].sum()
    chi_squared = ((found - expected)[kept] ** 2 / expected[kept]).sum()
    degrees = int(kept.sum())
    if rest > 5:
        chi_squared += (PIXELS - found[kept].sum() - rest) ** 2 / rest
    # chi-square has mean n and variance 2 n
    assert chi_squared <= degrees + 5 * np.sqrt(2 * degrees)
    assert chi_squared >= degrees - 5 * np.sqrt(2 * degrees)


def test_a_mean_of_zero_gives_no_counts():
    assert not counts_of(0.0).any()


def test_counts_are_int32_in_the_shape_of_the_frame():
    counts = photon_counts(np.ones((7, 5), dtype=np.float32), 1, 0)
    assert counts.dtype == np.int32
    assert counts.shape == (7, 5)


@given(
    means=st.lists(st.floats(0, 1e5, width=32), min_size=2, max_size=40),
    place=st.integers(0),
    value=st.floats(0, 1e5, width=32),
)
def test_counts_of_a_pixel_depend_on_its_own_mean_only(means, place, value):
    photons = np.array([means], dtype=np.float32)
    before = photon_counts(photons, 3, 8)
    photons[0, place % len(means)] = value
    after = photon_counts(photons, 3, 8)
    others = np.arange(len(means)) != place % len(means)
    np.testing.assert_array_equal(after[0, others], before[0, others])


def test_counts_do_not_depend_on_how_many_pixels_are_drawn_at_a_time(monkeypatch):
    photons = np.random.default_rng(1).uniform(0, 40, (60, 70)).astype(np.float32)
    whole = photon_counts(photons, 5, 2)
    monkeypatch.setattr(noise, "PIXELS_AT_A_TIME", 101)
    np.testing.assert_array_equal(photon_counts(photons, 5, 2), whole)


def test_the_first_rows_of_a_frame_are_drawn_the_same_alone():
    photons = np.random.default_rng(2).uniform(0, 40, (60, 70)).astype(np.float32)
    np.testing.assert_array_equal(photon_counts(photons[:13], 5, 2), photon_counts(photons, 5, 2)[:13])


@pytest.mark.parametrize("mean", [3.0, 50.0])
def test_pixels_frames_and_seeds_are_independent(mean):
    frames = [
        counts_of(mean, seed, frame).ravel().astype(np.float64)
        for seed, frame in [(7, 0), (7, 1), (8, 0), (1, 7), (2**64 - 1, 0), (2**64 - 2, 0), (7, 10_000)]
    ]
    # correlations of independent deviates have a standard deviation of 1/sqrt(n)
    correlations = np.corrcoef(frames)[np.triu_indices(len(frames), 1)]
    assert np.abs(correlations).max() <= 5 / np.sqrt(PIXELS)
    for counts in frames:
        assert abs(np.corrcoef(counts[:-1], counts[1:])[0, 1]) <= 5 / np.sqrt(PIXELS)


def test_the_same_seed_and_frame_give_the_same_counts():
    np.testing.assert_array_equal(counts_of(20.0, 9, 4), counts_of(20.0, 9, 4))


def test_counts_past_int32_are_held_at_its_largest():
    photons = np.array([[1e30, 1e12, 4e9, 1e9]], dtype=np.float32)
    counts = photon_counts(photons, 1, 0)[0]
    assert counts[:3].tolist() == [2**31 - 1] * 3
    # 5 sigma of 1e9
    assert abs(int(counts[3]) - 1e9) < 5 * np.sqrt(1e9)
