"""Images to look at: what their pixels hold and what each is, and smaller ones in which no spot gets lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class State(IntEnum):
    """What a pixel is, where it is no reading of photons alone."""

    READ = 0
    MASKED = 1
    BAD = 2
    SATURATED = 3
    SHADOW = 4
    NOWHERE = 5
    UNFINISHED = 6


NAMES = {
    State.MASKED: "masked or gap",
    State.BAD: "bad",
    State.SATURATED: "saturated",
    State.SHADOW: "in a shadow",
    State.UNFINISHED: "not rendered yet",
}
COLOURS = {
    State.MASKED: (0.73, 0.80, 0.89, 1.0),
    State.BAD: (1.0, 0.37, 0.82, 1.0),
    State.SATURATED: (0.93, 0.36, 0.05, 1.0),
    State.SHADOW: (0.95, 0.77, 0.06, 0.35),
    State.NOWHERE: (0.93, 0.93, 0.93, 1.0),
    State.UNFINISHED: (0.80, 0.88, 0.80, 1.0),
}
"""Red, green, blue and opacity; what is read in a shadow shows through."""
WITHOUT_VALUE = (State.MASKED, State.BAD, State.NOWHERE, State.UNFINISHED)


@dataclass(frozen=True)
class View:
    """An image to look at.

    Attributes
    ----------
    values
        What its pixels hold (slow, fast).
    states
        The `State` of each, uint8 (slow, fast).
    """

    values: NDArray[Any]
    states: NDArray[np.uint8]

    @classmethod
    def of(cls, values: NDArray[Any]) -> View:
        """An image of which every pixel is read."""
        return cls(values, np.zeros(values.shape, dtype=np.uint8))

    @property
    def drawn(self) -> NDArray[np.bool_]:
        """Pixels whose value is drawn."""
        drawn = self.states != WITHOUT_VALUE[0]
        for state in WITHOUT_VALUE[1:]:
            drawn &= self.states != state
        return drawn

    @property
    def shadowed(self) -> NDArray[np.bool_]:
        """Pixels that stand in a shadow."""
        return np.asarray(self.states == State.SHADOW)

    def counted(self) -> dict[State, int]:
        """How many pixels are in each state that the legend names."""
        numbers = np.bincount(self.states.ravel(), minlength=len(State))
        return {state: int(numbers[state]) for state in NAMES if numbers[state]}


def shrunk(view: View, side: int) -> tuple[View, int]:
    """Take the brightest of squares of pixels, as `in_squares` does, until the image is no longer than `side`.

    Returns
    -------
    The smaller image, and how many pixels a side of a square has.
    """
    factor = -(-max(view.values.shape) // side)
    return in_squares(view, factor), factor


def in_squares(view: View, factor: int) -> View:
    """Take the brightest of squares of `factor` x `factor` pixels, of fewer at the far edges.

    A square that holds a saturated or a bad pixel is drawn as one, one that is masked or in a shadow for more than half as that.
    """
    if factor == 1:
        return view

    def counted(pixels: NDArray[np.bool_]) -> NDArray[np.int32]:
        return _joined(pixels.astype(np.int32), factor, np.add)

    values, states = view.values, view.states
    present = {state for state in State if (states == state).any()}
    if present.intersection(WITHOUT_VALUE):
        values = np.where(view.drawn, values, values.min())
    values = _joined(values, factor, np.maximum)
    small = np.full(values.shape, State.READ, dtype=np.uint8)
    if present == {State.READ}:
        return View(values, small)
    there = counted(states != State.NOWHERE)
    for state in (State.SHADOW, State.MASKED, State.UNFINISHED):
        if state in present:
            small[2 * counted(states == state) > there] = state
    for state in (State.BAD, State.SATURATED):
        if state in present:
            small[counted(states == state) > 0] = state
    small[there == 0] = State.NOWHERE
    return View(values, small)


def _joined(image: NDArray[Any], factor: int, join: np.ufunc) -> NDArray[Any]:
    """The pixels of each square joined into one: rows by rows, then columns by columns, which is far quicker than square by square."""
    for axis in (0, 1):
        image = np.moveaxis(image, axis, 0)
        joined = image[::factor].copy()
        for offset in range(1, factor):
            more = image[offset::factor]
            join(joined[: len(more)], more, out=joined[: len(more)])
        image = np.moveaxis(joined, 0, axis)
    return image
