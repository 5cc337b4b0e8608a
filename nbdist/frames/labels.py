"""The labels of a frame: where the photons of its pixels come from, and the spots that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nbdist.frames.tables import Columns

Images = Sequence[NDArray[Any]]
"""One image (slow, fast) a panel, in order."""


@dataclass(frozen=True)
class FrameLabels:
    """What is known of a frame besides its photons.

    Attributes
    ----------
    bragg, background
        Photons a pixel that the crystals diffract, and of the background, float32.
    spot
        Of each pixel 0, or 1 + the row of its dominant spot in `spots`, int32.
    spots
        The columns of `tables.SPOT_COLUMNS`.
    """

    bragg: Images
    background: Images
    spot: Images
    spots: Columns
