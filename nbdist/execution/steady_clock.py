"""A clock for Dask's messages that the machine's clock cannot stop.

`distributed` gathers small messages for some milliseconds and compares times of day to know when to send them. Where the clock of a
machine is set back, by an hour say, what it has to send waits for an hour, and a run stands still. Here that comparison gets a clock that
only goes forward.
"""

from __future__ import annotations

import time


def keep_steady() -> None:
    """Give the messages of this process a clock that only goes forward; may be called again, and while messages are on their way."""
    import distributed.batched

    if getattr(distributed.batched.time, "steady", False):
        return
    offset = distributed.batched.time() - time.monotonic()  # deadlines that were set before stay right

    def steady() -> float:
        return offset + time.monotonic()

    steady.steady = True  # type: ignore[attr-defined]
    distributed.batched.time = steady
