"""Runs that share a cluster: each worker and the scheduler hold what a run needs once, and nothing after it."""

from __future__ import annotations

import sys
import threading

import pytest
from process_cluster import wait_for

from nbdist import generate
from nbdist.execution.context import make_context
from nbdist.execution.worker_plugin import RunPlugin

pytestmark = pytest.mark.integration
CUT = {"kernel": "eager", "frames_per_shard": 1}


def _held_by_scheduler(dask_scheduler):
    return {name: len(plugin) for name, plugin in dask_scheduler.worker_plugins.items() if name.startswith("nbdist-")}


def _held_by_worker(dask_worker):
    return [name for name in dask_worker.plugins if name.startswith("nbdist-")]


def test_the_scheduler_and_each_worker_hold_a_runs_context_once_and_nothing_after_it(
    light_experiment, client, tmp_path
):
    seen = []

    def look(progress):
        if progress.frames_done in range(5, 15):
            seen.append((client.run_on_scheduler(_held_by_scheduler), client.run(_held_by_worker)))

    generate(light_experiment(30), tmp_path / "a.zarr", client, report=look, **CUT)
    assert seen
    for with_scheduler, with_workers in seen:
        ((name, size),) = with_scheduler.items()
        assert 1000 < size < 2**20
        assert list(with_workers.values()) == [[name], [name]]
    assert client.run_on_scheduler(_held_by_scheduler) == {}
    assert list(client.run(_held_by_worker).values()) == [[], []]


def test_two_runs_at_once_on_one_cluster_do_not_mix(
    light_experiment, small_experiment, undisturbed_series, client, tmp_path, assert_same_bits
):
    from distributed import Client

    undisturbed_series(30)
    other = small_experiment(crystal={"N_cells": [3, 3, 3]}, scan={"frames": 5})
    generate(other, tmp_path / "other_alone.zarr", serial=True, **CUT)
    with Client(client.scheduler.address, set_as_default=False) as second:
        beside = threading.Thread(target=generate, args=(other, tmp_path / "other.zarr", second), kwargs=CUT)
        beside.start()
        generate(light_experiment(30), tmp_path / "a.zarr", client, **CUT)
        beside.join(60)
    assert_same_bits(tmp_path / "a.zarr", undisturbed_series(30))
    assert_same_bits(tmp_path / "other.zarr", tmp_path / "other_alone.zarr")


def test_what_a_killed_client_left_with_the_cluster_is_removed_by_the_next_run(light_experiment, client, tmp_path):
    from distributed import Client

    with Client(client.scheduler.address, set_as_default=False) as killed:
        plugin = RunPlugin(make_context(light_experiment(1), kernel="eager"), "abandoned", killed.id)
        killed.register_plugin(plugin, name=plugin.name)
    assert plugin.name in client.run_on_scheduler(_held_by_scheduler)
    generate(light_experiment(3), tmp_path / "a.zarr", client, **CUT)
    wait_for(lambda: client.run_on_scheduler(_held_by_scheduler) == {}, 10, "the plugin to be removed")
    assert list(client.run(_held_by_worker).values()) == [[], []]


def test_a_scheduler_of_its_own_never_loads_torch(light_experiment, processes, tmp_path):
    from distributed import Client

    cluster = processes(workers=1)
    with Client(cluster.address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
        progress = generate(light_experiment(5), tmp_path / "a.zarr", client, **CUT)
        assert progress.frames_done == 5
        assert not client.run_on_scheduler(lambda dask_scheduler: "torch" in sys.modules)
