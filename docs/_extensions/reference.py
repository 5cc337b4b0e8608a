"""Text of the reference pages, made from the code when the site is built: Markdown, by the name that a page asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import EnumType
from typing import Any

Schema = Mapping[str, Any]
"""A JSON schema, or a part of one."""


def text(words: object) -> str:
    """Plain words in Markdown: what would be markup stands for itself, but for words that are marked as code."""
    return re.sub(r"([\\*$<\[\]|{}~#])", r"\\\1", " ".join(str(words or "").split()))


def code(words: object) -> str:
    """Words as code, in a table, too; nothing where there are none."""
    return f"`{str(words).replace('|', chr(92) + '|')}`" if words not in ("", None) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, without the columns that are empty in all rows."""
    body = [list(row) for row in rows]
    kept = [i for i, name in enumerate(head) if i == 0 or any(row[i] for row in body)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# the command line


def commands() -> str:
    """Each command with its help, arguments and options."""
    import typer

    from nbdist.cli.main import app

    group = typer.main.get_command(app)
    overview = table(
        ["command", "what it does"],
        ([f"[`{name}`](#{name.replace(' ', '-')})", text(_first(its.help))] for name, its in _commands(group)),
    )
    return "\n\n".join([overview, *(_command(name, its) for name, its in _commands(group))])


def _commands(group: Any, before: str = "nbdist") -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def _first(words: str | None) -> str:
    return (words or "").strip().split("\n\n")[0]


def _command(name: str, command: Any) -> str:
    paragraphs = [text(part) for part in (command.help or "").replace("\f", "").strip().split("\n\n")]
    shown = [its for its in command.params if not its.hidden]
    arguments = [its for its in shown if its.param_type_name == "argument"]
    options = [its for its in shown if its.param_type_name == "option"]
    usage = " ".join([name, *(_value(its) if its.required else f"[{_value(its)}]" for its in arguments)])
    parts = [f"## {name}", *paragraphs]
    if not shown:
        return "\n\n".join([*parts, *_flags()])
    parts.append(f"```text\n{usage}{' [OPTIONS]' if options else ''}\n```")
    if arguments:
        parts.append(table(["argument", "what it is"], ([code(_value(its)), text(its.help)] for its in arguments)))
    if options:
        rows = ([code(_names(its)), code(_value(its)), _default(its), text(its.help)] for its in options)
        parts.append(table(["option", "value", "default", "what it says"], rows))
    return "\n\n".join(parts)


def _names(option: Any) -> str:
    return ", ".join(sorted(option.opts, key=len)) + "".join(f" / {name}" for name in option.secondary_opts)


def _value(parameter: Any) -> str:
    """What is put in the place of a parameter's value: its choices, or a word for it."""
    if getattr(parameter, "is_flag", False):
        return ""
    annotation = parameter.type_descriptor.annotation
    choices = "|".join(str(its.value) for its in annotation) if isinstance(annotation, EnumType) else ""
    name = parameter.metavar or choices or {"int": "N", "float": "X"}.get(getattr(annotation, "__name__", ""))
    return name or parameter.name.upper()


def _default(option: Any) -> str:
    if option.required:
        return "required"
    value = getattr(option.default, "value", option.default)
    return "" if value in (None, False, (), []) or callable(value) else code(value)


def _flags() -> Iterator[str]:
    """nanoBragg's flags by group; they have one dash, and are read as nanoBragg reads them."""
    from nbdist.cli.nanobragg import OWN
    from nbdist.nanobragg.table import GROUPS

    yield "```text\nnbdist nanobragg FLAGS\n```"
    groups = {group: [(flag.words, flag.values, flag.help) for flag in flags] for group, flags in GROUPS.items()}
    groups["nbdist's own"] = [((name,), values, help_) for name, (values, help_) in OWN.items()]
    for group, flags in groups.items():
        rows = ([code(" ".join(words)), code(values), text(said)] for words, values, said in flags)
        yield f"### {group[0].upper()}{group[1:]}"
        yield table(["flag", "values", "what it says"], rows)


# experiment and recipe files


UNITS = {
    "photons_per_m2": "photons/m²",
    "photons_per_s": "photons/s",
    "g_per_cm3": "g/cm³",
    "g_per_mol": "g/mol",
    "A2_per_MGy": "Å²/MGy",
    "MGy_per_A": "MGy/Å",
    "MGy_per_frame": "MGy/frame",
    "electrons_per_photon": "electrons/photon",
    "adu_per_electron": "ADU/electron",
    "e_per_A3": "e/Å³",
    "per_A": "1/Å",
    "per_mm": "1/mm",
    "kPa": "kPa",
    "MGy": "MGy",
    "mrad": "mrad",
    "percent": "%",
    "pixels": "pixels",
    "photons": "photons",
    "electrons": "electrons",
    "adu": "ADU",
    "deg": "degrees",
    "eV": "eV",
    "ns": "ns",
    "um": "µm",
    "mm": "mm",
    "A3": "Å³",
    "A2": "Å²",
    "A": "Å",
    "K": "K",
    "s": "s",
    "e": "electrons",
}
"""Units by what names of fields say."""
_UNIT = re.compile(rf"(?:^|_)({'|'.join(sorted(UNITS, key=len, reverse=True))})(?=_|$)")


def unit(name: str, kind: str) -> str:
    """The unit that a field's name says; nothing where it says none, or the field is a truth value."""
    found = _UNIT.search(name)
    return UNITS[found[1]] if found and kind != TRUTH else ""


def experiment_file() -> str:
    """Each section of an experiment file with its fields."""
    from nbdist.experiment import experiment_schema

    return _sections(experiment_schema())


def _sections(schema: Schema) -> str:
    definitions: Schema = schema["$defs"]
    used = _used(schema["properties"], definitions)
    parts = ["## The file", _fields(schema, definitions)]
    for name, paths in used.items():
        section = definitions[name]
        parts += [
            f"## {name}",
            text(_mapping(section).get("description")),
            f"At {', '.join(code(path) for path in paths)}.",
            _fields(section, definitions),
        ]
    return "\n\n".join(parts)


def _used(properties: Schema, definitions: Schema) -> dict[str, list[str]]:
    """Sections in the order in which one comes to them, and the paths at which each stands."""
    paths: dict[str, list[str]] = {}

    def walk(properties: Schema, before: str) -> None:
        for field, its in properties.items():
            for name, many in _references(its):
                path = f"{before}{field}{'[]' if many else ''}"
                first = name not in paths
                paths.setdefault(name, []).append(path)
                if first:
                    walk(_mapping(definitions[name])["properties"], f"{path}.")

    walk(properties, "")
    return paths


def _references(schema: Schema, many: bool = False) -> Iterator[tuple[str, bool]]:
    """Sections that a field may hold, and whether in a list or a mapping."""
    if "$ref" in schema:
        yield schema["$ref"].rpartition("/")[2], many
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _references(part, many)
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), Mapping):
            yield from _references(schema[inner], True)


