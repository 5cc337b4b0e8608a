"""What there is to say of a series: read off its store, a frame at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.pictures import RadialProfile
from nbdist.frames.products import BACKGROUND, INTENSITY
from nbdist.run.described import Rows, described
from nbdist.run.preview import Preview, spread_frames
from nbdist.run.radial import radial_profile
from nbdist.run.report.reflections import SeriesSpots, SpotStatistics, StrongReflection, WilsonCurve
from nbdist.run.report.runs import Check, RunFacts, checks_of, leave_out_damaged, run_facts
from nbdist.run.report.shells import Shells, shells_of
from nbdist.run.shown import SeriesImages
from nbdist.run.verify import verify
from nbdist.scene.notes import file_completeness, notes
from nbdist.store import SeriesSummary
from nbdist.store.reflections import read_held

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SeriesReport:
    """What a report says of a series.

    Attributes
    ----------
    images
        Its frames.
    sections
        What its experiment comes to, by section.
    notes
        What the experiment probably does not mean.
    frames
        Frames that were looked at, of those that are complete; none where none is.
    damaged
        Frames that were to be looked at and do not decode, and why.
    stretch
        Consecutive frames that the maximum is over.
    profile, shells
        Of the mean of `frames`; None where there is none.
    squared_per_A2, wilson
        Mean squared amplitudes by shells in 1 / (4 d^2).
    spots
        By the labels of `frames`; None without labels.
    strongest
        The brightest reflections of `frames`.
    run, checks
        What making it took, and what is known to be right.
    """

    images: SeriesImages
    sections: list[tuple[str, Rows]]
    notes: list[str]
    frames: list[int]
    damaged: dict[int, str]
    stretch: range
    profile: RadialProfile | None
    shells: Shells | None
    squared_per_A2: NDArray[np.float64]
    wilson: list[WilsonCurve]
    spots: SpotStatistics | None
    strongest: list[StrongReflection]
    run: RunFacts
    checks: list[Check]

    @property
    def summary(self) -> SeriesSummary:
        """What the store says of itself."""
        return self.images.summary


def series_report(
    summary: SeriesSummary,
    among: range | None,
    sample: int,
    verified: int | None,
    log: Path | None,
    report: Report,
) -> SeriesReport:
    """Read what there is to say of a series; see `pages.report_of`."""
    run = run_facts(summary, log)
    checked = None if verified is None else verify(summary.location, sample=verified, report=report)
    images = SeriesImages(summary)
    there = images.complete if among is None else [frame for frame in among if frame in images.complete]
    chosen = spread_frames(images, sample, among) if there else []
    damaged = leave_out_damaged(images, chosen)
    frames = [frame for frame in chosen if frame in images.complete]
    stretch = _stretch(images, frames, sample, among)
    while more := leave_out_damaged(images, stretch, [Preview(images).product.name]):
        damaged |= more
        stretch = _stretch(images, frames, sample, among)
    spots = SeriesSpots(images)
    scene, reflections = spots.scene, spots.reflections
    held = read_held(images.group) or file_completeness(scene, reflections)
    profile = shells = None
    found = []
    for done, frame in enumerate(frames, start=1):
        found.append(spots.of_frame(frame))
        report("frames predicted", done, len(frames))
    labels = [its.labels for its in found if its.labels is not None] if spots.has_labels else None
    if frames:
        photons = Preview(images, INTENSITY.name)
        mean = photons.mean(frames, lambda done, total: report("frames read", done, total))
        wavelength_A, panels = scene.experiment.beam.mean_wavelength_A, scene.instrument.panels
        profile, below = radial_profile(panels, mean, wavelength_A), None
        if any(array.product.name == BACKGROUND.name for array in images.schema.arrays):
            below = Preview(images, BACKGROUND.name).mean(
                frames, lambda done, total: report("backgrounds read", done, total)
            )
        shells = shells_of(panels, mean, below, labels, scene.finest_A, wavelength_A)
    squared_per_A2, wilson = spots.wilson(found)
    return SeriesReport(
        images=images,
        sections=list(described(scene, reflections, held)),
        notes=list(notes(scene, reflections, held)),
        frames=frames,
        damaged=damaged,
        stretch=stretch,
        profile=profile,
        shells=shells,
        squared_per_A2=squared_per_A2,
        wilson=wilson,
        spots=None if labels is None or not frames else SpotStatistics.of(labels),
        strongest=spots.strongest(found, lambda done, total: report("reflections followed", done, total)),
        run=run,
        checks=checks_of(summary, run, checked, damaged),
    )


def _stretch(images: SeriesImages, frames: list[int], most: int, among: range | None) -> range:
    """So many consecutive complete frames, at most, from the middle one of some frames on, or up to it."""
    if not frames:
        return range(0)
    within = among or range(images.schema.frames)
    first = stop = frames[len(frames) // 2]
    while stop - first < most and stop < within.stop and stop in images.complete:
        stop += 1
    while stop - first < most and first > within.start and first - 1 in images.complete:
        first -= 1
    return range(first, stop)
