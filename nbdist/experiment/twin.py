"""Twins: domains of a crystal whose lattices lie on each other, turned by an operation on h, k, l."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, Field

from nbdist.experiment.fields import Section

TERM = r"(?:(\d+)(?:/(\d+))?\*?)?([hkl])(?:/(\d+))?"
"""A number or a fraction, an index, and what divides it: 2h, 1/2*h, h/2."""


def law_rows(law: str) -> tuple[tuple[float, ...], ...]:
    """Return the rows of L (3, 3) of an operation as "k,h,-l" or "1/2*h+1/2*k,3/2*h-1/2*k,-l": (h', k', l') = L (h, k, l), columns.

    Raises
    ------
    ValueError
        If it is none of fractions with a determinant of 1, or changes nothing.
    """
    return tuple(tuple(map(float, row)) for row in _fractions(law))


def _fractions(law: str) -> list[list[Fraction]]:
    parts = law.replace(" ", "").lower().split(",")
    if len(parts) != 3 or not all(re.fullmatch(rf"[+-]?{TERM}([+-]{TERM})*", part) for part in parts):
        raise ValueError(f"should be three sums of h, k, l as in 'k,h,-l', found '{law}'")
    rows = []
    for part in parts:
        row = dict.fromkeys("hkl", Fraction(0))
        for sign, number, below, letter, divisor in re.findall(rf"([+-]?){TERM}", part):
            if not int(below or 1) or not int(divisor or 1):
                raise ValueError(f"should have no division by 0, found '{law}'")
            row[letter] += Fraction(int(f"{sign}{number or 1}"), int(below or 1) * int(divisor or 1))
        rows.append([*row.values()])
    (a, b, c), (d, e, f), (g, h, i) = rows
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if determinant == -1:
        raise ValueError(
            f"should turn the lattice, with a determinant of 1; that of '{law}' is -1: it inverts the crystal. Twins by inversion are not "
            "made; take the law without its inversion (all signs changed) where there is one"
        )
    if determinant != 1:
        raise ValueError(f"should turn the lattice, with a determinant of 1; that of '{law}' is {determinant}")
    if rows == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]:
        raise ValueError(f"should turn the lattice, and '{law}' leaves all as it is")
    return rows


def _canonical(law: str) -> str:
    parts = []
    for row in _fractions(law):
        terms = [
            f"{'-' if number < 0 else '+'}{abs(number) if abs(number) != 1 else ''}{letter}"
            for number, letter in zip(row, "hkl", strict=True)
            if number
        ]
        parts.append("".join(terms).removeprefix("+"))
    return ",".join(parts)


class Twin(Section):
    """Domains of a crystal, whose reflection h', k', l' lies on h, k, l of the others.

    Their cell is that of the crystal, turned by the rotation that brings the lattices nearest to each other.
    """

    law: Annotated[str, AfterValidator(_canonical)] = Field(
        description="h', k', l' by h, k, l, as in k,h,-l or 1/2*h+1/2*k,3/2*h-1/2*k,-l; its determinant is 1"
    )
    fraction: float = Field(gt=0, lt=1, description="share of the crystal; what the laws leave is as the crystal lies")
