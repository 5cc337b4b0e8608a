"""A long run of small units costs the scheduler and the client no memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "workflows" / "scale" / "null_kernel.py"


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "options", "limit_kB"),
    [(1_000, (), 2.5), (240, ("--units-per-task", "1"), 25.0)],
    ids=["tasks of many units", "a unit a task"],
)
def test_memory_stays_flat(units, options, limit_kB, tmp_path):
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--units", str(units), "--workers", "1", "--folder", tmp_path, "--json", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    measured = json.loads(ran.stdout.splitlines()[-1])
    assert measured["units"] == units
    # a million units may cost 2.5 GB at most; the first tenth does not count, in which the processes allocate what they keep
    watched = 0.9 * units
    for process in ("scheduler", "client"):
        assert 2**20 * measured[f"{process}_grew_MiB"] / watched < 1000 * limit_kB, measured
