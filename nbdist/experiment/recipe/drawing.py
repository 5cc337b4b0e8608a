"""One sample of a recipe: the values of its nodes, each drawn once, from random words of its own.

A node gives its value for a sample (`draw`), and what a table of samples keeps of it: which columns (`columns`) and their values
(`observe`). `nodes` has its kinds.

The words of a distribution are those of Philox (`nbdist.random_words`) under the key (seed of the recipe, `DRAWS`), with the counter
(attempt, the first 64 bits of the SHA-256 of its path, number of the sample, 0). So a value depends on the seed, the path and the sample,
and on nothing else of the recipe.
"""

from __future__ import annotations

import abc
import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal, TypeVar

from nbdist.errors import ExperimentError
from nbdist.experiment.validation import shown
from nbdist.random_words import RandomWords

Dtype = Literal["float64", "int64", "str"]
Columns = Iterator[tuple[str, Dtype | None, bool]]
"""Name and dtype of each column, None where there is no value, and whether some samples lack it."""
Observed = Iterator[tuple[str, Any]]
DRAWS = 0x6E62646973740001
"""Second word of the key of all draws: no other random numbers of nbdist have it."""
MOST_ATTEMPTS = 20_000
"""Of a distribution that rejects; one that is likely to need so many is refused when the recipe is read."""
MOST_COMBINATIONS = 20_000
"""Of choices that are gone through; beyond, a list counts as endless."""
Found = TypeVar("Found")


class TooManyError(ExperimentError):
    """There are more combinations of choices than are gone through."""


@lru_cache(maxsize=4096)
def path_word(path: str) -> int:
    """The first 64 bits of the SHA-256 of a path, as a whole number, the highest bits first."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big")


class Weights:
    """How likely alternatives are, in proportion.

    Attributes
    ----------
    possible
        Numbers of the alternatives whose weight is not 0.
    several
        Whether there are several of them.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.possible = tuple(number for number, weight in enumerate(weights) if weight > 0)
        self.several = len(self.possible) > 1
        self._sums = [*accumulate(weights)]

    def at(self, share: float) -> int:
        """Return the alternative in which a share of their sum lies, counted up from the first."""
        return min(bisect_right(self._sums, share * self._sums[-1]), self.possible[-1])


