"""Runs that share a cluster: each worker and the scheduler hold what a run needs once, and nothing after it."""

from __future__ import annotations

import sys
import threading

import pytest
from waiting import LIMIT_S, until

from nbdist import generate
from nbdist.run.context import make_context
from nbdist.run.executors.tasks import RUNS, held_runs, prepare
from nbdist.run.jobs import ImageJob

pytestmark = pytest.mark.integration
CUT = {"frames_per_shard": 1}


def _runs(client):
    """Names of the runs that each worker holds, and what the scheduler holds of nbdist: plugins and tasks' names."""
    held = [[run for run, _ in runs] for runs in client.run(held_runs).values()]
    return held, client.run_on_scheduler(_held_by_scheduler)


def _held_by_scheduler(dask_scheduler):
    return [name for name in [*dask_scheduler.worker_plugins, *dask_scheduler.plugins] if "nbdist" in str(name)]


def test_each_worker_holds_a_run_once_and_nothing_after_it_and_the_scheduler_nothing(
    light_experiment, client, tmp_path
):
    seen, (_, before) = [], _runs(client)

    def look(progress):
        if progress.frames_done in range(5, 15):
            seen.append(_runs(client))

    generate(light_experiment(30), tmp_path / "a.zarr", client, report=look, **CUT)
    assert seen
    for with_workers, with_scheduler in seen:
        ((name,), (other,)) = with_workers
        assert name == other
        assert with_scheduler == before
    assert _runs(client) == ([[], []], before)


def test_two_runs_at_once_on_one_cluster_do_not_mix(
    light_experiment, small_experiment, undisturbed_series, client, tmp_path, assert_same_bits
):
    from distributed import Client

    undisturbed_series(30)
    other = small_experiment(crystal={"N_cells": [3, 3, 3]}, scan={"frames": 5})
    generate(other, tmp_path / "other_alone.zarr", serial=True, **CUT)
    with Client(client.scheduler.address, security=client.security, set_as_default=False) as second:
        beside = threading.Thread(target=generate, args=(other, tmp_path / "other.zarr", second), kwargs=CUT)
        beside.start()
        generate(light_experiment(30), tmp_path / "a.zarr", client, **CUT)
        beside.join(LIMIT_S)
    assert_same_bits(tmp_path / "a.zarr", undisturbed_series(30))
    assert_same_bits(tmp_path / "other.zarr", tmp_path / "other_alone.zarr")


def test_what_a_killed_client_left_with_the_cluster_is_removed_by_the_next_run(light_experiment, client, tmp_path):
    import cloudpickle
    from distributed import Client

    with Client(client.scheduler.address, security=client.security, set_as_default=False) as killed:
        content = cloudpickle.dumps((ImageJob(make_context(light_experiment(1))), killed.id))
        killed.run(prepare, content, "abandoned", RUNS, {})
    assert _runs(client)[0] == [["abandoned"], ["abandoned"]]
    generate(light_experiment(3), tmp_path / "a.zarr", client, **CUT)
    until(lambda: _runs(client)[0] == [[], []], "the run to be removed")


def test_a_scheduler_of_its_own_loads_neither_torch_nor_nbdist(light_experiment, processes, tmp_path):
    from distributed import Client

    cluster = processes(workers=1)
    with Client(cluster.address, timeout=LIMIT_S, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=LIMIT_S)
        progress = generate(light_experiment(5), tmp_path / "a.zarr", client, **CUT)
        assert progress.frames_done == 5
        assert client.run_on_scheduler(lambda: [name for name in ("torch", "nbdist") if name in sys.modules]) == []
