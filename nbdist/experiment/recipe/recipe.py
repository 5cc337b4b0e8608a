"""Recipes: experiments whose values may be distributions, and the samples that are drawn of them."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from nbdist.errors import DrawError, ExperimentError, FileFormatError
from nbdist.experiment.beam import SPECTRUM
from nbdist.experiment.crystal import LATTICE_FIELDS
from nbdist.experiment.detector import Detector
from nbdist.experiment.files import load_document, validate
from nbdist.experiment.materials import ATTENUATION
from nbdist.experiment.model import (
    INTEGRATED_VERSION,
    MODEL_VERSION,
    NOT_OF_AN_INSTRUMENT,
    PHYSICS_VERSION,
    READOUT_VERSION,
    SPECTRUM_VERSION,
    Experiment,
    content_digest,
    file_digest,
)
from nbdist.experiment.powder_lines import POWDER_LINES
from nbdist.experiment.recipe.columns import DrawnColumn, described
from nbdist.experiment.recipe.content import RecipeSection, anchored_document, with_file_names, with_files
from nbdist.experiment.recipe.distributions import RECIPE_VERSION, FileOf, Integer, Normal, RandomCell, files_of, read
from nbdist.experiment.recipe.drawing import MOST_COMBINATIONS, Drawing, Node, TooManyError, every
from nbdist.experiment.recipe.nodes import (
    Choice,
    Distribution,
    Fields,
    Items,
    check_references,
    fields_of,
    places,
    reachable,
    varies,
)
from nbdist.experiment.recipe.seeds import with_seeds
from nbdist.experiment.recipe.splits import split_at, splits_of
from nbdist.experiment.space_groups import canonical_name
from nbdist.experiment.validation import shown, validated
from nbdist.formats.text import version_of

CONSTANT = (
    "scan.frames",
    "labels",
    "noise",
    "readout.integers",
    "sampling.method",
    "sampling.precision",
)
"""Fields that are the same in all samples, since the arrays of a store are."""
OF_A_CRYSTAL = (*LATTICE_FIELDS, "space_group", "structure_factors")
"""Fields whose choices make another crystal."""
OF_A_SIZE = (*LATTICE_FIELDS, "structure_factors", "N_cells", "size_mm", "size_um")
"""Fields that decide how large a crystal is."""
OF_A_MASK: dict[str, tuple[str, ...]] = {
    "detector": ("name", "binning", "panels", "mask_file", "region_of_interest"),
    "panel": ("spixels", "fpixels", "modules", "dead_rectangles_pixels", "mask_file"),
    "readout": ("dead_pixel_fraction", "hot_pixel_fraction", "bad_pixels_marked"),
}
OF_DIRECTIONS = {
    "beam": ("wavelength_A", "energy_eV", "direction", "sources", "source_file", "dispersion"),
    "scan": ("spindle_axis",),
}
"""Fields beside the detector's that decide what lies in the direction of a pixel."""
LARGEST_SAMPLE = 2**32 - 1
T = TypeVar("T")


@dataclass(frozen=True)
class Draw:
    """One sample of a recipe.

    Attributes
    ----------
    number
        Of the sample, from 0.
    experiment
        What is rendered.
    values
        What was drawn, by the names of `Recipe.columns`: float, int or text; NaN or "" where the sample has no such value.
    crystal
        Which of the recipe's crystals it is: the choices that make it, or the number of the sample where each has its own.
    split
        Which split of the data set it is in.
    """

    number: int
    experiment: Experiment
    values: Mapping[str, float | int | str]
    crystal: str
    split: str


