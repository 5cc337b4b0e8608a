"""Twins: domains of a crystal whose lattices lie on each other, turned by an operation on h, k, l."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from nbdist.experiment.fields import Section

TERM = r"(\d*)([hkl])"


def law_rows(law: str) -> tuple[tuple[int, ...], ...]:
    """Return the rows of L (3, 3) of an operation as "k,h,-l": (h', k', l') = L (h, k, l), columns.

    Raises
    ------
    ValueError
        If it is none of whole numbers with a determinant of 1, or changes nothing.
    """
    parts = law.replace(" ", "").lower().split(",")
    if len(parts) != 3 or not all(re.fullmatch(rf"[+-]?{TERM}([+-]{TERM})*", part) for part in parts):
        raise ValueError(f"should be three sums of h, k, l as in 'k,h,-l', found '{law}'")
    rows = []
    for part in parts:
        row = dict.fromkeys("hkl", 0)
        for sign, number, letter in re.findall(rf"([+-]?){TERM}", part):
            row[letter] += int(f"{sign}{number or 1}")
        rows.append(tuple(row.values()))
    (a, b, c), (d, e, f), (g, h, i) = rows
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if determinant != 1:
        raise ValueError(f"should turn the lattice, with a determinant of 1; that of '{law}' is {determinant}")
    if rows == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        raise ValueError(f"should turn the lattice, and '{law}' leaves all as it is")
    return tuple(rows)


def _canonical(law: str) -> str:
    parts = []
    for row in law_rows(law):
        terms = [
            f"{'-' if number < 0 else '+'}{abs(number) if abs(number) > 1 else ''}{letter}"
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
        description="h', k', l' by h, k, l, as in k,h,-l; its determinant is 1"
    )
    fraction: float = Field(gt=0, lt=1, description="of the crystal; what the laws leave is as the crystal lies")
