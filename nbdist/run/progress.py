"""What a run tells while it goes: plain numbers, for whoever shows them, and one event after the other for the log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from nbdist.planning import Unit
from nbdist.run.events import EventLog, no_log
from nbdist.store.failures import FailureRecords

Record = dict[str, Any]
"""What is told of a unit that is done: its number as `unit`, and what the store's records say."""


class Work(Protocol):
    """What a unit of a run is, a `Unit` of a series or another: anything with a number."""

    @property
    def number(self) -> int:
        """Its number, from 0."""


@dataclass
class Progress:
    """How far a run is; one object, updated in place and handed to `report` after every event.

    Attributes
    ----------
    frames_total, frames_done
        Frames of this run (not of the store), and those finished.
    frames_per_sample
        Of a data set, whose progress is counted in samples; None of a series.
    units_done
        Units finished.
    failed
        Units set aside, by number, with their error: a line, which may carry its `traceback` (see `failures.ErrorLine`).
    retried
        Units that were handed out once more, because they failed or their workers were lost.
    workers, kinds
        Worker threads in all, and by kind of worker ("cpu", "gpu").
    workers_lost
        Workers that went away during the run.
    left_out
        Workers that the run goes on without, as address and host, with the reason.
    in_flight
        Units handed to workers.
    dashboard
        Address of the Dask dashboard, where there is one.
    bytes_written
        Size of the shards written.
    seconds_by_device
        Seconds of rendering and writing, by "device precision".
    eager_units
        Units that were rendered without a compiled kernel.
    saturated_pixels
        Pixels whose counts were held at the largest value that they can have, over all frames.
    notes
        What the experiment probably does not mean, one line each; there before anything is rendered.
    log
        Where each event gets a line.
    failures
        Where the store keeps why units failed.
    """

    frames_total: int = 0
    frames_done: int = 0
    frames_per_sample: int | None = None
    units_done: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    retried: int = 0
    workers: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    workers_lost: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    in_flight: int = 0
    dashboard: str | None = None
    bytes_written: int = 0
    seconds_by_device: Counter[str] = field(default_factory=Counter)
    eager_units: int = 0
    saturated_pixels: int = 0
    notes: list[str] = field(default_factory=list)
    log: EventLog = no_log
    failures: FailureRecords | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def counted(self) -> str:
        """What is counted: "frames" or "samples"."""
        return "frames" if self.frames_per_sample is None else "samples"

    @property
    def total(self) -> int:
        """Frames or samples of this run."""
        return self.frames_total // (self.frames_per_sample or 1)

    @property
    def done(self) -> int:
        """Those finished."""
        return self.frames_done // (self.frames_per_sample or 1)

    @property
    def per_s(self) -> float:
        """Mean rate so far."""
        return self.frames_per_s / (self.frames_per_sample or 1)

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

    def unit_done(self, record: Record) -> None:
        """Count a finished unit by its record."""
        if self.failures is not None:
            self.failures.remove(record["unit"])
        first, last = record["frames"]
        size = sum(record["shard_bytes"].values())
        self.frames_done += last - first
        self.units_done += 1
        self.bytes_written += size
        self.seconds_by_device[f"{record['device']} {record['precision']} {record['kernel']}"] += record["seconds"]
        self.eager_units += record["kernel"] != "compiled"
        self.saturated_pixels += record.get("saturated_pixels", 0)
        self.log(
            "unit-done",
            unit=record["unit"],
            frames=[first, last],
            host=record["host"],
            device=record["device"],
            precision=record["precision"],
            seconds=round(record["seconds"], 3),
            bytes=size,
        )

    def unit_retried(self, unit: Work, reason: str) -> None:
        """Note that a unit is handed out once more."""
        self.retried += 1
        self.log("unit-retried", unit=unit.number, reason=reason, **_traceback(reason))

    def unit_failed(self, unit: Work, error: str) -> None:
        """Note that a unit is set aside."""
        self.failed[unit.number] = error
        facts = {"error": error, **_traceback(error)}
        self.log("unit-failed", unit=unit.number, **facts)
        if self.failures is not None and isinstance(unit, Unit):
            self.failures.keep(unit.number, {"frames": [unit.first_frame, unit.last_frame], **facts})

    def worker_joined(self, worker: str, **facts: Any) -> None:
        """Note that a worker takes part from now on."""
        self.log("worker-joined", worker=worker, **facts)

    def worker_lost(self, worker: str) -> None:
        """Count a worker that went away."""
        self.workers_lost += 1
        self.log("worker-lost", worker=worker)

    def worker_failed(self, worker: str, error: str) -> None:
        """Note that something went wrong at a worker that its units have no part in."""
        self.log("worker-failed", worker=worker, error=error, **_traceback(error))

    def worker_left_out(self, worker: str, reason: str) -> None:
        """Note that the run goes on without a worker."""
        self.left_out[worker] = reason
        self.log("worker-left-out", worker=worker, reason=reason)

    def noted(self, note: str) -> None:
        """Keep what the experiment probably does not mean."""
        self.notes.append(note)
        self.log("note", text=note)

    def begun(self, **facts: Any) -> None:
        """Note that the run begins."""
        self.log("run-begun", frames=self.frames_total, **facts)

    def ended(self, how: str) -> None:
        """Note that the run ends: "complete", or what it was that ended it."""
        self.log(
            "run-ended",
            how=how,
            units=self.units_done,
            frames=self.frames_done,
            failed=len(self.failed),
            retried=self.retried,
            workers_lost=self.workers_lost,
            workers_left_out=len(self.left_out),
            bytes=self.bytes_written,
            seconds=round(self.seconds, 1),
            seconds_by_device={device: round(seconds, 1) for device, seconds in self.seconds_by_device.items()},
        )


def _traceback(error: str) -> dict[str, str]:
    text = getattr(error, "traceback", "")
    return {"traceback": text} if text else {}


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""
