"""Records of units that failed: what went wrong with each stays in the store until the unit is rendered."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from nbdist.errors import NbdistError, one_line
from nbdist.formats.text import parsed_json
from nbdist.store.objects import ROOT, Objects, as_json

logger = logging.getLogger(__name__)
FAILED = "records/failed"


class FailureRecords:
    """The records below `records/failed` of a store; a record that cannot be written or removed never ends a run."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        try:
            stems = {name.removesuffix(".json") for name in objects.names(FAILED)}
        except (OSError, NbdistError) as error:
            self._note(error)
            stems = set()
        self._kept = {int(stem) for stem in stems if stem.isdecimal()}

    def keep(self, unit: int, record: dict[str, object]) -> None:
        """Write why a unit failed."""
        try:
            self._objects.write(_key(unit), as_json({"unit": unit, **record}))
            if self._objects.read(ROOT) is None:  # the store was removed, and its folder is there again
                self._objects.delete(_key(unit))
            else:
                self._kept.add(unit)
        except (OSError, NbdistError) as error:
            self._note(error)

    def read(self) -> Iterator[tuple[int, str]]:
        """The units that have a record, in order, each with why it failed."""
        for unit in sorted(self._kept):
            try:
                record = parsed_json(self._objects.read(_key(unit)) or b"null")
                yield unit, str(record["error"])
            except (KeyError, TypeError, ValueError):
                continue  # rendered meanwhile, or another program's

    def remove(self, unit: int) -> None:
        """Remove the record of a unit that is rendered now, if there is one."""
        if unit not in self._kept:
            return
        try:
            self._objects.delete(_key(unit))
            self._kept.discard(unit)
        except (OSError, NbdistError) as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        logger.warning("%s/%s: %s", self._objects.location, FAILED, one_line(error))


def _key(unit: int) -> str:
    return f"{FAILED}/{unit:08d}.json"
