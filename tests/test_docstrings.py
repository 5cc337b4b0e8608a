"""Docstrings and the help of options stand alone: in `help()`, in a tooltip and on the site no name comes before them."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import nbdist
from nbdist.experiment.files import experiment_schema
from nbdist.experiment.recipe import recipe_schema

PACKAGE = Path(__file__).parent.parent / "nbdist"
END_OF_A_SENTENCE = re.compile(
    r"(All of (it|them)\.|Always|At|By|For|From|In|It|Itself|Nothing|Of|On|Read them|That (is|of)|They|To|With|Within)\b"
)
DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def spoken():
    """Every docstring of a function or class, and every help of an option, with its place."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, DEFINED) and ast.get_docstring(node):
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}", ast.get_docstring(node)
            elif isinstance(node, ast.keyword) and node.arg == "help":
                first = node.value.values[0] if isinstance(node.value, ast.JoinedStr) else node.value
                if isinstance(first, ast.Constant):
                    yield f"{file.relative_to(PACKAGE)}:{node.value.lineno}", str(first.value)


def test_no_docstring_and_no_help_is_the_end_of_a_sentence_that_a_name_began():
    texts = list(spoken())
    assert len(texts) > 2000  # it looks at all of them
    assert [f"{place}: {text.splitlines()[0]}" for place, text in texts if END_OF_A_SENTENCE.match(text)] == []


@pytest.mark.parametrize("name", [name for name in nbdist.__all__ if name.islower()])
def test_a_public_function_tells_each_parameter_what_it_returns_and_what_it_raises(name):
    function = getattr(nbdist, name)
    _, _, parts = inspect.getdoc(function).partition("\nParameters\n----------\n")
    told = {word.strip() for line in re.findall(r"^\S.*$", parts, re.MULTILINE) for word in line.split(",")}
    assert set(inspect.signature(function).parameters) - told == set()
    assert {"Returns", "Raises"} <= told


def test_no_description_of_a_field_is_the_end_of_a_sentence_that_its_name_began():
    sections = (experiment_schema()["$defs"] | recipe_schema()["$defs"]).items()
    told = {
        f"{name}.{field}": its["description"]
        for name, section in sections
        for field, its in section.get("properties", {}).items()
        if "description" in its
    }
    assert len(told) > 200
    begun = r"(across|along|at|by|from|in|of|on|the (same|convention's|detector's)|which|with)\b"
    assert [place for place, text in told.items() if re.match(begun, text)] == []
