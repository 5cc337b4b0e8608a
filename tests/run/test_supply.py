"""Which unit is handed out next, and which is set aside."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.errors import UnfinishedError
from nbdist.planning import Unit
from nbdist.run.progress import MOST_FAILED, Progress
from nbdist.run.submitting import spans_of
from nbdist.run.supply import Supply


def units(count):
    """Units of one frame, made one by one."""
    return (Unit(number, number, number + 1) for number in range(count))


def numbers(taken):
    return [unit.number for unit in taken]


def test_units_are_read_only_as_they_are_handed_out():
    read = []
    supply = Supply((read.append(unit) or unit for unit in units(10**9)), 2, Progress())
    assert numbers(supply.take(3)) == [0, 1, 2]
    assert numbers(supply.take(2)) == [3, 4]
    assert len(read) == 5


def test_what_is_given_back_goes_out_next_and_in_order():
    supply = Supply(units(8), 2, Progress())
    taken = supply.take(4)
    supply.give_back(taken[1:])
    assert numbers(supply.take(5)) == [1, 2, 3, 4, 5]


def test_a_unit_that_fails_is_tried_again_alone_and_set_aside_after_its_retries():
    progress = Progress()
    supply = Supply(units(4), 2, progress)
    first, *others = supply.take(3)
    for attempt in range(2):
        supply.failed(first, f"attempt {attempt}")
        again = supply.take(3)
        assert numbers(again) == [0]
        assert progress.failed == {}
    supply.failed(first, "the last attempt")
    assert progress.failed == {0: "the last attempt"}
    assert progress.retried == 2
    assert numbers(supply.take(3)) == [3]
    assert supply.take(3) == []
    assert numbers(others) == [1, 2]


def test_a_unit_that_failed_once_and_is_done_then_starts_afresh():
    progress = Progress()
    supply = Supply(units(1), 1, progress)
    for _ in range(3):
        (unit,) = supply.take(1)
        supply.failed(unit, "now and then")
        supply.take(1)
        supply.done(unit.number)
        supply.give_back([unit])
    assert progress.failed == {}


def test_units_whose_workers_died_go_out_one_at_a_time_so_that_the_one_that_kills_is_known():
    progress = Progress()
    supply = Supply(units(6), 2, progress)
    supply.killed(supply.take(3), "died")
    (suspect,) = supply.take(5)
    assert suspect.number == 0
    assert numbers(supply.take(5)) == [3, 4, 5], "no other suspect is out with it"
    supply.killed([suspect], "died")
    assert progress.failed == {0: "died"}, "it was alone"
    (suspect,) = supply.take(5)
    supply.done(suspect.number)
    (last,) = supply.take(5)
    assert (suspect.number, last.number) == (1, 2)
    supply.done(2)
    assert supply.take(5) == []
    assert list(progress.failed) == [0]


def test_a_suspect_that_is_given_back_lets_the_next_one_out():
    supply = Supply(units(2), 2, Progress())
    supply.killed(supply.take(2), "died")
    supply.give_back(supply.take(2))
    assert numbers(supply.take(2)) == [1]
    assert numbers(supply.take(2)) == [0]


def test_a_run_in_which_everything_fails_ends():
    supply = Supply(units(10**9), 0, Progress())
    for _ in range(MOST_FAILED - 1):
        supply.failed(supply.take(1)[0], "no amplitudes")
    with pytest.raises(UnfinishedError, match=r"1000 units failed.*--resume"):
        supply.failed(supply.take(1)[0], "no amplitudes")


@given(st.lists(st.integers(0, 30), unique=True))
def test_units_travel_as_spans_of_their_numbers(chosen):
    spans = spans_of([Unit(number, number, number + 1) for number in chosen])
    assert [number for first, last in spans for number in range(first, last)] == chosen
    assert len(spans) == 1 + sum(later != earlier + 1 for earlier, later in pairwise(chosen)) if chosen else spans == []
