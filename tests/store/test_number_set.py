"""Numbers of units: a set that is indexed, and small."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.planning import Unit, Units
from nbdist.store.number_set import NumberSet

NUMBERS = st.sets(st.integers(0, 60))


@given(some=NUMBERS, others=NUMBERS)
def test_it_is_the_set_of_its_numbers(some, others):
    kept = NumberSet(some)
    assert list(kept) == sorted(some)
    assert kept == some == set(kept)
    assert [number in kept for number in range(-1, 62)] == [number in some for number in range(-1, 62)]
    assert (kept | others, kept & others, kept - others) == (some | others, some & others, some - others)
    assert (kept == NumberSet(others)) == (some == others)
    assert NumberSet.where(kept.flags(61)) == some
    assert pickle.loads(pickle.dumps(kept)) == kept


@given(some=NUMBERS, start=st.integers(-70, 70), stop=st.integers(-70, 70), step=st.sampled_from([1, 2, 7, -1, -3]))
def test_it_is_sliced_like_a_sorted_list(some, start, stop, step):
    assert NumberSet(some)[start:stop:step] == set(sorted(some)[start:stop:step])


def test_a_place_past_the_end_is_none():
    assert (NumberSet([5, 3])[-1], NumberSet([5, 3])[np.int64(0)]) == (5, 3)
    with pytest.raises(IndexError):
        NumberSet([5, 3])[2]


@pytest.mark.parametrize("numbers", [range(10**6), range(3, 10**6, 7)])
def test_evenly_spaced_numbers_take_no_memory(numbers):
    assert len(pickle.dumps(NumberSet(np.array(numbers)))) < 300


def test_others_take_four_bytes_each():
    scattered = NumberSet(np.flatnonzero(np.arange(10**6) % 7 > 2))
    assert len(pickle.dumps(scattered)) < 4 * len(scattered) + 300


def test_the_units_of_a_series_are_made_when_they_are_asked_for():
    units = Units(frames=10**9 + 1, size=2)
    assert (len(units), units[-1]) == (5 * 10**8 + 1, Unit(5 * 10**8, 10**9, 10**9 + 1))
    assert list(units[3:10:5]) == [Unit(3, 6, 8), Unit(8, 16, 18)]
    assert len(pickle.dumps(units)) < 300
    with pytest.raises(ValueError, match="at least 1"):
        Units(3, 0)
