"""Files of XDS are read as XDS means them: pixels from 1, angles at the start of a frame, segments in the detector's system."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dials_programs import IMAGES, compare_spots, dials_models
from panel_models import models_of_a_panel

from nbdist.errors import FileFormatError
from nbdist.experiment import validate
from nbdist.experiment.conversion import draft
from nbdist.formats.dials_models import read_dials_models
from nbdist.formats.xds import read_xds
from nbdist.formats.xds_input import xds_input
from nbdist.scene import resolve

XPARM = """\
 XPARM.XDS    VERSION Jan 10, 2022  BUILT=20220220
     11       25.0000    0.5000  0.999964  0.002010  0.008234
       1.100000      -0.001316       0.001644       0.909000
    96     57.0000     57.0000    149.0000  90.000  90.000  90.000
      20.520000       27.360000     -45.600000
     -45.600000       34.200000       0.000000
      71.520000       95.360000      89.400000
         1       160       130    0.400000    0.400000
      70.500000      65.500000     110.000000
       1.000000       0.000000       0.000000
       0.000000       1.000000       0.000000
       0.000000       0.000000       1.000000
         1         1       160         1       130
    0.00    0.00    0.00  1.00000  0.00000  0.00000  0.00000  1.00000  0.00000
""".lstrip()
XDS_INP = """\
! comments may hold anything: NX=7
 JOB= XYCORR INIT   ! XYCORR
 DETECTOR=EIGER MINIMUM_VALID_PIXEL_VALUE=0 OVERLOAD= 65000
 SENSOR_THICKNESS=0.45 SILICON= 4.0
 NX=160 NY=130  QX=0.4  QY=0.4
 ORGX=70.5 ORGY=65.5 DETECTOR_DISTANCE= 110.0
 DIRECTION_OF_DETECTOR_X-AXIS=1 0 0
 DIRECTION_OF_DETECTOR_Y-AXIS=0 1 0
 ROTATION_AXIS=1 0 0
 OSCILLATION_RANGE=0.5 STARTING_ANGLE= 20 STARTING_FRAME=3
 X-RAY_WAVELENGTH=1.1
 INCIDENT_BEAM_DIRECTION=0 0 1
 FRACTION_OF_POLARIZATION=0.98
 POLARIZATION_PLANE_NORMAL= 0 1 0
 NAME_TEMPLATE_OF_DATA_FRAMES=/data/x_??????.h5
 DATA_RANGE=11 50
 UNTRUSTED_RECTANGLE= 30 40 0 131
 UNTRUSTED_RECTANGLE=0 161 64 67
 UNTRUSTED_ELLIPSE= 10 20 30 40
 UNIT_CELL_CONSTANTS= 57 57 149 90 90 90   SPACE_GROUP_NUMBER=96
"""
HEADER = "!OUTPUT_FILE=INTEGRATE.HKL    DATE= 8-Feb-2013\n!REFLECTING_RANGE_E.S.D.=     0.157\n!END_OF_HEADER\n 1 2 3\n"


@pytest.fixture
def read(tmp_path):
    """`read(name=text, ...)`: a description of files with these contents."""

    def make(**files):
        paths = []
        for name, text in files.items():
            paths.append(tmp_path / name)
            paths[-1].write_text(text)
        return read_xds(paths)

    return make


def test_an_xparm_has_geometry_and_crystal(read):
    found = read(xparm=XPARM)
    (panel,), models = found.models.panels, found.models
    # ORG is counted from the middle of the first pixel, which is 1: its corner is 70 and 65 pixels away
    np.testing.assert_allclose(panel.origin_mm, [-70 * 0.4, -65 * 0.4, 110], atol=1e-12)
    assert (panel.shape, panel.pixel_mm, panel.thickness_mm) == ((130, 160), 0.4, 0)
    assert models.scan[:4] == (10, 1, 25.0, 0.5)
    np.testing.assert_allclose(models.axis, np.array([0.999964, 0.00201, 0.008234]), atol=1e-6)
    np.testing.assert_array_equal(models.crystals[0].real_vectors_A[2], [71.52, 95.36, 89.4])
    assert np.linalg.norm(models.beam.travels) == pytest.approx(1, abs=1e-15)
    assert (models.beam.wavelength_A, models.beam.polarization_fraction) == (1.1, 0.5)
    assert draft(found).content["crystal"]["space_group"] == "P 43 21 2"
    assert [remark.split(":")[0] for remark in found.remarks] == ["beam.polarization_factor", "scan.frames"]


def test_what_is_missing_is_taken_from_the_next_file(read):
    found = read(xparm=XPARM, inp=XDS_INP, integrate=HEADER)
    models = found.models
    assert (models.beam.polarization_fraction, models.trusted[1]) == (0.98, 65000)
    assert found.mosaicities_deg == (0.157,)
    # 40 images from the 11th, at which the XPARM's angle is told; XDS.INP's own says the angle of the third
    assert models.scan[:4] == (10, 40, 25.0, 0.5)
    assert read(inp=XDS_INP).models.scan[:4] == (10, 40, 24.0, 0.5)
    panel = models.panels[0]
    assert (panel.thickness_mm, panel.attenuation_per_mm) == (0.45, 4.0)
    # pixels 31 to 39 of a row, from 1, and all of rows 65 and 66
    assert panel.gaps == ((30, 39, 0, 130), (0, 160, 64, 66))
    assert "UNTRUSTED_ELLIPSE is not carried over" in found.remarks
    # and it is an experiment
    scene = resolve(validate(draft(found).content))
    assert scene.instrument.panels[0].usable.sum() == 130 * 160 - 9 * 130 - 2 * 160 + 2 * 9
    assert scene.instrument.polarization_factor == pytest.approx(0.96)


def test_a_cell_without_axes_has_no_orientation(read):
    found = read(inp=XDS_INP)
    assert found.models.crystals == ()
    made = draft(found)
    assert made.content["crystal"]["cell"] == [57, 57, 149, 90, 90, 90]
    assert made.content["crystal"]["space_group"] == "P 43 21 2"
    assert any("the orientation is not known" in remark for remark in made.remarks)


TEMPLATE = """\
 SPACE_GROUP_NUMBER=0                   ! 0 if unknown
 UNIT_CELL_CONSTANTS= 70 80 90 90 90 90 ! put correct values if known
