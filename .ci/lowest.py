"""Print the lowest versions that pyproject.toml admits, as constraints for pip: `python .ci/lowest.py torch==2.13.0 > lowest.txt`.

What is named on the command line takes the place of its bound.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
declared = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
lowest: dict[str, str] = {}
for requirement in map(Requirement, [*declared, *sys.argv[1:]]):
    for bound in requirement.specifier:
        if bound.operator in (">=", "=="):
            lowest[requirement.name] = bound.version
sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(lowest.items()))