class Recipe:
    """An experiment whose values may be distributions. It is small, and pickled by its content.

    Parameters
    ----------
    content
        The document, as `load_recipe` reads it, with file names that are whole paths.

    Attributes
    ----------
    content
        The document, of which `recipe_of` makes the recipe again.

    Raises
    ------
    ExperimentError
        In one line: the field, what was found and what is allowed.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = copy.deepcopy(dict(content))  # what is drawn and the fingerprint are of one document
        if "recipe" not in self.content:
            raise ExperimentError(
                "recipe: is required in a recipe, with its seed; without it, the file is an experiment"
            )
        its = self.content["recipe"] or {}
        if not isinstance(its, dict):
            raise ExperimentError(f"recipe: should be fields in a mapping, found {shown(its)}")
        try:
            self._section = validated(RecipeSection, its)
        except ExperimentError as error:
            raise ExperimentError(f"recipe.{error}") from None
        if not any(self._section.splits.values()):
            raise ExperimentError("recipe.splits: should have a share above 0")
        body = {name: value for name, value in with_file_names(self.content).items() if name != "recipe"}
        root = read(body)
        if not isinstance(root, Fields):
            raise ExperimentError(
                "a recipe has the sections of an experiment, found a distribution in place of all of them"
            )
        self._root = root
        check_references(root)
        self._check_constants()

    def __reduce__(self) -> tuple[Callable[..., Recipe], tuple[dict[str, Any], dict[str, tuple[str, ...]]]]:
        return _of_the_same_files, (self.content, self._names)

    @property
    def _names(self) -> dict[str, tuple[str, ...]]:
        """Names of the files that there were when it was made, by the pattern."""
        return {its.pattern: its.names for its in reachable(self._root, self._root) if isinstance(its, FileOf)}

    @property
    def seed(self) -> int:
        """Seed of all that is drawn, 0 to 2^64 - 1."""
        return self._section.seed

    @property
    def title(self) -> str:
        """Title of the data set, for people; it decides nothing."""
        return str(self.content.get("title") or "")

    @property
    def license(self) -> str:
        """Licence of the data set; it decides nothing."""
        return self._section.license

    @property
    def splits(self) -> dict[str, float]:
        """Shares of the splits by their names, in proportion."""
        return dict(self._section.splits)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides a sample, the contents of the named files included.

        Title and license do not enter, nor where files lie, nor how many samples there are. It is worked out whenever it is asked for, of
        what files hold then; one that stays as it is is read once.

        Raises
        ------
        ExperimentError
            If a file cannot be read.
        """
        content = self._content_of_files(_digest)
        content.pop("title", None)
        content["recipe"] = {**self._section.content(), "license": None}
        words = set(_texts(self.content))
        published = {
            "detectors": [Detector(name=name, binning=binning).published() for name, binning in self._named_detectors],
            "materials": {
                name: [table.density_g_per_cm3, *map(list, table.coefficients_cm2_per_g)]
                for name, table in ATTENUATION.items()
                if name in words
            },
            "powders": {name: [*map(list, lines)] for name, lines in POWDER_LINES.items() if name in words},
        }
        versions = {
            "recipe": RECIPE_VERSION,
            "physics": PHYSICS_VERSION,
            **({"integrated": INTEGRATED_VERSION} if self.example.sampling.integrated else {}),
            **({"readout": READOUT_VERSION} if self.example.writes_counts else {}),
            **({"model": MODEL_VERSION} if "model" in words else {}),
            **({"spectrum": SPECTRUM_VERSION} if any(places(self._root, f"beam.{name}") for name in SPECTRUM) else {}),
        }
        return content_digest({"content": content, "published": published, "versions": versions})

    @property
    def file_digests(self) -> dict[Path, str]:
        """Hex SHA-256 of what each file holds that it names, of those that can be read."""
        found: dict[Path, str] = {}

        def on_file(place: str, file: Path) -> str:
            with contextlib.suppress(ExperimentError):
                found[file] = _digest(place, file)
            return ""

        self._content_of_files(on_file)
        return found

    def _content_of_files(self, on_file: Callable[[str, Path], str]) -> dict[str, Any]:
        """The document, in which something stands for each file, given the path of its field and its own."""
        called: dict[str, set[str]] = {}
        patterns: dict[str, list[tuple[str, Path]]] = {}
        for node in reachable(self._root, self._root):
            for name, label in node.files if isinstance(node, Choice) else ():
                called.setdefault(name, set()).add(label)
            if isinstance(node, FileOf):
                patterns[node.pattern] = [*zip(node.names, node.files, strict=True)]

        def of_file(place: str, name: str) -> str | list[str]:
            its = on_file(place, Path(name))
            return [*sorted(called[name]), its] if name in called else its  # splits go by what it is called

        def of_pattern(place: str, pattern: str) -> list[list[str]]:
            files = patterns[pattern] if pattern in patterns else files_of(pattern)
            return [[name, on_file(place, file)] for name, file in files]

        return with_files(self.content, of_file, of_pattern)

    @cached_property
    def columns(self) -> tuple[DrawnColumn, ...]:
        """The columns of `Draw.values`."""
        return described(self._root.columns(""), fields_of(self._root))

    @property
    def frames_per_sample(self) -> int:
        """Frames of each sample."""
        return self.example.scan.frames

    @cached_property
    def example(self) -> Experiment:
        """The experiment of sample 0."""
        return self._draw(0, None).experiment

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each panel, the largest that can be drawn.

        Raises
        ------
        ExperimentError
            If they are not numbers that can be listed, or the number of panels is drawn.
        """
        its = [detector.shapes for detector in self._detectors]
        if len({len(shapes) for shapes in its}) > 1:
            raise ExperimentError(
                f"detector: all samples have one number of panels, found {' and '.join(map(str, sorted({*map(len, its)})))}"
            )
        return tuple(
            (max(slow for slow, _ in panels), max(fast for _, fast in panels)) for panels in zip(*its, strict=True)
        )

    @cached_property
    def one_mask(self) -> bool:
        """Whether every sample has the same mask: no choice of detectors, gaps, masks or shadows."""
        if self._differs(self._root.inner("readout"), OF_A_MASK["readout"]):
            return False
        detector = self._root.inner("detector")
        others = tuple(name for name in OF_A_MASK["detector"] if name != "panels")
        if self._differs(detector, others):
            return False
        panels = detector.inner("panels") if isinstance(detector, Fields) else None
        each = panels.items if isinstance(panels, Items) else () if panels is None else (panels,)
        if any(self._differs(panel, OF_A_MASK["panel"]) for panel in each):
            return False
        return self._root.inner("shadows") is None or self.one_geometry

    @cached_property
    def one_geometry(self) -> bool:
        """Whether every pixel has the same resolution and shadow in all samples: nothing is drawn of detector, shadows or directions."""
        return not any(self._drawn(section) for section in ("detector", "shadows")) and not any(
            self._differs(self._root.inner(section), fields) for section, fields in OF_DIRECTIONS.items()
        )

    @cached_property
    def one_instrument(self) -> bool:
        """Whether all samples have one instrument, background and read-out: nothing that decides them is drawn.

        Seeds of the texture of powders that the recipe leaves out decide backgrounds, and the sizes of crystals a sum's automatic
        subpixels.
        """
        of_others = "let", *NOT_OF_AN_INSTRUMENT
        if any(self._drawn(section) for section in self._root.parts if section not in of_others):
            return False
        if self._differs(self._root.inner("scan"), OF_DIRECTIONS["scan"]) or self._draws_textures:
            return False
        sampling = self.example.sampling
        automatic = sampling.oversample == "auto" and not sampling.integrated
        return not (automatic and self._crystals_differ(OF_A_SIZE))

    @property
    def _draws_textures(self) -> bool:
        """Whether the texture of a powder has a seed of each sample's own."""
        background = self._root.inner("background")
        if background is None:
            return False
        content = {"background": Drawing(self._root, self.seed, 0).value(background)}
        return with_seeds(content, 0, lambda _: 0) != with_seeds(content, 0, lambda _: 1)

    @property
    def one_readout(self) -> bool:
        """Whether counts mean the same in all samples: nothing is drawn of their read-out."""
        return not self._drawn("readout")

    @cached_property
    def one_crystal(self) -> bool:
        """Whether all samples have the same crystals: no lattice, space group or structure factors are drawn.

        Their amplitudes are the same but for what follows from the instrument: how far they reach, and the wavelengths of a model's.
        """
        return not self._crystals_differ(OF_A_CRYSTAL)

    def _crystals_differ(self, fields: Iterable[str]) -> bool:
        """Whether some of the fields of crystals are drawn, or their structure factors, of which a cell may be."""
        crystals = self._root.inner("crystals")
        each = crystals.items if isinstance(crystals, Items) else (crystals or self._root.inner("crystal"),)
        return self._drawn("structure_factors") or any(self._differs(crystal, fields) for crystal in each)

    def draw(self, number: int) -> Draw:
        """Return a sample, which depends on the recipe, its seed and the number alone.

        Parameters
        ----------
        number
            Of the sample, 0 to 2^32 - 1.

        Raises
        ------
        DrawError
            If what is drawn is no valid experiment, or differs in what all samples share; it names the sample and the field.
        """
        return self._draw(number, self.example)

    def split_of(self, number: int) -> str:
        """The split of a sample, as `draw` gives it, without its experiment.

        Raises
        ------
        DrawError
            If it cannot be drawn; it names the sample and the field.
        """
        return self._of_sample(number, lambda drawing: self._sorted_by(drawing)[1])

    def _of_sample(self, number: int, drawn: Callable[[Drawing], T]) -> T:
        if not 0 <= number <= LARGEST_SAMPLE:
            raise ExperimentError(f"sample {number}: numbers of samples are 0 to {LARGEST_SAMPLE}")
        try:
            return drawn(Drawing(self._root, self.seed, number))
        except ExperimentError as error:
            raise DrawError(f"sample {number}: {error}") from None

    def _draw(self, number: int, example: Experiment | None) -> Draw:
        def drawn(drawing: Drawing) -> tuple[Experiment, dict[str, Any], str, str]:
            crystal, split = self._sorted_by(drawing)
            try:
                experiment = validate(self._experiment_content(drawing))
            except ExperimentError as error:
                field = str(error).partition(":")[0]
                if any(isinstance(node, Normal) and node.low is None for node in places(self._root, field)):
                    raise ExperimentError(f"{error}; limits are given by within: [lowest, highest]") from None
                raise
            if example is not None:
                _check_shared(experiment, example)
            return experiment, dict(self._root.observe(drawing, "")), crystal, split

        experiment, observed, crystal, split = self._of_sample(number, drawn)
        values = {column.name: _as(column, observed.get(column.name)) for column in self.columns}
        return Draw(number, experiment, values, crystal, split)

    def _experiment_content(self, drawing: Drawing) -> dict[str, Any]:
        """The sections of the sample, and the seeds that the recipe leaves out."""
        content = {name: drawing.value(node) for name, node in self._root.parts.items() if name != "let"}
        several = content.get("crystals")
        for number in range(len(several) if isinstance(several, list) else 0):
            _check_group(drawing, f"crystals.{number}")
        _check_group(drawing, "crystal")
        return with_seeds(content, self.seed, lambda path: drawing.words(path)[0])

    def _check_constants(self) -> None:
        noise = self.content.get("noise")
        if isinstance(noise, dict) and "seed" in noise:
            raise ExperimentError("noise.seed: is left out of a recipe, whose noise has recipe.seed")
        for field in CONSTANT:
            if any(varies(self._root, node) for node in places(self._root, field)):
                raise ExperimentError(f"{field}: is the same in all samples, and cannot be drawn")
        by = self._section.split_by
        if by not in (None, "sample", "crystal") and not places(self._root, by):
            raise ExperimentError(f"recipe.split_by: should be crystal, sample or a field of the recipe, found {by}")

    def _drawn(self, section: str) -> bool:
        """Whether something of a section is drawn."""
        node = self._root.inner(section)
        return node is not None and varies(self._root, node)

    def _differs(self, node: Node | None, fields: Iterable[str]) -> bool:
        """Whether some of the fields of a section are drawn: all of a section that is no mapping of its own."""
        if node is None:
            return False
        if not isinstance(node, Fields):
            return varies(self._root, node)
        its = (node.inner(name) for name in fields)
        return any(inner is not None and varies(self._root, inner) for inner in its)

    @cached_property
    def _detectors(self) -> list[Detector]:
        """All that can be drawn, by what decides their shapes."""

        def found(drawing: Drawing) -> Detector:
            content = _shape_fields(drawing)
            if drawing.continuous:
                raise ExperimentError(
                    "detector: name, binning and numbers of pixels should be values, choices or integers, and were drawn otherwise"
                )
            try:
                return validated(Detector, content)
            except ExperimentError as error:
                raise ExperimentError(f"detector.{error}") from None

        return _listed(self._root, found, "detector", largest=True)

    @cached_property
    def _named_detectors(self) -> list[tuple[str, int | None]]:
        its = {(detector.name, detector.binning) for detector in self._detectors if detector.name}
        return sorted(its, key=str)

    def _sorted_by(self, drawing: Drawing) -> tuple[str, str]:
        """The crystal of a sample, and its split; of a drawing from which nothing has been taken."""
        label = _crystal_label(drawing)
        crystal = label or (str(drawing.sample) if drawing.continuous else "0")
        by, shares = self.split_by, self._section.splits
        if by == "sample":
            return crystal, split_at(drawing.uniforms("recipe.split")[0], shares)
        if by != "crystal":
            label = _value_label(Drawing(self._root, self.seed, drawing.sample), by)
        if self._split_of_label is not None:
            return crystal, self._split_of_label[label]
        return crystal, split_at(Drawing(self._root, self.seed, 0).uniforms(f"recipe.split {label}")[0], shares)

    @cached_property
    def split_by(self) -> str:
        """What is kept together in a split: "sample", "crystal", or the path of a field."""
        by, least = self._section.split_by, sum(share > 0 for share in self._section.splits.values())
        if by == "sample":
            return by
        if by in (None, "crystal"):
            self._check_one_crystal()
        labels = self._labels(by or "crystal")
        if labels is None or len(labels) >= least:
            return by or "crystal"
        if by is None:
            return "sample"
        raise ExperimentError(
            f"recipe.split_by: {by} has {len(labels)} alternative{'s' * (len(labels) != 1)} in this recipe, and there are {least} splits; "
            "give sample"
        )

    @property
    def kept_together(self) -> int | None:
        """How many crystals there are, or alternatives of the field, by which samples are split; None where that is no short list."""
        return None if self.split_by == "sample" or self._split_of_label is None else len(self._split_of_label)

    @cached_property
    def _split_of_label(self) -> dict[str, str] | None:
        """The split of each of a finite list of what is kept together."""
        labels = self._labels(self.split_by)
        return None if labels is None else splits_of(labels, self._section.splits, self.seed)

    def _labels(self, by: str) -> set[str] | None:
        """Labels of all crystals that there may be, or of all values of a field; None where that is no short list."""

        def found(drawing: Drawing) -> str:
            label = _crystal_label(drawing) if by == "crystal" else _value_label(drawing, by)
            endless = next((path for path in self._endless if drawing.has(path)), None)
            if endless is not None:
                raise TooManyError(f"{endless}: its limits are no list")
            return label

        try:
            return set(_listed(self._root, found, by))
        except TooManyError:
            return None

    @cached_property
    def _endless(self) -> list[str]:
        """The paths of whole numbers whose limits follow from what cannot be listed."""
        return [
            node.path
            for node in reachable(self._root, self._root)
            if isinstance(node, Integer)
            and any(
                isinstance(its, Distribution) and not isinstance(its, (Integer, FileOf))
                for limit in node.children
                for its in reachable(self._root, limit)
            )
        ]

    def _check_one_crystal(self) -> None:
        """Refuse samples of several crystals that are chosen one by one: whatever is kept apart, they meet in a sample."""
        choices = []
        for number in range(MOST_CRYSTALS):
            nodes = places(self._root, f"crystals.{number}")
            if not nodes:
                break
            of_crystal = [inner for node in nodes for inner in _of_crystal(node)]
            its = {its for node in of_crystal for its in reachable(self._root, node) if _is_choice(its)}
            choices += [its] if its else []  # a crystal that is the same in all samples is in all splits
        if any(its != choices[0] for its in choices):
            raise ExperimentError(
                "recipe.split_by: a sample may have several crystals here, each chosen by itself, so that no split can be by crystal; "
                "choose the crystal once, under let, or give sample"
            )


