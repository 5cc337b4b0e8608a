"""The sections of a report of a data set, with their tables and figures, and what each of them shows."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from nbdist.formats.distributions import Numbers, Words
from nbdist.formats.pictures import distributions_figure
from nbdist.formats.report_page import ReportFigure, ReportSection, ReportTable
from nbdist.run.card import first_frames_figure, worth_drawing
from nbdist.run.report.common_sections import (
    amount,
    checks_section,
    left_out,
    listed,
    none_yet,
    run_section,
    spots_section,
)
from nbdist.run.report.datasets import DatasetReport

MOST_WORDS = 12
"""Words of a column that a table names."""


def dataset_sections(made: DatasetReport) -> Iterator[ReportSection]:
    """The sections of a report of a data set."""
    yield _draws(made)
    yield _samples(made)
    yield spots_section(made.spots, f"the first frames of samples {listed(made.samples)}")
    yield run_section(made.summary, made.run)
    yield checks_section(made.checks)


def _draws(made: DatasetReport) -> ReportSection:
    summary, its = made.summary, ReportSection("draws", "What the samples are")
    complete = summary.frames_complete // summary.frames_per_sample
    its.text.append(
        f"{complete:,} of {summary.samples:,} samples are complete. Sample n depends on the recipe, "
        f"its seed {summary.seed} and the number n alone."
    )
    if made.unread is not None:
        its.text.append(f"The values of samples are not told: {made.unread}.")
    if made.splits:
        rows = [
            (
                name,
                f"{crystals.count:,}",
                f"{100 * crystals.count / max(1, complete):.1f} %",
                f"{len(crystals.counts):,}" + " at least" * bool(crystals.others),
            )
            for name, crystals in made.splits.items()
        ]
        its.tables.append(
            ReportTable(
                ("split", "samples", "share", "crystals"), rows, "Splits keep all samples of a crystal together."
            )
        )
    numbers = {name: found for name, found in made.distributions.items() if isinstance(found, Numbers) and found.count}
    if numbers:
        values = [
            (
                name,
                made.columns[name]["units"],
                *(amount(value) for value in (found.least, found.mean, found.greatest, found.deviation)),
            )
            for name, found in numbers.items()
        ]
        head = ("column", "units", "least", "mean", "greatest", "deviation")
        its.tables.append(
            ReportTable(
                head,
                values,
                "Numbers of the samples that are complete: what was drawn, and what follows from it.",
                words=2,
            )
        )
    words = {name: found for name, found in made.distributions.items() if isinstance(found, Words) and found.count}
    if words:
        texts = [
            (
                name,
                ", ".join(f"{word or '(none)'} ({number:,})" for word, number in found.commonest(MOST_WORDS).items())
                + " ..." * (len(found.counts) > MOST_WORDS),
            )
            for name, found in words.items()
        ]
        its.tables.append(ReportTable(("column", "values"), texts, "Words of the samples that are complete.", words=2))
    drawn = worth_drawing(made.columns, made.distributions)
    if drawn:
        its.figures.append(
            ReportFigure.of(
                distributions_figure(drawn, "", "samples", across=3),
                "values",
                "How many samples have which value, in the units below each; columns that are the same in all samples are left out.",
                "Histograms of what the samples are",
            )
        )
    its.folded.append(
        ("The whole recipe, as a file", yaml.safe_dump(summary.content, sort_keys=False, allow_unicode=True))
    )
    return its


def _samples(made: DatasetReport) -> ReportSection:
    its = ReportSection("samples", "Samples", text=left_out("sample", made.damaged, made.summary.frames_per_sample))
    if not made.samples:
        its.text.append(none_yet(made.images))
        return its
    figure = first_frames_figure(made.images.group, made.summary, made.samples)
    circles = "; circles are at spots that are seen" if made.spots is not None else ""
    its.figures.append(
        ReportFigure.of(
            figure,
            "sheet",
            f"First frames of samples {listed(made.samples)}, each in greys of its own, whose ends its title has{circles}.",
            "Frames of some samples side by side",
            "png",
        )
    )
    return its
