"""Which unit is handed out next, which is set aside, and which worker is to blame."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.errors import DrawError, UnfinishedError
from nbdist.planning import Unit, Units
from nbdist.run.executors import Outcome
from nbdist.run.executors.submitting import spans_of
from nbdist.run.failures import ErrorLine
from nbdist.run.ledger import FAILS_IN_A_ROW, MOST_FAILED, RETRIES, Ledger
from nbdist.run.progress import Progress

FAILED = ErrorLine("ValueError: no amplitudes")


class Noted(Progress):
    """Progress that takes records of nothing but a unit's number."""

    def unit_done(self, record):
        self.units_done += 1


@pytest.fixture
def progress():
    return Noted()


def numbers(taken):
    return [unit.number for unit in taken]


def done(units, worker="well"):
    return Outcome(units, worker, records=[{"unit": unit.number} for unit in units])


def failed(units, worker="", piece="", error=FAILED):
    return Outcome(units, worker, errors={unit.number: error for unit in units}, piece=piece)


def test_units_are_read_only_as_they_are_handed_out(progress):
    ledger = Ledger(Units(10**12, 1), progress)
    assert numbers(ledger.take(3)) == [0, 1, 2]
    assert numbers(ledger.take(2)) == [3, 4]
    assert (ledger.left, ledger.in_flight) == (10**12, 5)


def test_what_was_not_begun_goes_out_next_and_in_order(progress):
    ledger = Ledger(Units(8, 1), progress)
    taken = ledger.take(4)
    ledger.settle(Outcome(taken, records=[{"unit": 0}]))
    assert ledger.in_flight == 0
    assert numbers(ledger.take(5)) == [1, 2, 3, 4, 5]


def test_tasks_that_are_lost_together_go_out_again_in_order(progress):
    ledger = Ledger(Units(9, 1), progress)
    for units in [ledger.take(2) for _ in range(3)]:
        ledger.settle(Outcome(units))
    assert numbers(ledger.take(9)) == [*range(9)]


def test_a_unit_that_fails_is_tried_again_alone_and_set_aside_after_its_retries(progress):
    ledger = Ledger(Units(4, 1), progress, retries=2)
    taken = ledger.take(3)
    ledger.settle(Outcome(taken, errors={0: FAILED}, records=[{"unit": 1}, {"unit": 2}]))
    for _ in range(2):
        assert progress.failed == {}
        again = ledger.take(3)
        assert numbers(again) == [0]
        ledger.settle(failed(again))
    assert progress.failed == {0: FAILED}
    assert progress.retried == 2
    ledger.settle(done(ledger.take(3)))
    assert ledger.take(3) == []
    assert ledger.finished
    assert progress.units_done == 3


def test_a_sample_that_is_no_experiment_is_not_drawn_again(progress):
    count = FAILS_IN_A_ROW
    ledger, error = Ledger(Units(count + 1, 1), progress), ErrorLine.of(DrawError("sample 0: beam.wavelength_A: -1"))
    for _ in range(count):
        ledger.settle(failed(ledger.take(1), "here", error=error))
    ledger.settle(done(ledger.take(1), worker="there"))
    assert (progress.failed, progress.retried, ledger.finished) == (dict.fromkeys(range(count), error), 0, True)
    assert ledger.failing_workers(["here", "there"]) == {}


def test_a_unit_of_pieces_may_lose_as_many_of_each_of_them(progress):
    ledger = Ledger(Units(1, 1), progress, retries=1)
    for piece in ("a", "b", "c"):
        ledger.settle(failed(ledger.take(1), piece=piece))
        assert progress.failed == {}
    ledger.settle(failed(ledger.take(1), piece="b"))
    assert list(progress.failed) == [0]


def test_units_whose_workers_died_go_out_one_at_a_time_so_that_the_one_that_kills_is_known(progress):
    ledger = Ledger(Units(6, 1), progress)
    ledger.settle(Outcome(ledger.take(3), killed="died"))
    suspect = ledger.take(5)
    assert numbers(suspect) == [0]
    others = ledger.take(5)
    assert numbers(others) == [3, 4, 5], "no other suspect is out with it"
    ledger.settle(Outcome(suspect, killed="died"))
    assert progress.failed == {0: "died"}, "it was alone"
    for number in (1, 2):
        suspect = ledger.take(5)
        assert numbers(suspect) == [number]
        ledger.settle(done(suspect))
    ledger.settle(done(others))
    assert ledger.finished
    assert list(progress.failed) == [0]


def test_a_suspect_that_was_not_begun_lets_the_next_one_out(progress):
    ledger = Ledger(Units(2, 1), progress)
    ledger.settle(Outcome(ledger.take(2), killed="died"))
    ledger.settle(Outcome(ledger.take(2)))
    assert numbers(ledger.take(2)) == [1]
    assert numbers(ledger.take(2)) == [0]


def test_a_run_in_which_everything_fails_ends(progress):
    ledger = Ledger(Units(10**9, 1), progress, retries=0)
    for _ in range(MOST_FAILED - 1):
        ledger.settle(failed(ledger.take(1)))
    with pytest.raises(UnfinishedError, match="1000 units failed"):
        ledger.settle(failed(ledger.take(1)))


