"""Lattice transforms against their formulas, evaluated directly in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nbdist.experiment.lattice import cell_volume_A3, reciprocal_from_cell
from nbdist.kernels.attribution import spot_profile
from nbdist.kernels.reference import shapes
from nbdist.kernels.reference.orientation_sum import split
from nbdist.scene import resolve

ROUNDING = {torch.float64: 2e-12, torch.float32: 1e-6}
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
fractions = st.floats(-0.4999, 0.4999, allow_subnormal=False)
cells_1_to_1000 = st.tuples(*[st.integers(1, 1000)] * 3)


def f_latt_squared(shape, distances, cells, fudge=1.0, dtype=torch.float64):
    """`lattice_factor` of distances (3, n) to the nearest whole h, k, l, as float64 numpy."""
    parts = [split(torch.as_tensor(np.array(axis, dtype=np.float64)), dtype) for axis in distances]
    value = shapes.lattice_factor(
        shape, parts, torch.tensor(cells, dtype=dtype), torch.tensor(fudge, dtype=torch.float64).to(dtype)
    )
    return value.broadcast_to(parts[0][0].shape).to(torch.float64).numpy()


def brick(h, n):
    """sin(pi N h)/sin(pi h), N at 0."""
    h = np.asarray(h)
    below = np.sin(np.pi * h)
    return np.where(h == 0, n, np.sin(np.pi * n * h) / np.where(h == 0, 1, below))


def envelope(h, n):
    """No value of the brick transform is larger near h."""
    return np.minimum(n, 1 / np.maximum(np.abs(np.sin(np.pi * np.asarray(h))), 1e-300))


def ball(x):
    """3 (sin x/x - cos x)/x^2 in extended precision; its series where that cancels."""
    x = np.asarray(x, dtype=np.longdouble)
    series = 1 - x**2 / 10 + x**4 / 280 - x**6 / 15120 + x**8 / 1330560
    far = np.maximum(x, np.longdouble(0.1))
    return np.where(x < 0.1, series, 3 * (np.sin(far) / far - np.cos(far)) / far**2).astype(np.float64)


def radius_squared(distances, cells):
    return sum((n * np.asarray(axis)) ** 2 for axis, n in zip(distances, cells, strict=True))


@DTYPES
@given(distances=st.tuples(fractions, fractions, fractions), cells=cells_1_to_1000)
def test_square_is_the_product_of_sine_ratios(dtype, distances, cells):
    expected = np.prod([brick(h, n) ** 2 for h, n in zip(distances, cells, strict=True)])
    limit = np.prod([envelope(h, n) ** 2 for h, n in zip(distances, cells, strict=True)])
    found = f_latt_squared("square", [[h] for h in distances], cells, dtype=dtype)[0]
    assert abs(found - expected) <= ROUNDING[dtype] * limit


@DTYPES
@pytest.mark.parametrize("shape", ["square", "round", "gauss", "tophat"])
@pytest.mark.parametrize("cells", [(1, 1, 1), (5, 7, 11), (1000, 1000, 1000)])
def test_every_shape_is_the_number_of_cells_squared_at_a_whole_index(dtype, shape, cells):
    # nanoBragg's factor makes the sphere 0.7236 of the brick
    expected = np.prod(np.array(cells, dtype=float)) ** 2 * (shapes.ROUND_SCALE**2 if shape == "round" else 1)
    found = f_latt_squared(shape, [[0.0]] * 3, cells, dtype=dtype)[0]
    assert found == pytest.approx(expected, rel=4 * torch.finfo(dtype).eps, abs=0)


@DTYPES
@pytest.mark.parametrize("offset", [0.0, 1e-9, 1e-6, 0.3, 0.5, 0.999, 1.0, 1.5, 2.0, 37.25, 498.5])
def test_square_of_a_thousand_cells_near_its_peaks(dtype, offset):
    # offset is in turns of N h: the peak, its zeros (whole numbers) and its side lobes (half numbers)
    h = np.array([offset, -offset]) / 1000
    found = f_latt_squared("square", [h, np.zeros(2), np.zeros(2)], (1000, 1, 1), dtype=dtype)
    assert (np.abs(found - brick(h, 1000) ** 2) <= ROUNDING[dtype] * envelope(h, 1000) ** 2).all()


@DTYPES
@given(
    distances=st.tuples(fractions, fractions, fractions),
    cells=st.tuples(*[st.integers(1, 20)] * 3),
    fudge=st.floats(0.3, 3),
)
def test_round_is_the_transform_of_a_sphere(dtype, distances, cells, fudge):
    x = np.pi * np.sqrt(fudge * radius_squared(distances, cells))
    amplitude = np.prod(cells) * 0.723601254558268
    # the argument of sin x is rounded: x eps of the bound 3/x^2 of the ball's transform (1 below x = 3)
    limit = amplitude**2 * 8 * torch.finfo(dtype).eps * max(1, x) * min(1, 3 / max(x, 1e-9) ** 2)
    found = f_latt_squared("round", [[h] for h in distances], cells, fudge, dtype)[0]
    assert abs(found - (amplitude * ball(x)) ** 2) <= limit


@pytest.mark.parametrize("x", [0.0, 1e-20, 1e-8, 1e-3, 0.0999, 0.1001, 0.5, 0.999999, 1.000001, 1.5])
def test_round_is_smooth_down_to_its_centre(x):
    h = x / np.pi / 10
    found = f_latt_squared("round", [[h], [0.0], [0.0]], (10, 1, 1))[0]
    assert found == pytest.approx((10 * shapes.ROUND_SCALE * ball(np.array(x))) ** 2, rel=5e-13)


@DTYPES
@given(
    distances=st.tuples(fractions, fractions, fractions),
    cells=st.tuples(*[st.integers(1, 20)] * 3),
    fudge=st.floats(0.3, 3),
)
def test_gauss_is_a_gaussian_of_the_radius(dtype, distances, cells, fudge):
    exponent = 2 * radius_squared(distances, cells) * fudge / 0.63
    expected = np.prod(cells) ** 2 * np.exp(-exponent)
    found = f_latt_squared("gauss", [[h] for h in distances], cells, fudge, dtype)[0]
    # 1e-37: where float32 ends
    assert found == pytest.approx(expected, rel=8 * torch.finfo(dtype).eps * (1 + exponent), abs=1e-37)


@DTYPES
@given(
    distances=st.tuples(fractions, fractions, fractions),
    cell=st.tuples(*[st.floats(20, 80)] * 3, *[st.floats(70, 115)] * 3),
    fudge=st.floats(0.3, 3),
)
def test_isotropic_is_a_gaussian_of_the_distance_in_reciprocal_space(dtype, distances, cell, fudge):
    size_A, reciprocal = 200.0, reciprocal_from_cell(cell)
    root = np.linalg.cholesky(size_A**2 * reciprocal @ reciprocal.T).T
    exponent = 2 * fudge / 0.63 * (size_A * np.linalg.norm(np.array(distances) @ reciprocal)) ** 2
    expected = (size_A**3 / cell_volume_A3(cell)) ** 2 * np.exp(-exponent)
    found = f_latt_squared("isotropic", [[h] for h in distances], root, fudge, dtype)[0]
    # the three terms of an axis of r may cancel: rounding is relative to the longest distance
    largest = 2 * fudge / 0.63 * (np.abs(root) @ np.abs(distances)) @ (np.abs(root) @ np.abs(distances))
    assert found == pytest.approx(expected, rel=16 * torch.finfo(dtype).eps * (1 + largest), abs=1e-37)


@DTYPES
@given(
    distances=st.tuples(fractions, fractions, fractions),
    cells=st.tuples(*[st.integers(1, 20)] * 3),
    fudge=st.floats(0.3, 3),
)
def test_tophat_is_all_inside_its_radius_and_nothing_outside(dtype, distances, cells, fudge):
    radius = radius_squared(distances, cells) * fudge
    found = f_latt_squared("tophat", [[h] for h in distances], cells, fudge, dtype)[0]
    if radius < 0.3969 * (1 - 1e-5):
        assert found == pytest.approx(float(np.prod(cells)) ** 2, rel=4 * torch.finfo(dtype).eps)
    elif radius > 0.3969 * (1 + 1e-5):
        assert found == 0


def test_tophat_ends_at_its_radius():
    # 0.63 of 1/N: radius^2 0.3969
    inside, outside = 0.6299 / 10, 0.6301 / 10
    found = f_latt_squared("tophat", [[inside, outside], [0, 0], [0, 0]], (10, 1, 1))
    assert found.tolist() == [100, 0]


@given(st.lists(st.floats(-4000, 4000), min_size=1, max_size=20))
def test_split_loses_nothing_and_its_coarse_part_is_exact_in_float32(values):
    value = torch.tensor(values, dtype=torch.float64)
    coarse, rest = split(value, torch.float32)
    assert torch.equal(coarse.double() * 2048, torch.round(coarse.double() * 2048))
    # the rest is below 2^-12 and float32 keeps 24 bits of it
    assert (coarse.double() + rest.double() - value).abs().max() <= 2.0**-12 * 2.0**-24


@DTYPES
@pytest.mark.parametrize("cells", [3, 47, 1000])
def test_square_is_exact_at_a_peak_whose_distance_comes_from_two_parts_that_cancel(dtype, cells):
    coarse = torch.tensor([[2.0**-11], [-(2.0**-11)]], dtype=dtype)
    left = torch.tensor([[3e-9], [-3e-9]], dtype=dtype)
    numbers = torch.tensor([cells, 1, 1], dtype=dtype)
    at_zero = (torch.zeros_like(coarse), torch.zeros_like(coarse))
    found = shapes.square([(coarse, left - coarse), at_zero, at_zero], numbers)
    # sin(pi N d)/sin(pi d) is N to (pi N d)^2/6, 1.5e-11 for 1000 cells
    np.testing.assert_allclose(found.numpy(), float(cells) ** 2, rtol=16 * torch.finfo(dtype).eps + 1e-10, atol=0)


@pytest.mark.parametrize("shape", ["square", "round", "gauss", "tophat", "isotropic"])
def test_pixels_are_attributed_by_the_same_transforms(small_experiment, shape):
    kind = {"size_um": 0.05} if shape == "isotropic" else {"N_cells": [20, 1, 300]}
    given = "gauss" if shape == "isotropic" else shape
    lattice = resolve(small_experiment(crystal={"shape": given, "fudge": 1.5, **kind})).specimen.lattices[0]
    scale = 1 / np.array([20, 3, 300])[:, None]
    distances = np.clip(np.random.default_rng(1).normal(size=(3, 500)) * scale * np.linspace(0, 1, 500), -0.5, 0.5)
    cells = lattice.shape_root if shape == "isotropic" else lattice.N_cells
    expected = f_latt_squared(shape, distances, cells, 1.5) / lattice.cells_in_all**2
    np.testing.assert_allclose(spot_profile(lattice, distances.astype(np.float32)), expected, atol=1e-3)
    assert expected[0] > 0.5
    assert expected.min() < 0.1
