"""The tutorial of data sets: what its page says is run, block by block."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.workflows]
TUTORIAL = Path(__file__).parents[2] / "workflows" / "training_set"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_commands_and_code_of_the_tutorial_do_what_it_says(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    pytest.importorskip("pyarrow")
    page = (TUTORIAL / "README.md").read_text(encoding="utf-8")
    shutil.copy(TUTORIAL / "recipe.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names = {"__name__": "tutorial"}
    blocks = BLOCK.findall(page)
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    for kind, block in blocks:
        if kind == "sh":
            ended = subprocess.run(["sh", "-e", "-c", block], capture_output=True, text=True)
            assert ended.returncode == 0, f"{block}{ended.stderr}"
        else:
            exec(compile(block, "README.md", "exec"), names)
