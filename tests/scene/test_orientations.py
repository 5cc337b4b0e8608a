"""A crystal's orientation is one of as many as its point group has rotations; the one of smallest angle stands for all."""

from __future__ import annotations

import math

import gemmi
import numpy as np
import pytest

from nbdist.experiment.lattice import axis_rotation, cell_from_real, dual_vectors, reciprocal_from_cell, xyz_rotation
from nbdist.scene.orientations import (
    equivalent_rotations,
    quaternions,
    reduced_quaternion,
    standard_rotation,
    symmetry_rotations,
)
from nbdist.scene.symmetry import Symmetry

CELLS = {
    "P -1": (20, 23, 25, 80, 95, 100),
    "P 1 m 1": (20, 23, 25, 90, 95, 90),
    "C 1 2 1": (20, 23, 25, 90, 95, 90),
    "P n m a": (20, 23, 25, 90, 90, 90),
    "P 43 21 2": (24, 24, 19, 90, 90, 90),
    "R 3:H": (24, 24, 19, 90, 90, 120),
    "R 3 2:R": (20, 20, 20, 75, 75, 75),
    "P 61 2 2": (24, 24, 19, 90, 90, 120),
    "I 41 3 2": (26, 26, 26, 90, 90, 90),
}
ROTATIONS = {"P -1": 1, "P 1 m 1": 1, "C 1 2 1": 2, "P n m a": 4, "P 43 21 2": 8} | {
    "R 3:H": 3,
    "R 3 2:R": 6,
    "P 61 2 2": 12,
    "I 41 3 2": 24,
}
"""Orders of the proper point groups 1, 1, 2, 222, 422, 3, 32, 622 and 432."""
TURNED = xyz_rotation((31.0, -74.0, 158.0))


def lattice(name, rotation=TURNED):
    """Rows a, b, c of a cell turned from its standard setting."""
    return dual_vectors(reciprocal_from_cell(CELLS[name])) @ rotation.T


def symmetry_of(name):
    return Symmetry.of(name, CELLS[name])


def random_rotations(number):
    w = np.random.default_rng(5).normal(size=(number, 4))
    a, b, c, d = (w / np.linalg.norm(w, axis=1)[:, None]).T
    rows = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
    ]
    return np.moveaxis(np.array(rows), -1, 0), np.stack([a, b, c, d], axis=1)


@pytest.mark.parametrize("name", CELLS)
def test_the_rotation_of_a_lattice_is_what_it_was_turned_by(name):
    np.testing.assert_allclose(standard_rotation(lattice(name)), TURNED, atol=1e-14)


@pytest.mark.parametrize("name", CELLS)
def test_symmetry_makes_as_many_rotations_as_the_proper_point_group_has(name):
    found = symmetry_rotations(lattice(name), symmetry_of(name))
    assert len(found) == ROTATIONS[name]
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.broadcast_to(np.eye(3), found.shape), atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(found), 1, atol=1e-14)
    np.testing.assert_allclose(found[0], np.eye(3), atol=1e-15)


@pytest.mark.parametrize("name", CELLS)
def test_equivalent_rotations_are_those_that_gemmis_operations_make_of_the_indices(name):
    """Under x' = W x the reflection h is called W^T h; it must lie where it lay."""
    rows, B = lattice(name), reciprocal_from_cell(CELLS[name]).T
    operations = [op for op in gemmi.SpaceGroup(name).operations().sym_ops if op.det_rot() > 0]
    indices = [(1, 2, 3), (-4, 1, 0), (2, -5, 7)]
    found = equivalent_rotations(rows, symmetry_of(name))
    for U, operation in zip(found, operations, strict=True):
        for hkl in indices:
            there = U @ B @ operation.apply_to_hkl(hkl)
            np.testing.assert_allclose(there, dual_vectors(rows).T @ hkl, atol=1e-13)


@pytest.mark.parametrize("name", CELLS)
def test_symmetry_rotations_are_those_of_gemmis_orthogonal_axes(name):
    """In another standard setting, a along x and b in the x-y plane, in which gemmi has atoms: M W M^-1."""
    M = np.array(gemmi.UnitCell(*CELLS[name]).orth.mat.tolist())
    U = standard_rotation(M.T)
    operations = [op for op in gemmi.SpaceGroup(name).operations().sym_ops if op.det_rot() > 0]
    expected = [M @ (np.array(op.rot) / op.DEN) @ np.linalg.inv(M) for op in operations]
    np.testing.assert_allclose(U @ symmetry_rotations(M.T, symmetry_of(name)) @ U.T, expected, atol=1e-13)


