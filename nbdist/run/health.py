"""Which worker is sick: one that fails unit after unit, at once, while others succeed. Always idle, it would drain the whole list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from nbdist.planning import Unit

SICK_AFTER = 3
"""Units that a worker fails in a row, none of which failed elsewhere, while another worker succeeds."""


@dataclass
class Health:
    """What each worker made of its units lately, by address."""

    _succeeded: set[str] = field(default_factory=set)
    _in_a_row: defaultdict[str, list[Unit]] = field(default_factory=lambda: defaultdict(list))
    _failed_at: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _pardoned: set[int] = field(default_factory=set)

    def note(self, address: str, done: Collection[int], failed: Collection[Unit]) -> None:
        """Take in what became of the units of a task at a worker: numbers of those done, and the units that failed."""
        for number in done:
            self._failed_at.pop(number, None)
        if done:
            self._succeeded.add(address)
            self._in_a_row.pop(address, None)
        for unit in failed:
            places = self._failed_at[unit.number]
            if not done and not places and unit.number not in self._pardoned:  # else it may be the unit
                self._in_a_row[address].append(unit)
            places.add(address)

    def avoided(self, number: int) -> set[str]:
        """Addresses of the workers at which a unit failed."""
        return self._failed_at.get(number, set())

    def sick(self) -> dict[str, list[Unit]]:
        """Workers that are sick, with the units that they failed: each worker once, and each unit once, so that this comes to an end."""
        found = {
            address: units
            for address, units in self._in_a_row.items()
            if len(units) >= SICK_AFTER and self._succeeded - {address}
        }
        for address, units in found.items():
            del self._in_a_row[address]
            self._succeeded.discard(address)
            self._pardoned.update(unit.number for unit in units)
        return found

    def lost(self, addresses: Collection[str]) -> None:
        """Forget workers that are gone: what they did says nothing about those that are there."""
        self._succeeded.difference_update(addresses)
        for address in addresses:
            self._in_a_row.pop(address, None)