MOST_CRYSTALS = 1000


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read and check a recipe (YAML, or JSON by its suffix).

    Relative file names inside it are relative to its folder; `~` and `$NAME` are expanded in them.

    Parameters
    ----------
    path
        The file; `~` is expanded.

    Returns
    -------
    The recipe, whose first sample was drawn and is a valid experiment.

    Raises
    ------
    ExperimentError
        In one line: the file and line of a syntax error, or the field, what was found and what is allowed.
    """
    return load_document(path, "a recipe", "recipe", recipe_of)


def recipe_of(content: Mapping[str, Any], folder: Path | None = None) -> Recipe:
    """Return the recipe that a document holds, checked by its first sample.

    Parameters
    ----------
    content
        Sections by name, as a recipe file has them, or as `Recipe.content` keeps them.
    folder
        Where that file lies: `~` and `$NAME` are expanded in file names, and relative ones are relative to it. Without one, file names
        are taken as they are.

    Raises
    ------
    ExperimentError
        In one line: the field, what was found and what is allowed.
    """
    recipe = Recipe(content if folder is None else anchored_document(dict(content), folder))
    _ = recipe.shapes, recipe.example  # either may be refused
    return recipe


def _of_the_same_files(content: dict[str, Any], names: dict[str, tuple[str, ...]]) -> Recipe:
    """Make a recipe again, as in another process.

    Raises
    ------
    ExperimentError
        If its patterns name other files by now, or on this machine: other ones would be drawn.
    """
    recipe = Recipe(content)
    for pattern, here in recipe._names.items():
        if others := {*here} ^ {*names[pattern]}:
            raise ExperimentError(
                f"file_of {pattern}: names {len(here)} files here, and {len(names[pattern])} where it was first read; "
                f"{min(others)} is not among both"
            )
    return recipe


def _digest(place: str, file: Path) -> str:
    """What `file_digest` says of a file."""
    try:
        version = version_of(file, place)
    except FileFormatError:
        return file_digest(place, file)  # which says what is wrong with it
    return _digest_of_version(place, file, *version)


@functools.lru_cache(maxsize=2**16)
def _digest_of_version(place: str, file: Path, *_: int) -> str:
    return file_digest(place, file)


def _listed(root: Node, found: Callable[[Drawing], Any], what: str, largest: bool = False) -> list[Any]:
    """What a function makes of each combination of choices."""
    its = []
    for each in every(root, found, largest):
        its.append(each)
        if len(its) > MOST_COMBINATIONS:
            raise TooManyError(f"{what}: there are more than {MOST_COMBINATIONS} combinations of choices")
    return its


def _shape_fields(drawing: Drawing) -> dict[str, Any]:
    """What decides the shapes of a sample's detector."""
    detector = _part(drawing, drawing.root, "detector")
    found: dict[str, Any] = {}
    for name in ("name", "binning"):
        part = _part(drawing, detector, name)
        if part is not None and (value := drawing.value(part)) is not None:
            found[name] = value
    panels = _part(drawing, detector, "panels")
    if isinstance(panels, Items):
        each = (panel.concrete(drawing) for panel in panels.items)
        found["panels"] = [
            {name: drawing.value(part) for name in ("spixels", "fpixels") if (part := panel.inner(name)) is not None}
            for panel in each
        ]
    return found


