"""Headers of images are read as dxtbx reads them: where the detector is, the beam, and the rotation."""

from __future__ import annotations

from dataclasses import replace

import h5py
import hdf5plugin
import numpy as np
import pytest
from dials_programs import dials, dials_python
from nexus_files import DETECTOR, TURNS, eiger, eiger_with_modules
from panel_models import models_of_a_panel

from nbdist.errors import FileFormatError
from nbdist.experiment import validate
from nbdist.experiment.conversion import draft
from nbdist.formats.adsc import adsc_header
from nbdist.formats.cbf import cbf_bytes
from nbdist.formats.dials_models import read_dials_models
from nbdist.formats.image_files import ImageSeries
from nbdist.formats.image_headers import read_images
from nbdist.formats.nxmx import NXmx
from nbdist.formats.smv import smv_bytes
from nbdist.formats.units import ANGLES_RAD, LENGTHS_MM, TIMES_S, WAVELENGTHS_A, scale_of
from nbdist.scene import resolve

MINI = """\
###CBF: VERSION 1.5, CBFlib v0.7.8 - PILATUS detectors\r
\r
data_insulin_1_0001\r
\r
_array_data.header_convention "PILATUS_1.2"\r
_array_data.header_contents\r
;\r
# Detector: PILATUS 6M, S/N 60-0100\r
# 2011-08-12T13:13:48.545\r
# Pixel_size 172e-6 m x 172e-6 m\r
# Silicon sensor, thickness 0.000320 m\r
# Exposure_time 0.095 s\r
# Exposure_period 0.1 s\r
# Count_cutoff 1048500 counts\r
# Wavelength 0.9795 A\r
# Detector_distance 0.19128 m\r
# Beam_xy (1231.50, 1263.5) pixels\r
# Flux 2.5e+11 ph/s\r
# Start_angle START deg.\r
# Angle_increment 0.2500 deg.\r
# Detector_2theta 0.0000 deg.\r
;\r
\r
_array_data.data\r
;\r
--CIF-BINARY-FORMAT-SECTION--\r
Content-Type: application/octet-stream;\r
     conversions="x-CBF_BYTE_OFFSET"\r
X-Binary-Size: 6247567\r
X-Binary-Number-of-Elements: 6224001\r
X-Binary-Size-Fastest-Dimension: 2463\r
X-Binary-Size-Second-Dimension: 2527\r
\r
\x0c\x1a\x04
"""


def mini(folder, number, start=10.0):
    path = folder / f"x_{number:04d}.cbf"
    path.write_text(MINI.replace("START", f"{start:.4f}"), newline="")
    return path


def test_a_minicbf_has_a_distance_and_a_beam_centre(tmp_path):
    found = read_images([mini(tmp_path, 1)])
    (panel,), models = found.models.panels, found.models
    np.testing.assert_allclose(panel.origin_mm, [-1231.5 * 0.172, 1263.5 * 0.172, -191.28])
    np.testing.assert_array_equal([panel.fast, panel.slow], [[1, 0, 0], [0, -1, 0]])
    assert (panel.shape, panel.pixel_mm) == ((2527, 2463), 0.172)
    assert (panel.material, panel.thickness_mm) == ("Si", pytest.approx(0.32))
    assert models.scan == pytest.approx((0, 1, 10.0, 0.25, 0.1))
    assert (models.beam.wavelength_A, models.beam.flux_photons_per_s, models.trusted[1]) == (0.9795, 2.5e11, 1048500)
    made = validate(draft(found).content)
    assert (made.detector.convention, made.detector.sensor.material) == ("dxtbx", "Si")
    # 5 x 12 modules of 487 x 195 pixels, which the header does not tell
    modules = {"spixels": 195, "fpixels": 487, "slow_gap_pixels": 17, "fast_gap_pixels": 7}
    assert made.detector.panels[0].modules.content() == modules
    # the beam meets the detector at its centre
    spot = resolve(made).instrument.panels[0].coordinates([0, 0, -1.0])
    np.testing.assert_allclose(spot, [1263.5, 1231.5])


def test_images_of_their_own_files_are_a_series(tmp_path):
    files = [mini(tmp_path, number, 10 + 0.25 * (number - 1)) for number in range(1, 5)]
    assert read_images(files).models.scan[:4] == (0, 4, 10.0, 0.25)
    with pytest.raises(FileFormatError, match=r"x_0003\.cbf begins at 10\.5 degrees, the last of 4 .* would at 10\.75"):
        read_images([*files[:2], files[3], files[2]])
    with pytest.raises(FileFormatError, match=r"x_0004\.cbf begins at 10\.75 degrees, the last of 3 .* would at 10\.5"):
        read_images([*files[:2], files[3]])