@pytest.mark.parametrize("name", CELLS)
def test_a_crystal_that_is_indexed_anew_has_the_same_reduced_quaternion(name):
    symmetry = symmetry_of(name)
    for rotation in random_rotations(20)[0]:
        rows = lattice(name, rotation)
        anew = [W.T @ rows for W in symmetry.rotations if np.linalg.det(W) > 0]
        found = [reduced_quaternion(its, symmetry) for its in anew]
        np.testing.assert_allclose(found, np.broadcast_to(found[0], (len(found), 4)), atol=1e-12)
        angles = quaternions(equivalent_rotations(rows, symmetry))[:, 0]
        assert found[0][0] == pytest.approx(angles.max(), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "largest_deg"),
    [
        ("P -1", 180.0),
        ("P n m a", 120.0),  # 222
        ("P 61 2 2", 93.84),  # 622
        ("P 43 21 2", 98.42),  # 422
        ("I 41 3 2", 62.80),  # 432: cos of its half is (2 + sqrt 2)/4 (J. K. Mackenzie, Biometrika 45 (1958) 229)
    ],
)
def test_no_reduced_rotation_is_larger_than_the_groups_largest_disorientation(name, largest_deg):
    symmetry = symmetry_of(name)
    w = [reduced_quaternion(lattice(name, rotation), symmetry)[0] for rotation in random_rotations(400)[0]]
    angles_deg = 2 * np.rad2deg(np.arccos(np.clip(w, -1, 1)))
    assert 0.85 * largest_deg < angles_deg.max() < largest_deg + 0.01


def turn(axis, angle_deg):
    half = math.radians(angle_deg) / 2
    return math.cos(half), *(math.sin(half) * np.array(axis))


@pytest.mark.parametrize(
    ("name", "axis", "angle_deg", "reduced"),
    [
        ("P -1", (0, 0, 1), 80, turn((0, 0, 1), 80)),
        ("P 43 21 2", (0, 0, 1), 80, turn((0, 0, 1), -10)),
        ("P 43 21 2", (0, 0, 1), 90, (1, 0, 0, 0)),
        ("P 43 21 2", (0, 0, 1), 45, turn((0, 0, 1), 45)),  # as far as -45
        ("P 43 21 2", (0, 0, 1), -45, turn((0, 0, 1), 45)),
        ("R 3:H", (0, 0, 1), 110, turn((0, 0, 1), -10)),
        ("R 3:H", (1, 0, 0), 180, (0, 1, 0, 0)),  # three rotations by 180 degrees about axes across
        ("P n m a", (0, 1, 0), 170, turn((0, 1, 0), -10)),
        ("P 1 m 1", (0, 1, 0), 180, (0, 0, 1, 0)),  # a mirror turns nothing
        ("I 41 3 2", (1, 0, 0), 91, turn((1, 0, 0), 1)),
    ],
)
def test_rotations_about_axes_of_symmetry_are_reduced_to_the_nearest_operation(name, axis, angle_deg, reduced):
    rows = lattice(name, axis_rotation(axis, math.radians(angle_deg)))
    np.testing.assert_allclose(reduced_quaternion(rows, symmetry_of(name)), reduced, atol=1e-9)


def test_quaternions_are_those_of_their_rotations():
    rotations, expected = random_rotations(500)
    np.testing.assert_allclose(quaternions(rotations), expected * np.sign(expected[:, :1]), atol=1e-14)
    half_turns = [axis_rotation(axis, math.pi) for axis in ((1, 0, 0), (0, -1, 0), (0, 0, 1), (0, 3, -4))]
    np.testing.assert_allclose(
        quaternions(np.array(half_turns)), [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0.6, -0.8]], atol=1e-9
    )


def test_a_cell_that_is_nearly_symmetric_has_exact_rotations():
    rows = dual_vectors(reciprocal_from_cell((24.02, 23.98, 19, 90.1, 89.9, 90.05)))
    found = symmetry_rotations(rows, Symmetry.of("P 43 21 2", cell_from_real(rows)))
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (8, 3, 3)), atol=1e-14)
