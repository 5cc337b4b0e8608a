"""Being told to end: Ctrl-C, SIGTERM and SIGHUP end a command in order, at every moment of its life, with one line and status 128 + signal.

The first signal raises `Terminated` in the main thread; what is open is closed on its way up. Python drops an exception that is raised
in a callback of its own (a finalizer, a `__del__`): it is then raised again outside. Later signals do not disturb the closing, but a
second Ctrl-C after `PATIENCE_S` ends the process at once, and so does every signal when the command has nothing left to do but to exit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_UNFINISHED, EXIT_WRONG = 1, 2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 1.0
"""Two presses of Ctrl-C closer than this are one."""
AGAIN_S = 0.01
"""After which an exception that was dropped is raised again."""


class Terminated(KeyboardInterrupt):
    """This process was told to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


class _Told:
    """What this process was told, and when."""

    def __init__(self) -> None:
        self.listening = False
        self.forget()

    def forget(self) -> None:
        """Be told nothing so far."""
        self.first: Terminated | None = None
        self.number: int = signal.SIGINT
        self.since = 0.0
        self.dropped = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.first is None:
            self.first, self.number, self.since = Terminated(number), number, time.monotonic()
            raise self.first
        if self.dropped:
            self.dropped = False
            raise self.first
        if number == signal.SIGINT and time.monotonic() - self.since > PATIENCE_S:
            with contextlib.suppress(OSError):
                os.write(2, b"nbdist: interrupted again: ended at once\n")
            os._exit(self.first.exit_status)

    def raise_again(self) -> None:
        """Raise what was dropped, as soon as the callback that dropped it is over."""
        self.dropped = True
        again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), self.number))
        again.daemon = True
        again.start()


_told = _Told()


def listen() -> Callable[[], None]:
    """Let signals raise `Terminated` from now on; what `nohup` ignores stays ignored. Returns what puts everything back.

    Where that is so already, and outside the main thread, nothing happens.
    """
    if _told.listening or threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.getsignal(number) for number in SIGNALS}
    caught = [number for number in SIGNALS if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    hook = sys.unraisablehook

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if _told.first is None or unraisable.exc_value is not _told.first:
            hook(unraisable)
            return
        while True:
            with contextlib.suppress(
                Terminated
            ):  # on a busy machine it may come before this hook is over, and would be dropped again
                _told.raise_again()
                return

    def put_back() -> None:
        for number in caught:
            signal.signal(number, before[number])
        sys.unraisablehook = hook
        _told.listening = False

    _told.forget()
    _told.listening = True
    sys.unraisablehook = dropped
    for number in caught:
        signal.signal(number, _told.hear)
    return put_back


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """A block in which signals raise `Terminated`, as `listen` says."""
    put_back = listen()
    try:
        yield
    finally:
        put_back()


def was_told() -> bool:
    """Whether this process was told to end."""
    return _told.first is not None


def require_untold() -> None:
    """Raise `Terminated` where this process was told to end and goes on nevertheless: something has dropped the exception."""
    if _told.first is not None:
        raise _told.first


def status_of(error: BaseException) -> int | None:
    """The exit status where an error came of being told to end, whatever it became on its way up; None where it is one of its own."""
    if _told.first is not None:
        return _told.first.exit_status
    return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


def leave(status: int) -> None:
    """Let every signal that is not ignored end this process at once from now on, in silence, with this status."""

    def end(number: int, frame: FrameType | None) -> None:
        os._exit(status)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
