"""Pages that explain keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

import nbdist

ROOT, PACKAGE = Path(__file__).parents[2], Path(nbdist.__file__).parent
EXPLANATION = ROOT / "docs" / "explanation"
TESTS = Path(__file__).parents[1]


def test_the_page_of_architecture_has_every_package_and_every_module_beside_them():
    named = re.findall(r"\*\*(\w+)\*\*", (EXPLANATION / "architecture.md").read_text())
    packages = {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")}
    modules = {module.stem for module in PACKAGE.glob("*.py") if not module.stem.startswith("__")}
    assert (packages | modules) - set(named) == set()


def test_what_pages_say_stands_in_a_file_stands_there():
    pages = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    said = [
        (page.name, name, file)
        for page in pages
        for name, file in re.findall(r"`(\w+)`(?: of| in|,)?\s\(?`((?:\w+/)*\w+\.(?:py|cpp|h))`", page.read_text())
    ]
    assert len(said) > 10
    for page, name, file in said:
        found = ROOT.glob("nbdist/**/" + file.removeprefix("nbdist/"))
        assert any(name in path.read_text() for path in found), f"{page}: `{name}` of `{file}`"


def test_the_tests_that_pages_name_are_there():
    for page in ("exactness", "faults", "methods", "safety"):
        text = (EXPLANATION / f"{page}.md").read_text()
        names = re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`", text)
        assert names, page
        for name in names:
            assert list(TESTS.rglob(name)), f"{page}.md names {name}"
