"""Amplitudes are found by their index; between reflections, by a cubic through 4 x 4 x 4 of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nbdist.errors import ExperimentError
from nbdist.kernels.reference.amplitudes import interpolated, nearest, on_device
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.amplitudes import Reflections

index = st.tuples(*[st.integers(-6, 6)] * 3)
reflections = st.lists(st.tuples(index, st.floats(0, 1e4)), min_size=1, max_size=30)
LOW, HIGH = np.array([-5, -4, -3]), np.array([5, 6, 7])


def look_up(table, points):
    """`nearest` at whole points (n, 3)."""
    whole = torch.as_tensor(np.array(points, dtype=np.float64)).T
    return nearest(tuple(whole), on_device(table, torch.device("cpu"))[0]).numpy()


def interpolate(table, points, dtype=torch.float64):
    """`interpolated` at any points (n, 3)."""
    h = torch.as_tensor(np.array(points, dtype=np.float64))
    whole = torch.round(h)
    table = replace(table, values=table.values.astype(str(dtype).removeprefix("torch.")))
    [tensors] = on_device(table, torch.device("cpu"))
    return interpolated(tuple(whole.to(dtype).T), tuple((h - whole).to(dtype).T), tensors).double().numpy()


def full_table(function):
    """A table that holds `function(h, k, l)` at every index of the box LOW ... HIGH."""
    box = np.array(list(product(*(range(low, high + 1) for low, high in zip(LOW, HIGH, strict=True)))))
    return AmplitudeTable.of(Reflections(box, function(*box.T.astype(float)), 0.0))


def lagrange(x, nodes):
    """Weights of the nodes in the polynomial through them, at x."""
    return np.array([np.prod([(x - m) / (n - m) for m in nodes if m != n]) for n in nodes])


@given(
    listed=reflections, points=st.lists(st.tuples(*[st.integers(-40, 40)] * 3), min_size=1), default_F=st.floats(0, 500)
)
def test_nearest_answers_like_a_dictionary(listed, points, default_F):
    values = dict(listed)  # a reflection listed twice keeps its last amplitude, as in the table
    indices = np.array([hkl for hkl, _ in listed], dtype=np.int64)
    table = AmplitudeTable.of(Reflections(indices, np.array([F for _, F in listed]), default_F))
    points = points + list(values)
    np.testing.assert_array_equal(look_up(table, points), [values.get(point, default_F) for point in points])


def test_without_a_list_every_reflection_has_the_default_amplitude():
    table = AmplitudeTable.of(Reflections(np.zeros((0, 3), dtype=np.int64), np.zeros(0), 12.5))
    assert look_up(table, [(0, 0, 0), (3, -9, 1000)]).tolist() == [12.5, 12.5]


def test_a_box_of_indices_too_large_for_a_crystal_is_refused():
    with pytest.raises(ExperimentError, match="too large"):
        AmplitudeTable.of(Reflections(np.array([[0, 0, 0], [5000, 5000, 5000]]), np.ones(2), 0.0))


def test_interpolation_reproduces_the_table_at_whole_indices():
    table = full_table(lambda h, k, l: np.random.default_rng(3).uniform(0, 100, h.shape))
    points = list(product(range(-8, 9), range(-8, 9), range(-8, 9)))
    np.testing.assert_array_equal(interpolate(table, points), look_up(table, points))


@given(h=st.floats(-2.99, 2.99), k=st.floats(-1.99, 3.99), l=st.floats(-0.99, 4.99))
def test_interpolation_is_exact_for_cubics(h, k, l):
    def cubic(h, k, l):
        return 500 + h**3 - 2 * k**3 * h + l**3 * k**2 - 3 * h * k * l + l

    # 4e3: the largest value in the box; a cubic in each index is the polynomial through its own values
    assert interpolate(full_table(cubic), [(h, k, l)])[0] == pytest.approx(cubic(h, k, l), rel=0, abs=1e-11 * 4e3)


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 3e-6)], ids=["float64", "float32"]
)
@given(points=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=15))
def test_interpolation_is_the_product_of_lagrange_polynomials_and_nearest_at_the_edge(dtype, limit, points):
    box = np.random.default_rng(5).uniform(0, 100, HIGH - LOW + 1)
    table = full_table(
        lambda h, k, l: box[(h - LOW[0]).astype(int), (k - LOW[1]).astype(int), (l - LOW[2]).astype(int)]
    )
    if dtype is torch.float32:  # what float32 makes of a point: a whole number and a rounded fraction
        points = [tuple(float(np.rint(x)) + float(np.float32(x - np.rint(x))) for x in point) for point in points]

    def expected(point):
        first = np.floor(point).astype(int) - 1
        # nanoBragg keeps one reflection between the stencil and the edge of the listed box
        if not ((first >= LOW + 1) & (first + 3 <= HIGH - 1)).all():
            return look_up(table, [np.rint(point)])[0]
        weights = [lagrange(x, range(start, start + 4)) for x, start in zip(point, first, strict=True)]
        at = first - LOW
        stencil = box[at[0] : at[0] + 4, at[1] : at[1] + 4, at[2] : at[2] + 4]
        return np.einsum("i,j,k,ijk", *weights, stencil)

    found = interpolate(table, points, dtype)
    # the weights of a cubic stencil add to less than 1.63 in absolute value on each axis: 100 * 1.63^3 bounds the terms
    np.testing.assert_allclose(found, [expected(np.array(point)) for point in points], rtol=0, atol=limit * 433)


@pytest.mark.parametrize(("cells", "expected"), [((2, 9, 9), True), ((3, 9, 9), False), ((9, 9, 1), True)])
def test_auto_interpolates_for_two_cells_or_fewer_along_an_axis(small_experiment, cells, expected):
    from nbdist.scene import resolve

    assert resolve(small_experiment(crystal={"N_cells": cells})).specimen.lattices[0].interpolate is expected
