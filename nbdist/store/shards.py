"""A shard as bytes: packed and unpacked in memory, so that it is written and read as one object.

The bytes are those that zarr would write for the same frames of the array: its codecs pack them, as an array of its own of which the
unit's frames are all.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

KEY = "c/0/0/0"


class ShardPacker:
    """Packs and unpacks the shards of one frame array; each thread has its own."""

    def __init__(self, array: Any) -> None:
        self._metadata = array.metadata
        self._mine = threading.local()

    def pack(self, frames: NDArray[Any]) -> memoryview:
        """The shard of these frames, (frame, slow, fast)."""
        memory, array = self._scratch(len(frames))
        memory.pop(KEY, None)
        array[...] = frames
        return memoryview(memory.pop(KEY).as_numpy_array()).cast("B")

    def unpack(self, shard: bytes, frames: int) -> NDArray[Any]:
        """The frames of a shard, (frame, slow, fast).

        Raises
        ------
        Exception
            Of zarr's many, if the bytes are not a shard.
        """
        memory, array = self._scratch(frames)
        memory[KEY] = default_buffer_prototype().buffer.from_bytes(shard)
        try:
            return np.asarray(array[...])
        finally:
            del memory[KEY]

    def _scratch(self, frames: int) -> tuple[dict[str, Any], Any]:
        """An array of so many frames in memory, with the metadata of the real one."""
        made: dict[int, tuple[dict[str, Any], Any]] = self._mine.__dict__.setdefault("made", {})
        if frames not in made:
            memory: dict[str, Any] = {}
            document = copy.deepcopy(self._metadata.to_dict())
            document["shape"] = [frames, *document["shape"][1:]]
            place = zarr.storage.StorePath(MemoryStore(memory))
            array = zarr.AsyncArray(document, place, config={"write_empty_chunks": True})
            made[frames] = memory, zarr.Array(array)
        return made[frames]
