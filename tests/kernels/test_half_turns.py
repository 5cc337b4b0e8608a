"""Half turns of the spindle are counted alike for reflections that light up and for those that are only named."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.kernels.reflections import HalfTurn
from nbdist.kernels.spots import Diffraction
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections


@pytest.mark.parametrize("source", [0, 1])
def test_a_reflection_that_is_lit_has_the_crossing_of_its_half_turn(small_experiment, source):
    sources = [{"direction": [0, 0, 1]}, {"direction": [0.02, 0.01, 1], "wavelength_A": 1.03}]
    experiment = small_experiment(
        crystal={"shape": "gauss"},
        beam={"wavelength_A": 1.0, "sources": sources},
        scan={"frames": 1000, "phi_start_deg": -400.0, "osc_range_deg": 1.0},
    )
    scene = resolve(experiment)
    diffraction = Diffraction(scene, load_reflections(scene))
    vectors, beam = diffraction.lists[0].vectors, diffraction.beam(source)
    seen = set()
    for phi in np.deg2rad([-391.0, -180.5, -0.1, 0.1, 93.0, 359.9, 360.1, 590.0]):
        lit = diffraction.crossings(0, source).between(phi, phi)
        its = np.flatnonzero((lit.first < phi) & (phi < lit.last))
        assert len(its) > 20
        place = scene.spindle_axis, beam, scene.instrument.beam_direction
        half = HalfTurn.at(phi, vectors[lit.number[its]], *place)
        np.testing.assert_array_equal(half.branch, lit.branch[its])
        for name in ("crossing", "first", "last"):
            np.testing.assert_allclose(getattr(half, name), getattr(lit, name)[its], atol=1e-9)
        seen.update(half.branch.tolist())
    assert len(seen) > 6


def test_reflections_are_found_by_their_indices(small_experiment):
    scene = resolve(small_experiment(crystal={"shape": "gauss"}))
    its = Diffraction(scene, load_reflections(scene)).lists[0]
    np.testing.assert_array_equal(its.numbers(its.miller[[7, 0, -1]]), [7, 0, len(its) - 1])
    np.testing.assert_array_equal(its.numbers(np.array([[0, 0, 0], [99, 0, 0], [0, -99, 1]])), [-1, -1, -1])
