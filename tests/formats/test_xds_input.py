"""XDS.INP: an upright detector has the numbers of XDS' examples, and a gap is what lies between its edges."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from panel_models import models_of_a_panel, xds_parameters

from nbdist.formats.xds import read_xds
from nbdist.formats.xds_input import HALF_TURN, xds_input


def test_an_upright_detector_has_the_beam_along_z_and_its_rows_along_x():
    said = xds_parameters(xds_input(models_of_a_panel(), "cbf", "lyso_#####.cbf"))
    assert said["NAME_TEMPLATE_OF_DATA_FRAMES"] == ["lyso_?????.cbf"]
    assert (said["DETECTOR"], said["DATA_RANGE"]) == (["PILATUS"], [[5, 7]])
    assert (said["NX"], said["NY"], said["QX"]) == ([[7]], [[5]], [[0.1]])
    assert (said["MINIMUM_VALID_PIXEL_VALUE"], said["OVERLOAD"]) == ([[0]], [[1000]])
    for key, expected in (
        ("DIRECTION_OF_DETECTOR_X-AXIS", [1, 0, 0]),
        ("DIRECTION_OF_DETECTOR_Y-AXIS", [0, 1, 0]),
        ("INCIDENT_BEAM_DIRECTION", [0, 0, 1]),
        ("ROTATION_AXIS", [1, 0, 0]),
        ("POLARIZATION_PLANE_NORMAL", [0, -1, 0]),
        ("DETECTOR_DISTANCE", [123.4]),
        ("ORGX", [123.5]),  # of a pixel's coordinates, which are whole in its middle
        ("ORGY", [456.5]),
        ("FRACTION_OF_POLARIZATION", [0.9]),
        ("STARTING_ANGLE", [10]),
        ("STARTING_FRAME", [5]),
        ("OSCILLATION_RANGE", [0.5]),
        ("X-RAY_WAVELENGTH", [1.0332]),
    ):
        np.testing.assert_allclose(said[key], [expected], err_msg=key)


def test_a_gap_lies_between_the_edges_of_a_rectangle():
    models = models_of_a_panel(shape=(50, 70))
    panel = models.panels[0]._replace(gaps=((20, 25, 0, 50),))
    said = xds_parameters(xds_input(dataclasses.replace(models, panels=(panel,)), "nxmx", "lyso_master.h5"))
    # pixels 21 to 25, counted from 1, of all rows
    assert said["UNTRUSTED_RECTANGLE"] == [[20, 26, 0, 51]]
    assert said["NAME_TEMPLATE_OF_DATA_FRAMES"] == ["lyso_??????.h5"]
    assert said["DETECTOR"] == ["EIGER"]
    said = xds_parameters(xds_input(models, "nxmx", "master_3_master.h5"))
    assert said["NAME_TEMPLATE_OF_DATA_FRAMES"] == ["master_3_??????.h5"]


def test_a_sensor_has_its_thickness_and_attenuation():
    models = models_of_a_panel(material="Si", thickness_mm=0.45)
    panel = models.panels[0]._replace(attenuation_per_mm=4.5)
    said = xds_parameters(xds_input(dataclasses.replace(models, panels=(panel,)), "cbf", "a_#####.cbf"))
    assert (said["SENSOR_THICKNESS"], said["SILICON"]) == ([[0.45]], [[4.5]])
    assert "SILICON" not in xds_parameters(xds_input(models_of_a_panel(), "cbf", "a_#####.cbf"))


def test_stills_and_several_panels_have_none():
    models = models_of_a_panel()
    for those in (models_of_a_panel(osc_deg=0.0), dataclasses.replace(models, panels=models.panels * 2)):
        with pytest.raises(ValueError, match="a rotation series on one panel"):
            xds_input(those, "cbf", "a_#####.cbf")


def test_what_xds_is_told_is_read_back(tmp_path):
    models = models_of_a_panel(turn=(3, 4, 5), axis=(0.8, 0.0, -0.6), shape=(50, 70))
    panel = models.panels[0]._replace(gaps=((20, 25, 0, 50),), thickness_mm=0.45, attenuation_per_mm=4.5)
    (tmp_path / "XDS.INP").write_text(xds_input(dataclasses.replace(models, panels=(panel,)), "cbf", "a_#####.cbf"))
    found = read_xds([tmp_path / "XDS.INP"]).models
    (theirs,) = found.panels
    for ours, read in (
        (panel.origin_mm, theirs.origin_mm),
        (panel.fast, theirs.fast),
        (panel.slow, theirs.slow),
        (models.axis, found.axis),
        (models.beam.travels, found.beam.travels),
    ):
        np.testing.assert_allclose(HALF_TURN * ours, read, atol=1e-9)
    assert (theirs.shape, theirs.gaps, found.trusted) == (panel.shape, panel.gaps, models.trusted)
    assert (theirs.thickness_mm, theirs.attenuation_per_mm) == pytest.approx((0.45, 4.5))
    assert found.beam.polarization_fraction == 0.9
    assert found.scan[:4] == models.scan[:4]
