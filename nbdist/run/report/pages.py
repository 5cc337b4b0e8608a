"""Reports: what there is to say of a store, and a page of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from nbdist.errors import StoreError
from nbdist.formats.amounts import panels_row
from nbdist.formats.report_page import report_page
from nbdist.run.report.common_sections import number_of
from nbdist.run.report.dataset_sections import dataset_sections
from nbdist.run.report.datasets import DatasetReport, dataset_report
from nbdist.run.report.series import SeriesReport, series_report
from nbdist.run.report.series_sections import series_sections
from nbdist.store import SeriesSummary, StoreSummary, summarize
from nbdist.version import __version__

SAMPLE = 8
"""Frames or samples that are looked at, where nobody says how many."""


def report_of(
    location: str | os.PathLike[str],
    *,
    among: range | None = None,
    sample: int = SAMPLE,
    verified: int | None = None,
    log: Path | None = None,
    report: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> SeriesReport | DatasetReport:
    """Read what there is to say of a store.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    among
        Frames of a series, or samples of a data set, among which some are looked at; all where left out.
    sample
        How many of them are looked at, at most, spread evenly over those that are complete.
    verified
        Decode every shard, and render so many frames again, as `verify` does; left out where None.
    log
        The log of its run, whose events are counted.
    report
        Called with (what is counted, done, total).

    Raises
    ------
    StoreError
        If there is no store of nbdist, or frames or samples are asked for that it has not.
    NbdistError
        If a file of its experiment is not where it was, or the log cannot be read.
    """
    summary = summarize(location)
    series = isinstance(summary, SeriesSummary)
    every = summary.frames // (summary.schema.frames_per_sample or 1)
    if among is not None and not (0 <= among.start < among.stop <= every):
        what = "frames" if series else "samples"
        raise StoreError(f"{location}: {what} {among.start}:{among.stop} lie outside 0:{every}")
    if isinstance(summary, SeriesSummary):
        return series_report(summary, among, sample, verified, log, report)
    return dataset_report(summary, among, sample, verified, log, report)


def page_of(made: SeriesReport | DatasetReport) -> str:
    """A report as one HTML page."""
    summary = made.summary
    title = summary.title or os.path.basename(summary.location.rstrip("/"))  # noqa: PTH119 (it may be an URL)
    sections = series_sections(made) if isinstance(made, SeriesReport) else dataset_sections(made)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    by = f"Made by nbdist {__version__} (nbdist report) on {now} from {summary.location}, fingerprint {summary.fingerprint}."
    return report_page(title, about(summary), list(sections), by)


def about(summary: StoreSummary) -> str:
    """What a store holds and how far it is, in a sentence."""
    name, shape = panels_row(summary.schema.panels)
    shape = shape.replace(" of ", " panels of ", 1) if name == "panels" else shape
    made_by = summary.provenance.get("versions", {}).get("nbdist", "")
    together = summary.schema.frames_per_sample
    if isinstance(summary, SeriesSummary):
        scan = summary.experiment.scan
        stills = not scan.osc_range_deg
        what = f"A series of {number_of(summary.frames, 'still' if stills else 'frame')}"
        what += "" if stills else f" of {scan.osc_range_deg:g} degrees"
    else:
        each = "a still each" if together == 1 else f"{together} frames each"
        what = f"A data set of {number_of(summary.frames // (together or 1), 'sample')}, {each},"
    done = (
        "all complete"
        if summary.found.finished
        else f"{summary.frames_complete:,} of {summary.frames:,} frames complete"
    )
    return f"{what} on {shape}, simulated X-ray diffraction made by nbdist {made_by}; {done}. {summary.location}"
