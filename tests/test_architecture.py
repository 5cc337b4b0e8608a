"""The shape of the house: modules that fit on a few screens, and a docstring for everything public."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbdist

PACKAGE = Path(nbdist.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400
"""Lines; a file past about that is two ideas (architecture.md)."""


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def _undocumented(node: ast.AST, prefix: str = "") -> Iterator[str]:
    """Yield public classes, functions and methods below a node that have no docstring."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_"):
            continue
        if ast.get_docstring(child) is None:
            yield prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from _undocumented(child, f"{prefix}{child.name}.")


def test_the_package_is_found():
    assert {"__init__.py", "physics/renderer.py", "cli/main.py"} <= {_name(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_not_too_long(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_and_everything_public_in_it_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) is not None
    public = tree if not path.name.startswith("_") or path.name == "__init__.py" else ast.Module([], [])
    assert list(_undocumented(public)) == []
