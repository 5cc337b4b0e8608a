"""The golden images of normal spreads and continuous phi, and the experiments whose images they are (tests/golden_integrated)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment import Experiment, validate
from nbdist.scene import Tile

GOLDEN = Path(__file__).parent / "golden_integrated"
CASES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "cases.json").read_text())


def golden_image(name: str) -> NDArray[np.float64]:
    """Photons over the region of a case."""
    return np.asarray(np.load(GOLDEN / "images" / f"{name}.npy"))


def golden_tile(name: str) -> Tile:
    """The region of a case."""
    return Tile(0, *CASES[name]["region"])


def golden_experiment(name: str, **sections: dict[str, Any]) -> Experiment:
    """The experiment of a case in float64, with fields of some sections added."""
    case = CASES[name]
    crystal, detector = dict(case["crystal"]), case["detector"]
    slow, fast = detector["pixels"]
    pixel = detector["pixel_size_mm"]
    content = {
        "beam": {**case["beam"], "polarization_factor": None},
        "crystal": {"shape": "gauss", "mosaicity": {"sigma_deg": crystal.pop("mosaic_sigma_deg")}, **crystal},
        "scan": case["scan"],
        "detector": {
            "convention": "xds",
            "panels": [
                {
                    "spixels": slow,
                    "fpixels": fast,
                    "pixel_size_mm": pixel,
                    "distance_mm": detector["distance_mm"],
                    "beam_center_mm": [fast * pixel / 2, slow * pixel / 2],
                }
            ],
        },
        "structure_factors": {"kind": "file", "file": GOLDEN / case["reflections_file"]},
        "sampling": {"oversample": case["subpixels"], "precision": "float64"},
    }
    for section, fields in sections.items():
        content[section].update(fields)
    return validate(content)
