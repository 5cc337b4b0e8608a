"""Dask's streams of small messages, such that the machine's clock cannot stop them.

A stream gathers messages for some milliseconds: after each batch it sets a time of day before which it sends no other. Where the clock is
set back in between, by an hour say, the next message waits for an hour, and a run stands still. A batch whose interval is negative sets a
time that is long over, whatever becomes of the clock; messages of one turn of the event loop still go together.
"""

from __future__ import annotations

from typing import Any

from distributed import SchedulerPlugin
from distributed.batched import BatchedSend

INTERVAL_S = -1e9
"""Some thirty years: clocks are not set back by more."""


def send_at_once(stream: BatchedSend) -> None:
    """Let a stream wait for no time of day."""
    stream.interval = INTERVAL_S


class PromptScheduler(SchedulerPlugin):
    """Lets a scheduler send to its workers and clients at once."""

    name = "nbdist-message-streams"

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """A worker joins; its stream is there."""
        send_at_once(scheduler.stream_comms[worker])

    def add_client(self, scheduler: Any, client: str) -> None:
        """A client joins; its stream is made after this."""
        scheduler.loop.add_callback(self._client_added, scheduler, client)

    @staticmethod
    def _client_added(scheduler: Any, client: str) -> None:
        if client in scheduler.client_comms:
            send_at_once(scheduler.client_comms[client])
