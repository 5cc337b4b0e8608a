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


NAMES = {State.MASKED: "masked or gap", State.BAD: "bad", State.SATURATED: "saturated", State.SHADOW: "in a shadow"}
COLOURS = {
    State.MASKED: (0.73, 0.80, 0.89, 1.0),
    State.BAD: (1.0, 0.37, 0.82, 1.0),
    State.SATURATED: (0.93, 0.36, 0.05, 1.0),
    State.SHADOW: (0.95, 0.77, 0.06, 0.35),
    State.NOWHERE: (0.93, 0.93, 0.93, 1.0),
}
"""Red, green, blue and opacity; what is read in a shadow shows through."""
WITHOUT_VALUE = (State.MASKED, State.BAD, State.NOWHERE)


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
        return ~np.isin(self.states, WITHOUT_VALUE)

    @property
    def shadowed(self) -> NDArray[np.bool_]:
        """Pixels that stand in a shadow."""
        return np.asarray(self.states == State.SHADOW)

    def counted(self) -> dict[State, int]:
        """How many pixels are in each state that the legend names."""
        numbers = np.bincount(self.states.ravel(), minlength=len(State))
        return {state: int(numbers[state]) for state in NAMES if numbers[state]}


def shrunk(view: View, side: int) -> tuple[View, int]:
    """Take the brightest of squares of pixels until the image is no longer than `side`.

    A square that holds a saturated or a bad pixel is drawn as one, one that is masked for more than half as masked.

    Returns
    -------
    The smaller image, and how many pixels a side of a square has.
    """
    factor = -(-max(view.values.shape) // side)
    if factor == 1:
        return view, 1
    rows, columns = (-(-size // factor) for size in view.values.shape)
    edges = [(0, number * factor - size) for number, size in zip((rows, columns), view.values.shape, strict=True)]

    def squares(image: NDArray[Any], fill: int) -> NDArray[Any]:
        return np.pad(image, edges, constant_values=fill).reshape(rows, factor, columns, factor)

    states, darkest = squares(view.states, State.NOWHERE), view.values.min()
    values = squares(np.where(view.drawn, view.values, darkest), 0)
    values = np.where(squares(view.drawn, 0), values, darkest).max(axis=(1, 3))
    small = np.full(values.shape, State.READ, dtype=np.uint8)
    there = (states != State.NOWHERE).sum(axis=(1, 3))
    for state in (State.SHADOW, State.MASKED):
        small[2 * (states == state).sum(axis=(1, 3)) > there] = state
    for state in (State.BAD, State.SATURATED):
        small[(states == state).any(axis=(1, 3))] = state
    small[there == 0] = State.NOWHERE
    return View(values, small), factor
