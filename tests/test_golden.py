"""Every golden image through nanoBragg's flags, by every engine: the reference in torch and the native one, which in float32, too.

$NBDIST_GOLDEN_DATA names another folder of such cases (cases.json, inputs/, images/) to run instead.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from nbdist.experiment import Experiment
from nbdist.nanobragg.flags import experiment_from_flags
from nbdist.scene import resolve
from nbdist.scene.amplitudes import AmplitudeCache

GOLDEN = Path(os.environ.get("NBDIST_GOLDEN_DATA") or Path(__file__).parent / "golden").absolute()
CASES = {
    name: flags for name, flags in json.loads((GOLDEN / "cases.json").read_text()).items() if not name.startswith("_")
}
AMPLITUDES = AmplitudeCache()
"""Most cases name one of a few files."""
MOSAIC = sorted(path.name.removesuffix(".mosaic.npy") for path in (GOLDEN / "images").glob("*.mosaic.npy"))

# fractions of the image's maximum, from tests/golden/README.md; mosaic angles were drawn in single precision
FLOAT64, FLOAT64_MOSAIC, FLOAT64_RELATIVE = 1e-9, 1e-6, 1e-6
# measured: 6.7e-7 in the worst case of tests/golden (convention_dials); its README allows 1e-5
FLOAT32 = 1e-5 if "NBDIST_GOLDEN_DATA" in os.environ else 2e-6


def golden_image(name: str) -> np.ndarray:
    return np.load(GOLDEN / "images" / f"{name}.npy")


def golden_experiment(name: str, precision: str) -> Experiment:
    experiment = experiment_from_flags(CASES[name].replace("{in}", str(GOLDEN / "inputs")).split())
    return experiment.with_changes(sampling={"precision": precision})


def assert_agrees_in_float64(name: str, image: np.ndarray) -> None:
    golden = golden_image(name)
    assert image.shape == golden.shape
    difference, largest = np.abs(image - golden), golden.max()
    assert difference.max() <= (FLOAT64_MOSAIC if name in MOSAIC else FLOAT64) * largest
    bright = golden > 1e-6 * largest
    assert (difference[bright] / golden[bright]).max() <= FLOAT64_RELATIVE


EVERY_CASE = [pytest.param(name, marks=pytest.mark.slow) if "interpolated" in name else name for name in CASES]


@pytest.mark.parametrize("name", CASES)
def test_the_reference_agrees_with_the_golden_image(name, make_renderer):
    renderer = make_renderer(golden_experiment(name, "float64"), "eager", AMPLITUDES)
    assert_agrees_in_float64(name, renderer.frame(0))
    assert renderer.backend.mode == "eager"


@pytest.mark.parametrize("name", EVERY_CASE)
def test_the_compiled_kernel_agrees_with_the_golden_image_in_float64(name, make_renderer):
    renderer = make_renderer(golden_experiment(name, "float64"), "compiled", AMPLITUDES)
    assert_agrees_in_float64(name, renderer.frame(0))
    assert renderer.backend.mode == "compiled"


@pytest.mark.parametrize("name", EVERY_CASE)
def test_the_compiled_kernel_agrees_with_the_golden_image_in_float32(name, make_renderer):
    golden = golden_image(name)
    renderer = make_renderer(golden_experiment(name, "float32"), "compiled", AMPLITUDES)
    assert np.abs(renderer.frame(0) - golden).max() <= FLOAT32 * golden.max()
    assert renderer.backend.mode == "compiled"


@pytest.mark.parametrize("name", MOSAIC)
def test_mosaic_rotations_are_those_of_nanobragg(name):
    golden = np.load(GOLDEN / "images" / f"{name}.mosaic.npy")
    # measured: equal to the bit; both draw the angles in single precision
    np.testing.assert_allclose(
        resolve(golden_experiment(name, "float64")).specimen.lattices[0].mosaic, golden, rtol=0, atol=1e-15
    )


def test_every_golden_image_has_its_case():
    images = {path.stem for path in (GOLDEN / "images").glob("*.npy") if not path.stem.endswith(".mosaic")}
    assert images == set(CASES)