def test_a_series_goes_on_after_a_whole_turn_and_its_increment_may_be_rounded(tmp_path):
    over = [mini(tmp_path, number, (359.5 + 0.25 * (number - 1)) % 360) for number in range(1, 5)]
    assert read_images(over).models.scan[:4] == (0, 4, 359.5, 0.25)
    # 0.2500 in the header, and 0.2504 from image to image
    first, last = mini(tmp_path, 101), mini(tmp_path, 300, 10 + 199 * 0.2504)
    numbered = [first, *(tmp_path / f"x_{number:04d}.cbf" for number in range(102, 300)), last]
    found = read_images(numbered)
    assert found.models.scan[:4] == pytest.approx((100, 200, 10.0, 0.2504), abs=1e-12)
    said = "scan.osc_range_deg: the header has 0.25; from the first image to the last it is 0.2504"
    assert said in found.remarks
    assert not any(remark.startswith("scan.osc_range_deg") for remark in read_images(over).remarks)
    # nothing says here that none is left out
    unnumbered = [first, *numbered[1:-1], last.rename(tmp_path / "last.cbf")]
    with pytest.raises(FileFormatError, match=r"last\.cbf begins at 59\.8296 degrees, .* would at 59\.75"):
        read_images(unnumbered)


def test_the_first_frame_is_the_image_by_its_number(tmp_path):
    path = mini(tmp_path, 101)
    found = read_images([path])
    assert found.models.scan.first_frame == 100
    assert "# frame 0 is image 101" in draft(found).yaml("x")
    assert any(remark.startswith("scan.frames: of one image") for remark in found.remarks)
    found = read_images([path, mini(tmp_path, 102, 10.25)])
    assert not any(remark.startswith("scan.frames") for remark in found.remarks)


def test_a_header_that_tells_no_spindle_says_so(tmp_path):
    remarks = read_images([smv(tmp_path)]).remarks
    assert any(remark.startswith("scan.spindle_axis: ") for remark in remarks)
    assert any(remark.startswith("detector: which pixels are dead ") for remark in remarks)
    path = mini(tmp_path, 1)
    text = path.read_text()
    found = read_images([path])
    assert any(remark.startswith("scan.spindle_axis: ") for remark in found.remarks)
    assert not any("left out" in remark for remark in found.remarks)
    path.write_text(
        text.replace("# Flux", "# Omega 20 deg.\n# Phi 5.0 deg.\n# Kappa -30.0000 deg.\n# Chi 0.0 deg.\n# Flux")
    )
    left_out = [remark.partition(" degrees")[0] for remark in read_images([path]).remarks if "left out" in remark]
    assert left_out == ["Omega 20", "Phi 5", "Kappa -30"]
    for turned in ("Omega", "Phi"):
        path.write_text(text.replace("# Flux", f"# {turned} 10.0 deg.\n# Flux"))
        assert not any("left out" in remark for remark in read_images([path]).remarks)


@pytest.mark.parametrize(
    ("angles", "left_out"),
    [
        ({"KAPPA": 30, "CHI": "-0.00"}, ["KAPPA 30"]),
        ({"OMEGA": 20, "PHI": "10.000"}, ["OMEGA 20"]),
        ({"OMEGA": 10, "PHI": 5}, ["PHI 5"]),
        ({"OMEGA": "unknown", "KAPPA": "30deg"}, ["KAPPA 30deg"]),
    ],
)
def test_angles_of_an_smv_header_that_are_left_out_are_said(tmp_path, angles, left_out):
    said = [remark.partition(" degrees")[0] for remark in read_images([smv(tmp_path, **angles)]).remarks]
    assert [angle for angle in said if angle.split(" ")[0] in ("OMEGA", "PHI", "KAPPA", "CHI")] == left_out


FULL = """\
###CBF: VERSION 1.5
data_image_1
loop_
_diffrn_radiation_wavelength.id _diffrn_radiation_wavelength.wavelength _diffrn_radiation_wavelength.wt
WAVELENGTH1 0.97 1.0
_diffrn_radiation.polarizn_source_ratio 0.9
_diffrn_radiation.polarizn_source_norm 0.0
loop_
_diffrn_scan_axis.axis_id _diffrn_scan_axis.angle_start _diffrn_scan_axis.angle_increment
OMEGA 5.0 0.5
loop_
_diffrn_scan_frame_axis.axis_id _diffrn_scan_frame_axis.angle _diffrn_scan_frame_axis.displacement
PHI 0.0 0.0
KAPPA 90.0 0.0
OMEGA 5.0 0.0
TWOTHETA 90.0 0.0
Z 0.0 100.0
loop_
_axis.id _axis.type _axis.equipment _axis.depends_on _axis.vector[1] _axis.vector[2] _axis.vector[3]
_axis.offset[1] _axis.offset[2] _axis.offset[3]
OMEGA rotation goniometer KAPPA 0 1 0 . . .
KAPPA rotation goniometer . 0 0 1 . . .
SOURCE general source . 0 0 1 . . .
TWOTHETA rotation detector . 0 1 0 . . .
Z translation detector TWOTHETA 0 0 -1 0 0 0
Y translation detector Z 0 1 0 -20 15 0
X translation detector Y 1 0 0 0 0 0
loop_
_array_structure_list.array_id _array_structure_list.index _array_structure_list.dimension
_array_structure_list.precedence _array_structure_list.direction _array_structure_list.axis_set_id
A 1 40 1 increasing X
A 2 30 2 increasing Y
loop_
_array_structure_list_axis.axis_set_id _array_structure_list_axis.axis_id
_array_structure_list_axis.displacement _array_structure_list_axis.displacement_increment
X X 0.0 0.1
Y Y 0.0 -0.1
_array_intensities.overload 65000
_array_data.data
;
binary
"""


