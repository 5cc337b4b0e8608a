"""SMV images (ADSC): a text header of `KEY=value;` lines, padded to HEADER_BYTES, and then the pixels, fast axis first.

The format has no standard of its own; what is written here is nanoBragg's header, key by key, and what is read is what ADSC, nanoBragg
and simtbx write: two dimensions, either byte order, 8 to 32 bits a pixel.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError

HEADER_BYTES = 512
MOST_SIZE_DIGITS = 15
MOST_DIGITS, FEWEST_DIGITS = 12, 5
NOTHING = 1e-9
"""Below it a number is the rounding error of a 0: a picometre, if it is mm."""
TYPES = {
    "unsigned_byte": "u1",
    "unsigned_char": "u1",
    "unsigned_short": "u2",
    "signed_short": "i2",
    "short": "i2",
    "unsigned_long": "u4",
    "signed_long": "i4",
    "long": "i4",
    "float": "f4",
}
BYTE_ORDERS = {"little_endian": "<", "big_endian": ">"}
Header = dict[str, str]
Value = str | int | float | tuple[float, ...]


def is_smv(path: Path) -> bool:
    """Whether `path` begins as an SMV file does; False where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(64).lstrip(b"{ \r\n").startswith(b"HEADER_BYTES")
    except OSError:
        return False


def read_smv_header_text(path: Path, what: str = "SMV image") -> str:
    """Read the first HEADER_BYTES bytes of an SMV file, up to a zero byte, as text; `what` names the file in an error.

    Raises
    ------
    FileFormatError
        If the file is missing or has no SMV header.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(HEADER_BYTES)
            size = _whole(_parse(_as_text(start)), "HEADER_BYTES", path, what)
            found = os.fstat(stream.fileno()).st_size
            if size > max(found, HEADER_BYTES):
                raise FileFormatError(f"{what} {path}: HEADER_BYTES is {size}, the file has {found} bytes")
            return _as_text(start[:size] + stream.read(max(0, size - HEADER_BYTES)))
    except FileNotFoundError:
        raise FileFormatError(f"{what} {path} does not exist") from None
    except OSError as error:
        raise FileFormatError(f"{what} {path} cannot be read: {error.strerror}") from None


def read_smv_header(path: Path, what: str = "SMV image") -> Header:
    """Read the header of an SMV file, values as text; `what` names the file in an error.

    The header is HEADER_BYTES long; braces inside a value are part of it, and of a key given twice the last one counts.

    Raises
    ------
    FileFormatError
        If the file is missing or has no SMV header.
    """
    header = _parse(read_smv_header_text(path, what))
    for key in ("SIZE1", "SIZE2"):
        _whole(header, key, path, what)
    return header


def read_smv(path: Path, what: str = "SMV image") -> tuple[Header, NDArray[np.generic]]:
    """Read an SMV file.

    Returns
    -------
    The header, values as text, and the pixels (slow, fast) in the machine's byte order.

    Raises
    ------
    FileFormatError
        If the file is missing, has no SMV header, a pixel type that is not known, or too few pixels.
    """
    header = read_smv_header(path, what)
    kind, order = header.get("TYPE", "unsigned_short"), header.get("BYTE_ORDER", "little_endian")
    if kind not in TYPES:
        raise FileFormatError(f"{what} {path}: TYPE {kind} is not one of {', '.join(TYPES)}")
    if order not in BYTE_ORDERS:
        raise FileFormatError(f"{what} {path}: BYTE_ORDER {order} is neither little_endian nor big_endian")
    dtype = np.dtype(BYTE_ORDERS[order] + TYPES[kind])
    start = _whole(header, "HEADER_BYTES", path, what)
    shape = (_whole(header, "SIZE2", path, what), _whole(header, "SIZE1", path, what))
    wanted = shape[0] * shape[1] * dtype.itemsize
    found = path.stat().st_size - start
    if found < wanted:
        raise FileFormatError(
            f"{what} {path}: {max(0, found)} bytes of pixels, {shape[0]} x {shape[1]} {kind} need {wanted}"
        )
    with path.open("rb") as stream:
        stream.seek(start)
        pixels = np.frombuffer(stream.read(wanted), dtype=dtype).reshape(shape)
    return header, pixels.astype(dtype.newbyteorder("="))


def header_number(header: Mapping[str, str], key: str, path: Path, what: str = "SMV image") -> float | None:
    """A number of the header, or None where it does not have it.

    Raises
    ------
    FileFormatError
        If it is not a finite number.
    """
    if key not in header:
        return None
    try:
        value = float(header[key])
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise FileFormatError(f"{what} {path}: {key} should be a number, found '{header[key]}'")
    return value


def smv_bytes(header: Mapping[str, Value], pixels: NDArray[np.uint16], derived: Collection[str] = ()) -> bytes:
    """An SMV file of 16-bit pixels (slow, fast): a header of 512 bytes, then the pixels in little-endian order.

    Numbers have as many digits as 512 bytes leave room for. Where even 5 are too many, the header has 1024 bytes and says so:
    a header that runs into the pixels, as nanoBragg's can, shifts the image.

    Parameters
    ----------
    header
        What comes after HEADER_BYTES, DIM, BYTE_ORDER, TYPE, SIZE1 and SIZE2.
    derived
        Keys that follow from the others: their numbers lose digits first.

    Raises
    ------
    ValueError
        If the header does not fit 1024 bytes either.
    """
    for size in (HEADER_BYTES, 2 * HEADER_BYTES):
        fixed: dict[str, Value] = {
            "HEADER_BYTES": size,
            "DIM": 2,
            "BYTE_ORDER": "little_endian",
            "TYPE": "unsigned_short",
            "SIZE1": pixels.shape[1],
            "SIZE2": pixels.shape[0],
        }
        for digits, fewer in product(range(MOST_DIGITS, FEWEST_DIGITS - 1, -1), range(3)):
            lines = "".join(
                f"{key}={_text(value, digits - fewer if key in derived else digits)};\n"
                for key, value in (fixed | dict(header)).items()
            )
            text = f"{{\n{lines}}}\f".encode("ascii")
            if len(text) <= size:
                return text.ljust(size) + pixels.astype("<u2").tobytes()
    raise ValueError(f"an SMV header of {len(text)} bytes does not fit {size}")


def _text(value: Value, digits: int) -> str:
    if isinstance(value, tuple):
        return ",".join(_text(number, digits) for number in value)
    if isinstance(value, float):
        return f"{value:.{digits}g}" if abs(value) > NOTHING else "0"
    return str(value)


def _as_text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("latin-1")


def _parse(text: str) -> Header:
    """`KEY=value;` lines between the first brace and the last; a writer may leave out the semicolon or the line's end."""
    body = text.partition("{")[2].rpartition("}")[0] or text
    pairs = (part.split("=", 1) for part in body.replace("\n", ";").split(";") if "=" in part)
    return {key.strip(): value.strip() for key, value in pairs}


def _whole(header: Header, key: str, path: Path, what: str) -> int:
    if key not in header:
        raise FileFormatError(f"{what} {path} is not an SMV image: its header has no {key}")
    digits = header[key].isascii() and header[key].isdecimal() and len(header[key]) <= MOST_SIZE_DIGITS
    if not digits or int(header[key]) < 1:
        raise FileFormatError(f"{what} {path}: {key} should be a whole number above 0, found '{header[key]}'")
    return int(header[key])
