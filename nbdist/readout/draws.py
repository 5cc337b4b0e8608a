"""Random numbers of the read-out: they depend on a seed, a sample, a frame, a stage and a pixel, and on nothing else.

So a frame, a panel or a pixel can be drawn again alone, in any pieces, by any number of threads and on any machine, and a stage that is
added or left out changes nothing of the others. What is fixed for a series is drawn with frame 0 and its own stage. How deviates are made
is written in `deviates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.readout import deviates
from nbdist.readout.compiled import compiled

MOST_PHOTONS = 2**31 - 1
"""That are counted in a pixel."""


class Stage(IntEnum):
    """What a deviate is for: each has random words of its own. A number is never given to another stage; new ones come at the end."""

    PHOTONS = 0
    CALIBRATION = 1
    READ_NOISE = 2
    BAD_PIXELS = 3
    FLICKER = 4
    JITTER = 5
    TEXTURE = 6


@dataclass(frozen=True)
class Draws:
    """The random numbers of a frame.

    Attributes
    ----------
    seed
        0 to 2^64 - 1.
    frame, sample
        Numbers of the frame in its series and of the sample in its data set, each 0 to 2^32 - 1; a series has sample 0.
    """

    seed: int
    frame: int = 0
    sample: int = 0

    def poisson(self, means: NDArray[np.floating[Any]], first_pixel: int = 0) -> NDArray[np.int32]:
        """Photons counted in each pixel: exact Poisson deviates.

        Parameters
        ----------
        means
            Expected photons, in any shape; taken as float32. A mean that is not positive counts 0.
        first_pixel
            Number of the first pixel, from which all others are counted on: the pixels of the panels before, where there are several.

        Returns
        -------
        int32 in the shape of `means`; a count past 2^31 - 1 is held there.
        """
        flat = np.ascontiguousarray(means, dtype=np.float32).ravel()
        counts = np.empty(flat.shape, dtype=np.int32)
        its = self.seed, self.counter(Stage.PHOTONS), first_pixel, flat, counts
        if (native := compiled()) is not None:
            native.poisson(*its)
        else:
            deviates.poisson(*its)
        return counts.reshape(means.shape)

    def normals(self, stage: Stage, number: int, first_pixel: int = 0) -> NDArray[np.float32]:
        """Normal deviates of mean 0 and variance 1 for `number` pixels from the first on."""
        out = np.empty(number, dtype=np.float32)
        its = self.seed, self.counter(stage), first_pixel, out
        if (native := compiled()) is not None:
            native.normals(*its)
        else:
            deviates.normals(*its)
        return out

    def uniforms(self, stage: Stage, number: int, first_pixel: int = 0) -> NDArray[np.float64]:
        """Uniform deviates in (0, 1) for `number` pixels from the first on."""
        out = np.empty(number, dtype=np.float64)
        its = self.seed, self.counter(stage), first_pixel, out
        if (native := compiled()) is not None:
            native.uniforms(*its)
        else:
            deviates.uniforms(*its)
        return out

    def counter(self, stage: Stage) -> deviates.Counter:
        """What counters of a stage have besides the number: frame, sample, and the stage's word at the first attempt."""
        return self.frame, self.sample, stage << 24
