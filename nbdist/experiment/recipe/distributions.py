"""The distributions of a recipe, each a mapping with one key that names it, and how each is drawn.

Parameters are numbers, expressions, or distributions again. What is written here of deviates is fixed: another way to draw one would make
other samples of the same recipe, and needs another `RECIPE_VERSION`.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from nbdist.errors import ExperimentError
from nbdist.experiment.recipe.drawing import MOST_ATTEMPTS, Node, Weights
from nbdist.experiment.recipe.expressions import parse
from nbdist.experiment.recipe.functions import atan2_deg, cos_deg, exp, log, sin_deg
from nbdist.experiment.recipe.nodes import (
    LET,
    Choice,
    Constant,
    Distribution,
    Fields,
    Formula,
    Items,
    Reference,
    Repeat,
    joined,
)
from nbdist.experiment.space_groups import canonical_name
from nbdist.experiment.validation import shown

if TYPE_CHECKING:
    from nbdist.experiment.recipe.drawing import Drawing

RECIPE_VERSION = 2
"""Raised when the same recipe would give other samples, or other backgrounds of them; it enters the fingerprint."""
LEAST_WITHIN = 0.01
"""Share of a normal distribution that its limits should hold."""
MOST_REPEATS = 1000
LEAST_LIKENESS = 0.82
"""Of a misspelt key, as difflib has it: rotation_deg is 0.8 like rotation."""
SMALLEST_VOLUME = 0.1
"""Of a cell with drawn angles, relative to that of a brick with its axes: flatter ones are drawn again."""
MOST_CELLS = 200
"""Angles that are drawn for a cell before none of them are said to enclose a volume."""
ESCAPED = r"\[([\[*?])\]"
"""A character of a file's name as `glob.escape` writes it."""
LARGEST = 1.7e308
Rows = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, eq=False)
class Uniform(Distribution):
    """A number between two others, a + (b - a) u; or its logarithm between theirs."""

    low: Node
    high: Node
    of_logarithm: bool

    @property
    def children(self) -> tuple[Node, ...]:
        """Its parameters."""
        return self.low, self.high

    def draw(self, drawing: Drawing) -> float:
        """Return the number."""
        low, high = _span(self, drawing)
        drawing.continuous = True
        share = drawing.uniforms(self.path)[0]
        if not self.of_logarithm:
            return min(max(low + (high - low) * share, low), high)
        if low <= 0:
            raise ExperimentError(f"{self.path}: log_uniform is of positive numbers, found {low:g}")
        return min(max(exp(log(low) + (log(high) - log(low)) * share), low), high)


def _span(its: Any, drawing: Drawing) -> tuple[float, float]:
    low, high = drawing.number(its.low), drawing.number(its.high)
    if low > high:
        raise ExperimentError(f"{its.path}: the first number should not be above the second, found {low:g}, {high:g}")
    return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Normal(Distribution):
    """A normal deviate, sqrt(-2 ln u) cos(2 pi v) (G. E. P. Box & M. E. Muller, 1958), drawn again until it lies within the limits."""

    mean: Node
    sigma: Node
    low: Node | None
    high: Node | None

    @property
    def children(self) -> tuple[Node, ...]:
        """Its parameters."""
        return tuple(node for node in (self.mean, self.sigma, self.low, self.high) if node is not None)

    def draw(self, drawing: Drawing) -> float:
        """Return the deviate."""
        mean, sigma = drawing.number(self.mean), drawing.number(self.sigma)
        if sigma < 0:
            raise ExperimentError(f"{self.path}: sigma should not be below 0, found {sigma:g}")
        drawing.continuous = True
        if self.low is None:
            return mean + sigma * self._deviate(drawing, 0)
        low, high = _span(self, drawing)
        if not _share_within((low - mean), (high - mean), sigma) >= LEAST_WITHIN:
            raise ExperimentError(
                f"{self.path}: within should hold {100 * LEAST_WITHIN:g} % of the distribution or more; [{low:g}, {high:g}] holds less of "
                f"mean {mean:g} and sigma {sigma:g}"
            )
        its = (mean + sigma * self._deviate(drawing, attempt) for attempt in range(MOST_ATTEMPTS))
        return next(value for value in its if low <= value <= high)

    def _deviate(self, drawing: Drawing, attempt: int) -> float:
        u, v, *_ = drawing.uniforms(self.path, attempt)
        return math.sqrt(-2 * log(u)) * cos_deg(360 * v)


