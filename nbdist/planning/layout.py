"""The shape of the store: inner chunks that serve reading, shards that serve the file system.

A shard holds whole frames and is written by one task at once. Its shape is a whole number of inner chunks, so it may reach past the
edge of the image; the arrays keep the true shape.
"""

from __future__ import annotations

from dataclasses import dataclass

READING_CHUNK = 512
"""Pixels along a side of an inner chunk, about."""


def even_chunk(size: int, wanted: int) -> int:
    """A chunk size near `wanted` that wastes little at the edge of `size`."""
    pieces = max(1, round(size / wanted))
    return -(-size // pieces)


@dataclass(frozen=True)
class Layout:
    """Chunk and shard shapes of the frame arrays, (frame, slow, fast)."""

    chunk: tuple[int, int, int]
    shard: tuple[int, int, int]

    @classmethod
    def of(cls, image_shape: tuple[int, int], frames_per_shard: int) -> Layout:
        """Layout of images (slow, fast) with `frames_per_shard` frames in an object."""
        slow, fast = (even_chunk(size, READING_CHUNK) for size in image_shape)
        rows, columns = -(-image_shape[0] // slow), -(-image_shape[1] // fast)
        return cls((1, slow, fast), (frames_per_shard, rows * slow, columns * fast))
