"""Cells, orientation matrices, missets and mosaic rotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import (
    axis_rotation,
    cell_from_real,
    cell_volume_A3,
    dual_vectors,
    reciprocal_from_cell,
    xyz_rotation,
)
from nbdist.scene import resolve
from nbdist.scene.mosaic import mosaic_rotations, uniform_deviates

length = st.floats(5, 500)
cell_angle = st.floats(30, 150)
cells = st.tuples(length, length, length, cell_angle, cell_angle, cell_angle)
angle = st.floats(-360, 360)
TRICLINIC = (27.1, 31.7, 34.2, 88.5, 71.4, 68.2)


def valid(cell):
    """Not near the flat cells, where angles are lost to rounding."""
    try:
        return cell_volume_A3(cell) > 0.05 * np.prod(cell[:3])
    except ValueError:
        return False


def assert_rotation(matrix, limit=1e-14):
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=limit)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=limit)


@given(cell=cells)
def test_a_cell_comes_back_from_its_reciprocal_vectors(cell):
    assume(valid(cell))
    np.testing.assert_allclose(cell_from_real(dual_vectors(reciprocal_from_cell(cell))), cell, rtol=1e-11)


@given(cell=cells)
def test_reciprocal_vectors_are_dual_to_the_cell_in_the_usual_setting(cell):
    assume(valid(cell))
    reciprocal = reciprocal_from_cell(cell)
    np.testing.assert_allclose(dual_vectors(reciprocal) @ reciprocal.T, np.eye(3), atol=1e-11)
    assert np.linalg.det(reciprocal) == pytest.approx(1 / cell_volume_A3(cell), rel=1e-11)
    assert reciprocal[0, 1] == reciprocal[0, 2] == reciprocal[1, 2] == 0
    assert (np.diag(reciprocal) > 0).all()


@given(angles=st.tuples(angle, angle, angle), cell=cells)
def test_a_misset_is_a_rotation_of_the_crystal(small_experiment, angles, cell):
    assume(valid(cell))
    straight = (
        resolve(small_experiment(crystal={"cell": cell, "misset_deg": (0, 0, 0)})).specimen.lattices[0].real_vectors_A
    )
    turned = resolve(small_experiment(crystal={"cell": cell, "misset_deg": angles})).specimen.lattices[0].real_vectors_A
    np.testing.assert_allclose(turned, straight @ xyz_rotation(angles).T, rtol=0, atol=1e-10 * np.abs(straight).max())
    np.testing.assert_allclose(cell_from_real(turned), cell, rtol=1e-10)


@given(angles=st.tuples(angle, angle, angle))
def test_rotations_are_about_x_then_y_then_z(angles):
    steps = [axis_rotation(axis, np.deg2rad(a)) for axis, a in zip(np.eye(3), angles, strict=True)]
    found = xyz_rotation(angles)
    assert_rotation(found)
    np.testing.assert_allclose(found @ [1, 2, 3], steps[2] @ (steps[1] @ (steps[0] @ [1, 2, 3])), atol=1e-14)


def test_a_rotation_is_right_handed():
    np.testing.assert_allclose(axis_rotation((0, 0, 5), np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=2e-16)


def test_a_mosflm_matrix_has_reciprocal_vectors_times_wavelength_as_columns(small_experiment, tmp_path):
    reciprocal = reciprocal_from_cell(TRICLINIC) @ xyz_rotation((10, 20, 30)).T
    lines = "\n".join(" ".join(f"{x:.15e}" for x in row) for row in (0.9 * reciprocal).T)
    (tmp_path / "A.mat").write_text(lines)
    experiment = small_experiment(
        beam={"wavelength_A": 0.9}, crystal={"matrix_file": tmp_path / "A.mat", "misset_deg": (0, 0, 0)}
    )
    np.testing.assert_allclose(
        resolve(experiment).specimen.lattices[0].real_vectors_A, dual_vectors(reciprocal), rtol=1e-13, atol=1e-12
    )


def test_reciprocal_vectors_given_as_rows_equal_the_cell(small_experiment):
    rows = reciprocal_from_cell(TRICLINIC)
    by_rows = resolve(small_experiment(crystal={"reciprocal_vectors_per_A": rows.tolist()}))
    by_cell = resolve(small_experiment(crystal={"cell": TRICLINIC}))
    np.testing.assert_array_equal(
        by_rows.specimen.lattices[0].real_vectors_A, by_cell.specimen.lattices[0].real_vectors_A
    )


def test_real_vectors_given_as_rows_are_turned_as_the_cell_is(small_experiment):
    rows, misset = dual_vectors(reciprocal_from_cell(TRICLINIC)), (14, -31, 52)
    by_rows = resolve(small_experiment(crystal={"real_vectors_A": rows.tolist(), "misset_deg": misset}))
    by_cell = resolve(small_experiment(crystal={"cell": TRICLINIC, "misset_deg": misset}))
    np.testing.assert_allclose(
        by_rows.specimen.lattices[0].real_vectors_A, by_cell.specimen.lattices[0].real_vectors_A, atol=1e-12
    )


@pytest.mark.parametrize("rows", [[[1, 0, 0], [0, 1, 0], [1, 1, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]]])
def test_a_singular_matrix_is_refused_by_name(small_experiment, tmp_path, rows):
    for field in ("reciprocal_vectors_per_A", "real_vectors_A"):
        with pytest.raises(ExperimentError, match=rf"^crystal\.{field}: .*singular") as raised:
            resolve(small_experiment(crystal={field: rows}))
        assert "\n" not in str(raised.value)
    np.savetxt(tmp_path / "flat.mat", rows)
    with pytest.raises(ExperimentError, match=r"^crystal\.matrix_file: .*flat\.mat: .*singular"):
        resolve(small_experiment(crystal={"matrix_file": tmp_path / "flat.mat"}))


@pytest.mark.parametrize("last_bits", [1 - 1e-14, 1.0, 1 + 1e-14])
@pytest.mark.parametrize(
    ("size_mm", "cells"), [((0.004, 0.0045, 0.00501), (1000, 1000, 1002)), ((1e-7, 1e-6, 1.001e-5), (1, 1, 3))]
)
def test_a_size_becomes_whole_cells_rounded_up_whatever_the_last_bits_are(small_experiment, size_mm, cells, last_bits):
    # axes 40, 45, 50 A; 4e-3 mm is 4e4 A; processors differ in the last bits of an axis
    axes = [axis * last_bits for axis in (40, 45, 50)]
    lattice = resolve(small_experiment(crystal={"cell": (*axes, 90, 90, 90), "size_mm": size_mm})).specimen.lattices[0]
    assert lattice.N_cells == cells


@given(spread=st.floats(0.001, 5), domains=st.integers(1, 30), seed=st.integers(-(2**31), 2**31))
def test_mosaic_domains_are_rotations_within_the_spread(spread, domains, seed):
    rotations = mosaic_rotations(spread, domains, seed)
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    for rotation in rotations:
        assert_rotation(rotation)
        sine = np.linalg.norm(
            [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
        )
        # angles are drawn in single precision
        assert np.rad2deg(np.arcsin(min(1, sine / 2))) <= spread * (1 + 1e-6)


def test_deviates_are_those_of_the_minimal_standard_generator():
    # Press et al. check ran0: ten thousand multiplications of seed 1 give 1043618065 (Park & Miller 1988)
    state = 1
    for _ in range(10_000):
        state = 16807 * state % 2147483647
    assert state == 1043618065
    deviates = uniform_deviates(42)
    values = np.array([next(deviates) for _ in range(20_000)])
    assert values.min() > 0
    assert values.max() < 1
    # mean 1/2 and variance 1/12 of uniform deviates, within 5 sigma
    assert abs(values.mean() - 0.5) < 5 / np.sqrt(12 * len(values))
    assert abs(values.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / len(values))


@pytest.mark.parametrize(("one", "other"), [(42, -42), (0, 1)])
def test_the_sign_of_a_mosaic_seed_is_of_no_account(one, other):
    np.testing.assert_array_equal(mosaic_rotations(0.5, 4, one), mosaic_rotations(0.5, 4, other))


def test_explicit_mosaic_matrices_must_be_rotations(small_experiment):
    mirror = [[1, 0, 0], [0, 1, 0], [0, 0, -1]]
    with pytest.raises(ExperimentError, match=r"^crystal\.mosaic_rotations: matrix 1 is not a rotation"):
        resolve(small_experiment(crystal={"mosaic_rotations": [np.eye(3).tolist(), mirror]}))
