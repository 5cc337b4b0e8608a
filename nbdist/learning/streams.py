"""Iterable datasets that go through a store shard by shard, and a loader that goes on where it was left, in the middle of an epoch.

What holds: over all ranks and workers each item comes exactly once an epoch, and which batch holds it follows from the seed, the epoch
and the numbers of ranks and workers alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_convert, get_worker_info

from nbdist.errors import NbdistError
from nbdist.learning.batch_memory import BatchMemory, Lying, memory_for
from nbdist.learning.collating import Stacked
from nbdist.learning.frames import StoreDataset
from nbdist.learning.order import checked_seed, items_in_order, share

BUFFER = 64
"""Items of the buffer when nothing is said."""
MOST_WORKERS = 1024
PREFETCHED, HELD = 2, 2
"""Batches that a worker reads ahead when nothing is said, and more that it has memory for: one it fills, and one that is in use."""
SMALL_BYTES = 2**12
"""Of an item, for what is no image; each piece is aligned."""
Item = dict[str, Tensor]


class StreamDataset(IterableDataset[Item]):
    """The items of a dataset of a store, shard by shard, each rank and worker its own.

    Shards come in an order that is drawn anew each epoch; their items enter a buffer from which the next one is drawn: so a few shards
    are read at a time, each as a whole. Each item comes exactly once an epoch; the shares of ranks differ by one item at most, and so do
    those of a rank's workers.

    Parameters
    ----------
    dataset
        Any other dataset of this package.
    shuffle
        Whether to mix at all; else items come in the order of the store.
    seed
        Of the order, 0 to 2^64 - 1.
    buffer
        Items that the next one is drawn from; as many as a few shards have mix well. Of a store in a bucket their shards are in memory,
        packed, half a gigabyte of each array at most.
    rank, ranks
        Of this process, and how many there are; of `torch.distributed` where it is initialized when the iteration begins or the
        dataset goes to another process, else 0 and 1.
    equal
        Leave out the last items of an epoch, fewer than there are ranks, so that all ranks have as many.

    Raises
    ------
    NbdistError
        If rank, seed or buffer is out of range.
    """

    def __init__(
        self,
        dataset: StoreDataset,
        shuffle: bool = True,
        seed: int = 0,
        buffer: int = BUFFER,
        *,
        rank: int | None = None,
        ranks: int | None = None,
        equal: bool = False,
    ) -> None:
        if buffer < 1:
            raise NbdistError(f"buffer {buffer}: at least 1")
        if (rank is None) != (ranks is None) or (rank is not None and ranks is not None and not 0 <= rank < ranks):
            raise NbdistError(f"rank {rank} of {ranks} ranks: both are given, from rank 0 on, or neither")
        self.dataset, self.seed, self.equal = dataset, checked_seed(seed), equal
        self.buffer = buffer if shuffle else None
        self._rank = None if rank is None or ranks is None else (rank, ranks)
        # in memory that a loader's processes share, so that those that live on hear of the next epoch
        self._begin = torch.zeros(3 + MOST_WORKERS, dtype=torch.int64).share_memory_()

    @property
    def rank(self) -> tuple[int, int]:
        """Rank of this process, and how many ranks there are."""
        if self._rank is not None:
            return self._rank
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    @property
    def span(self) -> range:
        """This rank's part of an epoch."""
        rank, ranks = self.rank
        items = len(self.dataset)
        return share(range(items - items % ranks if self.equal else items), rank, ranks)

    def __len__(self) -> int:
        return len(self.span)

    @property
    def epoch(self) -> int:
        """The epoch that is gone through next."""
        return int(self._begin[0])

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is gone through next, from its beginning."""
        self.go_on(epoch, 0, [])

    def go_on(self, epoch: int, turn: int, given: Sequence[int], apart: bool = False) -> None:
        """Say where to begin: in which epoch, at whose turn among the workers, and how many items each has given before.

        Processes that have the stream already hear of it, unless this is said `apart` from what they were told.
        """
        if apart:
            self._begin = torch.zeros_like(self._begin).share_memory_()
        self._begin.zero_()
        self._begin[0], self._begin[1] = epoch, turn
        self._begin[2 : 2 + len(given)] = torch.tensor(given, dtype=torch.int64)

    def copy(self) -> Self:
        """A copy of this stream, which is told by itself where to begin."""
        its = object.__new__(type(self))
        its.__dict__.update(self.__dict__)
        its.go_on(self.epoch, 0, [], apart=True)
        return its

    def place(self, worker: int, workers: int) -> int:
        """Which of the workers' shares a worker has: the first one that of whose turn it is."""
        return (worker + int(self._begin[1])) % workers

    def __iter__(self) -> Iterator[Item]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        place, dataset, epoch = self.place(worker, workers), self.dataset, self.epoch
        shards = dataset.first_frames() // dataset.frames_per_unit
        order = items_in_order(shards, share(self.span, place, workers), self.seed, epoch, self.buffer)
        for item, waiting in islice(order, int(self._begin[2 + place]), None):
            dataset.set_epoch(epoch)  # each time: another iteration may be in another
            dataset.hold(list(waiting))
            yield dataset[item]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rank": self.rank}


