"""Slow work that a page asks for, done in a thread: what was asked last is done, and what has been asked before it is not waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from nbdist.errors import NbdistError, one_line

T = TypeVar("T")
Deliver = Callable[[Callable[[], None]], object]
Work = Callable[[Callable[[], None]], Callable[[], None]]
logger = logging.getLogger(__name__)


class SupersededError(Exception):
    """Something else has been asked for since."""


class Newest:
    """A thread that does what was asked last.

    Parameters
    ----------
    deliver
        Called in the thread with what is to be done with a result, which it does elsewhere.
    failed
        What is done with an error, said in one line.
    """

    def __init__(self, deliver: Deliver, failed: Callable[[str], None]) -> None:
        self._deliver, self._failed = deliver, failed
        self._pending: Work | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="nbdist view", daemon=True)
        self._thread.start()

    def ask(self, work: Callable[[Callable[[], None]], T], then: Callable[[T], None]) -> None:
        """Have `then` called with what `work` returns, unless something else is asked for before the work begins.

        Parameters
        ----------
        work
            Called in the thread, with a function that raises `SupersededError` where something else has been asked for since: it is
            to be called where the work can be given up.
        then
            Delivered.
        """

        def done(require_newest: Callable[[], None]) -> Callable[[], None]:
            result = work(require_newest)
            return lambda: then(result)

        with self._changed:
            self._pending = done
            self._changed.notify()

    def close(self) -> None:
        """Do nothing any more; work that goes on is given up where it can be."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _require_newest(self) -> None:
        if self._closed or self._pending is not None:
            raise SupersededError

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._pending is not None)
                if self._closed:
                    return
                work, self._pending = self._pending, None
            assert work is not None
            try:
                then = work(self._require_newest)
            except SupersededError:
                continue
            except (NbdistError, OSError) as error:
                self._tell(one_line(error))
                continue
            except Exception as error:
                logger.exception("what a page asked for failed")
                self._tell(f"{type(error).__name__}: {one_line(error)}; this is a fault of nbdist")
                continue
            if not self._closed:
                self._deliver(then)

    def _tell(self, said: str) -> None:
        if not self._closed:
            self._deliver(lambda: self._failed(said))
