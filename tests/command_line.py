"""The command run in this process as the console script does."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NamedTuple

import pytest

from nbdist.cli.main import run


class Ended(NamedTuple):
    """Exit status of a command, and what it printed."""

    status: int
    out: str
    err: str


def run_command(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ended:
    """Run `nbdist WORDS`. A test whose command needs PyTorch is skipped where that is not installed."""
    monkeypatch.setattr(sys, "argv", ["nbdist", *words])
    capsys.readouterr()
    status = 0
    try:
        run()
    except SystemExit as ended:
        status = int(ended.code or 0)
    out, err = capsys.readouterr()
    if find_spec("torch") is None and "with its extra torch" in err:
        pytest.skip("PyTorch is not installed")
    return Ended(status, out, err)
