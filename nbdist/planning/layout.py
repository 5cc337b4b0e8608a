"""The shape of the store: arrays that panels share, inner chunks that serve reading, shards that serve the file system.

A shard holds whole frames and is written by one task at once. Its shape is a whole number of inner chunks, so it may reach past the
edge of the image; the arrays keep the true shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

READING_CHUNK = 512
"""Pixels along a side of an inner chunk, about."""


@dataclass(frozen=True)
class PanelGroup:
    """Panels of a detector whose images lie in one array of a product.

    Attributes
    ----------
    suffix
        What the names of the array and of its pixel dimensions end with.
    numbers
        Of the panels.
    shape
        Of a frame: (slow, fast), or (panel, slow, fast).
    """

    suffix: str
    numbers: range
    shape: tuple[int, ...]

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions of a frame."""
        pixels = f"slow{self.suffix}", f"fast{self.suffix}"
        return pixels if len(self.shape) == 2 else ("panel", *pixels)


def panel_groups(shapes: Sequence[tuple[int, int]]) -> tuple[PanelGroup, ...]:
    """Panels of these shapes (slow, fast) by the arrays that hold them: one where all shapes are equal, else one a panel."""
    if len(shapes) == 1:
        return (PanelGroup("", range(1), shapes[0]),)
    if len(set(shapes)) == 1:
        return (PanelGroup("", range(len(shapes)), (len(shapes), *shapes[0])),)
    return tuple(PanelGroup(f"_{number}", range(number, number + 1), shape) for number, shape in enumerate(shapes))


def even_chunk(size: int, wanted: int) -> int:
    """A chunk size near `wanted` that wastes little at the edge of `size`."""
    pieces = max(1, round(size / wanted))
    return -(-size // pieces)


@dataclass(frozen=True)
class Layout:
    """Chunk and shard shapes of a frame array, (frame, slow, fast) or (frame, panel, slow, fast)."""

    chunk: tuple[int, ...]
    shard: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], frames_per_shard: int, reading_chunk: int = READING_CHUNK) -> Layout:
        """Layout of frames of this shape, (slow, fast) or (panel, slow, fast), with `frames_per_shard` of them in an object."""
        *panels, slow, fast = shape
        rows, columns = even_chunk(slow, reading_chunk), even_chunk(fast, reading_chunk)
        padded = -(-slow // rows) * rows, -(-fast // columns) * columns
        return cls((1, *(1 for _ in panels), rows, columns), (frames_per_shard, *panels, *padded))
