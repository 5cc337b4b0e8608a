"""A Dask cluster of real processes that tests kill, stop and replace: one scheduler, and workers to which harm may be done."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

from harm import Harm
from ports import free_port
from waiting import LIMIT_S


class ProcessCluster:
    """Processes of one scheduler and its workers; `mended` is the file that `harm` looks for (see `harm.py`)."""

    def __init__(
        self, folder: Path, harm: str = "pass", nanny: bool = False, held_from: float = math.inf, **environment: str
    ) -> None:
        self.folder, self.nanny = folder, nanny
        self.harm = Harm(folder, f"time.sleep(0.03)\n{harm}", held_from)
        self.file, self.mended = folder / "scheduler.json", self.harm.mended
        self._environment = {**os.environ, **self.harm.environment, **environment}
        self._port = free_port()
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
            "dask_scheduler", "--port", self._port, "--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"
        )  # fmt: skip

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        supervised = "--nanny" if self.nanny else "--no-nanny"
        worker = self._start(
            "dask_worker", self.address, supervised, "--nthreads", 1, "--host", "127.0.0.1", "--no-dashboard",
            "--death-timeout", LIMIT_S, *options,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def kill(self, process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        """Send a signal to a worker or the scheduler; a worker that is told to die is no longer in `workers`."""
        os.kill(process.pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            process.wait(LIMIT_S)
            if process in self.workers:
                self.workers.remove(process)

    def close(self) -> None:
        """End every process that was started here, and what these started."""
        for process in reversed(self._started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(LIMIT_S)

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
