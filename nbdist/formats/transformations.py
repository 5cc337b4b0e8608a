"""Chains of axes, as NeXus (NXtransformations) and imgCIF (the category axis) have them: each is mounted on the one that it depends on.

A rotation turns about its vector by an angle, a translation moves along it by a displacement, and either is at an offset from the axis
below. A point x that is carried by a chain, the axis that carries it first, is at T_last ... T_first x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nbdist.formats.description import rotation
from nbdist.formats.models import Array


class Axis(NamedTuple):
    """A rotation by `settings` (radians) or a translation (millimetres), with its unit vector and its offset (millimetres).

    There is one setting, or one of each image; `width` is how far it goes in an image.
    """

    turns: bool
    vector: Array
    offset_mm: Array
    settings: Array
    width: float = 0.0

    @property
    def varies(self) -> bool:
        """Whether images differ in it."""
        return len(self.settings) > 1 and bool(np.ptp(self.settings) > 0)


def placed(chain: Sequence[Axis], image: int = 0) -> tuple[Array, Array]:
    """Rotation (3, 3) and place (3,) in millimetres of what a chain carries, in the frame below its last axis."""
    turn, place = np.eye(3), np.zeros(3)
    for axis in chain:
        setting = float(axis.settings[min(image, len(axis.settings) - 1)])
        if axis.turns:
            about = rotation(axis.vector, setting)
            turn, place = about @ turn, about @ place + axis.offset_mm
        else:
            place = place + setting * axis.vector + axis.offset_mm
    return turn, place


def scan_axis(chain: Sequence[Axis]) -> tuple[Axis, Array] | None:
    """The rotation that varies from image to image, the first one where none does, with its axis in the laboratory; None without one."""
    turning = [number for number, axis in enumerate(chain) if axis.turns]
    if not turning:
        return None
    number = next((number for number in turning if chain[number].varies), turning[0])
    return chain[number], placed(chain[number + 1 :])[0] @ chain[number].vector
