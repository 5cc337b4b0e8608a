"""Series in a bucket: the same bits as in a folder, by every way to make and to read them."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess

import numpy as np
import pandas.testing
import pytest
import zarr
from command_line import run_command
from harm import Harm
from labelled import INTEGRATED, labelled_store, reflection_rows, spot_rows
from sample_sets import make_dataset, recipe_with, write_units
from waiting import LIMIT_S, until

from nbdist import generate, load_experiment, open_reflections, open_samples, open_series, open_spots, read_out, verify
from nbdist.errors import StoreError
from nbdist.experiment import experiment_to_yaml
from nbdist.frames.products import PRODUCTS, TableProduct
from nbdist.frames.tables import Column
from nbdist.run.finish import finish
from nbdist.run.report.pages import report_of
from nbdist.store import (
    StoredUnits,
    bucket,
    consolidate,
    grow_store,
    mark_finished,
    open_group,
    read_completeness,
    read_table,
    remove,
    summarize,
)
from nbdist.store.parts import Part
from nbdist.store.places import objects_at
from nbdist.view.model import Look, Model, Window

pytestmark = pytest.mark.integration

FRAMES = 6
CUT = {"frames_per_shard": 2}


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        panel={"spixels": 16, "fpixels": 20, "pixel_size_mm": 4.0},
        scan={"frames": FRAMES},
        noise={"photon_noise": True, "seed": 3},
    )


@pytest.fixture(scope="module")
def local(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("local") / "series.zarr"
    generate(experiment, location, serial=True, **CUT)
    return location


@pytest.fixture(scope="module")
def made():
    """Locations of series that were made in the bucket, for `series`."""
    return []


@pytest.fixture
def series(experiment, location, made):
    """The same series in the bucket; not to be changed."""
    if not made:
        progress = generate(experiment, location, serial=True, **CUT)
        assert (progress.frames_done, progress.failed) == (FRAMES, {})
        made.append(location)
    return made[0]


def assert_same_series(location, local):
    one, other = open_series(location, chunks=None), open_series(local, chunks=None)
    for name in ("intensity", "counts", "mask", "orientation", "phi_start_deg", "phi_end_deg"):
        values = one[name].values
        assert values.any() or name == "mask", f"{name} is empty: comparing it says nothing"
        np.testing.assert_array_equal(values, other[name].values, err_msg=name)


def test_a_series_in_a_bucket_is_the_series_in_a_folder(local, series):
    assert_same_series(series, local)
    keys = sorted(str(path.relative_to(local)) for path in local.rglob("*") if path.is_file())
    for key in keys:
        mine, theirs = objects_at(series).read(key), (local / key).read_bytes()
        assert mine is not None, key
        if "/c/" in key:
            assert mine == theirs, f"{key} has other bytes"
    assert objects_at(series).sizes(keys) == {key: len(objects_at(series).read(key)) for key in keys}
    found = verify(series, sample=2)
    assert found.good
    assert (found.frames_decoded, len(found.compared)) == (FRAMES, 2)


def test_a_report_of_a_bucket_says_what_that_of_a_folder_does(local, series):
    here, there = report_of(local, sample=2), report_of(series, sample=2)
    assert (there.frames, there.run.complete) == (here.frames, here.run.complete) == ([0, 5], 3)
    np.testing.assert_array_equal(there.shells.photons, here.shells.photons)
    assert [check.result for check in there.checks] == [check.result for check in here.checks]


def test_photons_in_a_bucket_are_read_out_into_it(experiment, local, location):
    generate(experiment.with_changes(noise={"photon_noise": False}), f"{location}-photons", serial=True, **CUT)
    assert read_out(f"{location}-photons", location, seed=3, serial=True).frames_done == FRAMES
    assert_same_series(location, local)


def test_what_is_missing_or_damaged_is_rendered_again(experiment, local, location):
    generate(experiment, location, serial=True, frames=range(2), **CUT)
    assert summarize(location).complete == {0}
    with pytest.raises(StoreError, match="--resume goes on with it"):
        generate(experiment, location, serial=True, **CUT)
    assert generate(experiment, location, serial=True, resume=True).frames_done == 4
    objects = objects_at(location)
    shard = objects.read("intensity/c/1/0/0")
    objects.write("intensity/c/1/0/0", bytes(len(shard)))
    objects.write("counts/c/2/0/0", objects.read("counts/c/2/0/0")[:-5])
    assert sorted(verify(location, sample=0).damaged) == [1, 2]
    assert generate(experiment, location, serial=True, resume=True).frames_done == 4
    assert_same_series(location, local)


def test_overwriting_leaves_nothing_of_the_series_before(experiment, location):
    generate(experiment, location, serial=True, **CUT)
    generate(experiment.with_changes(scan={"frames": 1}), location, serial=True, overwrite=True)
    assert summarize(location).frames == 1
    assert objects_at(location).read("intensity/c/1/0/0") is None
    remove(location)
    assert not objects_at(location).exists()
    with pytest.raises(StoreError, match="there is no store"):
        open_series(location)


def test_what_is_not_a_series_is_left_alone(experiment, location):
    objects_at(location).write("thesis.tex", b"years of work")
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(StoreError, match="is not a Zarr store of nbdist"):
            generate(experiment, location, serial=True, **how)
    assert objects_at(location).read("thesis.tex") == b"years of work"


def test_a_folder_of_many_objects_is_listed_whole(experiment, location, monkeypatch):
    # a listing has at most 1000 objects a page
    objects = objects_at(location)
    monkeypatch.setattr("nbdist.store.bucket.READERS", 2)
    for number in range(70):
        objects.write(f"many/{number}", bytes(number))
    keys = [f"many/{number}" for number in range(80)]
    assert objects.sizes(keys) == {f"many/{number}": number for number in range(70)}
    assert len(objects.names("many")) == 70
    objects.clear()
    assert not objects.exists()


def test_sizes_of_some_of_many_objects_are_read_off_the_pages_that_hold_them(location, monkeypatch):
    # pages of 10: keys 30 ... 99 need eight of them, and one more that ends it
    objects, pages = objects_at(location), []
    monkeypatch.setattr("nbdist.store.bucket.LISTED_AT_ONCE", 10)
    for number in range(10, 150):
        objects.write(f"many/{number:03d}", bytes(number))
    original = objects._asked
    monkeypatch.setattr(objects, "_asked", lambda *request: pages.append(request) or original(*request))
    wanted = range(30, 100)
    assert objects.sizes(f"many/{number:03d}" for number in wanted) == {f"many/{n:03d}": n for n in wanted}
    assert len(pages) <= 1 + 8
    assert len(objects.stamps(f"many/{number:03d}" for number in wanted)) == len(wanted)


def test_a_large_object_goes_up_in_pieces_and_is_whole(location):
    objects, content = objects_at(location), os.urandom(bucket.MULTIPART_BYTES + 2**20)
    objects.write("large", content)
    assert objects.read("large") == content
    assert objects.sizes(["large"]) == {"large": len(content)}


def test_of_two_that_create_an_object_one_comes_first(location):
    objects = objects_at(location)
    assert objects.create("zarr.json", b"mine")
    assert not objects.create("zarr.json", b"yours")
    assert objects.read("zarr.json") == b"mine"


def test_another_process_gets_the_url_and_no_credentials(series, assert_no_secret):
    packed = pickle.dumps(open_series(series))
    assert_no_secret(packed.decode("latin1"))
    assert series.encode() in packed
    np.testing.assert_array_equal(pickle.loads(packed).intensity[1], open_series(series).intensity[1])
    objects = objects_at(series)
    keys = sorted(item["path"] for item in objects._listing())
    assert {"zarr.json", "records/00000000.json", "intensity/c/0/0/0"} <= set(keys)
    assert_no_secret(*(content.decode("latin1") for _, content in objects.read_all(keys)))


def test_a_series_opens_without_nbdist_and_with_one_object_of_metadata(experiment, location):
    generate(experiment, location, serial=True, **CUT)
    before = objects_at(location).read("zarr.json")
    consolidate(location)
    assert objects_at(location).read("zarr.json") == before
    group = zarr.open_group(open_group(location).store, mode="r", use_consolidated=True)
    assert {"intensity", "counts", "mask"} <= set(group.array_keys())


def test_a_dataset_reads_a_bucket_in_loader_processes(local, series):
    from torch.utils.data import DataLoader

    from nbdist.learning import FrameDataset

    dataset, other = FrameDataset(series), FrameDataset(local)
    for name, value in other[3].items():
        np.testing.assert_array_equal(dataset[3][name], value)
    # not by forkserver, which keeps the environment (here the credentials) of whoever used it first
    loader = DataLoader(dataset, batch_size=3, num_workers=1, multiprocessing_context="spawn")
    counts = np.concatenate([batch["counts"] for batch in loader])
    np.testing.assert_array_equal(counts, open_series(local).counts)


def test_streams_and_crops_of_a_bucket_are_those_of_a_folder(local, series):
    from nbdist.learning import CropDataset, FrameDataset, StreamDataset

    for make in (FrameDataset, lambda location: CropDataset(location, 7, crops=2, centred=0, negatives=0)):
        streams = [StreamDataset(make(location), seed=1, buffer=3) for location in (series, local)]
        for here, there in zip(*streams, strict=True):
            assert here.keys() == there.keys()
            for name, value in here.items():
                np.testing.assert_array_equal(value, there[name])


def test_pieces_of_objects_are_read_alike_in_a_bucket_and_a_folder(local, series):
    in_folder, in_bucket = objects_at(local), objects_at(series)
    key, size = "counts/c/0/0/0", len(in_folder.read("counts/c/0/0/0"))
    for objects in (in_folder, in_bucket):
        whole = objects.read(key)
        spans = [(5, 9), (0, 3), (size - 4, size)]
        assert [bytes(piece) for piece in objects.read_spans(key, spans)] == [whole[a:b] for a, b in spans]
        assert objects.read_end(key, 20) == whole[-20:]
        assert objects.read_end(key, 10 * size) == whole
        assert objects.read_spans("counts/c/99/0/0", spans) is objects.read_end("counts/c/99/0/0", 20) is None


def test_a_series_in_a_bucket_is_looked_at(local, series):
    look, window = Look("counts", None, range(1, 3)), Window((2, 11), (3, 17), (9, 14))
    in_bucket, in_folder = (Model(str(its)).picture(look, window) for its in (series, local))
    assert in_bucket.view.values.any()
    np.testing.assert_array_equal(in_bucket.view.values, in_folder.view.values)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # fork is what is tested
def test_a_forked_process_is_refused_instead_of_hanging(series):
    from torch.utils.data import DataLoader

    from nbdist.learning import FrameDataset

    loader = DataLoader(FrameDataset(series), num_workers=1, multiprocessing_context="fork", timeout=LIMIT_S)
    with pytest.raises(StoreError, match="multiprocessing_context='forkserver'"):
        next(iter(loader))


@pytest.fixture
def experiment_file(experiment, tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(experiment_to_yaml(experiment))
    return path


def test_the_commands_take_a_bucket(experiment_file, experiment, local, location, tmp_path, monkeypatch, capsys):
    cut = ("--frames-per-shard", "2")
    parts = [
        subprocess.Popen(
            [shutil.which("nbdist"), "run", experiment_file, "-o", location, "--part", f"{number}/3", *cut]
        )
        for number in (1, 2)
    ]
    assert [part.wait(LIMIT_S) for part in parts] == [0, 0], "both make the store, or join"

    def command(*words):
        return run_command(list(words), monkeypatch, capsys)

    left = command("finish", location)
    assert left.status == 1
    again = f"nbdist run {experiment_file} -o {location} --part 3/3"
    assert again in left.out
    assert again in command("info", location).out
    generate(experiment, location, part=Part(3, 3))
    assert command("finish", location).status == 0
    assert_same_series(location, local)
    picture = tmp_path / "a.png"
    assert command("preview", location, "-o", str(picture)).status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    exported = command("export", location, "-o", str(tmp_path / "images"), "--format", "cbf", "--serial")
    assert exported.status == 0
    assert len([*(tmp_path / "images").glob("series_*.cbf")]) == FRAMES
    assert finish(location).missing == []


@pytest.mark.slow
def test_a_run_on_a_worker_that_is_killed_goes_on_where_it_was(small_experiment, location, tmp_path):
    file = tmp_path / "e.yaml"
    experiment = small_experiment(
        panel={"spixels": 16, "fpixels": 20, "pixel_size_mm": 4.0}, scan={"frames": 24, "phi_steps": 2}
    )
    file.write_text(experiment_to_yaml(experiment))
    process = subprocess.Popen(
        [shutil.which("nbdist"), "run", file, "-o", location, "--workers", "1", "--frames-per-shard", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **Harm(tmp_path, held_after=12).environment},
    )
    try:
        until(lambda: len(objects_at(location).names("records")) >= 6, "the first units", process=process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    complete = len(summarize(location).complete)
    assert 3 < complete < 24
    assert generate(load_experiment(file), location, serial=True, resume=True).frames_done == 24 - complete
    generate(load_experiment(file), tmp_path / "local.zarr", serial=True, frames_per_shard=1)
    np.testing.assert_array_equal(open_series(location).intensity, open_series(tmp_path / "local.zarr").intensity)


def _brightest(frame):
    (image,) = frame.photons
    return {"photons": np.sort(image, axis=None)[-1 - frame.number :]}


def test_rows_of_a_table_lie_in_a_bucket_and_are_checked_there(experiment, location, monkeypatch):
    columns = (Column("photons", "float32", "photon", "expected photons"),)
    table = TableProduct("brightest", "more pixels in each frame than in the one before", columns, _brightest)
    monkeypatch.setitem(PRODUCTS, table.name, table)
    generate(experiment, location, serial=True, **CUT)
    rows = read_table(location, "brightest")
    assert rows["frame"].to_pylist() == [frame for frame in range(FRAMES) for _ in range(frame + 1)]
    assert read_table(location, "brightest", range(2, 4)).equals(rows.slice(3, 7))
    objects_at(location).delete("brightest/00000001.parquet")
    assert finish(location).missing == [1]
    assert generate(experiment, location, serial=True, resume=True).frames_done == 2
    assert read_table(location, "brightest").equals(rows)
    remove(location)
    assert not objects_at(location).names("brightest")


def test_labels_lie_in_a_bucket_and_are_read_from_there(small_experiment, location, tmp_path):
    reflections = reflection_rows(np.arange(5), np.arange(5), np.arange(5))
    few = small_experiment(
        panel={"spixels": 4, "fpixels": 4},
        scan={"frames": 5},
        labels={"reflections": True, "spots": True, "resolution": True},
        **INTEGRATED,
    )
    for place in (location, tmp_path / "local.zarr"):
        labelled_store(few, place, reflections, lambda frame: spot_rows([frame], seed=frame))
    pandas.testing.assert_frame_equal(open_spots(location), open_spots(tmp_path / "local.zarr"))
    pandas.testing.assert_frame_equal(open_reflections(location), open_reflections(tmp_path / "local.zarr"))
    np.testing.assert_array_equal(open_series(location).resolution, open_series(tmp_path / "local.zarr").resolution)
    assert not finish(location).missing
    assert list(open_spots(location, slice(2, 4), ["reflection"]).reflection) == [2, 3]


def test_resume_reads_only_the_shards_that_changed(experiment, local, location, monkeypatch):
    generate(experiment, location, serial=True, **CUT)
    objects, decoded, original = objects_at(location), [], StoredUnits.damage

    def noted(stored, unit, as_written):
        decoded.append(unit.number)
        return original(stored, unit, as_written)

    monkeypatch.setattr(StoredUnits, "damage", noted)
    generate(experiment, location, serial=True, resume=True)
    assert decoded == []
    key = "intensity/c/1/0/0"
    objects.write(key, os.urandom(len(objects.read(key))))
    monkeypatch.setattr(bucket, "LISTED_FROM", 0)  # the stamps of many are read off a listing
    assert generate(experiment, location, serial=True, resume=True).frames_done == 2
    assert decoded == [1]
    generate(experiment, location, serial=True, resume=True)
    assert decoded == [1]
    assert_same_series(location, local)


def test_a_data_set_in_a_bucket_grows_and_is_read(experiment, location):
    still = experiment.with_changes(scan={"frames": 1})
    recipe = recipe_with(still, scan={**still.content()["scan"], "phi_start_deg": {"uniform": [0, 90]}})
    write_units(make_dataset(location, recipe, 3), recipe)
    assert mark_finished(location)
    grow_store(location, 4)
    write_units(location, recipe, read_completeness(open_group(location)).missing)
    samples = open_samples(location)
    assert list(samples["scan.phi_start_deg"]) == [
        recipe.draw(number).experiment.scan.phi_start_deg for number in range(4)
    ]
    series = open_series(location, chunks=None)
    np.testing.assert_array_equal(series["sample"], range(4))
    assert series["complete"].all()
    np.testing.assert_allclose(
        samples["photons"], series["intensity"].values.sum(axis=(1, 2), dtype=np.float64), rtol=1e-12
    )
