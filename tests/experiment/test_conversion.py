"""Experiments out of files of other programs describe what the files do, to the last digits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from dials_programs import compare_spots, dials_models

from nbdist.errors import FileFormatError
from nbdist.experiment import load_experiment, validate
from nbdist.experiment.conversion import draft
from nbdist.experiment.lattice import axis_rotation, cell_from_real
from nbdist.formats.dials_experiments import experiment_list
from nbdist.formats.dials_models import read_dials_models
from nbdist.kernels.prediction import series_reflections
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.models import models_of

PANELS = [
    {
        "spixels": 30,
        "fpixels": 26,
        "pixel_size_mm": 0.3,
        "distance_mm": 80.0,
        "dead_rectangles_pixels": [[3, 5, 0, 30]],
    },
    {"spixels": 15, "fpixels": 26, "pixel_size_mm": 0.6, "distance_mm": 95.0, "rotation_deg": [0, 12, 3]},
]
CRYSTALS = [
    {"cell": [40.0, 45.0, 50.0, 80.0, 95.0, 100.0], "misset_deg": [14, -31, 52]},
    {"cell": [60.0, 60.0, 30.0, 90.0, 90.0, 120.0], "misset_deg": [-70, 11, 5]},
]


def read_back(experiment, folder):
    """The experiment that is made of the DIALS models of another, as its file says it."""
    scene = resolve(experiment)
    models = models_of(scene, range(experiment.scan.frames))
    path = folder / "models.expt"
    path.write_bytes(experiment_list(models, [f"{number}" for number in range(len(models.crystals))]))
    found = folder / "found.yaml"
    found.write_text(draft(read_dials_models(path)).yaml("models.expt"))
    return load_experiment(found)


def compare(found, wanted, tolerance=1e-9):
    """Two `Models` in the same frame."""
    for one, other in zip(found.panels, wanted.panels, strict=True):
        for name in ("origin_mm", "fast", "slow", "pixel_mm", "thickness_mm", "attenuation_per_mm"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=tolerance, err_msg=name)
        assert (one.shape, one.gaps) == (other.shape, other.gaps)
    for one, other in zip(found.crystals, wanted.crystals, strict=True):
        np.testing.assert_allclose(one.real_vectors_A, other.real_vectors_A, atol=tolerance)
    np.testing.assert_allclose(found.axis, wanted.axis, atol=tolerance)
    np.testing.assert_allclose(found.scan[2:], wanted.scan[2:], atol=tolerance)
    assert found.trusted == wanted.trusted
    assert found.beam.wavelength_A == wanted.beam.wavelength_A
    assert found.beam.polarization_fraction == pytest.approx(wanted.beam.polarization_fraction, abs=1e-12)
    # a normal and its opposite are of one plane
    assert abs(found.beam.polarization_normal @ wanted.beam.polarization_normal) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("convention", "osc_deg", "two_theta_deg"),
    [("xds", 0.5, 20.0), ("dials", -0.5, 0.0), ("mosflm", 0.5, 0.0), ("adxv", -0.25, 15.0), ("dxtbx", 0.5, 0.0)],
)
def test_models_of_dials_bring_back_the_experiment_they_were_made_of(
    small_experiment, tmp_path, convention, osc_deg, two_theta_deg
):
    experiment = small_experiment(
        beam={
            "wavelength_A": 1.1,
            "polarization_factor": 0.8,
            "flux_photons_per_s": 1e10,
            "fluence_photons_per_m2": None,
        },
        crystal=None,
        crystals=[crystal | {"shape": "gauss"} for crystal in CRYSTALS],
        scan={"frames": 7, "phi_start_deg": 25.0, "osc_range_deg": osc_deg},
        detector={
            "convention": convention,
            "panels": [panel | {"two_theta_deg": two_theta_deg} for panel in PANELS],
            "sensor": {"thickness_um": 450, "attenuation_depth_um": 300, "layers": 2},
        },
        noise={"photon_noise": True},
        readout={"saturation_adu": 5000},
        sampling={"method": "integrated"},
    )
    found = read_back(experiment, tmp_path)
    frames = range(experiment.scan.frames)
    compare(models_of(resolve(found), frames), models_of(resolve(experiment), frames))
    # in dxtbx's frame already: nothing is turned by the way
    models = models_of(resolve(experiment), frames)
    np.testing.assert_allclose(found.each_crystal["crystals.1"].real_vectors_A, models.crystals[1].real_vectors_A)
    assert found.beam.flux_photons_per_s == 1e10


def test_an_upright_detector_is_in_the_convention_dxtbx(small_experiment, tmp_path):
    assert read_back(small_experiment(), tmp_path).detector.convention == "dxtbx"


AXIS, KAPPA, PHI = np.array([1.0, 0.0, 0.0]), np.array([0.8, 0.0, 0.6]), np.array([0.0, 0.6, 0.8])
BASE_PANEL = {
    "name": "p",
    "type": "SENSOR_PAD",
    "fast_axis": [1.0, 0.0, 0.0],
    "slow_axis": [0.0, -1.0, 0.0],
    "origin": [-10.0, 12.0, -100.0],
    "image_size": [40, 30],
    "pixel_size": [0.2, 0.2],
    "trusted_range": [-1.0, 70000.0],
    "thickness": 0.0,
    "material": "",
    "mu": 0.0,
    "mask": [],
    "gain": 1.0,
    "pedestal": 0.0,
}
BEAM = {
    "direction": [0.0, 0.0, 1.0],
    "wavelength": 0.97,
    "polarization_normal": [0.0, 1.0, 0.0],
    "polarization_fraction": 0.999,
}
SCAN = {"image_range": [11, 20], "oscillation": [5.0, 0.2], "exposure_time": [0.0] * 10}
CRYSTAL = {
    "__id__": "crystal",
    "real_space_a": [79.0, 0.0, 0.0],
    "real_space_b": [0.0, 79.0, 0.0],
    "real_space_c": [0.0, 0.0, 38.0],
    "space_group_hall_symbol": " P 4nw 2abw",
}


def document(**models):
    """An `.expt` document of one experiment with these models, each a list."""
    given = {"beam": [BEAM], "detector": [{"panels": [BASE_PANEL]}], "scan": [SCAN], "crystal": [CRYSTAL], **models}
    given.setdefault("goniometer", [{"rotation_axis": AXIS.tolist()}])
    experiment = {"__id__": "Experiment", "identifier": "", **{name: 0 for name, those in given.items() if those}}
    return {"__id__": "ExperimentList", "experiment": [experiment], **given}


def described(folder, content, experiment=None):
    path = folder / "a.expt"
    path.write_text(json.dumps(content))
    return read_dials_models(path, experiment)


def test_all_axes_of_a_goniometer_are_in_the_spindle_and_the_crystal(tmp_path):
    goniometer = {
        "axes": [PHI.tolist(), KAPPA.tolist(), AXIS.tolist()],
        "angles": [20.0, 30.0, 40.0],
        "names": ["phi", "kappa", "omega"],
    }
    first, second, third = (
        axis_rotation(axis, np.deg2rad(angle)) for axis, angle in ((PHI, 20), (KAPPA, 30), (AXIS, 40))
    )
    vectors = np.diag([79.0, 79.0, 38.0])
    for scan_axis, axis, fixed, setting in (
        (2, AXIS, second @ first, np.eye(3)),
        (1, KAPPA, first, third),
        (0, PHI, np.eye(3), third @ second),
    ):
        found = described(tmp_path, document(goniometer=[goniometer | {"scan_axis": scan_axis}])).models
        np.testing.assert_allclose(found.axis, setting @ axis, atol=1e-15)
        np.testing.assert_allclose(found.crystals[0].real_vectors_A, vectors @ (setting @ fixed).T, atol=1e-12)
    one = {"rotation_axis": AXIS.tolist(), "fixed_rotation": first.ravel().tolist()}
    found = described(tmp_path, document(goniometer=[one | {"setting_rotation": second.ravel().tolist()}])).models
    np.testing.assert_allclose(found.axis, second @ AXIS, atol=1e-15)
    np.testing.assert_allclose(found.crystals[0].real_vectors_A, vectors @ (second @ first).T, atol=1e-12)


def test_a_still_is_as_it_stands_whatever_its_scan_and_goniometer(tmp_path):
    turned = {"rotation_axis": AXIS.tolist(), "fixed_rotation": axis_rotation(PHI, 0.3).ravel().tolist()}
    still = SCAN | {"oscillation": [30.0, 0.0]}
    vectors = np.diag([79.0, 79.0, 38.0])
    for models in ({"scan": [still]}, {"goniometer": []}, {"scan": []}, {"scan": [still], "goniometer": []}):
        content = document(**{"goniometer": [turned], **models})
        found = described(tmp_path, content)
        np.testing.assert_array_equal(found.models.crystals[0].real_vectors_A, vectors)
        assert (found.models.scan.start_deg, found.models.scan.osc_deg) == (0, 0)
        assert [remark.partition(":")[0] for remark in found.remarks].count("a still") == 1
        scene = resolve(validate(draft(found).content))
        (lattice,) = models_of(scene, range(1)).crystals
        np.testing.assert_allclose(lattice.real_vectors_A, vectors, atol=1e-12)
    assert not any(remark.startswith("a still") for remark in described(tmp_path, document()).remarks)


def test_a_width_of_zero_is_not_known_and_stills_have_their_own(tmp_path):
    for mosaicity, size in ((0.0, 0.0), (None, -10.0)):
        of_none = CRYSTAL | {"mosaicity": mosaicity, "ML_domain_size_ang": size}
        unset = described(tmp_path, document(crystal=[of_none]))
        assert (unset.mosaicities_deg, unset.sizes_um) == ((None,), (None,))
    for sigma_m in (0.0, -1.0, [0.0, 0.0], []):
        profile = {"__id__": "gaussian_rs", "n_sigma": 3, "sigma_b": 0.02, "sigma_m": sigma_m}
        unset = described(tmp_path, document(crystal=[of_none], profile=[profile]))
        assert unset.mosaicities_deg == (None,)
        assert not any(remark.startswith("sigma_m") for remark in unset.remarks)
    guesses = [remark.partition(":")[0] for remark in draft(unset).remarks if "guess" in remark]
    assert guesses[:2] == ["crystal.mosaicity", "crystal.size_um, of a block"]
    refined = {"mosaicity": 0.0, "ML_half_mosaicity_deg": 0.06, "ML_domain_size_ang": 2500.0}
    made = draft(described(tmp_path, document(crystal=[CRYSTAL | refined])))
    crystal = made.content["crystal"]
    assert crystal["mosaicity"]["sigma_deg"] == pytest.approx(0.06 / 3**0.5)
    assert crystal["size_um"] == pytest.approx(0.25)
    assert not any("guess" in remark for remark in made.remarks if remark.startswith("crystal"))


def test_a_panel_is_placed_in_its_group_and_that_in_its_own(tmp_path):
    turned = {"fast_axis": [0.0, 1.0, 0.0], "slow_axis": [-1.0, 0.0, 0.0]}
    inner = turned | {"origin": [1.0, 2.0, 3.0], "children": [{"panel": 1}]}
    outer = turned | {"origin": [10.0, 20.0, -30.0], "children": [{"panel": 0}, inner]}
    panels = [BASE_PANEL, BASE_PANEL | {"mask": [[0, 5, 40, 7], [38, 0, 90, 30]]}]
    found = described(tmp_path, document(detector=[{"panels": panels, "hierarchy": outer}])).models.panels
    # a quarter turn about z: x to y, y to -x
    np.testing.assert_allclose(found[0].origin_mm, [10 - 12, 20 - 10, -130])
    np.testing.assert_allclose(found[1].origin_mm, [10 - 2 + 10, 20 + 1 - 12, -30 + 3 - 100])
    np.testing.assert_allclose([found[0].fast, found[0].slow], [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose([found[1].fast, found[1].slow], [[-1, 0, 0], [0, 1, 0]], atol=1e-15)
    assert found[1].gaps == ((0, 40, 5, 7), (38, 40, 0, 30))


def test_what_changes_during_the_scan_is_said(tmp_path):
    start = np.diag([1 / 80, 1 / 80, 1 / 40])
    crystal = CRYSTAL | {"A_at_scan_points": [start.ravel().tolist(), np.eye(3).ravel().tolist()]}
    profile = {"__id__": "gaussian_rs", "n_sigma": 3, "sigma_b": [0.02] * 2, "sigma_m": [0.1, 0.3]}
    found = described(tmp_path, document(crystal=[crystal], profile=[profile]))
    assert cell_from_real(found.models.crystals[0].real_vectors_A) == pytest.approx((80, 80, 40, 90, 90, 90))
    assert found.mosaicities_deg == (pytest.approx(0.2),)
    assert [remark.split(" changes")[0] for remark in found.remarks] == ["the crystal", "sigma_m"]


def test_what_is_left_out_is_said(tmp_path):
    beam = BEAM | {"sigma_divergence": 0.02, "transmission": 0.5, "probe": "electron"}
    images = {"__id__": "ImageSequence", "template": "x_####.cbf", "mask": "pixels.mask", "gain": None}
    said = described(tmp_path, document(beam=[beam], imageset=[images])).remarks
    assert [remark.partition(" ")[0] for remark in said] == [
        "imageset.mask",
        "beam.probe",
        "beam.sigma_divergence",
        "beam.transmission",
    ]


def test_newer_scans_have_a_property_an_image(tmp_path):
    properties = {"oscillation": [5.0, 5.2, 5.4], "exposure_time": [0.1] * 3}
    scan = {"image_range": [3, 5], "batch_offset": 0, "properties": properties}
    found = described(tmp_path, document(scan=[scan])).models.scan
    assert found == pytest.approx((2, 3, 5.0, 0.2, 0.1))
    for old in (SCAN | {"exposure_time": 0.25}, scan | {"properties": properties | {"exposure_time": 0.25}}):
        assert described(tmp_path, document(scan=[old])).models.scan.exposure_s == 0.25
    one = {"image_range": [3, 3], "properties": {"oscillation": [5.0], "oscillation_width": [0.3]}}
    assert described(tmp_path, document(scan=[one])).models.scan == pytest.approx((2, 1, 5.0, 0.3, 0.0))


def test_one_of_several_sweeps_is_chosen_and_lattices_of_one_belong_together(tmp_path):
    content = document(scan=[SCAN, SCAN | {"oscillation": [90.0, 0.2]}], crystal=[CRYSTAL] * 3)
    first = content["experiment"][0]
    content["experiment"] = [first, first | {"crystal": 1}, first | {"scan": 1, "crystal": 2}]
    with pytest.raises(FileFormatError, match=r"a\.expt: experiment has 2 sweeps or stills; choose one .*: 0, 2$"):
        described(tmp_path, content)
    with pytest.raises(FileFormatError, match="has 3 of them, from 0; 3 is none"):
        described(tmp_path, content, 3)
    assert len(described(tmp_path, content, 1).models.crystals) == 2
    second = described(tmp_path, content, 2).models
    assert (len(second.crystals), second.scan.start_deg) == (1, 90.0)


def test_a_sensor_gain_and_the_largest_count_are_carried_over(tmp_path):
    panel = BASE_PANEL | {"thickness": 0.45, "material": "Si", "mu": 4.0, "gain": 2.0, "pedestal": 10.0}
    found = validate(draft(described(tmp_path, document(detector=[{"panels": [panel]}]))).content)
    # two layers, since a ray at 45 degrees moves by two pixels in one of 0.4 mm
    sensor = {"thickness_um": 450.0, "attenuation_depth_um": 250.0, "layers": 2}
    assert found.detector.content() == {
        "convention": "dxtbx",
        "sensor": sensor,
        "panels": [{"spixels": 30, "fpixels": 40, "pixel_size_mm": 0.2, "origin_mm": [-10, 12, -100]}],
    }
    assert found.readout.content() == {"electrons_per_photon": 2.0, "offset_adu": 10.0, "saturation_adu": 70001}
    named = draft(described(tmp_path, document(detector=[{"panels": [panel | {"mu": 0.0}]}])))
    assert named.content["detector"]["sensor"]["material"] == "Si"
    unknown = draft(described(tmp_path, document(detector=[{"panels": [panel | {"mu": 0.0, "material": "GaAs"}]}])))
    assert "sensor" not in unknown.content["detector"]
    assert any("0.45 mm of GaAs are left out" in remark for remark in unknown.remarks)
    # what stands for none in NXmx, with the attenuation that DIALS looks up
    none = draft(described(tmp_path, document(detector=[{"panels": [panel | {"thickness": 1e-6}]}])))
    assert "sensor" not in none.content["detector"]
    assert any("detector.sensor: 0.001 um are left out" in remark for remark in none.remarks)


def test_where_there_is_no_crystal_another_stands_in_its_place_and_this_is_said(tmp_path):
    found = described(tmp_path, document(crystal=[]))
    empty = draft(found)
    assert any("THE FILE HAS NONE" in remark for remark in empty.remarks)
    text = empty.yaml("a.expt")
    assert "# note: crystal: THE FILE HAS NONE" in text
    assert yaml.safe_load(text)["crystal"]["cell"] == [79.1, 79.1, 37.9, 90, 90, 90]
    given = draft(found, cell=(50.0, 60.0, 70.0, 90.0, 90.0, 90.0), reflections="a.mtz").content
    assert given["crystal"]["cell"][:3] == [50, 60, 70]
    assert given["structure_factors"] == {"kind": "file", "file": "a.mtz"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], r"the document should be an object, found \[\]"),
        ({"beam": []}, r"is no list of experiments"),
        (document(beam=[BEAM | {"wavelength": "long"}]), r'beam\.0\.wavelength should be a number, found "long"'),
        (document(beam=[BEAM | {"direction": [0, 0, 0]}]), r"beam\.0\.direction should be a direction"),
        (document(beam=[]), r"experiment has no beam"),
        (document(detector=[{"panels": []}]), r"experiment has no panel"),
        (
            document(detector=[{"panels": [BASE_PANEL | {"pixel_size": [0.1, 0.2]}]}]),
            r"detector\.0\.panels\.0\.pixel_size should be those of a square, found 0\.1 x 0\.2 mm",
        ),
        (document(scan=[SCAN | {"exposure_time": "long"}]), r"scan\.0\.properties\.exposure_time should be a number"),
        (
            document(detector=[{"panels": [BASE_PANEL | {"mask": 5}]}]),
            r"detector\.0\.panels\.0\.mask should be a list of rectangles",
        ),
        (document(scan=[SCAN | {"image_range": [3, 1]}]), r"scan\.0\.image_range should rise"),
        (document(crystal=[{"real_space_a": [1, 2]}]), r"crystal\.0\.real_space_a should be 3 numbers, found \[1, 2\]"),
        (document() | {"crystal": []}, r"experiment\.0\.crystal should be one of 0 models, found 0"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_with_the_place(tmp_path, content, said):
    with pytest.raises(FileFormatError, match=rf"^DIALS' models .*a\.expt: {said}") as raised:
        described(tmp_path, content)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("XDS.INP", "is no list of experiments .*; from-xds reads files of XDS"),
        ("a.refl", r"is a table of reflections; name the models beside it, a\.expt"),
        ("broken.expt", "line 1: "),
    ],
)
def test_a_file_that_is_no_models_names_what_reads_it(tmp_path, name, said):
    (tmp_path / name).write_text('{"__id__": "Exp' if name == "broken.expt" else "JOB= XYCORR\n")
    with pytest.raises(FileFormatError, match=said):
        read_dials_models(tmp_path / name)


def test_sigma_m_is_the_mosaicity(tmp_path):
    profile = {"__id__": "gaussian_rs", "n_sigma": 3, "sigma_b": 0.02, "sigma_m": 0.2}
    panel = BASE_PANEL | {"image_size": [400, 400], "origin": [-40.0, 40.0, -100.0]}
    turn = axis_rotation([0.48, 0.6, 0.64], 1.0)
    vectors = {f"real_space_{axis}": (turn @ CRYSTAL[f"real_space_{axis}"]).tolist() for axis in "abc"}
    content = document(profile=[profile], detector=[{"panels": [panel]}], crystal=[CRYSTAL | vectors])
    experiment = validate(draft(described(tmp_path, content)).content)
    scene = resolve(experiment)
    rows = series_reflections(scene, load_reflections(scene))
    # a reflection is sigma_M / |zeta| wide in rotation, and its Lorentz factor is 1 / (|zeta| sin 2theta); a block of the size L
    # makes it wider by the width of |F_latt|^2 = exp(-2 r^2 / 0.63), r = L |q - G|: an angle of sqrt(0.63) / 2 d / L
    zeta = 1 / (rows["lorentz"] * np.sin(np.deg2rad(rows["two_theta_deg"])))
    of_size_deg = np.rad2deg(np.sqrt(0.63) / 2 * rows["d_A"] / 1e4)
    fwhm = np.sqrt(8 * np.log(2)) * np.hypot(0.2, of_size_deg)
    # but for the few that touch the sphere and do not cross it
    alike = np.abs(rows["rocking_width_deg"] * zeta / fwhm - 1)[zeta > 0.3] < 2e-3
    assert alike.size > 100
    assert alike.mean() > 0.99


@pytest.mark.integration
def test_dials_predicts_the_spots_of_what_is_made_of_its_models(tmp_path):
    found = dials_models(tmp_path)
    made = tmp_path / "made.yaml"
    made.write_text(draft(read_dials_models(tmp_path / "models.expt")).yaml("models.expt"))
    scene = resolve(load_experiment(made))
    for panel, corners in zip(scene.instrument.panels, found["corners"], strict=True):
        np.testing.assert_allclose(1e3 * panel.positions_m([0, 300], [0, 150]), corners, atol=1e-9)
    compare_spots(scene, found)
