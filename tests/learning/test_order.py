"""The order of an epoch: each item once, shard by shard, mixed, the same whoever asks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.learning.order import items_in_order, share

SHARDS = np.arange(96) // 8


def order(span=range(96), seed=1, epoch=0, buffer=16):
    return [item for item, _ in items_in_order(SHARDS, span, seed, epoch, buffer)]


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_are_the_whole_and_the_first_have_more(items, places):
    shares = [share(range(items), place, places) for place in range(places)]
    assert [item for its in shares for item in its] == list(range(items))
    sizes = [len(its) for its in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@given(
    st.lists(st.integers(1, 9), max_size=8),
    st.integers(1, 5),
    st.none() | st.integers(1, 20),
    st.integers(0, 2**64 - 1),
)
def test_the_shares_of_an_epoch_have_each_item_once(sizes, places, buffer, seed):
    shards = np.repeat(np.arange(len(sizes)), sizes)
    items = sum(sizes)
    spans = [share(range(items), place, places) for place in range(places)]
    found = [item for span in spans for item, _ in items_in_order(shards, span, seed, 3, buffer)]
    assert sorted(found) == list(range(items))


def test_epochs_and_seeds_have_their_own_order_and_the_same_one_again():
    assert order() == order()
    orders = [order(seed=seed, epoch=epoch) for seed, epoch in itertools.product((1, 2), (0, 1))]
    assert len({tuple(its) for its in orders}) == 4


def test_without_a_buffer_items_come_as_they_are():
    assert order(buffer=None) == list(range(96))


def test_a_buffer_of_one_mixes_shards_and_leaves_them_whole():
    found = np.array(order(buffer=1)).reshape(-1, 8)
    np.testing.assert_array_equal(found - found[:, :1], np.tile(np.arange(8), (12, 1)))
    assert sorted(found[:, 0]) == list(range(0, 96, 8))
    assert list(found[:, 0]) != sorted(found[:, 0])


def test_an_item_comes_when_a_buffer_has_come_in_before_it():
    entered = order(buffer=1)
    for place, item in enumerate(order(buffer=16)):
        assert entered.index(item) < place + 16


def test_the_shards_of_the_buffer_are_told_with_each_item():
    waiting = set()
    for item, shards in items_in_order(SHARDS, range(96), 1, 0, 16):
        assert SHARDS[item] in shards
        waiting.add(len(shards))
    assert 2 <= max(waiting) <= 16, "of 16 items"
    told = [(list(shards), item) for item, shards in items_in_order(SHARDS, range(96), 1, 0, None)]
    assert told == [([item // 8], item) for item in range(96)]


@pytest.mark.parametrize("buffer", [None, 16])
def test_no_items_have_no_order(buffer):
    assert not list(items_in_order(np.zeros(0, dtype=np.int64), range(0), 1, 0, buffer))
