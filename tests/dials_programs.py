"""Programs of DIALS, where they are installed; a test that asks for one is skipped elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def dials(*command):
    """Run a program of DIALS, and return what it prints."""
    if shutil.which("dials.show") is None:
        pytest.skip("DIALS is not installed")
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def dials_python():
    """The Python that DIALS' programs run with."""
    program = shutil.which("dials.show")
    return Path(program).read_text().splitlines()[0].removeprefix("#!").strip() if program else "python3"
