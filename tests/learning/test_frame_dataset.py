"""Frames of a store as dictionaries of tensors, in this process and in those of a DataLoader."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from nbdist import generate
from nbdist.errors import StoreError
from nbdist.learning import FrameDataset
from nbdist.learning.opened import OpenStore
from nbdist.store import contents
from nbdist.store.number_set import NumberSet

FRAMES = 6


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        scan={"frames": FRAMES},
        noise={"photon_noise": True, "seed": 7},
        detector={"region_of_interest": {"slow": [0, 90], "fast": [0, 80]}},
    )


@pytest.fixture(scope="module")
def location(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("learning") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=2)
    return location


def test_a_sample_is_a_dictionary_of_tensors(location):
    sample = FrameDataset(location)[3]
    assert {name: (tuple(value.shape), value.dtype) for name, value in sample.items()} == {
        "intensity": ((96, 80), torch.float32),
        "counts": ((96, 80), torch.int32),
        "phi": ((2,), torch.float32),
        "orientation": ((3, 3), torch.float32),
        "frame": ((), torch.int64),
    }


def test_a_dataset_is_of_the_store_that_it_was_made_of_in_every_process(experiment, tmp_path):
    generate(experiment, tmp_path / "a.zarr", serial=True, frames=range(2))
    dataset = FrameDataset(tmp_path / "a.zarr")
    sent = pickle.dumps(dataset)
    assert int(pickle.loads(sent)[1]["frame"]) == 1
    generate(experiment, tmp_path / "a.zarr", serial=True, frames=range(2), overwrite=True)
    with pytest.raises(StoreError, match=r"a\.zarr is another store than when the dataset was made; it was replaced"):
        pickle.loads(sent)[1]


def test_a_sample_holds_what_the_store_holds(location):
    dataset, group = FrameDataset(location), zarr.open_group(str(location), mode="r")
    assert len(dataset) == FRAMES
    for frame in range(FRAMES):
        sample = dataset[frame]
        for name in ("intensity", "counts"):
            np.testing.assert_array_equal(sample[name], group[name][frame])
            assert sample[name].any()
        assert sample["phi"].tolist() == [10 + 0.5 * frame, 10.5 + 0.5 * frame]
        np.testing.assert_array_equal(sample["orientation"], group["orientation"][frame].astype(np.float32))
        assert int(sample["frame"]) == frame


def test_a_mask_that_does_not_change_is_given_once(location):
    dataset = FrameDataset(location)
    assert dataset.mask.dtype == torch.bool
    assert dataset.mask.shape == (96, 80)
    assert dataset.mask[:90].all(), "True where a pixel is usable"
    assert not dataset.mask[90:].any()
    dataset.mask.zero_()
    assert dataset.mask.any(), "what is done to it is seen by nobody else"


def test_a_store_without_noise_has_no_counts(small_experiment, tmp_path):
    generate(small_experiment(scan={"frames": 1}), tmp_path / "a.zarr", serial=True)
    assert set(FrameDataset(tmp_path / "a.zarr")[0]) == {"intensity", "phi", "orientation", "frame"}


def test_only_complete_frames_are_counted(experiment, tmp_path):
    generate(experiment, tmp_path / "a.zarr", serial=True, frames_per_shard=2, frames=range(2, 6))
    (tmp_path / "a.zarr/counts/c/2/0/0").unlink()
    dataset = FrameDataset(tmp_path / "a.zarr")
    assert dataset.frames == [2, 3]
    assert int(dataset[1]["frame"]) == 3


def test_a_sample_owns_its_tensors(location):
    dataset = FrameDataset(location)
    first, expected = dataset[1], dataset[1]
    for tensor in first.values():
        tensor.zero_()
    torch.testing.assert_close(dataset[1], expected, rtol=0, atol=0)
    samples = [dataset[index] for index in (0, 1, 1)]
    places = [tensor.untyped_storage().data_ptr() for sample in samples for tensor in sample.values()]
    assert len(set(places)) == len(places)


def test_frames_share_no_memory_with_the_coordinates_that_a_process_keeps(location):
    dataset = FrameDataset(location)
    sample = dataset[3]
    sample["orientation"] += 1
    sample["phi"] -= sample["phi"].mean()
    copy = pickle.loads(pickle.dumps(dataset))
    torch.testing.assert_close(copy[3], dataset[3], rtol=0, atol=0)


def test_coordinates_are_read_a_chunk_at_a_time(experiment, location, tmp_path, monkeypatch):
    expected, read, original = FrameDataset(location), [], OpenStore._read_chunk

    def noted(store, name, chunk):
        read.append((name, chunk))
        return original(store, name, chunk)

    monkeypatch.setattr(contents, "FRAMES_PER_CHUNK", 4)
    generate(experiment, tmp_path / "a.zarr", serial=True, frames_per_shard=2)
    monkeypatch.setattr(OpenStore, "_read_chunk", noted)
    dataset = FrameDataset(tmp_path / "a.zarr")
    samples = {index: dataset[index] for index in (5, 0, 3, 5)}
    assert read == [(name, chunk) for chunk in (1, 0) for name in ("phi_start_deg", "phi_end_deg", "orientation")]
    for index, sample in samples.items():
        torch.testing.assert_close(sample, expected[index], rtol=0, atol=0)


def test_a_dataset_of_a_finished_store_is_small_to_send(small_experiment, tmp_path, monkeypatch):
    generate(small_experiment(scan={"frames": 1}), tmp_path / "a.zarr", serial=True)
    dataset = FrameDataset(tmp_path / "a.zarr")
    dataset.frames = NumberSet(range(10**6))
    assert len(pickle.dumps(dataset)) < 1000 + len(str(tmp_path))


def test_a_subset_of_frames_may_be_named(location):
    dataset = FrameDataset(location, frames=range(1, 6, 2))
    assert [int(dataset[index]["frame"]) for index in range(len(dataset))] == [1, 3, 5]


def test_an_index_past_the_end_ends_the_iteration(location):
    with pytest.raises(IndexError):
        FrameDataset(location)[FRAMES]
    assert len(list(FrameDataset(location))) == FRAMES


def test_a_dataset_travels_without_open_files(location):
    dataset = FrameDataset(location)
    dataset[0]
    assert dataset._opened is not None
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy._opened is None
    torch.testing.assert_close(copy[2], dataset[2], rtol=0, atol=0)


def test_a_frame_that_is_gone_since_is_an_error_and_not_an_empty_image(experiment, tmp_path):
    dark = experiment.with_changes(beam={"fluence_photons_per_m2": 1e-30})
    generate(dark, tmp_path / "a.zarr", serial=True, frames_per_shard=2)
    dataset = FrameDataset(tmp_path / "a.zarr")
    assert not dataset[2]["counts"].any(), "an empty image that is there"
    (tmp_path / "a.zarr/counts/c/1/0/0").unlink()
    with pytest.raises(StoreError, match="counts/c/1/0/0 is gone since the store was opened"):
        dataset[2]


@pytest.mark.integration
@pytest.mark.parametrize("method", ["fork", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # fork is what is tested
def test_two_loader_processes_give_every_frame_once(method, location):
    dataset = FrameDataset(location)
    dataset[0]  # open in this process too: a forked one must not share the handle
    loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context=method, shuffle=True)
    batches = list(loader)
    assert [tuple(batch["counts"].shape) for batch in batches] == [(2, 96, 80)] * 3
    frames = torch.cat([batch["frame"] for batch in batches])
    assert sorted(frames.tolist()) == list(range(FRAMES))
    group = zarr.open_group(str(location), mode="r")
    np.testing.assert_array_equal(torch.cat([batch["counts"] for batch in batches]), group["counts"][:][frames])


def test_what_is_not_a_store_is_refused_when_the_dataset_is_made(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        FrameDataset(tmp_path / "missing.zarr")
