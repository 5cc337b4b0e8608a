"""Files of other programs: read whole or refused with the line that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.errors import FileFormatError
from nbdist.formats import hkl
from nbdist.formats.hkl import read_hkl
from nbdist.formats.mosflm_matrix import read_mosflm_matrix
from nbdist.formats.source_list import read_source_list

READERS = [read_hkl, read_mosflm_matrix, read_source_list]


@pytest.fixture
def written(tmp_path):
    """`written(text)`: a file that holds it."""

    def write(text):
        path = tmp_path / "some.file"
        path.write_text(text)
        return path

    return write


def test_intensities_of_shelx_are_not_taken_for_amplitudes(written):
    rows = "   1   2   3   40.10    1.20\n  -1   2   3    9.00    0.80\n"
    said = complaint(read_hkl, written(rows + "   0   0   0    0.00    0.00   0\n"))
    assert "ends with '0 0 0 0.00 0.00 0', as SHELX's HKLF 4 does: its fourth column is F^2" in said
    assert len(read_hkl(written(rows))[1]) == 2
    assert len(read_hkl(written(rows + "0 0 0 0.00\n"))[1]) == 3


def complaint(reader, path):
    with pytest.raises(FileFormatError) as raised:
        reader(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_a_file_is_said_in_one_line(reader, tmp_path):
    assert "does not exist" in complaint(reader, tmp_path / "none")
    assert "is a directory" in complaint(reader, tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x81\x00")
    assert "not a text file" in complaint(reader, binary)


@pytest.mark.parametrize(
    ("reader", "data"), [(read_hkl, "1 2 3 4"), (read_mosflm_matrix, "1 2 3 4 5 6 7 8 9"), (read_source_list, "1 2 3")]
)
def test_a_byte_order_mark_is_passed_over_and_a_comment_may_be_in_any_encoding(reader, data, tmp_path):
    plain, marked, latin = (tmp_path / name for name in ("plain", "marked", "latin"))
    plain.write_bytes(data.encode())
    marked.write_bytes(b"\xef\xbb\xbf" + data.encode() + "\n# 2.3 Å, a — b\n".encode())
    latin.write_bytes("# 2.3 Å\n".encode("latin-1") + data.encode())
    for path in (marked, latin):
        assert str(reader(path)) == str(reader(plain))


def test_a_column_in_another_encoding_is_refused_with_its_line(tmp_path):
    path = tmp_path / "latin.hkl"
    path.write_bytes("1 2 3 4\n1 2 3 Å\n".encode("latin-1"))
    assert "line 2" in complaint(read_hkl, path)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n"])
def test_a_file_without_data_is_refused(written, text):
    assert "holds no reflections" in complaint(read_hkl, written(text))
    assert "holds no sources" in complaint(read_source_list, written(text))
    assert "holds 0 numbers" in complaint(read_mosflm_matrix, written(text))


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_amplitudes_are_read_with_comments_blank_lines_and_further_columns(written, end):
    text = f"# h k l F\n1 2 3 4.5\n\n -1 0  7\t1e2 0.3 more # and a comment\n 2.0 0 0 0{end}"
    indices, amplitudes = read_hkl(written(text))
    assert indices.tolist() == [[1, 2, 3], [-1, 0, 7], [2, 0, 0]]
    assert amplitudes.tolist() == [4.5, 100, 0]
    assert indices.dtype == np.int64
    assert amplitudes.dtype == np.float64


@pytest.mark.parametrize(
    "line",
    ["1 2 3", "1 2 three 4", "1 2 3.5 4", "1 2 3 nan", "1 2 3 inf", "1e300 0 0 1", "nan 0 0 1", "inf 0 0 1", "1,2,3,4"],
)
@pytest.mark.parametrize("comment", ["", "# a comment"])
def test_a_bad_reflection_is_named_by_its_line(written, line, comment):
    message = complaint(read_hkl, written(f"1 0 0 5\n{comment}\n{line}\n2 0 0 5\n"))
    assert "line 3" in message
    assert f"'{line}'" in message
    assert "h k l F" in message


index = st.integers(-999_999, 999_999)
reflection = st.tuples(
    index, index, index, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", " 1.5", "\t7 8"])
)


@given(
    reflections=st.lists(reflection, min_size=1, max_size=20),
    gap=st.sampled_from(["\n", "\n\n", " \n", " # F\n", "\n# h k l F\n"]),
)
def test_the_fast_and_the_careful_reader_agree(reflections, gap):
    text = gap.join(f"{h} {k} {l} {F!r}{more}" for h, k, l, F, more in reflections)
    fast, careful = hkl._read_fast("# h k l F\n" + text), hkl._read_lines(text, Path("none"))
    assert fast is not None
    for found, expected in zip(fast, careful, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert careful[0].tolist() == [list(row[:3]) for row in reflections]
    assert careful[1].tolist() == [row[3] for row in reflections]


def test_a_list_is_read_in_blocks_of_whole_lines(written, monkeypatch):
    lines = [f"{n} {-n} 3 {n}.5" + "  # odd" * (n % 2) for n in range(50)] + ["# end"] * 9
    monkeypatch.setattr(hkl, "BLOCK_CHARACTERS", 20)
    for end in ("\n", "\r\n", "\r"):
        text = end.join(lines)
        indices, amplitudes = hkl._read_fast(text)
        assert indices.tolist() == [[n, -n, 3] for n in range(50)]
        assert amplitudes.tolist() == [n + 0.5 for n in range(50)]
    assert "line 60" in complaint(read_hkl, written("\n".join([*lines, "1 2 3"])))


def test_a_matrix_is_the_first_nine_numbers_in_rows(written):
    text = "# A matrix\n1 2 3\n4 5 6\n7 8 9\n 0.000 0.000 0.000\n27.1 31.7 TEXT\n"
    assert read_mosflm_matrix(written(text)).tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 3\n4 five 6\n7 8 9", "line 2.*'five'"),
        ("1 2 3\n4 5 6\n7 8", "holds 8 numbers"),
        ("1 nan 3\n4 5 6\n7 8 9", "line 1"),
    ],
)
def test_a_malformed_matrix_is_refused(written, text, said):
    message = complaint(read_mosflm_matrix, written(text))
    assert re.search(said, message)


def test_nanobraggs_separators_stand_between_the_columns_of_a_source_list(written):
    (source,) = read_source_list(written("0,0;-10: 2!1e-10\n"))
    assert (source.position_m, source.weight, source.wavelength_m) == ((0, 0, -10), 2, 1e-10)


def test_columns_left_out_of_a_source_list_are_left_open(written):
    full, without_wavelength, position_only, short = read_source_list(
        written("# x y z weight wavelength\n0 0.1 -10 2 1e-10 more\n0 0 -10 0\n1 2 3\n-5\n")
    )
    assert (full.position_m, full.weight, full.wavelength_m) == ((0, 0.1, -10), 2, 1e-10)
    assert (without_wavelength.weight, without_wavelength.wavelength_m) == (0, None)
    assert (position_only.position_m, position_only.weight) == ((1, 2, 3), None)
    assert short.position_m == (-5,)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a b c", "'a b c'"),
        ("0 0 nan", "'0 0 nan'"),
        ("0 0 -1 -2", "-2 is negative"),
        ("0 0 -1 1 0", "not above 0"),
        ("0 0 0 1", "no direction"),
    ],
)
def test_a_bad_source_is_named_by_its_line(written, line, said):
    message = complaint(read_source_list, written(f"0 0 -10\n{line}\n"))
    assert "line 2" in message
    assert said in message


def test_sources_that_all_weigh_nothing_are_refused(written):
    assert "all weights are 0" in complaint(read_source_list, written("0 0 -10 0\n0 1 -10 0\n"))
