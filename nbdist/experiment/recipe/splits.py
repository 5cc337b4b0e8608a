"""Splits of a data set: which samples are for training, and which are kept for tests. They do not depend on the number of samples."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate


def quotas(number: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many of a number of things each split has, by the largest remainders; each with a share has one where there are enough.

    Parameters
    ----------
    shares
        By the name of the split, in proportion.
    """
    total = sum(shares.values())
    wanted = {split: number * share / total for split, share in shares.items()}
    least = 1 if number >= sum(share > 0 for share in shares.values()) else 0
    found = {split: max(int(its), least if shares[split] > 0 else 0) for split, its in wanted.items()}
    while (left := number - sum(found.values())) != 0:
        step = 1 if left > 0 else -1
        may = [split for split, its in found.items() if shares[split] > 0 and its + step >= least]
        found[max(may, key=lambda split: step * (wanted[split] - found[split]))] += step
    return found


def splits_of(things: Iterable[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of each of a finite list of things: in the order of the SHA-256 of seed and name, as many as `quotas` has of each."""
    ordered = sorted(set(things), key=lambda thing: hashlib.sha256(f"{seed}:{thing}".encode()).digest())
    numbers = quotas(len(ordered), shares)
    names = [split for split, number in numbers.items() for _ in range(number)]
    return dict(zip(ordered, names, strict=True))


def split_at(share: float, shares: Mapping[str, float]) -> str:
    """The split in which a number between 0 and 1 lies, where each has its share of them, in their order."""
    sums = [*accumulate(shares.values())]
    number = bisect_right(sums, share * sums[-1])
    return [*shares][min(number, len(sums) - 1)]
