"""Detectors by name, modules and gaps, and the materials of sensors: the published numbers, and what experiments make of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import yaml

from nbdist.errors import ExperimentError
from nbdist.experiment import experiment_schema, experiment_to_yaml, validate
from nbdist.experiment.detector import Modules, Panel
from nbdist.experiment.materials import ATTENUATION, attenuation_depth_um
from nbdist.experiment.named_detectors import NAMED_DETECTORS, named_detector
from nbdist.experiment.powder_lines import POWDER_LINES
from nbdist.scene import resolve

PILATUS_MODULE, EIGER_MODULE, EIGER2_MODULE, JUNGFRAU_MODULE = 195 * 487, 514 * 1030, 512 * 1028, 514 * 1030
PUBLISHED = {
    # (slow, fast) of an image, and pixels that count: modules x their pixels
    "Pilatus 300K": ((619, 487), 3 * PILATUS_MODULE),
    "Pilatus 1M": ((1043, 981), 10 * PILATUS_MODULE),
    "Pilatus 2M": ((1679, 1475), 24 * PILATUS_MODULE),
    "Pilatus 6M": ((2527, 2463), 60 * PILATUS_MODULE),
    "Pilatus3 300K": ((619, 487), 3 * PILATUS_MODULE),
    "Pilatus3 1M": ((1043, 981), 10 * PILATUS_MODULE),
    "Pilatus3 2M": ((1679, 1475), 24 * PILATUS_MODULE),
    "Pilatus3 6M": ((2527, 2463), 60 * PILATUS_MODULE),
    "Pilatus3 CdTe 300K": ((619, 487), 3 * 195 * 484),
    "Pilatus3 CdTe 1M": ((1043, 981), 10 * 195 * 484),
    "Pilatus3 CdTe 2M": ((1679, 1475), 24 * 195 * 484),
    "Pilatus4 260K": ((530, 513), 2 * 255 * 513),
    "Pilatus4 1M": ((1080, 1033), 8 * 255 * 513),
    "Pilatus4 2M": ((1630, 1553), 18 * 255 * 513),
    "Pilatus4 4M": ((2180, 2073), 32 * 255 * 513),
    "Eiger 1M": ((1065, 1030), 2 * EIGER_MODULE),
    "Eiger 4M": ((2167, 2070), 8 * EIGER_MODULE),
    "Eiger 9M": ((3269, 3110), 18 * EIGER_MODULE),
    "Eiger 16M": ((4371, 4150), 32 * EIGER_MODULE),
    "Eiger2 1M": ((1062, 1028), 2 * EIGER2_MODULE),
    "Eiger2 4M": ((2162, 2068), 8 * EIGER2_MODULE),
    "Eiger2 9M": ((3262, 3108), 18 * EIGER2_MODULE),
    "Eiger2 16M": ((4362, 4148), 32 * EIGER2_MODULE),
    "Eiger2 CdTe 1M": ((1062, 1028), 2 * 512 * 1026),
    "Eiger2 CdTe 4M": ((2162, 2068), 8 * 512 * 1026),
    "Eiger2 CdTe 9M": ((3262, 3108), 18 * 512 * 1026),
    "Eiger2 CdTe 16M": ((4362, 4148), 32 * 512 * 1026),
    "Jungfrau 4M": ((2164, 2068), 8 * JUNGFRAU_MODULE),
    "Jungfrau 16M": ((4364, 4144), 32 * JUNGFRAU_MODULE),
    "ADSC Q315r": ((3072, 3072), 3072 * 3072),
    "Rayonix MX170-HS": ((1920, 1920), 1920 * 1920),
    "Rayonix MX300-HS": ((3840, 3840), 3840 * 3840),
    "Rayonix MX340-HS": ((3840, 3840), 3840 * 3840),
    "Mar 225": ((3072, 3072), 3072 * 3072),
    "Timepix 512": ((516, 516), 512 * 512),
}


@pytest.fixture
def on_detector(small_experiment):
    """`on_detector(name="Eiger 1M")`: the small experiment on that detector."""

    def make(**detector):
        content = small_experiment().content()
        return validate({**content, "detector": {"convention": "xds", "distance_mm": 100, **detector}})

    return make


def test_all_published_numbers_are_here():
    assert PUBLISHED.keys() == NAMED_DETECTORS.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_image_has_its_published_size_and_pixels_that_count(on_detector, name):
    shape, live = PUBLISHED[name]
    (panel,) = resolve(on_detector(name=name)).instrument.panels
    assert (panel.shape, np.count_nonzero(panel.usable)) == (shape, live)


def gaps_of(on_detector, name):
    """First and last dead rows, and columns, of a detector by name."""
    (panel,) = resolve(on_detector(name=name)).instrument.panels
    found = []
    for live in (panel.usable.any(axis=1), panel.usable.any(axis=0)):
        edges = np.flatnonzero(np.diff(np.concatenate([[True], live, [True]]).astype(int)))
        found.append([(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)])
    return found


def test_gaps_are_where_other_programs_mask_them(on_detector):
    # DIALS's masks of the Pilatus 2M and 6M count from 1: columns 488 to 494, rows 196 to 212 ...
    columns = [(487, 493), (981, 987), (1475, 1481), (1969, 1975)]
    rows = [(195 + 212 * number, 211 + 212 * number) for number in range(11)]
    assert gaps_of(on_detector, "Pilatus 6M") == [rows, columns]
    assert gaps_of(on_detector, "Pilatus 2M") == [rows[:7], columns[:2]]
    # modules of DIALS's Eiger and Eiger2, and of durin's: 514 x 1030 with gaps of 37 and 10, 512 x 1028 with gaps of 38 and 12
    assert gaps_of(on_detector, "Eiger 4M") == [[(514, 550), (1065, 1101), (1616, 1652)], [(1030, 1039)]]
    assert gaps_of(on_detector, "Eiger2 4M") == [[(512, 549), (1062, 1099), (1612, 1649)], [(1028, 1039)]]
    assert gaps_of(on_detector, "Eiger2 CdTe 1M") == [[(512, 549)], [(513, 514)]]
    assert gaps_of(on_detector, "Pilatus3 CdTe 300K")[1] == [(242, 244)]
    assert gaps_of(on_detector, "Timepix 512") == [[(256, 259)], [(256, 259)]]


def test_chips_and_their_joints_make_up_a_module():
    known = [its for its in NAMED_DETECTORS.values() if its.joint]
    assert {its.name.split()[0] for its in known} == {"Pilatus", "Pilatus3", "Eiger", "Jungfrau"}
    for its in known:
        for lines, chip in zip(its.module, its.joint.chip, strict=True):
            chips = lines // chip
            assert lines == chips * chip + (chips - 1) * its.joint.virtual_lines
        # both wide pixels of a joint are as many lines as pitches
        assert 2 * its.joint.pitches == 2 + its.joint.virtual_lines


def test_a_binned_frame_has_the_published_pixel(on_detector):
    panel = on_detector(name="Rayonix MX340-HS", binning=4).detector.each_panel[0]
    assert (panel.spixels, panel.fpixels) == (1920, 1920)
    assert panel.pixel_size_mm == pytest.approx(0.1770833, abs=1e-7)  # Rayonix: 177.0833 um
    assert on_detector(name="Mar 225").detector.each_panel[0].pixel_size_mm == pytest.approx(0.073242, abs=1e-6)
    with pytest.raises(ExperimentError, match=r"^detector: binning: Mar 225 reads 1, 2, 4, 8 .*found 3$"):
        on_detector(name="Mar 225", binning=3)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("eiger2_16m", "Eiger2 16M"),
        ("DECTRIS EIGER2 XE 16M", "Eiger2 16M"),
        ("Eiger X 4M", "Eiger 4M"),
        ("pilatus3 x cdte 2M", "Pilatus3 CdTe 2M"),
        ("PILATUS 6m", "Pilatus 6M"),
        ("mx340", "Rayonix MX340-HS"),
        ("Quantum 315r", "ADSC Q315r"),
    ],
)
def test_a_name_may_be_written_in_many_ways(on_detector, written, name):
    experiment = on_detector(name=written)
    assert experiment.detector.name == name
    assert experiment.fingerprint == on_detector(name=name).fingerprint
    assert yaml.safe_load(experiment_to_yaml(experiment))["detector"] == {
        "name": name,
        "convention": "xds",
        "distance_mm": 100.0,
    }


def test_an_unknown_name_shows_near_ones(on_detector):
    with pytest.raises(
        ExperimentError, match=r"^detector\.name: Eiger3 16M is no .* near ones are Eiger 16M, Eiger2 16M"
    ):
        on_detector(name="Eiger3 16M")
    every = [name for name in NAMED_DETECTORS if name.startswith("Pilatus")]
    with pytest.raises(ValueError, match=f"near ones are .*{every[-1]}") as caught:
        named_detector("pilatus")
    assert all(name in str(caught.value) for name in every)


def test_a_detector_has_a_name_or_panels(on_detector, small_experiment):
    with pytest.raises(ExperimentError, match="detector: give name or panels, not both"):
        on_detector(name="Eiger 1M", panels=[{"distance_mm": 100}])
    with pytest.raises(ExperimentError, match="detector: distance_mm is of a detector by name"):
        small_experiment(detector={"distance_mm": 100})


def test_a_named_detector_stands_where_its_panel_would(on_detector):
    placed = {"beam_center_mm": (40.0, 45.0), "two_theta_deg": 15.0}
    named = on_detector(name="Eiger 1M", region_of_interest={"slow": [0, 20], "fast": [5, 1030]}, **placed)
    panel = {"spixels": 1065, "fpixels": 1030, "pixel_size_mm": 0.075, "distance_mm": 100, **placed}
    given = on_detector(distance_mm=None, panels=[panel])
    one, other = (resolve(experiment).instrument.panels[0] for experiment in (named, given))
    np.testing.assert_array_equal(one.origin_m, other.origin_m)
    np.testing.assert_array_equal(one.normal, other.normal)
    assert np.count_nonzero(one.usable) == 20 * 1025
    assert named.with_changes(detector={"distance_mm": 300}).detector.each_panel[0].distance_mm == 300


def test_the_fingerprint_notices_that_a_published_number_changes(on_detector, monkeypatch):
    def prints():
        named = [on_detector(name=name) for name in ("Eiger 1M", "Mar 225")]
        powder = {"background": {"powder": [{"preset": "ice", "photons": 1}]}}
        return [its.fingerprint for its in (*named, named[1].with_changes(**powder))]

    before = prints()
    its = NAMED_DETECTORS["Eiger 1M"]
    for change in ({"gaps": (36, 10), "grid": (1, 1)}, {"saturation": 4095}, {"thickness_um": 320.0}):
        with monkeypatch.context() as changed:
            changed.setitem(NAMED_DETECTORS, its.name, dataclasses.replace(its, **change))
            assert prints()[0] != before[0]
            assert prints()[1] == before[1]
    silicon = ATTENUATION["Si"]
    monkeypatch.setitem(ATTENUATION, "Si", dataclasses.replace(silicon, density_g_per_cm3=2.4))
    assert prints()[0] != before[0]
    assert prints()[1:] == before[1:]
    monkeypatch.setitem(POWDER_LINES, "ice", ((3.9, 55.0),))
    assert prints()[1] == before[1]
    assert prints()[2] != before[2]


@pytest.mark.parametrize(
    ("material", "energy_keV", "coefficient_cm2_per_g"),
    [
        # Elam, Ravel and Sieber (2002) Radiat. Phys. Chem. 63, 121, as in xraydb 4.5
        ("Si", 8.048, 63.584),
        ("Si", 12.66, 17.000),
        ("Si", 17.479, 6.604),
        ("CdTe", 12.66, 73.26),
        ("CdTe", 26.8, 29.17),
        ("CdTe", 35.0, 27.33),
    ],
)
def test_sensors_attenuate_as_another_table_says(material, energy_keV, coefficient_cm2_per_g):
    depth_um = attenuation_depth_um(material, 12.39842 / energy_keV)
    density = {"Si": 2.33, "CdTe": 5.85}[material]
    assert 1e4 / (depth_um * density) == pytest.approx(coefficient_cm2_per_g, rel=0.02)


def test_attenuation_jumps_at_an_edge_and_ends_with_its_table():
    below, above = (ATTENUATION["CdTe"].depth_um(energy) for energy in (26_711.19, 26_711.2))
    assert below / above == pytest.approx(29.43 / 9.834, rel=1e-5)
    for energy_eV in (999.9, 200_000.0):
        with pytest.raises(ValueError, match=r"from 1 to 200 keV; found"):
            ATTENUATION["Si"].depth_um(energy_eV)


def test_a_material_stands_for_the_attenuation_depth_at_the_beams_wavelength(small_experiment):
    sensor = {"thickness_um": 450, "material": "Si", "layers": 6}
    experiment = small_experiment(detector={"sensor": sensor}, beam={"wavelength_A": 1.2})
    (panel,) = resolve(experiment).instrument.panels
    assert panel.attenuation_per_m == pytest.approx(1e6 / attenuation_depth_um("Si", 1.2), rel=1e-12)
    assert validate(yaml.safe_load(experiment_to_yaml(experiment))) == experiment
    with pytest.raises(ExperimentError, match=r"detector\.sensor: give attenuation_depth_um or material, not both"):
        small_experiment(detector={"sensor": {**sensor, "attenuation_depth_um": 230}})
    with pytest.raises(ExperimentError, match="attenuation_depth_um: is required"):
        small_experiment(detector={"sensor": {"thickness_um": 450, "layers": 6}})
    with pytest.raises(ExperimentError, match=r"^beam: a wavelength of 20 A .*: of Si: attenuation is known from 1 to"):
        resolve(small_experiment(detector={"sensor": sensor}, beam={"wavelength_A": 20.0}))


def test_a_named_sensor_has_layers_of_two_pixels_and_may_be_replaced(on_detector):
    (panel,) = resolve(on_detector(name="Eiger2 1M")).instrument.panels
    assert (panel.layers, panel.layer_thickness_m) == (3, pytest.approx(150e-6))
    thick = {"thickness_um": 320, "attenuation_depth_um": 250, "layers": 2}
    (panel,) = resolve(on_detector(name="Eiger2 1M", sensor=thick)).instrument.panels
    assert (panel.layers, panel.attenuation_per_m) == (2, pytest.approx(4000))
    assert resolve(on_detector(name="Rayonix MX170")).instrument.panels[0].attenuation_per_m == 0


def test_modules_make_gaps_on_any_panel(small_experiment):
    modules = {"spixels": 30, "fpixels": 20, "slow_gap_pixels": 3, "fast_gap_pixels": [0, 5]}
    (panel,) = resolve(small_experiment(panel={"fpixels": 85, "modules": modules})).instrument.panels
    rows, columns = np.ones(96, dtype=bool), np.ones(85, dtype=bool)
    rows[[30, 31, 32, 63, 64, 65]] = columns[40:45] = False
    np.testing.assert_array_equal(panel.usable, rows[:, None] & columns)


def test_modules_fill_their_panel():
    with pytest.raises(ValueError, match="spixels 100 is no whole number of modules of 30 with their gaps: 4 are 129"):
        Panel(spixels=100, fpixels=20, modules=Modules(spixels=30, fpixels=20, slow_gap_pixels=3))
    Panel(
        spixels=2**31 - 1, fpixels=1, modules=Modules(spixels=1, fpixels=1)
    )  # not counted; the detector refuses its size


def test_saturation_is_that_of_a_named_detector_unless_given(on_detector, small_experiment):
    assert on_detector(name="Pilatus 6M").saturation_adu == 2**20 - 1
    assert on_detector(name="Pilatus 6M").with_changes(readout={"integers": "uint16"}).saturation_adu == 2**16 - 3
    assert on_detector(name="Pilatus 6M").with_changes(readout={"saturation_adu": 99}).saturation_adu == 99
    assert on_detector(name="Pilatus4 1M").saturation_adu == small_experiment().saturation_adu == 2**31 - 1
    gain = {"electrons_per_photon": 3.0, "offset_adu": 50.0}
    assert on_detector(name="Jungfrau 4M").with_changes(readout=gain).saturation_adu == 30_050
    assert on_detector(name="Mar 225").with_changes(readout=gain).saturation_adu == 65_535


def test_the_schema_shows_all_names():
    fields = experiment_schema()["$defs"]["Detector"]["properties"]
    assert fields["name"]["examples"] == list(NAMED_DETECTORS)
    assert named_detector("Eiger 1M").maker == "DECTRIS"


@pytest.mark.parametrize(
    "sensor",
    [{"material": "Si"}, {"attenuation_depth_um": 250.0}, {"attenuation_depth_um": None}],
    ids=["material", "depth", "transparent"],
)
def test_the_schema_takes_the_sensors_that_nbdist_writes(small_experiment, sensor):
    experiment = small_experiment(detector={"sensor": {"thickness_um": 320.0, "layers": 2, **sensor}})
    written = yaml.safe_load(experiment_to_yaml(experiment))["detector"]["sensor"]
    schema = experiment_schema()["$defs"]["Sensor"]
    assert "oneOf" not in schema
    assert set(schema["required"]) <= set(written) <= set(schema["properties"])
    assert any(set(branch["required"]) <= set(written) for branch in schema["anyOf"])


def test_an_error_names_a_field_that_its_file_has(on_detector, small_experiment):
    assert on_detector(name="Eiger 1M").detector.panel_field(0) == "detector"
    with pytest.raises(ExperimentError, match=r"^detector\.panels\.0: the detector plane contains the beam"):
        resolve(small_experiment(panel={"rotation_deg": [0, 90, 0]}))
