"""Pages that explain keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

import nbdist

EXPLANATION = Path(__file__).parents[2] / "docs" / "explanation"
TESTS = Path(__file__).parents[1]


def test_the_page_of_architecture_has_every_package():
    named = re.findall(r"\*\*(\w+)\*\*", (EXPLANATION / "architecture.md").read_text())
    packages = {folder.parent.name for folder in Path(nbdist.__file__).parent.glob("*/__init__.py")}
    assert packages - set(named) == set()


def test_the_tests_that_pages_name_are_there():
    for page in ("exactness", "faults", "methods", "safety"):
        text = (EXPLANATION / f"{page}.md").read_text()
        names = re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`", text)
        assert names, page
        for name in names:
            assert list(TESTS.rglob(name)), f"{page}.md names {name}"
