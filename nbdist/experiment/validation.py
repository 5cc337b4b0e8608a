"""The one-line answer to content that is no experiment: each wrong field, what was found and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from nbdist.errors import ExperimentError

STRUCTURE_FACTOR_KINDS = ("file", "uniform", "wilson", "model")
ITEMS = {float: "numbers", int: "integers", str: "strings"}
"""What items of a list are called."""
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
        raise ExperimentError("; ".join(complaints(model, error.errors()))) from None


def complaints(model: type[BaseModel], details: Iterable[Any]) -> list[str]:
    """Pydantic's errors about content of a model as one sentence a wrong field.

    Alternatives of a field are joined, and what merely follows from a field inside it is left out.
    """
    by_field: dict[tuple[Any, ...], list[Any]] = {}
    for detail in details:
        by_field.setdefault(_place(detail), []).append(detail)
    deepest = [
        field
        for field in by_field
        if not any(other != field and other[: len(field)] == field for other in by_field if field)
    ]
    return [_complaint(".".join(map(str, field)), model, by_field[field]) for field in deepest]


def _place(detail: Any) -> tuple[Any, ...]:
    """The field that an error is about: of items that a list lacks, the list."""
    location = detail["loc"]
    if detail["type"] == "extra_forbidden":  # by whatever name
        return (*_field(location[:-1]), location[-1])
    return _field(location[:-1] if _lacks_items(detail) else location)


def _lacks_items(detail: Any) -> bool:
    return detail["type"] == "missing" and isinstance(detail["loc"][-1], int)


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


def _kinds(model: type[BaseModel], location: tuple[Any, ...]) -> list[Any]:
    """The types that may stand at a location."""
    kinds: list[Any] = [model]
    for position, part in enumerate(location):
        if isinstance(part, int):
            kinds = [kind for each in kinds for kind in _items(each, part)]
        elif _is_branch(location, position):
            of_kind = [each for each in kinds if "kind" in _fields(each) and _fields(each)["kind"].default == part]
            kinds = of_kind or kinds
        elif part.isidentifier():
            inner = (_fields(each)[part].annotation for each in kinds if part in _fields(each))
            of_keys = (get_args(each)[1] for each in kinds if get_origin(each) is dict)
            kinds = [kind for annotation in (*inner, *of_keys) for kind in _alternatives(annotation)]
    return kinds


def _fields(kind: Any) -> dict[str, Any]:
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _items(kind: Any, number: int) -> Iterator[Any]:
    """The types of an item of a tuple by its number; none of what is no tuple."""
    items = get_args(kind) if get_origin(kind) is tuple else ()
    if items:
        yield from _alternatives(items[0] if items[-1] is Ellipsis else items[min(number, len(items) - 1)])


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types of a union, without what is annotated; a type that is none is its only one."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    else:
        yield annotation


def _listed(kind: Any, limits: dict[str, Any]) -> str:
    """What follows "list" or "lists" where a tuple is meant: how many items there are, and of what."""
    items = get_args(kind)
    first = next(_alternatives(items[0]))
    called = (
        f"lists{_listed(first, {})}"
        if get_origin(first) is tuple
        else ITEMS.get(first, "mappings" if _fields(first) else "values")
    )
    if items[-1] is not Ellipsis:
        return f" of {len(items)} {called}"
    least, most = limits.get("min_length"), limits.get("max_length")
    count = "" if least is None and most is None else f"{most} or fewer " if least is None else f"{least} or more "
    return f" of {count}{called}"


def _expected(model: type[BaseModel], detail: Any) -> str:
    """What should be in the place of what was found."""
    kind = detail["type"]
    if kind in ("tuple_type", "too_short", "too_long") or _lacks_items(detail):
        location = detail["loc"][:-1] if _lacks_items(detail) else detail["loc"]
        tuples = [each for each in _kinds(model, location) if get_origin(each) is tuple]
        if tuples:
            return " or ".join(f"a list{_listed(each, detail.get('ctx', {}))}" for each in tuples)
    if kind in ("model_type", "model_attributes_type"):
        return "fields in a mapping"
    if kind == "path_type":
        return "the name of a file"
    return "a mapping" if kind == "dict_type" else str(detail["msg"]).replace("Input should be ", "", 1)


def _complaint(field: str, model: type[BaseModel], details: list[Any]) -> str:
    kind, found = details[0]["type"], details[0]["input"]
    if kind == "extra_forbidden":
        *above, name = details[0]["loc"]
        known = {each.lower(): each for section in _kinds(model, tuple(above)) for each in _fields(section)}
        near = "".join(f", near {known[each]}" for each in get_close_matches(str(name).lower(), known, n=1))
        return f"{field}: unknown field{near} (found {shown(found)})"
    if kind == "missing" and not _lacks_items(details[0]):
        return f"{field}: is required and was not given"
    if kind == "value_error":
        message = details[0]["msg"].removeprefix("Value error, ")
        return f"{field}: {message}" if field else message
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        found = found.get("kind") if isinstance(found, dict) else found
        return f"{field}.kind: should be {', '.join(STRUCTURE_FACTOR_KINDS)}, found {shown(found)}"
    messages = dict.fromkeys(_expected(model, detail) for detail in details)
    wrong_length = any(_lacks_items(detail) or detail["type"] in ("too_short", "too_long") for detail in details)
    count = f"{len(found)}: " if wrong_length and isinstance(found, (list, tuple)) else ""
    return f"{field}: should be {' or '.join(messages)}, found {count}{shown(found)}"


def shown(value: Any) -> str:
    """A value as a message shows it, cut short where it is long."""
    text = " ".join(json.dumps(value, default=str).split())
    return text if len(text) <= 60 else text[:57] + "..."


def fields_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[FieldInfo]:
    """The fields of a model that may stand at a location, which may end with the numbers of items of one."""
    while location and isinstance(location[-1], int):
        location = location[:-1]
    *above, name = location or ("",)
    return [info for each in _kinds(model, tuple(above)) if (info := _fields(each).get(str(name))) is not None]
