"""PBS, LSF and Grid Engine, as far as they can be tried without one: stand-ins for their commands run the jobs on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from batch_queue import CUT, ROOT, RUN_OPTIONS
from waiting import LIMIT_S

from nbdist import generate, load_experiment
from nbdist.clusters.cluster_file import load_cluster_file
from nbdist.clusters.job_queue import queue_cluster

pytestmark = [pytest.mark.integration, pytest.mark.slow]
COMMANDS = {"pbs": ("qsub", "qstat", "qdel"), "sge": ("qsub", "qstat", "qdel"), "lsf": ("bsub", "bjobs", "bkill")}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """`stand_in("pbs")`: put that queue's commands into the path; returns the folder of its jobs."""
    jobs = tmp_path / "queue"

    def install(kind):
        commands = tmp_path / "commands"
        for folder in (commands, jobs):
            folder.mkdir()
        source = Path(__file__).with_name("stand_in_queue.py").read_text()
        for name in COMMANDS[kind]:
            (commands / name).write_text(f"#!{sys.executable}\n{source}")
            (commands / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}")
        monkeypatch.setenv("STAND_IN_KIND", kind)
        monkeypatch.setenv("STAND_IN_FOLDER", str(jobs))
        return jobs

    yield install
    for pid in jobs.glob("*.pid"):
        try:
            os.killpg(int(pid.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.parametrize("kind", ["pbs", "lsf", "sge"])
def test_a_run_goes_on_when_a_job_of_the_queue_dies(
    kind, stand_in, quick_looks, held, series_file, cluster_file, tmp_path, assert_undisturbed
):
    jobs, store = stand_in(kind), tmp_path / "series.zarr"
    file = load_cluster_file(cluster_file(kind=kind, queue=None, jobs={"maximum": 1}))
    killed = []

    def kill(progress):
        if progress.frames_done >= 3 and not killed:
            killed.append(int((jobs / "1001.pid").read_text()))
            os.killpg(killed[0], signal.SIGKILL)
            held.release()

    with queue_cluster(file, report=lambda line: None) as client:
        progress = generate(load_experiment(series_file), store, client, report=kill, **CUT)
    assert (progress.frames_done, progress.failed) == (90, {})
    assert killed
    assert len(list(jobs.glob("*.pid"))) == 2, "one in the place of the one that died, and no more"
    for script in jobs.glob("*.sh"):
        text = script.read_text()
        assert "--protocol tls" in text
        assert "PRIVATE KEY" not in text
    assert not list(tmp_path.rglob(".tls-*")), "the certificates of the run are gone with it"
    assert_undisturbed(store)


@pytest.mark.parametrize("name", ["pbs_job.pbs", "lsf_job.lsf"])
def test_a_whole_run_inside_one_job(name, series_file, tmp_path, assert_undisturbed):
    """The batch file is run as the queue runs it: with the variables that the queue sets, and no queue."""
    work = tmp_path / "my folder"
    work.mkdir()
    nodes, store = work / "nodes", work / "series.zarr"
    nodes.write_text("node1\nnode1\n")
    queue_says = {
        "pbs_job.pbs": {"PBS_O_WORKDIR": work, "PBS_NODEFILE": nodes, "PBS_JOBID": "12.server", "NCPUS": 1},
        "lsf_job.lsf": {"LSB_MCPU_HOSTS": "node1 1", "LSB_JOBID": 12},
    }[name]
    ours = {"EXPERIMENT": series_file, "STORE": store, "OPTIONS": " ".join(RUN_OPTIONS)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **{key: str(value) for key, value in {**queue_says, **ours}.items()}}
    ran = subprocess.run(
        ["bash", ROOT / "cluster" / name],
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert_undisturbed(store)
    assert not list(work.glob(".tls-*")), "nothing is left of the certificate and the scheduler's file"
