"""The one-line answer to content that is no experiment: each wrong field, what was found and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from nbdist.errors import ExperimentError

STRUCTURE_FACTOR_KINDS = ("file", "uniform", "wilson", "model")
Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], content: dict[str, Any], folder: Path | None = None) -> Model:
    """Return the model that nested dictionaries describe; `folder` is where relative file names start.

    Raises
    ------
    ExperimentError
        In one line: each wrong field, what was found and what is allowed.
    """
    try:
        return model.model_validate(content, context=folder)
    except ValidationError as error:
        raise ExperimentError("; ".join(complaints(error.errors()))) from None


def complaints(details: Iterable[Any]) -> list[str]:
    """Pydantic's errors as one sentence a wrong field.

    Alternatives of a field are joined, and what merely follows from a field inside it is left out.
    """
    by_field: dict[tuple[Any, ...], list[Any]] = {}
    for detail in details:
        by_field.setdefault(_field(detail["loc"]), []).append(detail)
    deepest = [
        field
        for field in by_field
        if not any(other != field and other[: len(field)] == field for other in by_field if field)
    ]
    return [_complaint(".".join(map(str, field)), by_field[field]) for field in deepest]


def _field(location: tuple[Any, ...]) -> tuple[Any, ...]:
    """The place in the file: pydantic's names for the branches of a union are no fields."""
    return tuple(
        part
        for position, part in enumerate(location)
        if isinstance(part, int) or (part.isidentifier() and not _is_branch(location, position))
    )


def _is_branch(location: tuple[Any, ...], position: int) -> bool:
    """Whether a part of a location is a branch of a union: a type, or a kind of structure factors."""
    kinds = STRUCTURE_FACTOR_KINDS if position and location[position - 1] == "structure_factors" else ()
    return location[position] in ("bool", "int", "float", "str", *kinds)


def _complaint(field: str, details: list[Any]) -> str:
    kind, found = details[0]["type"], details[0]["input"]
    if kind == "extra_forbidden":
        return f"{field}: unknown field (found {shown(found)})"
    if kind == "missing":
        return f"{field}: is required and was not given"
    if kind == "value_error":
        message = details[0]["msg"].removeprefix("Value error, ")
        return f"{field}: {message}" if field else message
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        found = found.get("kind") if isinstance(found, dict) else found
        return f"{field}.kind: should be {', '.join(STRUCTURE_FACTOR_KINDS)}, found {shown(found)}"
    messages = [detail["msg"].replace("Input should be ", "", 1) for detail in details]
    return f"{field}: should be {' or '.join(dict.fromkeys(messages))}, found {shown(found)}"


def shown(value: Any) -> str:
    """A value as a message shows it, cut short where it is long."""
    text = " ".join(json.dumps(value, default=str).split())
    return text if len(text) <= 60 else text[:57] + "..."
