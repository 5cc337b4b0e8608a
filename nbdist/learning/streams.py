"""Iterable datasets that go through a store shard by shard, and a loader that goes on where it was left, in the middle of an epoch.

What holds: over all ranks and workers each item comes exactly once an epoch, and which batch holds it follows from the seed, the epoch
and the numbers of ranks and workers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate, default_convert, get_worker_info

from nbdist.errors import NbdistError
from nbdist.learning.frames import StoreDataset
from nbdist.learning.order import items_in_order, share

BUFFER = 64
"""Items of the buffer when nothing is said."""
MOST_WORKERS = 1024
Item = dict[str, Tensor]


class StreamDataset(IterableDataset[Item]):
    """The items of a dataset of a store, shard by shard, each rank and worker its own.

    Shards come in an order that is drawn anew each epoch; their items enter a buffer from which the next one is drawn: so a few shards
    are read at a time, each as a whole. Each item comes exactly once an epoch; the shares of ranks differ by one item at most, and so do
    those of a rank's workers.

    Parameters
    ----------
    dataset
        A `FrameDataset`, `SampleDataset`, `WedgeDataset` or `CropDataset`.
    shuffle
        Whether to mix at all; else items come in the order of the store.
    seed
        Of the order, 0 to 2^64 - 1.
    buffer
        Items that the next one is drawn from; as many as a few shards have mix well.
    rank, ranks
        Of this process, and how many there are; of `torch.distributed` where it is initialized when the iteration begins or the
        dataset goes to another process, else 0 and 1.
    equal
        Leave out the last items of an epoch, fewer than there are ranks, so that all ranks have as many.

    Raises
    ------
    NbdistError
        If rank or buffer are none.
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
        self.dataset, self.seed, self.equal = dataset, seed, equal
        self.buffer = buffer if shuffle else None
        self._rank = None if rank is None or ranks is None else (rank, ranks)
        # in memory that a loader's processes share, so that those that live on hear of the next epoch
        self._begin = torch.zeros(3 + MOST_WORKERS, dtype=torch.int64).share_memory_()

    @property
    def rank(self) -> tuple[int, int]:
        """Of this process, and how many there are."""
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

    def go_on(self, epoch: int, turn: int, given: Sequence[int]) -> None:
        """Say where to begin: in which epoch, at whose turn among the workers, and how many items each has given before."""
        self._begin.zero_()
        self._begin[0], self._begin[1] = epoch, turn
        self._begin[2 : 2 + len(given)] = torch.tensor(given, dtype=torch.int64)

    def place(self, worker: int, workers: int) -> int:
        """Which of the workers' shares a worker has: the first one that of whose turn it is."""
        return (worker + int(self._begin[1])) % workers

    def __iter__(self) -> Iterator[Item]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        place, dataset = self.place(worker, workers), self.dataset
        dataset.set_epoch(self.epoch)
        shards = dataset.first_frames() // dataset.frames_per_unit
        order = items_in_order(shards, share(self.span, place, workers), self.seed, self.epoch, self.buffer)
        for item, waiting in islice(order, int(self._begin[2 + place]), None):
            dataset.hold(list(waiting))
            yield dataset[item]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rank": self.rank}


class ResumableLoader(DataLoader[Any]):
    """A DataLoader of a `StreamDataset` that can be left anywhere in an epoch and goes on there, bit for bit.

    Each iteration is an epoch, in its own order; one that was left is gone on with by the next. `state_dict` says what was handed out,
    whatever its workers have read ahead, and `load_state_dict` lets another loader of the same store, ranks and workers go on.

    Parameters
    ----------
    stream
        What is loaded.
    options
        Of `torch.utils.data.DataLoader`.
    """

    def __init__(self, stream: StreamDataset, **options: Any) -> None:
        batched = options.get("batch_size", 1) is not None
        collate = options.pop("collate_fn", None) or (default_collate if batched else default_convert)
        super().__init__(stream, collate_fn=_Counted(collate, batched), **options)
        self._stream = stream
        self._epoch, self._turn, self._given = 0, 0, [0] * max(1, self.num_workers)

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch, from its beginning."""
        self._epoch, self._turn, self._given = epoch, 0, [0] * len(self._given)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._stream.go_on(self._epoch, self._turn, self._given)
        begun = self._turn
        for batch, worker, number in super().__iter__():
            self._given[(worker + begun) % len(self._given)] += number
            self._turn = (worker + begun + 1) % len(self._given)
            yield batch
        self.set_epoch(self._epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """What was handed out: of plain numbers and lists."""
        return {"epoch": self._epoch, "turn": self._turn, "given": list(self._given), "order": self._order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another loader was left.

        Raises
        ------
        NbdistError
            If it was one of another store, rank, order, batch or number of workers.
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
        return {"items": items, **of_stream, "batch_size": self.batch_size, "workers": len(self._given)}


class _Counted:
    """Collates, and tells from which worker how many items are in the batch."""

    def __init__(self, collate: Callable[[Any], Any], batched: bool) -> None:
        self.collate, self.batched = collate, batched

    def __call__(self, items: Any) -> tuple[Any, int, int]:
        info = get_worker_info()
        return self.collate(items), 0 if info is None else info.id, len(items) if self.batched else 1