def _share_within(low: float, high: float, sigma: float) -> float:
    if sigma == 0:
        return float(low <= 0 <= high)
    return (math.erf(high / sigma / math.sqrt(2)) - math.erf(low / sigma / math.sqrt(2))) / 2


@dataclass(frozen=True, eq=False)
class Integer(Distribution):
    """A whole number from the first to the last, each as likely: a word modulo their count, drawn again where that is not fair."""

    first: Node
    last: Node
    dtype = "int64"

    @property
    def children(self) -> tuple[Node, ...]:
        """Its parameters."""
        return self.first, self.last

    def draw(self, drawing: Drawing) -> int:
        """Return the number."""
        first, last = (self._whole(drawing.number(node)) for node in (self.first, self.last))
        if first > last:
            raise ExperimentError(f"{self.path}: the first number should not be above the last, found {first}, {last}")
        return drawing.whole(self.path, first, last)

    def _whole(self, number: float) -> int:
        if number != int(number) or abs(number) >= 2**63:
            raise ExperimentError(f"{self.path}: should be two whole numbers below 2^63, found {number:g}")
        return int(number)


@dataclass(frozen=True, eq=False)
class FileOf(Distribution):
    """One of the files that a pattern names, in the order of their names."""

    pattern: str
    files: tuple[Path, ...]
    names: tuple[str, ...]
    weights: Weights
    dtype = "str"

    @property
    def varies(self) -> bool:
        """Whether there are several."""
        return self.weights.several

    def draw(self, drawing: Drawing) -> str:
        """Return the file's path."""
        return str(self.files[drawing.pick(self.path, self.names, self.weights)])

    def observed(self, value: Any, drawing: Drawing) -> str:
        """Return its name."""
        return self.names[drawing.pick(self.path, self.names, self.weights)]


@dataclass(frozen=True, eq=False)
class Rotation(Distribution):
    """A rotation as misset_deg has it, uniform over all rotations, or over those by an angle up to a limit, from another on.

    Over all: a unit quaternion (K. Shoemake, Graphics Gems III (1992) 124). Within a limit: a rotation vector w in the ball of that radius,
    drawn again with a probability of 1 - (sin(w/2)/(w/2))^2, since that is the density of rotations among rotation vectors.
    """

    within: Node | None
    about: Node | None
    length = 3

    @property
    def children(self) -> tuple[Node, ...]:
        """Its parameters."""
        return tuple(node for node in (self.within, self.about) if node is not None)

    def draw(self, drawing: Drawing) -> list[float]:
        """Return the angles in degrees, about x, then y, then z."""
        drawing.continuous = True
        quaternion = self._of_all(drawing) if self.within is None else self._of_some(drawing, self.within)
        rows = _rows(*quaternion)
        if self.about is not None:
            rows = _product(rows, self._start(drawing, self.about))
        return _angles_deg(rows)

    def _of_all(self, drawing: Drawing) -> tuple[float, float, float, float]:
        u, v, w, _ = drawing.uniforms(self.path)
        below, above = math.sqrt(1 - u), math.sqrt(u)
        return (
            above * cos_deg(360 * w),
            below * sin_deg(360 * v),
            below * cos_deg(360 * v),
            above * sin_deg(360 * w),
        )

    def _of_some(self, drawing: Drawing, within: Node) -> tuple[float, float, float, float]:
        limit_deg = drawing.number(within)
        if not 0 <= limit_deg <= 180:
            raise ExperimentError(f"{within.path}: should be 0 to 180 degrees, found {limit_deg:g}")
        for attempt in range(MOST_ATTEMPTS):
            u, v, w, kept = drawing.uniforms(self.path, attempt)
            half_deg = limit_deg * exp(log(u) / 3) / 2
            half = half_deg * math.pi / 180
            sine = sin_deg(half_deg)
            if kept * half * half <= sine * sine:
                break
        z = 2 * v - 1
        across = sine * math.sqrt(1 - z * z)
        return cos_deg(half_deg), across * cos_deg(360 * w), across * sin_deg(360 * w), sine * z

    def _start(self, drawing: Drawing, about: Node) -> Rows:
        angles = drawing.value(about)
        if not isinstance(angles, list) or len(angles) != 3 or not all(isinstance(its, (int, float)) for its in angles):
            raise ExperimentError(f"{about.path}: should be three angles in degrees, found {shown(angles)}")
        x, y, z = (
            _rows(cos_deg(its / 2), *(sin_deg(its / 2) * part for part in axis))
            for its, axis in zip(angles, _AXES, strict=True)
        )
        return _product(z, _product(y, x))


_AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def _rows(w: float, x: float, y: float, z: float) -> Rows:
    """The matrix of a unit quaternion."""
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )


def _product(left: Rows, right: Rows) -> Rows:
    a, b, c = (
        tuple(row[0] * right[0][n] + row[1] * right[1][n] + row[2] * right[2][n] for n in range(3)) for row in left
    )
    return ((a[0], a[1], a[2]), (b[0], b[1], b[2]), (c[0], c[1], c[2]))


def _angles_deg(rows: Rows) -> list[float]:
    """The angles of R = Rz Ry Rx: R's lowest row is (-sin y, cos y sin x, cos y cos x), its first column cos y (cos z, sin z)."""
    y = atan2_deg(-rows[2][0], math.sqrt(rows[0][0] * rows[0][0] + rows[1][0] * rows[1][0]))
    return [atan2_deg(rows[2][1], rows[2][2]), y, atan2_deg(rows[1][0], rows[0][0])]


@dataclass(frozen=True, eq=False)
class RandomCell(Distribution):
    """A cell that a space group allows, whose free axes and angles are drawn.

    With axes_A, each free axis is uniform between the two; with volume_A3, the logarithm of each is uniform within axis_ratio, and then
    all are scaled to the volume. Each free angle is uniform between angles_deg; angles that enclose hardly a volume are drawn again.
    """

    space_group: Node
    axes: tuple[Node, Node] | None
    volume: Node | None
    ratio: Node
    angles: tuple[Node, Node]
    length = 6

    @property
    def children(self) -> tuple[Node, ...]:
        """Its parameters."""
        volume = () if self.volume is None else (self.volume, self.ratio)
        return (self.space_group, *(self.axes or ()), *volume, *self.angles)

    def draw(self, drawing: Drawing) -> list[float]:
        """Return a, b, c in Angstrom and alpha, beta, gamma in degrees."""
        drawing.continuous = True
        name = drawing.value(self.space_group)
        try:
            free_axes, angles = constraints(canonical_name(name))
        except ValueError as error:
            raise ExperimentError(f"{self.space_group.path}: {error}") from None
        if self.volume is None:
            assert self.axes is not None, "one of the two is given"
            low, high = self._pair(drawing, self.axes, "axes_A")
        else:
            low, high = 1.0, drawing.number(self.ratio)
            if not high >= 1:
                raise ExperimentError(f"{self.ratio.path}: should be 1 or more, found {high:g}")
        shares = {axis: drawing.uniforms(joined(self.path, axis))[0] for axis in dict.fromkeys(free_axes)}
        if self.volume is None:
            lengths = [low + (high - low) * shares[axis] for axis in free_axes]
        else:
            lengths = [exp(log(high) * shares[axis]) for axis in free_axes]
        degrees = self._angles(drawing, angles)
        if self.volume is not None:
            volume = drawing.number(self.volume)
            if volume <= 0:
                raise ExperimentError(f"{self.volume.path}: should be above 0 cubic Angstrom, found {volume:g}")
            scale = exp(log(volume / (lengths[0] * lengths[1] * lengths[2] * _relative_volume(degrees))) / 3)
            lengths = [length * scale for length in lengths]
        return [*lengths, *degrees]

    def _pair(self, drawing: Drawing, nodes: tuple[Node, Node], name: str) -> tuple[float, float]:
        low, high = (drawing.number(node) for node in nodes)
        if not 0 < low <= high:
            raise ExperimentError(
                f"{joined(self.path, name)}: should be two positive numbers in their order, found {low:g}, {high:g}"
            )
        return float(low), float(high)

    def _angles(self, drawing: Drawing, angles: tuple[float | str, ...]) -> list[float]:
        low, high = self._pair(drawing, self.angles, "angles_deg")
        free = [angle for angle in dict.fromkeys(angles) if isinstance(angle, str)]
        for attempt in range(MOST_CELLS if free else 1):
            shares = {angle: drawing.uniforms(joined(self.path, angle), attempt)[0] for angle in free}
            its = [low + (high - low) * shares[each] if isinstance(each, str) else each for each in angles]
            if max(its) < 180 and _relative_volume(its) >= SMALLEST_VOLUME:
                return its
        raise ExperimentError(f"{joined(self.path, 'angles_deg')}: no angles from {low:g} to {high:g} enclose a volume")


