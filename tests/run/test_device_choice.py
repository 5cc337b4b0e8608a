"""Which device `auto` is: a GPU that is there, but cores for integrated frames, which they render faster."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nbdist.errors import RunError
from nbdist.kernels.devices import device_notes, pick_device
from nbdist.run.executors.choice import chosen_workers
from nbdist.run.settings import LocalProcesses, RunSettings


@pytest.mark.parametrize(
    ("wanted", "method", "gpu", "taken"),
    [
        ("auto", "sum", True, "cuda"),
        ("auto", "sum", False, "cpu"),
        ("auto", "integrated", True, "cpu"),
        ("auto", "integrated", False, "cpu"),
        ("cuda", "integrated", True, "cuda"),
        ("cuda:1", "integrated", True, "cuda:1"),
        ("cpu", "sum", True, "cpu"),
    ],
)
def test_auto_is_a_gpu_unless_frames_are_integrated(wanted, method, gpu, taken):
    pytest.importorskip("torch")
    assert pick_device(wanted, method, available=lambda: gpu) == taken


def test_a_gpu_that_auto_leaves_alone_is_said_in_one_line_with_the_way_to_take_it():
    (line,) = device_notes("auto", "cpu", available=lambda: True)
    assert "\n" not in line
    assert "--device cuda" in line
    for wanted, taken, gpu in (("auto", "cpu", False), ("auto", "cuda", True), ("cpu", "cpu", True)):
        assert not device_notes(wanted, taken, available=lambda gpu=gpu: gpu)


@pytest.mark.parametrize(("method", "device"), [("sum", "auto"), ("integrated", "cpu")])
def test_workers_elsewhere_are_asked_for_cores_where_frames_are_integrated(method, device):
    client = SimpleNamespace(nthreads=lambda: {"a worker": 1})
    assert chosen_workers(RunSettings(), client, method).device == device
    assert chosen_workers(RunSettings(device="cuda"), client, method).device == "cuda"


def test_gpus_that_are_named_are_taken_for_integrated_frames_too():
    pytest.importorskip("torch")
    with pytest.raises(RunError, match="there is no GPU 99"):  # it was looked for, and nothing contradicts it
        chosen_workers(RunSettings(local=LocalProcesses(gpus="99")), method="integrated")
