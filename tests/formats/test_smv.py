"""SMV images: what is written is what fabio and we read, and a wrong file is named."""

from __future__ import annotations

from pathlib import Path

import fabio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nbdist.errors import FileFormatError
from nbdist.formats.smv import header_number, is_smv, read_smv, read_smv_header, smv_bytes

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000


def written(folder: Path, data: bytes) -> Path:
    path = folder / "image.img"
    path.write_bytes(data)
    return path


def test_the_header_has_512_bytes_and_then_come_the_pixels():
    data = smv_bytes({"PIXEL_SIZE": 0.1}, PIXELS)
    assert data[512:] == PIXELS.astype("<u2").tobytes()
    assert data.startswith(
        b"{\nHEADER_BYTES=512;\nDIM=2;\nBYTE_ORDER=little_endian;\nTYPE=unsigned_short;\nSIZE1=4;\nSIZE2=3;\n"
    )
    assert data[:512].rstrip().endswith(b"}\f".rstrip())


def test_fabio_reads_the_same_pixels_and_header(tmp_path):
    image = fabio.open(
        str(written(tmp_path, smv_bytes({"DISTANCE": 231.27466, "DIALS_ORIGIN": (1.5, -2.0, 3.0)}, PIXELS)))
    )
    np.testing.assert_array_equal(image.data, PIXELS)
    assert float(image.header["DISTANCE"]) == 231.27466
    assert image.header["DIALS_ORIGIN"] == "1.5,-2,3"


@given(pixels=arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))), number=st.floats(-1e6, 1e6))
def test_what_is_written_is_read(tmp_path, pixels, number):
    header, found = read_smv(written(tmp_path, smv_bytes({"PHI": number}, pixels)))
    np.testing.assert_array_equal(found, pixels)
    assert float(header["PHI"]) == pytest.approx(number, rel=1e-11, abs=1e-9)


def test_numbers_lose_digits_rather_than_room():
    numbers = {f"KEY{n:02}": 10 + n + 1 / 3 for n in range(29)}
    data = smv_bytes(numbers, PIXELS, derived=("KEY07",))
    assert len(data) == 512 + PIXELS.nbytes
    first, derived = (next(line for line in data.split(b"\n") if line.startswith(key)) for key in (b"KEY06", b"KEY07"))
    assert len(first) >= len(derived)
    assert first.startswith(b"KEY06=16.333")


def test_a_header_that_cannot_fit_is_longer_and_says_so(tmp_path):
    path = written(tmp_path, smv_bytes({f"KEY{n:02}": n + 1 / 3 for n in range(40)}, PIXELS))
    header, pixels = read_smv(path)
    assert (header["HEADER_BYTES"], header["KEY39"]) == ("1024", "39.3333333333")
    np.testing.assert_array_equal(pixels, PIXELS)
    np.testing.assert_array_equal(fabio.open(str(path)).data, PIXELS)
    with pytest.raises(ValueError, match="does not fit"):
        smv_bytes({f"KEY{n:03}": n + 1 / 3 for n in range(200)}, PIXELS)


@pytest.mark.parametrize(
    ("kind", "order", "dtype"),
    [
        ("unsigned_short", "big_endian", ">u2"),
        ("signed_long", "little_endian", "<i4"),
        ("unsigned_byte", "little_endian", "u1"),
    ],
)
def test_other_pixel_types_and_byte_orders_are_read(tmp_path, kind, order, dtype):
    header = f"{{\nHEADER_BYTES=1024;\nTYPE={kind};\nBYTE_ORDER={order};\nSIZE1=2;\nSIZE2=2;\n}}\f".encode().ljust(1024)
    pixels = np.array([[1, 2], [3, 200]], dtype=dtype)
    np.testing.assert_array_equal(read_smv(written(tmp_path, header + pixels.tobytes()))[1], pixels)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"no header", "has no HEADER_BYTES"),
        (b"{HEADER_BYTES=512;SIZE1=2;}", "has no SIZE2"),
        (b"{HEADER_BYTES=512;SIZE1=2;SIZE2=-3;}", "SIZE2 should be a whole number above 0, found '-3'"),
        (b"{HEADER_BYTES=512;SIZE1=2;SIZE2=2;TYPE=complex;}", "TYPE complex"),
        (b"{HEADER_BYTES=512;SIZE1=2;SIZE2=2;BYTE_ORDER=odd;}", "BYTE_ORDER odd"),
        (smv_bytes({}, PIXELS)[:-1], "23 bytes of pixels, 3 x 4 unsigned_short need 24"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, data, complaint):
    path = written(tmp_path, data)
    with pytest.raises(FileFormatError, match=complaint) as error:
        read_smv(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.img", tmp_path):
        with pytest.raises(FileFormatError, match=str(path)):
            read_smv_header(path)
        assert not is_smv(path)


def test_braces_inside_a_value_do_not_end_the_header(tmp_path):
    text = b"{\nHEADER_BYTES=  1024;\nSIZE1=4;\nSIZE2=3;\nCOMMENT={ x };\nDISTANCE=120;\n}\n"
    path = written(tmp_path, text.ljust(1024) + PIXELS.tobytes())
    header, pixels = read_smv(path)
    assert (header["COMMENT"], header["DISTANCE"]) == ("{ x }", "120")
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize("size", ["9" * 30, "99999999999999", "0", "-1", "5.5", "\u0663", ""])
def test_a_header_that_is_longer_than_its_file_or_has_no_length_is_refused(tmp_path, size):
    path = written(tmp_path, f"{{\nHEADER_BYTES={size};\nSIZE1=4;\nSIZE2=3;\n}}".encode().ljust(512))
    with pytest.raises(FileFormatError, match="HEADER_BYTES"):
        read_smv_header(path)


def test_a_header_number_that_is_none_is_named(tmp_path):
    path = written(tmp_path, smv_bytes({"PHI": "north"}, PIXELS))
    header = read_smv_header(path)
    assert header_number(header, "DISTANCE", path) is None
    with pytest.raises(FileFormatError, match="PHI should be a number, found 'north'"):
        header_number(header, "PHI", path)
