"""Programs of DIALS, where they are installed; a test that asks for one is skipped elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nbdist.kernels.prediction import series_reflections
from nbdist.scene.amplitudes import load_reflections

D_MIN_A, IMAGES = 4.0, 40
"""To which resolution and in how many images `dials_models` predicts."""


def dials(*command, **options):
    """Run a program of DIALS, with options of `subprocess.run`, and return what it prints."""
    if shutil.which("dials.show") is None:
        pytest.skip("DIALS is not installed")
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **options)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def dials_python():
    """The Python that DIALS' programs run with."""
    program = shutil.which("dials.show")
    return Path(program).read_text().splitlines()[0].removeprefix("#!").strip() if program else "python3"


def dials_models(folder):
    """What DIALS predicts of models that it writes into a folder, or of an XPARM.XDS there (see dials_models.py)."""
    dials(dials_python(), Path(__file__).with_name("dials_models.py"), folder, D_MIN_A)
    return json.loads((folder / "found.json").read_text())


def compare_spots(scene, found):
    """Assert that a scene has the spots that DIALS predicts: all of them, at the same places and angles, and no others."""
    rows = series_reflections(scene, load_reflections(scene))
    within = (rows["panel"] >= 0) & (rows["frame"] >= 0) & (rows["frame"] < IMAGES) & (rows["d_A"] > D_MIN_A)

    def key(h, panel, frame):
        return (*h, panel, round(frame, 2))

    names = ("h", "k", "l", "panel", "fast", "slow", "frame")
    ours = [
        (key(h, panel, frame), (fast, slow, frame + found["first_frame"]))
        for *h, panel, fast, slow, frame in zip(*(rows[name][within].tolist() for name in names), strict=True)
    ]
    # what touches the sphere and does not cross it is here twice, at the same phi, and not there
    times = Counter(each for each, _ in ours)
    theirs = {key(h, panel, px[2] - found["first_frame"]): px for h, panel, px in found["spots"]}
    assert set(theirs) == {each for each in times if times[each] == 1}
    assert len(theirs) > 500
    apart = [np.subtract(px, theirs[each]) for each, px in ours if times[each] == 1]
    np.testing.assert_allclose(apart, 0, atol=1e-8)