def test_the_axes_of_imgcif_place_a_detector_and_the_spindle(tmp_path):
    path = tmp_path / "a.cbf"
    path.write_text(FULL)
    found = read_images([path]).models
    (panel,) = found.panels
    # at 100 mm along -z and -20, 15 aside, then a quarter turn about y: -z goes to -x, x to -z
    np.testing.assert_allclose(panel.origin_mm, [-100, 15, 20], atol=1e-12)
    np.testing.assert_allclose([panel.fast, panel.slow], [[0, 0, -1], [0, -1, 0]], atol=1e-12)
    assert (panel.shape, panel.pixel_mm) == ((30, 40), 0.1)
    # omega turns about y, which kappa carries to -x
    np.testing.assert_allclose(found.axis, [-1, 0, 0], atol=1e-12)
    assert found.scan == pytest.approx((0, 1, 5.0, 0.5, 0.0))
    assert (found.beam.polarization_fraction, found.trusted[1]) == (0.9, 65000)
    np.testing.assert_allclose(found.beam.polarization_normal, [0, 1, 0])


PIXELS = np.zeros((30, 40), dtype=np.uint16)
ADSC = {
    "PIXEL_SIZE": 0.1,
    "DISTANCE": 120.0,
    "WAVELENGTH": 1.1,
    "BEAM_CENTER_X": 1.25,
    "BEAM_CENTER_Y": 2.5,
    "OSC_START": 10.0,
    "OSC_RANGE": 0.5,
    "TIME": 2.0,
}


def smv(folder, **changes):
    path = folder / "a.img"
    path.write_bytes(smv_bytes({**ADSC, **changes}, PIXELS))
    return path


def test_an_smv_image_has_mosflms_centre_or_nanobraggs_own(tmp_path):
    found = read_images([smv(tmp_path)])
    np.testing.assert_allclose(found.models.panels[0].origin_mm, [-2.5, 1.25, -120])
    assert found.models.scan == (0, 1, 10.0, 0.5, 2.0)
    np.testing.assert_array_equal(found.models.axis, [1, 0, 0])
    backwards = read_images([smv(tmp_path, OSC_RANGE=-0.5)]).models
    assert (backwards.axis.tolist(), backwards.scan.osc_deg) == ([-1, 0, 0], 0.5)
    with_offset = read_images([smv(tmp_path, IMAGE_PEDESTAL=40, GAIN=2.5)])
    assert (with_offset.models.pedestal, with_offset.models.gain) == (40, 2.5)
    fake = read_images([smv(tmp_path, BEAMLINE="fake", DENZO_X_BEAM=1.3, DENZO_Y_BEAM=2.6)]).models
    np.testing.assert_allclose(fake.panels[0].origin_mm, [-2.6, 1.3, -120])
    adxv = read_images([smv(tmp_path, BEAMLINE="fake")]).models
    np.testing.assert_allclose(adxv.panels[0].origin_mm, [-1.25, 3 - 2.5, -120])


@pytest.mark.parametrize("text", ["far", "nan", "-inf"])
def test_a_number_of_a_header_that_is_none_is_named(tmp_path, text):
    for key in ("DISTANCE", "OSC_RANGE", "PIXEL_SIZE"):
        with pytest.raises(FileFormatError, match=f"{key} should be a number, found '{text}'"):
            read_images([smv(tmp_path, **{key: text})])
    path = tmp_path / "a.cbf"
    path.write_text(FULL.replace("WAVELENGTH1 0.97", f"WAVELENGTH1 {text}"))
    with pytest.raises(FileFormatError, match=f"wavelength should be a number, found '{text}'"):
        read_images([path])


def compare(found, wanted, images):
    """Two `Models` of a series, or of its first images."""
    for name in ("origin_mm", "fast", "slow", "pixel_mm"):
        theirs, ours = (getattr(models.panels[0], name) for models in (found, wanted))
        np.testing.assert_allclose(theirs, ours, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.axis, wanted.axis, atol=1e-9)
    assert found.panels[0].shape == wanted.panels[0].shape
    assert found.scan == pytest.approx((0, images, *wanted.scan[2:]))
    assert (found.beam.wavelength_A, found.trusted[1]) == (wanted.beam.wavelength_A, wanted.trusted[1])


