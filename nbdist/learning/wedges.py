"""Volumes of consecutive frames: wedges of a series or of samples, and whole samples."""

from __future__ import annotations

import os
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nbdist.errors import NbdistError
from nbdist.learning.frames import Selection, StoreDataset
from nbdist.store.number_set import NumberSet


class WedgeDataset(StoreDataset):
    """Wedges of a store: volumes of consecutive frames, of one sample each where the store is a data set.

    Keys are those of `FrameDataset`, each with a first dimension of frames: `intensity` (frame, slow, fast), `phi` (frame, 2), `frame`
    (frame,); `sample` () and `values` (column,) are those of its sample. Rows of tables follow one another; the column `frame`, where it
    is asked for, tells them apart. Only wedges of which all frames are complete and in use are counted.

    Parameters
    ----------
    length
        Frames of a wedge.
    step
        Frames from the beginning of one to that of the next; `length` when left out, so that none is in two.
    location, frames, products, tables, values, samples, split
        See `StoreDataset`.

    Raises
    ------
    NbdistError
        If a wedge has no frames, or more than a sample.
    StoreError
        See `StoreDataset`.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        length: int,
        step: int | None = None,
        frames: range | None = None,
        **selection: Unpack[Selection],
    ) -> None:
        super().__init__(location, frames, **selection)
        self.length, self.step = length, length if step is None else step
        self._firsts = self._whole_wedges()

    def _whole_wedges(self) -> NumberSet:
        """First frames of those wedges that have all of their frames."""
        together = self.frames_together
        if not 1 <= self.length <= together:
            raise NbdistError(f"length {self.length}: a wedge has 1 to {together} frames here")
        if self.step < 1:
            raise NbdistError(f"step {self.step}: at least 1")
        before = np.concatenate([[0], np.cumsum(self.frames.flags(self.frames_of_store))])
        in_sample = np.arange(0, together - self.length + 1, self.step)
        firsts = (np.arange(0, self.frames_of_store, together)[:, None] + in_sample).ravel()
        return NumberSet(firsts[before[firsts + self.length] - before[firsts] == self.length])

    def first_frames(self) -> NDArray[np.int64]:
        """The first frame of each wedge, int64 (items,), ascending."""
        return self._firsts.array()

    @property
    def item_bytes(self) -> int:
        """Bytes of the images of a wedge."""
        return self.length * super().item_bytes

    @property
    def identity(self) -> dict[str, Any]:
        """Store, first frames, and length and step of wedges."""
        return {**super().identity, "length": self.length, "step": self.step}

    def __len__(self) -> int:
        return len(self._firsts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        first = self._firsts[index]
        return self._of_frames(range(first, first + self.length))


class SampleDataset(WedgeDataset):
    """Samples of a data set, all frames of each; of a series, where a frame is a sample, volumes of one frame.

    Keys are those of `WedgeDataset`. Parameters and errors are those of `StoreDataset`.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        **selection: Unpack[Selection],
    ) -> None:
        StoreDataset.__init__(self, location, **selection)
        self.length = self.step = self.frames_per_sample
        self._firsts = self._whole_wedges()
