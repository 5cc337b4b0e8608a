"""Who made a store, how long it took, what went wrong, and what was checked of it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import DamagedError, RunError, one_line
from nbdist.formats.text import parsed_json, user_path
from nbdist.run.shown import DatasetImages, SeriesImages
from nbdist.run.verify import Verification
from nbdist.store import StoredUnits, StoreSummary, open_group, read_frames

MOST_RECORDS = 2000
"""Records of units that are read, at most."""
MOST_FAILED = 20
"""Units set aside that are named, at most."""
TEXT_EVENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z ([a-z]+(?:-[a-z]+)*)(?:\s|$)")
"""Time and name, with which a line of a log begins that is text."""
MOST_NAMED = 3
"""Of what a check found wrong."""
Result = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class RunFacts:
    """What making a store took.

    Attributes
    ----------
    units, complete
        How many units it has, and how many are complete.
    seconds
        What they took to render in all, by "device precision kernel".
    records
        How many records of units were read for what follows, spread evenly over those that are complete.
    unit_seconds
        What each of these units took (records,).
    hosts
        How many of these units each machine made, by its name.
    started, ended
        When the first of these units was begun, and the last one finished: seconds since 1970; None where no record says.
    saturated_pixels
        Pixels of these units whose counts are held at their largest value.
    changed
        Units whose record is there, or should be, and whose shards are not those that it speaks of, by their sizes.
    failed
        Units that failed and were set aside, the first ones, each with its error.
    events
        How often each event is in the log of the run; None where none was given.
    """

    units: int
    complete: int
    seconds: dict[str, float]
    records: int = 0
    unit_seconds: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    hosts: Counter[str] = field(default_factory=Counter)
    started: float | None = None
    ended: float | None = None
    saturated_pixels: int = 0
    changed: list[int] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)
    events: Counter[str] | None = None


@dataclass(frozen=True)
class Check:
    """What was looked at, whether it is right, and what was found."""

    name: str
    result: Result
    found: str


def run_facts(summary: StoreSummary, log: Path | None = None) -> RunFacts:
    """What making a store took; `log` is the log of its run.

    Raises
    ------
    RunError
        If the log cannot be read.
    """
    complete = summary.complete
    wanted = np.unique(np.linspace(0, len(complete) - 1, min(MOST_RECORDS, len(complete))).round().astype(int))
    stored = StoredUnits(open_group(summary.location))
    looked_at = [complete[int(place)] for place in wanted]
    found = dict(stored.complete(summary.units[number] for number in looked_at))
    records = list(found.values())
    # a store that says it is finished was believed by a few of its shards
    doubtful = {*looked_at} - {unit.number for unit in found}
    if not summary.found.finished:
        doubtful.update(stored.recorded() - complete)
    changed = [number for number in sorted(doubtful) if not stored.outgrown(summary.units[number])]
    seconds = np.array([its["seconds"] for its in records if _number(its.get("seconds"))], dtype=np.float64)
    begun = [its["started"] for its in records if _number(its.get("started"))]
    ended = [
        its["started"] + its["seconds"]
        for its in records
        if _number(its.get("started")) and _number(its.get("seconds"))
    ]
    return RunFacts(
        units=len(summary.units),
        complete=len(complete),
        seconds=summary.found.seconds,
        records=len(records),
        unit_seconds=seconds,
        hosts=Counter(str(its["host"]) for its in records if "host" in its),
        started=min(begun, default=None),
        ended=max(ended, default=None),
        changed=changed,
        saturated_pixels=sum(int(its.get("saturated_pixels", 0)) for its in records),
        failed=list(islice(summary.failed, MOST_FAILED)),
        events=None if log is None else _events(log),
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _events(log: Path) -> Counter[str]:
    """How often each event is in a log, of either format."""
    events: Counter[str] = Counter()
    try:
        with user_path(log).open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                if line.startswith("{"):
                    try:
                        events[str(parsed_json(line)["event"])] += 1
                    except (KeyError, ValueError):
                        raise RunError(f"{log}:{number}: this line is no event of a run's log") from None
                elif (event := TEXT_EVENT.match(line)) is not None:
                    events[event[1]] += 1
    except OSError as error:
        raise RunError(f"the log {log} cannot be read: {one_line(error)}") from None
    if not events:
        raise RunError(f"{log} is no log of a run: no line of it is an event, as nbdist run --log-file writes them")
    return events


def leave_out_damaged(
    images: SeriesImages | DatasetImages, frames: Iterable[int], names: Collection[str] | None = None
) -> dict[int, str]:
    """Read some frames, and count those no longer as complete that do not decode; return these, and why.

    Parameters
    ----------
    names
        Of the products that are read; all where left out.
    """
    damaged: dict[int, str] = {}
    for frame in frames:
        try:
            read_frames(images.group, range(frame, frame + 1), names)
        except DamagedError as error:
            damaged[frame] = str(error)
    images.complete -= damaged
    return damaged


def checks_of(
    summary: StoreSummary, run: RunFacts, verified: Verification | None, damaged: Mapping[int, str]
) -> list[Check]:
    """What is known to be right of a store: by its records, by frames that were read, and by `verify` where that was run."""
    found = summary.found
    missing, failed = len(summary.units) - len(found.complete), sum(1 for _ in islice(summary.failed, 1))
    whole = "every unit is there" if not missing else f"{missing:,} of {len(summary.units):,} units are missing"
    checks = [
        Check("all frames are rendered", "failed" if missing else "passed", whole),
        Check(
            "shards have the sizes that their records say",
            "failed" if run.changed else "passed" if run.records else "not run",
            "; ".join(f"unit {number} has others" for number in run.changed[:MOST_NAMED])
            or f"{run.records if found.finished else run.complete:,} units",
        ),
        Check(
            "no unit is set aside",
            "failed" if failed else "passed",
            "see the run" if failed else "none failed for good",
        ),
    ]
    if verified is None:
        how = f"nbdist report {summary.location} --verify 5, or nbdist verify {summary.location}"
        some = "; ".join(islice(damaged.values(), MOST_NAMED))
        return [
            *checks,
            Check("every shard decodes", "failed" if damaged else "not run", some or how),
            Check("frames rendered again are the same", "not run", how),
        ]
    undecoded = [f"unit {unit}: {wrong}" for unit, wrong in islice(verified.damaged.items(), MOST_NAMED)]
    same = sum(difference == 0 for difference in verified.compared.values())
    largest = max(verified.compared.values(), default=0.0)
    wrong = [f"frame {frame}: {what}" for frame, what in islice(verified.wrong.items(), MOST_NAMED)]
    return [
        *checks,
        Check(
            "every shard decodes",
            "failed" if undecoded else "passed",
            "; ".join(undecoded) or f"{verified.frames_decoded:,} frames, with the checksums of their chunks",
        ),
        Check(
            "frames rendered again are the same",
            "failed" if wrong else "passed" if verified.compared else "not run",
            "; ".join(wrong)
            or f"{same} of {len(verified.compared)} to the bit; the others differ by {largest:.2g} of their maximum at most"
            if same < len(verified.compared)
            else f"{same} of {len(verified.compared)} to the bit",
        ),
        *([Check("the data card is right", "failed", verified.card)] if verified.card else []),
    ]
