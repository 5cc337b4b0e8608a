"""Dask's messages go out although the clock of the machine is set back."""

from __future__ import annotations

import time

import distributed.batched
import pytest
from tornado.ioloop import IOLoop

from nbdist.run.steady_clock import keep_steady


@pytest.fixture
def wall_clock(monkeypatch):
    """The time of day as `distributed` sees it, which a test may set."""
    clock = [1e9]
    monkeypatch.setattr(IOLoop, "time", lambda loop: clock[0])
    monkeypatch.setattr(distributed.batched, "time", lambda: clock[0])
    return clock


def test_a_clock_that_is_set_back_does_not_go_back(wall_clock):
    keep_steady()
    before = distributed.batched.time()
    assert before == pytest.approx(1e9, abs=1.0), "deadlines set before stay right"
    wall_clock[0] -= 86400
    time.sleep(0.01)
    assert 0.009 < distributed.batched.time() - before < 3600
    assert abs(IOLoop.time(None) - distributed.batched.time()) < 3600, "deadlines and delays are by one clock"


def test_keeping_it_steady_twice_changes_nothing(wall_clock):
    keep_steady()
    first = distributed.batched.time
    keep_steady()
    assert distributed.batched.time is first
