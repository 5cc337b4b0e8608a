"""Reading nanoBragg's command line word by word, as nanoBragg reads it.

A word that begins with a dash is held against every flag in turn. A flag is known by a part of the word (`-matrix` is -mat), unless it
must be the whole word; one word may be several flags; the words after it are its values where enough of them are left, and are looked
at as words themselves all the same. Later flags win. What no flag takes is passed over.

What each flag is called and does is `table`'s; what they mean together is `flags`'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import EV_ANGSTROM
from nbdist.experiment.detector import Convention, Pivot

LARGEST_WHOLE, LARGEST_REAL = 2**31 - 1, 1e300
LONGEST_NUMBER = 400
"""Characters; Python refuses to make a whole number of a few thousand."""
N = TypeVar("N", int, float)
WHOLE, REAL = re.compile(r"[+-]?\d+"), re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
PIVOTS: dict[Convention, Pivot] = {"mosflm": "beam", "xds": "sample", "adxv": "beam", "denzo": "beam", "dials": "beam"}
"""What a named convention says about the pivot at its place in the line; it counts where a vector makes the convention custom later."""


class FlagError(ExperimentError):
    """A flag has a value that it cannot have; the message names it."""


@dataclass
class Flags:
    """The flags of one command line, collected.

    Attributes
    ----------
    values
        By canonical name, in nanoBragg's units: the name says the type.
    convention, pivot
        What the last flag that spoke of it said.
    warnings
        One line for each thing that nanoBragg reads in another way than a reader of the line may think.
    """

    values: dict[str, Any] = field(default_factory=dict)
    convention: Convention = "mosflm"
    pivot: Pivot = "beam"
    warnings: list[str] = field(default_factory=list)

    def get(self, name: str, default: Any = None) -> Any:
        """Value of a flag, or `default` where it was not given."""
        return self.values.get(name, default)


class Following:
    """The words after a flag: `flag` is the word that it was known by, `taken` how many were read as its values."""

    def __init__(self, flag: str, words: Sequence[str], warnings: list[str]) -> None:
        self.flag, self._words, self._warnings, self.taken = flag, words, warnings, 0

    @property
    def next(self) -> str | None:
        """The next word, not yet taken; None at the end of the line."""
        return self._words[self.taken] if self.taken < len(self._words) else None

    @property
    def left(self) -> int:
        """How many words are left."""
        return len(self._words) - self.taken

    def text(self) -> str:
        """Take the next word as it is."""
        self.taken += 1
        return self._words[self.taken - 1]

    def real(self) -> float:
        """Take the number that the next word begins with (C's atof)."""
        return self._number(REAL, float, LARGEST_REAL, "a number")

    def whole(self) -> int:
        """Take the whole number that the next word begins with: 8.7 is 8 (C's atoi)."""
        return self._number(WHOLE, int, LARGEST_WHOLE, "a whole number")

    def _number(self, pattern: re.Pattern[str], convert: Callable[[str], N], largest: N, kind: str) -> N:
        word = self.text().strip()
        found = pattern.match(word)
        if found is None:
            raise FlagError(f"{self.flag}: expected {kind}, found {word}")
        if len(found[0]) >= LONGEST_NUMBER or abs(value := convert(found[0])) > largest:
            raise FlagError(f"{self.flag}: {word} is out of range")
        if found[0] != word and not (REAL.fullmatch(word) and float(word) == value):
            self._warnings.append(f"{self.flag}: {word} is read as {found[0]}, as nanoBragg does")
        return value


Reader = Callable[[Flags, Following], None]


@dataclass(frozen=True)
class Flag:
    """One flag: how it is known, what follows it, what it does, and what reads it.

    Attributes
    ----------
    spellings
        Parts of a word that it is known by, without the dash; `$` at the end asks for the whole word.
    values
        The words that follow, for the help.
    least
        How many words must follow for nanoBragg to see the flag; those of `values` when left out.
    last
        Whether the word is held against no further flag.
    """

    spellings: tuple[str, ...]
    values: str
    help: str
    read: Reader
    least: int | None = None
    last: bool = False

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The spellings with their dash."""
        return tuple("-" + spelling.removesuffix("$") for spelling in self.spellings)

    @property
    def needs(self) -> int:
        """How many words must follow."""
        return len(self.values.split()) if self.least is None else self.least

    def is_in(self, word: str) -> bool:
        """Whether `word` is this flag."""
        pairs = zip(self.spellings, self.words, strict=True)
        return any(known == word if spelling.endswith("$") else known in word for spelling, known in pairs)


def number(*names: str, pivot: Pivot | None = None, **others: object) -> Reader:
    """Reads one number into each of `names`; `pivot` is what the flag says about the pivot, `others` what it sets besides."""

    def read(flags: Flags, following: Following) -> None:
        flags.values.update(dict.fromkeys(names, following.real()) | others)
        flags.pivot = pivot or flags.pivot

    return read


def whole(*names: str) -> Reader:
    """Reads a whole number into each of `names`."""

    def read(flags: Flags, following: Following) -> None:
        flags.values.update(dict.fromkeys(names, following.whole()))

    return read


def wholes(name: str, count: int) -> Reader:
    """Reads `count` whole numbers."""

    def read(flags: Flags, following: Following) -> None:
        flags.values[name] = tuple(following.whole() for _ in range(count))

    return read


def switch(name: str, value: object = True) -> Reader:
    """Takes no value."""

    def read(flags: Flags, following: Following) -> None:
        flags.values[name] = value

    return read


def text(name: str, **others: object) -> Reader:
    """Reads a word, a file's name for instance; `others` are what the flag sets besides."""

    def read(flags: Flags, following: Following) -> None:
        flags.values.update({name: following.text()} | others)

    return read


def unused(count: int) -> Reader:
    """Takes `count` words and does nothing with them."""

    def read(flags: Flags, following: Following) -> None:
        for _ in range(count):
            following.text()
        flags.warnings.append(f"{following.flag} is read and not used, as in nanoBragg")

    return read


def vector(name: str, may_be_0: bool = False) -> Reader:
    """Reads three numbers, and makes the convention custom."""

    def read(flags: Flags, following: Following) -> None:
        flags.values[name] = tuple(following.real() for _ in range(3))
        if not (may_be_0 or any(flags.values[name])):
            raise FlagError(f"{following.flag}: a direction cannot be 0 0 0")
        flags.convention = "custom"

    return read


def pix0(flags: Flags, following: Following) -> None:
    """nanoBragg works the origin out from the beam centre; the flag only selects the convention."""
    for _ in range(3):
        following.real()
    flags.convention = "custom"


def convention(flags: Flags, following: Following) -> None:
    """A named convention, which sets the pivot at its place, too."""
    flags.convention = next(name for name in reversed(PIVOTS) if f"-{name}" in following.flag)
    flags.pivot = PIVOTS[flags.convention]


def pivot(flags: Flags, following: Following) -> None:
    """beam or sample."""
    value = following.text()
    if "sample" not in value and "beam" not in value:
        raise FlagError(f"{following.flag}: expected beam or sample, found {value}")
    flags.pivot = "beam" if "beam" in value else "sample"


def energy(flags: Flags, following: Following) -> None:
    """eV, to a wavelength."""
    value = following.real()
    if value <= 0:
        raise FlagError(f"{following.flag}: expected eV above 0, found {value:g}")
    flags.values["lambda"] = EV_ANGSTROM / value


def absorption(flags: Flags, following: Following) -> None:
    """An attenuation depth; inf or 0 take the sensor away as far as it was given before."""
    depth = 0.0 if "inf" in (following.next or "") else None
    if depth is None:
        depth = following.real()
    else:
        following.text()
    flags.values["detector_abs"] = depth
    if depth == 0:
        flags.values["detector_thick"] = 0.0


def curved(flags: Flags, following: Following) -> None:
    """Takes no value, but nanoBragg does not see it where nothing follows."""
    flags.values["curved_det"] = True
    if not following.left:
        flags.warnings.append(f"{following.flag} counts; nanoBragg passes it over as the last word of a line")


def cell(flags: Flags, following: Following) -> None:
    """One to six numbers, up to the next word with a dash; those that are not given stay as they were.

    A word that is no number is a side that is not given, whatever stood before.
    """
    sides = list(flags.get("cell", (0.0,) * 6))
    for position in range(6):
        if following.next is None or following.next.startswith("-"):
            break
        if position and not REAL.match(following.next.strip()):
            flags.warnings.append(f"{following.flag}: {following.text()} is read as 0, as nanoBragg does")
            sides[position] = 0.0
        else:
            sides[position] = following.real()
    flags.values["cell"] = tuple(sides)


def misset(flags: Flags, following: Following) -> None:
    """Three angles, or a word with rand in it; to nanoBragg -misset_seed is this flag, too."""
    if "rand" in (following.next or ""):
        following.text()
        flags.values["misset"] = "random"
    elif following.left < 3:
        if "seed" not in following.flag:
            flags.warnings.append(f"{following.flag}: too few words follow; passed over, as in nanoBragg")
    elif "seed" in following.flag:
        words = [following.text() for _ in range(3)]
        following.taken = 1
        angles = tuple(float(found[0]) if (found := REAL.match(word)) else 0.0 for word in words)
        flags.values["misset"] = angles
        flags.warnings.append(
            f"{following.flag} sets -misset {' '.join(f'{angle:g}' for angle in angles)}, too, as in nanoBragg; -misset after it wins"
        )
    else:
        flags.values["misset"] = tuple(following.real() for _ in range(3))


def twotheta(flags: Flags, following: Following) -> None:
    """An angle; to nanoBragg -twotheta_axis is this flag, too, with the axis's first number."""
    flags.values["twotheta"], flags.pivot = following.real(), "sample"
    if "axis" in following.flag and flags.values["twotheta"]:
        flags.warnings.append(
            f"{following.flag} sets -twotheta {flags.values['twotheta']:g}, too, as in nanoBragg; -twotheta after it wins"
        )


def read_words(argv: Sequence[str], table: Iterable[Flag], flags: Flags | None = None) -> Flags:
    """Collect the flags of a command line (without the program's name) into `flags`, or into new ones.

    Raises
    ------
    FlagError
        Naming the flag whose value is wrong.
    """
    flags, table, used = flags or Flags(), tuple(table), set[int]()
    for place, word in enumerate(argv):
        if not word.startswith("-"):
            continue
        for flag in filter(lambda flag: flag.is_in(word), table):
            following = Following(word, argv[place + 1 :], flags.warnings)
            if following.left < flag.needs:
                flags.warnings.append(f"{word}: too few words follow; passed over, as in nanoBragg")
            else:
                flag.read(flags, following)
            used.update(range(place, place + 1 + following.taken))
            if flag.last:
                break
    passed = [word for place, word in enumerate(argv) if place not in used]
    if passed:
        flags.warnings.append(f"passed over, as in nanoBragg: {' '.join(passed)}")
    return flags
