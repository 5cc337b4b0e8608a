"""How wide reflections rock, against curves worked out from the shape transforms and spreads themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import Beam
from nbdist.experiment.crystal import Crystal
from nbdist.scene import resolve, rocking
from nbdist.scene.mosaic import mosaic_rotations
from nbdist.scene.rocking import recommended_phi_steps, recommended_points
from nbdist.scene.sources import Sources

ONE = np.eye(3)[None]
BEAM = Sources(np.array([[0.0, 0, 1]]), np.array([1.0]), np.array([1.0]))


def rocking_width_deg(crystal, largest_A, mosaic, sources, d_A, beam=None, points=None):
    """Counted domains and sources are what the sum takes, unless more are said."""
    points = len(mosaic) * len(sources) if points is None else points
    return rocking.rocking_width_deg(crystal, beam or Beam(), largest_A, mosaic, sources, points, d_A)


def crystal(**fields):
    return Crystal(cell=(40, 40, 40, 90, 90, 90), N_cells=(10, 10, 10), **fields)


CURVES = {  # F_latt^2 / N^2 at x = (h - h0) N, as physics says
    "square": lambda x: np.sinc(x) ** 2,
    "round": lambda x: (3 * (np.sin(np.pi * x) / (np.pi * x) - np.cos(np.pi * x)) / (np.pi * x) ** 2) ** 2,
    "gauss": lambda x: np.exp(-(x**2) / 0.63) ** 2,
    "tophat": lambda x: np.where(x**2 < 0.3969, 1.0, 0.0),
}


@pytest.mark.parametrize("shape", CURVES)
def test_the_width_of_a_small_crystal_is_that_of_its_shape_transform(shape):
    x = np.linspace(1e-4, 2, 200_001)
    half = x[np.argmax(CURVES[shape](x) < 0.5)]
    width = rocking_width_deg(crystal(shape=shape), 400.0, ONE, BEAM, 2.0)
    assert width == pytest.approx(np.rad2deg(2 * half * 2.0 / 400), rel=2e-3)
    if shape != "square":
        assert rocking_width_deg(crystal(shape=shape, fudge=4), 400.0, ONE, BEAM, 2.0) == pytest.approx(width / 2)


def test_a_normal_spread_of_wavelengths_or_directions_widens_by_its_own_width():
    rng, n, deviation = np.random.default_rng(1), 200_000, 1e-3
    own = rocking_width_deg(crystal(), 1e7, ONE, BEAM, 2.0)
    colours = Sources(np.tile(BEAM.directions, (n, 1)), 1 + deviation * rng.normal(size=n), np.ones(n))
    # d theta = (d lambda / lambda) tan theta, sin theta = 1 A / (2 * 2 A)
    expected = np.rad2deg(2.3548 * deviation * np.tan(np.arcsin(0.25)))
    assert rocking_width_deg(crystal(), 1e7, ONE, colours, 2.0) == pytest.approx(expected, rel=0.01)
    tilts = np.stack([deviation * rng.normal(size=n), deviation * rng.normal(size=n), np.ones(n)], axis=1)
    spread = Sources(tilts / np.linalg.norm(tilts, axis=1)[:, None], np.ones(n), np.ones(n))
    assert rocking_width_deg(crystal(), 1e7, ONE, spread, 2.0) == pytest.approx(
        np.rad2deg(2.3548 * deviation), rel=0.01
    )
    assert own < 0.01 * expected


def test_mosaic_domains_widen_as_far_as_they_fill():
    own = rocking_width_deg(crystal(), 20_000.0, ONE, BEAM, 2.0)
    widths = [
        rocking_width_deg(crystal(), 20_000.0, mosaic_rotations(0.5, n, 1), BEAM, 2.0) for n in (1, 10, 100, 3000)
    ]
    assert widths[:2] == [own, own]
    assert widths[2] == pytest.approx(10 * own)
    # of the cap's rotation vectors: variance 0.5^2 <(1-u^2)^(2/3)> / 3 about each axis, u uniform in [-1, 1]
    u = np.linspace(-1, 1, 100_001)
    deviation = 0.5 * np.sqrt(np.mean((1 - u**2) ** (2 / 3)) / 3)
    assert widths[3] == pytest.approx(2.3548 * deviation, rel=0.05)


def test_normal_spreads_widen_by_the_least_that_a_reflection_sees():
    def width(mosaicity=0.0, points=math.inf, **beam):
        its = crystal(mosaicity={"sigma_deg": mosaicity})
        return rocking_width_deg(its, 20_000.0, ONE, BEAM, 2.0, Beam(**beam), points)

    own = width()
    assert width(0.1) == pytest.approx(math.hypot(own, 2.3548 * 0.1), rel=1e-4)
    assert width([0.3, 0.1, 0.2]) == width(0.1)
    assert width(divergence_sigma_mrad=[2, 1]) == pytest.approx(math.hypot(own, 2.3548 * np.rad2deg(1e-3)), rel=1e-4)
    # d theta = (d lambda / lambda) tan theta, sin theta = 1 A / (2 * 2 A)
    colours = 2.3548 * np.rad2deg(3e-3) * math.tan(math.asin(0.25))
    assert width(bandwidth_sigma=3e-3) == pytest.approx(math.hypot(own, colours), rel=1e-4)
    assert width(0.1, points=100) == pytest.approx(10 * own)
    assert width(0.1, points=10) == own


def test_a_frame_takes_as_many_phi_steps_as_its_normal_spreads_let_it(small_experiment):
    def scene(sigma_deg, domains):
        mosaicity = {"sigma_deg": sigma_deg, "domains": domains}
        scan = {"osc_range_deg": 2.0, "phi_steps": "auto"}
        return resolve(small_experiment(scan=scan, crystal={"mosaicity": mosaicity}))

    own = scene(0.0, None).rocking_width_deg
    assert scene(0.5, 40).rocking_width_deg == pytest.approx(math.hypot(own, 2.3548 * 0.5), rel=1e-4)
    assert scene(0.5, 40).phi_steps == 5
    assert scene(0.5, 10).phi_steps == scene(0.0, None).phi_steps == 18


def test_recommended_points_are_ten_in_every_width():
    assert recommended_points(1e-3, [0, 0]) == 10
    # 1e-3 rad rms is 2.3548e-3 wide: 2.558 own widths
    assert recommended_points(1e-3, [1e-3, 0]) == 26
    assert recommended_points(1e-3, [1e-3, 1e-3]) == 66


def test_auto_takes_three_steps_a_width_and_one_for_a_still(small_experiment):
    scene = resolve(small_experiment(scan={"osc_range_deg": 2.0, "phi_steps": "auto"}))
    # 320 A along a, c* and the corner at 2.18 A (see check): 0.886 * 2.176 / 320 rad = 0.3452 degrees
    assert scene.rocking_width_deg == pytest.approx(np.rad2deg(0.886 * scene.finest_A / 320), rel=1e-6)
    assert scene.phi_steps == np.ceil(3 * 2.0 / scene.rocking_width_deg) == 18
    assert scene.steps == 18
    assert len(scene.phi_rotations(0)) == 18
    for scan, steps in (({"osc_range_deg": -2.0}, 18), ({"osc_range_deg": 0.0}, 1), ({"osc_range_deg": 0.01}, 1)):
        assert resolve(small_experiment(scan={**scan, "phi_steps": "auto"})).phi_steps == steps


@pytest.mark.parametrize("last_bits", [1 - 1e-14, 1.0, 1 + 1e-14])
def test_the_number_of_steps_does_not_depend_on_last_bits(last_bits):
    # three steps for each width of 0.1 degrees: 7.5 in 0.25 degrees, and 9 in 0.3
    assert recommended_phi_steps(0.25, 0.1 * last_bits) == 8
    assert recommended_phi_steps(0.3, 0.1 * last_bits) == 9


def test_auto_looks_no_farther_than_the_resolution_limit(small_experiment):
    scan = {"osc_range_deg": 2.0, "phi_steps": "auto"}
    assert resolve(small_experiment(scan=scan, sampling={"d_min_A": 8.0})).phi_steps == 5


def test_an_absurd_number_of_automatic_steps_is_refused_by_name(small_experiment):
    with pytest.raises(ExperimentError, match=r"^scan\.phi_steps: auto asks for"):
        resolve(small_experiment(scan={"phi_steps": "auto"}, crystal={"N_cells": [10**8] * 3}))
    assert recommended_phi_steps(1.0, 0.0) > 10**9


def test_an_automatic_number_of_steps_has_the_pixels_of_the_same_number_given(small_experiment, make_renderer):
    automatic, given = (small_experiment(scan={"osc_range_deg": 2.0, "phi_steps": n}) for n in ("auto", 18))
    np.testing.assert_array_equal(make_renderer(automatic).frame(1), make_renderer(given).frame(1))
    assert automatic.fingerprint != given.fingerprint
