"""A series divided into parts that are rendered apart: which units a part owns, and which division a store was rendered by."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nbdist.errors import RunError
from nbdist.planning import Units
from nbdist.store.creation import PHOTONS_OF
from nbdist.store.number_set import NumberSet
from nbdist.store.objects import Objects
from nbdist.store.places import objects_at

if TYPE_CHECKING:
    from nbdist.store.reading import StoreSummary

RUNS = "records/runs"
"""Where a store keeps which parts were begun, and who writes into it now."""


@dataclass(frozen=True)
class Part:
    """Part `number` of `of`, counted from 1: every `of`-th unit, so that heavy and light ends of a series are shared out."""

    number: int
    of: int

    @classmethod
    def parsed(cls, text: str) -> Part:
        """The part that `3/16` means.

        Raises
        ------
        RunError
            If it is anything else.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise RunError(f"part {text}: expected NUMBER/PARTS, such as 3/16, counted from 1")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def named(cls, name: str) -> Part | None:
        """The part of a name that `name` gave, or None."""
        match = re.fullmatch(r"part-(\d+)-of-(\d+)", name)
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def name(self) -> str:
        """Its name in a store."""
        return f"part-{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def share(self, units: Units) -> Units:
        """Those of all units of a series that this part renders."""
        return units[self.number - 1 :: self.of]

    def owner_of(self, unit: int) -> Part:
        """The part of the same division that renders a unit."""
        return Part(unit % self.of + 1, self.of)


def note_part(objects: Objects, part: Part) -> None:
    """Remember in the store that a part of it was begun."""
    objects.write(f"{RUNS}/{part.name}.json", json.dumps({"part": part.number, "of": part.of}).encode())


def division(objects: Objects) -> Part | None:
    """Any part of the division that a store is rendered by, the one with most parts begun; None where there is none."""
    stems = (name.removesuffix(".json") for name in objects.names(RUNS) if name.endswith(".json"))
    begun = Counter(part.of for part in map(Part.named, stems) if part is not None)
    return Part(1, max(begun, key=lambda of: (begun[of], of))) if begun else None


def missing_parts(location: str, missing: NumberSet) -> dict[Part, NumberSet]:
    """Units that are missing, by the part that renders them; empty where the store was not rendered in parts."""
    divided = division(objects_at(location))
    if divided is None:
        return {}
    numbers = missing.array()
    owners = numbers % divided.of
    return {divided.owner_of(int(owner)): NumberSet(numbers[owners == owner]) for owner in np.unique(owners)}


def commands_to_go_on(summary: StoreSummary, missing: NumberSet) -> list[str]:
    """The commands that render units that are missing: one for each part, or one for the whole store."""
    provenance = summary.provenance
    options = "".join(f" {shlex.quote(str(option))}" for option in provenance.get("options") or ())
    if PHOTONS_OF in provenance:
        made_of = ("readout", str(provenance[PHOTONS_OF]["location"]))
    elif summary.schema.frames_per_sample is not None:
        made_of = ("dataset", str(provenance.get("recipe_file") or "RECIPE.yaml"))
    else:
        made_of = ("run", str(provenance.get("experiment_file") or "EXPERIMENT.yaml"))
    command = f"nbdist {shlex.join(made_of)} -o {shlex.quote(summary.location)}{options}"
    parts = missing_parts(summary.location, missing)
    return [f"{command} --part {part}" for part in parts] or [f"{command} --resume"]
