"""What there is to be found in an image, and how good what was found is.

A spot of the truth is a row of the table `spots`. Spots whose centroids are nearer than `APART` pixels to that of a brighter one are one
with it, at the centroid of their photons: no program can tell them apart. A spot is asked for where its signal over noise is above a
limit and its brightest pixel is usable. A place that a program gives is right where a spot that is asked for is within `NEAR` pixels,
and each spot makes one place right. It is wrong where there is no spot of more than `FAINTEST`. At a spot that is there and is not asked
for it is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NEAR = 1.0
"""Pixels within which a place is a spot's."""
APART = 2.0
"""Pixels within which spots are one."""
FAINTEST = 1.0
"""Signal over noise below which a spot is as good as not there."""


@dataclass(frozen=True)
class Truth:
    """The spots of an image.

    Attributes
    ----------
    places
        Centroids along slow and fast (n, 2), pixels; a pixel's centre is at + 1/2.
    signal_over_noise
        Photons over the deviation of counting them and the background under them (n,).
    usable
        Whether the brightest pixel is neither masked nor bad (n,).
    """

    places: Array
    signal_over_noise: Array
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, spots: Mapping[str, NDArray[Any]], usable: NDArray[np.bool_]) -> Truth:
        """The spots of an image, by columns of the table `spots`, and which of its pixels (slow, fast) are usable."""
        photons = np.asarray(spots["photons"], dtype=np.float64)
        order = np.argsort(-photons, kind="stable")
        places = np.stack([spots["slow"], spots["fast"]], axis=1).astype(np.float64)
        free = np.ones(len(photons), dtype=bool)
        groups = []
        for row in order:
            if free[row]:
                near = free & (np.linalg.norm(places - places[row], axis=1) < APART)
                free &= ~near
                groups.append(np.flatnonzero(near))
        if not groups:
            return cls(np.empty((0, 2)), np.empty(0), np.empty(0, dtype=bool))
        total = np.array([photons[group].sum() for group in groups])
        under = np.array([spots["background"][group].max() for group in groups])
        brightest = [group[np.argmax(photons[group])] for group in groups]
        return cls(
            places=np.array([photons[group] @ places[group] for group in groups]) / total[:, None],
            signal_over_noise=total / np.sqrt(total + under),
            usable=usable[spots["peak_slow"][brightest], spots["peak_fast"][brightest]],
        )

    def asked_for(self, limit: float) -> NDArray[np.bool_]:
        """Which spots are usable and have a signal over noise above a limit (n,)."""
        return self.usable & (self.signal_over_noise > limit)


@dataclass(frozen=True)
class Score:
    """How many places were right, how many wrong, and how many spots were missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Share of the places that are right."""
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the spots that were found."""
        return self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing is right."""
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


def matched(found: Array, truth: Truth) -> NDArray[np.int64]:
    """Which spot each place is of (m,): the row in the truth, or -1. Nearest pairs first, and each spot has one place."""
    there = np.flatnonzero(truth.signal_over_noise > FAINTEST)
    rows = np.full(len(found), -1)
    distance = np.linalg.norm(found[:, None] - truth.places[None, there], axis=2)
    place, spot = np.nonzero(distance <= NEAR)
    taken = np.zeros(len(there), dtype=bool)
    for pair in np.argsort(distance[place, spot], kind="stable"):
        if rows[place[pair]] < 0 and not taken[spot[pair]]:
            rows[place[pair]], taken[spot[pair]] = there[spot[pair]], True
    return rows


def score(rows: NDArray[np.int64], truth: Truth, limit: float) -> Score:
    """How good places are, given whose spots they are (as `matched` tells); a limit is `FAINTEST` or more."""
    asked = truth.asked_for(limit)
    right = int(asked[rows[rows >= 0]].sum())
    return Score(right=right, wrong=int((rows < 0).sum()), missed=int(asked.sum()) - right)
