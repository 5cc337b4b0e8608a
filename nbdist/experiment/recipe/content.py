"""The document of a recipe: its own sections, and the files that it names."""

from __future__ import annotations

import copy
import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nbdist.errors import ExperimentError
from nbdist.experiment.fields import NotNegative, Section, anchored
from nbdist.experiment.recipe.expressions import parse
from nbdist.experiment.recipe.nodes import LET, FileName, joined
from nbdist.formats.text import user_path

SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}
OnFile = Callable[[str, str], Any]
"""What stands for a file in a document, given the path of its field and its name."""


class RecipeSection(Section):
    """What a recipe says of the whole data set."""

    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="of all that is drawn, photon noise among it: another seed is another data set"
    )
    license: str = Field("", description="of the data set, as an SPDX name; decides nothing")
    splits: dict[str, NotNegative] = Field(
        SPLITS, min_length=1, description="shares of the data set by the name of the split, in proportion"
    )
    split_by: str | None = Field(
        None,
        description="crystal: all samples of a crystal are in one split; sample: each by itself; or a field, as let.protein, whose values "
        "are kept together. Left out: crystal where a finite list of crystals is long enough, else sample",
    )


def is_file_field(name: str) -> bool:
    """Whether a field of an experiment, by its last name, is that of a file."""
    return name == "file" or name.endswith("_file")


def with_files(document: dict[str, Any], on_file: OnFile, on_pattern: OnFile) -> dict[str, Any]:
    """Return a copy of a document in which something stands for each file that it names, and for each pattern of files.

    A value among `let` is a file where a field of a file refers to it.
    """
    copied = copy.deepcopy(document)
    done: set[tuple[int, Any]] = set()

    def visit(holder: Any, key: Any, place: str, is_file: bool) -> None:
        value = holder[key]
        if isinstance(value, (dict, list)):
            for inner, item in value.items() if isinstance(value, dict) else enumerate(value):
                its_place = joined(place, inner)
                if place != LET and inner == "file_of" and isinstance(item, str):
                    if (id(value), inner) not in done:
                        done.add((id(value), inner))
                        value[inner] = on_pattern(its_place, item)
                elif place != LET and inner in ("choice", "of") and isinstance(value, dict):
                    alternatives = item if isinstance(item, list) else None
                    for number in range(len(alternatives or ())):
                        visit(item, number, joined(its_place, number), is_file)
                    if alternatives is None:
                        visit(value, inner, its_place, is_file)
                else:
                    visit(value, inner, its_place, isinstance(inner, str) and is_file_field(inner))
        elif is_file and isinstance(value, str) and (id(holder), key) not in done:
            done.add((id(holder), key))
            if value.startswith("="):
                for target, part, its_place in _targets(copied, value):
                    visit(target, part, its_place, True)
            else:
                holder[key] = on_file(place, value)

    for section in copied:
        if section != "recipe":
            visit(copied, section, section, False)
    return copied


def _targets(document: dict[str, Any], reference: str) -> Iterator[tuple[Any, Any, str]]:
    """Where in a document the value of a plain reference stands: what holds it, its key there, and its path."""
    try:
        path = parse(reference[1:]).only_reference
    except ValueError:
        return
    found: list[tuple[Any, str, list[str]]] = [(document, "", path.split("."))] if path else []
    limit = 1000
    while found and (limit := limit - 1):
        value, place, parts = found.pop()
        if place != LET and isinstance(value, dict) and isinstance(value.get("choice"), list):
            found += [(each, joined(place, f"choice.{n}"), parts) for n, each in enumerate(value["choice"])]
        elif isinstance(value, str) and value.startswith("="):
            found += [(holder[part], its_place, parts) for holder, part, its_place in _targets(document, value)]
        else:
            key: Any = parts[0]
            if place != LET and isinstance(value, dict) and "of" in value and "repeat" in value:
                key = "of"
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                key = int(key)
            elif not isinstance(value, dict) or key not in value:
                continue
            if len(parts) == 1:
                yield value, key, joined(place, key)
            else:
                found.append((value[key], joined(place, key), parts[1:]))


def anchored_document(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a copy of a document whose file names begin with a folder of the machine; relative ones are in `folder`.

    Raises
    ------
    ExperimentError
        If a name has an environment variable that is not set.
    """

    def on_file(place: str, name: str) -> str:
        try:
            return str(anchored(Path(name), folder))
        except ValueError as error:
            raise ExperimentError(f"{place}: {error}") from None

    def on_pattern(place: str, pattern: str) -> str:
        if user_path(os.path.expandvars(pattern)).is_absolute() or pattern.startswith("$"):
            return on_file(place, pattern)
        return (
            on_file(place, pattern)
            if str(folder) == glob.escape(str(folder))
            else f"{glob.escape(str(folder))}/{pattern}"
        )

    return with_files(document, on_file, on_pattern)


def with_file_names(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a document whose file names are marked as such, for `distributions.read`."""
    return with_files(document, lambda place, name: FileName(name), lambda place, pattern: pattern)
