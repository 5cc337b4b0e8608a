"""Opening a series: lazily, with its coordinates, and with one clear line where there is none."""

from __future__ import annotations

import dataclasses
import json
import shutil

import dask
import dask.array
import numpy as np
import pytest
import xarray
import zarr

from nbdist import NbdistError, generate, open_series
from nbdist.errors import StoreError
from nbdist.frames.products import COUNTS, INTENSITY, PRODUCTS
from nbdist.planning import Cut, make_plan
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.store import SeriesContent, consolidate, create_store, summarize
from nbdist.store.objects import Folder


@pytest.fixture(scope="module")
def location(small_experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("open") / "series.zarr"
    generate(small_experiment(noise={"photon_noise": True}), location, serial=True, frames_per_shard=1)
    return location


def test_a_series_opens_as_lazy_arrays_with_coordinates(location):
    data = open_series(location)
    assert set(data.data_vars) == {"intensity", "counts"}
    assert {"frame", "slow", "fast", "phi_start_deg", "phi_end_deg", "orientation", "mask", "complete"} == set(
        data.coords
    )
    assert isinstance(data.intensity.data, dask.array.Array)
    assert data.intensity.chunks[0] == (1, 1, 1)
    expected = zarr.open_group(str(location), mode="r")["intensity"][:]
    assert expected.any()
    np.testing.assert_array_equal(data.intensity, expected)
    assert float(data.intensity.sel(frame=1).phi_start_deg) == 10.5


def test_a_series_opens_without_dask(location):
    data = open_series(location, chunks=None)
    assert data.intensity.chunks is None
    assert float(data.intensity[2].max()) > 0


def test_a_summary_has_the_scene_of_the_experiment_that_it_was_made_of_and_of_no_other(small_experiment, location):
    made_of = small_experiment(noise={"photon_noise": True})
    assert summarize(location).scene_of(made_of).experiment is made_of
    with pytest.raises(StoreError, match=r"series\.zarr was made from other files or another experiment than the one"):
        summarize(location).scene_of(small_experiment())


def test_an_unfinished_series_opens_and_reads_zero_where_nothing_is_rendered(small_experiment, tmp_path):
    generate(small_experiment(), tmp_path / "a.zarr", serial=True, frames_per_shard=1, frames=range(1, 2))
    sums = open_series(tmp_path / "a.zarr").intensity.sum(("slow", "fast")).values
    np.testing.assert_array_equal(sums > 0, [False, True, False])


def test_frames_that_are_not_rendered_are_not_complete(small_experiment, tmp_path):
    generate(
        small_experiment(scan={"frames": 5}), tmp_path / "a.zarr", serial=True, frames_per_shard=2,
        frames=range(2, 5),
    )  # fmt: skip
    data = open_series(tmp_path / "a.zarr")
    assert (data.complete.dims, data.complete.dtype) == (("frame",), bool)
    assert data.complete.values.tolist() == [False, False, True, True, True]
    assert data.isel(frame=data.complete).frame.values.tolist() == [2, 3, 4]
    assert (
        data.intensity.where(data.complete).isnull().any(("slow", "fast")).values.tolist() == [True] * 2 + [False] * 3
    )


@pytest.fixture(scope="module")
def sharded(small_experiment, tmp_path_factory):
    """Five frames, two in a shard."""
    location = tmp_path_factory.mktemp("open") / "sharded.zarr"
    experiment = small_experiment(
        panel={"spixels": 20, "fpixels": 9, "pixel_size_mm": 4.0}, scan={"frames": 5}, noise={"photon_noise": True}
    )
    with pytest.MonkeyPatch.context() as patch:
        for product in (INTENSITY, COUNTS):
            patch.setitem(PRODUCTS, product.name, dataclasses.replace(product, chunk=7))
        generate(experiment, location, serial=True, frames_per_shard=2)
    return location


def test_a_chunk_of_dask_is_a_shard(sharded):
    data = open_series(sharded)
    assert data.intensity.chunks == data.counts.chunks == ((2, 2, 1), (20,), (9,))
    assert all(data[name].chunks is None for name in data.coords), "coordinates are read as they are needed"
    assert open_series(sharded, chunks={"frame": 1}).intensity.chunks == ((1,) * 5, (20,), (9,))


def test_chunks_of_a_dimension_that_is_not_there_are_refused(sharded):
    with pytest.raises(ValueError, match="frames"):
        open_series(sharded, chunks={"frames": 1})


SLICES = {
    "all of it": lambda data: data,
    "frames from the middle of a shard": lambda data: data.isel(frame=slice(1, 4)),
    "frames by number": lambda data: data.sel(frame=slice(3, 4)),
    "complete frames": lambda data: data.isel(frame=data.complete),
    "every second frame": lambda data: data.isel(frame=slice(None, None, 2)),
    "frames in another order": lambda data: data.isel(frame=[4, 0, 3]),
    "a frame": lambda data: data.isel(frame=3),
    "a row": lambda data: data.isel(slow=7),
    "a part of the image": lambda data: data.isel(slow=slice(3, 15), fast=slice(1, 8)),
    "one array": lambda data: data.intensity.isel(frame=slice(1, 5)).to_dataset(name="spots"),
    "a projection": lambda data: data.max("frame"),
    "other chunks": lambda data: data.chunk({"frame": 3}),
}


@pytest.mark.parametrize("part", SLICES.values(), ids=SLICES)
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_any_slice_is_copied_by_to_zarr(part, sharded, tmp_path):
    _copied(part(open_series(sharded)), tmp_path / "lazy.zarr")
    _copied(part(open_series(sharded)).compute(), tmp_path / "computed.zarr")


@pytest.mark.parametrize("chunks", [None, {"frame": 1}, {"frame": 3}], ids=["no Dask", "frames", "across shards"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_a_series_in_any_chunks_of_frames_is_copied_by_to_zarr(chunks, sharded, tmp_path):
    _copied(open_series(sharded, chunks).isel(frame=slice(1, None)), tmp_path / "copy.zarr")


def _copied(wanted, place):
    wanted.to_zarr(place, mode="w", zarr_format=3)
    xarray.testing.assert_equal(xarray.open_zarr(place, zarr_format=3).compute(), wanted.compute())


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_a_copy_is_no_store_of_nbdist(sharded, tmp_path):
    open_series(sharded).to_zarr(tmp_path / "copy.zarr")
    with pytest.raises(StoreError, match="is a Zarr store, but not one of nbdist"):
        open_series(tmp_path / "copy.zarr")


def test_a_long_series_is_a_task_a_unit_and_a_rocking_curve_a_few(small_experiment, tmp_path):
    scene = resolve(small_experiment(panel={"spixels": 600, "fpixels": 600}, scan={"frames": 2_000}))
    plan = make_plan(scene, cut=Cut(frames_per_shard=20))
    create_store(tmp_path / "a.zarr", SeriesContent(scene, plan, load_reflections(scene)))
    series = open_series(tmp_path / "a.zarr")
    assert len(series.intensity.data.chunks[0]) == series.intensity.data.npartitions == 100
    curve = series.intensity[:, 300:307, 40:47].sum(("slow", "fast"))
    for lazy in (series.intensity.max("frame"), curve):
        (graph,) = dask.optimize(lazy.data)
        assert len(graph.__dask_graph__()) < 3 * 100
    assert not curve.values.any()


def test_a_path_object_and_a_string_open_alike(location):
    assert open_series(str(location)).identical(open_series(location))


def test_consolidating_twice_changes_nothing(location):
    before = (location / "zarr.json").read_bytes()
    consolidate(location)
    assert (location / "zarr.json").read_bytes() == before


def _nothing(path):
    pass


def _file(path):
    path.write_text("not a store")


def _folder(path):
    path.mkdir()
    (path / "notes.txt").write_text("not a store")


def _plain_zarr(path):
    zarr.create_group(str(path)).create_array("intensity", shape=(3, 4, 5), dtype="f4")


def _zarr_array(path):
    zarr.create_array(str(path), shape=(3,), dtype="f4")


def _zarr_format_2(path):
    zarr.create_group(str(path), zarr_format=2)


def _garbled(path):
    path.mkdir()
    (path / "zarr.json").write_text("{")


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (_nothing, "there is no store"),
        (_file, "is not a Zarr store of nbdist"),
        (_folder, "is not a Zarr store of nbdist"),
        (_plain_zarr, "is a Zarr store, but not one of nbdist"),
        (_zarr_array, "is not a Zarr store of nbdist"),
        (_zarr_format_2, "is not a Zarr store of nbdist"),
        (_garbled, "is not a Zarr store of nbdist"),
    ],
)
def test_what_is_not_a_series_is_answered_in_one_line_that_names_it(make, answer, tmp_path):
    path = tmp_path / "other.zarr"
    make(path)
    with pytest.raises(StoreError, match=answer) as caught:
        open_series(path)
    assert isinstance(caught.value, NbdistError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_of_a_newer_format_is_refused(location, tmp_path):
    zarr.create_group(str(tmp_path / "new.zarr"), attributes={"format": "nbdist series", "format_version": 99})
    with pytest.raises(StoreError, match="store format 99, this nbdist reads format 3"):
        open_series(tmp_path / "new.zarr")


def test_a_store_whose_making_was_cut_short_is_answered_in_one_line(small_experiment, location, tmp_path):
    # what a kill between two writes of create_store leaves: the group is there, the arrays are not
    attributes = json.loads((location / "zarr.json").read_text())["attributes"]
    zarr.create_group(str(tmp_path / "cut.zarr"), attributes=attributes)
    with pytest.raises(StoreError, match="its making was cut short; --resume goes on with it") as caught:
        open_series(tmp_path / "cut.zarr")
    assert "\n" not in str(caught.value)
    again = small_experiment(noise={"photon_noise": True})
    with pytest.raises(StoreError, match="another experiment"):
        generate(small_experiment(), tmp_path / "cut.zarr", serial=True, resume=True)
    generate(again, tmp_path / "cut.zarr", serial=True, overwrite=True)
    assert open_series(tmp_path / "cut.zarr").intensity.shape == (3, 96, 80)


@pytest.mark.parametrize("written", [0, 1, 2, 7, 14, 15])
def test_a_making_that_was_cut_short_anywhere_is_completed_to_the_same_bits(
    written, small_experiment, location, tmp_path, monkeypatch
):
    left = [written]

    def cut(folder, key, content, original=Folder.write):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        original(folder, key, content)

    again, place = small_experiment(noise={"photon_noise": True}), tmp_path / "cut.zarr"
    how = {"serial": True, "frames_per_shard": 1}
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            generate(again, place, **how)
    with pytest.raises(StoreError, match="its making was cut short"):
        open_series(place)
    generate(again, place, resume=True, serial=True)
    mine, theirs = ({str(path.relative_to(root)) for path in root.rglob("*")} for root in (place, location))
    assert mine == theirs
    for path in location.rglob("*"):
        if path.is_file() and "records" not in str(path) and path.parent != location:
            assert (place / path.relative_to(location)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize(
    ("field", "value"),
    [("plan", {"tile": [1, 1]}), ("plan", None), ("experiment", {"beam": 1}), ("steps", "many"), ("provenance", 3)],
)
def test_attributes_that_nobody_can_use_are_answered_in_one_line(field, value, location, tmp_path):
    copy = shutil.copytree(location, tmp_path / "copy.zarr")
    root = json.loads((copy / "zarr.json").read_text())
    root["attributes"][field] = value
    (copy / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(StoreError, match="its attributes are not those of a series") as caught:
        summarize(copy)
    assert "\n" not in str(caught.value)
