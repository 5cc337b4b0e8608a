"""Finders with many settings beside one another, on images whose spots are known.

What holds: settings of a finder are chosen on the images of the validation, for each kind of detector apart, as one sets a program up for
a detector; finders are compared on the images of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from spot_network import Image
from spot_truth import Array, Score, Truth, matched, score

from nbdist.experiment import Experiment
from nbdist.formats.pictures import new_figure, save

LIMITS = (2.0, 3.0, 5.0, 10.0)
"""Limits of signal over noise above which spots are asked for. Details are told of the first."""
BINS = (2.0, 3.0, 5.0, 10.0, 20.0, np.inf)
"""Between which spots are counted by signal over noise."""


@dataclass(frozen=True)
class Sample:
    """An image as a finder gets it, with its truth.

    Attributes
    ----------
    counts
        What was read, int32 (slow, fast); below 0 where a pixel says nothing.
    experiment
        Of which it is.
    """

    counts: NDArray[np.int32]
    experiment: Experiment
    truth: Truth

    @property
    def image(self) -> Image:
        """In photons, by the gain and the offset of its detector."""
        readout = self.experiment.readout
        photons = (self.counts - readout.offset_adu) / readout.adu_per_photon
        return Image(photons.astype(np.float32), self.counts >= 0, self.truth)

    @property
    def kind(self) -> str:
        """Of its detector."""
        return "counting" if self.experiment.readout.point_spread is None else "CCD"


@dataclass(frozen=True)
class Images:
    """The images on which settings are chosen, and those on which finders are compared."""

    validation: Sequence[Sample]
    test: Sequence[Sample]

    @property
    def all(self) -> list[Sample]:
        """All of them, those of the validation first."""
        return [*self.validation, *self.test]

    @property
    def kinds(self) -> NDArray[np.str_]:
        """Kind of the detector of each of them."""
        return np.array([sample.kind for sample in self.all])

    @property
    def of_test(self) -> NDArray[np.bool_]:
        """Which of them are of the test."""
        return np.arange(len(self.all)) >= len(self.validation)


@dataclass(frozen=True)
class Finder:
    """What a finder gives of `Images.all`, with each of its settings.

    Attributes
    ----------
    places, rows
        By setting and image: places (m, 2), and whose spots these are (m,), as `matched` tells.
    scores
        How many are right, wrong and missed (setting, image, limit, 3).
    """

    name: str
    settings: Sequence[str]
    places: Sequence[Sequence[Array]]
    rows: Sequence[Sequence[NDArray[np.int64]]]
    scores: NDArray[np.int64]

    @classmethod
    def of(cls, name: str, found: dict[str, Sequence[Array]], images: Images) -> Finder:
        """A finder, by what it finds in each image with each setting."""
        truths = [sample.truth for sample in images.all]
        rows = [
            [matched(at, truth) for at, truth in zip(of_images, truths, strict=True)] for of_images in found.values()
        ]
        scores = [
            [
                [(its.right, its.wrong, its.missed) for its in (score(row, truth, limit) for limit in LIMITS)]
                for row, truth in zip(of_images, truths, strict=True)
            ]
            for of_images in rows
        ]
        return cls(name, list(found), list(found.values()), rows, np.array(scores))

    def chosen(self, images: Images, limit: float, among: NDArray[np.bool_]) -> Choice:
        """The setting for each kind of detector that has the best F1 on some of the images."""
        number, kinds = LIMITS.index(limit), images.kinds
        best = {}
        for kind in dict.fromkeys(kinds.tolist()):
            right, wrong, missed = self.scores[:, among & (kinds == kind), number].sum(axis=1).T
            best[kind] = int(np.argmax(2 * right / np.maximum(1, 2 * right + wrong + missed)))
        return Choice(self, images, limit, best)


@dataclass(frozen=True)
class Choice:
    """A finder with a setting for each kind of detector."""

    finder: Finder
    images: Images
    limit: float
    settings: dict[str, int]

    def places(self, image: int) -> Array:
        """What it finds in an image of the test (m, 2)."""
        return self.finder.places[self._setting(image)][len(self.images.validation) + image]

    def rows(self, image: int) -> NDArray[np.int64]:
        """Whose spots these are (m,)."""
        return self.finder.rows[self._setting(image)][len(self.images.validation) + image]

    def score_of(self, image: int) -> Score:
        """Its score on an image of the test."""
        return score(self.rows(image), self.images.test[image].truth, self.limit)

    @property
    def score(self) -> Score:
        """Its score on the test."""
        return sum((self.score_of(image) for image in range(len(self.images.test))), Score())

    @property
    def found(self) -> list[float]:
        """Share of the usable spots of each of `BINS` that it finds on the test."""
        asked, found = [], []
        for image, sample in enumerate(self.images.test):
            usable, taken = sample.truth.asked_for(BINS[0]), _taken(self.rows(image), sample.truth)
            asked.append(sample.truth.signal_over_noise[usable])
            found.append(sample.truth.signal_over_noise[usable & taken])
        counted = [np.histogram(np.concatenate(values), bins=BINS)[0] for values in (asked, found)]
        return [float(share) for share in counted[1] / np.maximum(1, counted[0])]

    def _setting(self, image: int) -> int:
        return self.settings[self.images.test[image].kind]


def _taken(rows: NDArray[np.int64], truth: Truth) -> NDArray[np.bool_]:
    """Which spots have a place (n,)."""
    taken = np.zeros(len(truth.places), dtype=bool)
    taken[rows[rows >= 0]] = True
    return taken


def f1_by_limit(finder: Finder, images: Images, among: NDArray[np.bool_]) -> list[float]:
    """F1 on the test for each of `LIMITS`, each with the settings that are best for it on some of the images."""
    return [finder.chosen(images, limit, among).score.f1 for limit in LIMITS]


def tables(finders: Sequence[Finder], images: Images, say: Callable[[str], None]) -> None:
    """Tell F1 of each finder by limit, and what it finds of weak and of strong spots."""
    say(f"\nF1 on {len(images.test)} images, spots of a signal over noise above")
    say(f"{'':32}{'settings best on':32}" + "".join(f"{limit:8g}" for limit in LIMITS))
    for where, among in (("the validation", ~images.of_test), ("these very images", images.of_test)):
        for finder in finders:
            f1 = f1_by_limit(finder, images, among)
            say(f"{finder.name:32}{where:32}" + "".join(f"{value:8.3f}" for value in f1))
    limit = LIMITS[0]
    names = [f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}" for low, high in pairwise(BINS)]
    say(
        f"\nspots above {limit:g}, settings best on the validation: places that are right, spots found by signal over noise (%)"
    )
    say(f"{'':32}{'right':>10}" + "".join(f"{name:>10}" for name in names))
    choices = [finder.chosen(images, limit, ~images.of_test) for finder in finders]
    for its in choices:
        shares = [its.score.precision, *its.found]
        say(f"{its.finder.name:32}" + "".join(f"{100 * share:10.1f}" for share in shares))
    say("")
    for its in choices:
        for kind, number in its.settings.items():
            say(f"{its.finder.name}, {kind}: {its.finder.settings[number]}")


def picture(finders: Sequence[Finder], images: Images, output: Path) -> int:
    """Draw what finders found, missed and took for a spot in an image of the test, whose number is returned.

    It is one with many spots on which the first finder is neither better nor worse than on the others of those.
    """
    limit = LIMITS[0]
    choices = [finder.chosen(images, limit, ~images.of_test) for finder in finders]
    asked = np.array([sample.truth.asked_for(limit).sum() for sample in images.test])
    many = np.flatnonzero(asked >= np.median(asked))
    number = int(sorted(many.tolist(), key=lambda image: choices[0].score_of(image).f1)[len(many) // 2])
    sample = images.test[number]
    wanted, places = sample.truth.asked_for(limit), sample.truth.places
    shown = np.ma.masked_array(np.sqrt(np.maximum(sample.image.photons, 0)), sample.counts < 0)
    figure = new_figure((7.0 * len(choices), 7.6), layout="constrained")
    for axes, its in zip(np.atleast_1d(figure.subplots(1, len(choices))), choices, strict=True):
        rows, (height, width) = its.rows(number), shown.shape
        taken = _taken(rows, sample.truth)
        axes.imshow(shown, cmap="Greys", vmax=np.percentile(shown.compressed(), 99.5), extent=(0, width, height, 0))
        marks = (
            ("found", "tab:green", "o", places[wanted & taken]),
            ("missed", "tab:red", "s", places[wanted & ~taken]),
            ("false", "tab:orange", "X", its.places(number)[rows < 0]),
        )
        for name, colour, mark, at in marks:
            label = f"{name}: {len(at)}"
            axes.scatter(at[:, 1], at[:, 0], s=60, marker=mark, facecolors="none", edgecolors=colour, label=label)
        axes.set_title(f"{its.finder.name}, F1 {its.score_of(number).f1:.3f}")
        axes.legend(loc="upper right")
    save(figure, output)
    return number
