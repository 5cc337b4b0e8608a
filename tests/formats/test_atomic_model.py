"""Atomic models are read from PDB and mmCIF alike, and what makes no crystal is refused with the file's name."""

from __future__ import annotations

import gzip
import os

import gemmi
import pytest
from atomic_models import CELL, SITES, atom_lines, write_model

from nbdist.errors import FileFormatError
from nbdist.formats.atomic_model import read_atomic_model
from nbdist.formats.dispersion import read_dispersion


def test_a_pdb_file_an_mmcif_file_and_a_packed_one_are_the_same_model(tmp_path):
    path = write_model(tmp_path / "a.pdb")
    gemmi.read_structure(str(path)).make_mmcif_document().write_file(str(tmp_path / "a.cif"))
    (tmp_path / "a.pdb.gz").write_bytes(gzip.compress(path.read_bytes()))
    for name in ("a.pdb", "a.cif", "a.pdb.gz"):
        model = read_atomic_model(tmp_path / name)
        assert (model.cell, model.space_group_name, model.models) == (CELL, "P 21 21 21", 1)
        assert model.elements == {"H": 1, "C": 6, "N": 7, "O": 8, "S": 16, "Se": 34}
        assert [round(atom.occ, 3) for atom in model.atoms] == [occupancy for _, _, occupancy, _ in SITES]


def test_of_an_ensemble_the_first_model_is_read_and_atoms_without_occupancy_are_none(tmp_path):
    two = (*SITES[:2], ("O", (1.0, 1.0, 1.0), 0.0, 10.0))
    path = write_model(tmp_path / "a.pdb", ())
    crystal = path.read_text().splitlines()[0]
    path.write_text(
        f"{crystal}\nMODEL        1\n{atom_lines(two)}ENDMDL\nMODEL        2\n{atom_lines(SITES)}ENDMDL\nEND\n"
    )
    model = read_atomic_model(path)
    assert (model.models, len(model.atoms), list(model.elements)) == (2, 2, ["C", "N"])


@pytest.mark.parametrize(
    ("name", "sites", "space_group", "complaint"),
    [
        ("a.pdb", SITES, None, r"model .*a\.pdb: has no unit cell \(CRYST1, or _cell; "),
        ("a.pdb", SITES, "P 99", r"a\.pdb: its space group 'P 99' is none that gemmi knows"),
        ("a.pdb", (("X", (1.0, 1.0, 1.0), 1.0, 10.0),), "P 1", r"a\.pdb: holds no atom with an occupancy"),
        ("a.pdb", (("C", (1.0, 1.0, 1.0), 0.0, 10.0),), "P 1", r"a\.pdb: holds no atom with an occupancy"),
        ("a.cif", SITES, "P 1", r"model .*a\.cif cannot be read: .*expected"),
    ],
)
def test_what_has_no_diffraction_is_refused(tmp_path, name, sites, space_group, complaint):
    path = write_model(tmp_path / name, sites, space_group)
    with pytest.raises(FileFormatError, match=complaint):
        read_atomic_model(path)


def test_a_cell_of_1_1_1_is_none(tmp_path):
    with pytest.raises(
        FileFormatError, match=r"has no unit cell .*1 1 1 is none\); crystal\.cell and crystal\.space_group say"
    ):
        read_atomic_model(write_model(tmp_path / "a.pdb", space_group="P 1", cell=(1, 1, 1, 90, 90, 90)))


def test_what_gemmi_says_in_two_lines_is_said_in_one(tmp_path):
    (tmp_path / "a.cif").write_text("data_a\nloop_\n_atom_site.id\n_atom_site.x\n1\n")
    with pytest.raises(FileFormatError, match=r"a\.cif cannot be read") as error:
        read_atomic_model(tmp_path / "a.cif")
    assert "\n" not in str(error.value)


def test_atoms_of_no_known_element_are_left_out_and_counted(tmp_path):
    unknown = ("X", (1.0, 1.0, 1.0), 1.0, 10.0)
    model = read_atomic_model(write_model(tmp_path / "a.pdb", (unknown, *SITES, unknown)))
    assert (model.unknown, len(model.atoms)) == (2, len(SITES))
    assert len([*model.structure[0].all()]) == len(SITES)


def test_a_model_is_read_again_where_its_file_has_changed(tmp_path):
    path = write_model(tmp_path / "a.pdb")
    first = read_atomic_model(path)
    assert read_atomic_model(path) is first
    write_model(path, SITES[:3])
    assert len(read_atomic_model(path).atoms) == 3


@pytest.mark.parametrize("replaced", [False, True])
def test_a_model_whose_atoms_moved_is_read_again_however_old_its_file_is_said_to_be(tmp_path, replaced):
    path, said = write_model(tmp_path / "a.pdb"), (10**18, 10**18)
    os.utime(path, ns=said)  # as an archive has all of its files
    first = read_atomic_model(path)
    (element, (x, y, z), *others), *rest = SITES
    moved = write_model(tmp_path / "b.pdb" if replaced else path, [(element, (x + 1, y, z), *others), *rest])
    os.utime(moved, ns=said)
    moved.replace(path)
    assert read_atomic_model(path).atoms[0].pos.x == pytest.approx(first.atoms[0].pos.x + 1)


def test_a_missing_model_and_a_file_without_atoms_are_named(tmp_path):
    with pytest.raises(FileFormatError, match=r"model .*none\.pdb does not exist"):
        read_atomic_model(tmp_path / "none.pdb")
    (tmp_path / "a.cif").write_text("data_a\n_cell.length_a 10\n")
    with pytest.raises(FileFormatError, match=r"a\.cif: holds no atom; give PDB, or mmCIF"):
        read_atomic_model(tmp_path / "a.cif")
    (tmp_path / "a.mtz").write_bytes(b"MTZ " + bytes(76))
    with pytest.raises(FileFormatError, match=r"a\.mtz: holds reflections; structure_factors of kind file reads it"):
        read_atomic_model(tmp_path / "a.mtz")


def test_choochs_files_have_f_double_prime_first(tmp_path):
    (tmp_path / "a.efs").write_text("# title\nmore of it\n 12650.0 0.6 -8.1\n 12660.0 3.9 -7.5\n")
    (tmp_path / "a.txt").write_text("E fp fpp\n12650 -8.1 0.6\n12660 -7.5 3.9\n")
    for name in ("a.efs", "a.txt"):
        energy_eV, real, imaginary = read_dispersion(tmp_path / name)
        assert (energy_eV.tolist(), real.tolist(), imaginary.tolist()) == ([12650, 12660], [-8.1, -7.5], [0.6, 3.9])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("12650 0.6 -8.1\n", r"line 1: f'' \(column 3\) is -8\.1, below 0; \.efs files have E f'' f'"),
        ("12650 -8.1 0.6\n12650 -8 0.7\n", r"line 2: energy 12650 is not above 12650"),
        ("12650 -8.1 0.6\n12660 -8\n", r"line 2: expected three numbers, found '12660 -8'"),
        ("nothing\n", r"holds no line of three numbers"),
    ],
)
def test_a_table_of_dispersion_that_is_none_is_refused(tmp_path, text, complaint):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(FileFormatError, match=complaint):
        read_dispersion(tmp_path / "a.txt")
