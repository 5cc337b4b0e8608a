"""A worker has one GPU, and which one is seen in its environment. No test here needs a GPU: they look at what workers are told."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest
from waiting import LIMIT_S

from nbdist.clusters import gpus
from nbdist.clusters.gpus import ASSIGNED, chosen_gpus, take_one, visible_gpus, worker_device
from nbdist.clusters.local_workers import LocalWorkers, local_workers
from nbdist.errors import RunError


def test_gpus_are_counted_among_those_that_are_visible():
    visible = ["2", "3", "GPU-1a"]
    assert chosen_gpus("all", visible) == visible
    assert chosen_gpus("0,2", visible) == ["2", "GPU-1a"]


@pytest.mark.parametrize(
    ("text", "visible", "said"),
    [
        ("all", [], "--gpus all: PyTorch finds no GPU here"),
        ("0", [], "--gpus 0: there is no GPU 0; PyTorch finds no GPU here"),
        ("0,1", ["0"], "--gpus 0,1: there is no GPU 1; PyTorch finds one GPU, number 0 here"),
        ("4", ["0", "1"], "--gpus 4: there is no GPU 4; PyTorch finds 2 GPUs, numbers 0 to 1 here"),
        ("0,0", ["0"], "--gpus 0,0: a GPU is named twice"),
        ("both", ["0"], "--gpus both: expected all, or numbers like 0,1"),
        ("", ["0"], "--gpus : expected all, or numbers like 0,1"),
    ],
)
def test_a_gpu_that_is_not_there_is_named(text, visible, said):
    with pytest.raises(RunError) as refused:
        chosen_gpus(text, visible)
    assert str(refused.value) == said


def test_visible_gpus_have_the_names_that_the_environment_gives_them(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-1a")
    assert visible_gpus() == ["5", "GPU-1a"]


def test_workers_beside_gpus_render_on_the_cpu(monkeypatch):
    monkeypatch.setattr(gpus, "visible_gpus", lambda: ["0", "1"])
    assert local_workers("auto", None, "all") == LocalWorkers(0, ("0", "1"), "cuda")
    mixed = local_workers("auto", 3, "1")
    assert (mixed, mixed.count) == (LocalWorkers(3, ("1",), "auto"), 4)
    assert mixed.at_most(2) == LocalWorkers(1, ("1",), "auto")
    for device, workers in (("cpu", None), ("cuda", 2)):
        with pytest.raises(RunError, match="--device contradicts"):
            local_workers(device, workers, "all")


@pytest.mark.integration
def test_each_local_worker_sees_one_gpu_and_the_others_see_none(monkeypatch):
    from distributed import Client

    from nbdist.clusters.local import local_cluster

    asked = []
    stand_in = types.ModuleType("dask_cuda.utils")
    stand_in.get_cpu_affinity = lambda gpu: asked.append(gpu) or [min(os.sched_getaffinity(0))]
    monkeypatch.setitem(sys.modules, "dask_cuda", types.ModuleType("dask_cuda"))
    monkeypatch.setitem(sys.modules, "dask_cuda.utils", stand_in)
    with local_cluster(1, ["1", "GPU-1a"]) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=LIMIT_S)
        names = {address: worker["name"] for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
        seen = {names[a]: gpu for a, gpu in client.run(os.getenv, "CUDA_VISIBLE_DEVICES").items()}
        cores = {names[a]: found for a, found in client.run(os.sched_getaffinity, 0).items()}
        devices = {names[a]: device for a, device in client.run(worker_device, "auto").items()}
    assert seen == {0: "1", 1: "GPU-1a", 2: ""}
    assert asked == [1, "GPU-1a"], "dask-cuda, where it is installed, says which cores are next to a GPU"
    assert cores[0] == cores[1] == {min(os.sched_getaffinity(0))}
    assert cores[2] == os.sched_getaffinity(0)
    assert devices[2] == "cpu"


def test_a_gpu_is_held_by_one_process_until_that_ends(tmp_path):
    holder = (
        "import sys, pathlib; from nbdist.clusters.gpus import take_one;"
        "print(take_one(['A', 'B'], pathlib.Path(sys.argv[1])), flush=True); sys.stdin.read()"
    )

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return process, process.stdout.readline().strip()

    started = [start() for _ in range(3)]
    try:
        assert [number for _, number in started] == ["0", "1", "None"]
        started[0][0].kill()  # as a worker that is killed: nothing is left to clean up
        started[0][0].wait()
        started.append(start())
        assert started[-1][1] == "0"
    finally:
        for process, _ in started:
            process.kill()
            process.communicate()


def test_a_process_keeps_the_gpu_that_it_holds(tmp_path, monkeypatch):
    held = {}
    monkeypatch.setattr(gpus, "_held", held)
    assert [take_one(["A", "B"], tmp_path) for _ in range(2)] == [0, 0]
    held["A"].close()


def test_files_of_another_user_break_no_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    held = {}
    monkeypatch.setattr(gpus, "_held", held)
    assert take_one(["A"]) == 0
    assert Path(held["A"].name) == tmp_path / f"nbdist-{os.getuid()}" / "gpu-A.lock"
    held.popitem()[1].close()
    (tmp_path / f"nbdist-{os.getuid()}").chmod(0o777)  # as if it were somebody else's
    assert take_one(["A"]) == 0
    assert tmp_path / "cache" in Path(held["A"].name).parents
    held.popitem()[1].close()
    (tmp_path / "cache").chmod(0o777)
    assert take_one(["A", "B"]) == os.getpid() % 2
    assert not held


def test_a_worker_of_a_job_takes_the_gpu_of_its_number(monkeypatch):
    for number, expected in ((0, "4"), (1, "7"), (2, "4")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
        monkeypatch.delenv(ASSIGNED, raising=False)
        gpus.dask_setup(types.SimpleNamespace(name=f"nbdist-12ab-3-{number}"))
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
        assert os.environ[ASSIGNED] == expected


def test_a_worker_with_a_gpu_of_its_own_asks_no_further(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(ASSIGNED, "7")
    assert worker_device("auto") == worker_device("cuda") == "cuda:0"
    assert worker_device("cpu") == "cpu"


def test_a_worker_that_finds_all_gpus_held_renders_on_the_cpu_unless_told_otherwise(monkeypatch, tmp_path):
    import torch

    monkeypatch.delenv(ASSIGNED, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    monkeypatch.setattr(gpus, "_identity", lambda number: f"test-{os.getpid()}-{number}")
    monkeypatch.setattr(gpus, "take_one", lambda names: None)
    assert worker_device("auto") == "cpu"
    assert worker_device("cuda") == "cuda:0"


def test_without_a_gpu_cuda_is_refused_and_auto_is_the_cpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert worker_device("auto") == "cpu"
    with pytest.raises(RunError, match="no CUDA device"):
        worker_device("cuda")
