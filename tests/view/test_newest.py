"""What was asked last is done; what was asked before it is not waited for."""

from __future__ import annotations

import threading

from waiting import until

from nbdist.errors import NbdistError
from nbdist.view.newest import Newest


def _newest() -> tuple[Newest, list[object]]:
    """One that does what is delivered at once, in its own thread, and what became of it."""
    told: list[object] = []
    return Newest(lambda then: then(), told.append), told


def test_of_what_is_asked_meanwhile_the_last_alone_is_done():
    newest, told = _newest()
    begun, go_on = threading.Event(), threading.Event()

    def first(_):
        begun.set()
        go_on.wait()
        return "first"

    newest.ask(first, told.append)
    begun.wait()
    for name in ("second", "third"):
        newest.ask(lambda _, name=name: name, told.append)
    go_on.set()
    until(lambda: "third" in told, "the third answer")
    assert told == ["first", "third"], "what was done is shown, and what nobody waits for any more is not done"
    newest.close()


def test_work_is_given_up_where_something_else_was_asked_for():
    newest, told = _newest()
    begun, asked = threading.Event(), threading.Event()

    def long(require_newest):
        begun.set()
        asked.wait()
        require_newest()
        return "long"

    newest.ask(long, told.append)
    begun.wait()
    newest.ask(lambda _: "short", told.append)
    asked.set()
    until(lambda: told, "an answer")
    assert told == ["short"]
    newest.close()


def test_an_error_is_told_and_the_next_request_is_done():
    newest, told = _newest()

    def fails(_):
        raise NbdistError("frame 3 is gone")

    newest.ask(fails, told.append)
    until(lambda: told, "the error")
    newest.ask(lambda _: "next", told.append)
    until(lambda: len(told) == 2, "the next answer")
    assert told == ["frame 3 is gone", "next"]
    newest.close()


def test_a_fault_is_told_too(caplog):
    newest, told = _newest()
    newest.ask(lambda _: 1 // 0, told.append)
    until(lambda: told, "the error")
    assert told == ["ZeroDivisionError: integer division or modulo by zero; this is a fault of nbdist"]
    assert "Traceback" in caplog.text
    newest.close()


def test_nothing_is_delivered_to_a_page_that_is_gone():
    newest, told = _newest()
    begun, closed, left = threading.Event(), threading.Event(), threading.Event()

    def work(require_newest):
        begun.set()
        closed.wait()
        try:
            require_newest()
        finally:
            left.set()

    newest.ask(work, told.append)
    begun.wait()
    newest.close()
    closed.set()
    left.wait()
    newest._thread.join()
    assert told == []
