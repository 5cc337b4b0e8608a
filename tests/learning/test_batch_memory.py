"""Batches lie in memory that is used again when nobody has them any more, and not before."""

from __future__ import annotations

import gc
import itertools
import os

import pytest
import torch
from labelled import labelled_store, reflection_rows, spot_rows
from torch.utils.data import default_collate

from nbdist.learning import FrameDataset, Padded, ResumableLoader, StreamDataset
from nbdist.learning.batch_memory import BatchMemory

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no nameless shared memory")
FRAMES = 24


@pytest.fixture
def memory():
    return BatchMemory(workers=2, slots=2, size=1000)


def filled(memory, worker, value):
    """A tensor of a slot that a worker has filled, as the other process has it; None where there is no slot."""
    slot = memory.take(worker)
    if slot is None:
        return None
    tensor = slot.tensor((5, 3), torch.zeros((), dtype=torch.int64))
    tensor.fill_(value)
    return memory.received(slot.number, list(slot.lying.values()))[0]


def test_a_slot_is_free_again_when_the_last_of_its_tensors_is_gone(memory):
    first, second = filled(memory, 1, 7), filled(memory, 1, 8)
    assert filled(memory, 1, 9) is None
    assert filled(memory, 0, 9) is not None, "another worker has slots of its own"
    kept = first[1:3].T
    del first
    gc.collect()
    assert filled(memory, 1, 9) is None, "a view is left"
    assert (kept == 7).all()
    del kept
    gc.collect()
    assert (filled(memory, 1, 9) == 9).all()
    assert (second == 8).all()


def test_tensors_of_a_slot_lie_beside_one_another_and_keep_their_type(memory):
    slot = memory.take(0)
    likes = [torch.zeros(2, dtype=dtype) for dtype in (torch.bool, torch.float32, torch.uint16, torch.uint32)]
    tensors = [slot.tensor((3, 2), like) for like in likes]
    for tensor in tensors:
        tensor.fill_(1)
    assert [tensor.dtype for tensor in tensors] == [like.dtype for like in likes]
    assert [tensor.float().sum().item() for tensor in tensors] == [6] * 4
    room = slot._memory.nbytes
    assert slot.tensor((room,), likes[0]) is None, "no room"
    assert slot.tensor((0, 4), likes[0]) is None, "nothing to lie anywhere"


def test_what_was_read_ahead_and_is_left_is_free_at_the_next_beginning(memory):
    held = filled(memory, 0, 5)
    assert memory.take(0) is not None
    assert memory.take(0) is None
    memory.begin()
    assert memory.take(0) is not None, "which nobody has received"
    assert memory.take(0) is None
    assert (held == 5).all()


@pytest.fixture(scope="module")
def location(small_experiment, tmp_path_factory):
    experiment = small_experiment(
        scan={"frames": FRAMES},
        labels={"spots": True, "reflections": True},
        detector={"panels": [{"spixels": 64, "fpixels": 50, "pixel_size_mm": 1.0, "distance_mm": 100.0}]},
    )
    spots = lambda frame: spot_rows([1] * (frame % 3), slow=frame)  # noqa: E731
    location = tmp_path_factory.mktemp("batches") / "series.zarr"
    return labelled_store(experiment, location, reflection_rows([1], 0, FRAMES - 1), spots, frames_per_shard=3)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_batches_of_workers_are_those_of_this_process_kept_or_changed_in_place(location):
    stream = StreamDataset(FrameDataset(location, tables={"spots": ["slow", "fast"]}), shuffle=False)
    options = {"batch_size": 3, "collate_fn": Padded("spots")}
    expected = list(ResumableLoader(stream, **options))
    loader = ResumableLoader(stream, num_workers=1, multiprocessing_context="fork", persistent_workers=True, **options)
    kept = list(loader)  # more than there are slots
    torch.testing.assert_close(kept, expected, rtol=0, atol=0, equal_nan=True)
    del kept
    for _ in range(2):
        loader.set_epoch(0)
        for batch, its in zip(itertools.islice(loader, 5), expected, strict=False):
            torch.testing.assert_close(batch, its, rtol=0, atol=0, equal_nan=True)
            batch["intensity"] += 1
            batch["frame"].zero_()
    assert loader._collate.memory is not None


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_several_iterations_at_once_have_batches_and_places_of_their_own(location):
    stream = StreamDataset(FrameDataset(location), seed=3, buffer=6)
    whole = list(ResumableLoader(stream, batch_size=4))
    loader = ResumableLoader(stream, batch_size=4, num_workers=1, multiprocessing_context="fork")
    first = iter(loader)
    found = [next(first)]
    rest = list(loader)
    found += first
    torch.testing.assert_close(rest, whole[1:], rtol=0, atol=0)
    torch.testing.assert_close(found, whole, rtol=0, atol=0)
    assert loader.state_dict()["epoch"] == 1, "the one that follows, whoever ended last"


class Named(Padded):
    """Collates with a text beside the tensors."""

    def __call__(self, items, *allocate):
        return super().__call__(items, *allocate) | {"what": "frames"}


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_batch_of_a_worker_may_hold_more_than_tensors(location):
    stream = StreamDataset(FrameDataset(location), shuffle=False)
    options = {"num_workers": 1, "multiprocessing_context": "fork", "collate_fn": Named()}
    [batch] = ResumableLoader(stream, batch_size=FRAMES, **options)
    assert batch["what"] == "frames"
    assert batch["frame"].tolist() == list(range(FRAMES))


@pytest.mark.integration
def test_workers_that_are_started_anew_have_the_same_order_and_use_their_memory_again(location):
    stream = StreamDataset(FrameDataset(location), seed=3, buffer=6)
    here = ResumableLoader(stream, batch_size=4)
    loader = ResumableLoader(stream, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    places, frames = [], []
    for its in (here, loader):
        its.set_epoch(5)
    for batch in loader:
        places.append(batch["intensity"].data_ptr())
        frames.append(batch["frame"].tolist())
    assert frames == [batch["frame"].tolist() for batch in here]
    assert len(set(places)) <= 4 < len(places), "two ahead, one in use, one to be filled"


def test_a_function_of_ones_own_collates_as_it_does(location):
    stream = StreamDataset(FrameDataset(location), shuffle=False)
    loader = ResumableLoader(stream, batch_size=4, collate_fn=lambda items: default_collate(items)["frame"])
    assert loader._collate.memory is None
    assert torch.cat(list(loader)).tolist() == list(range(FRAMES))
