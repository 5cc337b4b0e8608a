"""Streams go through a store shard by shard, each item exactly once over ranks and workers, and go on where they were left."""

from __future__ import annotations

import itertools
import json
import pickle
import shutil

import pytest
import torch
from labelled import labelled_store, reflection_rows, spot_rows
from torch.utils.data import DataLoader, DistributedSampler

from nbdist.errors import NbdistError
from nbdist.learning import CropDataset, FrameDataset, ResumableLoader, StreamDataset, WedgeDataset

FRAMES, SHARD = 23, 4


@pytest.fixture(scope="module")
def location(small_experiment, tmp_path_factory):
    experiment = small_experiment(
        scan={"frames": FRAMES},
        labels={"spots": True, "reflections": True},
        detector={"panels": [{"spixels": 12, "fpixels": 10, "pixel_size_mm": 1.0, "distance_mm": 100.0}]},
    )
    spots = lambda frame: spot_rows([1] * (frame % 3), slow=4, fast=5, last_slow=12, last_fast=10)  # noqa: E731
    return labelled_store(
        experiment,
        tmp_path_factory.mktemp("streams") / "series.zarr",
        reflection_rows([1], 0, FRAMES - 1),
        spots,
        frames_per_shard=SHARD,
    )


@pytest.fixture
def stream(location):
    return StreamDataset(FrameDataset(location), seed=3, buffer=6)


def frames_of(batches):
    return [frame for batch in batches for frame in batch["frame"].tolist()]


def test_a_stream_gives_each_item_once_in_another_order_each_epoch(stream):
    assert len(stream) == FRAMES
    orders = []
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        orders.append([int(item["frame"]) for item in stream])
        assert sorted(orders[-1]) == list(range(FRAMES))
    assert orders[0] != orders[1]
    stream.set_epoch(0)
    assert [int(item["frame"]) for item in stream] == orders[0]


def test_a_stream_that_is_not_mixed_is_the_store(location):
    stream = StreamDataset(FrameDataset(location), shuffle=False)
    assert [int(item["frame"]) for item in stream] == list(range(FRAMES))


def test_ranks_may_have_as_many_items_each(location):
    dataset = FrameDataset(location)
    for equal, sizes in ((False, [5, 5, 5, 4, 4]), (True, [4] * 5)):
        streams = [StreamDataset(dataset, rank=rank, ranks=5, equal=equal) for rank in range(5)]
        found = [int(item["frame"]) for stream in streams for item in stream]
        assert [len(stream) for stream in streams] == sizes
        assert len(set(found)) == len(found) == sum(sizes)


def test_a_stream_takes_its_rank_along(location, monkeypatch):
    stream = StreamDataset(FrameDataset(location))
    assert stream.rank == (0, 1)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    assert stream.rank == (1, 3)
    sent = pickle.dumps(stream)
    monkeypatch.undo()
    assert pickle.loads(sent).rank == (1, 3), "in a process of its own, which knows no ranks"


@pytest.mark.parametrize(("rank", "ranks"), [(0, None), (2, 2), (-1, 2)])
def test_a_rank_that_is_none_is_refused(location, rank, ranks):
    with pytest.raises(NbdistError, match=f"rank {rank} of {ranks} ranks"):
        StreamDataset(FrameDataset(location), rank=rank, ranks=ranks)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_is_none_is_refused(location, seed):
    for make in (lambda: StreamDataset(FrameDataset(location), seed=seed), lambda: CropDataset(location, 3, seed=seed)):
        with pytest.raises(NbdistError, match=f"seed {seed}: from 0 to"):
            make()


def test_batches_are_locked_in_memory_where_it_is_asked_for(stream, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 100)
    [made, *_] = DataLoader.__iter__(ResumableLoader(stream, batch_size=4))
    assert made.pin_memory().batch["frame"].tolist() == [frame + 100 for frame in made.batch["frame"].tolist()]


def test_frames_of_a_map_style_dataset_are_shared_out_by_pytorchs_own_sampler(location):
    dataset = FrameDataset(location, frames=range(20))
    found = []
    for rank in range(2):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, seed=1)
        found += frames_of(DataLoader(dataset, batch_size=3, sampler=sampler))
    assert sorted(found) == list(range(20))


def test_a_loader_goes_on_in_the_middle_of_an_epoch(stream):
    whole = list(ResumableLoader(stream, batch_size=4))
    for left in range(1, len(whole)):
        loader = ResumableLoader(stream, batch_size=4)
        list(itertools.islice(loader, left))
        state = json.loads(json.dumps(loader.state_dict()))
        other = ResumableLoader(stream, batch_size=4)
        other.load_state_dict(state)
        torch.testing.assert_close(list(other), whole[left:], rtol=0, atol=0)


