"""DIALS as the workflow that finds spots asks it."""

from __future__ import annotations

import dials_finder
import numpy as np
import pytest
from spot_truth import Truth, matched

from nbdist import Experiment

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(dials_finder.missing()), reason=dials_finder.missing()),
]
SIZE = 96
PLACES = np.array([(20.5, 30.5), (61.5, 44.5), (80.5, 83.5)])


def experiment(**readout):
    return Experiment(
        crystal={"cell": [79, 79, 38, 90, 90, 90]},
        structure_factors={"kind": "uniform", "F": 1},
        detector={"convention": "xds", "panels": [{"spixels": SIZE, "fpixels": SIZE}]},
        readout=readout,
    )


def test_each_threshold_finds_bright_spots_and_is_told_of_gain_and_offset(tmp_path):
    counts = np.random.default_rng(1).poisson(4.0, (SIZE, SIZE)).astype(np.int32)
    for slow, fast in PLACES.astype(int):
        counts[slow - 1 : slow + 2, fast - 1 : fast + 2] += [[20, 40, 20], [40, 90, 40], [20, 40, 20]]
    counts[:, 50:54] = -1
    amplified = np.where(counts < 0, counts, 3 * counts + 40)
    detectors = [dials_finder.models(its) for its in (experiment(), experiment(electrons_per_photon=3, offset_adu=40))]
    settings = [settings[len(settings) // 2] for settings in dials_finder.grid().values()]
    found = dials_finder.find_spots(tmp_path / "dials", [counts, amplified], detectors, settings)
    truth = Truth(PLACES, np.full(3, 50.0), np.ones(3, dtype=bool))
    for number in range(len(settings)):
        one, other = found.places(number, 4, 2)
        np.testing.assert_allclose(other, one, atol=1e-9)
        assert sorted(matched(one, truth)) == [0, 1, 2]
