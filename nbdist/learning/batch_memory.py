"""Memory that workers put batches into and their loader's process reads, used again as soon as nobody has a batch any more.

What a DataLoader does by itself, new shared memory for each batch, takes longer than reading frames does: each page of it is given by
the system for the first time. Here a worker has a few slots. It takes a free one, or none where there is none, and the process that
reads frees it when the last tensor that lies in it is gone: so a batch is its owner's for as long as there is one.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from multiprocessing import reduction
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNED_BYTES = 64
FREE, TAKEN = 0, 1


class Lying(NamedTuple):
    """A tensor that lies in a slot: first byte, shape, and a tensor of its type without elements."""

    offset: int
    shape: tuple[int, ...]
    like: Tensor


class Slot:
    """Memory of one batch while it is filled."""

    def __init__(self, number: int, memory: NDArray[np.uint8]) -> None:
        self.number, self._memory, self._used = number, memory, 0
        self.lying: dict[int, Lying] = {}

    def tensor(self, shape: Sequence[int], like: Tensor) -> Tensor | None:
        """A tensor of this shape and of the type of another, in the slot; None where there is no room."""
        size = int(np.prod(shape, dtype=np.int64)) * like.element_size()
        if not size or self._used + size > len(self._memory):
            return None
        lying = Lying(self._used, tuple(shape), like.new_empty(0))
        self._used += -(-size // ALIGNED_BYTES) * ALIGNED_BYTES
        tensor = _tensor_at(self._memory, lying)
        self.lying[tensor.data_ptr()] = lying
        return tensor


class BatchMemory:
    """Slots of the workers of a loader.

    Parameters
    ----------
    workers, slots
        How many workers there are, and slots each.
    size
        Bytes of a slot; only those that are used take memory.
    """

    def __init__(self, workers: int, slots: int, size: int, file: int | None = None) -> None:
        self._shape = workers, slots, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._file = os.memfd_create("nbdist-batches") if file is None else file
        header = -(-workers * slots // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(self._file, header + workers * slots * self._shape[2])
        whole = np.frombuffer(mmap.mmap(self._file, 0), dtype=np.uint8)
        self._flags, self._slots = whole[: workers * slots], whole[header:].reshape(workers * slots, -1)
        self._held: set[int] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (*self._shape, reduction.DupFd(self._file))

    def __del__(self) -> None:
        os.close(self._file)

    def begin(self) -> None:
        """Free all slots but those of batches that this process still has: what an iteration that was left had read ahead is gone."""
        for number in range(len(self._flags)):
            self._flags[number] = TAKEN if number in self._held else FREE

    def take(self, worker: int) -> Slot | None:
        """A free slot of a worker, for itself to fill; None where there is none."""
        slots = self._shape[1]
        for number in range(worker * slots, (worker + 1) * slots):
            if self._flags[number] == FREE:
                self._flags[number] = TAKEN
                return Slot(number, self._slots[number])
        return None

    def received(self, number: int, lying: Sequence[Lying]) -> list[Tensor]:
        """Tensors of a slot that a worker has filled; it is free when the last of them is gone."""
        memory = np.frombuffer(self._slots[number].data, dtype=np.uint8)
        self._held.add(number)
        weakref.finalize(memory, self._release, number, os.getpid()).atexit = False
        return [_tensor_at(memory, its) for its in lying]

    def _release(self, number: int, process: int) -> None:
        if os.getpid() == process:  # a process that was forked meanwhile has no say
            self._held.discard(number)
            self._flags[number] = FREE


def memory_for(workers: int, slots: int, size: int) -> BatchMemory | None:
    """Memory for batches of so many bytes; None where there are no workers, or a system that has no nameless shared memory."""
    return BatchMemory(workers, slots, size) if workers and size and hasattr(os, "memfd_create") else None


def _received(workers: int, slots: int, size: int, file: Any) -> BatchMemory:
    return BatchMemory(workers, slots, size, file.detach())


def _tensor_at(memory: NDArray[np.uint8], lying: Lying) -> Tensor:
    size = int(np.prod(lying.shape, dtype=np.int64)) * lying.like.element_size()
    return torch.from_numpy(memory[lying.offset : lying.offset + size]).view(lying.like.dtype).view(lying.shape)
