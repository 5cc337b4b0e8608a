"""Distributions are counted as values come, in memory that does not grow, and are those of all values at once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nbdist.formats.distributions import MOST_BINS, MOST_WORDS, Numbers, Words


def counted(values, whole=False, parts=7):
    found = Numbers(whole)
    for part in np.array_split(values, parts):
        found.add(part)
    found.begin_histogram()
    for part in np.array_split(values, parts):
        found.count_in_bins(part)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_limits_mean_and_deviation_are_those_of_all_values(seed):
    values = np.random.default_rng(seed).normal(1e6, 3, 1000)
    found = counted(values)
    assert (found.count, found.missing) == (1000, 0)
    assert (found.least, found.greatest) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(), rel=1e-14)
    assert found.deviation == pytest.approx(values.std(), rel=1e-10)
    np.testing.assert_array_equal(found.counts, np.histogram(values, found.edges)[0])
    assert len(found.counts) == 20


def test_values_that_are_no_numbers_are_counted_apart():
    found = counted(np.array([1.0, np.nan, 3.0, np.inf, np.nan]))
    assert (found.count, found.missing, found.least, found.greatest, found.mean) == (2, 3, 1.0, 3.0, 2.0)
    assert found.counts.sum() == 2
    nothing = counted(np.full(4, np.nan))
    assert (nothing.count, nothing.missing, len(nothing.counts)) == (0, 4, 0)
    assert json.loads(json.dumps(nothing.as_json(), allow_nan=False))["mean"] is None


@pytest.mark.parametrize(
    ("values", "whole", "edges"),
    [
        ([2, 2, 5], True, [1.5, 2.5, 3.5, 4.5, 5.5]),
        ([7, 7], True, [6.5, 7.5]),
        ([0.5, 0.5], False, [0.25, 0.75]),
        ([0.0, 0.0], False, [-0.5, 0.5]),
        ([-1.0, 3.0], False, np.linspace(-1, 3, 4)),
        ([1.0, 500.0, 1000.0], False, np.linspace(1, 1000, 4)),
        ([1.0, 10.0, 100.0, 1000.0], False, np.geomspace(1, 1000, 5)),
        ([1, 2**20, 2**40, 2**62], True, np.geomspace(1, 2**62, 5)),
    ],
)
def test_bins_suit_the_values(values, whole, edges):
    found = counted(np.array(values), whole)
    np.testing.assert_allclose(found.edges, edges, rtol=1e-14)
    assert found.counts.sum() == len(values), "the greatest, too, lies in a bin"


def test_words_are_counted_in_the_order_in_which_they_were_met():
    found = Words()
    for part in (["b", "a", "b"], ["c", "a", "b"]):
        found.add(np.array(part, dtype=object))
    assert list(found.counts.items()) == [("b", 3), ("a", 2), ("c", 1)]
    assert (found.count, found.others, found.commonest(1)) == (6, 0, {"b": 3})


def test_more_words_than_are_counted_are_counted_together():
    found = Words()
    found.add(np.array([f"model {number}" for number in range(MOST_WORDS + 5)]))
    found.add(np.array(["model 0", "another"]))
    assert (len(found.counts), found.others, found.count) == (MOST_WORDS, 6, MOST_WORDS + 7)
    assert found.counts["model 0"] == 2


def test_a_long_column_has_bins_that_a_picture_has_room_for():
    assert len(counted(np.arange(30_000.0)).counts) == MOST_BINS
