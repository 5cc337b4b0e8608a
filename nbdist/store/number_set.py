"""Numbers of units or frames, kept small: a million of them take no more than four bytes each, and none where they are a range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 4096
"""Numbers that are turned into Python's together when they are gone through."""


class NumberSet(Sequence[int]):
    """Numbers from 0 on, in rising order and each once: a set that is indexed as well.

    It is equal to a set of the same numbers, and to a list, tuple or range of them in rising order. `|`, `&` and `-` take any iterable
    of numbers.

    Parameters
    ----------
    numbers
        In any order, repeated or not; a range is kept as it is.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, numbers: Iterable[int] | NDArray[np.integer[Any]] = ()) -> None:
        self._numbers: range | NDArray[np.uint32]
        if isinstance(numbers, range):
            self._numbers = numbers if numbers.step > 0 else numbers[::-1]
        elif isinstance(numbers, NumberSet):
            self._numbers = numbers._numbers
        else:
            array = numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, dtype=np.uint32)
            self._numbers = _kept(np.unique(array))

    @classmethod
    def where(cls, flags: NDArray[np.bool_]) -> NumberSet:
        """The indices at which flags are set."""
        found = cls()
        found._numbers = _kept(np.flatnonzero(flags))
        return found

    def array(self) -> NDArray[np.int64]:
        """The numbers, int64 (n,)."""
        return np.asarray(self._numbers).astype(np.int64)

    def flags(self, size: int) -> NDArray[np.bool_]:
        """Whether each number below `size` is one of these, bool (size,)."""
        flags = np.zeros(size, dtype=bool)
        flags[self.array()] = True
        return flags

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> NumberSet: ...

    def __getitem__(self, index: int | slice) -> int | NumberSet:
        """The number at a place, or those of a slice."""
        if not isinstance(index, slice):
            return int(self._numbers[index])
        some = self._numbers[index]
        return NumberSet(some if isinstance(some, range) else some.astype(np.int64))

    def __iter__(self) -> Iterator[int]:
        for first in range(0, len(self._numbers), AT_ONCE):
            some = self._numbers[first : first + AT_ONCE]
            yield from some if isinstance(some, range) else some.tolist()

    def __contains__(self, number: object) -> bool:
        if isinstance(self._numbers, range):
            return number in self._numbers
        if not isinstance(number, int | np.integer) or not 0 <= number <= np.iinfo(np.uint32).max:
            return False
        place = int(np.searchsorted(self._numbers, np.uint32(number)))
        return place < len(self._numbers) and int(self._numbers[place]) == number

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NumberSet):
            return len(self) == len(other) and bool(np.array_equal(self._numbers, other._numbers))
        if isinstance(other, list | tuple | range):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        if isinstance(other, set | frozenset):
            return len(self) == len(other) and all(number in other for number in self)
        return NotImplemented

    def __or__(self, other: Iterable[int]) -> NumberSet:
        return NumberSet(np.union1d(self.array(), NumberSet(other).array()))

    def __and__(self, other: Iterable[int]) -> NumberSet:
        return NumberSet(np.intersect1d(self.array(), NumberSet(other).array(), assume_unique=True))

    def __sub__(self, other: Iterable[int]) -> NumberSet:
        return NumberSet(np.setdiff1d(self.array(), NumberSet(other).array(), assume_unique=True))

    def __repr__(self) -> str:
        if isinstance(self._numbers, range):
            return f"NumberSet({self._numbers!r})"
        shown: list[Any] = self._numbers[:5].tolist()
        return f"NumberSet({str(shown)[:-1]}{', ...' if len(self) > len(shown) else ''}])"


def _kept(numbers: NDArray[Any]) -> range | NDArray[np.uint32]:
    """Numbers in rising order: a range where they are evenly spaced."""
    if len(numbers) == 0:
        return range(0)
    first, last = int(numbers[0]), int(numbers[-1])
    step = int(numbers[1]) - first if len(numbers) > 1 else 1
    if (last - first) // step + 1 == len(numbers) and (numbers == np.arange(first, last + 1, step)).all():
        return range(first, last + 1, step)
    kept = numbers.astype(np.uint32)
    kept.flags.writeable = False
    return kept
