"""Random words from a counter: what decides a deviate is named, and no library's stream between it and the deviate.

The generator is Philox 4x64 with ten rounds (J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC'11): a counter of
four 64-bit words under a key of two gives a block of four random words. A block can be had alone, so what is drawn does not depend on
what else is drawn, nor on the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS_PER_BLOCK = 4


class RandomWords:
    """The random words of one key.

    Parameters
    ----------
    key
        Two whole numbers, 0 to 2^64 - 1.
    """

    def __init__(self, key: tuple[int, int]) -> None:
        self._generator = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=0)
        self._start: Any = self._generator.state

    def blocks(self, counter: Sequence[int], number: int) -> NDArray[np.uint64]:
        """Return `number` consecutive blocks, uint64 (number, 4).

        Parameters
        ----------
        counter
            Four words, the lowest first. The blocks are those of the `number` counters that follow this one: numpy counts up first.
        """
        self._start["state"]["counter"] = np.array(counter, dtype=np.uint64)
        self._generator.state = self._start  # far quicker than another generator
        return self._generator.random_raw(WORDS_PER_BLOCK * number).reshape(number, WORDS_PER_BLOCK)


def uniforms(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform deviates in (0, 1) with 53 bits, of the shape of `words`."""
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
