"""A store as a PyTorch dataset of whole frames, opened in each loader process when it first reads."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nbdist.store.locations import open_group
from nbdist.store.objects import normalised
from nbdist.store.reading import summarize


class FrameDataset(Dataset[dict[str, Tensor]]):
    """Frames of a series as dictionaries of tensors.

    Keys: `intensity` float32 (slow, fast), expected photons; `counts` int32 (slow, fast), where the store has them; `mask` bool
    (slow, fast), True where a pixel is usable; `phi` float32 (2,), start and end in degrees; `orientation` float32 (3, 3), rows
    a, b, c in Angstrom at the middle of the frame; `frame` int64 ().

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
        If there is no store of nbdist.
    """

    def __init__(self, location: str | os.PathLike[str], frames: range | None = None) -> None:
        self.location = normalised(location)
        summary = summarize(location)
        complete = [frame for unit in summary.units if unit.number in summary.complete for frame in unit.frames]
        wanted = set(frames) if frames is not None else None
        self.frames = [frame for frame in complete if wanted is None or frame in wanted]
        self.arrays = tuple(summary.arrays)
        self._opened: tuple[int, dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        frame = self.frames[index]
        store = self._store()
        sample = {name: torch.from_numpy(np.asarray(store[name][frame])) for name in self.arrays}
        sample["mask"] = store["mask"]
        sample["phi"] = store["phi"][frame]
        sample["orientation"] = store["orientation"][frame]
        sample["frame"] = torch.tensor(frame)
        return sample

    def _store(self) -> dict[str, Any]:
        if self._opened is None or self._opened[0] != os.getpid():
            group: Any = open_group(self.location)
            phi = np.stack([group["phi_start_deg"][:], group["phi_end_deg"][:]], axis=1)
            small = {
                "mask": torch.from_numpy(group["mask"][:] == 0),
                "phi": torch.from_numpy(phi.astype(np.float32)),
                "orientation": torch.from_numpy(group["orientation"][:].astype(np.float32)),
            }
            self._opened = (os.getpid(), {**{name: group[name] for name in self.arrays}, **small})
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}
