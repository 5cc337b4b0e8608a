"""Every command line of golden_flags through nanoBragg's flags, in float64.

They are lines that a strict reading of the flag list gets wrong; tests/golden_flags/README.md says how nanoBragg reads them.
$NBDIST_GOLDEN_FLAGS names another folder of such cases (cases.json, images/) to run instead.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from nbdist.nanobragg.flags import experiment_from_flags
from nbdist.scene.amplitudes import AmplitudeCache

HERE = Path(__file__).parent
GOLDEN = Path(os.environ.get("NBDIST_GOLDEN_FLAGS") or HERE / "golden_flags").absolute()
CASES = json.loads((GOLDEN / "cases.json").read_text())
AMPLITUDES = AmplitudeCache()
"""Most cases name one of a few files."""

# of the image's maximum; its README allows 1e-7, the worst case of tests/golden_flags is smv_4 with 9e-12
FLOAT64 = 1e-7 if "NBDIST_GOLDEN_FLAGS" in os.environ else 1e-9


@pytest.mark.parametrize("name", CASES)
def test_a_command_line_gives_nanobraggs_image(name, make_renderer):
    experiment = experiment_from_flags(CASES[name].replace("{in}", str(HERE / "golden" / "inputs")).split())
    renderer = make_renderer(experiment.with_changes(sampling={"precision": "float64"}), "compiled", AMPLITUDES)
    image, golden = renderer.frame(0), np.load(GOLDEN / "images" / f"{name}.npy")
    assert image.shape == golden.shape
    assert np.abs(image - golden).max() <= FLOAT64 * golden.max()


def test_every_image_has_its_command_line():
    assert {path.stem for path in (GOLDEN / "images").glob("*.npy")} == set(CASES)
