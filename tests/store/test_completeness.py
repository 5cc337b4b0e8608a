"""How far a store is: by one object where it is finished, by its records where it is not, in little memory either way."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import shutil
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import frame_dataset

from nbdist import generate, open_series
from nbdist.errors import StoreError
from nbdist.planning import Cut, make_plan
from nbdist.run import rendering
from nbdist.run.finish import finish
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.store import SeriesContent, create_store, mark_finished, open_group, read_completeness, summarize, units
from nbdist.store.objects import Folder
from nbdist.store.occupancy import occupy
from nbdist.store.parts import Part
from nbdist.store.units import FINISHED, UnitWriter

CUT = {"serial": True, "frames_per_shard": 2}


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(panel={"spixels": 16, "fpixels": 20, "pixel_size_mm": 4.0}, scan={"frames": 5})


@pytest.fixture(scope="module")
def finished(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("finished") / "series.zarr"
    generate(experiment, location, **CUT)
    return location


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy.zarr"))


@pytest.fixture
def no_records(monkeypatch):
    """Reading a record fails from now on."""

    def refuse(*arguments):
        raise AssertionError("a record is read")

    monkeypatch.setattr(Folder, "read_all", refuse)


def test_a_finished_store_is_read_without_a_record(finished, no_records):
    summary = summarize(finished)
    assert (summary.complete, summary.frames_complete, summary.found.finished) == ({0, 1, 2}, 5, True)
    assert open_series(finished).complete.values.tolist() == [True] * 5
    assert len(frame_dataset(finished)) == 5


def test_what_it_says_is_what_its_records_say(finished):
    said, found = read_completeness(open_group(finished)), read_completeness(open_group(finished), believe=False)
    shards = [path for path in (finished / "intensity/c").rglob("*") if path.is_file()]
    assert said.shard_bytes == found.shard_bytes == sum(path.stat().st_size for path in shards)
    assert list(said.seconds) == list(found.seconds) == ["cpu float32 compiled"]
    assert said.seconds["cpu float32 compiled"] == found.seconds["cpu float32 compiled"] > 0


def test_an_unfinished_store_does_not_say_that_it_is_finished(experiment, tmp_path):
    generate(experiment, tmp_path / "a.zarr", frames=range(2, 4), **CUT)
    assert not (tmp_path / "a.zarr" / FINISHED).exists()
    assert not mark_finished(tmp_path / "a.zarr")
    assert summarize(tmp_path / "a.zarr").complete == {1}
    generate(experiment, tmp_path / "a.zarr", serial=True, resume=True)
    assert (tmp_path / "a.zarr" / FINISHED).exists()


def test_parts_are_finished_by_finish(experiment, tmp_path):
    for number in (1, 2):
        generate(experiment, tmp_path / "a.zarr", part=Part(number, 2), frames_per_shard=1)
        assert not (tmp_path / "a.zarr" / FINISHED).exists()
    assert not finish(tmp_path / "a.zarr").missing
    assert (tmp_path / "a.zarr" / FINISHED).exists()


def test_a_store_that_a_run_writes_into_is_not_marked(experiment, copy):
    occupation = occupy(Folder(copy), Part(1, 2))
    try:
        with pytest.raises(StoreError, match="another run renders part 1/2"):
            finish(copy)
    finally:
        occupation.release()


def test_what_a_store_says_is_taken_back_before_a_frame_is_written(copy, experiment, monkeypatch):
    def ended(context, frame):
        raise KeyboardInterrupt

    (copy / "intensity/c/1/0/0").unlink()
    monkeypatch.setattr(rendering, "render_frame", ended)
    with pytest.raises(KeyboardInterrupt):
        generate(experiment, copy, resume=True, serial=True)
    monkeypatch.undo()
    assert summarize(copy).complete == {0, 2}, "nothing was written: its shards tell"

    def after_one_array(folder, key, content, original=Folder.write):
        if key.startswith("records/0"):
            raise KeyboardInterrupt
        return original(folder, key, content)

    monkeypatch.setattr(Folder, "write", after_one_array)
    with pytest.raises(KeyboardInterrupt):
        generate(experiment, copy, resume=True, serial=True)
    assert not (copy / FINISHED).exists()


def test_a_writer_takes_it_back_and_leaves_anothers_alone(copy, finished):
    unit = summarize(copy).units[1]
    frames = [{"intensity": [np.zeros((16, 20), dtype=np.float32)]}] * 2
    with pytest.raises(StoreError, match="is another store"):
        UnitWriter(copy, store_id="another").write(unit, frames, {})
    assert (copy / FINISHED).exists()
    writer = UnitWriter(copy)
    writer.write(unit, frames, {})
    assert not (copy / FINISHED).exists()
    assert mark_finished(copy), "its root is written anew"


HARM = {
    "a shard is gone": lambda store: (store / "intensity/c/1/0/0").unlink(),
    "a shard is cut short": lambda store: os.truncate(store / "intensity/c/1/0/0", 100),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_finished_store_with_a_hole_is_not_believed(harm, copy):
    harm(copy)
    assert summarize(copy).complete == {0, 2}
    assert open_series(copy).complete.values.tolist() == [True, True, False, False, True]
    assert frame_dataset(copy).frames == [0, 1, 4]


def test_of_many_shards_a_few_are_looked_at(monkeypatch, finished):
    looked_at = []

    def sizes(folder, keys, original=Folder.sizes):
        keys = list(keys)
        looked_at.extend(keys)
        return original(folder, keys)

    monkeypatch.setattr(Folder, "sizes", sizes)
    monkeypatch.setattr("nbdist.store.completeness.PROBED", 2)
    read_completeness(open_group(finished))
    assert looked_at[:2] == ["intensity/c/0/0/0", "intensity/c/2/0/0"]


@pytest.mark.parametrize(
    "change",
    [
        {"store_id": "another"},
        {"units": 2},
        {"units": None},
        {"probed_bytes": 0},
        {"probed_bytes": {}},
        {"seconds": 3},
        {"seconds": {"cpu": "long"}},
        {"shard_bytes": "many"},
        {"shard_bytes": None},
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
    ],
    ids=str,
)
def test_what_somebody_else_says_is_not_believed(change, copy):
    (copy / "records/00000001.json").unlink()
    said = json.loads((copy / FINISHED).read_text())
    (copy / FINISHED).write_bytes(change if isinstance(change, bytes) else json.dumps({**said, **change}).encode())
    assert summarize(copy).complete == {0, 2}


@pytest.mark.parametrize("record", [{"seconds": "long"}, {"seconds": None}, {"device": 3, "seconds": 1}, {}], ids=str)
def test_a_record_of_something_else_stops_no_summary(record, copy):
    path = copy / "records/00000001.json"
    whole = json.loads(path.read_text())
    kept = {name: whole[name] for name in ("store_id", "shard_bytes")}
    path.write_text(json.dumps({**kept, **record}))
    (copy / FINISHED).unlink()
    assert summarize(copy).complete == {0, 1, 2}


class Pretended:
    """Answers for the records and shards of a store of many units that hold nothing."""

    def __init__(self, store_id: str, missing: int) -> None:
        self.store_id, self.missing = store_id, missing

    def name(self, key: str) -> int:
        return int(key.rpartition("/")[2].removesuffix(".json"))

    def read_all(self, keys):
        for key in keys:
            said = {"store_id": self.store_id, "shard_bytes": {"intensity": 7}, "seconds": 1.0, "host": "node"}
            yield key, json.dumps({**said, "unit": self.name(key), "shard_stamps": {"intensity": "7 bytes"}}).encode()

    def each_name(self, folder):
        return (f"{number:08d}.json" for number in range(self.units) if number != self.missing)


def _grown(experiment, frames, location, use):
    """Bytes that using a store of so many frames, one a unit and all but one complete, takes at its height and keeps."""
    series = experiment.with_changes(scan={"frames": frames})
    scene = resolve(series)
    create_store(location, SeriesContent(scene, make_plan(scene, cut=Cut(frames_per_shard=1)), load_reflections(scene)))
    pretended = Pretended(str(open_group(location).attrs["store_id"]), frames // 2)
    pretended.units = frames
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "RECORDS_AT_ONCE", 100)
        patch.setattr(Folder, "read_all", lambda folder, keys: pretended.read_all(keys))
        patch.setattr(Folder, "each_name", lambda folder, name: pretended.each_name(name))
        patch.setattr(Folder, "sizes", lambda folder, keys: dict.fromkeys(keys, 7))
        use(location)
        gc.collect()
        gc.disable()  # when it comes is chance
        tracemalloc.start()
        kept = use(location)
        height = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return height, len(pickle.dumps(kept))


def _dataset(location):
    return frame_dataset(location)


def _summary(location):
    return summarize(location).found


@pytest.fixture(scope="module")
def another_process():
    """One that does nothing else: threads that other tests left running would take their part of what is measured."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("use", [_summary, _dataset])
def test_a_reader_of_an_unfinished_store_takes_a_few_bytes_a_unit(use, experiment, another_process, tmp_path):
    few, many = 500, 4_500
    small, large = another_process.map(
        partial(_grown, experiment, use=use), (few, many), (tmp_path / "few.zarr", tmp_path / "many.zarr")
    )
    height, kept = ((b - a) / (many - few) for a, b in zip(small, large, strict=True))
    # a record takes some 2,000 bytes where it is kept, a unit 150, and a number in a list 36
    assert height < 32, "some 6"
    assert kept < 5