@pytest.mark.parametrize("turn", [(0, 0, 0), (3, 40, -5)])
@pytest.mark.parametrize("osc_deg", [0.5, 0.0])
def test_cbf_images_of_an_export_bring_back_its_models(tmp_path, turn, osc_deg):
    models = models_of_a_panel(turn, axis=(0.6, 0.0, -0.8), osc_deg=osc_deg, material="Si", thickness_mm=0.45)
    paths = [tmp_path / f"x_{frame + 1}.cbf" for frame in range(3)]
    for frame, path in enumerate(paths):
        path.write_bytes(cbf_bytes(models, frame, np.zeros(models.panels[0].shape, dtype=np.int32)))
    found = read_images(paths).models
    compare(found, models, 3)
    assert (found.panels[0].material, found.panels[0].thickness_mm) == ("Si", pytest.approx(0.45))
    assert found.beam.polarization_fraction == pytest.approx(models.beam.polarization_fraction)
    np.testing.assert_allclose(found.beam.polarization_normal, models.beam.polarization_normal, atol=1e-12)


def test_smv_images_of_an_export_bring_back_its_models(tmp_path):
    models = models_of_a_panel()
    (tmp_path / "a.img").write_bytes(
        smv_bytes(adsc_header(models, 0), np.zeros(models.panels[0].shape, dtype=np.uint16))
    )
    found = read_images([tmp_path / "a.img"]).models
    compare(found, replace(models, trusted=found.trusted), 1)
    assert (found.gain, found.pedestal) == (models.gain, models.pedestal)


def test_a_master_file_of_a_detector_has_a_distance_and_a_beam_centre(tmp_path):
    found = read_images([eiger(tmp_path / "x_master.h5")])
    (panel,), models = found.models.panels, found.models
    np.testing.assert_allclose(panel.origin_mm, [-20.5 * 0.075, 12.25 * 0.075, -150])
    assert (panel.material, panel.thickness_mm, panel.shape) == ("Si", pytest.approx(0.45), (30, 40))
    assert models.scan == pytest.approx((0, 200, 30.0, 0.1, 0.01))
    assert (models.beam.wavelength_A, models.trusted) == (0.9, (0, 30000))
    assert [*np.flatnonzero(~panel.usable.any(axis=1))] == [10, 11]
    made = draft(found, stem="mine")
    assert made.content["detector"]["mask_file"] == "mine.mask.npy"
    np.testing.assert_array_equal(made.masks["mine.mask.npy"], ~panel.usable)
    assert {remark.split(":")[0] for remark in found.remarks} >= {"detector", "scan.spindle_axis"}


def test_axes_of_nexus_place_modules_and_the_spindle(tmp_path):
    path = eiger_with_modules(tmp_path / "x_master.h5")
    found = read_images([path]).models
    # in McStas' frame at (5, 3 - n, 200) before a quarter turn about y, which takes z to x and x to -z; dxtbx' has -x and -z
    for number, panel in enumerate(found.panels):
        np.testing.assert_allclose(panel.origin_mm, [-200, 3 - number, 5], atol=1e-12)
        np.testing.assert_allclose([panel.fast, panel.slow], [[0, 0, -1], [0, -1, 0]], atol=1e-12)
    assert [panel.shape for panel in found.panels] == [(10, 40), (20, 40)]
    # omega is about z, which chi has along x: -x in dxtbx' frame
    np.testing.assert_allclose(found.axis, [-1, 0, 0], atol=1e-12)
    assert found.scan == pytest.approx((0, 8, 30.0, 0.4, 0.01))
    assert [panel.usable.all() for panel in found.panels] == [True, False]
    # of panels of several sizes each has its own
    assert [*draft(read_images([path]), stem="x").masks] == ["x.panel1.mask.npy"]
    assert found.beam.polarization_fraction == pytest.approx(0.9)
    # its E vector is halfway between McStas' x and y, that is between -x and y
    np.testing.assert_allclose(found.beam.polarization_normal, [0.5**0.5, 0.5**0.5, 0], atol=1e-12)


def test_what_places_a_detector_may_be_in_other_files(tmp_path):
    wanted = read_images([eiger_with_modules(tmp_path / "x_master.h5")]).models
    with h5py.File(tmp_path / "x_master.h5", "a") as file, h5py.File(tmp_path / "axes.h5", "w") as other:
        for here, there in ((f"{TURNS}/omega", "/a/omega"), (f"{DETECTOR}/transformations/two_theta", "/b/two_theta")):
            file.copy(file[here], other, there)
            del file[here]
            file[here] = h5py.ExternalLink("axes.h5", there)
        # a place of its own file, though the master has an axis there as well
        other[TURNS + "/chi"] = 90.0
        other[TURNS + "/chi"].attrs.update(file[f"{TURNS}/chi"].attrs)
        file[f"{TURNS}/chi"][()] = 0.0
    found = read_images([tmp_path / "x_master.h5"]).models
    np.testing.assert_array_equal(found.axis, wanted.axis)
    # the other file has no end of omega, the master does
    assert found.scan == wanted.scan
    for one, another in zip(found.panels, wanted.panels, strict=True):
        np.testing.assert_array_equal(one.origin_mm, another.origin_mm)
    (tmp_path / "axes.h5").unlink()
    with pytest.raises(FileFormatError, match=r"omega on which .* depends, is no axis"):
        read_images([tmp_path / "x_master.h5"])


