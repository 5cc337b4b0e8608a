"""The JSON schema of a recipe: that of an experiment, where a distribution or an expression may stand in place of each value."""

from __future__ import annotations

from typing import Any

from nbdist.experiment.files import RECIPE, experiment_schema
from nbdist.experiment.recipe.content import RecipeSection
from nbdist.experiment.recipe.distributions import MOST_REPEATS

Schema = dict[str, Any]
DRAWN: Schema = {"$ref": "#/$defs/Drawn"}
NUMBER: Schema = {"anyOf": [{"type": "number"}, DRAWN]}
VALUE: Schema = {}
"""Anything: an alternative has the type of the field in whose place it stands."""


def _two(description: str) -> Schema:
    return {"type": "array", "prefixItems": [NUMBER, NUMBER], "minItems": 2, "maxItems": 2, "description": description}


def _mapping(properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [*required] or [next(iter(properties))],
        "additionalProperties": False,
    }


WEIGHTS: Schema = {"type": "array", "items": {"type": "number", "minimum": 0}, "description": "1 each when left out"}
RANDOM_CELL: Schema = {
    "space_group": {"type": ["string", "integer", "object"], "description": "which lengths and angles are free"},
    "volume_A3": {**NUMBER, "description": "of the cell"},
    "axes_A": _two("instead: the shortest and the longest a free axis may be"),
    "axis_ratio": {
        **NUMBER,
        "description": "with volume_A3: the longest axis over the shortest, at most; 2 when left out",
    },
    "angles_deg": _two("of free angles; 75 and 105 when left out"),
}
DISTRIBUTIONS: tuple[Schema, ...] = (
    _mapping({"uniform": _two("the lowest number and the highest")}),
    _mapping({"log_uniform": _two("the lowest number and the highest: the logarithm is uniform between theirs")}),
    _mapping({"normal": _two("mean and sigma"), "within": _two("limits")}, "normal"),
    _mapping({"integer": _two("the first whole number and the last, each as likely")}),
    _mapping(
        {
            "choice": {
                "type": "array",
                "items": VALUE,
                "minItems": 1,
                "description": "alternatives, which may hold distributions again",
            },
            "weights": WEIGHTS,
        },
        "choice",
    ),
    _mapping(
        {
            "file_of": {"type": "string", "description": "names of files with * or ?, in the order of their names"},
            "weights": {
                "anyOf": [WEIGHTS, {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}],
                "description": "in the order of the names, or by name; 1 for files without one",
            },
        },
        "file_of",
    ),
    _mapping(
        {
            "rotation": {
                "anyOf": [
                    {"const": "uniform"},
                    _mapping(
                        {
                            "within_deg": {**NUMBER, "description": "largest angle"},
                            "about_deg": {"description": "three angles as misset_deg: the rotation to begin from"},
                        },
                        "within_deg",
                    ),
                ],
                "description": "misset_deg: over all rotations, or over those by an angle up to a limit, from another on",
            }
        }
    ),
    _mapping({"random_cell": _mapping(RANDOM_CELL, "space_group")}),
    _mapping(
        {
            "repeat": {
                "anyOf": [{"type": "integer", "minimum": 0, "maximum": MOST_REPEATS}, DRAWN],
                "description": "how many",
            },
            "of": {"description": "what is repeated; each draws its own values"},
        },
        "repeat",
        "of",
    ),
)


def recipe_schema() -> Schema:
    """Return the JSON schema of a recipe, for editors that check and complete YAML."""
    schema = _with_draws(experiment_schema())
    schema["title"] = "nbdist recipe"
    schema["properties"] = {
        RECIPE: {"anyOf": [RecipeSection.model_json_schema(), {"type": "null"}]},
        "let": {"type": "object", "description": "values that are drawn once a sample, for `= let.name`"},
        **schema["properties"],
    }
    schema["required"] = [RECIPE]
    del schema["$defs"]["Noise"]["properties"]["seed"]
    schema["$defs"]["Drawn"] = {
        "anyOf": [
            *DISTRIBUTIONS,
            {"type": "string", "pattern": "^=", "description": "an expression: = 2 * beam.wavelength_A"},
        ]
    }
    return schema


def _with_draws(schema: Any) -> Any:
    """A schema in which a draw may stand in place of each property and item."""
    if isinstance(schema, list):
        return [_with_draws(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    its = {name: _with_draws(inner) for name, inner in schema.items()}
    for name in ("properties", "items", "prefixItems", "additionalProperties"):
        inner = its.get(name)
        if name == "properties" and isinstance(inner, dict):
            its[name] = {field: _or_drawn(each) for field, each in inner.items()}
        elif isinstance(inner, dict):
            its[name] = _or_drawn(inner)
        elif isinstance(inner, list):
            its[name] = [_or_drawn(each) for each in inner]
    return its


def _or_drawn(schema: Schema) -> Schema:
    said: Schema = {name: schema[name] for name in ("title", "description", "default") if name in schema}
    return {**said, "anyOf": [{name: inner for name, inner in schema.items() if name not in said}, DRAWN]}
