"""What the tests of batch queues do with a Slurm, and how they wait."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from waiting import LIMIT_S, until

ROOT = Path(__file__).parent.parent.parent
CUT = {"frames_per_shard": 1}
RUN_OPTIONS = ("--frames-per-shard", "1")


def records(store: Path) -> int:
    """Units of a store that are recorded as complete."""
    folder = store / "records"
    return sum(1 for path in folder.iterdir() if path.stem.isdecimal()) if folder.is_dir() else 0


@dataclass
class Slurm:
    """A Slurm that runs, and what a test does with it; `used_in` is the folder of the test."""

    folder: Path
    used_in: Path = Path()
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Of commands that talk to it, and find `nbdist`."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def __call__(self, *command: object) -> str:
        """Run a command and return what it printed."""
        words = list(map(str, command))
        ran = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert ran.returncode == 0, f"{' '.join(words)}: {ran.stderr}"
        return ran.stdout.strip()

    def start(self, *command: object) -> subprocess.Popen:
        """Start a command beside the test, in the test's folder; what it prints goes to `client.log` there."""
        with (self.used_in / "client.log").open("w") as log:
            process = subprocess.Popen(
                list(map(str, command)), env=self.environment, cwd=self.used_in, stdout=log, stderr=log
            )
        self.started.append(process)
        return process

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition holds, as `waiting.until`; the test fails with `account` when it does not come."""
        try:
            return until(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.account()}") from None

    def wait_for_success(self, process: subprocess.Popen) -> None:
        """Wait until a command has ended well; the test fails with `account` when it does not."""
        self.until(lambda: process.poll() is not None, "the end of the command")
        assert process.returncode == 0, f"exit status {process.returncode}\n{self.account()}"

    def account(self) -> str:
        """What a failure of a test is understood by: the queue, the units of its stores, and the ends of what was printed."""
        lines = [self("squeue", "-r"), self("sinfo", "-N")]
        for store in sorted(self.used_in.glob("*.zarr")):
            lines.append(f"{store.name}: {records(store)} units are recorded")
        for log in sorted([*self.used_in.glob("*.log"), *self.used_in.glob("jobs/*")]):
            lines.append(f"---- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
        return "\n".join(lines)

    def jobs(self, state: str | None = None) -> list[str]:
        """Numbers of the jobs in the queue, with array tasks as 7_1."""
        return self("squeue", "-h", "-r", "-o", "%i", *(["-t", state] if state else [])).split()

    def state(self, job: str) -> str:
        """RUNNING, PENDING ..., or GONE."""
        shown = subprocess.run(
            ["squeue", "-h", "-j", job, "-o", "%T"], env=self.environment, capture_output=True, text=True, check=False
        )
        return shown.stdout.strip() or "GONE"

    def ended(self, job: str) -> str | None:
        """How a job ended, from Slurm's own log of ended jobs."""
        log = self.folder / "ended_jobs.log"
        lines = (
            [line for line in log.read_text().splitlines() if line.startswith(f"JobId={job} ")] if log.exists() else []
        )
        return lines[-1].split("JobState=")[1].split()[0] if lines else None

    def kill_hard(self, job: str) -> None:
        """End a job's processes without a warning, as a failing node does; they have ended when it returns."""
        self("scancel", "--full", "--signal=KILL", job)
        until(lambda: self.state(job) != "RUNNING", f"the end of job {job}")


def workers_started_with(word: str) -> list[psutil.Process]:
    """Worker processes of the Dask workers on this machine that were started with `word` in the command or the environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if any("dask" in part for part in line) and any(
                word in part for part in (*line, *process.environ().values())
            ):
                found += [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
    return found


def listening(process: psutil.Process) -> set[str]:
    """Addresses on which a process listens."""
    return {used.laddr.ip for used in process.net_connections("inet") if used.status == psutil.CONN_LISTEN}
