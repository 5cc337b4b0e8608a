"""The one rectangle of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROWS_AT_ONCE = 16
"""Rows of pixels whose directions are worked out together: vectors of all pixels of a panel would take much memory."""


class Tile(NamedTuple):
    """A rectangle of pixels of one panel, half-open; rows and columns are counted on the panel."""

    panel: int
    slow_start: int
    slow_stop: int
    fast_start: int
    fast_stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.slow_stop - self.slow_start, self.fast_stop - self.fast_start

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        rows, columns = self.shape
        return rows * columns

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices of the panel's image (slow, fast)."""
        return slice(self.slow_start, self.slow_stop), slice(self.fast_start, self.fast_stop)

    def has(self, other: Tile) -> bool:
        """Whether all of another tile is in this one."""
        rows = self.slow_start <= other.slow_start and other.slow_stop <= self.slow_stop
        columns = self.fast_start <= other.fast_start and other.fast_stop <= self.fast_stop
        return self.panel == other.panel and rows and columns

    def within(self, other: Tile) -> tuple[slice, slice]:
        """Slices of another tile's image, which has all of this one."""
        return (
            slice(self.slow_start - other.slow_start, self.slow_stop - other.slow_start),
            slice(self.fast_start - other.fast_start, self.fast_stop - other.fast_start),
        )

    def on_panel(self, image: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
        """The tile's image on that of its panel, of a shape (slow, fast): 0 beside the tile; the same where there is nothing beside it."""
        if self.shape == shape:
            return image
        whole = np.zeros(shape, dtype=image.dtype)
        whole[self.slices] = image
        return whole


def bands(tile: Tile, rows: int = ROWS_AT_ONCE) -> Iterator[Tile]:
    """Cut a tile into bands of a few rows."""
    for first in range(tile.slow_start, tile.slow_stop, rows):
        yield tile._replace(slow_start=first, slow_stop=min(first + rows, tile.slow_stop))
