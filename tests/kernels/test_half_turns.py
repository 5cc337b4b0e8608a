"""Half turns of the spindle are counted alike for reflections that light up and for those that are only named."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.kernels import reflections
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


@pytest.mark.parametrize(
    ("scan", "beam"),
    [
        ({"frames": 1, "osc_range_deg": 0.0, "phi_start_deg": 33.0}, {}),
        ({"frames": 4, "osc_range_deg": 0.5, "phi_start_deg": 359.0}, {"bandwidth_sigma": 0.01}),
        ({"frames": 3, "osc_range_deg": -2.0, "phi_start_deg": -700.0}, {"divergence_sigma_mrad": [2.0, 0.5]}),
        ({"frames": 10, "osc_range_deg": 30.0}, {}),
    ],
)
def test_reflections_that_cannot_light_up_in_a_scan_are_left_out_and_no_others(
    small_experiment, scan, beam, monkeypatch
):
    crystal = {"shape": "gauss", "N_cells": [20, 18, 17], "mosaicity": {"sigma_deg": [0.1, 0.3, 0.2]}}
    method = {"method": "integrated"}
    scene = resolve(small_experiment(scan=scan, beam=beam, crystal=crystal, sampling=method))
    diffraction = Diffraction(scene, load_reflections(scene))
    vectors, first_last = diffraction.lists[0].vectors, diffraction.scan_rad
    looked_at = reflections._near_by(
        vectors, diffraction.spreads[0], scene.spindle_axis, diffraction.beam(0), 3.0, first_last
    )
    assert scan["frames"] == 10 or 2 <= len(looked_at) < len(vectors) / 2
    few = diffraction.crossings(0, 0).between(*first_last)
    monkeypatch.setattr(reflections, "_near_by", lambda vectors, *others: np.arange(len(vectors)))
    every = Diffraction(scene, load_reflections(scene)).crossings(0, 0).between(*first_last)
    assert len(few.number) > 3
    for one, other in zip(few, every, strict=True):
        order, others = (np.lexsort((its.branch, its.number)) for its in (few, every))
        np.testing.assert_array_equal(one[order], other[others])


def test_a_list_in_order_needs_no_table(small_experiment):
    scene = resolve(small_experiment(crystal={"cell": [40.0, 40.0, 50.0, 90.0, 90.0, 90.0], "space_group": "P 4"}))
    (lattice,), (listed,) = scene.specimen.lattices, load_reflections(scene)
    assert reflections._in_order(listed.indices)
    mixed = np.random.default_rng(1).permutation(len(listed.indices))
    other = listed._replace(indices=listed.indices[mixed], amplitudes=listed.amplitudes[mixed])
    assert not reflections._in_order(other.indices)
    one, another = (reflections.ReflectionList.of(lattice, its, scene.kept_A) for its in (listed, other))
    assert len(one) > 100
    for name in ("miller", "vectors", "amplitudes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(another, name))
        assert getattr(one, name).dtype == getattr(another, name).dtype
