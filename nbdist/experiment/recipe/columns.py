"""What a table of samples says of a drawn value: its units, by the name of its field, and what the field means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nbdist.experiment.model import Experiment
from nbdist.experiment.recipe.drawing import Dtype
from nbdist.experiment.validation import fields_at

UNITS = {
    "A": "angstrom",
    "A2": "angstrom^2",
    "A3": "angstrom^3",
    "mm": "mm",
    "um": "um",
    "m2": "m^2",
    "deg": "degree",
    "mrad": "mrad",
    "eV": "eV",
    "s": "s",
    "ns": "ns",
    "MGy": "MGy",
    "photon": "photon",
    "photons": "photon",
    "electron": "electron",
    "electrons": "electron",
    "e": "electron",
    "adu": "ADU",
    "pixels": "pixel",
    "g": "g",
    "mol": "mol",
    "cm3": "cm^3",
    "frame": "frame",
}
"""Of measure, by the ends of the names of fields."""


@dataclass(frozen=True)
class DrawnColumn:
    """A column of the values that are drawn: "" or NaN where a sample has none.

    Attributes
    ----------
    name
        Path of the field, as in "crystal.cell.0".
    """

    name: str
    dtype: Literal["float64", "int64", "str"]
    units: str
    long_name: str


def units_of(name: str) -> str:
    """Units of measure of a field, by the end of its name: "photon/m^2" of fluence_photons_per_m2; "" of one without."""
    last = next((part for part in reversed(name.split(".")) if not part.isdecimal()), "")
    if last == "cell":
        number = name.rpartition(".")[2]
        return "angstrom" if number in ("0", "1", "2") else "degree" if number in ("3", "4", "5") else ""
    units: list[str] = []
    for word in reversed(last.split("_")):
        if word not in UNITS and not (word == "per" and units):
            break
        units.insert(0, "/" if word == "per" else UNITS[word])
    return re.sub(r" ?/ ?", "/", " ".join(units)).removeprefix("/")


def described(found: Iterable[tuple[str, Dtype | None, bool]], fields: Mapping[str, str]) -> tuple[DrawnColumn, ...]:
    """Return the columns of what nodes yield: of a name that comes twice, with a dtype that holds both; where some lack it, no integer.

    `fields` are those that refer to other paths, by these: such a column is what its field is.
    """
    kinds: dict[str, set[Any]] = {}
    for name, dtype, optional in found:
        kinds.setdefault(name, set()).update({dtype, "float64" if optional and dtype == "int64" else dtype})
    return tuple(
        DrawnColumn(
            name,
            dtype,
            "" if dtype == "str" else units_of(_field(name, fields)),
            _long_name(_field(name, fields)) or name,
        )
        for name, its in kinds.items()
        if (dtype := _joined(its)) is not None
    )


def _field(name: str, fields: Mapping[str, str]) -> str:
    """The field of a column: what refers to it, or to what holds it."""
    start, rest = name, ""
    while start not in fields and start:
        start, _, last = start.rpartition(".")
        rest = f".{last}{rest}"
    return f"{fields[start]}{rest}" if start else name


def _joined(kinds: set[Any]) -> Dtype | None:
    given = kinds - {None}
    if not given:
        return None
    if given == {"int64"} and None not in kinds:
        return "int64"
    return "str" if "str" in given else "float64"


def _long_name(name: str) -> str:
    fields = fields_at(Experiment, tuple(int(part) if part.isdecimal() else part for part in name.split(".")))
    return next((its.description for its in fields if its.description), "")
