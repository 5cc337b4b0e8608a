"""Volumes of consecutive frames and crops of frames, with the spots in them, and batches of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from nbdist import generate, open_reflections, open_spots
from nbdist.errors import NbdistError, StoreError
from nbdist.learning import CropDataset, FrameDataset, Padded, Ragged, SampleDataset, WedgeDataset

FRAMES, SHAPE = 6, (96, 80)


@pytest.fixture(scope="module")
def location(small_experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("learning") / "series.zarr"
    experiment = small_experiment(
        scan={"frames": FRAMES},
        crystal={"shape": "gauss", "N_cells": [40, 40, 40]},
        sampling={"method": "integrated"},
        labels={"spot": True, "spots": True, "reflections": True},
        detector={"region_of_interest": {"slow": [0, 90], "fast": [0, 80]}},
    )
    generate(experiment, location, serial=True, frames_per_shard=4)
    return location


@pytest.fixture(scope="module")
def stored(location):
    return zarr.open_group(str(location), mode="r")


@pytest.fixture(scope="module")
def spots(location):
    found = open_spots(location)
    assert len(found) > 20
    return found


def test_a_wedge_is_consecutive_frames(location, stored):
    dataset = WedgeDataset(location, 3, products=["intensity"])
    assert dataset.first_frames().tolist() == [0, 3]
    item = dataset[1]
    assert {name: tuple(value.shape) for name, value in item.items()} == {
        "intensity": (3, *SHAPE),
        "phi": (3, 2),
        "orientation": (3, 3, 3),
        "frame": (3,),
    }
    np.testing.assert_array_equal(item["intensity"], stored["intensity"][3:6])
    assert item["frame"].tolist() == [3, 4, 5]
    torch.testing.assert_close(item["phi"][1], FrameDataset(location)[4]["phi"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("frames", "length", "step", "firsts"),
    [(None, 2, 1, [0, 1, 2, 3, 4]), (range(1, 6), 2, None, [2, 4]), (range(0, 6, 2), 2, 1, []), (None, 6, None, [0])],
)
def test_wedges_have_all_of_their_frames(location, frames, length, step, firsts):
    dataset = WedgeDataset(location, length, step, frames)
    assert dataset.first_frames().tolist() == firsts
    assert len(dataset) == len(firsts)


@pytest.mark.parametrize(
    ("length", "step", "said"), [(7, None, "length 7: a wedge has 1 to 6"), (0, None, "length 0"), (2, 0, "step 0")]
)
def test_wedges_that_are_none_are_refused(location, length, step, said):
    with pytest.raises(NbdistError, match=said):
        WedgeDataset(location, length, step)


def test_a_sample_of_a_series_is_a_volume_of_one_frame(location, stored):
    dataset = SampleDataset(location)
    assert len(dataset) == FRAMES
    np.testing.assert_array_equal(dataset[5]["intensity"], stored["intensity"][5:6])


def test_tables_have_the_columns_that_are_asked_for(location, spots):
    columns = ["slow", "fast", "photons", "h", "k", "l"]
    dataset = FrameDataset(location, tables={"spots": columns}, products=[])
    reflections = open_reflections(location).set_index("reflection")
    for frame in range(FRAMES):
        its = spots[spots.frame == frame]
        found = dataset[frame]["spots"]
        assert found.dtype == torch.float64
        np.testing.assert_array_equal(found[:, :3], its[columns[:3]])
        known = its.reflection.isin(reflections.index).to_numpy()
        indices = found[:, 3:].numpy()
        np.testing.assert_array_equal(indices[known], reflections.loc[its.reflection[known], ["h", "k", "l"]])
        assert not indices[~known].any()
    assert "intensity" not in dataset[0]


def test_what_a_store_has_not_is_refused_when_the_dataset_is_made(location):
    with pytest.raises(StoreError, match=r"no product counts of pixels; products: intensity, spot"):
        FrameDataset(location, products=["counts"])
    with pytest.raises(StoreError, match="spots has no column photon; columns:"):
        FrameDataset(location, tables={"spots": ["photon"]})
    with pytest.raises(StoreError, match="no table lattices"):
        FrameDataset(location, tables={"lattices": ["a_x"]})


def test_batches_of_tables_are_padded_or_follow_one_another(location, spots):
    dataset = FrameDataset(location, tables={"spots": ["slow", "fast"]})
    [padded] = DataLoader(dataset, batch_size=FRAMES, collate_fn=Padded("spots"))
    [ragged] = DataLoader(dataset, batch_size=FRAMES, collate_fn=Ragged("spots"))
    rows = spots.groupby("frame").size().reindex(range(FRAMES), fill_value=0).tolist()
    assert padded["spots_rows"].tolist() == ragged["spots_rows"].tolist() == rows
    assert padded["spots"].shape == (FRAMES, max(rows), 2)
    assert len(set(rows)) > 1
    np.testing.assert_array_equal(ragged["spots"], spots[["slow", "fast"]])
    for frame, its in enumerate(ragged["spots"].split(rows)):
        torch.testing.assert_close(padded["spots"][frame, : rows[frame]], its, rtol=0, atol=0)
        assert padded["spots"][frame, rows[frame] :].isnan().all()
    assert ragged["intensity"].shape == (FRAMES, *SHAPE)


def test_a_crop_is_a_window_of_its_frame(location, stored, spots):
    dataset = CropDataset(location, (20, 16), crops=4, tables={"spots": ["slow", "fast", "first_slow", "photons"]})
    assert len(dataset) == 4 * FRAMES
    for index in range(len(dataset)):
        item, frame = dataset[index], index // 4
        slow, fast = item["corner"].tolist()
        window = slice(slow, slow + 20), slice(fast, fast + 16)
        np.testing.assert_array_equal(item["intensity"], stored["intensity"][frame][window])
        np.testing.assert_array_equal(item["spot"], stored["spot"][frame][window])
        np.testing.assert_array_equal(item["mask"], stored["mask"][window] == 0)
        assert (int(item["frame"]), int(item["panel"])) == (frame, 0)
        its = spots[(spots.frame == frame) & spots.slow.between(slow, slow + 20, "left")]
        its = its[its.fast.between(fast, fast + 16, "left")]
        expected = its[["slow", "fast", "first_slow", "photons"]].to_numpy() - [slow, fast, slow, 0]
        np.testing.assert_allclose(item["spots"], expected, rtol=0, atol=1e-5)  # of float32 pixels
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_crops_are_centred_on_spots(location, spots):
    dataset = CropDataset(location, 9, crops=3, centred=1, negatives=0, tables={"spots": ["slow", "fast"]})
    edge = 0
    for index in range(len(dataset)):
        item = dataset[index]
        inside = ((item["corner"] > 0) & (item["corner"] < torch.tensor(SHAPE) - 9)).all()
        middle = (item["spots"].floor() == 4).all(dim=1).any()
        assert middle or not inside
        edge += not inside
    assert edge < len(dataset) / 2


def test_a_spot_lies_beside_the_middle_by_the_jitter_at_most(location):
    dataset = CropDataset(location, 15, crops=10, centred=1, negatives=0, jitter=3, tables={"spots": ["slow", "fast"]})
    nearest = []
    for index in range(len(dataset)):
        item = dataset[index]
        if ((item["corner"] > 0) & (item["corner"] < torch.tensor(SHAPE) - 15)).all():
            nearest.append(float((item["spots"].floor() - 7).abs().amax(dim=1).min()))
    assert max(nearest) <= 3
    assert {0.0, 1.0, 2.0} & set(nearest)


def test_negative_crops_touch_no_spot(location, spots):
    dataset = CropDataset(location, 12, crops=5, centred=0, negatives=1)
    for index in range(len(dataset)):
        item = dataset[index]
        slow, fast = item["corner"].tolist()
        its = spots[spots.frame == index // 5]
        touching = (
            (its.first_slow < slow + 12)
            & (its.last_slow > slow)
            & (its.first_fast < fast + 12)
            & (its.last_fast > fast)
        )
        assert not touching.any()
        assert not item["spot"].any()


def test_shares_of_crops_are_those_asked_for(location, spots):
    strong = float(spots.signal_over_noise.quantile(0.9))
    options = {"centred": 0.5, "negatives": 0.25, "least_signal_over_noise": strong, "seed": 4}
    dataset = CropDataset(
        location, 9, crops=60, **options, tables={"spots": ["slow", "fast", "signal_over_noise"]}, products=[]
    )
    items = [dataset[index] for index in range(len(dataset))]
    with_spots = spots[spots.signal_over_noise >= strong].frame.nunique() / FRAMES
    middle = np.mean(
        [bool(((its := item["spots"])[its[:, 2] >= strong, :2].floor() == 4).all(dim=1).any()) for item in items]
    )
    # centred ones at the edge are not in the middle; 360 crops: 3 sigma of their number are 8 percent
    assert 0.5 * with_spots - 0.2 < middle < 0.5 * with_spots + 0.08


def test_crops_at_random_need_no_spots_and_cover_the_frame(small_experiment, tmp_path):
    generate(small_experiment(scan={"frames": 1}), tmp_path / "a.zarr", serial=True)
    dataset = CropDataset(tmp_path / "a.zarr", 32, crops=200, centred=0, negatives=0)
    corners = torch.stack([dataset[index]["corner"] for index in range(200)])
    assert corners.amin(dim=0).max() <= 3
    assert (corners.amax(dim=0) >= torch.tensor(SHAPE) - 32 - 3).all()
    assert (corners.amax(dim=0) <= torch.tensor(SHAPE) - 32).all()
    with pytest.raises(StoreError, match="no table spots"):
        CropDataset(tmp_path / "a.zarr", 32)[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 81}, "size 81 x 81: 1 x 1 to 96 x 80"),
        ({"size": 0}, "size 0 x 0"),
        ({"size": 9, "centred": 0.8, "negatives": 0.3}, "centred 0.8, negatives 0.3: shares"),
        ({"size": 9, "crops": 0}, "crops 0"),
    ],
)
def test_crops_that_are_none_are_refused(location, options, said):
    with pytest.raises(NbdistError, match=said):
        CropDataset(location, **options)
