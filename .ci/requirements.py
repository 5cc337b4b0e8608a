"""Print what pyproject.toml declares, for pip.

    python .ci/requirements.py --lowest            constraints: the lowest versions that are admitted
    python .ci/requirements.py --without torch     requirements of nbdist and its tests, but for one package

What is named besides, as in `--lowest torch==2.13.0`, takes the place of what is declared.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

parser = argparse.ArgumentParser()
parser.add_argument("--lowest", action="store_true")
parser.add_argument("--without", default="")
parser.add_argument("instead", nargs="*")
asked = parser.parse_args()

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
extras = {
    name: lines for name, lines in project["optional-dependencies"].items() if name != "docs"
}  # no test needs the site
declared = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
requirements = {
    requirement.name: requirement
    for requirement in map(Requirement, [*declared, *asked.instead])
    if requirement.name not in (project["name"], asked.without)
}
for name, requirement in sorted(requirements.items()):
    lowest = [bound.version for bound in requirement.specifier if bound.operator in (">=", "==")]
    sys.stdout.write(f"{name}=={lowest[0]}\n" if asked.lowest and lowest else f"{requirement}\n")