def _part(drawing: Drawing, node: Node | None, name: str) -> Node | None:
    part = None if node is None else node.inner(name)
    return None if part is None else part.concrete(drawing)


def _crystal_label(drawing: Drawing) -> str:
    """The choices that make the crystals of a sample what they are; of a drawing from which nothing has been taken."""
    root = drawing.root
    crystals = _part(drawing, root, "crystals")
    each = (
        [_part(drawing, root, "crystal"), *(its.concrete(drawing) for its in crystals.children)]
        if crystals
        else [_part(drawing, root, "crystal")]
    )
    for crystal in each:
        for name in OF_A_CRYSTAL:
            if crystal is not None and (part := crystal.inner(name)) is not None:
                drawing.value(part)
    if (part := root.inner("structure_factors")) is not None:
        drawing.value(part)
    return _label(drawing)


def _of_crystal(node: Node) -> list[Node]:
    """The nodes that make a crystal what it is."""
    if not isinstance(node, Fields):
        return [node]
    return [part for name in OF_A_CRYSTAL if (part := node.inner(name)) is not None]


def _check_group(drawing: Drawing, place: str) -> None:
    """Refuse a cell that was drawn for another space group than its crystal's."""
    crystal = drawing.locate(place)[0].concrete(drawing)
    cell, group = _part(drawing, crystal, "cell"), crystal.inner("space_group")
    if not isinstance(cell, RandomCell) or group is None or (given := drawing.value(group)) is None:
        return
    drawn = drawing.value(cell.space_group)
    with contextlib.suppress(ValueError):  # of a wrong name, which is refused with the experiment
        if canonical_name(drawn) == canonical_name(given):
            return
        raise ExperimentError(f"{place}.space_group: should be that of its cell, {drawn}, found {given}")


