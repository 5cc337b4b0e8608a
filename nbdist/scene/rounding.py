"""Whole numbers and limits, of numbers that are rounded.

What holds: no count of cells, steps, subpixels or reflections depends on last bits, which processors and versions of numpy each round in
their own way; workers on several machines render one crystal. What is whole but for rounding is whole, and what lies at a limit is within.
"""

from __future__ import annotations

import math

ROUNDING = 1e-9
"""Relative; far more than roundings add up to, and far less than anybody means."""


def rounded_up(value: float) -> int:
    """The least whole number that is not below a value: of one that is whole but for rounding, that one.

    Parameters
    ----------
    value
        0 or more, finite.
    """
    return math.ceil(value * (1 - ROUNDING))
