"""Who gets what: quick units share tasks, kinds of workers have windows of their own, heavy frames keep every worker busy.

The workers here live in this process, and rendering is a sleep of the length that the test says.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from distributed import get_worker
from injected import Here, in_process_client, run

from nbdist import generate
from nbdist.planning import Tile
from nbdist.run.context import make_context
from nbdist.run.executors import worker_tasks
from nbdist.run.executors.submitting import Submitter
from nbdist.run.rendering import render_frame
from nbdist.run.settings import Pacing
from nbdist.store import summarize

pytestmark = pytest.mark.integration
CUT = {"frames_per_shard": 1}


@pytest.fixture
def threaded():
    """`threaded({"GPU": 1}, {})`: a client of workers in this process, one for each dictionary of resources."""
    with contextlib.ExitStack() as stack:
        yield lambda *resources: stack.enter_context(in_process_client(*({"resources": each} for each in resources)))


@pytest.fixture
def submitted(monkeypatch):
    """Sizes of the tasks that are submitted from now on, by window, and the windows of the frames."""
    sizes = defaultdict(list)

    def submit(self, units, window, workers, original=Submitter.submit):
        sizes[window].append(len(units))
        return original(self, units, window, workers)

    monkeypatch.setattr(Submitter, "submit", submit)
    return sizes


def _is_gpu():
    return "GPU" in get_worker().state.total_resources


def test_two_kinds_of_workers_draw_from_one_list_each_with_tasks_of_its_own_size(
    light_experiment, undisturbed_series, threaded, submitted, tmp_path, assert_same_bits
):
    # the "gpu" is a worker that declares the resource GPU, as GPU workers do; it renders on the CPU, and far faster
    undisturbed, by = undisturbed_series(120), Counter()

    def slowed(context, frame):
        by["gpu" if _is_gpu() else "cpu"] += 1
        time.sleep(0.02 if _is_gpu() else 0.5)
        return render_frame(context, frame)

    kinds = []
    progress = run(
        light_experiment(120),
        tmp_path / "a.zarr",
        threaded({"GPU": 1}, {}),
        render_frame=Here(slowed),
        pacing=Pacing(task_s=0.3),
        report=lambda progress: kinds.append(dict(progress.kinds)),
    )
    assert (progress.frames_done, progress.failed) == (120, {})
    assert {"gpu": 1, "cpu": 1} in kinds
    assert submitted.keys() >= {"gpu", "cpu"}
    assert max(submitted["gpu"]) >= 3, "several units to a task"
    assert max(submitted["cpu"]) == 1
    assert by["gpu"] > 2 * by["cpu"] > 0
    assert_same_bits(tmp_path / "a.zarr", undisturbed)


def test_a_worker_that_is_told_to_render_on_the_cpu_is_of_that_kind(light_experiment, threaded, tmp_path):
    joined = []
    generate(
        light_experiment(4),
        tmp_path / "a.zarr",
        threaded({"GPU": 1}),
        device="cpu",
        log=lambda event, **facts: joined.append(facts["kind"]) if event == "worker-joined" else None,
        **CUT,
    )
    assert joined == ["cpu"]


def _slow(seconds):
    def slowed(context, frame):
        time.sleep(seconds)
        return render_frame(context, frame)

    return slowed


def test_quick_units_share_a_task_and_slow_ones_have_one_each(light_experiment, threaded, submitted, tmp_path):
    client = threaded({}, {})
    run(light_experiment(100), tmp_path / "quick.zarr", client, pacing=Pacing(task_s=5.0))
    assert max(submitted[""]) > 3
    assert submitted[""][0] == 1, "how quick they are is not known yet"
    assert submitted[""][-1] <= 2, "a short task at the end, so that no worker waits for another"
    assert sum(submitted[""]) == 100
    submitted.clear()
    run(light_experiment(12), tmp_path / "slow.zarr", client, render_frame=_slow(0.3), pacing=Pacing(task_s=0.5))
    assert set(submitted[""]) == {1}


def test_a_task_that_takes_too_long_gives_back_what_it_has_not_begun(
    light_experiment, undisturbed_series, threaded, submitted, tmp_path, assert_same_bits
):
    undisturbed, pacing = undisturbed_series(120), Pacing(task_s=2.0, most_units=20, task_limit_s=0.5)
    progress = run(light_experiment(120), tmp_path / "a.zarr", threaded({}, {}), render_frame=_slow(0.1), pacing=pacing)
    assert (progress.frames_done, progress.failed, progress.retried) == (120, {}, 0)
    assert sum(submitted[""]) > 120, "some were handed out twice"
    assert_same_bits(tmp_path / "a.zarr", undisturbed)


def test_one_heavy_frame_keeps_four_workers_busy(small_experiment, threaded, monkeypatch, tmp_path):
    experiment = small_experiment(
        panel={"spixels": 1000, "fpixels": 1100},
        crystal={"mosaic_spread_deg": 0.3, "mosaic_domains": 17_000},
        scan={"frames": 1, "phi_steps": 10},
    )
    plan = make_context(experiment, workers=4).plan
    assert plan.split
    assert len(plan.tiles) * len(plan.chunks) == 20, "five pieces a worker"
    slept, s_per_step = Counter(), 8 / (1000 * 1100 * 10)  # 8 s in all, 2 a worker

    def sleep(run, frame, tile, chunk):
        tile = Tile(*tile)
        length = tile.pixels * (chunk[1] - chunk[0]) * s_per_step
        slept[get_worker().address] += length
        time.sleep(length)
        by = {"kernel": "eager", "device": "cpu", "compiler": "none", "processor": "none"}
        return worker_tasks.Partial(np.ones(tile.shape), by, length)

    monkeypatch.setattr(worker_tasks, "render_piece", sleep)
    progress = generate(experiment, tmp_path / "a.zarr", threaded({}, {}, {}, {}))
    assert (progress.frames_done, progress.failed) == (1, {})
    assert slept.total() == pytest.approx(8)
    assert max(slept.values()) < slept.total() / 4 / 0.85, "no worker has much more to do than the others"
    (record,) = summarize(tmp_path / "a.zarr").records
    assert record["seconds"] > 7.99, "of all the workers"
    assert (record["device"], record["precision"], record["kernel"]) == ("cpu", "float32", "eager")