@dataclass(frozen=True, eq=False)
class Node(abc.ABC):
    """A node; of the base class, one that is a value of its own.

    Attributes
    ----------
    path
        Where it stands in the recipe.
    """

    path: str

    length = 0
    """Numbers in its value, where that is always a list of so many."""

    @abc.abstractmethod
    def draw(self, drawing: Drawing) -> Any:
        """Return its value in a sample."""

    @property
    def varies(self) -> bool:
        """Whether its value may differ from sample to sample, references aside."""
        return any(child.varies for child in self.children)

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes of which its value is made, references aside."""
        return ()

    def concrete(self, drawing: Drawing) -> Node:
        """Return the node that stands for it in a sample: the alternative that was chosen."""
        return self

    def inner(self, part: str) -> Node | None:
        """Return the node of one of its parts."""
        return None

    def columns(self, place: str, optional: bool = False, chosen: bool = False) -> Columns:
        """Yield what a table of samples has of it, as the field at `place`.

        Parameters
        ----------
        optional
            Whether some samples lack it.
        chosen
            Whether it stands in an alternative, so that what is constant in it varies with the choice.
        """
        yield from ()

    def observe(self, drawing: Drawing, place: str, chosen: bool = False) -> Observed:
        """Yield the values of its columns in a sample, by name."""
        yield from ()


class Drawing:
    """The values of one sample.

    Attributes
    ----------
    decisions
        Of each choice, file and whole number that was drawn, what was taken, by the path of its distribution.
    continuous
        Whether anything else was drawn, which hardly comes twice.
    """

    def __init__(self, root: Node, seed: int, sample: int) -> None:
        self.root, self.sample = root, sample
        self.decisions: dict[str, str] = {}
        self.continuous = False
        self._random = RandomWords((seed, DRAWS))
        self._values: dict[str, Any] = {}
        self._picks: dict[str, int] = {}

    def words(self, path: str, attempt: int = 0) -> list[int]:
        """Return the four random words of a distribution at one of its attempts, each 0 to 2^64 - 1."""
        its: list[int] = self._random.blocks((attempt, path_word(path), self.sample, 0), 1)[0].tolist()
        return its

    def uniforms(self, path: str, attempt: int = 0) -> list[float]:
        """Return its four uniform deviates: the middle of that of 2^52 equal parts of (0, 1) which the highest 52 bits name."""
        return [((word >> 12) + 0.5) * 2.0**-52 for word in self.words(path, attempt)]

    def pick(self, path: str, labels: Sequence[str], weights: Weights) -> int:
        """Return which of the alternatives of a distribution is taken, each with a probability in proportion to its weight."""
        if path not in self._picks:
            chosen = self._picks[path] = self._picked(path, weights)
            if weights.several:
                self.decisions[path] = labels[chosen]
        return self._picks[path]

    def _picked(self, path: str, weights: Weights) -> int:
        return weights.at(self.uniforms(path)[0])

    def whole(self, path: str, first: int, last: int) -> int:
        """Return a whole number from `first` to `last`, each as likely as another."""
        count = last - first + 1
        fair = 2**64 - 2**64 % count
        word = next(word for attempt in range(MOST_ATTEMPTS) if (word := self.words(path, attempt)[0]) < fair)
        number = first + word % count
        if count > 1:
            self.decisions[path] = str(number)
        return number

    def value(self, node: Node) -> Any:
        """Return the value of a node as plain data."""
        if node.path not in self._values:
            self._values[node.path] = node.draw(self)
        return self._values[node.path]

    def has(self, path: str) -> bool:
        """Whether the value of the node of a path was asked for."""
        return path in self._values

    def number(self, node: Node) -> float:
        """Return the value of a node that should be a number.

        Raises
        ------
        ExperimentError
            If it is no number.
        """
        value = self.value(node)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ExperimentError(f"{node.path}: should be a number, found {shown(value)}")
        return value

    def locate(self, path: str) -> tuple[Node, list[str]]:
        """Return the node at a path and what of the path lies within its value, drawing no more than the way there takes."""
        node, parts = self.root, path.split(".")
        while parts:
            node = node.concrete(self)
            inner = node.inner(parts[0])
            if inner is None:
                break
            node, parts = inner, parts[1:]
        return node, parts

    def at(self, path: str) -> Any:
        """Return the value at a path.

        Raises
        ------
        ExperimentError
            If this sample has none there.
        """
        node, parts = self.locate(path)
        value = self.value(node)
        try:
            for part in parts:
                value = value[int(part)] if isinstance(value, list) else value[part]
        except (LookupError, TypeError, ValueError):
            raise ExperimentError(f"{path}: this sample has no such value") from None
        return value


class _Scripted(Drawing):
    """A drawing whose choices are given, to go through all of them."""

    def __init__(self, root: Node, script: list[tuple[int, Sequence[int]]], largest: bool) -> None:
        super().__init__(root, 0, 0)
        self._script, self._made, self._largest = script, 0, largest

    def _picked(self, path: str, weights: Weights) -> int:
        return self._next(weights.possible)

    def _next(self, possible: Sequence[int]) -> int:
        if self._made == len(self._script):
            self._script.append((0, possible))
        position, numbers = self._script[self._made]
        self._made += 1
        return numbers[position]

    def whole(self, path: str, first: int, last: int) -> int:
        if self._largest:
            return last
        if last - first >= MOST_COMBINATIONS:
            raise TooManyError(f"{path}: has more than {MOST_COMBINATIONS} whole numbers")
        number = self._next(range(first, last + 1))
        if first < last:
            self.decisions[path] = str(number)
        return number


def every(root: Node, found: Callable[[Drawing], Found], largest: bool = False) -> Iterator[Found]:
    """Yield what a function makes of each combination of the choices that it meets; of whole numbers the largest alone, if asked for.

    There may be very many: who asks for them, counts them.
    """
    script: list[tuple[int, Sequence[int]]] = []
    while True:
        yield found(_Scripted(root, script, largest))
        while script and script[-1][0] == len(script[-1][1]) - 1:
            script.pop()
        if not script:
            return
        script[-1] = (script[-1][0] + 1, script[-1][1])