def _relative_volume(angles_deg: list[float]) -> float:
    ca, cb, cg = map(cos_deg, angles_deg)
    return math.sqrt(max(0.0, 1 - ca * ca - cb * cb - cg * cg + 2 * ca * cb * cg))


def constraints(space_group: str) -> tuple[tuple[str, str, str], tuple[float | str, float | str, float | str]]:
    """Return what a space group by its canonical name asks of its cell: the name of each axis, and each angle.

    Axes of one name are equal, as angles are; an angle that is a number (degrees) is fixed. An R lattice has hexagonal axes unless its name
    says otherwise.
    """
    import gemmi

    group = gemmi.SpaceGroup(space_group)
    system = group.crystal_system_str()
    if group.ext == "R" and space_group.endswith(":R"):
        return ("a", "a", "a"), ("alpha", "alpha", "alpha")
    if system == "triclinic":
        return ("a", "b", "c"), ("alpha", "beta", "gamma")
    if system == "monoclinic":
        unique = group.monoclinic_unique_axis()
        alpha, beta, gamma = (
            name if axis == unique else 90.0 for axis, name in zip("abc", ("alpha", "beta", "gamma"), strict=True)
        )
        return ("a", "b", "c"), (alpha, beta, gamma)
    if system == "orthorhombic":
        return ("a", "b", "c"), (90.0, 90.0, 90.0)
    if system == "tetragonal":
        return ("a", "a", "c"), (90.0, 90.0, 90.0)
    if system == "cubic":
        return ("a", "a", "a"), (90.0, 90.0, 90.0)
    return ("a", "a", "c"), (90.0, 90.0, 120.0)


Reader = Callable[[Mapping[str, Any], str], Node]


def read(raw: Any, path: str = "") -> Node:
    """Return the node of what stands at a path of a recipe.

    Raises
    ------
    ExperimentError
        If a distribution or an expression is not what it should be; it names the path, what was found, and what is allowed.
    """
    if isinstance(raw, dict):
        wrong = next((name for name in raw if not isinstance(name, str)), None)
        if wrong is not None:
            raise ExperimentError(f"{joined(path, wrong)}: names of fields are text, found {wrong!r}")
        if path == LET and (dotted := next((name for name in raw if "." in name), None)) is not None:
            raise ExperimentError(f"{LET}: names of values should have no dot, found {dotted}")
        heads = [name for name in DISTRIBUTIONS if name in raw and path != LET]
        if not heads:
            _refuse_misspelt(raw, path)
            return Fields(path, {name: read(value, joined(path, name)) for name, value in raw.items()})
        reader, beside = DISTRIBUTIONS[heads[0]]
        for name in raw:
            if name not in (heads[0], *beside):
                allowed = f"{heads[0]} with {' or '.join(beside)}" if beside else f"{heads[0]} alone"
                raise ExperimentError(f"{joined(path, name)}: is no part of a distribution; it has {allowed}")
        return reader(raw, path)
    if isinstance(raw, (list, tuple)):
        return Items(path, tuple(read(item, joined(path, number)) for number, item in enumerate(raw)))
    if isinstance(raw, str) and raw.startswith("="):
        try:
            expression = parse(raw[1:])
        except ValueError as error:
            raise ExperimentError(f"{path}: {error}") from None
        target = expression.only_reference
        return Formula(path, expression) if target is None else Reference(path, target)
    if not isinstance(raw, (str, int, float, NoneType)):
        raise ExperimentError(
            f"{path}: should be a number, a text, true, false or null, found {shown(raw)}; quotes make a text"
        )
    if isinstance(raw, (int, float)) and not abs(raw) <= LARGEST:
        raise ExperimentError(f"{path}: should be a finite number, found {shown(raw)}")
    return Constant(path, raw)


