"""Small windows of frames: at random, on spots, and where there are none, in set shares; of a frame only the chunks under it are read.

What holds: where a crop lies follows from the seed, the epoch and its number alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbdist.errors import NbdistError
from nbdist.frames.products import SPOTS
from nbdist.learning.frames import Selection, StoreDataset
from nbdist.learning.opened import SPOT_BOXES
from nbdist.learning.order import checked_seed
from nbdist.random_words import RandomWords, uniforms

KEY = 0x63726F7073
"""Second word of the key that crops are drawn by, after the seed."""
ATTEMPTS = 64
"""Places that are tried for a crop without spots; the one of fewest is taken after them."""
READ_WITH_A_CROP = 8
"""Pixels that are read for one of a crop, about: chunks are larger."""
ALONG = {
    "slow": 0,
    "first_slow": 0,
    "last_slow": 0,
    "peak_slow": 0,
    "fast": 1,
    "first_fast": 1,
    "last_fast": 1,
    "peak_fast": 1,
}
"""Columns of spots that are counted from the corner of a crop, and along which of its dimensions."""


class CropDataset(StoreDataset):
    """Windows of frames as dictionaries of tensors.

    Keys: the products of pixels, `intensity`, `counts`, ..., (slow, fast); `mask` bool, True where a pixel is usable; `corner` int64
    (2,), first row and column of the window, and `panel` int64 (); what is known of its frame as in `FrameDataset`. Of a table of spots
    that is asked for it has those whose centroid lies in the window, in pixels from its corner; of other tables, all rows of the frame.
    Where each frame has its own mask, windows lie where its detector has pixels, or begin there where it has fewer.

    Parameters
    ----------
    size
        Pixels along slow and fast, or along both.
    crops
        Crops of each frame in an epoch.
    centred
        Share of them, 0 to 1, with a spot in the middle; of a frame that has none, they are at random.
    negatives
        Share of them, 0 to 1, that no spot touches; of a frame that has no such place, those of fewest. All others are at random.
    jitter
        Pixels, at most, that a spot lies beside the middle along slow and fast.
    least_signal_over_noise
        What counts as a spot, in both.
    seed
        Of the places, 0 to 2^64 - 1.
    location, frames, products, tables, values, samples, split
        See `StoreDataset`.

    Raises
    ------
    NbdistError
        If a size, share or seed is out of range, or a window is larger than a panel.
    StoreError
        See `StoreDataset`; or if centred or negative crops are asked for of a store without a table of spots.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        size: int | tuple[int, int],
        crops: int = 1,
        frames: range | None = None,
        *,
        centred: float = 0.5,
        negatives: float = 0.25,
        jitter: int = 0,
        least_signal_over_noise: float = 0.0,
        seed: int = 0,
        **selection: Unpack[Selection],
    ) -> None:
        super().__init__(location, frames, **selection)
        self.size = (size, size) if isinstance(size, int) else size
        self.crops, self.centred, self.negatives = crops, centred, negatives
        self.jitter, self.least_signal_over_noise, self.seed = jitter, least_signal_over_noise, checked_seed(seed)
        if crops < 1 or jitter < 0:
            raise NbdistError(f"crops {crops}, jitter {jitter}: at least 1 and 0")
        if not (0 <= centred <= 1 and 0 <= negatives <= 1 and centred + negatives <= 1):
            raise NbdistError(f"centred {centred}, negatives {negatives}: shares from 0 on, 1 together at most")
        least = tuple(min(sizes) for sizes in zip(*self.panels, strict=True))
        if any(not 1 <= its <= most for its, most in zip(self.size, least, strict=True)):
            raise NbdistError(f"size {self.size[0]} x {self.size[1]}: 1 x 1 to {least[0]} x {least[1]} pixels here")
        self._boxes = bool(centred or negatives) or SPOTS.name in self._tables
        if self._boxes:
            _ = self._store.spots  # refused here where there are none

    def first_frames(self) -> NDArray[np.int64]:
        """The frame of each crop, int64 (items,), ascending."""
        return self.frames.array().repeat(self.crops)

    @property
    def item_bytes(self) -> int:
        """Bytes of the images of a crop, its mask included."""
        return math.prod(self.size) * (1 + sum(its.dtype.itemsize for its in self._store.arrays.values()))

    @property
    def identity(self) -> dict[str, Any]:
        """Store, frames, and all that decides where crops lie."""
        shares = {"centred": self.centred, "negatives": self.negatives, "jitter": self.jitter}
        spots = {"least_signal_over_noise": self.least_signal_over_noise}
        places = {"size": list(self.size), "crops": self.crops, **shares, **spots, "crop_seed": self.seed}
        return {**super().identity, **places}

    def hold(self, units: Sequence[int]) -> None:
        """Keep shards in memory where crops take a good part of them."""
        frame = max(math.prod(shape) for shape in self.panels) * len(self.panels)
        if self.crops * math.prod(self.size) * READ_WITH_A_CROP >= frame:
            super().hold(units)

    def __len__(self) -> int:
        return self.crops * len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        index = range(len(self))[index]
        frame, store = self.frames[index // self.crops], self._store
        boxes = store.boxes(frame) if self._boxes else np.zeros((0, len(SPOT_BOXES)))
        panel, corner = self._place(index, frame, boxes)
        window = tuple(slice(first, first + size) for first, size in zip(corner, self.size, strict=True))
        item = store.crop(frame, panel, window) | store.of_frame(frame)
        item |= {"panel": torch.tensor(panel), "corner": torch.tensor(corner)}
        for name, rows in self._rows([frame]).items():
            if name == SPOTS.name:
                inside = boxes[:, 0] == panel
                for along, its in enumerate(window):
                    inside &= (boxes[:, 1 + along] >= its.start) & (boxes[:, 1 + along] < its.stop)
                rows = rows[torch.from_numpy(inside)]
                shift = [corner[ALONG[column]] if column in ALONG else 0 for column in self._tables[name]]
                rows -= torch.tensor(shift, dtype=rows.dtype)
            item[name] = rows
        return item

    def _place(self, index: int, frame: int, boxes: NDArray[np.float64]) -> tuple[int, tuple[int, int]]:
        """Panel, and first row and column, of a crop of a frame with these spots."""
        words = RandomWords((self.seed, KEY))
        kind, which, *offsets = uniforms(words.blocks((0, index, self.epoch, 0), 1))[0].tolist()
        spots = boxes[boxes[:, 7] >= self.least_signal_over_noise]
        if kind < self.centred and len(spots):
            spot = spots[int(which * len(spots))]
            moved = (int(offset * (2 * self.jitter + 1)) - self.jitter for offset in offsets)
            middle = (int(at) + by - size // 2 for at, by, size in zip(spot[1:3], moved, self.size, strict=True))
            panel = int(spot[0])
            slow, fast = (
                min(max(of[0], first), of[-1]) for first, of in zip(middle, self._firsts(frame, panel), strict=True)
            )
            return panel, (slow, fast)
        places = []
        for _, which, *offsets in uniforms(words.blocks((0, index, self.epoch, 1), ATTEMPTS)).tolist():
            panel = int(which * len(self.panels))
            slow, fast = (
                of[int(offset * len(of))] for offset, of in zip(offsets, self._firsts(frame, panel), strict=True)
            )
            if not self.centred <= kind < self.centred + self.negatives:
                return panel, (slow, fast)
            touching = (spots[:, 0] == panel) & (spots[:, 3] < slow + self.size[0]) & (spots[:, 4] > slow)
            touching &= (spots[:, 5] < fast + self.size[1]) & (spots[:, 6] > fast)
            places.append((int(touching.sum()), panel, slow, fast))
            if not places[-1][0]:
                break
        _, panel, slow, fast = min(places)
        return panel, (slow, fast)

    def _firsts(self, frame: int, panel: int) -> list[range]:
        """First rows and first columns of the windows that there are in a panel of a frame."""
        firsts = []
        for its, pixels, size in zip(self._store.extent(frame, panel), self.panels[panel], self.size, strict=True):
            first = min(its.start, pixels - size)
            firsts.append(range(first, max(first, its.stop - size) + 1))
        return firsts
