"""The reflections of an MTZ or CIF file become the whole of P 1 by its space group, and what it lacks has amplitudes by a stated rule."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from atomic_models import write_model
from merged_files import CELL, unit, write_mtz

from nbdist.errors import ExperimentError, FileFormatError
from nbdist.scene import resolve
from nbdist.scene.amplitudes import AmplitudeCache, load_reflections
from nbdist.scene.completeness import Completeness, completeness
from nbdist.scene.notes import file_completeness, notes

HKL = unit(d_A=2.0)
F = np.random.default_rng(3).uniform(1, 100, len(HKL)).astype(np.float32)


@pytest.fixture
def scene_of(small_experiment, tmp_path):
    """`scene_of(columns, crystal, **source)`: a scene whose amplitudes are those of a file of these columns."""

    def make(columns, crystal=(), indices=HKL, name="a.mtz", written=(), d_min_A=2.5, **source):
        path = write_mtz(tmp_path / name, columns, indices, **dict(written))
        return resolve(
            small_experiment(
                crystal={"cell": CELL, **dict(crystal)},
                structure_factors={"kind": "file", "file": path, **source},
                sampling={"d_min_A": d_min_A},
            )
        )

    return make


def of(scene):
    [reflections] = load_reflections(scene)
    values = dict(zip(map(tuple, reflections.indices.tolist()), reflections.amplitudes.tolist(), strict=True))
    assert len(values) == len(reflections.indices)
    return reflections, values


def said(scene):
    return "\n".join(line for line in notes(scene, load_reflections(scene)) if line.startswith("structure_factors"))


def test_a_file_becomes_what_gemmi_expands_it_to_with_equal_mates(scene_of, tmp_path):
    _, values = of(scene_of({"F": F}))
    theirs = gemmi.read_mtz_file(str(tmp_path / "a.mtz"))
    theirs.expand_to_p1()
    expected = {tuple(int(n) for n in row[:3]): float(row[3]) for row in np.array(theirs.array)}
    assert len(expected) > 3 * len(HKL)
    assert values == expected | {(-h, -k, -l): its for (h, k, l), its in expected.items()}
    assert all(np.float32(values[tuple(hkl)]) == its for hkl, its in zip(HKL.tolist(), F, strict=True))


def test_friedel_pairs_stay_apart_but_where_they_are_equivalent(scene_of):
    scene = scene_of({"F(+)": F, "F(-)": F + 1})
    reflections, values = of(scene)
    centric = scene.specimen.lattices[0].symmetry.centric(HKL)
    assert 0 < centric.sum() < len(HKL)
    for (h, k, l), its, own in zip(HKL.tolist(), F.tolist(), centric, strict=True):
        assert values[h, k, l] == values[k, h, -l] == its
        assert values[-h, -k, -l] == (its if own else np.float32(its + 1))
    assert reflections.origin == "F(+) and F(-) of a.mtz"


def test_a_mate_that_is_not_there_is_equal(scene_of):
    _, values = of(scene_of({"F(+)": np.where(F > 50, F, np.nan), "F(-)": F}))
    assert all(values[tuple(hkl)] == values[tuple(-hkl)] == f for hkl, f in zip(HKL, F, strict=True) if f <= 50)


@pytest.mark.parametrize("name", ["a.mtz", "a.cif"])
def test_the_space_group_is_the_files_and_a_crystal_of_another_is_refused(scene_of, name):
    scene = scene_of({"F": F}, name=name)
    assert scene.specimen.lattices[0].space_group == "P 43 21 2"
    assert of(scene_of({"F": F}, {"space_group": 96}, name=name))[1] == of(scene)[1]
    with pytest.raises(
        ExperimentError,
        match=r"^structure_factors\.file: .* is of P 43 21 2, and crystal\.space_group is P 41 21 2; leave",
    ):
        of(scene_of({"F": F}, {"space_group": "P41212"}, name=name))
    with pytest.raises(ExperimentError, match=r"^structure_factors\.file: .*P 43 21 2 does not allow a cell of 24 26 "):
        of(scene_of({"F": F}, {"cell": (24, 26, 19, 90, 90, 90)}, name=name))


def test_a_file_of_a_laue_class_leaves_screw_axes_to_the_crystal(scene_of):
    written = {"space_group": "P 4 2 2"}
    reflections, values = of(scene_of({"F": F}, {"space_group": 96}, written=written))
    assert values == of(scene_of({"F": F}))[1]
    assert of(scene_of({"F": F}, written=written))[0].indices.shape == reflections.indices.shape, (
        "of these none is absent"
    )
    for other in ("P 4", "P 4 2 2", "I 4 2 2"):
        with pytest.raises(ExperimentError, match=r"is of P 43 21 2, and|is of P 4 2 2, and"):
            of(scene_of({"F": F}, {"space_group": other}, written={} if other == "P 4 2 2" else written))


def test_a_file_without_a_space_group_wants_one_of_the_crystal(scene_of):
    def scene(**crystal):
        return scene_of({"F": F}, crystal, name="a.cif", written={"space_group": None})

    with pytest.raises(ExperimentError, match=r"names no space group that is known; give crystal\.space_group$"):
        of(scene())
    assert of(scene(space_group=96))[1] == of(scene_of({"F": F}))[1]


def test_what_a_store_outlives_need_not_be_there_for_a_space_group_that_is_known_without_it(
    scene_of, small_experiment, tmp_path
):
    for given in ({"space_group": 96}, {}):
        scene = scene_of({"F": F}, given)
        (tmp_path / "a.mtz").unlink()
        if given:
            assert scene.specimen.lattices[0].space_group == "P 43 21 2"
        else:
            with pytest.raises(FileFormatError, match=r"a\.mtz does not exist$"):
                scene.specimen.lattices[0].space_group  # noqa: B018
    listed = small_experiment(structure_factors={"kind": "file", "file": tmp_path / "gone.hkl"})
    assert resolve(listed).specimen.lattices[0].space_group == "P 1"


def test_a_cell_that_is_not_the_files_is_said(scene_of):
    assert "is of a cell of" not in said(scene_of({"F": F}))
    assert "a.mtz is of a cell of 24 24 19 90 90 90, crystal of one of 25 25 19 90 90 90" in said(
        scene_of({"F": F}, {"cell": (25, 25, 19, 90, 90, 90)})
    )


# ---- what is missing

KEPT = np.arange(len(HKL)) % 5 > 0


def test_what_is_missing_is_counted_and_said(scene_of):
    whole = scene_of({"F": F})
    reflections, _ = of(whole)
    held = completeness(whole.specimen.lattices[0], reflections, 2.5)
    assert held.missing == 0
    assert said(whole) == ""
    part = scene_of({"F": np.where(KEPT, F, np.nan)})
    missing = held.there - completeness(part.specimen.lattices[0], of(part)[0], 2.5).held
    assert 0.17 < missing / held.there < 0.23
    assert (
        f"file: {missing:,} of the {held.there:,} reflections to the detector's corner at 2.5 A (19 %) are not in a.mtz and have F = 0"
        in said(part)
    )
    assert "and have F = 3" in said(scene_of({"F": np.where(KEPT, F, np.nan)}, default_F=3))


def test_a_completeness_that_is_known_is_not_worked_out_again(scene_of):
    scene = scene_of({"F": F})
    reflections = load_reflections(scene)
    assert file_completeness(scene, reflections) == {
        "crystal": completeness(scene.specimen.lattices[0], reflections[0], scene.finest_A)
    }
    assert any(
        "10 of the 100 reflections" in note
        for note in notes(scene, reflections, {"crystal": Completeness(90, 100, 1, 0, completed=True)})
    )


def test_what_is_said_of_a_file_is_worked_out_and_said_once_for_crystals_that_are_turned(small_experiment, tmp_path):
    path = write_mtz(tmp_path / "a.mtz", {"F": np.where(KEPT, F, -1)}, HKL)
    turned = [{"cell": CELL, "N_cells": [5, 5, 5], "misset_deg": [7 * n, 11 * n, 13 * n]} for n in range(3)]
    other = {"cell": (24.5, 24.5, 19, 90, 90, 90), "N_cells": [5, 5, 5]}
    experiment = small_experiment(
        crystal=None, crystals=[*turned, other], structure_factors={"kind": "file", "file": path}
    )
    scene = resolve(experiment)
    reflections = load_reflections(scene)
    held = file_completeness(scene, reflections)
    assert [its is held["crystals.0"] for its in held.values()] == [True, True, True, False]
    lines = [line for line in notes(scene, reflections) if line.startswith("structure_factors")]
    assert sum(line.endswith(f"which count as missing: {(~KEPT).sum()}") for line in lines) == 1
    assert sum("are not in a.mtz and have F = 0" in line for line in lines) == 2


def test_what_is_missing_may_be_drawn_and_what_there_is_stays(scene_of):
    columns = {"F": np.where(KEPT, F, np.nan)}
    scene = scene_of(columns, missing="wilson", d_min_A=1.5)
    reflections, values = of(scene)
    assert all(values[tuple(hkl)] == f for hkl, f in zip(HKL[KEPT].tolist(), F[KEPT], strict=True))
    operations = gemmi.SpaceGroup("P 43 21 2").operations()
    assert all(values[tuple(operations.sym_ops[3].apply_to_hkl(hkl))] == its for hkl, its in values.items())
    held = {*map(tuple, np.concatenate([*symmetric(HKL[KEPT])]).tolist())}
    assert set(values) == held | {*map(tuple, np.concatenate([*symmetric(unit(d_A=scene.finest_A))]).tolist())}
    filled = zip(map(tuple, reflections.indices.tolist()), reflections.filled, strict=True)
    assert {hkl for hkl, its in filled if not its} == held
    assert "and are drawn from Wilson's distribution" in said(scene)
    assert of(scene)[1] == values
    assert of(scene_of(columns, missing="wilson", missing_seed=1, d_min_A=1.5))[1] != values


def symmetric(indices):
    for operation in gemmi.SpaceGroup("P 43 21 2").operations().sym_ops:
        rotated = indices @ (np.array(operation.rot) // operation.DEN)
        yield from (rotated, -rotated)


def test_drawn_amplitudes_have_the_mean_of_the_files_and_go_on_as_it_falls_off(scene_of):
    cell, B_factor_A2 = (60.0, 60.0, 40.0, 90.0, 90.0, 90.0), 30.0
    hkl = unit(d_A=2.5, cell=cell)
    per_A2 = (hkl / np.array(cell[:3])) ** 2 @ np.ones(3)
    operations, rng = gemmi.SpaceGroup("P 43 21 2").operations(), np.random.default_rng(1)
    F2 = rng.exponential(size=len(hkl)) * operations.epsilon_factor_array(hkl) * 1e4 * np.exp(-B_factor_A2 * per_A2 / 2)
    scene = scene_of(
        {"F": np.where(np.arange(len(hkl)) % 2, np.sqrt(F2), np.nan)},
        {"cell": cell},
        indices=hkl,
        written={"cell": cell},
        missing="wilson",
        d_min_A=2.0,
    )
    [reflections] = load_reflections(scene)
    drawn, F_drawn = reflections.indices[reflections.filled], reflections.amplitudes[reflections.filled]
    per_A2 = (drawn / np.array(cell[:3])) ** 2 @ np.ones(3)
    z = F_drawn**2 / (operations.epsilon_factor_array(drawn) * 1e4 * np.exp(-B_factor_A2 * per_A2 / 2))
    for shell in (per_A2 < 2.5**-2, per_A2 > 2.4**-2):
        # a mean of exponential deviates, 16 of which are one; and that of the file is as well known
        assert z[shell].mean() == pytest.approx(1, abs=5 * np.sqrt(2 * 16 / shell.sum()))


def test_an_amplitude_for_all_others_is_none_of_absent_ones(scene_of):
    _, values = of(scene_of({"F": np.where(KEPT, F, np.nan)}, default_F=3))
    assert values[0, 0, 1] == values[3, 0, 0] == 0
    assert (0, 0, 8) in values


def test_missing_by_two_rules_is_refused(scene_of):
    with pytest.raises(ExperimentError, match=r"^structure_factors: default_F: is 0 with missing: wilson, found 3"):
        scene_of({"F": F}, missing="wilson", default_F=3)


def test_a_corner_that_no_crystal_reaches_is_refused_by_the_field(scene_of):
    with pytest.raises(
        ExperimentError, match=r"^structure_factors\.missing: wilson to the detector's corner: .* gives more"
    ):
        of(scene_of({"F": F}, {"cell": (2400, 2400, 1900, 90, 90, 90)}, missing="wilson"))


def test_a_text_without_a_space_group_may_have_its_missing_reflections_drawn(small_experiment, tmp_path):
    path = tmp_path / "a.hkl"
    path.write_text("1 2 3 40\n-1 -2 -3 41\n2 2 2 30\n")
    source = {"kind": "file", "file": path, "missing": "wilson"}
    reflections, values = of(resolve(small_experiment(structure_factors=source, sampling={"d_min_A": 5.0})))
    assert (values[1, 2, 3], values[-1, -2, -3], values[-2, -2, -2]) == (40, 41, 30)
    assert len(reflections.filled) > 1000
    assert (~reflections.filled).sum() == 4


def test_columns_of_a_text_are_refused(small_experiment, tmp_path):
    path = tmp_path / "a.hkl"
    path.write_text("1 2 3 40\n")
    with pytest.raises(ExperimentError, match=r"^structure_factors\.columns: .* which has none to name"):
        load_reflections(resolve(small_experiment(structure_factors={"kind": "file", "file": path, "columns": "F"})))


def test_lattices_share_the_reflections_of_a_file_whatever_their_cells(small_experiment, tmp_path):
    path = write_mtz(tmp_path / "a.mtz", {"F": F}, HKL)
    crystals = [{"cell": (a, a, 19, 90, 90, 90), "N_cells": [5, 5, 5]} for a in (24.0, 24.01)]
    experiment = small_experiment(crystal=None, crystals=crystals, structure_factors={"kind": "file", "file": path})
    first, second = load_reflections(resolve(experiment))
    assert first is second


@pytest.mark.parametrize("groups", [(None, "P 1"), ("P 1", None)])
@pytest.mark.parametrize("cached", [False, True])
def test_a_text_is_completed_for_the_crystal_that_has_a_space_group_alone(groups, cached, small_experiment, tmp_path):
    path = tmp_path / "a.hkl"
    path.write_text("1 2 3 4\n2 0 1 5\n")
    crystals = [{"cell": CELL, "N_cells": [5, 5, 5], "space_group": group} for group in groups]
    scene = resolve(small_experiment(crystal=None, crystals=crystals, structure_factors={"kind": "file", "file": path}))
    found = load_reflections(scene, AmplitudeCache() if cached else None)
    assert [len(its.indices) for its in found] == [2 if group is None else 4 for group in groups], "P 1 has mates"


def test_detectors_share_the_amplitudes_that_go_no_further_for_any_of_them(small_experiment, scene_of, tmp_path):
    model = write_model(tmp_path / "model.pdb")
    for further, source in ((False, {"d_min_A": 6.0}), (True, {})):
        cache = AmplitudeCache()
        near, far = (
            resolve(
                small_experiment(
                    panel={"distance_mm": distance_mm},
                    crystal={"cell": None, "shape": "gauss"},
                    structure_factors={"kind": "model", "file": model, **source},
                    sampling={"method": "integrated"},
                )
            )
            for distance_mm in (300, 600)
        )
        assert (load_reflections(near, cache)[0] is load_reflections(far, cache)[0]) is not further
    for further, source in ((False, {}), (True, {"missing": "wilson"})):
        cache = AmplitudeCache()
        near, far = (scene_of({"F": F}, d_min_A=d_min_A, **source) for d_min_A in (2.5, 4.0))
        assert (load_reflections(near, cache)[0] is load_reflections(far, cache)[0]) is not further


def test_a_crystal_without_a_cell_has_that_of_its_file(scene_of, tmp_path, small_experiment):
    for name in ("a.mtz", "a.cif"):
        own, given = (scene_of({"F": F}, crystal={"cell": cell}, name=name) for cell in (None, CELL))
        assert own.specimen.lattices[0].real_vectors_A == pytest.approx(
            given.specimen.lattices[0].real_vectors_A, abs=1e-12
        )
        assert of(own)[1] == of(given)[1]
    text = tmp_path / "a.hkl"
    text.write_text("1 2 3 4\n")
    with pytest.raises(
        ExperimentError,
        match=r"crystal: give one of cell, .*found none of them, and no cell in its reflection file .*a\.hkl",
    ):
        resolve(small_experiment(crystal={"cell": None}, structure_factors={"kind": "file", "file": text}))