def _refuse_misspelt(raw: Mapping[str, Any], path: str) -> None:
    """Refuse a mapping of one list whose key is nearly a distribution's; a field that is much like one holds no list."""
    if path in ("", LET) or len(raw) != 1 or not isinstance(next(iter(raw.values())), list):
        return
    (name,) = raw
    for near in get_close_matches(name.lower(), DISTRIBUTIONS, n=1, cutoff=LEAST_LIKENESS):
        raise ExperimentError(f"{path}: {name} is no distribution; near {near}")


def _two(raw: Any, path: str, what: str) -> tuple[Node, Node]:
    if not isinstance(raw, (list, tuple)) or len(raw) != 2:
        raise ExperimentError(f"{path}: should be a list of {what}, found {shown(raw)}")
    first, second = (_number(each, joined(path, position)) for position, each in enumerate(raw))
    return first, second


def _number(raw: Any, path: str) -> Node:
    node = read(raw, path)
    wrong = isinstance(node, (Fields, Items)) or (
        isinstance(node, Constant) and (isinstance(raw, bool) or not isinstance(raw, (int, float)))
    )
    if wrong:
        raise ExperimentError(f"{path}: should be a number, an expression or a distribution, found {shown(raw)}")
    return node


def _weights(raw: Any, path: str, number: int) -> Weights:
    if raw is None:
        return Weights([1.0] * number)
    good = isinstance(raw, list) and all(
        isinstance(each, (int, float)) and not isinstance(each, bool) and 0 <= each <= LARGEST for each in raw
    )
    if not good or len(raw) != number or not sum(raw) > 0:
        raise ExperimentError(f"{path}: should be {number} numbers, none below 0 and one above, found {shown(raw)}")
    return Weights([*map(float, raw)])


def _read_uniform(raw: Mapping[str, Any], path: str) -> Node:
    return Uniform(path, *_two(raw["uniform"], joined(path, "uniform"), "the lowest number and the highest"), False)


def _read_log_uniform(raw: Mapping[str, Any], path: str) -> Node:
    its = _two(raw["log_uniform"], joined(path, "log_uniform"), "the lowest number and the highest")
    return Uniform(path, *its, True)


def _read_normal(raw: Mapping[str, Any], path: str) -> Node:
    its = _two(raw["normal"], joined(path, "normal"), "mean and sigma")
    limits = (
        _two(raw["within"], joined(path, "within"), "the lowest number and the highest")
        if "within" in raw
        else (None, None)
    )
    return Normal(path, *its, *limits)


def _read_integer(raw: Mapping[str, Any], path: str) -> Node:
    return Integer(path, *_two(raw["integer"], joined(path, "integer"), "the first number and the last"))


def _read_choice(raw: Mapping[str, Any], path: str) -> Node:
    place, given = joined(path, "choice"), raw["choice"]
    if not isinstance(given, list) or not given:
        raise ExperimentError(f"{place}: should be a list of alternatives, found {shown(given)}")
    weights = _weights(raw.get("weights"), joined(path, "weights"), len(given))
    return Choice(path, tuple(read(each, joined(place, number)) for number, each in enumerate(given)), weights)


def _read_file_of(raw: Mapping[str, Any], path: str) -> Node:
    place, pattern = joined(path, "file_of"), raw["file_of"]
    if not isinstance(pattern, str):
        raise ExperimentError(f"{place}: should be names of files with * or ?, found {shown(pattern)}")
    files = files_of(pattern)
    if not files:
        raise ExperimentError(f"{place}: there is no file {pattern}")
    names = tuple(name for name, _ in files)
    given = raw.get("weights")
    if isinstance(given, dict):
        known = {*names}
        unknown = next((name for name in given if name not in known), None)
        if unknown is not None:
            raise ExperimentError(
                f"{joined(path, 'weights')}: there is no file {unknown} among the {len(names)} of {pattern}"
            )
        given = [given.get(name, 1.0) for name in names]
    weights = _weights(given, joined(path, "weights"), len(names))
    return FileOf(path, pattern, tuple(file for _, file in files), names, weights)


