"""What stands in a recipe: values, lists, mappings, expressions and choices, as a tree of nodes, each with its path.

The path of what stands in an alternative names the choice and the alternative, as in `crystal.choice.1.cell`; that of a
repeated template has the number in place of `of`, as in `crystals.0.misset_deg`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbdist.errors import ExperimentError
from nbdist.experiment.recipe.drawing import Columns, Drawing, Dtype, Node, Observed, Weights
from nbdist.experiment.recipe.expressions import Expression

LET = "let"
"""The section of values for others to refer to, whose names are the recipe's own, those of distributions among them."""
LONGEST_LIST = 9
"""Of constants in alternatives, whose items have columns."""


def joined(path: str, part: object) -> str:
    """The path of a part."""
    return f"{path}.{part}" if path else str(part)


class FileName(str):
    """The name of a file in a recipe, with its folder: a table of samples has what it is called alone, where that says which it is."""

    __slots__ = ()


def _shown(value: Any, folders: int = 0) -> Any:
    return Path(*Path(value).parts[-1 - folders :]).as_posix() if isinstance(value, FileName) else value


def _dtype(value: Any) -> Dtype | None:
    if value is None:
        return None
    if isinstance(value, str):
        return "str"
    return "float64" if isinstance(value, float) or abs(value) >= 2**63 else "int64"


@dataclass(frozen=True, eq=False)
class Constant(Node):
    """A value that stands for itself."""

    value: Any

    def draw(self, drawing: Drawing) -> Any:
        """Return the value."""
        return str(self.value) if isinstance(self.value, FileName) else self.value

    def columns(self, place: str, optional: bool = False, chosen: bool = False) -> Columns:
        """Yield a column where it stands in an alternative."""
        if chosen:
            yield place, _dtype(self.value), optional

    def observe(self, drawing: Drawing, place: str, chosen: bool = False) -> Observed:
        """Yield the value where it stands in an alternative; of a file, its name."""
        if chosen:
            yield place, _shown(self.value)


@dataclass(frozen=True, eq=False)
class Fields(Node):
    """A mapping."""

    parts: Mapping[str, Node]

    def draw(self, drawing: Drawing) -> Any:
        """Return the values by their names."""
        return {name: drawing.value(part) for name, part in self.parts.items()}

    @property
    def children(self) -> tuple[Node, ...]:
        """Its values."""
        return tuple(self.parts.values())

    def inner(self, part: str) -> Node | None:
        """Return a value by its name."""
        return self.parts.get(part)

    def columns(self, place: str, optional: bool = False, chosen: bool = False) -> Columns:
        """Yield those of its values."""
        for name, part in self.parts.items():
            yield from part.columns(joined(place, name), optional, chosen)

    def observe(self, drawing: Drawing, place: str, chosen: bool = False) -> Observed:
        """Yield those of its values."""
        for name, part in self.parts.items():
            yield from part.observe(drawing, joined(place, name), chosen)


@dataclass(frozen=True, eq=False)
class Items(Node):
    """A list."""

    items: tuple[Node, ...]

    def draw(self, drawing: Drawing) -> Any:
        """Return the list of values."""
        return [drawing.value(item) for item in self.items]

    @property
    def children(self) -> tuple[Node, ...]:
        """Its items."""
        return self.items

    def inner(self, part: str) -> Node | None:
        """Return an item by its number."""
        return self.items[int(part)] if part.isdecimal() and int(part) < len(self.items) else None

    def columns(self, place: str, optional: bool = False, chosen: bool = False) -> Columns:
        """Yield those of its items; a long list of constants has none."""
        for number, item in enumerate(self.items):
            yield from item.columns(joined(place, number), optional, chosen and len(self.items) <= LONGEST_LIST)

    def observe(self, drawing: Drawing, place: str, chosen: bool = False) -> Observed:
        """Yield those of its items."""
        for number, item in enumerate(self.items):
            yield from item.observe(drawing, joined(place, number), chosen and len(self.items) <= LONGEST_LIST)


@dataclass(frozen=True, eq=False)
class Formula(Node):
    """An expression that is worked out to a number."""

    expression: Expression

    def draw(self, drawing: Drawing) -> Any:
        """Return the number.

        Raises
        ------
        ExperimentError
            If there is none.
        """
        try:
            return self.expression.value(drawing.at)
        except ValueError as error:
            raise ExperimentError(f"{self.path}: {error}") from None

    def columns(self, place: str, optional: bool = False, chosen: bool = False) -> Columns:
        """Yield a column of the number."""
        yield place, "float64", optional

    def observe(self, drawing: Drawing, place: str, chosen: bool = False) -> Observed:
        """Yield the number."""
        yield place, drawing.value(self)


@dataclass(frozen=True, eq=False)
class Reference(Node):
    """An expression that is a reference and nothing else: it stands for what is there, of any kind."""

    target: str

    def draw(self, drawing: Drawing) -> Any:
        """Return the value of what it refers to."""
        return drawing.at(self.target)

    def concrete(self, drawing: Drawing) -> Node:
        """Return what it refers to, where that is a node."""
        node, rest = drawing.locate(self.target)
        return self if rest else node.concrete(drawing)


