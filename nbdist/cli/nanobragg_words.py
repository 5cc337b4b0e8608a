"""Reading nanoBragg's command line word by word: what kinds of flags there are, and the flags of one line, collected.

Flags are read left to right and later ones win. What each flag is called and does is `nanobragg_table`'s; what they mean together is
`nanobragg_flags`'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import EV_ANGSTROM

LARGEST_WHOLE = 2**31 - 1


class FlagError(ExperimentError):
    """A flag is unknown, lacks its value, or has a value it cannot have; the message names it."""


@dataclass
class Flags:
    """The flags of one command line, collected: values by canonical name, in nanoBragg's units."""

    values: dict[str, Any] = field(default_factory=dict)
    convention: str = "mosflm"
    pivot: str | None = None
    unused: list[str] = field(default_factory=list)

    def get(self, name: str, default: Any = None) -> Any:
        """Value of a flag, or `default` where it was not given."""
        return self.values.get(name, default)


class Words:
    """Walks over the command line."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._rest = list(argv)

    def next_flag(self) -> str | None:
        """The next flag without its dash; None at the end."""
        if not self._rest:
            return None
        word = self._rest.pop(0)
        if len(word) < 2 or word[0] != "-" or not (word[1].isalpha() or word == "-4stol"):
            raise FlagError(f"{word}: expected a flag")
        return word[1:]

    def text(self, flag: str) -> str:
        """The next word as it is."""
        if not self._rest:
            raise FlagError(f"-{flag}: needs a value")
        return self._rest.pop(0)

    def number(self, flag: str, convert: type[int] | type[float]) -> Any:
        """The next word as a number."""
        return self.converted(flag, self.text(flag), convert)

    def next_is(self, beginning: str) -> bool:
        """Whether the next word begins so; it is taken if it does."""
        if self._rest and self._rest[0].startswith(beginning):
            self._rest.pop(0)
            return True
        return False

    @staticmethod
    def converted(flag: str, word: str, convert: type[int] | type[float]) -> Any:
        """A word as a finite number, or a whole one."""
        kind = "a whole number" if convert is int else "a number"
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (convert is int and value != int(value)):
            raise FlagError(f"-{flag}: expected {kind}, found {word}")
        if convert is int and abs(value) > LARGEST_WHOLE:
            raise FlagError(f"-{flag}: {word} is out of range")
        return convert(value)


Reader = Callable[[Flags, str, Words], None]


@dataclass(frozen=True)
class Flag:
    """One line of the help: the spellings of a flag, what follows it, what it does, and what reads it."""

    spellings: tuple[str, ...]
    values: str
    help: str
    read: Reader


def number(*names: str, convert: type[int] | type[float] = float, pivot: str | None = None, **others: Any) -> Reader:
    """Reads one number into each of `names`; `pivot` is what the flag says about the pivot, `others` what it sets besides."""

    def read(flags: Flags, flag: str, words: Words) -> None:
        flags.values.update(dict.fromkeys(names, words.number(flag, convert)) | others)
        flags.pivot = pivot or flags.pivot

    return read


def whole(*names: str) -> Reader:
    """Reads a whole number into each of `names`."""
    return number(*names, convert=int)


def numbers(name: str, count: int, convert: type[int] | type[float] = float) -> Reader:
    """Reads `count` numbers."""

    def read(flags: Flags, flag: str, words: Words) -> None:
        flags.values[name] = tuple(words.number(flag, convert) for _ in range(count))

    return read


def switch(name: str, value: Any = True) -> Reader:
    """Takes no value."""

    def read(flags: Flags, flag: str, words: Words) -> None:
        flags.values[name] = value

    return read


def text(name: str, **others: Any) -> Reader:
    """Reads a word, a file's name for instance; `others` are what the flag sets besides."""

    def read(flags: Flags, flag: str, words: Words) -> None:
        flags.values[name] = words.text(flag)
        flags.values.update(others)

    return read


def unused(count: int) -> Reader:
    """Takes `count` words and does nothing with them."""

    def read(flags: Flags, flag: str, words: Words) -> None:
        for _ in range(count):
            words.text(flag)
        flags.unused.append(flag)

    return read


def vector(name: str) -> Reader:
    """Reads three numbers, and makes the convention custom."""

    def read(flags: Flags, flag: str, words: Words) -> None:
        flags.values[name] = tuple(words.number(flag, float) for _ in range(3))
        if not any(flags.values[name]):
            raise FlagError(f"-{flag}: a direction cannot be 0 0 0")
        flags.convention = "custom"

    return read


def pix0(flags: Flags, flag: str, words: Words) -> None:
    """nanoBragg works the origin out from the beam centre; the flag only selects the convention."""
    for _ in range(3):
        words.number(flag, float)
    flags.convention = "custom"


def convention(flags: Flags, flag: str, words: Words) -> None:
    """A named convention."""
    flags.convention = flag


def pivot(flags: Flags, flag: str, words: Words) -> None:
    """beam or sample."""
    value = words.text(flag)
    if value not in ("beam", "sample"):
        raise FlagError(f"-{flag}: expected beam or sample, found {value}")
    flags.pivot = value


def energy(flags: Flags, flag: str, words: Words) -> None:
    """eV, to a wavelength."""
    value = words.number(flag, float)
    if value <= 0:
        raise FlagError(f"-{flag}: expected eV above 0, found {value:g}")
    flags.values["lambda"] = EV_ANGSTROM / value


def absorption(flags: Flags, flag: str, words: Words) -> None:
    """An attenuation depth; inf or 0 takes the sensor away."""
    value = words.text(flag)
    depth = math.inf if value.startswith("inf") else words.converted(flag, value, float)
    if depth in (0.0, math.inf):
        flags.values["detector_thick"] = 0.0
        flags.values.pop("detector_abs", None)
    else:
        flags.values["detector_abs"] = depth


def misset(flags: Flags, flag: str, words: Words) -> None:
    """Three angles, or the word random."""
    if words.next_is("rand"):
        flags.values["misset"] = "random"
    else:
        numbers("misset", 3)(flags, flag, words)


def read_words(argv: Sequence[str], table: Iterable[Flag], flags: Flags | None = None) -> Flags:
    """Collect the flags of a command line (without the program's name) into `flags`, or into new ones.

    Raises
    ------
    FlagError
        Naming the flag that is unknown, incomplete or wrong.
    """
    readers = {spelling: flag.read for flag in table for spelling in flag.spellings}
    flags, words = flags or Flags(), Words(argv)
    while (flag := words.next_flag()) is not None:
        if flag not in readers:
            raise FlagError(f"-{flag}: unknown flag")
        readers[flag](flags, flag, words)
    return flags