class ResumableLoader(DataLoader[Any]):
    """A DataLoader of a `StreamDataset` that can be left anywhere in an epoch and goes on there, bit for bit.

    Each iteration is an epoch, in its own order; one that was left is gone on with by the next. `state_dict` says what was handed out,
    whatever its workers have read ahead, and `load_state_dict` lets another loader of the same store, ranks and workers go on.

    Its workers use the memory of a batch again when nobody has any of its tensors any more (not with `pin_memory`, nor with a function of
    one's own for collating), which takes a third of the time of new memory. So the rate does not depend on how long batches are kept.
    Several iterations may go on at once, except with `persistent_workers`, which PyTorch has one of; the state is that of the last batch.

    Parameters
    ----------
    stream
        What is loaded.
    options
        Of `torch.utils.data.DataLoader`.
    """

    def __init__(self, stream: StreamDataset, **options: Any) -> None:
        size = options.get("batch_size", 1)
        collate = options.pop("collate_fn", None) or (default_convert if size is None else Stacked())
        self._stream, self._collate = stream.copy(), _Collate(collate, size is not None)
        super().__init__(self._stream, collate_fn=self._collate, **options)
        self._epoch, self._turn, self._given = 0, 0, [0] * max(1, self.num_workers)

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch, from its beginning."""
        self._epoch, self._turn, self._given = epoch, 0, [0] * len(self._given)

    def __len__(self) -> int:
        """Batches of an epoch: each worker's last one may be smaller, or is left out with `drop_last`."""
        span, workers, size = self._stream.span, len(self._given), self.batch_size or 1
        more = 0 if self.drop_last else size - 1
        return sum((len(share(span, place, workers)) + more) // size for place in range(workers))

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch, begun, given = self._epoch, self._turn, list(self._given)
        self._stream.go_on(epoch, begun, given, apart=not self.persistent_workers)
        memory = self._memory()
        for made in super().__iter__():
            place = (made.worker + begun) % len(given)
            given[place] += made.items
            self._epoch, self._turn, self._given = epoch, (place + 1) % len(given), list(given)
            batch = made.batch
            if made.slot is not None and memory is not None:
                batch |= zip(made.lying, memory.received(made.slot, list(made.lying.values())), strict=True)
            del made
            yield batch
            del batch
        self.set_epoch(epoch + 1)

    def _memory(self) -> BatchMemory | None:
        """Memory for an iteration's batches: that of workers that live on, or new, as those of another iteration may be at work."""
        memory = self._collate.memory
        if memory is not None and self.persistent_workers:
            memory.begin()
        elif isinstance(self._collate.collate, Stacked) and not self.pin_memory and self.num_workers:
            ahead = (self.prefetch_factor or PREFETCHED) + HELD
            size = (self.batch_size or 1) * (self._stream.dataset.item_bytes + SMALL_BYTES)
            memory = self._collate.memory = memory_for(self.num_workers, ahead, size)
        return memory

    def state_dict(self) -> dict[str, Any]:
        """What was handed out: of plain numbers and lists."""
        return {"epoch": self._epoch, "turn": self._turn, "given": list(self._given), "order": self._order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another loader was left.

        Raises
        ------
        NbdistError
            If it was one of another store, of other items, or of another rank, order, batch or number of workers.
        """
        for name, value in self._order.items():
            if state["order"].get(name) != value:
                raise NbdistError(f"{name}: the state is of {state['order'].get(name)}, this loader has {value}")
        self._epoch, self._turn, self._given = int(state["epoch"]), int(state["turn"]), [int(n) for n in state["given"]]

    @property
    def _order(self) -> dict[str, Any]:
        """All that decides which items come when."""
        stream = self._stream
        (rank, ranks), items = stream.rank, len(stream.dataset)
        of_stream = {"seed": stream.seed, "buffer": stream.buffer, "rank": rank, "ranks": ranks, "equal": stream.equal}
        of_loader = {"batch_size": self.batch_size, "workers": len(self._given)}
        return {**self._identity, "items": items, **of_stream, **of_loader}

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        return self._stream.dataset.identity


@dataclass(frozen=True)
class _Made:
    """A batch as a worker hands it over: from whom, of how many items, and what of it lies in a slot."""

    batch: Any
    worker: int
    items: int
    slot: int | None = None
    lying: dict[str, Lying] = field(default_factory=dict)

    def pin_memory(self) -> _Made:
        """The batch in page-locked memory, as a DataLoader asks for it."""
        return replace(self, batch=_pinned(self.batch))


def _pinned(batch: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch.pin_memory()
    if isinstance(batch, Mapping):
        return {name: _pinned(its) for name, its in batch.items()}
    if isinstance(batch, list | tuple):
        return [_pinned(its) for its in batch]
    return batch


class _Collate:
    """Collates, in memory that is used again where there is some, and tells from which worker how many items are in the batch."""

    def __init__(self, collate: Callable[..., Any], batched: bool) -> None:
        self.collate, self.batched = collate, batched
        self.memory: BatchMemory | None = None

    def __call__(self, items: Any) -> _Made:
        info = get_worker_info()
        worker, number = 0 if info is None else info.id, len(items) if self.batched else 1
        slot = None if info is None or self.memory is None else self.memory.take(worker)
        if slot is None:
            return _Made(self.collate(items), worker, number)
        batch, lying = self.collate(items, slot.tensor), {}
        for name, tensor in list(batch.items()):
            if isinstance(tensor, Tensor) and tensor.data_ptr() in slot.lying:
                lying[name] = slot.lying[tensor.data_ptr()]
                del batch[name]
        return _Made(batch, worker, number, slot.number, lying)