@pytest.mark.parametrize(
    ("units", "table", "scale"),
    [
        ("microns", LENGTHS_MM, 1e-3),
        ("Micrometre", LENGTHS_MM, 1e-3),
        ("\u00b5m", LENGTHS_MM, 1e-3),
        ("\u03bcm", LENGTHS_MM, 1e-3),
        ("millimeters", LENGTHS_MM, 1.0),
        ("meters", LENGTHS_MM, 1e3),
        ("seconds", TIMES_S, 1.0),
        ("milliseconds", TIMES_S, 1e-3),
        ("ns", TIMES_S, 1e-9),
        ("Degrees", ANGLES_RAD, np.pi / 180),
        ("Angstroms", WAVELENGTHS_A, 1.0),
        ("\u00c5", WAVELENGTHS_A, 1.0),
        ("nm", WAVELENGTHS_A, 10.0),
    ],
)
def test_units_have_many_spellings(units, table, scale):
    assert scale_of(units, table) == scale


def test_no_time_is_taken_for_a_length():
    for units in ("ms", "s", "feet", ""):
        with pytest.raises(ValueError, match=f"has units {units}, not one of m, cm, mm, um, nm"):
            scale_of(units, LENGTHS_MM)


def test_units_of_offsets_are_known_too(tmp_path):
    path = eiger_with_modules(tmp_path / "x_master.h5", sensor_thickness=(450.0, "microns"), frame_time=(10.0, "ms"))
    models = read_images([path]).models
    assert (models.panels[0].thickness_mm, models.scan.exposure_s) == pytest.approx((0.45, 0.01))
    with h5py.File(path, "a") as file:
        for number in range(2):
            file[f"{DETECTOR}/module_{number}/module_offset"].attrs["offset_units"] = "Millimeters"
        # an offset of nothing is one in any units
        file[f"{TURNS}/chi"].attrs.update({"offset": [0.0, 0.0, 0.0], "offset_units": "deg"})
    np.testing.assert_array_equal(read_images([path]).models.panels[0].origin_mm, models.panels[0].origin_mm)
    with h5py.File(path, "a") as file:
        file[f"{DETECTOR}/module_1/module_offset"].attrs["offset_units"] = "inch"
    with pytest.raises(FileFormatError, match="module_1/module_offset@offset_units has units inch, not one of m,"):
        read_images([path])


def test_what_places_nothing_is_left_out_where_it_cannot_be_read(tmp_path):
    path = eiger(tmp_path / "a", sensor_thickness=(18.0, "mil"), frame_time=(1.0, "shake"), underload_value=([], None))
    found = read_images([path])
    assert (found.models.panels[0].thickness_mm, found.models.scan.exposure_s) == (0, 0)
    left_out = [remark for remark in found.remarks if "left out" in remark]
    names = {remark.split(" ")[0].rpartition("/")[2] for remark in left_out}
    assert names == {"frame_time", "sensor_thickness", "underload_value"}


def test_the_images_that_are_stored_are_the_frames(tmp_path):
    path = eiger(tmp_path / "x_master.h5")
    with h5py.File(path, "a") as file:
        file["entry/data/data_000001"] = np.zeros((100, 30, 40), dtype=np.uint8)
        file["entry/data/data_000002"] = np.zeros((7, 30, 40), dtype=np.uint8)
    assert read_images([path]).models.scan.frames == 107
    with h5py.File(path, "a") as file:
        file["entry/data/data_000003"] = h5py.ExternalLink("x_data_000003.h5", "/entry/data/data")
    found = read_images([path])
    assert found.models.scan.frames == 200
    assert any("/entry/data/data_000003 leads to a file that is not there" in remark for remark in found.remarks)
    with h5py.File(path, "a") as file:
        file["entry/data/data"] = np.zeros((12, 30, 40), dtype=np.uint8)
    assert read_images([path]).models.scan.frames == 12


