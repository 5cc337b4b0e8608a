"""Distributions have the moments and quantiles of their formulas, and the numbers that are written down here for one seed.

Seeds are fixed, so no limit here is met by luck: five standard deviations is what a right generator stays within.
"""

from __future__ import annotations

import math

import gemmi
import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import cell_volume_A3, xyz_rotation
from nbdist.experiment.recipe import functions
from nbdist.experiment.recipe.distributions import constraints, read
from nbdist.experiment.recipe.drawing import Drawing, path_word
from nbdist.random_words import RandomWords

MANY = 2500


def drawn(distribution, number=MANY, seed=7, **others):
    """What is drawn of a distribution in the first samples."""
    root = read({"x": distribution, **others})
    return [Drawing(root, seed, sample).at("x") for sample in range(number)]


def has_quantiles(values, quantile_of):
    """Whether ranks follow a distribution function: Kolmogorov's statistic below 1.95, which one in a thousand exceeds."""
    shares = np.sort(quantile_of(np.array(values)))
    ranks = np.arange(len(shares) + 1) / len(shares)
    return max(np.abs(shares - ranks[:-1]).max(), np.abs(shares - ranks[1:]).max()) * math.sqrt(len(shares)) < 1.95


def matrices(angles_deg):
    """Rotations about x, then y, then z, (n, 3, 3)."""
    (a, b, c), (d, e, f) = (function(np.deg2rad(angles_deg)).T for function in (np.cos, np.sin))
    rows = [
        [c * b, c * e * d - f * a, c * e * a + f * d],
        [f * b, f * e * d + c * a, f * e * a - c * d],
        [-e, b * d, b * a],
    ]
    return np.array(rows).transpose(2, 0, 1)


def normal_share(x):
    return np.array([math.erf(each / math.sqrt(2)) / 2 + 0.5 for each in x])


def test_uniform_numbers_have_their_mean_variance_and_quantiles():
    values = drawn({"uniform": [2, 5]}, 10_000)
    assert np.mean(values) == pytest.approx(3.5, abs=5 * math.sqrt(0.75 / 10_000))
    assert np.var(values) == pytest.approx(0.75, abs=5 * math.sqrt(0.75**2 * 0.8 / 10_000))  # kurtosis 1.8
    assert has_quantiles(values, lambda x: (x - 2) / 3)
    assert 2 < min(values) < max(values) < 5


def test_the_logarithm_of_log_uniform_numbers_is_uniform():
    values = drawn({"log_uniform": [1e-3, 1e3]})
    assert has_quantiles(values, lambda x: (np.log10(x) + 3) / 6)
    assert drawn({"log_uniform": [4.0, 4.0]}, 3) == [4.0] * 3


def test_normal_numbers_have_their_moments_and_quantiles():
    values = np.array(drawn({"normal": [10, 2]}))
    assert values.mean() == pytest.approx(10, abs=5 * 2 / math.sqrt(MANY))
    assert values.var() == pytest.approx(4, abs=5 * 4 * math.sqrt(2 / MANY))
    assert has_quantiles(values, lambda x: normal_share((x - 10) / 2))


def test_a_truncated_normal_is_the_normal_between_its_limits():
    values = drawn({"normal": [0, 1], "within": [0.5, 1.5]})
    low, high = normal_share([0.5, 1.5])
    assert has_quantiles(values, lambda x: (normal_share(x) - low) / (high - low))
    assert 0.5 <= min(values) < max(values) <= 1.5


def test_integers_and_choices_come_as_often_as_they_should():
    counts = np.bincount(drawn({"integer": [1, 5]}))[1:]
    assert len(counts) == 5
    assert np.abs(counts - MANY / 5).max() < 5 * math.sqrt(MANY * 0.16)
    taken = drawn({"choice": ["a", "b", "c"], "weights": [1, 0, 3]})
    assert "b" not in taken
    assert taken.count("c") == pytest.approx(0.75 * MANY, abs=5 * math.sqrt(MANY * 0.1875))


