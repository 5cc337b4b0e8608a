"""Who made a store, how long it took, what went wrong, and what was checked of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError, one_line
from nbdist.formats.text import user_path
from nbdist.run.verify import Verification
from nbdist.store import StoredUnits, StoreSummary, open_group

MOST_RECORDS = 2000
"""Records of units that are read, at most."""
MOST_FAILED = 20
"""Units set aside that are named, at most."""
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
    records = [record for _, record in stored.complete([summary.units[complete[int(place)]] for place in wanted])]
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
            for line in lines:
                if line.startswith("{"):
                    events[str(json.loads(line).get("event", "?"))] += 1
                elif len(words := line.split(maxsplit=2)) > 1:
                    events[words[1]] += 1
    except (OSError, ValueError) as error:
        raise RunError(f"the log {log} cannot be read: {one_line(error)}") from None
    return events


def checks_of(summary: StoreSummary, verified: Verification | None) -> list[Check]:
    """What is known to be right of a store: by its records, and by `verify` where that was run."""
    found = summary.found
    missing, failed = len(summary.units) - len(found.complete), sum(1 for _ in islice(summary.failed, 1))
    whole = "every unit is there" if not missing else f"{missing:,} of {len(summary.units):,} units are missing"
    checks = [
        Check("all frames are rendered", "failed" if missing else "passed", whole),
        Check(
            "shards have the sizes that their records say",
            "passed" if found.complete else "not run",
            f"{len(found.complete):,} units"
            + (", some of them looked at as the store says it is finished" if found.finished else ""),
        ),
        Check(
            "no unit is set aside",
            "failed" if failed else "passed",
            "see the run" if failed else "none failed for good",
        ),
    ]
    if verified is None:
        how = f"nbdist report {summary.location} --verify 5, or nbdist verify {summary.location}"
        return [
            *checks,
            Check("every shard decodes", "not run", how),
            Check("frames rendered again are the same", "not run", how),
        ]
    damaged = [f"unit {unit}: {wrong}" for unit, wrong in islice(verified.damaged.items(), 3)]
    same = sum(difference == 0 for difference in verified.compared.values())
    largest = max(verified.compared.values(), default=0.0)
    wrong = [f"frame {frame}: {what}" for frame, what in islice(verified.wrong.items(), 3)]
    return [
        *checks,
        Check(
            "every shard decodes",
            "failed" if damaged else "passed",
            "; ".join(damaged) or f"{verified.frames_decoded:,} frames, with the checksums of their chunks",
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
