"""`nbdist from-dials` and its like write experiment files that are valid, and say what is not in them."""

from __future__ import annotations

import numpy as np
import pytest
from merged_files import CELL, unit, write_mtz
from nexus_files import eiger

from nbdist.experiment import load_experiment
from nbdist.formats.dials_experiments import experiment_list
from nbdist.formats.smv import smv_bytes
from nbdist.scene import resolve
from nbdist.scene.models import models_of


@pytest.fixture
def models(small_experiment, tmp_path):
    """Models of DIALS of one panel and one crystal."""
    path = tmp_path / "models" / "refined.expt"
    path.parent.mkdir()
    path.write_bytes(experiment_list(models_of(resolve(small_experiment()), range(3)), ["a"]))
    return path


def test_an_experiment_is_made_of_models_of_dials(models, nbdist, tmp_path):
    made = tmp_path / "made.yaml"
    (tmp_path / "scaled.hkl").write_text("1 2 3 4\n")
    said = nbdist("from-dials", models, "-o", made, "--reflections", tmp_path / "scaled.hkl")
    assert said.code == 0, said.err
    assert said.out.startswith(f"wrote {made}: 3 frames of 0.5 degrees, 1 panel, 1 crystal")
    assert "note: crystal.mosaicity: not known" in said.out
    assert f"next: nbdist check {made}" in said.out
    experiment = load_experiment(made)
    assert experiment.structure_factors.file == tmp_path / "scaled.hkl"
    np.testing.assert_allclose(resolve(experiment).spindle_axis, [1, 0, 0], atol=1e-15)
    checked = nbdist("check", made)
    assert (checked.code, checked.out.startswith(f"{made}: valid")) == (0, True), checked.err


def test_the_space_group_of_reflections_is_taken_where_the_models_have_that_of_the_lattice(
    small_experiment, nbdist, tmp_path
):
    crystal = {"cell": CELL, "space_group": "P 4 2 2"}
    (tmp_path / "refined.expt").write_bytes(
        experiment_list(models_of(resolve(small_experiment(crystal=crystal)), range(3)), ["a"])
    )
    write_mtz(tmp_path / "merged.mtz", {"F": np.ones(len(unit()))}, unit())
    made = tmp_path / "made.yaml"
    said = nbdist("from-dials", tmp_path / "refined.expt", "-o", made, "--reflections", tmp_path / "merged.mtz")
    assert said.code == 0, said.err
    assert "space_group: that of the reflections is taken, P 43 21 2; the models say P 4 2 2" in said.out
    assert resolve(load_experiment(made)).specimen.lattices[0].space_group == "P 43 21 2"
    crystal = {"cell": CELL, "space_group": "P 43 21 2"}
    (tmp_path / "known.expt").write_bytes(
        experiment_list(models_of(resolve(small_experiment(crystal=crystal)), range(3)), ["a"])
    )
    write_mtz(tmp_path / "laue.mtz", {"F": np.ones(len(unit()))}, unit(), "P 4 2 2")
    said = nbdist(
        "from-dials", tmp_path / "known.expt", "-o", tmp_path / "c.yaml", "--reflections", tmp_path / "laue.mtz"
    )
    assert said.code == 0, said.err
    assert resolve(load_experiment(tmp_path / "c.yaml")).specimen.lattices[0].space_group == "P 43 21 2"
    write_mtz(tmp_path / "cubic.mtz", {"F": np.ones(len(unit()))}, unit(), "P 2 3")
    other = nbdist(
        "from-dials", tmp_path / "refined.expt", "-o", tmp_path / "b.yaml", "--reflections", tmp_path / "cubic.mtz"
    )
    assert (other.code, "P 2 3 does not allow a cell of 24 24 19" in other.err) == (2, True), other.err
    assert "crystal should be indexed as the reflections are: from DIALS, models of that Bravais setting" in other.err


