"""What holds of a run whoever renders: this process, or the workers of a Dask cluster, which live in this process here."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from injected import Here, in_process_client, run

from nbdist.errors import StoreError
from nbdist.run.executors.roster import TASKS_PER_WORKER
from nbdist.run.settings import Pacing
from nbdist.store import summarize

FRAMES = 40
WORKERS = 2


@pytest.fixture(scope="module")
def dask_client():
    with in_process_client(*[{}] * WORKERS) as client:
        yield client


@pytest.fixture(params=["serial", pytest.param("dask", marks=pytest.mark.integration)])
def client(request):
    """A client of workers in this process, or None for a serial run."""
    return request.getfixturevalue("dask_client") if request.param == "dask" else None


@pytest.fixture(scope="module")
def experiment(light_experiment):
    return light_experiment(FRAMES)


class Frames:
    """A renderer whose frames hold their number, from 1; `failing` says how often each fails, and `rendered` how often it was begun."""

    def __init__(self, failing=(), before=lambda frame: None):
        self.failing, self.before, self.rendered = Counter(dict(failing)), before, Counter()
        self.lock = threading.Lock()

    def __call__(self, context, frame):
        self.before(frame)
        with self.lock:
            self.rendered[frame] += 1
            if self.failing[frame] > 0:
                self.failing[frame] -= 1
                raise ValueError(f"no frame {frame}")
        return [np.full(shape, frame + 1.0) for shape in context.scene.instrument.shapes]


def render(experiment, location, client, frames=None, **options):
    return run(experiment, location, client, render_frame=Here(frames or Frames()), **options)


def assert_whole(location, stored):
    values = stored(location)["intensity"]
    assert (values == np.arange(1, FRAMES + 1)[:, None, None]).all()
    assert summarize(location).complete == set(range(FRAMES))


def test_every_unit_is_rendered_once_and_recorded(experiment, client, tmp_path, stored):
    frames = Frames()
    progress = render(experiment, tmp_path / "a.zarr", client, frames)
    assert frames.rendered == Counter(range(FRAMES))
    assert (progress.frames_done, progress.units_done, progress.frames_total) == (FRAMES, FRAMES, FRAMES)
    assert (progress.failed, progress.retried, progress.in_flight) == ({}, 0, 0)
    assert_whole(tmp_path / "a.zarr", stored)
    same = {"precision": "float32", "kernel": "compiled", "device": "cpu"}
    for number, record in enumerate(summarize(tmp_path / "a.zarr").records):
        assert (record["unit"], record["frames"]) == (number, [number, number + 1])
        assert record.items() >= same.items()


def test_a_unit_that_fails_is_tried_again(experiment, client, tmp_path, stored):
    frames, events = Frames({3: 2, 7: 1}), []
    progress = render(
        experiment, tmp_path / "a.zarr", client, frames, log=lambda name, **facts: events.append((name, facts))
    )
    assert (progress.failed, progress.retried) == ({}, 3)
    assert (frames.rendered[3], frames.rendered[7], frames.rendered.total()) == (3, 2, FRAMES + 3)
    retried = Counter(facts["unit"] for name, facts in events if name == "unit-retried")
    assert retried == {3: 2, 7: 1}
    assert_whole(tmp_path / "a.zarr", stored)


def test_a_poisoned_unit_is_set_aside_and_tried_again_by_resume(experiment, client, tmp_path, stored):
    frames = Frames({5: 10**6})
    progress = render(experiment, tmp_path / "a.zarr", client, frames)
    assert frames.rendered[5] == 3
    assert list(progress.failed) == [5]
    assert progress.failed[5].startswith("ValueError: no frame 5 (nbdist/run/rendering.py:")
    assert summarize(tmp_path / "a.zarr").complete == set(range(FRAMES)) - {5}
    again = Frames()
    progress = render(experiment, tmp_path / "a.zarr", client, again, resume=True)
    assert again.rendered == {5: 1}
    assert (progress.failed, progress.frames_total) == ({}, 1)
    assert_whole(tmp_path / "a.zarr", stored)


def test_what_every_unit_would_meet_ends_the_run(experiment, client, tmp_path):
    def remove(frame):
        if frame == 5 and (tmp_path / "a.zarr").exists():
            (tmp_path / "a.zarr").rename(tmp_path / "removed")

    frames = Frames(before=remove)
    with pytest.raises(StoreError, match=r"a\.zarr.*(removed|no store)"):
        render(experiment, tmp_path / "a.zarr", client, frames)
    assert frames.rendered.total() < FRAMES, "it does not go on to the end"


def test_no_more_units_are_in_flight_than_the_window_holds(experiment, client, tmp_path):
    in_flight = []
    render(
        experiment,
        tmp_path / "a.zarr",
        client,
        pacing=Pacing(task_s=0.0),
        report=lambda progress: in_flight.append(progress.in_flight),
    )
    assert max(in_flight) == (1 if client is None else TASKS_PER_WORKER * WORKERS)
    assert in_flight[-1] == 0


def test_an_interrupted_run_leaves_nothing_in_flight_and_resume_completes_it(experiment, client, tmp_path, stored):
    def interrupt(progress):
        if progress.frames_done >= 2:
            raise KeyboardInterrupt

    events = []
    with pytest.raises(KeyboardInterrupt):
        render(
            experiment,
            tmp_path / "a.zarr",
            client,
            pacing=Pacing(task_s=0.0),
            report=interrupt,
            log=lambda name, **facts: events.append((name, facts)),
        )
    assert (events[-1][0], events[-1][1]["how"]) == ("run-ended", "stopped")
    if client is not None:
        assert client.futures == {}
    complete = summarize(tmp_path / "a.zarr").complete
    assert 2 <= len(complete) < FRAMES
    again = Frames()
    render(experiment, tmp_path / "a.zarr", client, again, resume=True)
    assert again.rendered == Counter(set(range(FRAMES)) - set(complete))
    assert_whole(tmp_path / "a.zarr", stored)