def test_integers_reach_both_ends_of_63_bits():
    values = drawn({"integer": [-(2**63) + 1, 2**63 - 1]}, 100)
    assert min(values) < -(2**61) < 2**61 < max(values)


def test_rotations_are_uniform_over_all_of_them():
    """The angle has the density (1 - cos t)/pi, and every axis is turned to a point that is uniform on the sphere."""
    rotations = matrices(drawn({"rotation": "uniform"}))
    angles = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert has_quantiles(angles, lambda t: (t - np.sin(t)) / math.pi)
    for image in rotations.reshape(MANY, 9).T:
        assert has_quantiles(image, lambda z: (z + 1) / 2)  # a coordinate of such a point is uniform


def test_rotations_within_a_limit_are_those_of_all_that_lie_there():
    limit = math.radians(70)
    rotations = matrices(drawn({"rotation": {"within_deg": 70}}))
    angles = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert angles.max() < limit + 1e-9
    assert has_quantiles(angles, lambda t: (t - np.sin(t)) / (limit - math.sin(limit)))
    axes = rotations[:, [2, 0, 1], [1, 2, 0]] - rotations[:, [1, 2, 0], [2, 0, 1]]
    for along in (axes / np.linalg.norm(axes, axis=1, keepdims=True)).T:
        assert has_quantiles(along, lambda z: (z + 1) / 2)


def test_a_rotation_about_another_follows_it():
    about = [10.0, -20.0, 130.0]
    [nothing] = drawn({"rotation": {"within_deg": 0, "about_deg": about}}, 1)
    assert nothing == pytest.approx(about, abs=1e-12)
    free, turned = (
        drawn({"rotation": {"within_deg": 5}}, 20),
        drawn({"rotation": {"within_deg": 5, "about_deg": "= y"}}, 20, y=about),
    )
    for small, whole in zip(free, turned, strict=True):
        assert xyz_rotation(whole) == pytest.approx(xyz_rotation(small) @ xyz_rotation(about), abs=1e-12)


@pytest.mark.parametrize(
    ("group", "fixed"),
    [
        ("P 1", {}),
        ("C 1 2 1", {3: 90, 5: 90}),
        ("P 1 1 2", {3: 90, 4: 90}),
        ("P 21 21 21", {3: 90, 4: 90, 5: 90}),
        ("P 43 21 2", {1: 0, 3: 90, 4: 90, 5: 90}),
        ("P 31 2 1", {1: 0, 3: 90, 4: 90, 5: 120}),
        ("R 3", {1: 0, 3: 90, 4: 90, 5: 120}),
        ("R 3:R", {1: 0, 2: 0, 4: 3, 5: 3}),
        ("P 61", {1: 0, 3: 90, 4: 90, 5: 120}),
        ("F 2 3", {1: 0, 2: 0, 3: 90, 4: 90, 5: 90}),
    ],
)
def test_a_random_cell_is_what_its_space_group_allows_and_no_more(group, fixed):
    """`fixed`: an angle in degrees, or the number of the parameter that it equals. All others are drawn by themselves."""
    cells = np.array(drawn({"random_cell": {"space_group": group, "axes_A": [30, 90], "angles_deg": [60, 110]}}, 50))
    for number in range(6):
        if fixed.get(number, 10) >= 10 and number in fixed:
            assert (cells[:, number] == fixed[number]).all()
        elif number in fixed:
            assert (cells[:, number] == cells[:, fixed[number]]).all()
        else:
            assert len({*cells[:, number]}) == 50
    assert (cells[:, :3] >= 30).all()
    assert (cells[:, :3] <= 90).all()
    for cell in cells:
        assert cell_volume_A3(cell) > 0


