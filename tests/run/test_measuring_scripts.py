"""The scripts that make the numbers of pages run: each in this process, as short as it can be made."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from nbdist.experiment.template import TEMPLATE

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SMALL = """
crystal: {cell: [40, 40, 40, 90, 90, 90], N_cells: [10, 10, 10]}
detector: {panels: [{spixels: 32, fpixels: 32}]}
structure_factors: {kind: uniform, F: 100}
scan: {frames: 1, osc_range_deg: 0.1}
"""


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words", "lines"),
    [
        ("prediction_cost.py", [], 3),
        ("diffuse_cost.py", [], 6),
        ("series_shares.py", ["small.yaml", "--frames", "1"], 1),
        ("scale/worker_start.py", [], 1),
    ],
)
def test_a_script_prints_what_it_measures(script, words, lines, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    small = re.sub(r"pixels: 1[01]00$", "pixels: 64", TEMPLATE, flags=re.MULTILINE)
    monkeypatch.setattr("nbdist.experiment.template.TEMPLATE", small)
    monkeypatch.setattr(sys, "argv", [script, *words])
    runpy.run_path(str(WORKFLOWS / script), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == lines
    assert re.search(r"[1-9]", printed[-1]), printed


def test_the_series_whose_shares_are_measured_are_experiments():
    named = runpy.run_path(str(WORKFLOWS / "series_shares.py"))["experiments"]()
    assert [its.sampling.method for its in named.values()] == ["integrated", "sum"]