def test_a_master_that_does_not_say_how_many_images_there_are_says_that(tmp_path):
    sizes = {f"detectorSpecific/{axis}_pixels_in_detector": (None, None) for axis in "xy"}
    path = eiger(tmp_path / "x_12_master.h5", **sizes, **{"detectorSpecific/nimages": (None, None)})
    with pytest.raises(FileFormatError, match="detectorSpecific/y_pixels_in_detector is not there"):
        read_images([path])
    with h5py.File(path, "a") as file:
        file["entry/data/data_000001"] = np.zeros((1, 30, 40), dtype=np.uint8)
    found = read_images([path])
    assert found.models.panels[0].shape == (30, 40)
    assert found.models.scan[:2] == (0, 1)
    assert not any(remark.startswith("scan.frames") for remark in found.remarks)
    path = eiger(tmp_path / "y_master.h5", **{"detectorSpecific/nimages": (None, None)})
    found = read_images([path])
    assert found.models.scan.frames == 1
    assert any(remark.startswith("scan.frames: not told") for remark in found.remarks)


def test_the_settings_of_an_axis_are_the_frames_and_other_many_images_are_said(tmp_path):
    path = eiger_with_modules(tmp_path / "x_master.h5")
    with h5py.File(path, "a") as file:
        file["entry/data/data"] = np.zeros((8, 30, 40), dtype=np.uint8)
    found = read_images([path])
    assert found.models.scan.frames == 8
    assert not any(remark.startswith("scan.frames") for remark in found.remarks)
    with h5py.File(path, "a") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = np.zeros((5, 30, 40), dtype=np.uint8)
    found = read_images([path])
    assert found.models.scan.frames == 8
    assert "scan.frames: 8 settings of the axis are taken; 5 images are stored" in found.remarks


def test_the_steps_of_an_axis_are_the_oscillation_where_no_other_is_told(tmp_path):
    path = eiger(tmp_path / "x_master.h5")
    with h5py.File(path, "a") as file:
        del file["entry/sample/goniometer/omega_range_average"]
    assert read_images([path]).models.scan[:4] == (0, 200, 30.0, 0.1)
    with h5py.File(path, "a") as file:
        del file["entry/sample/goniometer/omega"]
        file["entry/sample/goniometer/omega"] = 30.0
    assert read_images([path]).models.scan[:4] == (0, 200, 30.0, 0.0)


def test_an_omega_of_another_file_carries_a_sample_that_does_not_say_what_does(tmp_path):
    path = eiger_with_modules(tmp_path / "x_master.h5")
    wanted = read_images([path]).models
    with h5py.File(path, "a") as file, h5py.File(tmp_path / "axes.h5", "w") as other:
        del file["entry/sample/depends_on"]
        file.copy(file[f"{TURNS}/omega"], other, "/a/omega")
        del file[f"{TURNS}/omega"]
        file[f"{TURNS}/omega"] = h5py.ExternalLink("axes.h5", "/a/omega")
    found = read_images([path]).models
    np.testing.assert_array_equal(found.axis, wanted.axis)
    assert found.scan == wanted.scan


def test_a_module_has_the_rows_and_columns_of_the_images(tmp_path):
    path = eiger_with_modules(tmp_path / "x_master.h5")
    with h5py.File(path, "a") as file:
        del file[f"{DETECTOR}/module_1"]
        file[f"{DETECTOR}/module_0/data_size"][()] = [40, 30]
        file["entry/data/data"] = np.zeros((8, 30, 40), dtype=np.uint8)
    found = read_images([path])
    assert found.models.panels[0].shape == (30, 40)
    assert not found.models.panels[0].usable[10:12].any()
    assert any("data_size is fast, slow where the images are 30 rows of 40" in remark for remark in found.remarks)
    with h5py.File(path, "a") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = np.zeros((8, 31, 41), dtype=np.uint8)
    found = read_images([path])
    # a mask of other images is none of these
    assert found.models.panels[0].usable.all()
    assert any("pixel_mask has 30 x 40 pixels, which is no mask of 31 x 41" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("pixel_mask_1", lambda mask: mask),
        ("threshold_1_channel/pixel_mask", lambda mask: mask),
        ("detectorSpecific/threshold_1_channel/pixel_mask", lambda mask: mask[None]),
        ("pixel_mask", lambda mask: mask[None]),
    ],
)
def test_a_mask_is_found_where_it_is(tmp_path, name, make):
    path = eiger(tmp_path / "x_master.h5")
    with h5py.File(path, "a") as file:
        mask = file[f"{DETECTOR}/detectorSpecific/pixel_mask"][()]
        del file[f"{DETECTOR}/detectorSpecific/pixel_mask"]
        file[f"{DETECTOR}/{name}"] = make(mask)
    assert [*np.flatnonzero(~read_images([path]).models.panels[0].usable.any(axis=1))] == [10, 11]


