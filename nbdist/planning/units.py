"""Units: the frames that one task owns, counted from the start of the series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, overload


class Unit(NamedTuple):
    """The frames that one task owns; `number` counts them from the start of the series."""

    number: int
    first_frame: int
    last_frame: int

    @property
    def frames(self) -> range:
        """Its frames."""
        return range(self.first_frame, self.last_frame)


class Units(Sequence[Unit]):
    """Units of a series, in order, each made when it is asked for: a million of them take no memory.

    Parameters
    ----------
    frames
        Frames of the whole series.
    size
        Frames of a unit; the last one may have fewer.
    numbers
        Which units, in rising order; all when left out.

    Raises
    ------
    ValueError
        If a unit has no frames.
    """

    def __init__(self, frames: int, size: int, numbers: Sequence[int] | None = None) -> None:
        if size < 1:
            raise ValueError(f"a unit of {size} frames; at least 1")
        self.frames, self.size = frames, size
        self.numbers: Sequence[int] = range(-(-frames // size)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Unit: ...

    @overload
    def __getitem__(self, index: slice) -> Units: ...

    def __getitem__(self, index: int | slice) -> Unit | Units:
        """The unit at a place, or the units of a slice."""
        if isinstance(index, slice):
            return Units(self.frames, self.size, self.numbers[index])
        number = self.numbers[index]
        first = number * self.size
        return Unit(number, first, min(first + self.size, self.frames))
