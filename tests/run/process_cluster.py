"""A Dask cluster of real processes that tests kill, stop and replace: one scheduler, and workers to which harm may be done.

They are forked off a process that has loaded Dask and what else takes long, and nothing of nbdist: to that, harm is done when it is loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import multiprocessing
import os
import runpy
import signal
import sys
from pathlib import Path

from harm import Harm
from ports import free_port
from waiting import LIMIT_S

STARTER = multiprocessing.get_context("forkserver")
STARTER.set_forkserver_preload(
    ["pytest", "distributed.cli.dask_scheduler", "distributed.cli.dask_worker", "zarr", "pydantic"]
)


class DaskProcess:
    """A process of Dask's command line, in a session of its own."""

    def __init__(self, program: str, options: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._process = STARTER.Process(target=_run, args=(program, options, folder, environment))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Its exit status, once it has ended."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"process {self.pid} goes on"
        return self._process.exitcode


def _run(program: str, options: list[str], folder: Path, environment: dict[str, str]) -> None:
    import dask

    os.setsid()
    os.chdir(folder)
    log = os.open(f"{program}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(environment)
    dask.config.refresh()
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    runpy.run_path(importlib.util.find_spec("sitecustomize").origin)
    importlib.import_module(f"distributed.cli.{program}").main(options)


class ProcessCluster:
    """Processes of one scheduler and its workers; `mended` is the file that `harm` looks for (see `harm.py`)."""

    def __init__(
        self, folder: Path, harm: str = "pass", nanny: bool = False, held_after: float = math.inf, **environment: str
    ) -> None:
        self.folder, self.nanny = folder, nanny
        self.harm = Harm(folder, f"time.sleep(0.03)\n{harm}", held_after)
        self.file, self.mended = folder / "scheduler.json", self.harm.mended
        self._environment = {**os.environ, **self.harm.environment, **environment}
        self._port = free_port()
        self._started: list[DaskProcess] = []
        self.workers: list[DaskProcess] = []
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

    def add_worker(self, *options: str) -> DaskProcess:
        """Start a worker."""
        supervised = "--nanny" if self.nanny else "--no-nanny"
        worker = self._start(
            "dask_worker", self.address, supervised, "--nthreads", 1, "--host", "127.0.0.1", "--no-dashboard",
            "--death-timeout", LIMIT_S, *options,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def kill(self, process: DaskProcess, number: int = signal.SIGKILL) -> None:
        """Send a signal to a worker or the scheduler; a worker that is told to die is no longer in `workers`."""
        with contextlib.suppress(ProcessLookupError):  # a worker whose scheduler is gone ends by itself
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

    def _start(self, program: str, *options: object) -> DaskProcess:
        self._started.append(DaskProcess(program, list(map(str, options)), self.folder, self._environment))
        return self._started[-1]
