"""Sections that reports of series and of data sets have alike: overlap and partiality, the run, the checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.amounts import count, duration, size
from nbdist.formats.distributions import Distribution, Numbers
from nbdist.formats.pictures import distributions_figure
from nbdist.formats.report_page import ReportFigure, ReportSection, ReportTable
from nbdist.frames.sample_products import VISIBLE
from nbdist.run.report.reflections import SpotStatistics
from nbdist.run.report.runs import Check, RunFacts
from nbdist.run.shown import ShownImages
from nbdist.store import StoreSummary

PERCENTILES = (5, 25, 50, 75, 95)
WHOLE = 0.95
"""Partiality from which on a spot counts as recorded whole."""
OVERLAPPED = 0.05
"""Share of a pixel's photons that others gave, from which on a spot counts as overlapped."""
TROUBLE = ("unit-retried", "unit-failed", "worker-lost", "worker-left-out")
"""Events of a log that are named also where there is none."""
MOST_HOSTS = 8
"""Machines that are named."""
NO_SPOTS = "The store has no label `spots`; how to get it stands under Overlap and partiality."


def number_of(number: int, what: str) -> str:
    """So many things by their name in the singular."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def listed(numbers: list[int]) -> str:
    """Numbers with commas between them."""
    return ", ".join(map(str, numbers))


def left_out(what: str, damaged: Mapping[int, str], together: int = 1) -> list[str]:
    """What is said of frames, or samples of so many, that were to be looked at and do not decode; nothing where there is none."""
    why = "; ".join(f"{what} {frame // together}: {wrong}" for frame, wrong in damaged.items())
    return [f"Left out, as they do not decode: {why}."] if damaged else []


def none_yet(images: ShownImages) -> str:
    """What is said where no frame of those asked for is there."""
    every = images.schema.frames // images.together if images.schema.samples else images.schema.frames
    what = "sample" if images.schema.samples else "frame"
    return f"No {what} of those asked for is there to be looked at (of {every:,}); run it, or go on with it, and make the report again."


def spots_section(spots: SpotStatistics | None, of: str) -> ReportSection:
    """What labels say of the spots of some frames; `of` names these."""
    its = ReportSection("overlap-and-partiality", "Overlap and partiality")
    if spots is None:
        its.text.append(
            "Nothing is known of them: the store has no label `spots`, or none of these frames yet. An experiment or a recipe asks for "
            "labels with `labels: all`, or with `labels: {spots: true, reflections: true, background: true}`. They are made while "
            "frames are rendered, so a store that has none is rendered again for them."
        )
        return its
    if not spots.spots:
        its.text.append(f"There is no spot on {of}.")
        return its
    values = spots.values
    shares = (
        (f"recorded whole in their frame: partiality of {WHOLE:g} or more", values["partiality"] >= WHOLE),
        (f"overlapped: others gave more than {OVERLAPPED:g} of one of their pixels", values["overlap"] > OVERLAPPED),
        (f"seen: signal over noise of {VISIBLE:g} or more", values["signal_over_noise"] >= VISIBLE),
    )
    its.text.append(f"{spots.spots:,} spots by the labels of {of}.")
    rows = [(name, f"{int(which.sum()):,}", f"{100 * which.mean():.1f} %") for name, which in shares]
    its.tables.append(ReportTable(("spots that are", "spots", "share"), rows))
    named = [name.replace("_", " ") for name in values]
    percentiles = [
        (name, *(amount(value) for value in np.percentile(column, PERCENTILES)))
        for name, column in zip(named, values.values(), strict=True)
    ]
    its.tables.append(
        ReportTable(("of all spots", *(f"{share} %" for share in PERCENTILES)), percentiles, "Percentiles.")
    )
    units = {"photons": "photons"}
    drawn: dict[str, tuple[Distribution, str]] = {
        name: (_counted(column), units.get(name, "")) for name, column in zip(named, values.values(), strict=True)
    }
    its.figures.append(
        ReportFigure.of(
            distributions_figure(drawn, "", "spots", across=2),
            "spot-statistics",
            "How many spots have which value: photons in the frame; photons over the deviation of counting them and the background under "
            "them; the share of the reflection's photons that the frame has; and the largest share of a pixel's Bragg photons that "
            "other reflections gave.",
            "Histograms of photons, signal over noise, partiality and overlap",
        )
    )
    return its


def _counted(values: NDArray[Any]) -> Numbers:
    found = Numbers(whole=False)
    found.add(values)
    found.begin_histogram()
    found.count_in_bins(values)
    return found


def run_section(summary: StoreSummary, run: RunFacts) -> ReportSection:
    """Who made a store, how long it took, and what went wrong."""
    its = ReportSection("run", "Run")
    provenance, settings = summary.provenance, summary.settings
    versions = ", ".join(f"{name} {number}" for name, number in provenance.get("versions", {}).items())
    spent = ", ".join(f"{duration(seconds)} {where}" for where, seconds in run.seconds.items())
    rows = [
        ("units", f"{run.complete:,} of {run.units:,} complete, of up to {settings.frames_per_shard} frame(s)"),
        ("size", size(summary.found.shard_bytes)),
        ("rendered in", f"{spent} (device, precision, kernel)" if spent else "nothing yet"),
    ]
    if run.records:
        of = "" if run.records == run.complete else f" (of {run.records:,} units looked at)"
        hosts = ", ".join(f"{host}: {units:,}" for host, units in run.hosts.most_common(MOST_HOSTS))
        more = f" and {len(run.hosts) - MOST_HOSTS:,} more" if len(run.hosts) > MOST_HOSTS else ""
        rows.append(("machines" + of, f"{len(run.hosts):,} ({hosts}{more}), by units made"))
        if run.unit_seconds.size:
            middle, most = np.median(run.unit_seconds), run.unit_seconds.max()
            rows.append(("seconds of a unit" + of, f"{middle:.3g} in the median, {most:.3g} at most"))
        if run.started is not None and run.ended is not None:
            rows.append(("from, to" + of, f"{_when(run.started)}, {_when(run.ended)}"))
        if run.saturated_pixels:
            rows.append(("saturated" + of, f"{count(run.saturated_pixels)} pixels are held at their largest value"))
    rows += [
        ("cut", f"tile {settings.tile[0]} x {settings.tile[1]}, phi chunk {settings.phi_chunk}"),
        ("created", str(provenance.get("created", "unknown"))),
        ("with", f"{versions}, Python {provenance.get('python', '?')} on {provenance.get('machine', '?')}"),
    ]
    its.facts.append(("", rows))
    if run.failed:
        failed = [(f"{unit}", error) for unit, error in run.failed]
        its.tables.append(ReportTable(("unit", "why it was set aside"), failed, words=2))
    if run.events is None:
        its.text.append(
            "Units that are set aside are in the store. How often others were tried again is in the log of the run "
            "(`nbdist run --log-file FILE`): `nbdist report --log FILE` counts its events here."
        )
    else:
        named = sorted({*TROUBLE, *run.events})
        events = [(event, f"{run.events[event]:,}") for event in named]
        its.tables.append(ReportTable(("event of the log", "times"), events))
    if run.unit_seconds.size > 1:
        its.figures.append(
            ReportFigure.of(
                distributions_figure({"rendering and labelling": (_counted(run.unit_seconds), "seconds")}, "", "units"),
                "unit-seconds",
                f"How many of {run.unit_seconds.size:,} units took how many seconds.",
                "Histogram of the seconds that units took",
            )
        )
    return its


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def checks_section(checks: list[Check]) -> ReportSection:
    """What is known to be right."""
    rows = [(check.name, check.result, check.found) for check in checks]
    return ReportSection("checks", "Checks", tables=[ReportTable(("what", "result", "found"), rows, words=3)])


def amount(value: float) -> str:
    """Three digits that matter; nothing where there is no number."""
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
