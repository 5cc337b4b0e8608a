"""Kernels are integrals over pixels of what their formulas say, and light that leaves a panel is lost."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.experiment.readout import PointSpread
from nbdist.readout.charge_sharing import charge_sharing_taps
from nbdist.readout.draws import Draws
from nbdist.readout.point_spread import (
    GRID,
    Kernel,
    fibre_weights,
    gaussian_taps,
    image_weights,
    kernel_of,
    light_beyond,
    radial_weights,
    spread_along_axes,
    spread_by_transform,
)

LARGE = 2000, 2000
CURVES = {
    "gaussian": lambda r, fwhm, beta: 4 * math.log(2) / (math.pi * fwhm**2) * 2.0 ** (-4 * r * r / fwhm**2),
    "fibre": lambda r, fwhm, beta: CURVES["moffat"](r, fwhm, 1.5),
    "moffat": lambda r, fwhm, beta: (
        (beta - 1) / math.pi * (c := 4 * (2 ** (1 / beta) - 1) / fwhm**2) * (1 + c * r * r) ** -beta
    ),
}
"""Densities in r whose value at r = fwhm/2 is half of that at 0."""


def kernel(kind, fwhm_mm, pixel_mm=0.1, shape=LARGE, **fields):
    return kernel_of(PointSpread(kind=kind, fwhm_mm=fwhm_mm, **fields), "readout.point_spread", pixel_mm, shape)


def weights_of(its):
    if its.weights is not None:
        return its.weights
    along = np.concatenate([its.taps[:0:-1], its.taps]).astype(np.float64)
    return np.outer(along, along)


def by_hand(image, weights):
    reach, rows, columns = len(weights) // 2, *image.shape
    padded = np.pad(image.astype(np.float64), reach)
    light = np.zeros(image.shape)
    for (i, j), weight in np.ndenumerate(weights):
        light += weight * padded[2 * reach - i : 2 * reach - i + rows, 2 * reach - j : 2 * reach - j + columns]
    return light


@pytest.mark.parametrize(("kind", "beta"), [("gaussian", None), ("fibre", None), ("moffat", 3.0)])
@pytest.mark.parametrize("fwhm_px", [0.4, 1.7, 6.0])
def test_a_kernel_is_the_integral_of_its_density_over_each_pixel(kind, beta, fwhm_px):
    weights = weights_of(kernel(kind, 0.1 * fwhm_px, reach_mm=2.0, beta=beta))
    assert weights.shape == (41, 41)
    nodes, shares = np.polynomial.legendre.leggauss(40)
    for slow, fast in ((0, 0), (1, 0), (2, 3), (0, 5)):
        r = np.hypot(slow + nodes[:, None] / 2, fast + nodes / 2)
        expected = shares @ CURVES[kind](r, fwhm_px, beta) @ shares / 4
        # 40 nodes a side find the narrowest of these to 1e-5 of its peak; taps are float32
        for place in ((20 + slow, 20 + fast), (20 - fast, 20 + slow)):
            assert weights[place] == pytest.approx(expected, rel=1e-5, abs=1e-9), (slow, fast)


@pytest.mark.parametrize(("kind", "lost"), [("gaussian", 1e-6), ("fibre", 3e-3), ("moffat", 3e-3)])
def test_a_kernel_reaches_as_far_as_what_it_may_lose(kind, lost):
    total = weights_of(kernel(kind, 0.05, beta=2.0 if kind == "moffat" else None)).sum()
    assert 1 - 1.05 * lost < total <= 1 + 1e-7


def test_the_light_of_a_fibre_falls_with_the_third_power_of_the_distance():
    fwhm_px = 0.5
    g = fwhm_px / (2 * math.sqrt(2 ** (2 / 3) - 1))
    weights = fibre_weights(fwhm_px, 200)
    assert weights[200, 400] == pytest.approx(g / (2 * math.pi * 200**3), rel=1e-4)
    assert weights[200, 300] / weights[200, 400] == pytest.approx(8, rel=1e-4)


def test_the_light_in_a_square_is_that_of_the_closed_form():
    # of a fibre: 2/pi arctan(a^2/(g sqrt(g^2 + 2 a^2))) within a from the middle; of a Gaussian erf^2
    fwhm_px, reach = 1.5, 7
    g, a = fwhm_px / (2 * math.sqrt(2 ** (2 / 3) - 1)), reach + 0.5
    assert fibre_weights(fwhm_px, reach).sum() == pytest.approx(
        2 / math.pi * math.atan(a * a / (g * math.sqrt(g * g + 2 * a * a))), rel=1e-13
    )
    light = weights_of(Kernel(taps=gaussian_taps(fwhm_px, 1))).sum()
    assert light == pytest.approx(math.erf(1.5 * 2 * math.sqrt(math.log(2)) / fwhm_px) ** 2, rel=1e-6)


def test_a_moffat_of_exponent_three_halves_is_a_fibre():
    np.testing.assert_allclose(
        radial_weights(light_beyond("moffat", 0.7, 1.5), 30), fibre_weights(0.7, 30), rtol=1e-8, atol=1e-15
    )


def test_kernels_follow_the_pixels_of_a_panel_and_are_no_wider_than_it():
    assert len(kernel("gaussian", 0.1, pixel_mm=0.05).taps) > len(kernel("gaussian", 0.1, pixel_mm=0.2).taps)
    narrow = kernel("fibre", 0.1, shape=(5, 8))
    assert narrow.weights.shape == (15, 15)
    np.testing.assert_array_equal(narrow.weights, kernel("fibre", 0.1, reach_mm=0.7).weights)


@pytest.mark.parametrize("place", [(0, 0), (0, 6), (10, 8), (19, 14)])
@pytest.mark.parametrize("kind", ["gaussian", "fibre"])
def test_the_light_of_a_pixel_leaves_the_panel_at_its_edges(kind, place):
    its = kernel(kind, 0.15, shape=(20, 15), reach_mm=0.6)
    image = np.zeros((20, 15), dtype=np.int32)
    image[place] = 1000
    light = spread_along_axes(image, its.taps) if its.weights is None else spread_by_transform(image, its)
    np.testing.assert_allclose(light, by_hand(image, weights_of(its)), rtol=2e-6, atol=1e-6)
    if place == (0, 0):
        quarter = weights_of(its)[6:, 6:].sum()
        assert light.sum() == pytest.approx(1000 * quarter, rel=1e-5)


@pytest.mark.parametrize("shape", [(3, 50), (50, 3), (150, 131)])
def test_transformed_blocks_give_the_exact_sum_of_whole_photons(shape):
    its = Kernel(weights=fibre_weights(0.6, 20))
    its.__dict__["block"] = 96  # so that an image has several
    image = Draws(3).poisson(np.full(shape, 40.0, dtype=np.float32))
    image[shape[0] // 2, shape[1] // 2] = 10**6
    whole = np.rint(its.weights / GRID).astype(np.int64)
    exact = by_hand(image, whole)  # below 2^53 in quanta of light
    assert exact.max() < 2**53
    np.testing.assert_array_equal(spread_by_transform(image, its), (exact * GRID).astype(np.float32))


def test_a_kernel_of_an_image_is_its_light_over_the_panels_pixels(tmp_path):
    np.save(tmp_path / "kernel.npy", np.ones((3, 5)))
    spread = PointSpread(kind="image", file=tmp_path / "kernel.npy", pixel_size_mm=0.05)
    light = kernel_of(spread, "readout.point_spread", 0.1, LARGE).weights
    # rows reach 0.75 of a pixel from the middle, columns 1.25
    along_slow, along_fast = np.array([0.25, 1, 0.25]) / 1.5, np.array([0.75, 1, 0.75]) / 2.5
    np.testing.assert_allclose(light, np.outer(along_slow, along_fast))
    assert image_weights(np.eye(3), 1.0) == pytest.approx(np.eye(3) / 3)


@pytest.mark.parametrize("wrong", [np.ones((2, 3)), np.zeros((3, 3)), np.array([[1.0, np.nan, 1]]), np.ones(3)])
def test_a_file_that_is_no_kernel_is_refused_by_name(wrong, tmp_path):
    np.save(tmp_path / "kernel.npy", wrong)
    spread = PointSpread(kind="image", file=tmp_path / "kernel.npy", pixel_size_mm=0.1)
    with pytest.raises(ExperimentError, match=r"^readout\.point_spread\.file: .*kernel\.npy.*odd numbers of pixels"):
        kernel_of(spread, "readout.point_spread", 0.1, LARGE)


def test_counts_of_neighbours_vary_together_as_the_products_of_the_kernel():
    # of counts with mean m, the light of pixels a and b has the covariance m sum_k w(a - k) w(b - k); 4 million samples see 0.5 %
    mean, taps = 20.0, gaussian_taps(1.6, 4)
    light = spread_along_axes(Draws(5).poisson(np.full((2008, 2008), mean, dtype=np.float32)), taps)[4:-4, 4:-4]
    apart = light.astype(np.float64) - mean * weights_of(Kernel(taps=taps)).sum()
    along = np.concatenate([taps[:0:-1], taps]).astype(np.float64)
    autocorrelation = np.correlate(along, along, "full")[8:]
    assert apart.mean() == pytest.approx(0, abs=0.02)
    for slow, fast in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2)):
        measured = (apart[: 2000 - slow, : 2000 - fast] * apart[slow:, fast:]).mean()
        expected = mean * autocorrelation[slow] * autocorrelation[fast]
        assert measured == pytest.approx(expected, abs=0.005 * mean * autocorrelation[0] ** 2), (slow, fast)


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.75])
def test_charge_sharing_leaves_the_rest_of_its_fraction_and_loses_what_leaves_the_panel(fraction):
    taps = charge_sharing_taps(fraction)
    image = np.zeros((5, 5), dtype=np.float32)
    image[2, 2] = image[0, 0] = 1
    shared = spread_along_axes(image, taps).astype(np.float64)
    side = (1 - math.sqrt(1 - fraction)) / 2
    assert shared[2, 2] == pytest.approx(1 - fraction, rel=1e-6)
    assert shared[2, 3] == shared[3, 2] == pytest.approx(side * (1 - 2 * side), rel=1e-6)
    assert shared[3, 3] == pytest.approx(side**2, rel=1e-5)
    assert shared.sum() == pytest.approx(1 + (1 - side) ** 2, rel=1e-6)


def test_shared_photons_are_poisson_counts_of_their_own():
    # each is counted once, somewhere: variances are the means, and neighbours do not vary together
    means = np.full((1000, 1000), 9.0, dtype=np.float32)
    means[::2] = 1.0
    counts = Draws(2).poisson(spread_along_axes(means, charge_sharing_taps(0.3)))[1:-1, 1:-1].astype(np.float64)
    expected = spread_along_axes(means, charge_sharing_taps(0.3))[1:-1, 1:-1]
    apart = counts - expected
    np.testing.assert_allclose((apart**2).mean(axis=1)[::2].mean(), expected[::2].mean(), rtol=5e-3)
    np.testing.assert_allclose((apart**2).mean(axis=1)[1::2].mean(), expected[1::2].mean(), rtol=5e-3)
    assert abs((apart[:-1] * apart[1:]).mean()) < 0.005 * expected.mean()


def test_what_is_seen_of_an_image_is_that_of_its_pieces():
    its = kernel("fibre", 0.15, reach_mm=0.5, shape=(20, 20))
    assert its.block < 60, "several pieces"
    image = np.random.default_rng(2).gamma(0.5, 30.0, (100, 130)).astype(np.float32)

    def seen(photons):
        return photons / (1 + np.float32(0.1) * photons)

    np.testing.assert_array_equal(spread_by_transform(image, its, seen), spread_by_transform(seen(image), its))
    assert (spread_by_transform(image, its, seen) < spread_by_transform(image, its)).all()