@dataclass(frozen=True, eq=False)
class Choice(Node):
    """One of some alternatives, each with a probability in proportion to its weight.

    Attributes
    ----------
    labels
        What each is called, alternatives that differ differently: a value; a file's name, with as many of its folders as tell the files
        apart; or the number of a mapping, list or distribution.
    """

    alternatives: tuple[Node, ...]
    weights: Weights
    labels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        values = {number: each.value for number, each in enumerate(self.alternatives) if isinstance(each, Constant)}
        files = {Path(value) for value in values.values() if isinstance(value, FileName)}
        folders = 0
        while len({file.parts[-1 - folders :] for file in files}) < len(files):
            folders += 1
        called = {number: f"{_shown(value, folders)}" for number, value in values.items()}
        taken = {*called.values()}
        for number in range(len(self.alternatives)):
            called.setdefault(number, f"alternative {number}" if str(number) in taken else str(number))
        object.__setattr__(self, "labels", tuple(called[number] for number in range(len(self.alternatives))))

    def concrete(self, drawing: Drawing) -> Node:
        """Return the alternative that was chosen."""
        return self._chosen(drawing).concrete(drawing)

    def _chosen(self, drawing: Drawing) -> Node:
        return self.alternatives[drawing.pick(self.path, self.labels, self.weights)]

    def draw(self, drawing: Drawing) -> Any:
        """Return the value of the alternative that was chosen."""
        return drawing.value(self._chosen(drawing))

    @property
    def possible(self) -> tuple[Node, ...]:
        """The alternatives whose weight is not 0."""
        return tuple(self.alternatives[number] for number in self.weights.possible)

    @property
    def varies(self) -> bool:
        """Whether there is a choice, or what there is varies."""
        return len(self.possible) > 1 or super().varies

    @property
    def children(self) -> tuple[Node, ...]:
        """The alternatives that there may be."""
        return self.possible

    @property
    def _of_scalars(self) -> bool:
        return all(
            isinstance(each, (Constant, Formula, Distribution)) and not each.length for each in self.alternatives
        )

    def columns(self, place: str, optional: bool = False, chosen: bool = False) -> Columns:
        """Yield the number of the alternative, unless each is one value, and what varies with it."""
        several = len(self.possible) > 1
        if not self._of_scalars and several:
            yield place, "int64", optional
        for each in self.possible:
            yield from each.columns(place, optional or (several and not self._of_scalars), chosen or several)

    def observe(self, drawing: Drawing, place: str, chosen: bool = False) -> Observed:
        """Yield the same of a sample."""
        several, its = len(self.possible) > 1, self._chosen(drawing)
        if not self._of_scalars and several:
            yield place, self.alternatives.index(its)
        if isinstance(its, Constant) and isinstance(its.value, FileName) and (chosen or several):
            yield place, self.labels[self.alternatives.index(its)]
        else:
            yield from its.observe(drawing, place, chosen or several)

    @property
    def files(self) -> Iterator[tuple[str, str]]:
        """The files among the alternatives, and what each is called."""
        for each, label in zip(self.alternatives, self.labels, strict=True):
            if isinstance(each, Constant) and isinstance(each.value, FileName):
                yield str(each.value), label


@dataclass(frozen=True, eq=False)
class Repeat(Node):
    """A list of as many of a template as are drawn, each of which draws its own values."""

    count: Node
    instances: tuple[Node, ...]
    """As many as there are at the most."""

    def concrete(self, drawing: Drawing) -> Node:
        """Return the list."""
        return Items(self.path, self.instances[: self._number(drawing)])

    def _number(self, drawing: Drawing) -> int:
        return int(drawing.number(self.count))

    def draw(self, drawing: Drawing) -> Any:
        """Return the list of values."""
        return [drawing.value(each) for each in self.instances[: self._number(drawing)]]

    @property
    def children(self) -> tuple[Node, ...]:
        """How many there are, and all that there may be."""
        return (self.count, *self.instances)

    def columns(self, place: str, optional: bool = False, chosen: bool = False) -> Columns:
        """Yield how many there are, where that varies, and those of each."""
        if self.count.varies or chosen:
            yield place, "int64", optional
        for number, each in enumerate(self.instances):
            yield from each.columns(joined(place, number), optional or self.count.varies, chosen)

    def observe(self, drawing: Drawing, place: str, chosen: bool = False) -> Observed:
        """Yield the same of a sample."""
        number = self._number(drawing)
        if self.count.varies or chosen:
            yield place, number
        for position, each in enumerate(self.instances[:number]):
            yield from each.observe(drawing, joined(place, position), chosen)