@pytest.mark.parametrize(
    ("ours", "theirs", "refused"),
    [
        (("P 2 2 2", (20, 24, 28, 90, 90, 90)), ("P 21 21 2", (24, 28, 20, 90, 90, 90)), True),
        (("I 1 2 1", (30, 20, 24, 90, 97, 90)), ("C 1 2 1", (36.2, 20, 24, 90, 124.7, 90)), True),
        (("P 1", (20, 24, 28, 90, 90, 90)), ("P 1", (20, 24, 28, 90, 90, 96)), True),
        (("P 2 2 2", (20, 24, 28, 90, 90, 90)), ("P 21 21 2", (20, 24, 28.5, 90, 90, 90)), False),
    ],
)
def test_reflections_of_another_setting_are_not_those_of_the_crystal(
    small_experiment, nbdist, tmp_path, ours, theirs, refused
):
    (group, cell), (their_group, their_cell) = ours, theirs
    scene = resolve(small_experiment(crystal={"cell": cell, "space_group": group}))
    (tmp_path / "refined.expt").write_bytes(experiment_list(models_of(scene, range(3)), ["a"]))
    indices = unit(their_group, 4.0, their_cell)
    merged = write_mtz(tmp_path / "merged.mtz", {"F": np.ones(len(indices))}, indices, their_group, their_cell)
    made = tmp_path / "made.yaml"
    said = nbdist("from-dials", tmp_path / "refined.expt", "-o", made, "--reflections", merged)
    cells = [" ".join(map(str, each)) for each in (their_cell, cell)]
    remark = f"--reflections: {merged} is of a cell of {cells[0]}, a crystal of one of {cells[1]}"
    if refused:
        assert (said.code, f"{remark}; index one as the other is (dials.reindex)" in said.err) == (2, True), said.err
        assert not made.exists()
    else:
        assert (said.code, f"note: {remark} note" in said.out) == (0, True), said.out + said.err


def test_reflections_are_found_from_a_folder_that_a_link_leads_to(models, nbdist, tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "deep", target_is_directory=True)
    (tmp_path / "scaled.hkl").write_text("1 2 3 4\n")
    made = tmp_path / "link" / "made.yaml"
    said = nbdist("from-dials", models, "-o", made, "--reflections", tmp_path / "scaled.hkl")
    assert said.code == 0, said.err
    assert load_experiment(made).structure_factors.file.samefile(tmp_path / "scaled.hkl")


def test_a_file_of_no_amplitudes_is_refused_before_anything_is_written(models, nbdist, tmp_path):
    (tmp_path / "a.hkl").write_text("1 2 3 many\n")
    refused = nbdist("from-dials", models, "-o", tmp_path / "made.yaml", "--reflections", tmp_path / "a.hkl")
    assert (refused.code, "a.hkl, line 1" in refused.err) == (2, True), refused.err
    assert not (tmp_path / "made.yaml").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--reflections", "gone.mtz"], "--reflections: gone.mtz does not exist"),
        (["--cell", "1,2,3"], "--cell: expected a,b,c,alpha,beta,gamma (Angstrom, degrees), found '1,2,3'"),
        (["--experiment", "3"], "has 1 of them, from 0; 3 is none"),
    ],
)
def test_wrong_options_are_named(models, nbdist, tmp_path, options, said):
    refused = nbdist("from-dials", models, "-o", tmp_path / "made.yaml", *options)
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert not (tmp_path / "made.yaml").exists()


def test_a_file_that_exists_is_replaced_on_request(models, nbdist, tmp_path):
    made = tmp_path / "made.yaml"
    made.write_text("mine")
    assert nbdist("from-dials", models, "-o", made).code == 2
    assert made.read_text() == "mine"
    assert nbdist("from-dials", models, "-o", made, "--overwrite").code == 0
    assert load_experiment(made).scan.frames == 3


def test_a_try_that_fails_leaves_nothing_behind_that_the_next_one_meets(nbdist, tmp_path):
    path = eiger(tmp_path / "x_master.h5")
    wrong, right = tmp_path / "wrong.hkl", tmp_path / "right.hkl"
    wrong.write_text("1 2 3 many\n")
    right.write_text("1 2 3 4\n")
    before = sorted(tmp_path.iterdir())
    made = tmp_path / "sub" / "mine.yaml"
    made.parent.mkdir()
    refused = nbdist("from-image", path, "-o", made, "--reflections", wrong, "--cell", "50 60 70 90 90 90")
    assert (refused.code, "wrong.hkl, line 1" in refused.err) == (2, True), refused.err
    assert [*made.parent.iterdir()] == []
    assert sorted(each for each in tmp_path.iterdir() if each != made.parent) == before
    said = nbdist("from-image", path, "-o", made, "--reflections", right, "--cell", "50 60 70 90 90 90")
    assert said.code == 0, said.err
    assert sorted(each.name for each in made.parent.iterdir()) == ["mine.mask.npy", "mine.yaml"]
    experiment = load_experiment(made)
    assert experiment.structure_factors.file == made.parent / ".." / "right.hkl"
    assert resolve(experiment).instrument.panels[0].usable.sum() == 28 * 40


