"""How a frame is cut: tiles of pixels and chunks of phi steps.

What holds: the tiles of a plan cover every pixel that is rendered exactly once, a tile lies on one panel, and the chunks cover
every phi step exactly once, in order. So partial intensities of all (tile, chunk) add up to the frame, for any cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from nbdist.scene.tile import Tile


class PhiChunk(NamedTuple):
    """Consecutive phi steps of a frame with all their mosaic domains, half-open."""

    first_step: int
    last_step: int


def spans(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Cut [start, stop) into pieces of `size`; the last one may be shorter."""
    return [(low, min(low + size, stop)) for low in range(start, stop, size)]


def cut_tiles(regions: Iterable[Tile], size: tuple[int, int]) -> list[Tile]:
    """Cut what is rendered of each panel into tiles.

    Parameters
    ----------
    regions
        One of each panel: all of it, or the region of interest.
    size
        Rows and columns of a tile.
    """
    return [
        Tile(region.panel, slow0, slow1, fast0, fast1)
        for region in regions
        for slow0, slow1 in spans(region.slow_start, region.slow_stop, size[0])
        for fast0, fast1 in spans(region.fast_start, region.fast_stop, size[1])
    ]


def cut_phi(phi_steps: int, size: int) -> list[PhiChunk]:
    """Cut a frame's phi steps into chunks of `size`."""
    return [PhiChunk(*span) for span in spans(0, phi_steps, size)]
