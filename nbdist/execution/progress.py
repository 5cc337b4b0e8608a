"""What a run tells while it goes: plain numbers, for whoever shows them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far a run is; one object, updated in place and handed to `report` after every event.

    Attributes
    ----------
    frames_total, frames_done
        Frames of this run (not of the store), and those finished.
    failed
        Units set aside, by number, with their error.
    workers, in_flight
        Worker processes, and tasks handed to them.
    dashboard
        Address of the Dask dashboard, where there is one.
    bytes_written
        Size of the shards written.
    eager_units
        Units that were rendered without a compiled kernel.
    """

    frames_total: int = 0
    frames_done: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    workers: int = 0
    in_flight: int = 0
    dashboard: str | None = None
    bytes_written: int = 0
    seconds_rendering: float = 0.0
    eager_units: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def frames_per_s(self) -> float:
        """Mean rate so far."""
        return self.frames_done / self.seconds if self.frames_done else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds to the end, None before the first frame."""
        return (self.frames_total - self.frames_done) / self.frames_per_s if self.frames_done else None

    def add(self, record: dict[str, Any]) -> None:
        """Count a finished unit by its record."""
        first, last = record["frames"]
        self.frames_done += last - first
        self.bytes_written += sum(record["shard_bytes"].values())
        self.seconds_rendering += record["seconds"]
        self.eager_units += record["kernel"] != "compiled"


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""
