"""Crystallographic binary files: a frame in byte-offset compression, behind the categories of imgCIF and the lines of a miniCBF.

A file says its geometry twice. The categories, of which dxtbx makes all of its models, place a panel anywhere. The lines of the miniCBF
(`_array_data.header_contents`), which most programs read, have a distance and a beam centre; where that is not enough, a file has one
category more (`diffrn_source`), for which dxtbx does not go by them. The laboratory frame is imgCIF's and that of `formats.models`.

Byte offset: a pixel is the difference from the one before it, of the first pixel from 0, in the fewest bytes: one; or -128 and two; or
-128, -32768 and four; or -128, -32768, -2147483648 and eight; little-endian, two's complement.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import md5
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.image_files import ImageSeries
from nbdist.formats.models import Models
from nbdist.formats.single_images import SingleImages
from nbdist.formats.upright import Upright

Value = str | int | float
NO_OVERFLOW = 2**30
"""Values below it in size have differences that 32 bits hold."""
WIDTHS = (np.dtype("i1"), np.dtype("<i2"), np.dtype("<i4"), np.dtype("<i8"))

BOUNDARY = "--CIF-BINARY-FORMAT-SECTION--"
START_OF_DATA = b"\x0c\x1a\x04\xd5"
PADDING = 4095
"""Zero bytes after the pixels, as CBFlib has them."""
NO_DATE = "1970-01-01T00:00:00.000"
"""When a simulated frame was exposed: files of one series are to be the same each time."""
SENSORS = {"Si": "Silicon", "CdTe": "CdTe"}
"""Materials of a sensor, in the words of a miniCBF."""


class Cbf(SingleImages):
    """CBF as a format of image files."""

    name = "cbf"
    suffix = "cbf"

    def unread(self, models: Models) -> list[str]:
        """What DIALS does not find in the files."""
        return [*(["what is read without a photon"] if models.pedestal else []), *super().unread(models)]

    def image_bytes(self, series: ImageSeries, image: int, pixels: NDArray[np.int32]) -> tuple[bytes, int]:
        """A file of one image, which holds all readings."""
        return cbf_bytes(series.models, image, pixels), 0


def byte_offset(pixels: NDArray[np.integer]) -> bytes:
    """Pixels, fast axis first, in byte-offset compression.

    Parameters
    ----------
    pixels
        Whole numbers of any shape, each of which 32 bits with a sign hold.
    """
    values = pixels.ravel()
    largest = max(int(values.max(initial=0)), -int(values.min(initial=0)))
    offsets: NDArray[np.signedinteger] = np.empty(len(values), dtype=np.int32 if largest < NO_OVERFLOW else np.int64)
    np.subtract(values[1:], values[:-1], out=offsets[1:], dtype=offsets.dtype)
    offsets[:1] = values[:1]
    return _compressed(offsets, WIDTHS).tobytes()


def _compressed(offsets: NDArray[np.signedinteger], widths: Sequence[np.dtype[np.signedinteger]]) -> NDArray[np.uint8]:
    """The bytes of offsets, each in the first width that holds it, behind the marks of those that do not."""
    own, *wider = widths
    narrow = offsets.astype(own)
    fits = narrow == offsets
    if wider:
        fits &= narrow != np.iinfo(own).min
    beyond = np.flatnonzero(~fits)
    if not len(beyond):
        return narrow.view(np.uint8)
    narrow[beyond] = np.iinfo(own).min
    larger = offsets[beyond]
    rest, lengths = _compressed(larger, wider), _lengths(larger, wider)
    # where in the whole the bytes of `rest` are
    starts = (beyond + 1) * own.itemsize
    places = np.repeat(starts, lengths) + np.arange(len(rest))
    its_own = np.ones(narrow.nbytes + len(rest), dtype=bool)
    its_own[places] = False
    together = np.empty(len(its_own), dtype=np.uint8)
    together[its_own] = narrow.view(np.uint8)
    together[places] = rest
    return together


def _lengths(offsets: NDArray[np.signedinteger], widths: Sequence[np.dtype[np.signedinteger]]) -> NDArray[np.int64]:
    """Bytes of each offset in compressed form."""
    lengths = np.full(len(offsets), widths[0].itemsize)
    for narrower, own in pairwise(widths):
        lengths[np.abs(offsets) > np.iinfo(narrower).max] += own.itemsize
    return lengths


def cbf_bytes(models: Models, frame: int, pixels: NDArray[np.integer]) -> bytes:
    """A file of one frame of a series.

    Parameters
    ----------
    models
        With one panel.
    frame
        Of its scan, from its first one.
    pixels
        (slow, fast), each of which 32 bits with a sign hold; one below 0 says nothing.
    """
    data = byte_offset(pixels)
    text = _categories(models, frame) + _miniature(models, frame) + _binary(data, pixels.shape)
    return b"".join([_lines(text), START_OF_DATA, data, bytes(PADDING), _lines(f"\n{BOUNDARY}--\n;\n\n")])


def _lines(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("ascii")


def _categories(models: Models, frame: int) -> str:
    """The categories of imgCIF, each with what the dictionary says of it; axes have their vectors in its laboratory frame.

    `polarizn_source_ratio` is the share of the beam whose E vector lies in the plane with the normal, as dxtbx takes it, which has 0.999
    where it is missing. The dictionary's is the difference of both shares; they agree for a beam that is wholly polarized.
    """
    beam, scan, (panel,) = models.beam, models.scan, models.panels
    upright, start_deg = Upright.of(models), scan.start_deg + frame * scan.osc_deg
    plain = upright.faithful and upright.sense > 0
    distance = -float(panel.origin_mm[2])
    lateral = panel.origin_mm + np.array([0.0, 0.0, distance])
    nowhere, backwards = np.zeros(3), np.array([0.0, 0.0, -1.0])
    axes = [
        ("SOURCE", "general", "source", ".", -beam.travels, nowhere),
        ("SPINDLE", "rotation", "goniometer", ".", models.axis, nowhere),
        ("DISTANCE", "translation", "detector", ".", backwards, nowhere),
        ("SLOW", "translation", "detector", "DISTANCE", panel.slow, lateral),
        ("FAST", "translation", "detector", "SLOW", panel.fast, nowhere),
    ]
    set_to = {"SPINDLE": (start_deg, scan.osc_deg, 0.0), "DISTANCE": (0.0, 0.0, distance)}
    settings = [(name, *set_to.get(name, (0.0, 0.0, 0.0))) for name, *_ in axes]
    norm_deg = float(np.rad2deg(np.arctan2(beam.polarization_normal[0], beam.polarization_normal[1])))
    rows, columns = panel.shape
    return "".join(
        [
            "###CBF: VERSION 1.5\n# written by nbdist\n\n",
            f"data_frame_{scan.first_frame + frame + 1:05}\n\n",
            _items("diffrn", id="DS1"),
            *([] if plain else [_items("diffrn_source", diffrn_id="DS1", source="simulation")]),
            _items(
                "diffrn_radiation",
                diffrn_id="DS1",
                wavelength_id="WAVELENGTH1",
                polarizn_source_ratio=beam.polarization_fraction,
                polarizn_source_norm=norm_deg,
            ),
            _items("diffrn_radiation_wavelength", id="WAVELENGTH1", wavelength=beam.wavelength_A, wt=1.0),
            _items("diffrn_measurement", diffrn_id="DS1", id="GONIOMETER", number_of_axes=1),
            _items("diffrn_measurement_axis", measurement_id="GONIOMETER", axis_id="SPINDLE"),
            _items("diffrn_detector", diffrn_id="DS1", id="DETECTOR", number_of_axes=1),
            _items("diffrn_detector_axis", detector_id="DETECTOR", axis_id="DISTANCE"),
            _items("diffrn_detector_element", id="ELEMENT", detector_id="DETECTOR"),
            _items("diffrn_data_frame", id="FRAME1", detector_element_id="ELEMENT", array_id="ARRAY1", binary_id=1),
            _items("diffrn_scan", id="SCAN1", frame_id_start="FRAME1", frame_id_end="FRAME1", frames=1),
            _items(
                "diffrn_scan_frame",
                scan_id="SCAN1",
                frame_id="FRAME1",
                frame_number=1,
                integration_time=scan.exposure_s,
                date=NO_DATE,
            ),
            _loop(
                "diffrn_scan_axis",
                "scan_id axis_id angle_start angle_range angle_increment displacement_start displacement_range displacement_increment",
                [("SCAN1", name, at, turn, turn, away, 0.0, 0.0) for name, at, turn, away in settings],
            ),
            _loop(
                "diffrn_scan_frame_axis",
                "frame_id axis_id angle displacement",
                [("FRAME1", name, at, away) for name, at, _, away in settings],
            ),
            _loop(
                "axis",
                "id type equipment depends_on vector[1] vector[2] vector[3] offset[1] offset[2] offset[3]",
                [(*words, *vector.tolist(), *offset.tolist()) for *words, vector, offset in axes],
            ),
            _items(
                "array_structure",
                id="ARRAY1",
                encoding_type='"signed 32-bit integer"',
                compression_type="byte_offset",
                byte_order="little_endian",
            ),
            _loop(
                "array_structure_list",
                "array_id index dimension precedence direction axis_set_id",
                [("ARRAY1", 1, columns, 1, "increasing", "FAST"), ("ARRAY1", 2, rows, 2, "increasing", "SLOW")],
            ),
            _loop(
                "array_structure_list_axis",
                "axis_set_id axis_id displacement displacement_increment",
                [(name, name, 0.0, panel.pixel_mm) for name in ("FAST", "SLOW")],
            ),
            _items(
                "array_intensities",
                array_id="ARRAY1",
                binary_id=1,
                linearity="linear",
                gain=models.gain,
                overload=models.trusted[1],
                undefined_value=models.trusted[0] - 1,  # dxtbx trusts readings above it
            ),
        ]
    )


def _miniature(models: Models, frame: int) -> str:
    """The lines of a miniCBF; GENERIC_MINI is the convention for simulated detectors of any size."""
    beam, scan, (panel,) = models.beam, models.scan, models.panels
    upright, sensor = Upright.of(models), SENSORS.get(panel.material)
    pixel, exposure = _word(1e-3 * panel.pixel_mm), _word(scan.exposure_s)
    fast, slow = (_word(along / panel.pixel_mm) for along in upright.centre_mm)
    lines = [
        "Detector: simulated by nbdist",
        NO_DATE,
        f"Pixel_size {pixel} m x {pixel} m",
        *([f"{sensor} sensor, thickness {_word(1e-3 * panel.thickness_mm)} m"] if sensor else []),
        f"Exposure_time {exposure} s",
        f"Exposure_period {exposure} s",
        f"Count_cutoff {models.trusted[1]} counts",
        f"Wavelength {_word(beam.wavelength_A)} A",
        f"Detector_distance {_word(1e-3 * upright.distance_mm)} m",
        f"Beam_xy ({fast}, {slow}) pixels",
        f"Start_angle {_word(upright.sense * (scan.start_deg + frame * scan.osc_deg))} deg.",
        f"Angle_increment {_word(upright.sense * scan.osc_deg)} deg.",
    ]
    contents = "".join(f"# {line}\n" for line in lines)
    return (
        "_array_data.array_id ARRAY1\n_array_data.binary_id 1\n"
        f'_array_data.header_convention "GENERIC_MINI"\n_array_data.header_contents\n;\n{contents};\n\n'
    )


def _binary(data: bytes, shape: tuple[int, ...]) -> str:
    rows, columns = shape
    return (
        f"_array_data.data\n;\n{BOUNDARY}\n"
        'Content-Type: application/octet-stream;\n     conversions="x-CBF_BYTE_OFFSET"\n'
        f"Content-Transfer-Encoding: BINARY\nX-Binary-Size: {len(data)}\nX-Binary-ID: 1\n"
        'X-Binary-Element-Type: "signed 32-bit integer"\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\n'
        f"Content-MD5: {b64encode(md5(data, usedforsecurity=False).digest()).decode()}\n"
        f"X-Binary-Number-of-Elements: {rows * columns}\nX-Binary-Size-Fastest-Dimension: {columns}\n"
        f"X-Binary-Size-Second-Dimension: {rows}\nX-Binary-Size-Padding: {PADDING}\n\n"
    )


def _items(category: str, **items: Value) -> str:
    return "".join(f"_{category}.{name} {_word(value)}\n" for name, value in items.items()) + "\n"


def _loop(category: str, names: str, rows: Sequence[Sequence[Value]]) -> str:
    heads = "".join(f"_{category}.{name}\n" for name in names.split())
    return f"loop_\n{heads}" + "".join(" ".join(map(_word, row)) + "\n" for row in rows) + "\n"


def _word(value: Value) -> str:
    return f"{value + 0.0:.15g}" if isinstance(value, float) else str(value)  # -0.0 is 0