def _mapping(section: Schema) -> Schema:
    """A section as the mapping that it is, where it may be something shorter as well."""
    return section if "properties" in section else next(its for its in section["anyOf"] if "properties" in its)


def _fields(section: Schema, definitions: Schema) -> str:
    section = _mapping(section)
    required = section.get("required", ())
    rows = []
    for name, its in section["properties"].items():
        default = "required" if name in required else "" if list(_references(its)) else _value_of(its.get("default"))
        kind = _type(its)
        rows.append([code(name), kind, unit(name, kind), default, _range(its), text(_description(its, definitions))])
    return table(["field", "type", "unit", "default", "allowed", "what it is"], rows)


def _description(its: Schema, definitions: Schema) -> str:
    """What is said of a field; where nothing is, of the sections that it may hold."""
    inner = (_mapping(definitions[name]).get("description") for name, _ in _references(its))
    return its.get("description") or " ".join(map(_first, inner))


def _value_of(default: object) -> str:
    import json

    if default in (None, [], {}):
        return ""
    shown = json.dumps(default, ensure_ascii=False)
    return code(shown) if len(shown) < 60 else ""


TRUTH = "true, false"


def _type(schema: Schema) -> str:
    """The type of a value in words, with links to sections."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(code(word) for word in schema["enum"])
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        kinds = [_type(its) for its in alternatives if its.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    kind = schema.get("type", "anything")
    if kind == "array":
        return _list_type(schema)
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"mapping to {_type(inner)}" if isinstance(inner, Mapping) else "mapping"
    if schema.get("format") == "path":
        return "file"
    return {"number": "number", "integer": "whole number", "boolean": TRUTH, "string": "text"}.get(kind, kind)


def _list_type(schema: Schema) -> str:
    if items := schema.get("prefixItems"):
        kinds = list(dict.fromkeys(_type(its) for its in items))
        if len(kinds) > 1:
            return ", ".join(kinds)
        inner = kinds[0].removesuffix("s")
        return f"{len(items)} x {inner}s" if inner[0].isdigit() else f"{len(items)} {inner}s"
    kind = _type(schema.get("items", {}))
    return f"list of {kind}s" if kind in ("number", "whole number", "text", "file") else f"list of {kind}"


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _range(schema: Schema) -> str:
    """Bounds of a number, or of all numbers of a list."""
    own = [f"{sign} {_number(schema[bound])}" for bound, sign in _BOUNDS.items() if bound in schema]
    if "minItems" in schema and "prefixItems" not in schema:
        own.append(f"at least {schema['minItems']}")
    inner = [*schema.get("anyOf", ()), *schema.get("prefixItems", ())]
    if isinstance(schema.get("items"), Mapping):
        inner.append(schema["items"])
    return ", ".join(dict.fromkeys([*own, *(said for its in inner if (said := _range(its)))]))


def _number(value: float) -> str:
    """A number; a large power of two as one."""
    power = int(value).bit_length() - 1 if value == int(value) and value > 2**16 else 0
    return f"2^{power}" if power and value == 2**power else f"{value:.10g}"


def recipe_section() -> str:
    """The fields of a recipe's section `recipe`."""
    from nbdist.experiment.recipe.content import RecipeSection

    return _fields(RecipeSection.model_json_schema(), {})


