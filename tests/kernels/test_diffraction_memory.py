"""What the reflections of a scene take in memory, against what a plan expects of them."""

from __future__ import annotations

import tracemalloc

import pytest

from nbdist.kernels.spots import Diffraction, diffraction_bytes
from nbdist.run.context import make_context
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections


@pytest.mark.parametrize("amplitudes", [{"kind": "wilson", "d_min_A": 1.6}, {"kind": "uniform", "F": 100.0}])
def test_the_reflections_of_a_whole_turn_take_what_is_expected(small_experiment, amplitudes):
    experiment = small_experiment(
        crystal={"shape": "gauss", "mosaicity": {"sigma_deg": 0.1}},
        scan={"frames": 360, "osc_range_deg": 1.0},
        structure_factors=amplitudes,
        sampling={"method": "integrated", "oversample": "auto"},
    )
    scene = resolve(experiment)
    reflections = load_reflections(scene)
    tracemalloc.start()
    try:
        Diffraction(scene, reflections).spots(0)
        height = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    expected = diffraction_bytes(scene, reflections)
    assert 0.4 * expected < height < 1.1 * expected


def test_a_plan_counts_them(small_experiment):
    summed = small_experiment(crystal={"shape": "gauss"}, structure_factors={"kind": "wilson", "d_min_A": 1.2})
    integrated = summed.with_changes(sampling={"method": "integrated"})
    scene = resolve(integrated)
    more, pixels = diffraction_bytes(scene, load_reflections(scene)), scene.instrument.pixels
    assert more > 10**6
    factors = 8 * pixels, 4 * pixels  # in float64, and in the precision of the frames
    kept = [make_context(its).plan.memory.shared - own for its, own in zip((summed, integrated), factors, strict=True)]
    assert kept[1] == kept[0] + more
