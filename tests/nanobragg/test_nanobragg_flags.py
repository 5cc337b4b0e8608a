"""nanoBragg's command line becomes an experiment, rule by rule."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.nanobragg.flags import experiment_from_flags
from nbdist.nanobragg.table import TABLE
from nbdist.nanobragg.words import FlagError, read_words
from nbdist.scene import resolve

BARE = "-default_F 100 -cell 100 100 100 90 90 90"


def parse(flags="", base=BARE, folder=None):
    return experiment_from_flags(f"{base} {flags}".split(), folder)


def panel_of(flags):
    return resolve(parse(flags)).instrument.panels[0]


def test_flags_not_given_have_nanobraggs_defaults():
    experiment = parse()
    panel = experiment.detector.panels[0]
    assert experiment.beam.mean_wavelength_A == 1.0
    assert experiment.beam.fluence == 1.259320152862271e29
    assert experiment.beam.polarization_factor == 0.0
    assert (panel.distance_mm, panel.pixel_size_mm, panel.spixels, panel.fpixels) == (100, 0.1, 1024, 1024)
    assert (experiment.scan.phi_steps, experiment.scan.osc_range_deg, experiment.scan.phi_rule) == (1, 0, "left")
    assert experiment.detector.convention == "mosflm"
    assert resolve(experiment).specimen.lattices[0].N_cells == (1, 1, 1)
    assert len(resolve(experiment).specimen.lattices[0].mosaic) == 1


@pytest.mark.parametrize(
    ("flags", "osc", "steps"),
    [
        ("-osc 1", 1, 2),
        ("-osc 1 -phisteps 7", 1, 7),
        ("-osc 1 -phistep 0.3", 1.2, 4),
        ("-osc 1 -phistep 0.25", 1, 4),
        ("-osc 1 -phistep 0.1 -phisteps 5", 0.5, 5),
        ("-phistep 0.3", 0.6, 2),
        ("-phistep 0.3 -phisteps 5", 0.6, 2),
        ("-phisteps 5", 1, 5),
        ("-phisteps 5 -phistep 0", 1, 5),
        ("-osc 1 -phisteps 5 -phistep 0", 0, 5),
        ("-phisteps -1", 0, 1),
        ("-osc 0 -phistep 0", 0, 2),
        ("-osc 1 -phisteps 0", 1, 1),
        ("-osc -1 -phisteps 4", -1, 4),
        ("-osc -1 -phistep 0.5", -1, 2),
    ],
)
def test_phi_range_step_and_count_complete_each_other(flags, osc, steps):
    # nanoBragg.c: phi = start + step number, whatever range the steps add up to
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
        ("-hdivsteps 5 -square_div", 5),
        ("-hdivstep -1 -hdivrange -2", 1),
        ("-hdivrange 8 -hdivsteps 1 -square_div", 2),
        ("-divergence 6 -divsteps 3 -square_div", 9),
        ("-divergence 6 -divsteps 3", 5),
        ("-dispersion 2", 2),
        ("-dispersion 2 -dispsteps 4", 4),
        ("-dispersion 2 -dispsteps 1", 2),
        ("-dispsteps 4", 1),
        ("-dispersion -1", 1),
    ],
)
def test_divergence_and_dispersion_complete_themselves(flags, sources):
    assert len(resolve(parse(flags)).instrument.sources) == sources


def test_a_grid_that_misses_its_end_is_listed_source_by_source():
    # -2, -1, 0, 1 mrad about mosflm's vertical axis b x p = -y
    directions = resolve(parse("-hdivrange 4 -hdivstep 1")).instrument.sources.directions
    tilts = 1e-3 * np.array([-2, -1, 0, 1])
    np.testing.assert_allclose(directions, np.stack([np.cos(tilts), 0 * tilts, np.sin(tilts)], axis=1), atol=1e-15)


@pytest.mark.parametrize(
    ("flags", "domains"),
    [
        ("", 1),
        ("-mosaic_dom 7", 1),
        ("-mosaic 0.5", 10),
        ("-mosaic 0.5 -mosaic_domains 7", 7),
        ("-mosaicity 0.5 -mosaic_dom -1", 10),
        ("-mosaic -1 -mosaic_dom 7", 1),
    ],
)
def test_mosaic_domains_follow_the_spread(flags, domains):
    assert len(resolve(parse(flags)).specimen.lattices[0].mosaic) == domains


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
        ("-distance far", "-distance: expected a number, found far"),
        ("-distance nan", "-distance: expected a number, found nan"),
        ("-phisteps few", "-phisteps: expected a whole number, found few"),
        ("-distance 1e999", "-distance: 1e999 is out of range"),
        ("-N 3000000000", "-N: 3000000000 is out of range"),
        ("-pivot corner", "-pivot: expected beam or sample, found corner"),
        ("-energy 0", "-energy: expected eV above 0"),
        ("-pixel 0", "-pixel: expected mm above 0"),
        ("-detpixels -3", "-detpixels_f"),
        ("-cell 0 -N 1", "-cell: a, b, c (A), alpha, beta, gamma (deg) are expected"),
        ("-roi 2000 3000 0 5", "-roi: 2000 3000 0 5 holds no pixel"),
        ("-osc 1 -phistep 1e-9", "-osc -phistep: the step is too small"),
        ("-divsteps 1", "-hdivsteps -vdivsteps: the ellipse of -round_div leaves no source"),
        ("-hdivsteps 4000 -vdivsteps 4000", "-hdivsteps 4000 -vdivsteps 4000: more than"),
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


def test_an_amplitude_and_a_distance_below_0_count_without_their_sign():
    assert parse("-default_F -7").structure_factors == parse("-default_F 7").structure_factors
    assert parse("-distance -70").detector == parse("-distance 70").detector


def test_values_no_experiment_can_have_are_refused_by_flag():
    with pytest.raises(ExperimentError, match="-lambda: should be greater than 0, found -1"):
        parse("-lambda -1")


def test_an_inclusive_region_becomes_half_open_and_is_cut_to_the_detector():
    region = parse("-roi 20 75 33 90").detector.region_of_interest
    assert (region.fast, region.slow) == ((20, 76), (33, 91))
    region = parse("-detpixels 100 -roi -5 200 99 99").detector.region_of_interest
    assert (region.fast, region.slow) == ((0, 100), (99, 100))


@pytest.mark.parametrize(
    ("flags", "pixels"),
    [
        ("-detsize_f 20 -detsize_s 10.01 -pixel 0.2", (100, 50)),
        ("-pixel 0.2", (512, 512)),
        ("-detsize 30", (300, 300)),
        ("-detsize 30 -detpixels 40", (40, 40)),
        ("-detpixels_x 40 -detsize 30 -pixel 0.2", (40, 150)),
        ("-detpixels 0 -detpixels_f 7", (7, 1024)),
    ],
)
def test_size_pixels_and_pixel_size_complete_each_other(flags, pixels):
    panel = parse(flags).detector.panels[0]
    assert (panel.fpixels, panel.spixels) == pixels


@pytest.mark.parametrize(
    ("convention", "middle"), [("mosflm", 10.086), ("denzo", 10.086), ("xds", 10.0), ("adxv", 10.0)]
)
def test_the_middle_is_that_of_the_size_given_not_of_its_pixels(convention, middle):
    # 116 pixels of 0.172 mm make 19.952 mm; mosflm and denzo add half a pixel, mosflm another one on its way to the spot
    panel = panel_of(f"-{convention} -detsize 20 -pixel 0.172")
    along = 1e3 * np.array([-panel.origin_m @ panel.fast, -panel.origin_m @ panel.slow])
    expected = {"mosflm": (10.172, 10.172), "adxv": (10.086, 10.086)}.get(convention, (middle, middle))
    np.testing.assert_allclose(along, expected, atol=1e-9)


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
    panel, mosflm = resolve(experiment).instrument.panels[0], panel_of("-Xbeam 40 -Ybeam 30")
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


@pytest.mark.parametrize(
    ("flags", "pivot"),
    [
        ("-close_distance 60 -mosflm", "beam"),
        ("-xds", "sample"),
        ("-dials", "beam"),
        ("-mosflm -pivot sample", "sample"),
        ("-twotheta_axis 0 1 0 -distance 90", "beam"),
        ("-distance 90 -twotheta_axis 0 1 0", "sample"),
    ],
)
def test_a_convention_and_an_axis_pivot_at_their_place_where_a_vector_follows(flags, pivot):
    assert panel_of(f"{flags} -fdet_vector 0 0 1").pivot == pivot


def test_a_named_convention_wins_over_vectors_before_it_and_not_over_those_after_it():
    before = parse("-spindle_axis 1 0 0 -beam_vector 0 1 0 -polar_vector 0 1 0 -twotheta_axis 1 0 0 -xds")
    assert before == parse("-xds -twotheta 1")
    after = parse("-xds -spindle_axis 1 0 0")
    assert after.detector.convention == "custom"
    # nanoBragg.c: the vectors of the named convention are never set then
    np.testing.assert_array_equal(panel_of("-xds -spindle_axis 1 0 0").fast, [0, 0, 1])


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


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("-detector_thick 300", (300, 2, 300)),
        ("-detector_thick 300 -thicksteps 3", (300, 3, 300)),
        ("-detector_thick 300 -thicksteps 1 -detector_absorb 350", (300, 2, 350)),
        ("-detector_thick 300 -detector_abs -5", (300, 2, 300)),
        ("-detector_abs inf -detector_thick 300", (300, 2, 1e30)),
    ],
)
def test_thickness_layers_and_depth_of_a_sensor_complete_each_other(flags, expected):
    sensor = parse(flags).detector.sensor
    assert (sensor.thickness_um, sensor.layers, sensor.attenuation_depth_um) == expected


@pytest.mark.parametrize("flags", ["-thicksteps 3", "-detector_thick 0 -thicksteps 3", "-detector_thick -5"])
def test_layers_without_a_thickness_are_none(flags):
    assert parse(flags).detector.sensor is None


def test_files_are_relative_to_the_folder_given(tmp_path):
    experiment = parse("-hkl a.hkl -mat /b/A.mat", base="", folder=tmp_path)
    assert experiment.structure_factors.file == tmp_path / "a.hkl"
    assert str(experiment.crystal.matrix_file) == "/b/A.mat"


def test_a_flux_replaces_the_fluence():
    assert parse("-fluence 5 -flux 1e12 -exposure 0.5 -beamsize 0.05").beam.fluence == pytest.approx(2e20)
    for none in ("", "-flux 0", "-flux 1e12 -exposure 0", "-flux 1e12 -beamsize -1"):
        assert parse(f"-fluence 5 {none}").beam.fluence == 5


def warnings_of(flags):
    return read_words(f"{BARE} {flags}".split(), TABLE).warnings


@pytest.mark.parametrize(
    ("flags", "plain"),
    [
        ("-wavelength 1.5 -mosaicity 0.3 -adcoffset 7", "-lambda 1.5 -mosaic 0.3 -adc 7"),
        ("-height 0.00002 -width 0.00003", "-sample_z 0.00002 -sample_y 0.00003"),
        ("-xtal_thick 0.00002 -sample_heigh 0.00003", "-sample_x 0.00002 -xtal_z 0.00003"),
        ("-oscillation 1 -phisteps 3 -detector_thicksteps_n 2", "-osc 1 -phisteps 3 -thicksteps 2"),
        ("--distance 80 -pixelsize 0.2", "-distance 80 -pixel 0.2"),
        ("-mosaic_spr 0.3 -mosaic_domain 3", "-mosaic 0.3 -mosaic_dom 3"),
        ("-density 1.2 -sample_den 1 -MW 300 -molecular 9", ""),
    ],
)
def test_a_flag_is_known_by_a_part_of_the_word(flags, plain):
    assert parse(flags) == parse(plain)


def test_words_that_no_flag_takes_are_passed_over_with_one_warning_that_names_them():
    flags = "-hdiv 0.28 -detpixles 5 -oversample_thick 0 -misset -1 -2 -3 stray -7 -phi_start 3"
    assert warnings_of(flags) == ["passed over, as in nanoBragg: -hdiv 0.28 -detpixles 5 0 stray -7 -phi_start 3"]
    assert parse(flags) == parse("-oversample_thick -misset -1 -2 -3")


@pytest.mark.parametrize("flag", ["-distance", "-lambda", "-roi 1 2 3", "-fdet_vector 0 0", "-misset 1 2", "-hkl"])
def test_a_flag_without_enough_words_after_it_is_passed_over_with_a_warning(flag):
    assert parse(flag) == parse()
    assert "passed over, as in nanoBragg" in warnings_of(flag)[0]
    assert warnings_of(flag)[0].startswith(flag.split()[0])


def test_a_whole_number_is_what_a_word_begins_with():
    assert parse("-N 8.7").crystal.N_cells == (8, 8, 8)
    assert warnings_of("-N 8.7") == ["-N: 8.7 is read as 8, as nanoBragg does"]
    assert parse("-distance 80mm").detector.panels[0].distance_mm == 80
    assert warnings_of("-cell 40 stray") == ["-cell: stray is read as 0, as nanoBragg does"]
    assert not warnings_of("-N 8 -N 8.0 -distance 80. -lambda +1e0 -osc .5")


def test_blanks_about_a_number_are_no_part_of_it():
    words = [*BARE.split(), "-distance", " 80.0 ", "-N", "\t8", "-cell", " 40", " 50"]
    flags = read_words(words, TABLE)
    assert (flags.get("distance"), flags.get("Na"), flags.get("cell")[:3]) == (80, 8, (40, 50, 100))
    assert not flags.warnings


@pytest.mark.parametrize("degrees", range(5, 85))
def test_a_normal_is_kept_where_nanobraggs_sum_of_squares_is_1(degrees):
    # beside f x s = -o it decides on which side of the crystal the detector is
    turn = math.radians(degrees)
    x, z = math.sin(turn), math.cos(turn)
    axes = f"-beam_vector {x!r} 0 {z!r} -fdet_vector {z!r} 0 {-x!r} -sdet_vector 0 -1 0 -odet_vector {x!r} 0 {z!r}"
    kept = math.sqrt(x * x + 0.0 * 0.0 + z * z) == 1.0
    np.testing.assert_allclose(panel_of(axes).normal, np.array([x, 0, z]) * (1 if kept else -1), atol=1e-12)


def test_a_normal_of_0_is_worked_out_as_any_that_is_no_unit_vector():
    axes = "-beam_vector 0 0 1 -fdet_vector 2 0 0 -sdet_vector 0 3 0.5 -odet_vector 0 0"
    np.testing.assert_array_equal(panel_of(f"{axes} 0").normal, panel_of(f"{axes} 0.5").normal)
    assert panel_of(f"{axes} 0").normal[1] < 0


@pytest.mark.parametrize(
    ("flags", "cell"),
    [
        ("-cell 40", (40, 40, 40, 90, 90, 90)),
        ("-cell 40 -N 5", (40, 40, 40, 90, 90, 90)),
        ("-cell 40 50", (40, 50, 40, 90, 90, 90)),
        ("-cell 40 50 60 -N 3", (40, 50, 60, 90, 90, 90)),
        ("-cell 40 50 60 90 110", (40, 50, 60, 90, 110, 90)),
        ("-cell 40 stray", (40, 40, 40, 90, 90, 90)),
        ("-cell 10 20 30 -cell 40 stray 60", (40, 40, 60, 90, 90, 90)),
        ("-cell 10 20 30 -cell 40 stray", (40, 40, 30, 90, 90, 90)),
    ],
)
def test_a_cell_may_be_cut_short(flags, cell):
    assert parse(f"-default_F 1 {flags}", base="").crystal.cell == cell


def test_misset_seed_is_a_misset_too_where_three_words_follow():
    assert parse("-misset_seed 7 -N 5").crystal.misset_deg == (7, 0, 5)
    assert parse("-misset_seed 7 -N 5 -misset 1 2 3").crystal.misset_deg == (1, 2, 3)
    assert parse("-misset_seed 7").crystal.misset_deg == (0, 0, 0)
    assert "-misset 7 0 5" in warnings_of("-misset_seed 7 -N 5")[0]


def test_a_two_theta_axis_is_an_angle_too():
    assert parse("-twotheta_axis 1 0 0").detector.panels[0].two_theta_deg == 1
    assert parse("-twotheta_axis 1 0 0 -twotheta 5").detector.panels[0].two_theta_deg == 5
    assert parse("-spindle_axis 0 0 1 -twotheta 5").detector.panels[0].two_theta_axis == (0, 1, 0)


def test_a_cell_beside_a_matrix_gives_the_axes_their_lengths(tmp_path):
    (tmp_path / "A.mat").write_text("0.02 0 0\n0 0 -0.01\n0 0.01 0\n")
    vectors = (
        resolve(parse("-mat A.mat -cell 60 70 80", base="-default_F 1", folder=tmp_path))
        .specimen.lattices[0]
        .real_vectors_A
    )
    np.testing.assert_allclose(vectors, [[60, 0, 0], [0, 0, 70], [0, -80, 0]], atol=1e-12)


def test_interpolation_is_chosen_before_a_size_becomes_cells():
    assert parse("-N 8 -xtalsize 0.00001").sampling.interpolate is False
    assert parse("-xtalsize 0.0005").sampling.interpolate is True
    # 5000 A of cells of 50 A, but for rounding
    assert parse("-cell 50 50 50 -misset 10 20 30 -xtalsize 0.0005").crystal.N_cells == (100, 100, 100)


def test_an_unpolarised_beam_may_travel_along_the_polarization_vector():
    np.testing.assert_array_equal(resolve(parse("-polar_vector 1 0 0")).instrument.sources.directions, [[1, 0, 0]])
    with pytest.raises(ExperimentError, match="parallel"):
        resolve(parse("-polar_vector 1 0 0 -polar 0.5"))


@pytest.mark.parametrize("flags", ["-detector_roty 5", "-twotheta 5"])
def test_a_tilted_curved_detector_is_refused(flags):
    with pytest.raises(ExperimentError, match=r"detector.*curved"):
        resolve(parse(f"-curved_det {flags}"))


def test_oversample_without_a_count_is_automatic():
    assert parse().sampling.oversample == "auto"
    assert parse("-oversample 0").sampling.oversample == "auto"
    assert parse("-oversample 4").sampling.oversample == 4
