"""Data sets read for training: samples, wedges within them, crops, values, splits; and samples that are rendered while they are read."""

from __future__ import annotations

import pickle
import re
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


def test_a_mask_that_is_drawn_comes_with_each_frame(tmp_path):
    two = recipe("two detectors")
    generate_dataset(two, tmp_path / "a.zarr", 6, serial=True)
    dataset = FrameDataset(tmp_path / "a.zarr")
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
    manual = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
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
