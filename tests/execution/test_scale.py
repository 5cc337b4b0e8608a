"""A long run of small units costs the scheduler and the client no memory, and little time."""

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
    ("units", "options"),
    [(20_000, ()), (2_000, ("--units-per-task", "1"))],
    ids=["tasks of many units", "a unit a task"],
)
def test_memory_stays_flat_and_units_are_cheap(units, options, tmp_path):
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--units", str(units), "--folder", str(tmp_path), "--json", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    measured = json.loads(ran.stdout.splitlines()[-1])
    assert measured["units"] == units
    assert measured["scheduler_grew_MiB"] < 50
    assert measured["client_grew_MiB"] < 50
    if not options:
        # by the processor time spent: on a machine that others use, the clock says more of them
        assert measured["units_per_two_core_s"] > 400, measured
