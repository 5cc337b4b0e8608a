"""A store as a PyTorch dataset of whole frames, opened in each loader process when it first reads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from nbdist.errors import StoreError
from nbdist.learning.opened import OpenStore, Tables
from nbdist.store.completeness import read_completeness
from nbdist.store.locations import open_group
from nbdist.store.number_set import NumberSet
from nbdist.store.places import normalised
from nbdist.store.samples import open_samples
from nbdist.store.tables import SAMPLE

OF_SAMPLES = ("sample", "values")
"""Keys of an item that are of a whole sample."""


class Selection(TypedDict, total=False):
    """What is used of a store; see `StoreDataset`."""

    products: Sequence[str] | None
    tables: Tables | None
    values: Sequence[str] | None
    samples: range | None
    split: str | None


class StoreDataset(Dataset[dict[str, Tensor]]):
    """What the datasets of a store have in common: which frames, what of them, and one open store a process.

    Nothing is open when the object is pickled or forked: each process opens the store at its first item, so it works with
    DataLoader workers started by fork, spawn or forkserver (of a store in a bucket, not by fork: StoreError). Only frames that are
    complete are counted, as of when it was made. An item owns its tensors: what is done to them in place is seen in no other.

    Parameters
    ----------
    location
        Path or URL of a store.
    frames
        Frames to use, of those complete; all when left out. Those of a data set are counted through its samples.
    products
        Names of the products of pixels that are read; all when left out.
    tables
        Columns that are read of tables, by name: `{"spots": ["slow", "fast", "photons", "h", "k", "l"]}`. Each is a tensor (row, column)
        in the common type of its columns; h, k, l are 0 where a spot's reflection does not cross the Ewald sphere. `Padded` and `Ragged`
        collate them.
    values
        Numeric columns of the samples of a data set (see `nbdist.open_samples`); they are `values` of an item, float64 (column,).
    samples, split
        Samples of a data set to use, by their numbers or by the name of the split that they are in; all when left out.

    Attributes
    ----------
    frames
        The frames in use.

    Raises
    ------
    StoreError
        If there is no store of nbdist, or it lacks a product, table or column; at an item, if its shard is gone since, or another store
        is there.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        frames: range | None = None,
        **selection: Unpack[Selection],
    ) -> None:
        self.location = normalised(location)
        products, values = selection.get("products"), selection.get("values")
        samples, split = selection.get("samples"), selection.get("split")
        self._tables = {name: list(columns) for name, columns in (selection.get("tables") or {}).items()}
        self._wanted = (None if products is None else list(products), self._tables, values)
        self.epoch = 0
        self._opened: tuple[int, OpenStore] | None = None
        self._store_id: str | None = None
        schema, complete = self._store.schema, read_completeness(open_group(self.location)).frames
        self.frames = complete if frames is None else complete & frames
        self.frames_per_unit, self.frames_of_store, self.panels = schema.units.size, schema.frames, schema.panels
        self.frames_per_sample = schema.frames_per_sample or 1
        self.frames_together = schema.frames_per_sample or schema.frames
        if samples is not None or split is not None:
            self.frames = self.frames & self._frames_of(samples, split)

    def _frames_of(self, samples: range | None, split: str | None) -> NumberSet:
        """Frames of some samples of a data set, or of a split, or of both."""
        rows = open_samples(self.location, [SAMPLE, "split"], samples)
        splits = sorted(set(rows["split"]))
        if split is not None and split not in splits:
            raise StoreError(f"{self.location}: there is no split {split}; splits: {', '.join(splits) or 'none'}")
        chosen = rows[SAMPLE].to_numpy()[slice(None) if split is None else rows["split"].to_numpy() == split]
        return NumberSet((chosen[:, None] * self.frames_per_sample + np.arange(self.frames_per_sample)).ravel())

    @property
    def mask(self) -> Tensor | dict[str, Tensor]:
        """Where pixels are usable, bool (slow, fast) or (panel, slow, fast), which is True where one is neither masked nor bad.

        Of panels that differ in shape it is a dictionary: `mask_0`, `mask_1`.

        Raises
        ------
        StoreError
            If each frame has its own: it is `mask` of an item then.
        """
        if not self._store.usable:
            raise StoreError(f"{self.location}: each frame has its own mask, which is a product")
        usable = {name: mask.clone() for name, mask in self._store.usable.items()}
        return usable["mask"] if usable.keys() == {"mask"} else usable

    def first_frames(self) -> NDArray[np.int64]:
        """The first frame of each item, int64 (items,), ascending."""
        return self.frames.array()

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides which items there are, in plain numbers and texts (store, frames that they begin with, their cut)."""
        first_frames = hashlib.sha256(self.first_frames().astype("<i8").tobytes()).hexdigest()
        return {"store": self._store.store_id, "first_frames": first_frames}

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.location}: {len(self)} items>"

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch follows, for what is drawn anew in each."""
        self.epoch = epoch

    def hold(self, units: Sequence[int]) -> None:
        """Keep the shards of these units in memory where they lie in a bucket: most of each is about to be read."""
        self._store.hold(units)

    @property
    def item_bytes(self) -> int:
        """Bytes of the images of an item."""
        return self._store.frame_bytes

    @property
    def _store(self) -> OpenStore:
        """The store, open in this process."""
        if self._opened is None or self._opened[0] != os.getpid():
            store = OpenStore(self.location, *self._wanted)
            if self._store_id not in (None, store.store_id):
                raise StoreError(f"{self.location} is another store than when the dataset was made; it was replaced")
            self._opened, self._store_id = (os.getpid(), store), store.store_id
        return self._opened[1]

    def _of_frames(self, frames: Sequence[int]) -> dict[str, Tensor]:
        """Products and numbers of some frames of one sample, each with a first dimension of frames; then what is of all of them."""
        store = self._store
        item = {name: store.pixels(name, frames) for name in store.arrays}
        each = [store.of_frame(frame) for frame in frames]
        item |= {name: torch.stack([known[name] for known in each]) for name in each[0]}
        return item | {name: item[name][0].clone() for name in OF_SAMPLES if name in item} | self._rows(frames)

    def _rows(self, frames: Sequence[int]) -> dict[str, Tensor]:
        """The rows of tables of some frames of one sample."""
        return {name: torch.from_numpy(self._store.rows(name, frames)) for name in self._tables}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


class FrameDataset(StoreDataset):
    """Frames of a store as dictionaries of tensors.

    Keys: `intensity` float32 (slow, fast), expected photons; `counts` (slow, fast) in the type of the store, where it has them, and its
    other products of pixels (a mask that each frame has of its own is bool, True where a pixel is usable); tables that are asked for,
    (row, column). Of a series `phi` float32 (2,), start and end in degrees; `orientation` float32 (3, 3), rows a, b, c in Angstrom at the
    middle of the frame; `frame` int64 (); `fluence_factor`, `dose_MGy` and `B_factor_A2` float32 where the store has them, () or
    (lattice,). Of a data set `sample` int64 (), `frame` int64 () in the sample, and `values`; what else is known is in its tables
    `frames` and `lattices`. Of several panels, images are (panel, slow, fast) where all have the same shape; else each has keys of its
    own, `intensity_0`, `counts_0`. A mask that is the same in all frames is the dataset's: `mask`.

    Parameters and errors are those of `StoreDataset`.
    """

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        frame = self.frames[index]
        item, kept = self._of_frames([frame]), (*self._tables, *OF_SAMPLES)
        return {name: tensor if name in kept else tensor[0] for name, tensor in item.items()}