def test_a_mask_of_modules_has_each_by_its_number(tmp_path):
    path = eiger_with_modules(tmp_path / "x_master.h5")
    mask = np.zeros((2, 10, 40), dtype=np.uint32)
    mask[1, 3] = 1
    with h5py.File(path, "a") as file:
        file[f"{DETECTOR}/pixel_mask"] = mask
        for number in range(2):
            module = file[f"{DETECTOR}/module_{number}"]
            del module["data_origin"], module["data_size"]
            module["data_origin"], module["data_size"] = [number, 0, 0], [1, 10, 40]
    found = read_images([path])
    first, second = found.models.panels
    assert first.usable.all()
    made = draft(found, stem="mine")
    assert made.content["detector"]["mask_file"] == "mine.mask.npy"
    np.testing.assert_array_equal(made.masks["mine.mask.npy"], mask != 0)
    np.testing.assert_array_equal(second.usable, mask[1] == 0)


def test_a_mask_is_unpacked_and_one_that_cannot_be_is_said(tmp_path):
    path, place = eiger(tmp_path / "x_master.h5"), f"{DETECTOR}/detectorSpecific/pixel_mask"
    with h5py.File(path, "a") as file:
        mask = file[place][()]
        del file[place]
        file.create_dataset(place, data=mask, chunks=mask.shape, **hdf5plugin.Bitshuffle(cname="lz4"))
    # as in a process that has written none
    h5py.h5z.unregister_filter(hdf5plugin.BSHUF_ID)
    assert [*np.flatnonzero(~read_images([path]).models.panels[0].usable.any(axis=1))] == [10, 11]
    with h5py.File(path, "a") as file:
        file[place].id.write_direct_chunk((0, 0), b"no mask")
    found = read_images([path])
    assert found.models.panels[0].usable.all()
    assert f"detector: {place} cannot be read; it is left out" in found.remarks


def test_a_mask_in_a_file_that_is_not_there_is_said(tmp_path):
    path = eiger(
        tmp_path / "x_master.h5",
        **{
            "detectorSpecific/countrate_correction_count_cutoff": (None, None),
            "detectorSpecific/detectorModule_000/countrate_correction_count_cutoff": (12000, None),
        },
    )
    with h5py.File(path, "a") as file:
        del file[f"{DETECTOR}/detectorSpecific/pixel_mask"]
        file[f"{DETECTOR}/pixel_mask"] = h5py.ExternalLink("x_meta.h5", "/mask")
    found = read_images([path])
    assert found.models.panels[0].usable.all()
    assert f"detector: {DETECTOR}/pixel_mask leads to a file that is not there; it is left out" in found.remarks
    assert found.models.trusted[1] == 12000


@pytest.mark.parametrize(("turn", "osc_deg"), [((0, 0, 0), 0.5), ((3, 40, -5), 0.25)])
def test_a_master_file_of_an_export_brings_back_its_models(tmp_path, turn, osc_deg):
    models = models_of_a_panel(turn, axis=(0.6, 0.0, -0.8), osc_deg=osc_deg)
    one = models.panels[0]
    another = one._replace(origin_mm=one.origin_mm + 5 * one.slow, shape=(9, 7), usable=np.ones((9, 7), dtype=bool))
    beam = models.beam._replace(polarization_normal=np.array([0.6, 0.8, 0.0]), flux_photons_per_s=3e11, size_mm=0.05)
    models = replace(models, panels=(one, another), beam=beam)
    marks = [np.zeros(panel.shape, dtype=np.int32) for panel in models.panels]
    marks[1][2, 3] = -1
    path = tmp_path / "x_master.h5"
    NXmx().write_list(path, ImageSeries("x", models, "int32", "", "nbdist 1", "2026-01-01T00:00:00Z"), marks)
    description = read_images([path])
    found = description.models
    compare(found, models, 3)
    assert (found.scan.start_deg, found.scan.osc_deg) == (models.scan.start_deg, models.scan.osc_deg)
    np.testing.assert_allclose(found.panels[1].origin_mm, another.origin_mm, atol=1e-9)
    assert [panel.shape for panel in found.panels] == [(5, 7), (9, 7)]
    np.testing.assert_array_equal(np.argwhere(~found.panels[1].usable), [[2, 3]])
    assert found.beam.polarization_fraction == pytest.approx(models.beam.polarization_fraction)
    # a normal and its opposite are of one plane
    assert abs(found.beam.polarization_normal @ beam.polarization_normal) == pytest.approx(1, abs=1e-12)
    drafted = draft(description, stem="x")
    assert "sensor" not in drafted.content["detector"]
    assert [remark for remark in drafted.remarks if "sensor" in remark]
    made = drafted.content["beam"]
    assert (made["flux_photons_per_s"], made["exposure_s"], made["beam_size_mm"]) == (3e11, 0.25, 0.05)