@given(st.data())
def test_every_unit_ends_done_or_set_aside_whatever_happens_to_tasks(data):
    progress = Noted()
    ledger = Ledger(Units(12, 1), progress, retries=1)
    running = []
    for _ in range(400):
        if ledger.finished:
            break
        if units := ledger.take(data.draw(st.integers(1, 4))):
            running.append(units)
        assert ledger.in_flight == sum(map(len, running))
        if running:
            units = running.pop(data.draw(st.integers(0, len(running) - 1)))
            fate = data.draw(st.sampled_from(["done", "done", "failed", "killed", "not begun"]))
            fates = {"done": done(units), "failed": failed(units, "w"), "killed": Outcome(units, killed="died")}
            ledger.settle(fates.get(fate, Outcome(units)))
    while not ledger.finished:  # nothing goes wrong any more
        ledger.settle(done(running.pop() if running else ledger.take(1)))
    assert progress.units_done + len(progress.failed) == 12


def _fail_in_a_row(ledger, worker, count=FAILS_IN_A_ROW):
    """Let units fail at a worker, each for the first time."""
    units = []
    while len(units) < count:
        (unit,) = ledger.take(1)
        if ledger.avoided([unit]):
            ledger.settle(done([unit], "other"))
            continue
        units.append(unit)
        ledger.settle(failed([unit], worker))
    return units


def test_a_worker_that_fails_in_a_row_while_another_succeeds_is_to_blame_once(progress):
    ledger = Ledger(Units(20, 1), progress)
    _fail_in_a_row(ledger, "a")
    assert ledger.failing_workers("ab") == {}, "all may be as sick"
    ledger.settle(done(ledger.take(1), "b"))
    ((worker, line),) = ledger.failing_workers("ab").items()
    assert worker == "a"
    assert line == f"3 units in a row failed there, while others succeed elsewhere: {FAILED}"
    assert ledger.failing_workers("ab") == {}


def test_a_worker_that_is_gone_says_nothing_about_those_that_are_there(progress):
    ledger = Ledger(Units(20, 1), progress)
    ledger.settle(done(ledger.take(1), "gone"))
    _fail_in_a_row(ledger, "a")
    assert ledger.failing_workers("a") == {}


def test_a_success_between_failures_says_that_the_worker_is_well(progress):
    ledger = Ledger(Units(40, 1), progress)
    ledger.settle(done(ledger.take(1), "b"))
    for _ in range(3):
        _fail_in_a_row(ledger, "a", FAILS_IN_A_ROW - 1)
        ledger.settle(done(ledger.take(1), "a"))
        assert ledger.failing_workers("ab") == {}


def test_units_that_fail_everywhere_make_no_more_workers_sick_for_ever(progress):
    ledger = Ledger(Units(FAILS_IN_A_ROW + 1, 1), progress, retries=100)
    ledger.settle(done(ledger.take(1), "b"))
    blamed = 0
    for turn in range(50):
        for units in [ledger.take(1) for _ in range(FAILS_IN_A_ROW)]:
            ledger.settle(failed(units, f"worker {turn}"))
        blamed += len(ledger.failing_workers(["b", f"worker {turn}"]))
    assert blamed == 1


def test_a_unit_avoids_the_workers_at_which_it_failed_until_it_is_done(progress):
    ledger = Ledger(Units(1, 1), progress)
    units = ledger.take(1)
    ledger.settle(failed(units, "a"))
    assert ledger.avoided(ledger.take(1)) == {"a"}
    ledger.settle(done(units, "b"))
    assert ledger.avoided(units) == set()


def test_units_that_a_sick_worker_failed_are_charged_nothing(progress):
    ledger = Ledger(Units(FAILS_IN_A_ROW + 1, 1), progress, retries=0)
    well = ledger.take(1)
    units = [ledger.take(1) for _ in range(FAILS_IN_A_ROW)]
    for unit in units:
        ledger.settle(failed(unit, "a"))
    assert len(progress.failed) == FAILS_IN_A_ROW
    ledger.settle(done(well, "b"))
    assert "a" in ledger.failing_workers("ab")
    assert progress.failed == {}
    assert not ledger.finished
    assert numbers(ledger.take(10)) == [1, 2, 3]


def test_the_retries_are_those_of_the_ledger_unless_told_otherwise(progress):
    ledger = Ledger(Units(1, 1), progress)
    for _ in range(RETRIES):
        ledger.settle(failed(ledger.take(1)))
    assert progress.failed == {}
    ledger.settle(failed(ledger.take(1)))
    assert list(progress.failed) == [0]


@given(st.lists(st.integers(0, 30), unique=True))
def test_units_travel_as_spans_of_their_numbers(chosen):
    spans = spans_of([Unit(number, number, number + 1) for number in chosen])
    assert [number for first, last in spans for number in range(first, last)] == chosen
    assert len(spans) == 1 + sum(later != earlier + 1 for earlier, later in pairwise(chosen)) if chosen else spans == []