"""


def test_the_cell_of_a_template_is_of_no_crystal(read):
    geometry = "\n".join(XDS_INP.splitlines()[:-1])
    found = read(inp=f"{geometry}\n{TEMPLATE}")
    assert found.cell is None
    assert any("THE FILE HAS NONE" in remark for remark in draft(found).remarks)
    known = "!SPACE_GROUP_NUMBER=   96\n!UNIT_CELL_CONSTANTS=    57.0  57.0 149.0 90.0 90.0 90.0\n"
    found = read(inp=f"{geometry}\n{TEMPLATE}", hkl=known + HEADER)
    assert found.cell == (57, 57, 149, 90, 90, 90)
    assert draft(found).content["crystal"]["space_group"] == "P 43 21 2"


def test_xparm_of_before_2010_is_read_too(read):
    lines = XPARM.splitlines()[1:]
    distance = "     110.000000      70.500000      65.500000"
    old = [*lines[:2], lines[6][11:], distance, *lines[8:11], lines[2], *lines[3:6]]
    new, found = read(new=XPARM).models, read(old="\n".join(old)).models
    np.testing.assert_array_equal(new.panels[0].origin_mm, found.panels[0].origin_mm)
    np.testing.assert_array_equal(new.crystals[0].real_vectors_A, found.crystals[0].real_vectors_A)
    assert new.scan == found.scan


TILTED = "0.8 0.0 -0.6 0.0 1.0 0.0"
"""Axes of a segment in the detector's system."""