def test_a_flux_has_a_beam_and_an_exposure_or_guesses_of_them(tmp_path):
    path = eiger(tmp_path / "x_master.h5", frame_time=(None, None))
    with h5py.File(path, "a") as file:
        beam = file["entry/instrument/beam"]
        beam["total_flux"] = 2e12
        beam["total_flux"].attrs["units"] = "photons/s"
    guessed = draft(read_images([path]), stem="x")
    assert guessed.content["beam"].items() >= {"exposure_s": 1.0, "beam_size_mm": 0.1}.items()
    guesses = [remark.partition(":")[0] for remark in guessed.remarks if "guess" in remark]
    assert [name for name in guesses if name.startswith("beam.")] == ["beam.exposure_s", "beam.beam_size_mm"]
    with h5py.File(path, "a") as file:
        file["entry/instrument/beam/incident_beam_size"] = [20.0, 80.0]
        file["entry/instrument/beam/incident_beam_size"].attrs["units"] = "microns"
        file["entry/instrument/detector/count_time"] = 0.5
    found = draft(read_images([path]), stem="x")
    assert found.content["beam"].items() >= {"exposure_s": 0.5, "beam_size_mm": 0.04}.items()
    said = [remark for remark in found.remarks if remark.startswith("beam.beam_size_mm")]
    assert said == ["beam.beam_size_mm: of a square as large as the beam's 0.02 x 0.08 mm"]


IMPORTS = """
import sys
from dxtbx.model.experiment_list import ExperimentListFactory
output, *files = sys.argv[1:]
for number, group in enumerate(",".join(files).split(",,")):
    ExperimentListFactory.from_filenames(group.split(",")).as_file(f"{output}/{number}.expt")
"""


@pytest.mark.integration
def test_dxtbx_has_the_same_of_the_same_files(tmp_path):
    models = models_of_a_panel((3, 40, -5), axis=(0.6, 0.0, -0.8), material="Si", thickness_mm=0.45)
    blank = np.zeros(models.panels[0].shape, dtype=np.int32)
    cbf = [tmp_path / f"a_{frame + 1:05d}.cbf" for frame in range(3)]
    for frame, path in enumerate(cbf):
        path.write_bytes(cbf_bytes(models, frame, blank))
    img, upright = [tmp_path / f"b_{frame + 1:05d}.img" for frame in range(3)], models_of_a_panel()
    for frame, path in enumerate(img):
        path.write_bytes(smv_bytes(adsc_header(upright, frame), blank.astype(np.uint16)))
    series = ImageSeries("x", models, "int32", "", "nbdist 1", "2026-01-01T00:00:00Z")
    master = tmp_path / "x_master.h5"
    NXmx().write(tmp_path / "x_data_000001.h5", series, range(3), [[blank]] * 3)
    NXmx().write_list(master, series, [blank])
    measured = tmp_path / "y_0001.cbf"
    mini(tmp_path, 1).rename(measured)
    groups = [cbf, img, [master], [measured]]
    names = [*cbf, "", *img, "", master, "", measured]
    dials(dials_python(), "-c", IMPORTS, tmp_path, *names)
    for number, paths in enumerate(groups):
        theirs, ours = read_dials_models(tmp_path / f"{number}.expt").models, read_images(paths).models
        compare(ours, replace(theirs, trusted=ours.trusted), len(paths) if len(paths) > 1 else theirs.scan.frames)
        np.testing.assert_allclose(ours.beam.travels, theirs.beam.travels, atol=1e-12)
    assert (ours.panels[0].material, ours.panels[0].thickness_mm) == (theirs.panels[0].material, pytest.approx(0.32))


def images_alone(path):
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.zeros((2, 3, 4), dtype=np.int32)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"II*\0"), r"is neither NXmx \(HDF5\) nor CBF nor SMV"),
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), r"^NXmx file .* cannot be read"),
        (images_alone, "/entry has images and no instrument: a data file; name its master file"),
        (lambda path: eiger(path, x_pixel_size=(None, None)), r"/entry/instrument/detector/x_pixel_size is not there"),
        (
            lambda path: eiger(path, y_pixel_size=(1e-4, "m")),
            r"x_pixel_size and y_pixel_size should be those of a square",
        ),
        (
            lambda path: eiger(path, detector_distance=(5.0, "feet")),
            r"detector_distance has units feet, not one of m, cm",
        ),
        (lambda path: path.write_text(MINI.replace("Beam_xy", "Beam")), r"has no line '# Beam_xy \.\.\.'"),
        (lambda path: path.write_text(MINI.replace("# Wavelength", "# Wave")), r"has no line '# Wavelength NUMBER'"),
        (lambda path: path.write_text(FULL.replace("Z translation", "W translation")), r"_axis has no Z"),
        (lambda path: path.write_text(FULL.replace("X X 0.0 0.1", "X X 0.0 0.3")), "should be those of a square"),
        (
            lambda path: path.write_bytes(smv_bytes({"PIXEL_SIZE": 0.1}, PIXELS)),
            r"SMV image .*: its header has no BEAM_CENTER_Y",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, make, said):
    make(tmp_path / "a")
    with pytest.raises(FileFormatError, match=said) as raised:
        read_images([tmp_path / "a"])
    assert "\n" not in str(raised.value)
