"""Spots that DIALS finds with its thresholds, at each of many settings of dials.find_spots."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spot_truth import Array

from nbdist.experiment import Experiment
from nbdist.formats.dials_experiments import experiment_list
from nbdist.scene import resolve
from nbdist.scene.models import models_of

SIDE = Path(__file__).with_name("dials_side.py")
Grid = Mapping[str, Sequence[tuple[str, ...]]]
"""Settings, options of dials.find_spots, by threshold."""
PIXELS = (1, 2, 3, 4, 6)
"""Fewest pixels of a spot that are tried."""


def missing() -> str:
    """Why DIALS finds nothing here; empty where it does."""
    return "" if shutil.which("dials.find_spots") else "DIALS is not installed"


def dials_python() -> list[str]:
    """The command of DIALS' own Python: dials.python where there is one, else what dials.find_spots says that it is a script of.

    Raises
    ------
    RuntimeError
        If it is a script of something else.
    """
    if python := shutil.which("dials.python"):
        return [python]
    program = shutil.which("dials.find_spots")
    assert program is not None, "`missing` tells"
    with Path(program).open("rb") as file:
        first = file.readline().decode(errors="replace").strip()
    if not (first.startswith("#!") and "python" in first):
        raise RuntimeError(
            f"{program}: expected a script of DIALS' Python, found {first[:80]!r}; put dials.python on PATH"
        )
    return first.removeprefix("#!").split()


def grid() -> Grid:
    """The settings that are tried, each also with every number of `PIXELS`."""
    threshold = "spotfinder.threshold"
    dispersion = [
        (
            f"{threshold}.dispersion.kernel_size={kernel},{kernel}",
            f"{threshold}.dispersion.sigma_strong={strong}",
            f"{threshold}.dispersion.sigma_background={background}",
            f"{threshold}.dispersion.gain={gain}",
        )
        for kernel, strong, background, gain in product((2, 4, 7), (2, 3, 4, 6), (3, 6), (1, 2))
    ]
    radial = [
        (f"{threshold}.radial_profile.blur={blur}", f"{threshold}.radial_profile.n_iqr={n_iqr}")
        for blur, n_iqr in product(("None", "narrow", "wide"), (1, 2, 3, 4, 5, 6, 8))
    ]
    return {
        name: [(f"{threshold}.algorithm={name}", *options) for options in settings]
        for name, settings in (
            ("dispersion", dispersion),
            ("dispersion_extended", dispersion),
            ("radial_profile", radial),
        )
    }


def models(experiment: Experiment) -> dict[str, Any]:
    """dxtbx's beam and detector of the first frame of an experiment of one panel; they tell DIALS of gain and offset, too."""
    content = json.loads(experiment_list(models_of(resolve(experiment), range(1)), [], crystals=False))
    return {"beam": content["beam"][0], "detector": content["detector"][0]}


@dataclass(frozen=True)
class Found:
    """What DIALS found: setting, image, slow, fast and pixels of each spot (n,)."""

    columns: Mapping[str, NDArray[np.float64]]

    def places(self, setting: int, pixels: int, images: int) -> list[Array]:
        """Places (m, 2) along slow and fast in each of so many images, of spots of so many pixels or more."""
        chosen = (self.columns["setting"] == setting) & (self.columns["pixels"] >= pixels)
        image = self.columns["image"][chosen]
        at = np.stack([self.columns["slow"][chosen], self.columns["fast"][chosen]], axis=1)
        return [at[image == number] for number in range(images)]


def find_spots(
    folder: Path,
    counts: Sequence[NDArray[np.int32]],
    detectors: Sequence[Mapping[str, Any]],
    settings: Sequence[Sequence[str]],
) -> Found:
    """Let DIALS find the spots of images with each of some settings.

    Parameters
    ----------
    folder
        For the files by which it is told, and tells; it is made.
    counts
        Images (slow, fast), all of one shape; a pixel below 0 says nothing.
    detectors
        `models` of each.
    settings
        Options of dials.find_spots.

    Raises
    ------
    RuntimeError
        With the end of what it printed, if it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.stack(counts))
    (folder / "models.json").write_text(json.dumps(detectors), encoding="utf-8")
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    python = dials_python()
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*python, SIDE, folder], capture_output=True, text=True, env=alone)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(python)} {SIDE.name}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    with np.load(folder / "found.npz") as content:
        return Found({name: content[name] for name in content.files})
