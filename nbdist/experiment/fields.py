"""What every section of an experiment shares: frozen, strict about names, and field types that say their unit and range."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from nbdist.formats.text import user_path

SMALLEST, LARGEST = 1e-100, 1e100
"""Between which the numbers of an experiment lie in size where they are not 0: squares and cubes of them are numbers, too."""
OnFile = Callable[[str, Path], str]
"""What stands for a file in plain content, given the field that names it (`detector.panels.0.mask_file`) and its path."""


def _path_itself(field: str, path: Path) -> str:
    return str(path)


class Section(BaseModel):
    """A part of an experiment: immutable, unknown fields refused, no infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @field_validator("*")
    @classmethod
    def _not_too_large(cls, value: Any) -> Any:
        for number in _floats(value):
            if abs(number) > LARGEST:
                raise ValueError(f"should be {LARGEST:g} in size at most, found {number:g}")
        return value

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with the fields of `update` in place of its own, converted and checked as a new section's are.

        Raises
        ------
        pydantic.ValidationError
            If the result is not a valid section.
        """
        copy = super().model_copy(deep=deep)
        if not update:
            return copy
        kept = {name: getattr(copy, name) for name in copy.model_fields_set}
        return type(self).model_validate({**kept, **update})

    def copy(self, **options: Any) -> Self:
        """As `model_copy`: pydantic's older name, whose own update is not checked."""
        return self.model_copy(**options)

    def content(self, on_file: OnFile = _path_itself, place: str = "") -> dict[str, Any]:
        """Return the fields that differ from their defaults, at every depth, as JSON has them.

        The `kind` that tells the members of a union apart is always there.

        Parameters
        ----------
        on_file
            What stands for a file.
        place
            Where the section lies in the experiment, in front of the names that `on_file` gets: "detector.".
        """
        found = {}
        for name, info in type(self).model_fields.items():
            value = _plain(getattr(self, name), on_file, f"{place}{name}")
            # defaults are compared as they are written: a tuple's may be a list, a section's may have grown fields of its own
            if name == "kind" or info.is_required() or value != _default(info):
                found[name] = value
        return found


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _floats(item)


def _default(info: FieldInfo) -> Any:
    return _plain(info.get_default(call_default_factory=True), _path_itself, "")


def _plain(value: Any, on_file: OnFile, place: str) -> Any:
    if isinstance(value, Section):
        return value.content(on_file, f"{place}.")
    if isinstance(value, Path):
        return on_file(place, value)
    if isinstance(value, (tuple, list)):
        return [_plain(item, on_file, f"{place}.{number}") for number, item in enumerate(value)]
    if isinstance(value, dict):
        return {str(key): _plain(item, on_file, f"{place}.{key}") for key, item in value.items()}
    return to_jsonable_python(value)


def anchored(path: Path, folder: Path) -> Path:
    """Return where a file of an experiment file lies that is in `folder`; `~` and `$NAME` are expanded.

    Raises
    ------
    ValueError
        If an environment variable is not set.
    """
    expanded = os.path.expandvars(path)
    unset = re.search(r"\$\{?(\w+)\}?", expanded)
    if unset:
        raise ValueError(f"{path} needs the environment variable {unset[1]}, which is not set")
    # what a variable says is relative to where it was set, what the file says to the file
    return Path((Path.cwd() if str(path).startswith("$") else folder) / user_path(expanded))


def _anchored(path: Path, info: ValidationInfo) -> Path:
    return path if info.context is None else anchored(path, info.context)


def _nonzero(vector: tuple[float, float, float]) -> tuple[float, float, float]:
    if max(map(abs, vector)) < SMALLEST:
        raise ValueError("a direction cannot be 0 0 0")
    return vector


def _not_tiny(number: float) -> float:
    if 0 < number < SMALLEST:
        raise ValueError(f"should be {SMALLEST:g} at least, found {number:g}")
    return number


# a field of these types has its default in a Field: older versions of pydantic give a bare one to all later fields of the type
Positive = Annotated[float, Field(gt=0), AfterValidator(_not_tiny)]
NotNegative = Annotated[float, Field(ge=0), AfterValidator(_not_tiny)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Vector = tuple[float, float, float]
Direction = Annotated[Vector, AfterValidator(_nonzero)]
Pair = tuple[float, float]
Matrix = tuple[Vector, Vector, Vector]
FilePath = Annotated[
    Path,
    AfterValidator(_anchored),
    Field(description="path; relative ones are relative to the experiment file, $NAME and ~ are expanded"),
]
