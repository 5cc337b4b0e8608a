"""Normal mosaicity, spectrum and divergence: what the fields say, and the domains and sources that stand for them in the sum."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import axis_rotation, turned
from nbdist.scene import resolve
from nbdist.scene.mosaic import crystal_axes
from nbdist.scene.normal_points import even_sequence, even_set, normal_points


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"crystal": {"mosaicity": {"sigma_deg": -1}}}, "crystal.mosaicity.sigma_deg: should be"),
        ({"crystal": {"mosaicity": {"sigma_deg": [1, 2]}}}, "crystal.mosaicity.sigma_deg"),
        ({"crystal": {"mosaicity": {"sigma_deg": 1, "domains": 0}}}, "crystal.mosaicity.domains: should be"),
        (
            {"crystal": {"mosaicity": {"sigma_deg": 1}, "mosaic_spread_deg": 1}},
            "mosaicity or mosaic_spread_deg, not both",
        ),
        ({"crystal": {"mosaicity": {"sigma_deg": 1}, "mosaic_domains": 3}}, "mosaicity or mosaic_domains, not both"),
        ({"beam": {"bandwidth_sigma": -1e-3}}, "beam.bandwidth_sigma: should be"),
        ({"beam": {"bandwidth_sigma": 0.5}}, "beam.bandwidth_sigma: should be"),
        ({"beam": {"divergence_sigma_mrad": [0.1, -0.1]}}, "beam.divergence_sigma_mrad.1: should be"),
        ({"beam": {"spread_sources": 0}}, "beam.spread_sources: should be"),
        ({"sampling": {"tolerance": 0.1}}, "sampling.tolerance: should be less than 0.1"),
        ({"sampling": {"method": "median"}}, "sampling.method: should be"),
    ],
)
def test_what_no_spread_can_be_is_refused_by_its_field(small_experiment, sections, field):
    with pytest.raises(ExperimentError) as refused:
        small_experiment(**sections)
    assert field in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_number_stands_for_all_axes(small_experiment):
    def numbers(mosaicity_deg, divergence_mrad):
        scene = resolve(
            small_experiment(
                crystal={"mosaicity": {"sigma_deg": mosaicity_deg}},
                beam={"divergence_sigma_mrad": divergence_mrad, "bandwidth_sigma": 2e-3},
            )
        )
        assert scene.instrument.bandwidth_sigma == 2e-3
        return scene.specimen.lattices[0].mosaic_sigma_rad.tolist(), scene.instrument.divergence_sigma_rad.tolist()

    assert numbers(0.3, 2) == numbers([0.3, 0.3, 0.3], [2, 2])
    assert numbers([0.1, 0.2, 0.4], [1, 0.5]) == (np.deg2rad([0.1, 0.2, 0.4]).tolist(), [1e-3, 5e-4])


def test_spreads_left_at_nothing_change_neither_numbers_nor_fingerprint(small_experiment):
    plain = small_experiment()
    none = small_experiment(
        crystal={"mosaicity": {"sigma_deg": 0.0}},
        beam={"bandwidth_sigma": 0, "divergence_sigma_mrad": 0},
        sampling={"method": "sum", "tolerance": 1e-4},
    )
    assert none.fingerprint == plain.fingerprint
    assert "method" not in plain.content().get("sampling", {})
    scene = resolve(none)
    assert len(scene.instrument.sources) == 1
    np.testing.assert_array_equal(scene.specimen.lattices[0].mosaic, np.eye(3)[None])


@pytest.mark.parametrize("points", [even_sequence, even_set])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_points_have_the_moments_of_a_normal_distribution(dimensions, points):
    deviates = normal_points(points(4096, dimensions, 5))
    assert deviates.shape == (4096, dimensions)
    # of random points both would be off by 1/64
    np.testing.assert_allclose(deviates.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(deviates.T @ deviates / 4096, np.eye(dimensions), atol=5e-3)
    assert not np.isin(deviates, normal_points(points(4096, dimensions, 6))).any()


@pytest.mark.parametrize(
    "boxes", [(64, 1, 1), (1, 64, 1), (1, 1, 64), (8, 8, 1), (2, 32, 1), (8, 1, 8), (4, 8, 2), (4, 4, 4)]
)
def test_each_stretch_of_the_sequence_fills_boxes_alike(boxes):
    # a (1, 7, 3)-net in base 2: of 2^7 points, two in each of 2^6 boxes whose sides are powers of 2
    for first in (0, 128, 1024 - 128):
        points = even_sequence(128, 3, seed=2, first=first)
        np.testing.assert_array_equal(points, even_sequence(first + 128, 3, 2)[first:])
        where = np.ravel_multi_index((points * boxes).astype(int).T, boxes)
        np.testing.assert_array_equal(np.bincount(where, minlength=64), 2)


def test_vectors_are_turned_as_by_the_rotation_about_an_axis_by_an_angle():
    turns, vectors = (
        np.array([[0.3, -0.2, 1.1], [0, 0, 0], [1e-9, 0, 2e-9], [0, 3.1, 0]]),
        np.array([[1.0, 2, 3], [0, -1, 4]]),
    )
    for turn, found in zip(turns, turned(vectors, turns[:, None]), strict=True):
        angle = np.linalg.norm(turn)
        rotation = axis_rotation(turn if angle else (1, 0, 0), angle)
        np.testing.assert_allclose(found, vectors @ rotation.T, rtol=0, atol=2e-15)


def test_domains_turn_about_axes_fixed_to_the_crystal(small_experiment):
    sigma_deg = np.array([0.02, 0.3, 0.1])
    mosaicity = {"sigma_deg": sigma_deg.tolist(), "domains": 2000, "seed": 3}
    (lattice,) = resolve(small_experiment(crystal={"mosaicity": mosaicity})).specimen.lattices
    axes = crystal_axes(lattice.real_vectors_A)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-15)
    a, b, _ = lattice.real_vectors_A
    np.testing.assert_allclose([np.cross(axes[0], a), np.cross(axes[2], np.cross(a, b))], 0, atol=1e-11)
    assert np.linalg.det(axes) == pytest.approx(1)
    turns_rad = lattice.normal_domains.turns_rad(0) @ axes.T
    np.testing.assert_allclose(np.rad2deg(turns_rad.std(axis=0)), sigma_deg, rtol=0.02)


def test_the_spindle_turns_the_domains_with_the_crystal(small_experiment):
    scan = {"phi_start_deg": 0, "osc_range_deg": 90, "phi_steps": 4}
    scene = resolve(small_experiment(scan=scan, crystal={"mosaicity": {"sigma_deg": 1, "domains": 3}}))
    (lattice,) = scene.specimen.lattices
    assert (scene.specimen.domains, scene.steps, scene.orientations_per_frame) == (3, 12, 12)
    found = np.concatenate([group.real for group in scene.orientation_groups(lattice, 0)]).reshape(4, 3, 3, 3)
    for step, (rotation, domains) in enumerate(zip(scene.phi_rotations(0), found, strict=True)):
        for turn_rad, real in zip(lattice.normal_domains.turns_rad(step), domains, strict=True):
            own = axis_rotation(turn_rad, np.linalg.norm(turn_rad))
            np.testing.assert_allclose(real, lattice.real_vectors_A @ (rotation @ own).T, rtol=0, atol=1e-12)
    later = np.concatenate([group.real for group in scene.orientation_groups(lattice, 0, 2, 3)])
    np.testing.assert_array_equal(later, found[2])


def test_every_source_has_the_spectrum_and_the_divergence(small_experiment):
    listed = [
        {"direction": [0, 0, 1], "wavelength_A": 1.5, "weight": 3},
        {"direction": [0.1, 0, 1], "wavelength_A": 0.9},
    ]
    beam = {"sources": listed, "bandwidth_sigma": 0.01, "divergence_sigma_mrad": [3, 0.5], "spread_sources": 1500}
    sources = resolve(small_experiment(beam=beam)).instrument.sources
    assert len(sources) == 3000
    assert sources.weights.sum() == pytest.approx(3000)
    for number, source in enumerate(listed):
        its = slice(1500 * number, 1500 * (number + 1))
        assert set(sources.weights[its]) == {[1.5, 0.5][number]}
        assert sources.wavelengths_A[its][0] == source["wavelength_A"]
        np.testing.assert_allclose(np.cross(sources.directions[its][0], source["direction"]), 0, atol=1e-15)
        wavelengths = sources.wavelengths_A[its] / source["wavelength_A"] - 1
        np.testing.assert_allclose([wavelengths.mean(), wavelengths.std()], [0, 0.01], atol=2e-4)
        # the E field is x: the rotation about beam x E, which is y, moves the beam along x
        tilts = sources.directions[its, :2] / sources.directions[its, 2:]
        where = source["direction"][0]
        np.testing.assert_allclose(tilts.mean(axis=0), [where, 0], atol=1e-4)
        np.testing.assert_allclose(tilts.std(axis=0), [3e-3 * (1 + where**2), 5e-4], rtol=0.02)


def test_a_divergence_needs_an_axis_across_the_field(small_experiment):
    beam = {
        "direction": [0, 0, 1],
        "polarization_vector": [0, 0, 1],
        "polarization_factor": 0.0,
        "divergence_sigma_mrad": 1,
    }
    with pytest.raises(ExperimentError, match=r"^beam\.divergence_sigma_mrad\.0: has no axis"):
        resolve(small_experiment(beam=beam))


@pytest.mark.parametrize("points", [even_sequence, even_set])
def test_a_mean_over_points_converges_faster_than_over_random_ones(points):
    # <exp(-(x - 1)^2 / 2 s^2)> of a normal x in three dimensions, s = 0.5: (s / sqrt(1 + s^2) exp(-1 / 2 (1 + s^2)))^3
    exact = (0.5 / math.sqrt(1.25) * math.exp(-1 / 2.5)) ** 3

    def error(count):
        deviates = [normal_points(points(count, 3, seed)) for seed in range(20)]
        means = np.array([np.exp(-((x - 1) ** 2).sum(axis=1) / 0.5).mean() for x in deviates])
        return math.sqrt(np.mean((means / exact - 1) ** 2))

    assert error(4096) < error(64) * 64**-0.9
    assert error(4096) < 0.005
