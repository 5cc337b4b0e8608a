"""Expressions of a recipe, as in `= 2 * beam.wavelength_A`: a small grammar of numbers, and no code.

    sum     = product { ("+" | "-") product }
    product = sign { ("*" | "/") sign }
    sign    = ("+" | "-") sign | power
    power   = atom [ "**" sign ]
    atom    = number | reference | function "(" sum { "," sum } ")" | "(" sum ")"

A reference is the path of a field, as in `crystals.0.cell.2`. Numbers are float64, and functions those of `functions`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nbdist.experiment.recipe.functions import cos_deg, exp, log, power, sin_deg

MOST_CHARACTERS, MOST_NESTED = 500, 30
TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|([A-Za-z_]\w*(?:\.\w+)*)|(\*\*|[-+*/(),]))",
    re.ASCII,
)

Lookup = Callable[[str], Any]
"""What a reference stands for, by its path."""
Tree = tuple[Any, ...]


def _tan_deg(degrees: float) -> float:
    return sin_deg(degrees) / cos_deg(degrees)


FUNCTIONS: dict[str, tuple[Callable[..., float], int | None]] = {
    "sqrt": (math.sqrt, 1),
    "exp": (exp, 1),
    "log": (log, 1),
    "sin_deg": (sin_deg, 1),
    "cos_deg": (cos_deg, 1),
    "tan_deg": (_tan_deg, 1),
    "abs": (abs, 1),
    "round": (lambda x: float(round(x)), 1),
    "min": (lambda *its: min(its), None),
    "max": (lambda *its: max(its), None),
}
"""What each function is, and how many numbers it takes: None for one or more."""
OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": power,
}


@dataclass(frozen=True)
class Expression:
    """An expression, parsed.

    Attributes
    ----------
    text
        As it is written, without the sign of equality before it.
    tree
        Its operations: ("number", x), ("reference", path), ("call", function, *arguments) and (operator, left, right).
    """

    text: str
    tree: Tree

    @property
    def only_reference(self) -> str | None:
        """The path, where the expression is a reference and nothing else: it may stand for anything, as a list."""
        return self.tree[1] if self.tree[0] == "reference" else None

    @property
    def references(self) -> tuple[str, ...]:
        """The paths that it refers to."""
        return tuple(dict.fromkeys(_references(self.tree)))

    def value(self, lookup: Lookup) -> float:
        """Return its number.

        Raises
        ------
        ValueError
            If a reference stands for no number, or there is no finite result.
        """
        try:
            value = _value(self.tree, lookup)
        except (ZeroDivisionError, OverflowError, ValueError) as error:
            raise ValueError(f"'{self.text}' cannot be worked out: {error}") from None
        if not math.isfinite(value):
            raise ValueError(f"'{self.text}' cannot be worked out: the result is not finite")
        return value


def parse(text: str) -> Expression:
    """Parse an expression, without the sign of equality before it.

    Raises
    ------
    ValueError
        If it is not one, with what was found and what is allowed.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"an expression has {MOST_CHARACTERS} characters at most, found {len(text)}")
    text = " ".join(text.split())
    parser = _Parser(text)
    tree = parser.sum(0)
    parser.ended()
    return Expression(text, tree)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._tokens, position = text, [], 0
        while position < len(text.rstrip()):
            match = TOKEN.match(text, position)
            if match is None:
                raise self._wrong(text[position:].lstrip()[:10])
            self._tokens.append(match)
            position = match.end()
        self._next = 0

    def sum(self, depth: int) -> Tree:
        return self._joined(("+", "-"), self._product, depth)

    def ended(self) -> None:
        if self._next < len(self._tokens):
            raise self._wrong(self._tokens[self._next][0].strip())

    def _wrong(self, found: str) -> ValueError:
        return ValueError(
            f"'{self._text}' is no expression at '{found or 'its end'}'; there are numbers, fields by their paths, + - * / ** ( ), and "
            f"{', '.join(FUNCTIONS)}"
        )

    def _sign_here(self) -> str:
        """The operator, bracket or comma that is next, if one is."""
        return (self._tokens[self._next][3] or "") if self._next < len(self._tokens) else ""

    def _joined(self, operators: tuple[str, ...], part: Callable[[int], Tree], depth: int) -> Tree:
        tree = part(depth)
        while (operator := self._sign_here()) in operators:
            self._next += 1
            tree = (operator, tree, part(depth))
        return tree

    def _product(self, depth: int) -> Tree:
        return self._joined(("*", "/"), self._signed, depth)

    def _signed(self, depth: int) -> Tree:
        if depth > MOST_NESTED:
            raise ValueError(f"'{self._text}' is nested more than {MOST_NESTED} times")
        sign = self._sign_here()
        if sign in ("+", "-"):
            self._next += 1
            its = self._signed(depth + 1)
            return its if sign == "+" else ("-", ("number", 0.0), its)
        base = self._atom(depth)
        if self._sign_here() != "**":
            return base
        self._next += 1
        return ("**", base, self._signed(depth + 1))

    def _atom(self, depth: int) -> Tree:
        if self._next >= len(self._tokens):
            raise self._wrong("")
        number, name, sign = self._tokens[self._next].groups()
        self._next += 1
        if number:
            return ("number", float(number))
        if name and self._sign_here() == "(":
            return self._call(name, depth)
        if name:
            return ("reference", name)
        if sign != "(":
            raise self._wrong(sign)
        tree = self.sum(depth + 1)
        self._expect(")")
        return tree

    def _call(self, name: str, depth: int) -> Tree:
        if name not in FUNCTIONS:
            raise ValueError(f"'{self._text}': there is no function {name}; there are {', '.join(FUNCTIONS)}")
        self._next += 1
        arguments = [self.sum(depth + 1)]
        while self._sign_here() == ",":
            self._next += 1
            arguments.append(self.sum(depth + 1))
        self._expect(")")
        wanted = FUNCTIONS[name][1]
        if wanted is not None and len(arguments) != wanted:
            raise ValueError(f"'{self._text}': {name} takes {wanted} number, found {len(arguments)}")
        return ("call", name, *arguments)

    def _expect(self, sign: str) -> None:
        if self._sign_here() != sign:
            raise self._wrong(self._tokens[self._next][0].strip() if self._next < len(self._tokens) else "")
        self._next += 1


def _references(tree: Tree) -> Iterator[str]:
    if tree[0] == "reference":
        yield tree[1]
    for part in tree[1:]:
        if isinstance(part, tuple):
            yield from _references(part)


def _value(tree: Tree, lookup: Lookup) -> float:
    kind = tree[0]
    if kind == "number":
        return float(tree[1])
    if kind == "reference":
        found = lookup(tree[1])
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise ValueError(f"{tree[1]} is not a number, found {found!r:.60}")
        return float(found)
    if kind == "call":
        return float(FUNCTIONS[tree[1]][0](*(_value(argument, lookup) for argument in tree[2:])))
    return OPERATORS[kind](_value(tree[1], lookup), _value(tree[2], lookup))
