"""A Dask cluster of real processes that tests kill, stop and replace: one scheduler, and workers that read `harm.py` first.

`harm.py` is what is wrong on the workers, as a test wrote it: it may slow frames down, raise, hang or kill. It is read when a worker
starts, so tests that mend a worker do it through a file that the harm looks for.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

HARM = """
import os, signal, time
from pathlib import Path
from nbdist.execution import rendering

here = Path({here!r})

if rendering.render_frame.__name__ != "harmed":  # a preload is imported more than once
    original = rendering.render_frame

    def harmed(context, frame):
        time.sleep(0.03)
{harm}
        return original(context, frame)

    rendering.render_frame = harmed
"""


class ProcessCluster:
    """Processes of one scheduler and its workers; `mended` is the file that harm looks for, and `harm` code that is given a `frame`."""

    def __init__(self, folder: Path, harm: str = "pass", nanny: bool = False, **environment: str) -> None:
        self.folder, self.nanny = folder, nanny
        self.file, self.mended = folder / "scheduler.json", folder / "mended"
        self._harm = folder / "harm.py"
        self._harm.write_text(HARM.format(here=str(folder), harm=textwrap.indent(harm, 8 * " ")))
        self._environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "DASK_LOGGING__DISTRIBUTED": "critical",
            **environment,
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._started: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start_scheduler()

    @property
    def address(self) -> str:
        """Of the scheduler; it stays when another one takes its place."""
        return f"tcp://127.0.0.1:{self._port}"

    def start_scheduler(self) -> None:
        """Start the scheduler, or the next one in its place."""
        self.scheduler = self._start(
            "dask_scheduler", "--port", self._port, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"
        )

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        supervised = "--nanny" if self.nanny else "--no-nanny"
        worker = self._start(
            "dask_worker", self.address, supervised, "--nthreads", 1, "--host", "127.0.0.1", "--no-dashboard",
            "--preload", self._harm, "--death-timeout", 60, *options,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def kill(self, process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        """Send a signal to a worker or the scheduler; a worker that is told to die is no longer in `workers`."""
        os.kill(process.pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            process.wait(30)
            if process in self.workers:
                self.workers.remove(process)

    def close(self) -> None:
        """End every process that was started here, and what these started."""
        for process in reversed(self._started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)

    def _start(self, program: str, *options: object) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{program}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *map(str, options)],
            cwd=self.folder,
            env=self._environment,
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
        log.close()
        self._started.append(process)
        return process


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until a condition holds, and fail saying what was waited for if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