def distributions() -> str:
    """What may stand in place of a value of a recipe, and its parameters."""
    from nbdist.experiment.recipe.schema import DISTRIBUTIONS

    rows = []
    for distribution in DISTRIBUTIONS:
        for name, its in distribution["properties"].items():
            first = name == next(iter(distribution["properties"]))
            rows.append([f"**{code(name)}**" if first else code(name), _parameter(its), text(its.get("description"))])
            for part in (its, *its.get("anyOf", ())):
                inner = part.get("properties", {})
                rows += [
                    [code(f"{name}.{field}"), _parameter(of), text(of.get("description"))]
                    for field, of in inner.items()
                ]
    return table(["word", "value", "what it is"], rows)


def _parameter(schema: Schema) -> str:
    """The type of a distribution's parameter: any number of one may be drawn itself."""
    if not schema.keys() & {"type", "anyOf", "const"} or isinstance(schema.get("type"), list):
        return "of any kind"
    shown = _type(schema).replace("[Drawn](#drawn)", "drawn")
    return shown.replace("2 number or drawns", "2 numbers").replace("number or drawn", "number")


# products and tables


def _products(kind: type) -> list[Any]:
    from nbdist.frames.products import PRODUCTS

    return [product for product in PRODUCTS.values() if isinstance(product, kind)]


def _columns(columns: Iterable[Any]) -> str:
    head = ["column", "type", "unit", "what it is"]
    return table(head, ([code(its.name), code(its.dtype), text(its.units), text(its.long_name)] for its in columns))


def pixel_products() -> str:
    """What a store has of each pixel of each frame."""
    from nbdist.frames.products import PixelProduct

    return table(
        ["array", "type", "unit", "fill", "codec", "what it is"],
        (
            [
                code(its.name),
                ", ".join(code(name) for name in dict.fromkeys((its.dtype, *its.dtypes))),
                text(its.units),
                code(f"{its.fill:g}"),
                its.compressor,
                text(its.long_name),
            ]
            for its in _products(PixelProduct)
        ),
    )


def series_maps() -> str:
    """What a store has of each pixel once."""
    from nbdist.frames.products import SeriesMap

    return _columns(_products(SeriesMap))


def frame_series() -> str:
    """What a store has of each frame, known before it is rendered."""
    from nbdist.frames.products import FrameSeries

    return _columns(_products(FrameSeries))


def columns(name: str) -> str:
    """The columns of a table of a series (spots, series_reflections) or, by `sample NAME`, of a data set."""
    from nbdist.frames.products import PRODUCTS

    return _columns(PRODUCTS[name].columns)


def sample_columns(name: str) -> str:
    """The columns of a table of a data set, with those that say whose its rows are."""
    from nbdist.frames.sample_products import SAMPLE_TABLES
    from nbdist.frames.tables import READOUT_COLUMNS, SAMPLE_COLUMNS

    return _columns((*SAMPLE_COLUMNS, *READOUT_COLUMNS) if name == "samples" else SAMPLE_TABLES[name].columns)


MADE: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        commands,
        experiment_file,
        recipe_section,
        distributions,
        pixel_products,
        series_maps,
        frame_series,
        columns,
        sample_columns,
    )
}
"""What a page can ask for by ```` ```{made} NAME WORDS ````."""
