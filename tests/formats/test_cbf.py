"""CBF files: what is compressed is what fabio compresses, and what fabio reads is what was written."""

from __future__ import annotations

import logging
from itertools import pairwise

import fabio
import numpy as np
import pytest
from fabio.compression import compByteOffset, decByteOffset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from panel_models import models_of_a_panel

from nbdist.formats.cbf import byte_offset, cbf_bytes

EDGES = [edge + shift for edge in (0, 2**7, -(2**7), 2**15, -(2**15)) for shift in (-1, 0, 1)]
WIDE_EDGES = [-(2**31), -(2**31) + 1, -(2**30), 2**30, 2**31 - 1]


@given(
    pixels=arrays(
        np.int32, st.integers(0, 40), elements=st.one_of(st.sampled_from(EDGES), st.integers(-(2**29), 2**29))
    )
)
def test_the_bytes_are_those_that_fabio_compresses_to(pixels):
    # fabio's own compressor lets differences beyond 32 bits wrap; these stay within them
    assert byte_offset(pixels) == bytes(compByteOffset(pixels))


@given(pixels=arrays(np.int32, st.integers(1, 40), elements=st.sampled_from(EDGES + WIDE_EDGES)))
def test_any_pixels_of_32_bits_come_back(pixels):
    np.testing.assert_array_equal(decByteOffset(byte_offset(pixels), pixels.size), pixels)


def test_a_difference_is_written_in_the_fewest_bytes():
    lengths = [
        len(byte_offset(np.array([value]))) for value in (127, -127, 128, -128, 32767, 32768, 2**31 - 1, -(2**31))
    ]
    assert lengths == [1, 1, 3, 3, 3, 7, 7, 15]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32])
def test_fabio_reads_the_same_pixels_of_a_file_whose_digest_is_right(tmp_path, caplog, dtype):
    pixels = np.arange(35, dtype=dtype).reshape(5, 7) * 900
    if dtype != np.uint16:
        pixels[1, :3] = -1, -2, -1
    path = tmp_path / "frame_00005.cbf"
    path.write_bytes(cbf_bytes(models_of_a_panel(), 0, pixels))
    with caplog.at_level(logging.WARNING):
        image = fabio.open(str(path))
    np.testing.assert_array_equal(image.data, pixels)
    assert not caplog.records  # fabio says where a digest is another one


def miniature(models, frame=0):
    """The lines of a miniCBF by their first word."""
    data = cbf_bytes(models, frame, np.zeros(models.panels[0].shape, dtype=np.int32))
    contents = data.partition(b"_array_data.header_contents\r\n;\r\n")[2].partition(b";\r\n")[0].decode()
    return {line.split()[1]: line.split(maxsplit=2)[2] for line in contents.splitlines() if len(line.split()) > 2}


def test_the_lines_of_a_miniature_have_the_distance_and_where_the_beam_meets_the_panel():
    lines = miniature(models_of_a_panel(material="Si", thickness_mm=0.45), frame=2)
    assert lines["Pixel_size"] == "0.0001 m x 0.0001 m"
    assert float(lines["Detector_distance"].split()[0]) == pytest.approx(0.1234)
    assert [float(word.strip("(,)")) for word in lines["Beam_xy"].split()[:2]] == pytest.approx([123.0, 456.0])
    assert (lines["Start_angle"], lines["Angle_increment"]) == ("11 deg.", "0.5 deg.")
    assert (lines["Wavelength"], lines["Count_cutoff"], lines["Exposure_time"]) == ("1.0332 A", "1000 counts", "0.25 s")
    assert lines["Silicon"] == "sensor, thickness 0.00045 m"


def test_lines_by_which_dxtbx_would_be_misled_are_kept_from_it():
    pixels = np.zeros((5, 7), dtype=np.int32)
    told = [
        b"_diffrn_source" in cbf_bytes(models, 0, pixels)
        for models in (
            models_of_a_panel(),
            models_of_a_panel(turn=(0, 10, 0)),
            models_of_a_panel(axis=(0, 1, 0)),
            models_of_a_panel(axis=(-1, 0, 0)),
            models_of_a_panel(axis=(0, 1, 0), osc_deg=0.0),
        )
    ]
    assert told == [False, True, True, True, False]


def test_the_files_of_a_series_differ_by_their_frames_alone_and_have_lines_of_one_kind():
    models = models_of_a_panel()
    pixels = np.zeros((5, 7), dtype=np.int32)
    first, again, second = (cbf_bytes(models, frame, pixels) for frame in (0, 0, 1))
    assert first == again
    differing = {b for a, b in zip(first.split(b"\r\n"), second.split(b"\r\n"), strict=True) if a != b}
    assert differing == {
        b"data_frame_00006",
        b"SCAN1 SPINDLE 10.5 0.5 0.5 0 0 0",
        b"FRAME1 SPINDLE 10.5 0",
        b"# Start_angle 10.5 deg.",
    }
    ends = [match for match, after in pairwise(first.partition(b"\x0c\x1a")[0]) if after == 10]
    assert set(ends) == {13}


def test_an_axis_backwards_is_one_along_which_the_crystals_turn_the_other_way():
    lines = miniature(models_of_a_panel(axis=(-1, 0, 0)), frame=1)
    assert (lines["Start_angle"], lines["Angle_increment"]) == ("-10.5 deg.", "-0.5 deg.")
