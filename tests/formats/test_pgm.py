"""PGM pictures: a header that readers know, and greys as nanoBragg makes them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from nbdist.formats.pgm import greys, pgm_bytes


def test_greys_are_scaled_truncated_and_cut():
    np.testing.assert_array_equal(
        greys(np.array([[-1.0, 0.0, 1.99], [50.0, 127.6, 1e9]]), 2.0), [[0, 0, 3], [100, 255, 255]]
    )


def test_the_file_is_a_binary_greymap():
    assert (
        pgm_bytes(np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8), "scaled") == b"P5\n3 2\n# scaled\n255\n\1\2\3\4\5\6"
    )


def test_other_programs_read_the_greys(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    (tmp_path / "image.pgm").write_bytes(pgm_bytes(pixels, "pixels scaled by 0.5"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "image.pgm")), pixels)
