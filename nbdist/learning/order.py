"""The order in which an epoch goes through a store: shard by shard, mixed in a buffer, each item once over all ranks and workers.

What holds: the order follows from the seed, the epoch, the shards of the items, the buffer and the span that is gone through. So it can be
entered at any item, and no process tells another what it has read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError
from nbdist.random_words import WORDS_PER_BLOCK, RandomWords, uniforms

SHARDS, BUFFER = 0, 1
"""What random words are for: the last word of a counter."""
KEY = 0x6C6561726E
"""Second word of the key, after the seed."""
BLOCKS_AT_ONCE = 64


def checked_seed(seed: int) -> int:
    """A seed, from 0 to 2^64 - 1.

    Raises
    ------
    NbdistError
        If it is another number.
    """
    if not 0 <= seed < 2**64:
        raise NbdistError(f"seed {seed}: from 0 to 2^64 - 1")
    return seed


def share(span: range, place: int, places: int) -> range:
    """The part of a span that is of one of so many places: they differ by one at most, and the first have more."""
    each, more = divmod(len(span), places)
    first = place * each + min(place, more)
    return span[first : first + each + (place < more)]


def items_in_order(
    shards: NDArray[np.int64], span: range, seed: int, epoch: int, buffer: int | None
) -> Iterator[tuple[int, Collection[int]]]:
    """Go through a part of an epoch.

    Parameters
    ----------
    shards
        Shard of each item, int64 (items,), ascending.
    span
        Which items, counted in the order of the mixed shards.
    seed, epoch
        0 to 2^64 - 1; each epoch of a seed has another order.
    buffer
        Items that the next one is drawn from: those of one shard after the other enter it. None goes through all items as they are.

    Yields
    ------
    An item, and the shards of all items that are in the buffer with it.
    """
    starts = np.flatnonzero(np.diff(shards, prepend=-1))
    sizes = np.diff(starts, append=len(shards))
    words = RandomWords((seed, KEY))
    mixed = np.arange(len(starts))
    if buffer is not None:
        drawn = words.blocks((0, 0, epoch, SHARDS), -(-len(starts) // WORDS_PER_BLOCK)).ravel()
        mixed = np.argsort(drawn[: len(starts)], kind="stable")
    ends = np.cumsum(sizes[mixed])
    deviates = _deviates(words, epoch, span.start)
    waiting: list[int] = []
    counts = Counter[int]()

    def drawn_item() -> Iterator[tuple[int, Collection[int]]]:
        place = int(next(deviates) * len(waiting)) if len(waiting) > 1 else 0
        item, waiting[place] = waiting[place], waiting[-1]
        waiting.pop()
        shard = int(shards[item])
        yield item, counts.keys()
        counts[shard] -= 1
        if not counts[shard]:
            del counts[shard]

    for number in range(int(np.searchsorted(ends, span.start, "right")), len(mixed)):
        first = int(ends[number] - sizes[mixed[number]])  # in the order of the mixed shards
        if first >= span.stop:
            break
        shift = int(starts[mixed[number]]) - first
        for entering in range(max(first, span.start), min(int(ends[number]), span.stop)):
            waiting.append(entering + shift)
            counts[int(shards[entering + shift])] += 1
            if len(waiting) >= (buffer or 1):
                yield from drawn_item()
    while waiting:
        yield from drawn_item()


def _deviates(words: RandomWords, epoch: int, place: int) -> Iterator[float]:
    """Uniform deviates in (0, 1) for what is drawn from a buffer that begins at a place of the epoch."""
    drawn = 0
    while True:
        yield from uniforms(words.blocks((drawn, place, epoch, BUFFER), BLOCKS_AT_ONCE)).ravel().tolist()
        drawn += BLOCKS_AT_ONCE
