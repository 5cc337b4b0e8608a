"""Rendering a tile on a device that has too little memory for it: in halves, and halves of halves.

A pixel's partial intensity does not depend on the tile that it is rendered in (see `frames.renderer`), so the bits are those of the
whole tile.
"""

from __future__ import annotations

import gc
import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.planning import PhiChunk, Tile

if TYPE_CHECKING:
    from nbdist.run.context import RunContext

logger = logging.getLogger(__name__)
SMALLEST_TILE = 1024
"""Pixels of a tile that is not halved any more: where it does not fit, nothing will."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def partial_that_fits(context: RunContext, tile: Tile, frame: int, chunk: PhiChunk) -> NDArray[np.floating[Any]]:
    """Partial intensity of a tile (slow, fast); rendered in pieces as small as the memory of the device asks for.

    What did not fit is remembered in `context.largest_tile`: the next tiles are cut at once. From then on the renderer keeps nothing of its
    tiles, as what it kept of one piece would take the memory of the next.

    Raises
    ------
    RuntimeError
        If a piece of `SMALLEST_TILE` pixels does not fit either.
    """
    if context.largest_tile is None or tile.pixels <= context.largest_tile:
        try:
            return context.renderer.partial(tile, frame, *chunk)
        except RuntimeError as error:
            if not is_out_of_memory(error) or tile.pixels <= SMALLEST_TILE:
                raise
        context.largest_tile = tile.pixels // 2 + tile.pixels % 2
        logger.warning("%d pixels do not fit the memory of %s: halved", tile.pixels, context.renderer.backend.device)
        context.renderer.backend.keep_nothing()
        _free()
    first, second, axis = halves(tile)
    return np.concatenate([partial_that_fits(context, half, frame, chunk) for half in (first, second)], axis=axis)


def halves(tile: Tile) -> tuple[Tile, Tile, int]:
    """Cut a tile across its longer side; the last number is the axis of the images along which the halves lie side by side."""
    rows, columns = tile.shape
    if rows >= columns:
        middle = tile.slow_start + rows // 2
        return tile._replace(slow_stop=middle), tile._replace(slow_start=middle), 0
    middle = tile.fast_start + columns // 2
    return tile._replace(fast_stop=middle), tile._replace(fast_start=middle), 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory is used up, on a GPU or in main memory."""
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


def _free() -> None:
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
