"""A space group makes the whole of P1 of an asymmetric unit, and of a Wilson set one that is symmetric, with its absences."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import gemmi
import numpy as np
import pytest
from dials_programs import dials, dials_python
from merged_files import unit, write_mtz

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import reciprocal_from_cell
from nbdist.experiment.structure_factors import Wilson
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections, wilson_amplitudes, wilson_deviates
from nbdist.scene.notes import notes
from nbdist.scene.symmetry import AmplitudeBox, Symmetry

CELLS = {
    "P 1": (20, 23, 25, 80, 95, 100),
    "P -1": (20, 23, 25, 80, 95, 100),
    "P 1 21 1": (20, 23, 25, 90, 95, 90),
    "C 1 2 1": (20, 23, 25, 90, 95, 90),
    "P 1 21/n 1": (20, 23, 25, 90, 95, 90),
    "P 21 21 21": (20, 23, 25, 90, 90, 90),
    "F 2 2 2": (20, 23, 25, 90, 90, 90),
    "P 43 21 2": (24, 24, 19, 90, 90, 90),
    "I 41": (24, 24, 19, 90, 90, 90),
    "P 61": (24, 24, 19, 90, 90, 120),
    "R 3:H": (24, 24, 19, 90, 90, 120),
    "R 3:R": (20, 20, 20, 75, 75, 75),
    "R 3 2:H": (24, 24, 19, 90, 90, 120),
    "I 41 3 2": (26, 26, 26, 90, 90, 90),
    "F d -3 m:1": (26, 26, 26, 90, 90, 90),
}
"""A cell of each space group."""
EXPANDED = ("P 43 21 2", "P 61", "R 3:H", "R 3:R", "C 1 2 1", "I 41 3 2")
"""Of which cctbx expands a file, too."""
SOURCE = Wilson(d_min_A=3.0, mean_F2=900, B_factor_A2=12, seed=4)


def symmetry_of(name):
    return Symmetry.of(name, CELLS[name])


def drawn(name, source=SOURCE):
    indices, amplitudes = wilson_amplitudes(reciprocal_from_cell(CELLS[name]), source, symmetry_of(name))
    return {tuple(hkl): F for hkl, F in zip(indices.tolist(), amplitudes.tolist(), strict=True)}


# ---- Wilson sets


@pytest.mark.parametrize("name", CELLS)
def test_a_wilson_set_is_symmetric_whole_and_without_the_absences(name):
    values, operations = drawn(name), gemmi.SpaceGroup(name).operations()
    reciprocal = reciprocal_from_cell(CELLS[name])
    grid = np.array(list(product(range(-9, 10), repeat=3)))
    within = grid[(np.linalg.norm(grid @ reciprocal, axis=1) <= 1 / SOURCE.d_min_A) & grid.any(axis=1)].tolist()
    assert set(values) == {tuple(hkl) for hkl in within if not operations.is_systematically_absent(hkl)}
    for hkl, F in values.items():
        for operation in operations.sym_ops:
            equivalent = operation.apply_to_hkl(hkl)
            assert values[tuple(equivalent)] == F
            assert values[tuple(-n for n in equivalent)] == F


def test_an_amplitude_follows_from_seed_and_index_whatever_the_resolution():
    fine, coarse = drawn("P 43 21 2"), drawn("P 43 21 2", SOURCE.model_copy(update={"d_min_A": 5.0}))
    assert len(fine) > len(coarse) > 300
    assert all(fine[hkl] == F for hkl, F in coarse.items())


@pytest.mark.parametrize(("centric", "moments"), [(False, (1, 2, 6)), (True, (1, 3, 15))])
def test_deviates_are_those_of_centric_and_acentric_reflections_times_epsilon(centric, moments):
    # <z>, <z^2>, <z^3> of an exponential deviate are 1, 2, 6; of the square of a normal one 1, 3, 15
    cell, name = (60, 60, 40, 90, 90, 90), "P 43 21 2"
    symmetry = Symmetry.of(name, cell)
    indices, deviates = wilson_deviates(reciprocal_from_cell(cell), 0.9 if centric else 1.7, 2, symmetry)
    chosen = symmetry.centric(indices) == centric
    z = deviates[chosen] / symmetry.epsilon(indices[chosen])
    assert len(z) > 2000
    higher = {1: 1, 2: 2, 3: 6, 4: 24, 6: 720} if not centric else {1: 1, 2: 3, 3: 15, 4: 105, 6: 10395}
    for order, moment in enumerate(moments, start=1):
        sigma = np.sqrt((higher[2 * order] - moment**2) / len(z))
        assert abs((z**order).mean() - moment) < 5 * sigma


def test_the_mean_of_all_lattice_points_is_that_of_the_cells_contents():
    # an F lattice has a quarter of them, which are four times as strong
    symmetry = symmetry_of("F 2 2 2")
    indices, deviates = wilson_deviates(reciprocal_from_cell((60, 70, 80, 90, 90, 90)), 2.0, 1, symmetry)
    assert symmetry.epsilon(indices).min() == 4
    assert deviates.mean() == pytest.approx(4, abs=5 * 4 * np.sqrt(2 / len(deviates)))


# ---- lists


def listed(symmetry, indices, amplitudes):
    box = AmplitudeBox(symmetry, np.array(indices))
    box.put(np.array(indices), np.array(amplitudes, dtype=float))
    found, values, filled = box.listed()
    assert not filled.any()
    return {tuple(hkl): F for hkl, F in zip(found.tolist(), values.tolist(), strict=True)}


def wilson_unit(name):
    """The asymmetric unit of a Wilson set, as gemmi has it, with an amplitude of each."""
    asu = gemmi.ReciprocalAsu(gemmi.SpaceGroup(name))
    indices = [hkl for hkl in drawn(name) if asu.is_in(hkl)]
    return indices, [1.0 + number for number in range(len(indices))]


@pytest.mark.parametrize("name", CELLS)
def test_an_asymmetric_unit_becomes_what_gemmi_finds_each_reflection_to_be_equivalent_to(name):
    group = gemmi.SpaceGroup(name)
    asu, operations = gemmi.ReciprocalAsu(group), group.operations()
    indices, amplitudes = wilson_unit(name)
    whole, of_unit = listed(symmetry_of(name), indices, amplitudes), dict(zip(indices, amplitudes, strict=True))
    assert set(whole) == set(drawn(name))
    assert all(of_unit[tuple(asu.to_asu(hkl, operations)[0])] == F for hkl, F in whole.items())
    assert listed(symmetry_of(name), list(whole), list(whole.values())) == whole, "what is whole stays as it is"


def test_a_whole_list_keeps_the_rounding_of_each_amplitude():
    whole = drawn("P 43 21 2")
    rounded = {hkl: F * (1 + 1e-4 * (sum(hkl) % 3)) for hkl, F in whole.items()}
    assert listed(symmetry_of("P 43 21 2"), list(rounded), list(rounded.values())) == rounded


def test_bijvoet_pairs_that_are_listed_stay_apart_and_others_have_equal_mates():
    found = listed(symmetry_of("P 43 21 2"), [(1, 2, 3), (-1, -2, -3), (4, 1, 2)], [10, 12, 5])
    assert found[-2, 1, 3] == 10, "an operation of the group: -k, h, l"
    assert found[2, -1, -3] == 12
    assert found[-4, -1, -2] == found[1, 4, -2] == 5
    assert len(found) == 3 * 16 - 16


def test_absent_reflections_of_a_list_are_left_out_and_said(small_experiment, tmp_path):
    path = tmp_path / "a.hkl"
    path.write_text("0 0 1 30\n0 0 2 0\n0 0 4 10\n1 2 3 20\n")
    experiment = small_experiment(
        crystal={"cell": CELLS["P 43 21 2"], "space_group": 96}, structure_factors={"kind": "file", "file": path}
    )
    scene = resolve(experiment)
    [reflections] = load_reflections(scene)
    assert {tuple(hkl) for hkl in reflections.indices.tolist() if not any(hkl[:2])} == {(0, 0, 4), (0, 0, -4)}
    assert any(
        "1 of its 4 reflections are systematically absent in P 43 21 2" in line for line in notes(scene, [reflections])
    )
    assert any(
        re.search(r"of the [\d,]+ reflections .* not in a.hkl, which ends at [\d.]+ A, and have F = 0", line)
        for line in notes(scene, [reflections])
    )


def test_equivalents_with_other_amplitudes_are_an_error_that_names_both():
    with pytest.raises(
        ExperimentError, match=r"^\(1 2 3\) has F 10 and \(2 1 -3\) F 12, but .* equivalent in P 43 21 2$"
    ):
        listed(symmetry_of("P 43 21 2"), [(5, 5, 5), (1, 2, 3), (2, 1, -3)], [4, 10, 12])


def test_indices_of_no_crystal_are_an_error():
    with pytest.raises(ExperimentError, match="too large"):
        listed(symmetry_of("P 43 21 2"), [(1, 2, 3), (900_000, 1, 1)], [4, 10])


# ---- the field


@pytest.mark.parametrize(
    ("given", "cell", "name"),
    [
        ("p43212", CELLS["P 43 21 2"], "P 43 21 2"),
        ("P 4_3 2_1 2", CELLS["P 43 21 2"], "P 43 21 2"),
        (96, CELLS["P 43 21 2"], "P 43 21 2"),
        ("P21", CELLS["P 1 21 1"], "P 1 21 1"),
        ("R3", CELLS["R 3:H"], "R 3:H"),
        (146, CELLS["R 3:R"], "R 3:R"),
        ("H3", CELLS["R 3:H"], "R 3:H"),
    ],
)
def test_a_space_group_is_known_by_its_names_and_its_number(small_experiment, given, cell, name):
    experiment = small_experiment(crystal={"cell": cell, "space_group": given})
    assert resolve(experiment).specimen.lattices[0].space_group == name


def test_spellings_of_a_space_group_are_one_experiment(small_experiment):
    cell = CELLS["P 43 21 2"]
    one, same, none = (
        small_experiment(crystal={"cell": cell, **given})
        for given in ({"space_group": 96}, {"space_group": "P43212"}, {})
    )
    assert one.fingerprint == same.fingerprint != none.fingerprint


@pytest.mark.parametrize("given", ["P43213", 231, 0, True, ""])
def test_what_is_no_space_group_is_refused_with_those_near_it(small_experiment, given):
    with pytest.raises(ExperimentError, match=r"^crystal\.space_group: .*1 to 230.*found") as error:
        small_experiment(crystal={"space_group": given})
    assert ("P 43 21 2" in str(error.value)) == (given == "P43213")


def test_a_cell_must_be_one_of_its_space_group(small_experiment):
    def scene(*cell):
        return resolve(small_experiment(crystal={"cell": cell, "space_group": "P43212"}))

    def said(*cell):
        return [line for line in notes(scene(*cell), load_reflections(scene(*cell))) if "not quite" in line]

    assert said(79.1, 79.1, 37.9, 90, 90, 90) == said(79.1, 79.1005, 37.9, 90, 90, 90) == []
    [line] = said(79.1, 79.2, 37.9, 90, 90.1, 90)
    assert line.startswith(
        "crystal: its cell of 79.1 79.2 37.9 90 90.1 90 is not quite one of P 43 21 2, as 79.15 79.15 37.9 90 90 90"
    )
    with pytest.raises(
        ExperimentError,
        match=r"^crystal\.space_group: P 43 21 2 does not allow a cell of 79\.1 80\.1 .* 79\.602 79\.602 ",
    ):
        load_reflections(scene(79.1, 80.1, 37.9, 90, 90, 90))
    with pytest.raises(ExperimentError, match=r"^crystal\.space_group: "):
        load_reflections(scene(79.1, 79.1, 37.9, 90, 90, 91))


# ---- somebody else's tables


@pytest.mark.integration
def test_cctbx_has_the_same_absences_centric_reflections_and_equivalents_and_expands_files_alike(
    small_experiment, tmp_path
):
    indices = [hkl for hkl in product(range(-3, 5), repeat=3) if any(hkl)] + [
        (0, 0, 6),
        (0, 0, 9),
        (0, 0, 12),
        (7, 7, 7),
    ]
    files = {str(tmp_path / f"{number}.mtz"): name for number, name in enumerate(EXPANDED)}
    for path, name in files.items():
        hkl = unit(name, 3.0, CELLS[name])
        plus, minus = np.random.default_rng(1).uniform(1, 100, (2, len(hkl)))
        minus = np.where(gemmi.SpaceGroup(name).operations().centric_flag_array(hkl), plus, minus)
        write_mtz(Path(path), {"F(+)": plus, "F(-)": minus}, hkl, name, CELLS[name])
    asked = {"groups": list(CELLS), "indices": indices, "files": list(files)}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    program = Path(__file__).with_name("cctbx_check.py")
    dials(dials_python(), program, tmp_path / "asked.json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    for path, rows in found["files"].items():
        crystal, source = {"cell": CELLS[files[path]]}, {"kind": "file", "file": path}
        [its] = load_reflections(resolve(small_experiment(crystal=crystal, structure_factors=source)))
        ours = dict(zip(map(tuple, its.indices.tolist()), its.amplitudes.tolist(), strict=True))
        assert ours == {(h, k, l): F for h, k, l, F in rows}, files[path]
    for name, theirs in found["groups"].items():
        symmetry, hkl = symmetry_of(name), np.array(indices)
        assert [its["absent"] for its in theirs] == symmetry.absent(hkl).tolist(), name
        present = ~symmetry.absent(hkl)
        assert [its["centric"] for its in theirs] == symmetry.centric(hkl).tolist(), name
        epsilon = np.array([its["epsilon"] for its in theirs])
        np.testing.assert_array_equal(symmetry.epsilon(hkl)[present], epsilon[present], err_msg=name)
        for row in np.flatnonzero(present)[::7]:
            mates = {tuple(sign * n for n in its) for its in theirs[row]["equivalents"] for sign in (1, -1)}
            assert set(listed(symmetry, [indices[row]], [1.0])) == mates, name
