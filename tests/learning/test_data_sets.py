"""Data sets read for training: samples, wedges within them, crops, values, splits; and samples that are rendered while they are read."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from run.recipes import recipe
from torch.utils.data import DataLoader

from nbdist import open_samples, open_spots
from nbdist.errors import NbdistError, StoreError
from nbdist.learning import (
    CropDataset,
    FrameDataset,
    LiveDataset,
    Padded,
    ResumableLoader,
    SampleDataset,
    StreamDataset,
    WedgeDataset,
)
from nbdist.run.datasets import generate_dataset, sample
from nbdist.store import read_completeness
from nbdist.store.locations import open_group
from nbdist.store.units import record_key

pytestmark = pytest.mark.usefixtures("cards_without_pictures")
SAMPLES, TOGETHER = 5, 3


@pytest.fixture(scope="module")
def made():
    return recipe("wedge")


@pytest.fixture(scope="module")
def location(made, tmp_path_factory, cards_without_pictures):
    location = tmp_path_factory.mktemp("sets") / "set.zarr"
    generate_dataset(made, location, SAMPLES, serial=True, frames_per_shard=2 * TOGETHER)
    return location


def test_a_frame_of_a_data_set_says_whose_it_is(location):
    dataset = FrameDataset(location)
    assert len(dataset) == SAMPLES * TOGETHER
    item = dataset[7]
    assert item.keys() == {"intensity", "counts", "sample", "frame"}
    assert (int(item["sample"]), int(item["frame"])) == (2, 1)
    np.testing.assert_array_equal(item["counts"], zarr.open_group(str(location), mode="r")["counts"][7])
    assert dataset.mask.all()
    assert repr(dataset) == f"<FrameDataset of {location}: {SAMPLES * TOGETHER} items>"


def test_a_sample_is_a_volume_of_its_frames_with_its_values_and_tables(location, made):
    names = [column.name for column in made.columns if column.dtype != "str"]
    spots = open_spots(location, samples=range(2, 3))
    dataset = SampleDataset(
        location,
        values=[*names, "photons"],
        tables={
            "spots": ["frame", "slow", "h", "k", "l"],
            "lattices": ["a_x", "q_w"],
            "samples": ["sample", "lattices"],
        },
    )
    assert len(dataset) == SAMPLES
    item, rendered = dataset[2], sample(made, 2)
    assert re.fullmatch(
        r"<Sample 2, \w+, crystal .*: .*counts 3 x 96 x 80.*; rows of samples \(1\), .*>", repr(rendered)
    )
    for name, images in rendered.images.items():
        np.testing.assert_array_equal(item[name], images)
    photons = float(rendered.tables["frames"]["photons"].sum())
    assert item["values"].tolist() == pytest.approx([*(rendered.values[name] for name in names), photons], rel=1e-14)
    np.testing.assert_array_equal(item["spots"], spots[["frame", "slow", "h", "k", "l"]].to_numpy(dtype=np.float64))
    assert item["lattices"].shape == (TOGETHER, 2)
    assert item["samples"].tolist() == [[2, 1]]
    assert (int(item["sample"]), item["frame"].tolist()) == (2, [0, 1, 2])


def test_wedges_lie_within_samples(location):
    dataset = WedgeDataset(location, 2, 1)
    assert [tuple(dataset[index]["frame"].tolist()) for index in range(len(dataset))] == [(0, 1), (1, 2)] * SAMPLES
    with pytest.raises(NbdistError, match="length 4: a wedge has 1 to 3 frames here"):
        WedgeDataset(location, 4)


def test_samples_are_chosen_by_number_or_split(location):
    splits = open_samples(location)["split"]
    assert splits.nunique() > 1
    for split in splits.unique():
        dataset = SampleDataset(location, split=split, products=[])
        assert [int(dataset[index]["sample"]) for index in range(len(dataset))] == np.flatnonzero(
            splits == split
        ).tolist()
    dataset = FrameDataset(location, samples=range(1, 3), products=[])
    assert sorted({int(dataset[index]["sample"]) for index in range(len(dataset))}) == [1, 2]
    with pytest.raises(StoreError, match="there is no split tset; splits: "):
        FrameDataset(location, split="tset")


def test_columns_that_are_no_numbers_or_not_there_are_refused(location):
    with pytest.raises(StoreError, match="column crystal of samples is text"):
        FrameDataset(location, values=["crystal"])
    with pytest.raises(StoreError, match="column space_group of lattices is text"):
        FrameDataset(location, tables={"lattices": ["space_group"]})
    with pytest.raises(StoreError, match="samples has no column wave"):
        FrameDataset(location, values=["wave"])


def test_crops_and_streams_take_data_sets(location):
    crops = CropDataset(location, 20, tables={"spots": ["slow", "fast"]})
    [batch] = DataLoader(crops, batch_size=len(crops), collate_fn=Padded("spots"))
    assert batch["counts"].shape == (SAMPLES * TOGETHER, 20, 20)
    stream = StreamDataset(SampleDataset(location, products=["counts"]), seed=1, buffer=3)
    found = [batch["sample"].tolist() for batch in ResumableLoader(stream, batch_size=2)]
    assert sorted(number for its in found for number in its) == list(range(SAMPLES))


@pytest.fixture(scope="module")
def of_two_detectors(tmp_path_factory, cards_without_pictures):
    location = tmp_path_factory.mktemp("detectors") / "set.zarr"
    generate_dataset(recipe("two detectors"), location, 6, serial=True)
    return location


@pytest.mark.parametrize("products", [None, ["counts"]])
def test_crops_lie_where_the_detector_of_their_frame_has_pixels(of_two_detectors, products):
    usable = [FrameDataset(of_two_detectors)[frame]["mask"] for frame in range(6)]
    crops = CropDataset(of_two_detectors, 30, crops=12, centred=0.3, negatives=0.3, products=products)
    for index in range(len(crops)):
        item = crops[index]
        slow, fast = item["corner"].tolist()
        assert usable[int(item["sample"])][slow : slow + 30, fast : fast + 30].all()
        assert products is None or "mask" not in item
    larger = CropDataset(of_two_detectors, (80, 85), centred=0, negatives=0)
    corners = np.array([larger[index]["corner"].tolist() for index in range(6)])
    sizes = np.array([[int(mask.any(axis).sum()) for axis in (1, 0)] for mask in usable])
    assert (corners[sizes < (80, 85)] == 0).all(), "it begins where the pixels begin"


def test_crops_on_spots_of_a_store_without_spots_are_refused_at_once(tmp_path):
    generate_dataset(recipe(labels=None), tmp_path / "a.zarr", 1, serial=True)
    with pytest.raises(StoreError, match="there is no table spots"):
        CropDataset(tmp_path / "a.zarr", 30)
    assert len(CropDataset(tmp_path / "a.zarr", 30, centred=0, negatives=0)) == 1


def test_a_mask_that_is_drawn_comes_with_each_frame(of_two_detectors):
    two, dataset = recipe("two detectors"), FrameDataset(of_two_detectors)
    shapes = set()
    for number in range(6):
        item, [panel] = dataset[number], two.draw(number).experiment.detector.panels
        shape = panel.spixels, panel.fpixels
        assert item["mask"].dtype == torch.bool
        assert item["mask"].sum() == np.prod(shape)
        assert item["mask"][: shape[0], : shape[1]].all()
        shapes.add(shape)
    assert len(shapes) > 1
    with pytest.raises(StoreError, match="each frame has its own mask"):
        dataset.mask  # noqa: B018


def test_samples_are_rendered_once_when_they_are_asked_for_and_are_those_of_a_run(location, made, tmp_path):
    whole, live = SampleDataset(location), LiveDataset(made, tmp_path / "live.zarr", SAMPLES)
    assert len(live) == SAMPLES
    assert not read_completeness(open_group(tmp_path / "live.zarr")).complete
    for index in (3, 1, 3):
        torch.testing.assert_close(live[index], whole[index], rtol=0, atol=0)
    assert read_completeness(open_group(tmp_path / "live.zarr")).complete == [1, 3]
    shard = tmp_path / "live.zarr/counts/c/3/0/0"
    written = shard.stat().st_mtime_ns
    longer = LiveDataset(made, tmp_path / "live.zarr", SAMPLES + 1, samples=range(2, SAMPLES + 1))
    again = pickle.loads(pickle.dumps(longer))
    torch.testing.assert_close(again[1], whole[3], rtol=0, atol=0)
    assert int(again[3]["sample"]) == SAMPLES
    assert shard.stat().st_mtime_ns == written
    generate_dataset(made, tmp_path / "live.zarr", resume=True, serial=True)
    assert read_completeness(open_group(tmp_path / "live.zarr")).finished


def test_a_split_of_samples_that_are_rendered_live_is_that_of_the_store(location, made, tmp_path):
    splits = open_samples(location)["split"]
    live = LiveDataset(made, tmp_path / "live.zarr", SAMPLES, split="train")
    assert (live.first_frames() // TOGETHER).tolist() == np.flatnonzero(splits == "train").tolist()
    with pytest.raises(StoreError, match="there is no split tset; splits: train, validation, test"):
        LiveDataset(made, tmp_path / "live.zarr", SAMPLES, split="tset")


def test_samples_that_there_are_not_are_refused(made, tmp_path):
    with pytest.raises(StoreError, match="samples 3 to 5 lie outside the 5 there are"):
        LiveDataset(made, tmp_path / "live.zarr", 5, samples=range(3, 6))


def test_a_store_of_larger_units_is_not_rendered_live(location, made):
    with pytest.raises(NbdistError, match="was begun with frames_per_shard 6; it cannot go on with 3"):
        LiveDataset(made, location, SAMPLES)


def test_live_data_sets_share_a_store_and_render_what_is_damaged_again(location, made, tmp_path):
    place, whole = tmp_path / "live.zarr", SampleDataset(location, products=["counts"])
    live = LiveDataset(made, place, SAMPLES, samples=range(2), products=["counts"])
    for index in range(2):
        _ = live[index]
    shard = place / "counts/c/1/0/0"
    shard.write_bytes(bytes(len(shard.read_bytes())))
    being_written = shard.with_name("0.partial")
    being_written.write_bytes(b"half of it")
    other = LiveDataset(made, place, SAMPLES, products=["counts"])
    assert being_written.exists(), "a worker of the first one may be at it"
    copy, record = pickle.loads(pickle.dumps(other)), place / record_key(1)
    _ = copy[1]
    written = record.stat().st_mtime_ns
    _ = other[1]
    assert record.stat().st_mtime_ns == written, "it is rendered by one of them"
    for index in (0, 1, 2):
        torch.testing.assert_close(other[index], whole[index], rtol=0, atol=0)


def test_a_sample_that_is_gone_again_is_said_to_be(location, made, tmp_path):
    values = [column.name for column in made.columns if column.dtype != "str"]
    place = shutil.copytree(location, tmp_path / "set.zarr")
    dataset = FrameDataset(place, values=values, products=[])
    shutil.rmtree(place / "samples")
    with pytest.raises(StoreError, match="unit 0 is gone, or not complete any more"):
        _ = dataset[0]


def test_ranks_render_into_one_store(location, made, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    whole = SampleDataset(location, products=["counts"])
    for rank in (1, 0):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        live = LiveDataset(made, tmp_path / "live.zarr", SAMPLES, products=["counts"])
        torch.testing.assert_close(live[rank], whole[rank], rtol=0, atol=0)
    assert read_completeness(open_group(tmp_path / "live.zarr")).complete == [0, 1]


def test_the_manual_says_how_to_load(tmp_path):
    location = tmp_path / "train.zarr"
    generate_dataset(recipe(), location, 12, serial=True)
    manual = (Path(__file__).parents[2] / "docs" / "how_to" / "datasets.md").read_text()
    [example] = [its for its in re.findall(r"```python\n(.*?)```", manual, re.DOTALL) if "ResumableLoader" in its]
    example = example.replace('"train.zarr"', repr(str(location))).replace("num_workers=2", "num_workers=0")
    found = {}
    exec(example, found)
    assert set(found["state"]["given"]) == {0}, "all of an epoch was handed out, and the next one is to follow"
    assert found["state"]["epoch"] == 1
    batch = found["batch"]
    assert batch["counts"].shape[1:] == found["usable"].shape
    assert batch["spots"].shape == (len(batch["sample"]), int(batch["spots_rows"].max()), 6)
    assert batch["values"].shape == (len(batch["sample"]), 2)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_render_samples_while_they_are_read(location, made, tmp_path):
    live = LiveDataset(made, tmp_path / "live.zarr", SAMPLES, products=["counts"])
    loader = DataLoader(live, batch_size=1, num_workers=2, multiprocessing_context="fork")
    stored = zarr.open_group(str(location), mode="r")["counts"][:].reshape(SAMPLES, TOGETHER, 96, 80)
    np.testing.assert_array_equal(torch.cat([batch["counts"] for batch in loader]), stored)
    assert read_completeness(open_group(tmp_path / "live.zarr")).finished
