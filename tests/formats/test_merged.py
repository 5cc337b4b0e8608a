"""Amplitudes are read from MTZ and CIF files as they stand there, and what is none of them is refused in one line."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path

import gemmi
import numpy as np
import pytest
from merged_files import CELL, unit, write_mtz

from nbdist.errors import FileFormatError
from nbdist.formats.merged import ORDER, CrystalOfFile, form_of, read_crystal, read_merged

HKL = unit()
ROW = np.arange(1, len(HKL) + 1) / 7
NOTHING = np.full(len(HKL), np.nan)


@pytest.fixture
def mtz(tmp_path):
    """`mtz(name="a.mtz", **columns)`: a file of these columns, each a multiple of ROW or an array."""

    def write(columns, name="a.mtz", **crystal):
        values = {label: its * ROW if np.isscalar(its) else its for label, its in columns.items()}
        return write_mtz(tmp_path / name, values, HKL, **crystal)

    return write


def complaint(path, *columns):
    with pytest.raises(FileFormatError) as error:
        read_merged(path, columns)
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)
    return str(error.value)


# ---- what is read


def test_amplitudes_are_those_of_the_file_to_the_bit(mtz):
    found = read_merged(mtz({"F": np.where(ROW > 2, ROW, np.nan)}))
    np.testing.assert_array_equal(found.indices, HKL)
    expected = np.where(ROW > 2, ROW, np.nan).astype(np.float32)
    np.testing.assert_array_equal(found.amplitudes.astype(np.float32), expected[None])
    assert found.crystal == CrystalOfFile("P 43 21 2", CELL)


ALL = ("DELFWT", "FWT", "FC", "PHIC", "I(+)", "I(-)", "I", "F(+)", "F(-)", "F")


@pytest.mark.parametrize(
    ("without", "taken"),
    [
        ((), ("F",)),
        (("F",), ("F(+)", "F(-)")),
        (("F", "F(+)", "F(-)"), ("I",)),
        (("F", "F(+)", "F(-)", "I"), ("I(+)", "I(-)")),
        (("F", "F(+)", "F(-)", "I", "I(+)", "I(-)"), ("FC",)),
        (("F", "F(+)", "F(-)", "I", "I(+)", "I(-)", "FC"), ("FWT",)),
    ],
)
def test_the_first_of_what_was_measured_then_of_what_was_calculated_is_taken(mtz, without, taken):
    labels = [label for label in ALL if label not in without]
    found = read_merged(mtz({label: number + 1 for number, label in enumerate(labels)}))
    assert found.columns == taken
    assert set(found.others) == set(labels) - set(taken) - {"PHIC", "DELFWT"}


def test_the_documentation_has_a_row_for_each_kind_of_column():
    text = (Path(__file__).parents[2] / "docs" / "how_to" / "inputs.md").read_text(encoding="utf-8")
    table = text.split("Where no column is named", 1)[1].split("\n\n")[1].splitlines()
    assert len(table) - 2 == len(ORDER)


@pytest.mark.parametrize(
    "columns",
    [
        ("ANOM", "PANOM", "I", "SIGI"),  # phenix.refine
        ("FLLG_S", "PHLLG_S", "I", "SIGI"),  # Phaser
        ("DELFAN", "PHDELAN", "FAN", "PHAN", "I", "SIGI"),  # REFMAC
        ("F_Calc", "F-CALC", "FPART1", "I", "SIGI"),
        ("FDM", "PHIDM", "I", "SIGI"),  # of a map, by the phase behind it
        ("F-model(+)", "PHIF-model(+)", "F-model(-)", "PHIF-model(-)", "I", "SIGI"),
    ],
)
def test_what_no_one_measured_does_not_come_before_what_was(mtz, columns):
    types = {"I": "J", "SIGI": "Q"} | {label: "P" for label in columns if label.startswith("P")}
    types |= {label: "G" for label in columns if label.startswith("F-model")}
    path = mtz({label: number + 1 for number, label in enumerate(columns)}, types=types)
    assert read_merged(path).columns == ("I",)


@pytest.mark.parametrize(
    ("labels", "taken"),
    [
        (("F(-)", "F(+)"), ("F(+)", "F(-)")),
        (("I(-)", "I(+)"), ("I(+)", "I(-)")),
        (("F-obs(+)", "F-model(+)", "F-obs(-)", "F-model(-)"), ("F-obs(+)", "F-obs(-)")),
        (("Fminus", "Fplus"), ("Fplus", "Fminus")),
    ],
)
def test_of_a_pair_that_of_hkl_comes_first_wherever_it_stands(mtz, labels, taken):
    types = {label: "G" for label in labels if label.startswith("F")}
    assert read_merged(mtz({label: 1 for label in labels}, types=types)).columns == taken


def test_of_a_pair_in_a_cif_that_of_hkl_comes_first(mtz):
    found = read_merged(mtz({"F(-)": 1, "F(+)": 2}, "a.cif"))
    assert found.columns == ("pdbx_F_plus", "pdbx_F_minus")


def test_a_pair_without_signs_wants_to_be_named(mtz):
    path = mtz({"FA": 1, "FB": 2}, types={"FA": "G", "FB": "G"})
    assert complaint(path).endswith("no column that is recognised holds a value; name columns of FA, FB")
    assert read_merged(path, ["FA", "FB"]).columns == ("FA", "FB")


def test_what_a_file_marks_as_missing_is_missing(mtz):
    path = mtz({"F": np.where(ROW > 1, ROW, -999.0)})
    flagged = gemmi.read_mtz_file(str(path))
    flagged.valm = -999
    flagged.write_to_file(str(path))
    found = read_merged(path)
    np.testing.assert_array_equal(np.isnan(found.amplitudes), [ROW <= 1])
    assert found.notes == ()


def test_an_amplitude_of_0_with_a_sigma_of_0_is_missing(mtz):
    values = np.where(ROW > 1, ROW, 0.0)
    path = mtz({"F": values, "SIGF": np.where(ROW > 0.5, values / 10, 1)}, types={"SIGF": "Q"})
    np.testing.assert_array_equal(np.isnan(read_merged(path).amplitudes), [(ROW > 0.5) & (ROW <= 1)])


def test_an_amplitude_below_0_is_no_measured_one_and_of_a_map_half_a_cycle_of_phase(mtz):
    found = read_merged(mtz({"F": np.where(ROW > 1, ROW, -ROW)}))
    np.testing.assert_array_equal(np.isnan(found.amplitudes), [ROW <= 1])
    assert found.notes == (f"amplitudes below 0, which count as missing: {(ROW <= 1).sum()}",)
    np.testing.assert_allclose(read_merged(mtz({"FWT": np.where(ROW > 1, ROW, -ROW)})).amplitudes, [ROW], rtol=1e-7)


@pytest.mark.parametrize("label", ["FP", "FOBS", "F-obs", "FMEAN", "F_native"])
def test_other_names_of_measured_amplitudes_come_before_calculated_ones(mtz, label):
    assert read_merged(mtz({"F-model": 1, "FC_ALL": 2, "2FOFCWT": 3, label: 4})).columns == (label,)


def test_a_named_column_is_taken_whatever_else_there_is(mtz):
    path = mtz({"F": 1, "FC": 2, "F(+)": 3, "F(-)": 4})
    np.testing.assert_allclose(read_merged(path, ["FC"]).amplitudes, [2 * ROW], rtol=1e-7)
    np.testing.assert_allclose(read_merged(path, ["F(+)", "F(-)"]).amplitudes, [3 * ROW, 4 * ROW], rtol=1e-7)


def test_of_an_intensity_the_root_is_taken_and_0_where_it_is_below(mtz):
    found = read_merged(mtz({"I": np.where(ROW > 1, 4 * ROW, -ROW)}))
    np.testing.assert_allclose(found.amplitudes, [np.where(ROW > 1, 2 * np.sqrt(ROW), 0)], rtol=1e-7)
    assert found.notes == (f"intensities below 0, which have F = 0: {(ROW <= 1).sum()}",)


def test_a_cif_has_what_the_mtz_has(mtz):
    for columns in ({"F": 1, "I": 2}, {"F(+)": 1, "F(-)": 2}, {"I": 3}, {"FC": 3}):
        of_mtz, of_cif = read_merged(mtz(columns)), read_merged(mtz(columns, "a.cif"))
        np.testing.assert_allclose(of_cif.amplitudes, of_mtz.amplitudes, rtol=1e-5)
        np.testing.assert_array_equal(of_cif.indices, of_mtz.indices)
        assert of_cif.crystal == of_mtz.crystal


@pytest.mark.parametrize("name", ["a.cif", "a.mtz"])
def test_a_packed_file_is_read(mtz, name):
    path = mtz({"F": 1}, name)
    packed = path.with_name(f"b.{name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_merged(packed).amplitudes, read_merged(path).amplitudes)
    damaged = bytearray(packed.read_bytes())
    damaged[15:40] = bytes(25)
    packed.write_bytes(damaged)
    assert "cannot be read" in complaint(packed)


def test_a_cif_with_a_byte_order_mark_is_read(mtz):
    path = mtz({"F": 1}, "a.cif")
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert read_merged(path).columns == ("F_meas_au",)


SMALL_MOLECULE = """# of a small molecule
data_shelx
_symmetry_space_group_name_H-M 'P 21 21 21'
_cell_length_a 5
_cell_length_b 6
_cell_length_c 7
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_refln_index_h
_refln_index_k
_refln_index_l
_refln_F_squared_calc
_refln_F_squared_meas
1 2 3 5.0 4.0
1 2 4 5.0 -1.0
1 2 5 5.0 ?
"""


def test_a_cif_of_a_small_molecule_is_read(tmp_path):
    path = tmp_path / "a.fcf"
    path.write_text(SMALL_MOLECULE)
    found = read_merged(path)
    assert found.columns == ("F_squared_meas",)
    np.testing.assert_array_equal(found.amplitudes, [[2, 0, np.nan]])
    assert read_crystal(path) == CrystalOfFile("P 21 21 21", (5, 6, 7, 90, 90, 90))


@pytest.mark.parametrize(
    ("said", "group"),
    [
        ("loop_\n_space_group_symop_operation_xyz\n'x,y,z'\n'-x,y+1/2,-z'\n", "P 1 21 1"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z\n", "P -1"),
        ("_symmetry_Int_Tables_number 19\n", "P 21 21 21"),
        ("_space_group_IT_number 4\n", "P 1 21 1"),
    ],
)
def test_a_space_group_without_a_symbol_is_known_by_its_operations_or_its_number(tmp_path, said, group):
    path = tmp_path / "a.fcf"
    path.write_text(SMALL_MOLECULE.replace("_symmetry_space_group_name_H-M 'P 21 21 21'\n", said))
    assert read_crystal(path).space_group == group


LOOP = "loop_\n_refln.index_h\n_refln.index_k\n_refln.index_l\n"
OF_THE_PDB = (LOOP.replace("loop_\n", "loop_\n_refln.crystal_id\n"), "1 ")
"""What precedes the indices in most files of the Protein Data Bank: the first item of the loop, and its value."""


@pytest.mark.parametrize(("loop", "before"), [(LOOP, ""), OF_THE_PDB])
@pytest.mark.parametrize("item", ["status", "observed_status", "include_status"])
def test_what_is_marked_as_not_measured_is_missing_and_what_was_calculated_is_not(tmp_path, item, loop, before):
    path = tmp_path / "a.cif"
    rows = ("1 2 3 'x' 9.0 5", "1 2 4 x 0.0 5", "1 2 5 o 4.0 5", "1 2 6 f 6.0 5", "1 2 7 < 1.0 5", "1 2 8 o 0.0 0.0")
    content = "".join(f"{before}{row} 7\n" for row in rows)
    items = f"_refln.{item}\n_refln.F_meas_au\n_refln.F_meas_sigma_au\n_refln.F_calc_au\n"
    path.write_text(f"data_a\n{loop}{items}{content}")
    np.testing.assert_array_equal(read_merged(path).amplitudes, [[np.nan, np.nan, 4, 6, 1, np.nan]])
    np.testing.assert_array_equal(read_merged(path, ["F_calc_au"]).amplitudes, [[7] * 6])


def test_the_first_block_that_has_a_value_is_read_and_named(tmp_path):
    path = tmp_path / "a.cif"
    blocks = (
        "data_cell\n_cell.length_a 5\n",
        f"data_empty\n{LOOP}_refln.F_meas_au\n1 2 3 ?\n",
        f"data_first\n{LOOP}_refln.F_meas_au\n_refln.intensity_meas\n1 2 3 ? 4\n",
        f"data_second\n{LOOP}_refln.F_calc_au\n1 2 3 7\n",
    )
    path.write_text("".join(blocks))
    found = read_merged(path)
    assert (found.columns, found.block, found.amplitudes.tolist()) == (("intensity_meas",), "first", [[2]])
    named = read_merged(path, ["F_calc_au"])
    assert (named.block, named.amplitudes.tolist()) == ("second", [[7]])


@pytest.mark.parametrize(("loop", "before"), [(LOOP, ""), OF_THE_PDB])
def test_wavelengths_in_one_loop_are_refused_by_their_names(tmp_path, loop, before):
    path = tmp_path / "a.cif"
    rows = f"{before}1 2 3 1 4\n{before}1 2 3 '2' 5\n"
    path.write_text(f"data_a\n{loop}_refln.wavelength_id\n_refln.F_meas_au\n{rows}")
    assert "block a has reflections of 2 wavelengths in one loop (wavelength_id 1, 2)" in complaint(path)


def test_a_text_is_told_from_them_whatever_its_name(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 2 3 4\n")
    assert form_of(path) == "text"
    assert read_crystal(path) == CrystalOfFile(None, None)


# ---- what is refused


def test_columns_that_are_not_there_or_no_amplitudes_are_named_with_those_that_are(mtz):
    path = mtz({"F": 1, "PHIC": 2})
    assert complaint(path, "FP").endswith("column FP is not in it; it has F")
    assert complaint(path, "PHIC").endswith("column PHIC is none of amplitudes or intensities; it has F")
    assert complaint(mtz({"F": 1, "I": 2}), "F", "I").endswith("F and I are an amplitude and an intensity, no pair")
    assert "holds no amplitudes or intensities; its columns are PHIC" in complaint(mtz({"PHIC": 1}))


def test_a_column_without_a_value_is_refused(mtz):
    path = mtz({"F": NOTHING, "FC": 1})
    assert complaint(path, "F").endswith("column F holds no value")
    assert read_merged(path).columns == ("FC",)


@pytest.mark.parametrize("kept", [30, 200, 4000, -1000])
def test_a_truncated_mtz_is_refused(mtz, kept):
    path = mtz({"F": 1, "I": 2})
    path.write_bytes(path.read_bytes()[:kept])
    assert "is damaged" in complaint(path)
    assert "0 reflections" not in complaint(path)


def test_a_header_that_promises_more_than_the_file_holds_is_refused_before_room_is_made(mtz):
    path = mtz({"F": 1})
    content, count = path.read_bytes(), f"{len(HKL)}".encode()
    said = b"NCOL        4 " + count.rjust(12)
    assert content.count(said) == 1
    path.write_bytes(content.replace(said, b"NCOL        4    900000000"))
    assert "ends before its 900,000,000 reflections of 4 columns" in complaint(path)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.mtz", b"1 2 3 4\n", "another kind than its name says: it does not begin with MTZ"),
        ("a.cif", b"1 2 3 4\n", "another kind than its name says: it does not begin with data_"),
        ("a.mtz", b"", "a.mtz is empty"),
        ("a.pdb", b"REMARK\nCRYST1   10.000\n", "is an atomic model .PDB.; structure_factors of kind model reads it"),
        ("a.cif", b"data_a\nloop_\n_atom_site.group_PDB\n_atom_site.Cartn_x\nATOM   1.0\n", "no loop of _refln; it is an atomic model"),
        ("a.map", b"\0" * 208 + b"MAP \0\0", "is a map"),
        ("a.cif", b"data_a\n_cell.length_a 5\n", "no loop of _refln"),
        ("a.cif", b"data_a\nloop_\n_refln.index_h\n_refln.F_meas_au\n1 2\n", "is damaged: .*index_k"),
        ("a.cif", b"data_a\nloop_\n_refln.index_h\n_refln.F_meas_au\n1 2 3\n", "is damaged"),
        ("a.cif", b"data_a\nloop_\n_refln.index_h\n_refln.index_k\n_refln.index_l\n_refln.F_meas_au\n1 ? 2 3\n", "is damaged"),
        ("a.cif", b"data_a\nloop_\n_diffrn_refln.index_h\n_diffrn_refln.intensity_net\n1 2\n", "unmerged"),
        ("a.cif.gz", b"data_a\n", "cannot be read"),
    ],
)  # fmt: skip
def test_other_files_are_refused_by_what_they_hold(tmp_path, name, content, wanted):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=wanted) as error:
        read_merged(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    assert "does not exist" in complaint(tmp_path / "a.mtz")


def test_unmerged_reflections_without_intensities_are_refused(mtz):
    path = mtz({"F": 1})
    unmerged = gemmi.read_mtz_file(str(path))
    unmerged.batches.append(gemmi.Mtz.Batch())
    unmerged.write_to_file(str(path))
    said = complaint(path)
    assert "a.mtz holds unmerged reflections, without a column of intensities with one of sigmas" in said
    assert "damaged" not in said


def test_an_index_of_no_crystal_is_refused(tmp_path):
    path = write_mtz(tmp_path / "a.mtz", {"F": np.ones(1)}, np.array([[1, 2, 2_000_000]]))
    assert "a Miller index of 2000000" in complaint(path)