def test_segments_are_panels_in_the_detectors_system(read):
    turned = XPARM.replace(
        "       1.000000       0.000000       0.000000\n       0.000000       1.000000       0.000000\n",
        "       0.000000       1.000000       0.000000\n      -1.000000       0.000000       0.000000\n",
    )
    head = turned.splitlines()[:12]
    segments = ["1 1 80 1 130", "0 0 0 1 0 0 0 1 0", "2 81 160 1 130", f"90 60 -5 {TILTED}"]
    found = read(xparm="\n".join([*head, *segments]) + "\n").models.panels
    assert [panel.shape for panel in found] == [(130, 80), (130, 80)]
    # the detector's x is along lab y, its y along -x, the third along z
    first = np.array([0.5 - 70.5, 0.5 - 65.5]) * 0.4
    np.testing.assert_allclose(found[0].origin_mm, [-first[1], first[0], 110], atol=1e-12)
    within = (
        (80.5 - 90) * 0.4 * np.array([0.8, 0, -0.6])
        + (0.5 - 60) * 0.4 * np.array([0, 1, 0])
        - 5 * np.array([0.6, 0, 0.8])
    )
    place = within + np.array([-70.5 * 0.4, -65.5 * 0.4, 110])
    np.testing.assert_allclose(found[1].origin_mm, [-place[1], place[0], place[2]], atol=1e-12)
    np.testing.assert_allclose(found[1].fast, [0, 0.8, -0.6], atol=1e-15)
    as_keywords = (
        "SEGMENT= 1 80 1 130 SEGMENT_ORGX= 0 SEGMENT_ORGY= 0 SEGMENT_DISTANCE= 0\n"
        "DIRECTION_OF_SEGMENT_X-AXIS= 1 0 0 DIRECTION_OF_SEGMENT_Y-AXIS= 0 1 0\n"
        "SEGMENT= 81 160 1 130 SEGMENT_ORGX= 90 SEGMENT_ORGY= 60 SEGMENT_DISTANCE= -5\n"
        "DIRECTION_OF_SEGMENT_X-AXIS= 0.8 0 -0.6 DIRECTION_OF_SEGMENT_Y-AXIS= 0 1 0\n"
    )
    axes = XDS_INP.replace("X-AXIS=1 0 0", "X-AXIS=0 1 0").replace("Y-AXIS=0 1 0", "Y-AXIS=-1 0 0")
    for one, other in zip(read(inp=axes + as_keywords).models.panels, found, strict=True):
        np.testing.assert_allclose(one.origin_mm, other.origin_mm, atol=1e-12)
        np.testing.assert_allclose([one.fast, one.slow], [other.fast, other.slow], atol=1e-15)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no parameter of XDS"),
        (XDS_INP.replace("ROTATION_AXIS=1 0 0", ""), r"ROTATION_AXIS= is needed, and not there"),
        (XDS_INP.replace("ORGX=70.5", "ORGX=middle"), r"ORGX= should be 1 numbers, found 'middle'"),
        (XDS_INP.replace("ROTATION_AXIS=1 0 0", "ROTATION_AXIS=0 0 0"), r"ROTATION_AXIS= should be a direction"),
        (XDS_INP.replace("QY=0.4", "QY=0.3"), r"QX= and QY= should be those of a square, found 0.4 x 0.3 mm"),
        (XDS_INP.replace("DATA_RANGE=11 50", "DATA_RANGE=11 5"), r"DATA_RANGE= should rise, found 11 to 5"),
        (XDS_INP.replace("NORMAL= 0 1 0", "NORMAL= 0 0 1"), r"POLARIZATION_PLANE_NORMAL= is along the beam"),
        (XDS_INP + "SEGMENT= 1 80 1 130\n", r"SEGMENT_ORGX= is given 0 times, for 1 segments"),
        ("\n".join(XPARM.splitlines()[:5]), r"line 6: expected 3 numbers, found 0"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_with_the_parameter(read, text, said):
    with pytest.raises(FileFormatError, match=said) as raised:
        read(file=text)
    assert "\n" not in str(raised.value)
    assert "file" in str(raised.value)


def test_an_xds_inp_of_an_export_brings_back_its_models(read):
    models = models_of_a_panel((3, 40, -5), shape=(15, 17), axis=(0.6, 0.0, -0.8), material="Si", thickness_mm=0.45)
    panel = models.panels[0]._replace(attenuation_per_mm=4.0, gaps=((3, 5, 0, 15), (0, 17, 7, 8)))
    models = replace(models, panels=(panel,), trusted=(0, 60000))
    found = read(inp=xds_input(models, "cbf", "x_#####.cbf")).models
    half_turn = np.array([1.0, -1.0, -1.0])
    for name in ("origin_mm", "fast", "slow"):
        np.testing.assert_allclose(
            getattr(found.panels[0], name), half_turn * getattr(panel, name), atol=1e-6, err_msg=name
        )
    np.testing.assert_allclose(found.axis, half_turn * models.axis, atol=1e-9)
    np.testing.assert_allclose(found.beam.travels, half_turn * models.beam.travels, atol=1e-9)
    assert found.scan[:4] == pytest.approx(models.scan[:4])
    assert (found.panels[0].gaps, found.trusted[1]) == (panel.gaps, 60000)
    assert found.panels[0].attenuation_per_mm == 4.0
    assert found.beam.polarization_fraction == pytest.approx(models.beam.polarization_fraction)


def test_axes_with_five_digits_are_drafted_at_right_angles(read):
    tilted = XDS_INP.replace("X-AXIS=1 0 0", "X-AXIS=0.98769 0.08924 -0.12841")
    found = read(inp=tilted.replace("Y-AXIS=0 1 0", "Y-AXIS=-0.07272 0.98911 0.12797"))
    assert found.models.panels[0].slant > 1e-6
    (panel,) = resolve(validate(draft(found).content)).instrument.panels
    assert abs(panel.fast @ panel.slow) < 1e-15


@pytest.mark.integration
def test_dxtbx_reads_the_same_spots_out_of_an_xparm(read, tmp_path):
    (tmp_path / "XPARM.XDS").write_text(XPARM)
    found = dials_models(tmp_path)
    data_range = f"DATA_RANGE= 11 {10 + IMAGES}\n"
    compare_spots(resolve(validate(draft(read(xparm=XPARM, inp=data_range)).content)), found)


@pytest.mark.integration
def test_an_xds_inp_of_dxtbx_is_its_detector(tmp_path):
    dials_models(tmp_path)
    wanted = read_dials_models(tmp_path / "models.expt").models
    found = read_xds([tmp_path / "XDS.INP"]).models
    assert [panel.shape for panel in found.panels] == [(300, 150)] * 2
    assert found.scan == pytest.approx((*wanted.scan[:4], 0.0))

    def places(models):
        """What no rotation of the laboratory changes: of corners, their distance, and parts along the beam and the axis."""
        of = []
        for panel in models.panels:
            for fast, slow in ((0, 0), (150, 0), (0, 300)):
                place = panel.origin_mm + panel.pixel_mm * (fast * panel.fast + slow * panel.slow)
                of.append([np.linalg.norm(place), place @ models.beam.travels, place @ models.axis])
        return of

    # it is written with directions to 1e-5 or less, and centres to a hundredth of a pixel
    np.testing.assert_allclose(places(found), places(wanted), atol=0.06)