def test_every_space_group_has_constraints_that_its_operations_keep():
    """A cell with unlike free numbers, by `constraints`, has a metric that each rotation of the group leaves as it is."""
    free = {"a": 40.0, "b": 53.0, "c": 71.0, "alpha": 81.0, "beta": 97.0, "gamma": 104.0}
    for group in gemmi.spacegroup_table_itb():
        axes, angles = constraints(group.xhm())
        cell = gemmi.UnitCell(*(free[axis] for axis in axes), *(free.get(angle, angle) for angle in angles))
        orth = np.array(cell.orth.mat.tolist())
        metric = orth.T @ orth
        for operation in group.operations().sym_ops:
            rotation = np.array(operation.rot) / operation.DEN
            assert np.abs(rotation.T @ metric @ rotation - metric).max() < 1e-9 * metric.max(), group.xhm()


def test_a_random_cell_has_the_volume_that_is_asked_for():
    of = {"space_group": "P 1", "volume_A3": {"uniform": [1e5, 2e5]}, "axis_ratio": 3}
    root = read({"x": {"random_cell": of}})
    for sample in range(50):
        drawing = Drawing(root, 1, sample)
        cell, volume = drawing.at("x"), drawing.value(root.parts["x"].volume)
        assert cell_volume_A3(cell) == pytest.approx(volume, rel=1e-12)
        assert 1e5 <= volume <= 2e5
        assert max(cell[:3]) / min(cell[:3]) <= 3


def test_what_is_drawn_is_what_is_written_here():
    """Reference numbers of seed 7, sample 5, path "x": other ones would make other data sets of every recipe."""
    [*words] = RandomWords((7, 0x6E62646973740001)).blocks((0, path_word("x"), 5, 0), 1)[0].tolist()
    assert path_word("x") == 0x2D711642B726B044  # the first 16 digits of sha256sum of an x
    u, v, *_ = (((word >> 12) + 0.5) * 2.0**-52 for word in words)
    found = {name: drawn(its, 6)[5] for name, its in PINNED.items()}
    assert found["uniform"] == u
    assert found["normal"] == pytest.approx(math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v), rel=1e-12)
    assert found["integer"] == words[0] % 1000
    assert found == NUMBERS


