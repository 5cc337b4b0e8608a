"""How a frame is cut: tiles of pixels and chunks of phi steps.

What holds: the tiles of a plan cover every pixel that is rendered exactly once, no tile crosses a panel's edge, and the chunks cover
every phi step exactly once, in order. So partial intensities of all (tile, chunk) add up to the frame, for any cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Tile(NamedTuple):
    """A rectangle of pixels of the whole image, half-open."""

    slow_start: int
    slow_stop: int
    fast_start: int
    fast_stop: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return (self.slow_stop - self.slow_start) * (self.fast_stop - self.fast_start)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices of an image array (slow, fast)."""
        return slice(self.slow_start, self.slow_stop), slice(self.fast_start, self.fast_stop)


class PhiChunk(NamedTuple):
    """Consecutive phi steps of a frame with all their mosaic domains, half-open."""

    first_step: int
    last_step: int


def spans(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Cut [start, stop) into pieces of `size`; the last one may be shorter."""
    return [(low, min(low + size, stop)) for low in range(start, stop, size)]


def cut_tiles(panel_rows: Iterable[int], fpixels: int, region: Tile, size: tuple[int, int]) -> list[Tile]:
    """Cut the part of an image that is rendered into tiles.

    Parameters
    ----------
    panel_rows
        Rows of each panel, stacked along slow.
    fpixels
        Columns of the image.
    region
        What is rendered (the whole image, or a region of interest).
    size
        Rows and columns of a tile.
    """
    tiles, first = [], 0
    for rows in panel_rows:
        start, stop = max(first, region.slow_start), min(first + rows, region.slow_stop)
        tiles += [
            Tile(slow0, slow1, fast0, fast1)
            for slow0, slow1 in spans(start, stop, size[0])
            for fast0, fast1 in spans(region.fast_start, min(region.fast_stop, fpixels), size[1])
        ]
        first += rows
    return tiles


def cut_phi(phi_steps: int, size: int) -> list[PhiChunk]:
    """Cut a frame's phi steps into chunks of `size`."""
    return [PhiChunk(*span) for span in spans(0, phi_steps, size)]
