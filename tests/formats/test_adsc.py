"""ADSC's header: the numbers of an upright panel, and pixels of 16 bits."""

from __future__ import annotations

import dataclasses

import fabio
import numpy as np
import pytest
from panel_models import models_of_a_panel

from nbdist.errors import NbdistError
from nbdist.formats.adsc import Smv, adsc_header, sixteen_bits
from nbdist.formats.image_files import ImageSeries
from nbdist.formats.models import Scan
from nbdist.formats.smv import smv_bytes


def test_the_header_has_the_numbers_of_a_frame():
    header = adsc_header(models_of_a_panel(), 2)
    assert (header["DISTANCE"], header["BEAM_CENTER_X"], header["BEAM_CENTER_Y"]) == pytest.approx((123.4, 45.6, 12.3))
    assert (header["OSC_START"], header["OSC_RANGE"], header["TIME"]) == (11.0, 0.5, 0.25)
    assert (header["WAVELENGTH"], header["GAIN"], header["IMAGE_PEDESTAL"]) == (1.0332, 2.0, 40.0)
    # the panel as it is, but the crystals turn about -x
    assert adsc_header(models_of_a_panel(axis=(-1, 0, 0)), 2)["OSC_RANGE"] == -0.5


def test_a_panel_at_two_theta_has_the_distance_along_the_beam():
    models = models_of_a_panel(turn=(10, 0, 0))
    header, panel = adsc_header(models, 0), models.panels[0]
    met = panel.origin_mm + header["BEAM_CENTER_Y"] * panel.fast + header["BEAM_CENTER_X"] * panel.slow
    np.testing.assert_allclose(met, [0, 0, -header["DISTANCE"]], atol=1e-12)


def test_what_16_bits_cannot_hold_is_held_and_counted():
    pixels, held = sixteen_bits(np.array([[-2, -1, 0, 7], [65534, 65535, 65536, 2**31 - 1]]))
    assert pixels.dtype == np.uint16
    assert pixels.tolist() == [[0, 0, 0, 7], [65534, 65535, 65535, 65535]]
    assert held == 2


def test_a_reading_of_16_bits_is_itself_below_the_largest_and_0_is_none_where_there_is_a_pedestal():
    wide = dataclasses.replace(models_of_a_panel(), trusted=(0, 10**6))
    assert Smv().trusted(wide) == (1, 65534)
    assert Smv().trusted(dataclasses.replace(wide, pedestal=0.0)) == (0, 65534)
    assert Smv().trusted(models_of_a_panel()) == (1, 1000)


def series_of(models):
    return ImageSeries("series", models, "int32", "", "nbdist", "")


def test_what_a_header_cannot_say_is_said():
    (said,) = Smv().notes(series_of(models_of_a_panel(turn=(10, 0, 0))))
    assert said.startswith(
        "DIALS does not read from smv how the detector and the axis stand and polarization; dials.import series_*.img "
    )
    masked = models_of_a_panel()
    masked.panels[0].usable[1, 2:4] = False
    assert len(Smv().notes(series_of(masked))) == 1
    said = Smv().notes(series_of(dataclasses.replace(masked, pedestal=0.0)))
    assert said[1:] == ["SMV has no readings below 0: 2 masked pixels hold 0, as if nothing had fallen on them"]


def test_a_size_that_dials_takes_for_another_is_refused():
    with pytest.raises(NbdistError, match="smv: DIALS takes an image of 2463 x 2527 pixels for one whose sides"):
        Smv().notes(series_of(models_of_a_panel(shape=(2527, 2463))))


def test_more_images_than_five_digits_count_are_refused():
    many = dataclasses.replace(models_of_a_panel(), scan=Scan(0, 10**5, 0.0, 0.5))
    with pytest.raises(NbdistError, match="100000 images are more than 99999; name some with --frames"):
        Smv().notes(series_of(many))


def test_fabio_reads_an_image_with_this_header(tmp_path):
    pixels = np.arange(35, dtype=np.uint16).reshape(5, 7)
    path = tmp_path / "frame_00005.img"
    path.write_bytes(smv_bytes(adsc_header(models_of_a_panel(), 0), pixels))
    image = fabio.open(str(path))
    np.testing.assert_array_equal(image.data, pixels)
    assert float(image.header["BEAM_CENTER_X"]) == pytest.approx(45.6)
    assert path.stat().st_size == 512 + 70