PINNED = {
    "uniform": {"uniform": [0, 1]},
    "log_uniform": {"log_uniform": [1, 1000]},
    "normal": {"normal": [0, 1]},
    "within": {"normal": [0, 1], "within": [1, 2]},
    "integer": {"integer": [0, 999]},
    "choice": {"choice": ["a", "b", "c"]},
    "rotation": {"rotation": "uniform"},
    "within_deg": {"rotation": {"within_deg": 10}},
    "cell": {"random_cell": {"space_group": "P 1", "volume_A3": 1e5}},
    "repeat": {"repeat": {"integer": [2, 4]}, "of": {"uniform": [0, 1]}},
}
NUMBERS = {
    "uniform": 0.5941598060831367,
    "log_uniform": 60.60094803105947,
    "normal": -1.0077787268953518,
    "within": 1.4309872522797573,
    "integer": 941,
    "choice": "b",
    "rotation": [-73.50644592069723, -48.446941402214506, 99.82662786510353],
    "within_deg": [7.200950993525093, 4.3292964602204975, 0.6946013850034962],
    "cell": [
        57.79688249614121,
        37.95090873027431,
        45.935542814860895,
        96.94109755610086,
        89.83308061391422,
        91.10428540922098,
    ],
    "repeat": [0.867060910121768, 0.14660758267467766, 0.3679747075381662],
}


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"uniform": [1]}, r"x\.uniform: should be a list of the lowest number and the highest, found \[1\]"),
        ({"uniform": [2, 1]}, r"x: the first number should not be above the second, found 2, 1"),
        ({"uniform": [1, "a"]}, r"x\.uniform\.1: should be a number, an expression or a distribution, found \"a\""),
        ({"uniform": [0, 1], "sigma": 1}, r"x\.sigma: is no part of a distribution; it has uniform alone"),
        ({"log_uniform": [0, 1]}, r"x: log_uniform is of positive numbers, found 0"),
        ({"normal": [0, -1]}, r"x: sigma should not be below 0, found -1"),
        ({"normal": [0, 1], "within": [7, 8]}, r"x: within should hold 1 % of the distribution or more; \[7, 8\]"),
        ({"integer": [0.5, 2]}, r"x: should be two whole numbers below 2\^63, found 0\.5"),
        ({"choice": []}, r"x\.choice: should be a list of alternatives, found \[\]"),
        (
            {"choice": [1, 2], "weights": [1]},
            r"x\.weights: should be 2 numbers, none below 0 and one above, found \[1\]",
        ),
        ({"choice": [1, 2], "weights": [0, 0]}, r"x\.weights: should be 2 numbers"),
        ({"rotation": "some"}, r"x\.rotation: should be uniform, or \{within_deg: x\}"),
        ({"rotation": {"within_deg": 200}}, r"x\.rotation\.within_deg: should be 0 to 180 degrees, found 200"),
        (
            {"random_cell": {"space_group": "P 9", "axes_A": [1, 2]}},
            r"x\.random_cell\.space_group: should be a space group's",
        ),
        ({"random_cell": {"space_group": "P 1"}}, r"x\.random_cell: give volume_A3 or axes_A$"),
        ({"random_cell": {"axes_A": [1, 2]}}, r"x\.random_cell: should have space_group"),
        ({"random_cell": {"space_group": "P 1", "axes_A": [1, 2], "angles_deg": [30, 31]}}, None),
        ({"random_cell": {"space_group": "P 1", "axes_A": [1, 2], "angles_deg": [125, 130]}}, r"angles_deg: no angles"),
        (
            {"repeat": {"uniform": [1, 3]}, "of": 1},
            r"x\.repeat: should be a whole number, a choice of some, or \{integer: \[1, 3\]\} for 1 to 3",
        ),
        ({"repeat": 2}, r"x: repeat needs of"),
        ({"unifrom": [1, 2]}, r"x: unifrom is no distribution; near uniform"),
        ({"file_of": "/nowhere/*.pdb"}, r"x\.file_of: there is no file /nowhere/\*\.pdb"),
    ],
)
def test_what_is_no_distribution_is_refused_in_one_line(of, said):
    if said is None:
        assert len(drawn(of, 1)) == 1
        return
    with pytest.raises(ExperimentError, match=said) as refused:
        drawn(of, 1)
    assert "\n" not in str(refused.value)


def test_functions_are_those_of_the_mathematical_library():
    """To a few of their last digits, and exact where the argument is."""
    for x in np.random.default_rng(5).uniform(-700, 700, 500).tolist():
        assert functions.exp(x) == pytest.approx(math.exp(x), rel=5e-16)
        assert functions.log(abs(x)) == pytest.approx(math.log(abs(x)), rel=1e-15, abs=1e-15)
        assert functions.sin_deg(x) == pytest.approx(math.sin(math.radians(math.fmod(x, 360))), abs=1e-15)
        assert functions.cos_deg(x) == pytest.approx(math.cos(math.radians(math.fmod(x, 360))), abs=1e-15)
        y = 350 - x
        assert functions.atan2_deg(y, x) == pytest.approx(math.degrees(math.atan2(y, x)), rel=5e-16, abs=1e-13)
        assert functions.power(abs(x), 0.3) == pytest.approx(abs(x) ** 0.3, rel=1e-14)
    assert [functions.sin_deg(90 * n) for n in range(4)] == [0, 1, 0, -1]
    assert [functions.cos_deg(90 * n) for n in range(4)] == [1, 0, -1, 0]
    assert [functions.atan2_deg(y, x) for y, x in ((0, 1), (1, 1), (1, 0), (-1, -1), (0, 0))] == [0, 45, 90, -135, 0]
    assert (functions.power(2, 10), functions.power(2, -1), functions.power(0, 0.5)) == (1024, 0.5, 0)
    assert functions.exp(-800) == 0
    assert functions.sin_deg(1e-12) == pytest.approx(math.radians(1e-12), rel=1e-15)