def _value_label(drawing: Drawing, path: str) -> str:
    """The choices that make the value of a field; of a drawing from which nothing has been taken."""
    drawing.at(path)
    return _label(drawing)


def _label(drawing: Drawing) -> str:
    made = {path: its for path, its in drawing.decisions.items() if not path.endswith(".repeat")}
    names = [its for its in made.values() if not its.lstrip("-").isdecimal()]
    if len(made) == len(names) == 1:
        return names[0]
    return ", ".join(f"{path} {its}" for path, its in sorted(made.items()))


def _is_choice(node: Node) -> bool:
    return isinstance(node, (Choice, FileOf, Integer)) and node.varies and not node.path.endswith(".repeat")


def _as(column: DrawnColumn, value: Any) -> float | int | str:
    if column.dtype == "str":
        return "" if value is None else str(value)
    if value is None:
        return math.nan
    return int(value) if column.dtype == "int64" else float(value)


def _check_shared(its: Experiment, example: Experiment) -> None:
    shared: tuple[tuple[str, Callable[[Experiment], Any]], ...] = (
        ("scan.frames", lambda each: each.scan.frames),
        ("labels", lambda each: each.labels),
        ("noise", lambda each: each.noise),
        ("readout.integers", lambda each: each.readout.integers),
        ("readout: whether counts are written", lambda each: each.writes_counts),
        ("sampling.method", lambda each: each.sampling.method),
        ("sampling.precision", lambda each: each.sampling.precision),
        ("detector.panels: their number", lambda each: len(each.detector.each_panel)),
    )
    for field, of in shared:
        if of(its) != of(example):
            raise ExperimentError(
                f"{field}: is the same in all samples; found {of(its)}, and {of(example)} in sample 0"
            )


def _texts(content: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, (dict, list)):
        for item in content.values() if isinstance(content, dict) else content:
            yield from _texts(item)
