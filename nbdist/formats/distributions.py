"""How the values of a long column are distributed, counted as it is read: limits, mean and deviation, a histogram, the commonest words.

What holds: nothing grows with the number of values. A histogram needs the limits of all values first, so a column is read twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BINS = 40
"""Of a histogram: twice the cube root of the number of values (Rice's rule) up to there; few whole numbers have one each."""
MOST_WHOLE = 64
"""Whole numbers between the least and the greatest that have a bin each, at most."""
LOGARITHMIC_FROM = 4.0
"""Greatest over least positive value from which on bins may be equal in the logarithm."""
MOST_WORDS = 4096
"""Different words that are counted one by one: the first so many that are met; others are counted together."""


@dataclass
class Numbers:
    """Limits, mean and deviation of finite numbers, counted as they come, then their histogram.

    Attributes
    ----------
    whole
        Whether they are whole numbers.
    count, missing
        How many there are, and how many values are none: NaN or infinite.
    least, greatest, mean
        Of them; NaN where there is none.
    edges, counts
        Of the histogram: (n + 1,) and (n,); empty where there are no numbers, and before they are counted.
    """

    whole: bool
    count: int = 0
    missing: int = 0
    least: float = math.nan
    greatest: float = math.nan
    mean: float = math.nan
    edges: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _squares: float = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Take more values into limits, mean and deviation.

        Means and sums of squared differences of two sets are joined as by T. F. Chan, G. H. Golub, R. J. LeVeque, Am. Stat. 37 (1983) 242.
        """
        found = np.asarray(values, dtype=np.float64)
        found = found[np.isfinite(found)]
        self.missing += len(values) - len(found)
        if not len(found):
            return
        mean, count = float(found.mean()), self.count
        squares = float(((found - mean) ** 2).sum())
        self.count += len(found)
        if not count:
            self.least, self.greatest, self.mean, self._squares = float(found.min()), float(found.max()), mean, squares
            return
        self.least, self.greatest = min(self.least, float(found.min())), max(self.greatest, float(found.max()))
        apart = mean - self.mean
        self.mean += apart * len(found) / self.count
        self._squares += squares + apart**2 * count * len(found) / self.count

    @property
    def deviation(self) -> float:
        """Root mean square difference from the mean; NaN where there are no numbers."""
        return math.sqrt(self._squares / self.count) if self.count else math.nan

    @property
    def logarithmic(self) -> bool:
        """Whether the bins are equal in the logarithm: the mean is more like that of what is even there than of what is even."""
        if self._few_whole or self.least <= 0 or self.greatest < LOGARITHMIC_FROM * self.least:
            return False
        even = (self.least + self.greatest) / 2
        even_in_logarithm = (self.greatest - self.least) / math.log(self.greatest / self.least)
        return self.mean < (even + even_in_logarithm) / 2

    @property
    def _few_whole(self) -> bool:
        return self.whole and self.greatest - self.least < MOST_WHOLE

    def begin_histogram(self) -> None:
        """Choose the bins, when all values were added."""
        if not self.count:
            return
        if self._few_whole:
            self.edges = np.arange(self.least, self.greatest + 2) - 0.5
        elif self.least == self.greatest:
            reach = abs(self.least) / 2 or 0.5
            self.edges = np.array([self.least - reach, self.least + reach])
        else:
            bins = min(MOST_BINS, math.ceil(2 * self.count ** (1 / 3)))
            spaced = np.geomspace if self.logarithmic else np.linspace
            self.edges = spaced(self.least, self.greatest, bins + 1)
        self.counts = np.zeros(len(self.edges) - 1, dtype=np.int64)

    def count_in_bins(self, values: NDArray[Any]) -> None:
        """Count values that were added before in the bins."""
        found = np.asarray(values, dtype=np.float64)
        found = found[np.isfinite(found)]
        if len(found):
            places = np.searchsorted(self.edges, found, side="right") - 1
            self.counts += np.bincount(np.clip(places, 0, len(self.counts) - 1), minlength=len(self.counts))

    def as_json(self) -> dict[str, object]:
        """What is said of them; null for no number, which JSON has none for."""
        said = {"least": self.least, "greatest": self.greatest, "mean": self.mean, "deviation": self.deviation}
        return {
            "count": self.count,
            "missing": self.missing,
            **{name: None if math.isnan(value) else value for name, value in said.items()},
            "histogram": {"edges": self.edges.tolist(), "counts": self.counts.tolist()},
        }


@dataclass
class Words:
    """How often each word of a column is there.

    Attributes
    ----------
    counts
        Of the words that are counted one by one, in the order in which they were met.
    others
        How many more there are of other words.
    """

    counts: dict[str, int] = field(default_factory=dict)
    others: int = 0

    def add(self, values: NDArray[Any]) -> None:
        """Count more of them."""
        words, firsts, counts = np.unique(np.asarray(values, dtype=str), return_index=True, return_counts=True)
        for place in np.argsort(firsts):
            word = str(words[place])
            if word in self.counts or len(self.counts) < MOST_WORDS:
                self.counts[word] = self.counts.get(word, 0) + int(counts[place])
            else:
                self.others += int(counts[place])

    @property
    def count(self) -> int:
        """How many there are in all."""
        return sum(self.counts.values()) + self.others

    def commonest(self, most: int) -> dict[str, int]:
        """Those that there are most of, the first met of equals, with their numbers."""
        return dict(sorted(self.counts.items(), key=lambda its: -its[1])[:most])

    def as_json(self) -> dict[str, object]:
        """What is said of them."""
        return {"count": self.count, "counts": self.counts, "others": self.others}


Distribution = Numbers | Words
Distributions = Mapping[str, Distribution]
