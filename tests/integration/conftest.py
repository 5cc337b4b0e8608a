"""Real batch queues and clusters: a Slurm of this machine alone, and small series that are run through it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from batch_queue import CUT, ROOT, Slurm
from harm import Harm
from waiting import until

from nbdist.experiment import experiment_to_yaml

SERIES: dict[str, Any] = {"scan": {"frames": 90, "phi_steps": 10}, "panel": {"spixels": 48, "fpixels": 56}}


@pytest.fixture(scope="session")
def series_file(small_experiment, tmp_path_factory) -> Path:
    """Ninety small frames as an experiment file."""
    path = tmp_path_factory.mktemp("series") / "series.yaml"
    path.write_text(experiment_to_yaml(small_experiment(**SERIES)))
    return path


@pytest.fixture
def held(tmp_path, monkeypatch) -> Harm:
    """Frames are held back once thirty are recorded, in every process that is started, until the test lets them go."""
    harm = Harm(tmp_path, held_after=30)
    for name, value in harm.environment.items():
        monkeypatch.setenv(name, value)
    return harm


@pytest.fixture
def quick_looks(monkeypatch) -> None:
    """Jobs that this process keeps in a queue are looked for many times a second, and soon missed."""
    for name, seconds in (("LOOK_EVERY_S", 0.2), ("ASK_EVERY_S", 0.5), ("SUBMITTED_S", 1.0), ("LOST_S", 0.5)):
        monkeypatch.setattr(f"nbdist.clusters.job_queue.{name}", seconds)


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
def slurm(slurm_session: Slurm, tmp_path, monkeypatch) -> Iterator[Slurm]:
    """The Slurm of the session, with an empty queue before and after."""
    slurm_session.used_in = tmp_path
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
        for node in slurm_session("sinfo", "-h", "-N", "-t", "down", "-o", "%N").split():
            slurm_session("scontrol", "update", f"nodename={node}", "state=resume")
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
        path.write_text(json.dumps({name: value for name, value in {**content, **fields}.items() if value is not None}))
        return path

    return write
