"""Experiments in and out of YAML and JSON, and the one-line answer to a wrong one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from nbdist.errors import ExperimentError, one_line
from nbdist.experiment.model import Experiment
from nbdist.experiment.validation import shown, validated
from nbdist.formats.text import file_stat, near_name, said_of, user_path

RECIPE = "recipe"
"""The section that a recipe has, and an experiment has not."""
DEEPEST = 100
"""Mappings and lists within each other, at most."""
T = TypeVar("T")


def load_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Read and validate an experiment file (YAML, or JSON by its suffix).

    Relative file names inside it are relative to its folder; `~` and `$NAME` are expanded in them, and a relative folder that a
    leading `$NAME` stands for is relative to the working folder.

    Parameters
    ----------
    path
        The file; `~` is expanded.

    Returns
    -------
    The experiment, which `with_changes` makes others of; the files that it names are not read yet.

    Raises
    ------
    ExperimentError
        In one line: the file and line of a syntax error, or the field, what was found and what is allowed.
    """

    def checked(content: dict[str, Any], folder: Path) -> Experiment:
        if RECIPE in content:
            raise ExperimentError(
                f"is a recipe, with a section {RECIPE}; expected an experiment; nbdist dataset renders it"
            )
        return validate(content, folder)

    return load_document(path, "an experiment", "experiment file", checked)


def load_document(path: str | os.PathLike[str], what: str, called: str, make: Callable[[dict[str, Any], Path], T]) -> T:
    """Return what is made of the sections of a file and the folder in which it lies.

    Parameters
    ----------
    what, called
        "a recipe", and how the file is called that holds it.

    Raises
    ------
    ExperimentError
        In one line: the file and line of a syntax error, or the file and what was wrong with its sections.
    """
    path = user_path(path)
    content = read_document(path, f"{called} {path}")
    with said_of(path):
        if not isinstance(content, dict):
            raise ExperimentError(f"expected the sections of {what}, found {shown(content)}")
        return make(content, path.parent.absolute())


def is_recipe(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a recipe: it has a section `recipe`.

    Raises
    ------
    ExperimentError
        In one line: that it cannot be read, or the line of a syntax error.
    """
    path = user_path(path)
    content = read_document(path, f"experiment file {path}")
    return isinstance(content, dict) and RECIPE in content


def validate(content: dict[str, Any], folder: Path | None = None) -> Experiment:
    """Return the experiment that nested dictionaries describe.

    Parameters
    ----------
    content
        Sections by name, as an experiment file has them.
    folder
        Where that file lies: `~` and `$NAME` are expanded in file names, and relative ones are relative to it. Without one, file names
        are taken as they are.

    Raises
    ------
    ExperimentError
        In one line: each wrong field, what was found and what is allowed.
    """
    return validated(Experiment, content, folder)


def experiment_to_yaml(experiment: Experiment) -> str:
    """Return the experiment as a YAML document with the fields that differ from their defaults."""
    return yaml.safe_dump(experiment.content(), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def experiment_schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file, for editors that check and complete YAML."""
    schema = Experiment.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "nbdist experiment"}


MOST_ALIASED = 10**6
"""Values that stand in a document by aliases alone, at most: a page of aliases of aliases stands for more than any memory holds."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 1e12 as the number it is (YAML 1.1 reads text).

    Whatever is wrong with a value is an error with its place, and what aliases stand for is bounded.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._sizes: dict[int, int] = {}
        self._aliased = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        is_alias, node = isinstance(event, yaml.AliasEvent), super().compose_node(parent, index)
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in _parts(node))
        elif id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, f"'*{event.anchor}' stands within itself", event.start_mark)
        else:
            self._aliased += self._sizes[id(node)]
        if self._aliased > MOST_ALIASED:
            problem = f"aliases stand for more than {MOST_ALIASED:,} values"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            problem = f"'{node.value!s:.40}' is no valid {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a list or mapping is no key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parts(node: Any) -> list[yaml.Node]:
    """What a list or a mapping holds; of one value, nothing."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def read_document(path: Path, name: str) -> Any:
    """Content of a YAML file, or JSON by its suffix; YAML is loaded safely and no key may be given twice.

    Raises
    ------
    ExperimentError
        In one line: that `name` cannot be read and why, or the file, the line and what is wrong there.
    """
    try:
        file_stat(path)
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ExperimentError(f"{name} cannot be read: it is not text in UTF-8") from None
    except FileNotFoundError as error:
        raise ExperimentError(f"{name} cannot be read: {error.strerror}{near_name(path)}") from None
    except IsADirectoryError as error:
        instead = "a Zarr store, which nbdist info shows" if (path / "zarr.json").is_file() else error.strerror
        raise ExperimentError(f"{name} cannot be read: {instead}") from None
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise ExperimentError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        content = _parsed_json(text) if path.suffix.lower() == ".json" else yaml.load(text, Loader=_Loader)
        _check_depth(content)
        return content
    except json.JSONDecodeError as error:
        raise ExperimentError(f"{path}, line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise ExperimentError(f"{path}: lists and mappings are nested too deeply in one another") from None
    except ValueError as error:  # in JSON a number of thousands of digits, or a key given twice
        raise ExperimentError(f"{path}: {one_line(error).partition(';')[0]}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ExperimentError(f"{path}{line}: {problem}") from None


def _parsed_json(text: str) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' is given twice")
        return made

    return json.loads(text, object_pairs_hook=mapping)


def _check_depth(content: Any) -> None:
    """Raise a RecursionError of what is nested so deeply that whatever goes through it later would."""
    level, depth = [content], 0
    while level:
        if (depth := depth + 1) > DEEPEST:
            raise RecursionError
        of_mappings = (item for value in level if isinstance(value, dict) for item in value.values())
        level = [*of_mappings, *(item for value in level if isinstance(value, list) for item in value)]
