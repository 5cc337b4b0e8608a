"""A store as a PyTorch dataset of whole frames, opened in each loader process when it first reads."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from nbdist.errors import StoreError
from nbdist.store.locations import open_group
from nbdist.store.places import normalised
from nbdist.store.reading import summarize
from nbdist.store.schema import schema_of
from nbdist.store.units import StoredUnits

COORDINATE_CHUNKS = 24
"""Chunks of coordinates that a process keeps: three for each of the places that it reads from in turn."""


class FrameDataset(Dataset[dict[str, Tensor]]):
    """Frames of a series as dictionaries of tensors.

    Keys: `intensity` float32 (slow, fast), expected photons; `counts` (slow, fast) in the type of the store, where it has them; `mask` bool
    (slow, fast), True where a pixel is neither masked nor bad; `phi` float32 (2,), start and end in degrees; `orientation` float32 (3, 3),
    rows a, b, c in Angstrom at the middle of the frame; `frame` int64 (); `fluence_factor`, `dose_MGy` and `B_factor_A2` float32 where the
    store has them, () or (lattice,). Of several panels, images are (panel, slow, fast) where all have
    the same shape; else each has keys of its own, `intensity_0`, `mask_0`. A sample owns its tensors: what is done to them in place is
    seen in no other.

    Nothing is open when the object is pickled or forked: each process opens the store at its first frame, so it works with
    DataLoader workers started by fork, spawn or forkserver (of a store in a bucket, not by fork: StoreError). Only frames that are
    complete are counted, as of when it was made.

    Parameters
    ----------
    location
        Path or URL of a store.
    frames
        Frames to use, of those complete; all when left out.

    Raises
    ------
    StoreError
        If there is no store of nbdist; at a frame, if it is gone since.
    """

    def __init__(self, location: str | os.PathLike[str], frames: range | None = None) -> None:
        self.location = normalised(location)
        summary = summarize(location)
        complete = summary.found.frames
        self.frames = complete if frames is None else complete & frames
        self._opened: tuple[int, _Store] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        frame = self.frames[index]
        store = self._store()
        sample = {name: torch.from_numpy(store.image(name, frame)) for name in store.arrays}
        sample |= {name: usable.clone() for name, usable in store.usable.items()}
        sample["phi"] = torch.tensor(
            [store.coordinate("phi_start_deg", frame), store.coordinate("phi_end_deg", frame)], dtype=torch.float32
        )
        sample["orientation"] = torch.tensor(store.coordinate("orientation", frame), dtype=torch.float32)
        for name in store.series:
            sample[name] = torch.tensor(store.coordinate(name, frame), dtype=torch.float32)
        sample["frame"] = torch.tensor(frame)
        return sample

    def _store(self) -> _Store:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), _Store(self.location))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


class _Store:
    """What a process has open of a store: its arrays, the pixels that are usable, and the coordinates of a few chunks of frames."""

    def __init__(self, location: str) -> None:
        group: Any = open_group(location)
        schema = schema_of(group)
        self.arrays = {array.name: group[array.name] for array in schema.arrays}
        masks = [name for name in schema.dtypes if name.startswith("mask")]
        self.usable = {name: torch.from_numpy(group[name][:] == 0) for name in masks}
        self._location, self._stored = location, StoredUnits(group)
        self.series = [product.name for product in schema.series]
        kept = "phi_start_deg", "phi_end_deg", "orientation", *self.series
        self._coordinates = {name: group[name] for name in kept}
        self._chunk = functools.lru_cache(COORDINATE_CHUNKS)(self._read_chunk)

    def image(self, name: str, frame: int) -> NDArray[Any]:
        """What an array holds of a frame.

        Raises
        ------
        StoreError
            If its shard is gone.
        """
        image = np.asarray(self.arrays[name][frame])
        # an object that is not there reads as zeros, which an image seldom is
        if not image.any() and not self._stored.has_shard(name, frame):
            raise StoreError(f"{self._location}: frame {frame} of {name} is gone since the dataset was made")
        return image

    def coordinate(self, name: str, frame: int) -> NDArray[np.float64]:
        """A coordinate of a frame."""
        chunk, place = divmod(frame, self._coordinates[name].chunks[0])
        return self._chunk(name, chunk)[place]

    def _read_chunk(self, name: str, chunk: int) -> NDArray[np.float64]:
        array = self._coordinates[name]
        return np.asarray(array[chunk * array.chunks[0] : (chunk + 1) * array.chunks[0]])
