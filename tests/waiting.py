"""How tests wait: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

LIMIT_S = 180.0
"""A condition that will hold costs nothing of it: this only ends what would wait for ever, on a busy machine too."""


def until(condition: Callable[[], Any], what: str, seconds: float = LIMIT_S, process: Popen[Any] | None = None) -> Any:
    """Wait until a condition holds, and return what it returned.

    Parameters
    ----------
    condition
        Asked again and again.
    what
        What is waited for; the test fails with it when that does not come.
    seconds
        When it is given up.
    process
        A process that makes it come: the test fails with what it printed when it ends before.
    """
    began = time.monotonic()
    while True:
        ended = process is not None and process.poll() is not None
        if found := condition():
            return found
        assert not ended, f"the process ended before {what}: {process.communicate()}"
        waited = time.monotonic() - began
        assert waited < seconds, f"waited in vain for {what}"
        time.sleep(min(max(0.02, waited / 20), 0.5))  # ever more rarely: some conditions start a program
