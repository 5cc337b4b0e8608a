"""Finishing a store that was rendered in parts: everything is there and decodes, or what is missing is said with how to go on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from nbdist.errors import StoreError
from nbdist.run.card import keep_card
from nbdist.store import StoredUnits, mark_finished, open_group, read_completeness, summarize
from nbdist.store.number_set import NumberSet
from nbdist.store.occupancy import occupy
from nbdist.store.parts import Part, commands_to_go_on, missing_parts
from nbdist.store.places import objects_of
from nbdist.store.schema import schema_of
from nbdist.store.table_reading import read_series_table


@dataclass
class Finishing:
    """What `finish` found of a store.

    Attributes
    ----------
    units, frames
        Of the whole series.
    missing
        Numbers of the units that are not complete or do not decode.
    damaged
        What is wrong, by number, with those of them that have a record and shards of the right size.
    parts
        The missing units by the part that renders them; empty where the store was not rendered in parts.
    commands
        The commands that render them.
    """

    units: int
    frames: int
    missing: NumberSet = field(default_factory=NumberSet)
    damaged: dict[int, str] = field(default_factory=dict)
    parts: dict[Part, NumberSet] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)


def finish(
    location: str | os.PathLike[str], *, report: Callable[[int, int], None] = lambda done, total: None
) -> Finishing:
    """Check that every unit of a store is complete and decodes; where all are, mark it finished and consolidate the metadata.

    A data set that has no card gets one.

    Parameters
    ----------
    location
        Path or URL of the store.
    report
        Called with (units decoded, all units that are complete).

    Raises
    ------
    StoreError
        If there is no store of nbdist, a table of the series does not decode, or a run writes into it.
    """
    group = open_group(location)
    for table in schema_of(group).series_tables:
        read_series_table(group, table.name)
    found = read_completeness(group, believe=False)
    result = Finishing(units=len(found.units), frames=found.units.frames)
    whole = (found.units[number] for number in found.complete)
    for done, (unit, wrong) in enumerate(StoredUnits(group).damages(whole), start=1):
        if wrong is not None:
            result.damaged[unit.number] = wrong
        report(done, len(found.complete))
    result.missing = found.missing | NumberSet(result.damaged)
    if result.missing:
        result.parts = missing_parts(str(location), result.missing)
        result.commands = commands_to_go_on(summarize(location), result.missing)
        return result
    occupation = occupy(objects_of(group))
    try:
        if not mark_finished(location):
            raise StoreError(f"{location} changed while it was checked; check it again")
        keep_card(location)
    finally:
        occupation.release()
    return result
