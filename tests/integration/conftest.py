"""Real batch queues and clusters: a Slurm of this machine alone, and small series that are run through it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr

ROOT = Path(__file__).parent.parent.parent
SERIES: dict[str, Any] = {"scan": {"frames": 90, "phi_steps": 6}, "panel": {"spixels": 48, "fpixels": 56}}
CUT = {"kernel": "eager", "frames_per_shard": 1}
RUN_OPTIONS = ("--kernel", "eager", "--frames-per-shard", "1")


@pytest.fixture(scope="session")
def series_file(small_experiment, tmp_path_factory) -> Path:
    """Ninety small frames as an experiment file."""
    path = tmp_path_factory.mktemp("series") / "series.yaml"
    content = small_experiment(**SERIES).model_dump(mode="json", exclude_defaults=True)
    content["structure_factors"]["kind"] = "wilson"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="session")
def undisturbed(small_experiment, tmp_path_factory) -> Path:
    """The same ninety frames, rendered in one process."""
    from nbdist import generate

    path = tmp_path_factory.mktemp("undisturbed") / "series.zarr"
    generate(small_experiment(**SERIES), path, serial=True, **CUT)
    return path


@pytest.fixture(scope="session")
def assert_undisturbed(undisturbed) -> Callable[[Path], None]:
    """Fail unless a store holds the bits of the undisturbed run."""

    def check(store: Path) -> None:
        one, other = (zarr.open_group(str(path), mode="r")["intensity"][:] for path in (store, undisturbed))
        assert other.any()
        np.testing.assert_array_equal(one, other)

    return check


def records(store: Path) -> int:
    """Units of a store that are recorded as complete."""
    folder = store / "records"
    return sum(1 for path in folder.iterdir() if path.suffix == ".json") if folder.is_dir() else 0


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Wait for a condition, and return what it returned."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return found


@dataclass
class Slurm:
    """A Slurm that runs, and what a test does with it."""

    folder: Path
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Of commands that talk to it, and find `nbdist`."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def __call__(self, *command: object) -> str:
        """Run a command and return what it printed."""
        words = list(map(str, command))
        ran = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, f"{' '.join(words)}: {ran.stderr}"
        return ran.stdout.strip()

    def start(self, *command: object, cwd: Path, **environment: str) -> subprocess.Popen:
        """Start a command beside the test; what it prints goes to `client.log` in `cwd`."""
        with (cwd / "client.log").open("w") as log:
            process = subprocess.Popen(
                list(map(str, command)), env={**self.environment, **environment}, cwd=cwd, stdout=log, stderr=log
            )
        self.started.append(process)
        return process

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
        """End a job's processes without a warning, as a failing node does."""
        self("scancel", "--full", "--signal=KILL", job)


@pytest.fixture(scope="session")
def slurm_session(tmp_path_factory) -> Iterator[Slurm]:
    """Three nodes of two CPUs, for the session."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if not _program(name)]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} not found (apt-get install slurm-wlm munge)")
    if os.getuid() != 0:
        pytest.skip("starting a Slurm of one machine needs root")
    folder = tmp_path_factory.mktemp("slurm")
    up = subprocess.run(
        [ROOT / "cluster/local_slurm/up.sh", folder, "3", "2"], capture_output=True, text=True, check=False
    )
    if up.returncode:
        pytest.skip(f"Slurm does not start on this machine: {up.stderr.strip()[-300:]}")
    try:
        yield Slurm(folder)
    finally:
        subprocess.run([ROOT / "cluster/local_slurm/down.sh", folder], capture_output=True, check=False)


@pytest.fixture
def slurm(slurm_session: Slurm, monkeypatch) -> Iterator[Slurm]:
    """The Slurm of the session, with an empty queue before and after."""
    monkeypatch.setenv("SLURM_CONF", slurm_session.environment["SLURM_CONF"])
    monkeypatch.setenv("PATH", slurm_session.environment["PATH"])
    try:
        yield slurm_session
    finally:
        for process in slurm_session.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        slurm_session.started.clear()
        slurm_session("scancel", "--user=root")
        until(lambda: not slurm_session.jobs(), "the queue is empty")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@pytest.fixture
def cluster_file(tmp_path) -> Callable[..., Path]:
    """`cluster_file(jobs={...})`: a cluster file for the Slurm of this machine, fields replaced."""

    def write(**fields: Any) -> Path:
        content = {
            "kind": "slurm",
            "queue": "debug",
            "cores": 1,
            "memory": "1500MB",
            "walltime": "00:10:00",
            "jobs": {"minimum": 1, "maximum": 2},
            "interface": "lo",
            "log_folder": str(tmp_path / "jobs"),
        }
        path = tmp_path / "cluster.yaml"
        path.write_text(json.dumps({**content, **fields}))
        return path

    return write
