"""What there is to say of a data set: read off its store, a unit at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nbdist.errors import DamagedError
from nbdist.formats.distributions import Distributions, Words
from nbdist.frames.products import SPOTS
from nbdist.run.card import counted_values
from nbdist.run.preview import spread_frames
from nbdist.run.report.reflections import SpotStatistics
from nbdist.run.report.runs import Check, RunFacts, checks_of, leave_out_damaged, run_facts
from nbdist.run.shown import DatasetImages
from nbdist.run.verify import verify
from nbdist.store import DatasetSummary

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DatasetReport:
    """What a report says of a data set.

    Attributes
    ----------
    images
        Its frames.
    samples
        Samples that were looked at, of those that are complete; none where none is.
    damaged
        First frames of samples that were to be looked at and do not decode, counted through all samples, and why.
    columns
        Units and meaning of each column of its samples.
    distributions
        How their values are distributed, over all samples that are complete.
    unread
        Why none of that is known: an object of their table that does not decode; None where all do.
    splits
        Samples of each split that are complete, and their crystals.
    spots
        By the labels of the first frames of `samples`; None without labels.
    run, checks
        What making it took, and what is known to be right.
    """

    images: DatasetImages
    samples: list[int]
    damaged: dict[int, str]
    columns: dict[str, dict[str, str]]
    distributions: Distributions
    unread: str | None
    splits: dict[str, Words]
    spots: SpotStatistics | None
    run: RunFacts
    checks: list[Check]

    @property
    def summary(self) -> DatasetSummary:
        """What the store says of itself."""
        return self.images.summary


def dataset_report(
    summary: DatasetSummary,
    among: range | None,
    sample: int,
    verified: int | None,
    log: Path | None,
    report: Report,
) -> DatasetReport:
    """Read what there is to say of a data set; see `pages.report_of`."""
    run = run_facts(summary, log)
    checked = None if verified is None else verify(summary.location, sample=verified, report=report)
    images, together = DatasetImages(summary), summary.frames_per_sample
    within = None if among is None else range(among.start * together, among.stop * together)
    there = images.complete if within is None else [frame for frame in within if frame in images.complete]
    chosen = spread_frames(images, sample, within, together) if there else []
    damaged = leave_out_damaged(images, chosen)
    samples = [frame // together for frame in chosen if frame in images.complete]
    try:
        columns, distributions, splits = counted_values(images.group, summary, report)
        unread = None
    except DamagedError as error:
        columns, distributions, splits, unread = {}, {}, {}, str(error)
    spots = None
    if samples and any(table.name == SPOTS.name for table in summary.schema.tables):
        tables = []
        for done, number in enumerate(samples, start=1):
            tables.append(images.rows(SPOTS.name, number * together))
            report("samples read", done, len(samples))
        spots = SpotStatistics.of(tables)
    return DatasetReport(
        images=images,
        samples=samples,
        damaged=damaged,
        columns=columns,
        distributions=distributions,
        unread=unread,
        splits=splits,
        spots=spots,
        run=run,
        checks=checks_of(summary, run, checked, damaged),
    )
