"""Expressions are worked out as Python works them out, and nothing else than the grammar is one."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbdist.experiment.recipe.expressions import FUNCTIONS, MOST_NESTED, parse

VALUES = {"beam.wavelength_A": 1.5, "crystals.0.cell.2": 38.0, "let.x": -2.0}


def value(text):
    return parse(text).value(VALUES.__getitem__)


@st.composite
def texts(draw, depth=4):
    """An expression in the grammar, as Python can read it once references have other names."""
    if depth == 0 or draw(st.booleans()):
        number = st.floats(0, 1e6).map(repr) | st.integers(0, 999).map(str)
        return draw(number | st.sampled_from([*VALUES]))
    kind, inner = draw(st.sampled_from(["+", "-", "*", "/", "**", "()", "neg", "call"])), texts(depth=depth - 1)
    if kind == "()":
        return f"({draw(inner)})"
    if kind == "neg":
        return f"-{draw(inner)}"
    if kind == "call":
        name = draw(st.sampled_from(["min", "max", "abs"]))
        return f"{name}({', '.join(draw(st.lists(inner, min_size=1, max_size=1 if name == 'abs' else 3)))})"
    space = draw(st.sampled_from(["", " "]))
    return f"{draw(inner)}{space}{kind}{space}{draw(inner)}"


@settings(max_examples=40)
@given(texts())
def test_the_grammar_is_pythons(text):
    """Precedence and association of Python's own parser; its min and max need two arguments, and abs and the like are the same."""
    of_python = text
    for name, number in VALUES.items():
        of_python = of_python.replace(name, f"({number})")
    names = {"min": lambda *its: min(its), "max": lambda *its: max(its), "abs": abs, "__builtins__": {}}
    try:
        expected = float(eval(of_python, names))
    except (ZeroDivisionError, OverflowError, TypeError):  # TypeError: a complex number
        return
    try:
        found = value(text)
    except ValueError:
        assert not math.isfinite(expected) or abs(expected) > 1e300 or "**" in text
        return
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-300)


@settings(max_examples=40)
@given(st.text(max_size=30) | st.text("()+-*/.,0 sqrtminx_lebam1e", max_size=30))
def test_any_text_is_an_expression_or_refused_in_one_line(text):
    try:
        its = parse(text)
    except ValueError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert "\n" not in str(refused)
        return
    assert all(part.isprintable() for part in its.references)
    with contextlib.suppress(ValueError):
        assert math.isfinite(its.value(lambda path: 2.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 * beam.wavelength_A", 3.0),
        ("-let.x ** 2", -4.0),
        ("2 ** 3 ** 2", 512.0),
        ("2 ** -1", 0.5),
        ("7 - 2 - 1", 4.0),
        ("8 / 4 / 2", 1.0),
        ("1e-3 + .5 + 2.", 2.501),
        ("sqrt(16) + exp(0) + log(1) + abs(let.x) + round(2.6)", 10.0),
        ("sin_deg(30) + cos_deg(60) + tan_deg(45)", 2.0),
        ("max(1, crystals.0.cell.2, 3) - min(1)", 37.0),
    ],
)
def test_an_expression_has_its_value(text, expected):
    assert value(text) == pytest.approx(expected, rel=1e-15)


def test_what_an_expression_refers_to_is_known():
    assert parse("max(let.a, 2 * let.b) + let.a").references == ("let.a", "let.b")
    assert parse(" crystals.0.cell ").only_reference == "crystals.0.cell"
    assert parse("let.a + 0").only_reference is None


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('true')",
        "().__class__",
        "let.x.__class__()",
        "open(1)",
        "eval(1)",
        "lambda x: x",
        "[1, 2]",
        "'text'",
        "1 if 2 else 3",
        "a = 1",
        "let.x; let.x",
        "1 < 2",
        "1 // 2",
        "f(*let.x)",
        "2let",
        "",
        "1 +",
        "(1",
        "min()",
        "sqrt(1, 2)",
        "let..x",
        "x[0]",
        "1 2",
    ],
)
def test_code_and_what_is_no_expression_are_refused(code):
    with pytest.raises(ValueError, match=r"is no expression at|there is no function|takes 1 number") as refused:
        parse(code)
    assert "\n" not in str(refused.value)


def test_expressions_are_short_and_flat():
    with pytest.raises(ValueError, match="500 characters at most"):
        parse("1" * 501)
    with pytest.raises(ValueError, match=f"nested more than {MOST_NESTED} times"):
        parse("(" * 200 + "1" + ")" * 200)
    assert value("+".join("1" * 250)) == 250


@pytest.mark.parametrize("text", ["1 / 0", "log(0)", "sqrt(-1)", "exp(1e9)", "(-1) ** 0.5", "1e300 * 1e300", "0 ** -1"])
def test_what_has_no_finite_value_is_refused(text):
    with pytest.raises(ValueError, match="cannot be worked out"):
        value(text)


def test_a_reference_in_a_sum_is_a_number():
    for wrong in ([1.0], "text", True, None):
        with pytest.raises(ValueError, match=r"let\.x is not a number, found"):
            parse("let.x + 1").value(lambda path, its=wrong: its)


def test_functions_take_the_numbers_that_they_say():
    assert set(FUNCTIONS) == {*["sqrt", "exp", "log", "sin_deg", "cos_deg", "tan_deg", "min", "max", "abs", "round"]}
