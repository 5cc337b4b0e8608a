"""trace.log, one pixel's intensity factor by factor: writing it, reading it or nanoBragg's, and comparing two.

It holds one `KEY value ...` a line, 15 significant digits. Keys that belong to an orientation repeat, in the order of phi steps and
mosaic domains, after a `phi_step`, a `phi_deg` and a `mosaic_domain` line that say which. Sentences follow the key `note`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from nbdist.errors import FileFormatError
from nbdist.formats.text import read_text

FOREIGN_PREFIX = "TRACE_C:"
INDEX_KEYS = ("phi_step", "phi_deg", "mosaic_domain", "layer", "subpixel", "source")
"""Keys that say where a number belongs: not factors, not compared."""
Entry = tuple[str, tuple[float, ...]]


def trace_log(lines: Iterable[tuple[str, Sequence[float]]], notes: Iterable[str]) -> str:
    """The text of trace.log."""
    entries = [f"{key} {' '.join(map(number_text, values))}" for key, values in lines]
    return "\n".join([*entries, *(f"note {note}" for note in notes)]) + "\n"


def number_text(value: float) -> str:
    """A number in 15 significant digits; a whole one as it is."""
    return str(value) if isinstance(value, int) else f"{value:.15g}"


@dataclass(frozen=True)
class Comparison:
    """One factor in two logs; a side that does not have it is None. `place` tells repeated keys apart."""

    key: str
    place: str
    here: tuple[float, ...] | None
    there: tuple[float, ...] | None

    @property
    def relative(self) -> float | None:
        """Length of the difference over the longer of the two; None where one side is missing or has another length."""
        if self.here is None or self.there is None or len(self.here) != len(self.there):
            return None
        size = max(_length(self.here), _length(self.there))
        return _length([a - b for a, b in zip(self.here, self.there, strict=True)]) / size if size else 0.0

    @property
    def name(self) -> str:
        """The key, with the numbers of its place."""
        place = " ".join(word for word in self.place.replace(",", "").split() if not word[0].isalpha())
        return f"{self.key} [{place}]" if place else self.key

    def difference(self, tolerance: float) -> str:
        """The relative difference as text, with a star where it is more than `tolerance`; empty where one side is missing."""
        if self.relative is None:
            return "" if self.here is None or self.there is None else "not the same kind of number"
        return f"{self.relative:.2e}" + (" *" if not self.relative <= tolerance else "")


def read_trace(path: Path) -> list[Entry]:
    """Read a trace.log of nbdist, or the `TRACE_C: key value ...` lines of nanoBragg's output.

    Raises
    ------
    FileFormatError
        If the file is missing or holds neither.
    """
    lines = read_text(path, "trace").splitlines()
    foreign = [line.split(FOREIGN_PREFIX, 1)[1] for line in lines if FOREIGN_PREFIX in line]
    entries = list(_entries(foreign or lines))
    if not entries:
        raise FileFormatError(f"{path} holds no trace: neither `KEY value` nor `{FOREIGN_PREFIX} key value` lines")
    return entries


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    for line in lines:
        key, *words = re.split(r"[\s=,:]+", line.strip())
        numbers = []
        for word in words:
            try:
                numbers.append(float(word))
            except ValueError:
                break  # a unit or a remark after the numbers
        if re.fullmatch(r"[A-Za-z_]\w*", key) and numbers and key != "note":
            yield key, tuple(numbers)


def compare(here: Iterable[Entry], there: Iterable[Entry]) -> list[Comparison]:
    """Pair the factors of two logs: the n-th line of a key with the n-th of the same key.

    Order is that of `here`, then what only `there` has.
    """
    others: dict[str, list[tuple[float, ...]]] = {}
    for key, values in there:
        others.setdefault(key, []).append(values)
    compared, index = [], dict[str, str]()
    for key, values in here:
        if key in INDEX_KEYS:
            others.pop(key, None)
            index[key] = " ".join(f"{value:g}" for value in values)
            continue
        place = ""
        if key in ("hkl_frac", "hkl_rounded", "F_cell", "term") or key.startswith("F_latt"):
            place = ", ".join(f"{name} {index[name]}" for name in INDEX_KEYS if name != "phi_deg" and name in index)
        rest = others.get(key, [])
        compared.append(Comparison(key, place, values, rest.pop(0) if rest else None))
    for key, left in others.items():
        compared += [Comparison(key, "", None, values) for values in left if key not in INDEX_KEYS]
    return compared


def first_difference(compared: Iterable[Comparison], tolerance: float) -> Comparison | None:
    """The first factor of the chain that both have and that differs by more than `tolerance`."""
    for one in compared:
        both = one.here is not None and one.there is not None
        if both and (one.relative is None or not one.relative <= tolerance):
            return one
    return None


def comparison_lines(here: Path, there: Path, tolerance: float) -> Iterator[str]:
    """Two logs side by side, with the relative difference of each factor, and a line that names the first that differs.

    Raises
    ------
    FileFormatError
        If one of the files is missing or holds no trace.
    """
    compared = compare(read_trace(here), read_trace(there))
    yield _row("factor", str(here), str(there), "relative difference")
    for one in compared:
        name, difference = one.name, one.difference(tolerance)
        for left, right in zip_longest(_column(one.here), _column(one.there), fillvalue=""):
            yield _row(name, left, right, difference)
            name = difference = ""
    both = sum(one.here is not None and one.there is not None for one in compared)
    first = first_difference(compared, tolerance)
    if not both:
        yield "the two logs have no factor in common"
    elif first is None:
        yield f"the {both} factors that both have agree within {tolerance:g}"
    else:
        place = f" ({first.place})" if first.place else ""
        numbers = [
            f"{' '.join(_column(values))} in {log}" for values, log in ((first.here, here), (first.there, there))
        ]
        yield f"first difference: {first.key}{place}: {', '.join(numbers)}"


def _row(factor: str, left: str, right: str, difference: str) -> str:
    return f"{factor:28} {left:>24} {right:>24}  {difference}".rstrip()


def _column(values: tuple[float, ...] | None) -> list[str]:
    return ["-"] if values is None else [f"{value:.15g}" for value in values]


def _length(vector: Iterable[float]) -> float:
    return sum(value * value for value in vector) ** 0.5
