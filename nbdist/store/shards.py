"""The frames of a unit as bytes, and back: packed in memory, so that a shard is written and read as one object.

The bytes are those that zarr would write for the same frames of the array: its codecs pack them, as an array of its own of which the
unit's frames are all.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from nbdist.frames.products import Products
from nbdist.planning import Unit
from nbdist.store.schema import FrameArray


class ShardPacker:
    """Packs and unpacks the shards of an array of frames; each thread has its own memory for it."""

    def __init__(self, array: Any, described: FrameArray) -> None:
        self._array, self._described = array, described
        self._folder, self._rest = f"{described.name}/c", "/0" * (array.ndim - 1)
        self._key = f"c/0{self._rest}"
        self._mine = threading.local()
        self._last: tuple[list[list[NDArray[Any]]], memoryview] | None = None

    def key(self, unit: int) -> str:
        """Key of a unit's shard."""
        return f"{self._folder}/{unit}{self._rest}"

    def pack(self, unit: Unit, frames: Sequence[Products]) -> memoryview:
        """The shard of a unit's frames; the last one again where all its images are those of the last, which nobody can write."""
        images, last = self._described.of_frames(frames), self._last
        if last is not None and _places(last[0]) == _places(images):
            return last[1]
        memory, array = self._scratch(len(frames))
        memory.pop(self._key, None)
        array[...] = self._described.stacked(images)
        shard = memoryview(memory.pop(self._key).as_numpy_array()).cast("B")
        if self._described.product.repeats and not any(image.flags.writeable for its in images for image in its):
            self._last = images, shard  # kept, so that no other image comes to lie in their place
        return shard

    def wrong(self, unit: Unit, shard: bytes) -> str | None:
        """What is wrong with the values of a unit's shard, or None.

        Raises
        ------
        Exception
            Of zarr's many, if the bytes are not a shard.
        """
        values = self.unpack(shard, len(unit.frames))
        good = np.isfinite(values).all() and (values >= self._described.product.least).all()
        return None if good else "holds values that no image has"

    def unpack(self, shard: bytes, frames: int) -> NDArray[Any]:
        """The frames of a shard."""
        memory, array = self._scratch(frames)
        memory[self._key] = default_buffer_prototype().buffer.from_bytes(shard)
        try:
            return np.asarray(array[...])
        finally:
            del memory[self._key]

    def _scratch(self, frames: int) -> tuple[dict[str, Any], Any]:
        """An array of so many frames in memory, packed as the real one."""
        made: dict[int, tuple[dict[str, Any], Any]] = self._mine.__dict__.setdefault("made", {})
        if frames not in made:
            memory: dict[str, Any] = {}
            array = zarr.create_array(
                MemoryStore(memory),
                shape=(frames, *self._array.shape[1:]),
                dtype=self._array.dtype,
                chunks=self._array.chunks,
                shards=self._array.shards,
                serializer=self._array.serializer,
                compressors=self._array.compressors,
                fill_value=self._array.fill_value,
                config={"write_empty_chunks": True},
            )
            made[frames] = memory, array
        return made[frames]


def _places(images: Sequence[Sequence[NDArray[Any]]]) -> list[list[dict[str, Any]]]:
    """Where images lie in memory, of which size and kind, and whether they can be written."""
    return [[image.__array_interface__ for image in its] for its in images]