@dataclass(frozen=True, eq=False)
class Distribution(Node):
    """A value that is drawn from random words of its path."""

    dtype = "float64"

    @property
    def varies(self) -> bool:
        """True: it is drawn anew for each sample."""
        return True

    def columns(self, place: str, optional: bool = False, chosen: bool = False) -> Columns:
        """Yield a column of the value, or of each of its numbers, and those of its parameters that are drawn themselves."""
        dtype: Any = self.dtype
        for name in [joined(place, number) for number in range(self.length)] or [place]:
            yield name, dtype, optional
        for child in self.children:
            yield from child.columns(self._parameter(place, child), optional)

    def observe(self, drawing: Drawing, place: str, chosen: bool = False) -> Observed:
        """Yield the same of a sample."""
        value = drawing.value(self)
        if self.length:
            yield from ((joined(place, number), each) for number, each in enumerate(value))
        else:
            yield place, self.observed(value, drawing)
        for child in self.children:
            yield from child.observe(drawing, self._parameter(place, child))

    def _parameter(self, place: str, child: Node) -> str:
        """Where a parameter is shown: one with a name of its own without the distribution's, as in let.cell.volume_A3."""
        head, _, name = child.path.removeprefix(f"{self.path}.").partition(".")
        return joined(place, f"{head}.{name}" if name[:1].isdecimal() else name or head)

    def observed(self, value: Any, drawing: Drawing) -> Any:
        """Return what a table has of the value."""
        return value


def _places(root: Node, path: str, passed: frozenset[str]) -> list[tuple[Node, list[str]]]:
    found: list[tuple[Node, list[str]]] = [(root, path.split("."))]
    ended: list[tuple[Node, list[str]]] = []
    while found:
        node, parts = found.pop()
        if not parts:
            ended.append((node, parts))
        elif isinstance(node, Choice):
            found += [(each, parts) for each in node.possible]
        elif isinstance(node, Reference):
            if node.path not in passed:
                its = _places(root, node.target, passed | {node.path})
                found += [(each, parts) for each, rest in its if not rest]
        elif isinstance(node, Repeat):
            found.append((Items(node.path, node.instances), parts))
        elif (inner := node.inner(parts[0])) is not None:
            found.append((inner, parts[1:]))
        elif len(parts) == 1 and parts[0].isdecimal() and int(parts[0]) < node.length:
            ended.append((node, parts))
    return ended


def places(root: Node, path: str) -> list[Node]:
    """The nodes that may be, or may hold, the value at a path, in any alternative; none where there is nothing."""
    return [node for node, _ in _places(root, path, frozenset())]


def references(node: Node) -> tuple[str, ...]:
    """The paths to which a node itself refers."""
    if isinstance(node, Reference):
        return (node.target,)
    return node.expression.references if isinstance(node, Formula) else ()


def fields_of(root: Node) -> dict[str, str]:
    """The path of the first field, without choices, that is a reference and nothing else, by the path it refers to."""
    its = (node for node in reachable(root, root) if isinstance(node, Reference) and not node.path.startswith("let."))
    ordered = sorted(its, key=lambda node: node.path, reverse=True)
    return {node.target: re.sub(r"\.choice\.\d+", "", node.path) for node in ordered}


def check_references(root: Node) -> None:
    """Check that each reference leads to something, and to nothing that is made of it.

    Raises
    ------
    ExperimentError
        Naming the field and the reference.
    """
    ended: set[str] = set()
    way: list[str] = []

    def visit(node: Node) -> None:
        if node.path in way:
            around = [*way[way.index(node.path) :], node.path]
            raise ExperimentError(f"{node.path}: refers to itself: {' from '.join(around)}")
        if node.path in ended:
            return
        way.append(node.path)
        for target in references(node):
            its = places(root, target)
            if not its:
                raise ExperimentError(f"{node.path}: {target} is not in the recipe{_near(root, target)}")
            for each in its:
                visit(each)
        for child in node.children:
            visit(child)
        ended.add(way.pop())

    visit(root)


def _near(root: Node, target: str) -> str:
    from difflib import get_close_matches

    known = {name: name for name in _paths(root, "")}
    near = get_close_matches(target, known, n=1)
    return f"; near it: {near[0]}" if near else ""


def _paths(node: Node, place: str) -> Iterator[str]:
    if place:
        yield place
    if isinstance(node, Fields):
        for name, part in node.parts.items():
            yield from _paths(part, joined(place, name))
    elif isinstance(node, (Choice, Items, Repeat)):
        inner = node.instances if isinstance(node, Repeat) else node.children
        for number, part in enumerate(inner):
            yield from _paths(part, place if isinstance(node, Choice) else joined(place, number))


def reachable(root: Node, node: Node) -> Iterator[Node]:
    """Yield a node, all that it is made of, and all to which these refer, each once."""
    found, passed = [node], set()
    while found:
        its = found.pop()
        if its.path not in passed:
            passed.add(its.path)
            yield its
            found += its.children
            for target in references(its):
                found += places(root, target)


def varies(root: Node, node: Node) -> bool:
    """Whether the value of a node may differ from sample to sample, by what it refers to as well."""
    return any(each.varies for each in reachable(root, node))
