"""A worker that is killed costs the units it was rendering, and they are rendered again."""

from __future__ import annotations

import os
import signal

import pytest

from nbdist import generate
from nbdist.store import summarize

pytestmark = pytest.mark.integration


def test_a_run_survives_the_killing_of_a_worker(small_experiment, tmp_path, assert_same_bits):
    from distributed import Client

    from nbdist.execution.clusters import local_cluster

    experiment = small_experiment(scan={"frames": 30, "phi_steps": 20}, panel={"spixels": 128, "fpixels": 128})
    cut = {"kernel": "eager", "frames_per_shard": 1}
    killed = []

    def kill_one(progress):
        if progress.frames_done >= 5 and not killed:
            pids = client.run(os.getpid)
            assert len(pids) == 2
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    with local_cluster(2) as cluster, Client(cluster) as client:
        progress = generate(experiment, tmp_path / "a.zarr", client, report=kill_one, **cut)
        client.wait_for_workers(2, timeout=30)
        assert killed[0] not in client.run(os.getpid).values(), "the nanny started another one"
    assert killed
    assert (progress.frames_done, progress.failed) == (30, {})
    assert summarize(tmp_path / "a.zarr").frames_complete == 30
    generate(experiment, tmp_path / "undisturbed.zarr", serial=True, **cut)
    assert_same_bits(tmp_path / "a.zarr", tmp_path / "undisturbed.zarr")
