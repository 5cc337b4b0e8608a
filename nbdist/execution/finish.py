"""Finishing a store that was rendered in parts: everything is there and decodes, or what is missing is said with how to go on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from nbdist.store import consolidate, damages, open_group, summarize
from nbdist.store.parts import Part, commands_to_go_on, missing_parts


@dataclass
class Finishing:
    """What was found.

    Attributes
    ----------
    units, frames
        Of the whole series.
    missing
        What is wrong with each unit that is not complete, by its number.
    parts
        The missing units by the part that renders them; empty where the store was not rendered in parts.
    commands
        The commands that render them.
    """

    units: int
    frames: int
    missing: dict[int, str] = field(default_factory=dict)
    parts: dict[Part, list[int]] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)


def finish(
    location: str | os.PathLike[str], *, report: Callable[[int, int], None] = lambda done, total: None
) -> Finishing:
    """Check that every unit of a store is complete and decodes, and consolidate the metadata where all are.

    Parameters
    ----------
    location
        Path or URL of the store.
    report
        Called with (units decoded, all units that are complete).

    Raises
    ------
    StoreError
        If there is no store of nbdist.
    """
    summary = summarize(location)
    group = open_group(location)
    result = Finishing(units=len(summary.units), frames=summary.frames)
    complete = [unit for unit in summary.units if unit.number in summary.complete]
    wrong = {unit.number: "is not complete" for unit in summary.units if unit.number not in summary.complete}
    for done, (unit, found) in enumerate(damages(group, complete), start=1):
        if found is not None:
            wrong[unit.number] = found
        report(done, len(complete))
    result.missing = dict(sorted(wrong.items()))
    if result.missing:
        result.parts = missing_parts(summary, list(result.missing))
        result.commands = commands_to_go_on(summary, list(result.missing))
    else:
        consolidate(location)
    return result
