"""nanoBragg's command line becomes an experiment, rule by rule."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.cli.nanobragg_flags import FlagError, experiment_from_flags
from nbdist.errors import ExperimentError
from nbdist.experiment import resolve

BARE = "-default_F 100 -cell 100 100 100 90 90 90"


def parse(flags="", base=BARE, folder=None):
    return experiment_from_flags(f"{base} {flags}".split(), folder)


def panel_of(flags):
    return resolve(parse(flags)).panels[0]


def test_flags_not_given_have_nanobraggs_defaults():
    experiment = parse()
    panel = experiment.detector.panels[0]
    assert experiment.beam.mean_wavelength_A == 1.0
    assert experiment.beam.fluence == 1.259320152862271e29
    assert experiment.beam.polarization_factor == 0.0
    assert (panel.distance_mm, panel.pixel_size_mm, panel.spixels, panel.fpixels) == (100, 0.1, 1024, 1024)
    assert (experiment.scan.phi_steps, experiment.scan.osc_range_deg, experiment.scan.phi_rule) == (1, 0, "left")
    assert experiment.detector.convention == "mosflm"
    assert resolve(experiment).N_cells == (1, 1, 1)
    assert len(resolve(experiment).mosaic) == 1


@pytest.mark.parametrize(
    ("flags", "osc", "steps"),
    [
        ("-osc 1", 1, 2),
        ("-osc 1 -phisteps 7", 1, 7),
        ("-osc 1 -phistep 0.3", 1, 4),
        ("-osc 1 -phistep 0.25", 1, 4),
        ("-phistep 0.3", 0.3, 2),
        ("-phistep 0.3 -phisteps 5", 1.5, 5),
        ("-phisteps 5", 0, 5),
        ("-osc 0 -phistep 0", 0, 1),
        ("-osc 1 -phisteps 0", 1, 2),
    ],
)
def test_phi_range_step_and_count_complete_each_other(flags, osc, steps):
    scan = parse(flags).scan
    assert scan.osc_range_deg == pytest.approx(osc)
    assert scan.phi_steps == steps


@pytest.mark.parametrize(
    ("flags", "sources"),
    [
        ("-hdivrange 8 -square_div", 2),
        ("-hdivrange 8 -hdivsteps 5 -square_div", 5),
        ("-hdivrange 8 -hdivstep 3 -square_div", 3),
        ("-hdivstep 3 -square_div", 2),
        ("-hdivsteps 5 -square_div", 1),
        ("-divergence 6 -divsteps 3 -square_div", 9),
        ("-divergence 6 -divsteps 3", 5),
        ("-dispersion 2", 2),
        ("-dispersion 2 -dispsteps 4", 4),
        ("-dispsteps 4", 1),
    ],
)
def test_divergence_and_dispersion_complete_themselves(flags, sources):
    assert len(resolve(parse(flags)).sources) == sources


@pytest.mark.parametrize(
    ("flags", "domains"), [("", 1), ("-mosaic_dom 7", 1), ("-mosaic 0.5", 10), ("-mosaic 0.5 -mosaic_domains 7", 7)]
)
def test_mosaic_domains_follow_the_spread(flags, domains):
    assert len(resolve(parse(flags)).mosaic) == domains


def test_later_flags_win():
    experiment = parse("-lambda 2 -energy 12398.42 -N 5 -Nb 7 -wave 1.5 -round_xtal -square_xtal -nopolar -polar 0.3")
    assert experiment.beam.mean_wavelength_A == 1.5
    assert experiment.crystal.N_cells == (5, 7, 5)
    assert experiment.crystal.shape == "square"
    assert experiment.beam.polarization_factor == 0.3
    assert parse("-polar 0.3 -nopolar").beam.polarization_factor is None
    assert parse("-lambda 2 -energy 6199.21").beam.mean_wavelength_A == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("-detpixles 5", "-detpixles: unknown flag"),
        ("-distance", "-distance: needs a value"),
        ("-misset 1 2", "-misset: needs a value"),
        ("-distance far", "-distance: expected a number, found far"),
        ("-distance nan", "-distance: expected a number, found nan"),
        ("-phisteps 2.5", "-phisteps: expected a whole number, found 2.5"),
        ("-pivot corner", "-pivot: expected beam or sample, found corner"),
        ("-energy 0", "-energy: expected eV above 0"),
        ("-pixel 0", "-pixel: expected mm above 0"),
        ("-detpixels 0", "-detpixels_f"),
        ("-roi 2000 3000 0 5", "-roi: 2000 3000 0 5 holds no pixel"),
        ("-sample_x -1", "-sample_x: expected mm, 0 or more, found -1"),
        ("stray", "stray: expected a flag"),
    ],
)
def test_a_wrong_flag_is_named_in_one_line(flags, said):
    with pytest.raises(FlagError) as raised:
        parse(flags)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [("-default_F 100", "-cell or -mat"), ("-cell 1 1 1 90 90 90", "-hkl or -default_F"), ("", "-cell or -mat")],
)
def test_a_crystal_and_amplitudes_are_needed(flags, said):
    with pytest.raises(FlagError, match=said):
        parse(flags, base="")


def test_values_no_experiment_can_have_are_refused_by_flag():
    with pytest.raises(ExperimentError, match="-lambda: should be greater than 0, found -1"):
        parse("-lambda -1")


def test_an_inclusive_region_becomes_half_open_and_is_cut_to_the_detector():
    region = parse("-roi 20 75 33 90").detector.region_of_interest
    assert (region.fast, region.slow) == ((20, 76), (33, 91))
    region = parse("-detpixels 100 -roi -5 200 99 99").detector.region_of_interest
    assert (region.fast, region.slow) == ((0, 100), (99, 100))


def test_sizes_in_mm_become_pixels():
    panel = parse("-detsize_f 20 -detsize_s 10.01 -pixel 0.2").detector.panels[0]
    assert (panel.fpixels, panel.spixels) == (100, 50)


@pytest.mark.parametrize(
    "flag",
    [
        "fdet_vector 0 0 1",
        "beam_vector 1 0 0",
        "spindle_axis 0 0 1",
        "twotheta_axis 0 0 -1",
        "pix0_vector 9 9 9",
        "polar_vector 0 0 1",
    ],
)
def test_a_vector_makes_the_convention_custom_with_mosflms_other_vectors(flag):
    experiment = parse(f"-{flag} -Xbeam 30 -Ybeam 40")
    panel, mosflm = resolve(experiment).panels[0], panel_of("-Xbeam 40 -Ybeam 30")
    assert experiment.detector.convention == "custom"
    np.testing.assert_array_equal([panel.fast, panel.slow, panel.normal], [mosflm.fast, mosflm.slow, mosflm.normal])
    # custom takes Xbeam along fast without mosflm's half pixel and its swap
    np.testing.assert_allclose(panel.origin_m, [0.1, 0.040, -0.030], atol=1e-15)
    np.testing.assert_allclose(mosflm.origin_m, [0.1, 0.04005, -0.03005], atol=1e-15)


@pytest.mark.parametrize(
    ("flags", "pivot"),
    [
        ("-distance 90", "beam"),
        ("-close_distance 90", "sample"),
        ("-Xclose 5", "sample"),
        ("-ORGX 5", "sample"),
        ("-Xbeam 5 -twotheta 3", "sample"),
        ("-twotheta 3 -Xbeam 5", "beam"),
        ("-distance 90 -pivot sample", "sample"),
    ],
)
def test_the_last_flag_that_pivots_decides_where_the_convention_is_custom(flags, pivot):
    assert panel_of(f"-fdet_vector 0 0 1 {flags}").pivot == pivot


def test_a_named_convention_brings_its_own_pivot():
    assert panel_of("-mosflm -pivot sample -twotheta 5").pivot == "beam"
    assert panel_of("-xds -pivot beam -distance 90").pivot == "sample"


@pytest.mark.parametrize("convention", ["xds", "dials"])
def test_xds_and_dials_do_not_move_with_the_beam_centre(convention):
    plain = panel_of(f"-{convention}").origin_m
    np.testing.assert_array_equal(panel_of(f"-{convention} -Xbeam 3 -Ybeam 4 -Xclose 5").origin_m, plain)
    moved = panel_of(f"-{convention} -ORGX 100.5 -ORGY 200.5").origin_m
    np.testing.assert_allclose(moved, [-0.01, -0.02, 0.1], atol=1e-15)


@pytest.mark.parametrize("depth", ["inf", "infinite", "0"])
def test_an_infinite_or_zero_attenuation_depth_takes_the_sensor_away(depth):
    assert parse(f"-detector_thick 300 -thicksteps 3 -detector_abs {depth}").detector.sensor is None


def test_a_sensor_without_a_depth_counts_every_layer():
    sensor = parse("-detector_thick 300 -thicksteps 3").detector.sensor
    assert (sensor.thickness_um, sensor.layers, sensor.attenuation_depth_um) == (300, 3, None)
    sensor = parse("-detector_thick 300 -detector_abs 350").detector.sensor
    assert (sensor.layers, sensor.attenuation_depth_um) == (2, 350)


def test_files_are_relative_to_the_folder_given(tmp_path):
    experiment = parse("-hkl a.hkl -mat /b/A.mat", base="", folder=tmp_path)
    assert experiment.structure_factors.file == tmp_path / "a.hkl"
    assert str(experiment.crystal.matrix_file) == "/b/A.mat"


def test_a_flux_replaces_the_fluence():
    assert parse("-fluence 5 -flux 1e12 -exposure 0.5 -beamsize 0.05").beam.fluence == pytest.approx(2e20)
    assert parse("-fluence 5").beam.fluence == 5


def test_oversample_without_a_count_is_automatic():
    assert parse().sampling.oversample == "auto"
    assert parse("-oversample 0").sampling.oversample == "auto"
    assert parse("-oversample 4").sampling.oversample == 4
