"""Coordinates of frames that are worked out when they are asked for, as xarray reads them: a million of them take no memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing


class OfStretches(BackendArray):
    """A value for each frame, (frames,), which all frames of a stretch have alike.

    Parameters
    ----------
    frames
        How many there are.
    together
        Frames of a stretch; the last one may have fewer.
    values
        Of the stretches; their numbers where left out.
    """

    def __init__(self, frames: int, together: int, values: NDArray[Any] | None = None) -> None:
        self.shape, self._together, self._values = (frames,), together, values
        self.dtype = np.dtype(np.int64) if values is None else values.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._at)

    def _at(self, key: tuple[Any, ...]) -> Any:
        (index,) = key
        frames = np.arange(*index.indices(self.shape[0])) if isinstance(index, slice) else np.asarray(index)
        stretch = frames // self._together
        return stretch if self._values is None else self._values[stretch]


def lazy(values: OfStretches) -> Any:
    """Values as a variable of a Dataset takes them."""
    return indexing.LazilyIndexedArray(values)