def files_of(pattern: str) -> list[tuple[str, Path]]:
    """Return the files that a pattern names, in the order of their names: those below the last folder without * or ?, and paths."""
    folders = Path(pattern).parts[:-1]
    fixed = [part for number, part in enumerate(folders) if not any(map(_has_magic, folders[: number + 1]))]
    start = Path(*fixed) if fixed else Path()
    root = Path(re.sub(ESCAPED, r"\1", str(start)))
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207 (a folder's own name may have brackets)
    return sorted((file.relative_to(root).as_posix(), file) for file in found if file.is_file())


def _has_magic(part: str) -> bool:
    return glob.has_magic(re.sub(ESCAPED, "", part))


def _read_rotation(raw: Mapping[str, Any], path: str) -> Node:
    place, given = joined(path, "rotation"), raw["rotation"]
    if given == "uniform":
        return Rotation(path, None, None)
    if not isinstance(given, dict) or "within_deg" not in given or set(given) - {"within_deg", "about_deg"}:
        raise ExperimentError(
            f"{place}: should be uniform, or {{within_deg: x}}, with about_deg where it is not about no rotation, found {shown(given)}"
        )
    about = given.get("about_deg")
    within = _number(given["within_deg"], joined(place, "within_deg"))
    return Rotation(path, within, None if about is None else read(about, joined(place, "about_deg")))


CELL_PARAMETERS = ("space_group", "volume_A3", "axes_A", "axis_ratio", "angles_deg")


def _read_random_cell(raw: Mapping[str, Any], path: str) -> Node:
    place, given = joined(path, "random_cell"), raw["random_cell"]
    if not isinstance(given, dict) or "space_group" not in given or set(given) - set(CELL_PARAMETERS):
        raise ExperimentError(
            f"{place}: should have space_group and of {', '.join(CELL_PARAMETERS[1:])}, found {shown(given)}"
        )
    if ("volume_A3" in given) == ("axes_A" in given):
        raise ExperimentError(f"{place}: give volume_A3 or axes_A{', not both' if 'axes_A' in given else ''}")
    if "axis_ratio" in given and "axes_A" in given:
        raise ExperimentError(f"{joined(place, 'axis_ratio')}: is of a cell by its volume_A3")
    group = read(given["space_group"], joined(place, "space_group"))
    if isinstance(group, Constant):
        try:
            canonical_name(group.value)
        except ValueError as error:
            raise ExperimentError(f"{group.path}: {error}") from None
    what = "the lowest number and the highest"
    return RandomCell(
        path,
        group,
        _two(given["axes_A"], joined(place, "axes_A"), what) if "axes_A" in given else None,
        _number(given["volume_A3"], joined(place, "volume_A3")) if "volume_A3" in given else None,
        _number(given.get("axis_ratio", 2.0), joined(place, "axis_ratio")),
        _two(given.get("angles_deg", [75.0, 105.0]), joined(place, "angles_deg"), what),
    )


def _read_repeat(raw: Mapping[str, Any], path: str) -> Node:
    place = joined(path, "repeat")
    if "of" not in raw:
        raise ExperimentError(f"{path}: repeat needs of, the template that is repeated")
    count = _number(raw["repeat"], place)
    most = _largest(count)
    if most is None or most != int(most) or not 0 <= most <= MOST_REPEATS:
        raise ExperimentError(
            f"{place}: should be a whole number, a choice of some, or {{integer: [1, 3]}} for 1 to 3, {MOST_REPEATS} at most, "
            f"found {shown(raw['repeat'])}"
        )
    return Repeat(path, count, tuple(read(raw["of"], joined(path, number)) for number in range(int(most))))


def _largest(count: Node) -> float | None:
    """The largest of numbers that can be listed."""
    if isinstance(count, Constant):
        return float(count.value)
    if isinstance(count, Integer):
        return _largest(count.last) if isinstance(count.last, Constant) else None
    if isinstance(count, Choice):
        its = [_largest(each) for each in count.possible]
        return None if None in its else max(each for each in its if each is not None)
    return None


DISTRIBUTIONS: dict[str, tuple[Reader, tuple[str, ...]]] = {
    "uniform": (_read_uniform, ()),
    "log_uniform": (_read_log_uniform, ()),
    "normal": (_read_normal, ("within",)),
    "integer": (_read_integer, ()),
    "choice": (_read_choice, ("weights",)),
    "file_of": (_read_file_of, ("weights",)),
    "rotation": (_read_rotation, ()),
    "random_cell": (_read_random_cell, ()),
    "repeat": (_read_repeat, ("of",)),
}
"""How each distribution is read, and what may stand beside the key that names it."""
