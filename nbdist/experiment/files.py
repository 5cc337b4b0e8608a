"""Experiments in and out of YAML and JSON, and the one-line answer to a wrong one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nbdist.errors import ExperimentError
from nbdist.experiment.model import Experiment

FILE_FIELDS = frozenset({"file", "matrix_file", "mosaic_rotations_file", "source_file", "mask_file"})


def load_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Read and validate an experiment file (YAML, or JSON by its suffix).

    Relative file names inside it are relative to its folder; `~` and `$NAME` are expanded in them.

    Raises
    ------
    ExperimentError
        In one line: the file and line of a syntax error, or the field, what was found and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise ExperimentError(f"experiment file {path} cannot be read: {reason}") from None
    content = _parse(text, path)
    if not isinstance(content, dict):
        raise ExperimentError(f"{path}: expected the sections of an experiment, found {_shown(content)}")
    try:
        return validate(_with_paths(content, path.parent.absolute()))
    except ExperimentError as error:
        raise ExperimentError(f"{path}: {error}") from None


def validate(content: dict[str, Any]) -> Experiment:
    """Return the experiment that nested dictionaries describe.

    Raises
    ------
    ExperimentError
        In one line: each wrong field, what was found and what is allowed.
    """
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        raise ExperimentError("; ".join(_complaint(detail) for detail in error.errors())) from None


def experiment_to_yaml(experiment: Experiment) -> str:
    """Return the experiment as a YAML document with the fields that differ from their defaults."""
    content = experiment.model_dump(mode="json", exclude_defaults=True)
    content["structure_factors"] = {"kind": experiment.structure_factors.kind, **content["structure_factors"]}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)


def experiment_schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file, for editors that check and complete YAML."""
    schema = Experiment.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "nbdist experiment"}


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 1e12 as the number it is (YAML 1.1 reads text)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _parse(text: str, path: Path) -> Any:
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ExperimentError(f"{path}, line {error.lineno}: {error.msg}") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ExperimentError(f"{path}{line}: {problem}") from None


def _with_paths(content: Any, folder: Path, field: str = "") -> Any:
    """Expand and anchor the file names of a raw experiment."""
    if isinstance(content, dict):
        return {
            key: _anchored(value, folder, f"{field}{key}")
            if key in FILE_FIELDS and isinstance(value, str)
            else _with_paths(value, folder, f"{field}{key}.")
            for key, value in content.items()
        }
    return content


def _anchored(name: str, folder: Path, field: str) -> str:
    expanded = os.path.expandvars(name)
    unset = re.search(r"\$\{?(\w+)\}?", expanded)
    if unset:
        raise ExperimentError(f"{field}: {name} needs the environment variable {unset[1]}, which is not set")
    return str(folder / Path(expanded).expanduser())


def _complaint(detail: Any) -> str:
    location = ".".join(
        str(part) for part in detail["loc"] if part not in ("file", "uniform", "wilson") or part == detail["loc"][-1]
    )
    kind, message, found = detail["type"], detail["msg"], detail["input"]
    if kind == "extra_forbidden":
        return f"{location}: unknown field (found {_shown(found)})"
    if kind == "missing":
        return f"{location}: is required and was not given"
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        return f"{location}: {message}" if location else message
    if kind == "union_tag_not_found":
        return f"{location}: needs kind: file, uniform or wilson"
    message = message.replace("Input should", "should", 1)
    return f"{location}: {message}, found {_shown(found)}"


def _shown(value: Any) -> str:
    text = " ".join(json.dumps(value, default=str).split())
    return text if len(text) <= 60 else text[:57] + "..."