def test_a_loader_goes_on_with_an_iteration_that_was_left_and_then_with_the_next_epoch(stream):
    loader = ResumableLoader(stream, batch_size=4)
    first = frames_of(itertools.islice(loader, 2))
    rest = frames_of(loader)
    assert sorted(first + rest) == list(range(FRAMES))
    second = frames_of(loader)
    assert sorted(second) == list(range(FRAMES))
    assert second != first + rest
    loader.set_epoch(0)
    assert frames_of(loader) == first + rest


@pytest.mark.parametrize(
    ("name", "changed"), [("seed", {"seed": 4}), ("buffer", {"buffer": 7}), ("ranks", {"rank": 0, "ranks": 2})]
)
def test_a_state_of_another_order_is_refused(location, stream, name, changed):
    state = ResumableLoader(stream, batch_size=4).state_dict()
    other = StreamDataset(FrameDataset(location), **({"seed": 3, "buffer": 6} | changed))
    with pytest.raises(NbdistError, match=f"{name}: the state is of"):
        ResumableLoader(other, batch_size=4).load_state_dict(state)
    with pytest.raises(NbdistError, match="batch_size: the state is of 4, this loader has 5"):
        ResumableLoader(stream, batch_size=5).load_state_dict(state)


def test_a_state_of_another_store_or_of_other_items_is_refused(location, tmp_path):
    def loader(dataset):
        return ResumableLoader(StreamDataset(dataset), batch_size=4)

    twin = tmp_path / "twin.zarr"
    shutil.copytree(location, twin)
    state = json.loads(json.dumps(loader(FrameDataset(location)).state_dict()))
    loader(FrameDataset(twin)).load_state_dict(state)
    root = json.loads((twin / "zarr.json").read_text())
    root["attributes"]["store_id"] = "other"
    (twin / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(NbdistError, match="store: the state is of"):
        loader(FrameDataset(twin)).load_state_dict(state)
    half, other = (FrameDataset(location, frames=frames) for frames in (range(10), range(10, 20)))
    with pytest.raises(NbdistError, match="first_frames: the state is of"):
        loader(other).load_state_dict(loader(half).state_dict())
    wedges = WedgeDataset(location, 3, 1, frames=range(12)), WedgeDataset(location, 2, 1, frames=range(11))
    with pytest.raises(NbdistError, match="length: the state is of 3, this loader has 2"):
        loader(wedges[1]).load_state_dict(loader(wedges[0]).state_dict())
    with pytest.raises(NbdistError, match="jitter: the state is of 0, this loader has 1"):
        loader(CropDataset(location, 3, jitter=1)).load_state_dict(loader(CropDataset(location, 3)).state_dict())


def test_iterations_that_are_in_several_epochs_have_the_crops_of_each(location):
    loader = ResumableLoader(StreamDataset(CropDataset(location, 3, centred=0, negatives=0)), batch_size=4)
    whole = list(loader)
    loader.set_epoch(0)
    first = iter(loader)
    found = [next(first)]
    loader.set_epoch(1)
    next(iter(loader))
    torch.testing.assert_close([*found, *first], whole, rtol=0, atol=0)


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_loader_says_how_many_batches_an_epoch_has(stream, drop_last):
    loaders = [
        ResumableLoader(stream, batch_size=size, drop_last=drop_last and size is not None) for size in (4, 5, None)
    ]
    assert [len(loader) for loader in loaders] == [len(list(loader)) for loader in loaders]
    assert len(ResumableLoader(stream, batch_size=4, num_workers=3, drop_last=drop_last)) == (5 if drop_last else 6)


def test_a_loader_takes_items_alone(stream):
    loader = ResumableLoader(stream, batch_size=None)
    first = [int(item["frame"]) for item in itertools.islice(loader, 5)]
    assert sorted(first + [int(item["frame"]) for item in loader]) == list(range(FRAMES))


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # fork is what is tested
def test_two_ranks_of_two_workers_have_each_item_once_also_after_a_resume(location):
    options = {"batch_size": 2, "num_workers": 2, "multiprocessing_context": "fork"}
    resumed, following = [], []
    for rank in range(2):
        stream = StreamDataset(FrameDataset(location), seed=3, buffer=6, rank=rank, ranks=2)
        loader = ResumableLoader(stream, persistent_workers=True, **options)
        first = [batch["frame"].tolist() for batch in itertools.islice(loader, 3)]
        other = ResumableLoader(stream, **options)
        other.load_state_dict(loader.state_dict())
        batches = first + [batch["frame"].tolist() for batch in other]
        loader.set_epoch(0)
        assert [batch["frame"].tolist() for batch in loader] == batches, (
            "whole, in the same order, by workers that live on"
        )
        resumed += itertools.chain(*batches)
        following += frames_of(loader)
    assert sorted(resumed) == sorted(following) == list(range(FRAMES))
    assert resumed != following


def test_crops_of_an_epoch_are_others_than_those_of_the_last(location):
    stream = StreamDataset(CropDataset(location, 3, centred=0, negatives=0, seed=1), shuffle=False)
    epochs = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        epochs.append([item["corner"].tolist() for item in stream])
    assert epochs[0] == epochs[2] != epochs[1]
