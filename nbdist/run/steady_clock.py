"""A clock for Dask's messages that the machine's clock cannot stop.

`distributed` gathers small messages for some milliseconds and waits for a time of day to send them, which tornado turns into a delay by
the time of day. Where the clock of a machine is set back in between, by an hour say, the message waits for an hour, and a run stands
still. Here both get a clock that only goes forward.
"""

from __future__ import annotations

import time


def keep_steady() -> None:
    """Give the messages of this process a clock that only goes forward; may be called again, and while messages are on their way."""
    import distributed.batched
    from tornado.ioloop import IOLoop

    if getattr(distributed.batched.time, "steady", False):
        return
    offset = distributed.batched.time() - time.monotonic()  # deadlines that were set before stay right

    def steady(loop: IOLoop | None = None) -> float:
        return offset + time.monotonic()

    steady.steady = True  # type: ignore[attr-defined]
    distributed.batched.time = steady
    IOLoop.time = steady  # type: ignore[method-assign, assignment]