def test_the_cell_of_the_reflections_stands_where_no_other_is_known(nbdist, tmp_path):
    (tmp_path / "XDS.INP").write_text(XDS_INP)
    cell = (57.0, 57.0, 149.0, 90.0, 90.0, 90.0)
    indices = unit(d_A=20.0, cell=cell)
    write_mtz(tmp_path / "a.mtz", {"F": np.full(len(indices), 5.0)}, indices, cell=cell)
    options = ("-o", tmp_path / "made.yaml", "--reflections", tmp_path / "a.mtz", "--overwrite")
    said = nbdist("from-xds", tmp_path / "XDS.INP", *options)
    assert said.code == 0, said.err
    assert load_experiment(tmp_path / "made.yaml").crystal.cell == cell
    assert "crystal.cell: that of the reflections" in said.out
    said = nbdist("from-xds", tmp_path / "XDS.INP", *options, "--cell", "57 57 148 90 90 90")
    assert load_experiment(tmp_path / "made.yaml").crystal.cell[2] == 148
    assert "crystal.cell: that of the reflections" not in said.out


XDS_INP = """\
NX=160 NY=130 QX=0.4 QY=0.4 ORGX=70.5 ORGY=65.5 DETECTOR_DISTANCE= 110.0
DIRECTION_OF_DETECTOR_X-AXIS=1 0 0 DIRECTION_OF_DETECTOR_Y-AXIS=0 1 0
ROTATION_AXIS=1 0 0 OSCILLATION_RANGE=0.5 STARTING_ANGLE= 20
X-RAY_WAVELENGTH=1.1 INCIDENT_BEAM_DIRECTION=0 0 1 DATA_RANGE=11 50
"""


def test_an_experiment_is_made_of_files_of_xds(nbdist, tmp_path):
    (tmp_path / "XDS.INP").write_text(XDS_INP)
    (tmp_path / "INTEGRATE.HKL").write_text("!REFLECTING_RANGE_E.S.D.=     0.157\n!END_OF_HEADER\n")
    files = (tmp_path / "XDS.INP", tmp_path / "INTEGRATE.HKL")
    said = nbdist("from-xds", *files, "-o", tmp_path / "made.yaml", "--cell", "57 57 149 90 90 90")
    assert said.code == 0, said.err
    assert "40 frames of 0.5 degrees, 1 panel, 1 crystal" in said.out
    experiment = load_experiment(tmp_path / "made.yaml")
    assert experiment.crystal.mosaicity.sigma_deg == 0.157
    assert (experiment.crystal.cell[2], experiment.detector.convention) == (149, "xds")


def test_an_experiment_is_made_of_the_headers_of_images(nbdist, tmp_path):
    header = {"PIXEL_SIZE": 0.1, "DISTANCE": 120.0, "WAVELENGTH": 1.1, "BEAM_CENTER_X": 1.25, "BEAM_CENTER_Y": 2.5}
    paths = [tmp_path / f"x_{number:03d}.img" for number in range(1, 4)]
    for number, path in enumerate(paths):
        turned = {"OSC_START": 10 + 0.5 * number, "OSC_RANGE": 0.5}
        path.write_bytes(smv_bytes(header | turned, np.zeros((30, 40), dtype=np.uint16)))
    made = tmp_path / "made.yaml"
    said = nbdist("from-image", *paths, "-o", made)
    assert said.code == 0, said.err
    assert "3 frames of 0.5 degrees, 1 panel, 1 crystal" in said.out
    assert "note: crystal: THE FILE HAS NONE" in said.out
    assert f"# Made from {paths[0]} and 2 more." in made.read_text()
    checked = nbdist("check", made)
    assert (checked.code, checked.out.startswith(f"{made}: valid")) == (0, True), checked.err
