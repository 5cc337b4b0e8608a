"""How far a command is, on standard error: a bar where a person watches, a line now and then elsewhere; and what a run came to.

`Display` shows a run, `Steps` anything that does one piece after the other. Neither ends the work: what cannot be written is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nbdist.cli.display import error_console, facts, interactive
from nbdist.cli.stopping import require_untold
from nbdist.formats.amounts import duration, size

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from nbdist.run.progress import Progress

LINE_EVERY_S = 10.0
QUICK_S = 0.3
"""What is over sooner has no bar."""


class _Shown:
    """A bar, or lines; within it as a context, and no longer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bar: tuple[Bar, TaskID] | None = None

    def __enter__(self) -> Self:
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

    def _draw(self, done: int, total: int, text: str) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        if self._bar is None:
            columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False))
            bar = Bar(*columns, console=error_console, transient=True)
            self._bar = bar, bar.add_task("")
            bar.start()
        bar, task = self._bar
        bar.update(task, completed=done, total=total, description=text)


class Steps(_Shown):
    """Shows how many pieces are done of how many, at which rate, and how long the others will take.

    It is a function of (done, total), to be handed to whoever does the work; `named` is one of (what, done, total) for work of several
    kinds. What is over in ten seconds prints no line where nobody watches.

    Parameters
    ----------
    what
        What is counted, and done to it, in the plural: "units read".
    clock
        Seconds.
    """

    def __init__(self, what: str = "done", clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._what = what
        self._began = self._last = clock()

    def __call__(self, done: int, total: int) -> None:
        """Show that so many are done; raises `Terminated` where that was dropped on its way."""
        require_untold()
        now = self._clock()
        if interactive():
            if self._bar is not None or now - self._began > QUICK_S:
                self._draw(done, total, self._text(done, total, now - self._began))
        elif now - self._last > LINE_EVERY_S:
            self._last = now
            error_console.print(self._text(done, total, now - self._began))

    def named(self, what: str, done: int, total: int) -> None:
        """Show that so many are done of what is counted now; the rate is that of this kind."""
        if what != self._what:
            self._what, self._began = what, self._clock()
        self(done, total)

    def _text(self, done: int, total: int, seconds: float) -> str:
        text = f"{done:,}/{total:,} {self._what}"
        if not done or not seconds:
            return text
        rate = f"{text}, {done / seconds:.3g}/s"
        return rate if done == total else f"{rate}, {duration(seconds * (total - done) / done)} left"


class Display(_Shown):
    """Shows progress while a run goes."""

    def __init__(self) -> None:
        super().__init__()
        self._last: float | None = None
        self._dashboard_shown = False
        self._notes_shown = 0

    def __call__(self, progress: Progress) -> None:
        """Show the progress as it is now; raises `Terminated` where that was dropped on its way."""
        require_untold()
        if progress.dashboard and not self._dashboard_shown:
            error_console.print(f"dashboard: {progress.dashboard} (whoever reaches it can read it)")
            self._dashboard_shown = True
        for note in progress.notes[self._notes_shown :]:
            error_console.print(f"note: {note}")
        self._notes_shown = len(progress.notes)
        now = self._clock()
        if interactive():
            self._draw(progress.frames_done, progress.frames_total, line(progress))
        elif self._last is None or now - self._last > LINE_EVERY_S or progress.frames_done == progress.frames_total:
            self._last = now
            error_console.print(line(progress))


def line(progress: Progress) -> str:
    """Progress in one line: frames, workers by kind, units in flight, what went wrong, rate, time left, size written."""
    parts = [f"{progress.done}/{progress.total} {progress.counted}", _workers(progress)]
    if progress.in_flight:
        parts.append(f"{progress.in_flight} unit(s) in flight")
    if (seconds_left := progress.seconds_left) is not None:
        parts.append(f"{progress.per_s:.3g} {progress.counted}/s")
        if progress.done < progress.total:
            parts.append(f"{duration(seconds_left)} left")
        parts.append(f"{size(progress.bytes_written)} written")
    elif "starting" not in progress.kinds:
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
            "saturation_value or that of 2^31 - 1 photons; their intensity is not"
        )
