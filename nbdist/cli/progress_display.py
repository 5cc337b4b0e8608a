"""How a run is shown: a bar where a person watches, a line now and then elsewhere, and what it came to at its end."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from nbdist.cli.display import duration, error_console, facts, interactive, size
from nbdist.cli.stopping import require_untold

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from nbdist.run.progress import Progress

LINE_EVERY_S = 10.0


class Display:
    """Shows progress while a run goes."""

    def __init__(self) -> None:
        self._bar: tuple[Bar, TaskID] | None = None
        self._last = 0.0
        self._dashboard_shown = False
        self._notes_shown = 0

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None

    def __call__(self, progress: Progress) -> None:
        """Show the progress as it is now; raises `Terminated` where that was dropped on its way."""
        require_untold()
        if progress.dashboard and not self._dashboard_shown:
            error_console.print(f"dashboard: {progress.dashboard} (whoever reaches it can read it)")
            self._dashboard_shown = True
        for note in progress.notes[self._notes_shown :]:
            error_console.print(f"note: {note}")
        self._notes_shown = len(progress.notes)
        if interactive():
            self._draw(progress)
        elif time.monotonic() - self._last > LINE_EVERY_S or progress.frames_done == progress.frames_total:
            self._last = time.monotonic()
            error_console.print(line(progress))

    def _draw(self, progress: Progress) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        if self._bar is None:
            columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"))
            bar = Bar(*columns, console=error_console, transient=True)
            self._bar = bar, bar.add_task("", total=progress.frames_total)
            bar.start()
        bar, task = self._bar
        bar.update(task, completed=progress.frames_done, description=line(progress))


def line(progress: Progress) -> str:
    """Progress in one line: frames, workers by kind, units in flight, what went wrong, rate, time left, size written."""
    parts = [f"{progress.done}/{progress.total} {progress.counted}", _workers(progress)]
    if progress.in_flight:
        parts.append(f"{progress.in_flight} unit(s) in flight")
    if (seconds_left := progress.seconds_left) is not None:
        parts.append(f"{progress.per_s:.3g} {progress.counted}/s")
        parts.append(f"{duration(seconds_left)} left")
        parts.append(f"{size(progress.bytes_written)} written")
    else:
        parts.append("starting")
    if progress.retried:
        parts.append(f"{progress.retried} tried again")
    if progress.failed:
        parts.append(f"{len(progress.failed)} unit(s) failed")
    return ", ".join(parts)


def _workers(progress: Progress) -> str:
    if not progress.workers and not progress.kinds:
        return "waiting for workers"
    kinds = " + ".join(f"{number} {kind}" for kind, number in sorted(progress.kinds.items()))
    return f"{kinds} worker(s)" if kinds else f"{progress.workers} worker(s)"


def summary(progress: Progress) -> None:
    """Print what a run came to: units, workers lost and left out, seconds by device, counts that did not fit."""
    spent = ", ".join(f"{duration(seconds)} {device}" for device, seconds in progress.seconds_by_device.items())
    left_out = f", {len(progress.left_out)} left out" if progress.left_out else ""
    facts(
        [
            ("units", f"{progress.units_done} done, {progress.retried} tried again, {len(progress.failed)} failed"),
            ("workers", f"{_workers(progress)}, {progress.workers_lost} lost on the way{left_out}"),
            ("rendered in", spent or "nothing"),
            ("written", size(progress.bytes_written)),
            *(("left out", f"{worker}: {reason}") for worker, reason in progress.left_out.items()),
        ]
    )
    if progress.saturated_pixels:
        error_console.print(
            f"note: counts of {progress.saturated_pixels} pixel(s) are held at the largest value that they can have, the array's "
            "saturation_value; their intensity is not"
        )
