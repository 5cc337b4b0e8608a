"""What is said of nbdist where it is published: one version, and files that other programs read; and what the wheel holds."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import nbdist
from nbdist.errors import EXTRAS
from nbdist.store.creation import provenance

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CFF_KEYS = {
    *(
        "abstract",
        "authors",
        "cff-version",
        "commit",
        "contact",
        "date-released",
        "doi",
        "identifiers",
        "keywords",
        "license",
    ),
    *(
        "license-url",
        "message",
        "preferred-citation",
        "references",
        "repository",
        "repository-artifact",
        "repository-code",
    ),
    *("title", "type", "url", "version"),
}
"""Of the Citation File Format 1.2.0."""


def test_the_version_is_said_in_one_place_and_all_others_have_it_from_there():
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "nbdist.version.__version__"}
    assert str(Version(nbdist.__version__)) == nbdist.__version__
    assert provenance()["versions"]["nbdist"] == nbdist.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == nbdist.__version__
    changed = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(
        rf"^## \[{re.escape(nbdist.__version__)}\] - \d|^What will be {re.escape(nbdist.__version__)}", changed, re.M
    )


def test_the_citation_is_one_of_the_citation_file_format():
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(content) <= CFF_KEYS
    assert content["cff-version"] == "1.2.0"
    assert content["license"] == PROJECT["project"]["license"]
    for cited in (content, *content["references"]):
        assert all("name" in its or {"given-names", "family-names"} <= set(its) for its in cited["authors"])
        assert cited["type"] in ("software", "article")


def test_the_changelog_is_one_of_keep_a_changelog():
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    versions = [line for line in lines if line.startswith("## ")]
    assert versions[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line) for line in versions[1:])
    kinds = {line.removeprefix("### ") for line in lines if line.startswith("### ")}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_issue_forms_are_forms_and_a_bug_report_asks_for_the_doctor():
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*_*.yml")}
    assert set(forms) == {"bug_report", "feature_request"}
    for form in forms.values():
        assert {"name", "description", "body"} <= set(form)
        assert all(part["type"] == "textarea" and part["attributes"]["label"] for part in form["body"])
    assert any("nbdist doctor" in part["attributes"]["label"] for part in forms["bug_report"]["body"])


def test_every_extra_is_known_to_the_code_but_those_for_developers():
    assert set(PROJECT["project"]["optional-dependencies"]) == {*EXTRAS, "test", "docs"}


def test_files_that_are_not_python_are_in_the_wheel():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["nbdist"]
    packed = {path for pattern in patterns for path in (ROOT / "nbdist").glob(pattern)}
    listed = subprocess.run(["git", "ls-files", "-z", "nbdist"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    files = {ROOT / name for name in listed.stdout.split("\0") if name}
    assert {path for path in files if path.suffix != ".py"} <= packed
