"""Panels in the lab: conventions, pivots and rotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.errors import ExperimentError
from nbdist.scene import resolve
from nbdist.scene.panels import CONVENTIONS, default_beam_center_mm

angle = st.floats(-22, 22)  # four of them in a row turn no panel away from the beam
angles = st.tuples(angle, angle, angle)
size = st.integers(10, 3000)
NAMED = ["mosflm", "denzo", "adxv", "xds", "dials", "dxtbx"]


@pytest.fixture(scope="module")
def place(small_experiment):
    """`place(convention, pivot, **panel)`: the geometry of a detector of one panel."""

    def make(convention, pivot=None, **panel):
        experiment = small_experiment(detector={"convention": convention, "pivot": pivot, "panels": [panel]})
        return resolve(experiment).instrument.panels[0]

    return make


def beam_of(convention):
    return np.array(CONVENTIONS[convention].beam)


def spot_pixels(geometry, beam):
    """Where the direct beam meets the panel, pixels (fast, slow) from the first corner."""
    along = geometry.origin_m @ geometry.normal / (beam @ geometry.normal)
    offset = along * beam - geometry.origin_m
    return offset @ geometry.fast / geometry.pixel_m, offset @ geometry.slow / geometry.pixel_m


@given(convention=st.sampled_from(NAMED), pivot=st.sampled_from(["beam", "sample"]), rotation=angles, swing=angle)
def test_panel_axes_are_orthonormal_under_any_rotation(place, convention, pivot, rotation, swing):
    g = place(convention, pivot, rotation_deg=rotation, two_theta_deg=swing)
    axes = np.array([g.fast, g.slow, g.normal])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-14)


@given(
    convention=st.sampled_from(NAMED),
    rotation=angles,
    swing=angle,
    center=st.tuples(st.floats(-50, 300), st.floats(-50, 300)),
    pixels=st.tuples(size, size),
)
def test_the_direct_beam_stays_at_the_beam_centre_when_it_is_the_pivot(
    place, convention, rotation, swing, center, pixels
):
    panel = {
        "spixels": pixels[0],
        "fpixels": pixels[1],
        "pixel_size_mm": 0.2,
        "beam_center_mm": center,
        "distance_mm": 150,
    }
    turned = place(convention, "beam", rotation_deg=rotation, two_theta_deg=swing, **panel)
    x, y = center
    expected_mm = {
        "mosflm": (y + 0.1, x + 0.1),
        "denzo": (y, x),
        "adxv": (x, pixels[0] * 0.2 - y),
        "xds": (x, y),
        "dials": (x, y),
        "dxtbx": (x, y),
    }[convention]
    np.testing.assert_allclose(spot_pixels(turned, beam_of(convention)), np.array(expected_mm) / 0.2, atol=1e-8)


@given(convention=st.sampled_from(NAMED), rotation=angles, swing=angle, close=st.floats(10, 1000))
def test_the_near_point_stays_when_the_sample_is_the_pivot(place, convention, rotation, swing, close):
    panel = {"near_point_pixels": (31.5, 47.25), "close_distance_mm": close, "pixel_size_mm": 0.1}
    g = place(convention, "sample", rotation_deg=rotation, two_theta_deg=swing, **panel)
    near = -g.origin_m
    assert near @ g.fast / g.pixel_m == pytest.approx(31.0, abs=1e-9 * close / 0.1)
    assert near @ g.slow / g.pixel_m == pytest.approx(46.75, abs=1e-9 * close / 0.1)
    assert g.close_distance_m == pytest.approx(1e-3 * close, rel=1e-13)


@given(convention=st.sampled_from(NAMED), pivot=st.sampled_from(["beam", "sample"]), rotation=angles, swing=angle)
def test_close_distance_is_the_distance_of_the_plane(place, convention, pivot, rotation, swing):
    g = place(convention, pivot, rotation_deg=rotation, two_theta_deg=swing, distance_mm=120)
    corners = [
        g.origin_m + g.pixel_m * (s * g.slow + f * g.fast) for s, f in [(0, 0), (1024, 0), (0, 1024), (1024, 1024)]
    ]
    np.testing.assert_allclose(corners @ g.normal, g.close_distance_m, atol=1e-13)


@given(rotation=angles)
def test_distance_is_measured_along_the_beam(place, rotation):
    g = place("mosflm", "beam", rotation_deg=rotation, distance_mm=120)
    beam = beam_of("mosflm")
    assert g.origin_m @ g.normal / (beam @ g.normal) == pytest.approx(0.12, rel=1e-12)


@given(spixels=size, fpixels=size, pixel=st.floats(0.01, 2))
def test_default_centres_are_the_middle_in_every_convention(place, spixels, fpixels, pixel):
    for convention in (*NAMED, "custom"):
        g = place(convention, spixels=spixels, fpixels=fpixels, pixel_size_mm=pixel)
        fast, slow = spot_pixels(g, beam_of(convention))
        # mosflm's and denzo's Xbeam is (size + pixel)/2: mosflm adds half a pixel, so its middle is one pixel on;
        # denzo's is half a pixel on, adxv's half a pixel on in both
        shift = {"mosflm": (1.0, 1.0), "denzo": (0.5, 0.5), "adxv": (0.5, 0.5)}.get(convention, (0.0, 0.0))
        np.testing.assert_allclose((fast, slow), (fpixels / 2 + shift[0], spixels / 2 + shift[1]), atol=1e-7)


def test_the_frame_of_dxtbx_is_that_of_xds_after_half_a_turn_about_x(place):
    turn = np.diag([1.0, -1.0, -1.0])
    theirs, ours = CONVENTIONS["xds"], CONVENTIONS["dxtbx"]
    for name in ("beam", "fast", "slow", "normal", "two_theta", "polarization", "spindle"):
        np.testing.assert_array_equal(turn @ getattr(theirs, name), getattr(ours, name), err_msg=name)
    # which is along -z, as dxtbx has the beam of a detector that nobody described
    np.testing.assert_array_equal(ours.beam, [0, 0, -1])
    panel = {"two_theta_deg": 20.0, "close_distance_mm": 90.0, "near_point_pixels": (31.5, 47.25)}
    before, after = place("xds", **panel), place("dxtbx", **panel)
    for name in ("origin_m", "fast", "slow", "normal"):
        np.testing.assert_allclose(turn @ getattr(before, name), getattr(after, name), atol=1e-15, err_msg=name)


def test_the_page_of_conventions_has_their_axes():
    text = (Path(__file__).parents[2] / "docs/conventions.md").read_text()
    vectors = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
    vectors |= {f"-{name}": tuple(-part for part in vector) for name, vector in vectors.items()}
    [table] = (part for part in text.split("\n\n") if part.startswith("| name |"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [row[0].strip("`") for row in rows] == list(CONVENTIONS)
    for name, *axes, _, pivot in rows:
        its = CONVENTIONS[name.strip("`")]
        said = [vectors[axis] for axis in axes]
        assert said == [its.beam, its.fast, its.slow, its.spindle, its.polarization, its.two_theta], name
        assert pivot == its.pivot


def test_default_centres_in_mm_are_nanobraggs(small_experiment):
    panel = small_experiment(panel={"spixels": 100, "fpixels": 60, "pixel_size_mm": 0.5}).detector.panels[0]
    assert default_beam_center_mm("mosflm", panel) == (25.25, 15.25)
    assert default_beam_center_mm("denzo", panel) == (25.25, 15.25)
    assert default_beam_center_mm("adxv", panel) == (15.25, 24.75)
    assert default_beam_center_mm("xds", panel) == (15.0, 25.0)


def test_an_origin_overrides_centres_and_distances(place):
    g = place("xds", origin_mm=(-5, -7, 90), beam_center_mm=(1, 1), distance_mm=300, spixels=50, fpixels=50)
    np.testing.assert_allclose(g.origin_m, [-5e-3, -7e-3, 90e-3], rtol=1e-15)
    assert g.close_distance_m == pytest.approx(0.09, rel=1e-15)


def test_the_normal_of_custom_axes_is_worked_out_where_it_is_not_given(place):
    g = place("custom", fast_axis=(0, 0.6, -0.8), slow_axis=(0.6, 0.64, 0.48), distance_mm=50)
    np.testing.assert_allclose(g.normal, np.cross(g.fast, g.slow), atol=1e-15)


def test_custom_vectors_are_normalised(place):
    g = place("custom", fast_axis=(0, 0, 3), slow_axis=(0, -2, 0), normal_axis=(7, 0, 0), distance_mm=50)
    np.testing.assert_array_equal([g.fast, g.slow, g.normal], [[0, 0, 1], [0, -1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("panel", "reason"),
    [
        ({"fast_axis": (0, 1, 0), "slow_axis": (0, -1, 0)}, "parallel"),
        ({"fast_axis": (1, 0, 0), "slow_axis": (0, 1, 0), "normal_axis": (0, 0, 1)}, "contains the beam"),
    ],
)
def test_a_panel_that_cannot_be_is_refused_by_name(place, panel, reason):
    with pytest.raises(ExperimentError, match=rf"^detector\.panels\.0: .*{reason}"):
        place("custom", **panel)


@given(swing=st.floats(1, 179), close=st.floats(20, 500), turn=angle)
def test_a_panel_with_an_origin_may_stand_at_any_two_theta(place, swing, close, turn):
    """The panel of a beam along z swung about y by its origin and axes alone: beside the beam at 90 degrees, behind the sample beyond."""
    swing, turn = np.deg2rad(swing), np.deg2rad(turn)
    normal, fast, slow = (
        np.array([np.sin(swing), 0, np.cos(swing)]),
        np.array([np.cos(swing) * np.cos(turn), np.sin(turn), -np.sin(swing) * np.cos(turn)]),
        np.array([-np.cos(swing) * np.sin(turn), np.cos(turn), np.sin(swing) * np.sin(turn)]),
    )
    origin = close * normal - 5 * fast - 7 * slow
    g = place("custom", origin_mm=tuple(origin), fast_axis=tuple(fast), slow_axis=tuple(slow))
    np.testing.assert_allclose(g.normal, normal, atol=1e-12)
    assert g.close_distance_m == pytest.approx(1e-3 * close, rel=1e-12)
    assert np.isfinite(g.distance_m)


def test_beside_the_beam_the_close_distance_stands_for_that_along_the_beam(place):
    g = place("custom", origin_mm=(10, -16, 150), fast_axis=(1, 0, 0), slow_axis=(0, 1, 0))
    np.testing.assert_allclose([g.close_distance_m, g.distance_m], 0.150, rtol=1e-14)
    np.testing.assert_allclose(g.normal, [0, 0, 1], atol=1e-14)


@pytest.mark.parametrize("two_theta", [90.0, 120.0, -90.0])
def test_about_the_sample_a_panel_swings_to_90_degrees_and_beyond(place, two_theta):
    g = place("dials", "sample", two_theta_deg=two_theta, close_distance_mm=150)
    swing = np.deg2rad(two_theta)
    np.testing.assert_allclose(g.normal, [np.sin(swing), 0, np.cos(swing)], atol=1e-15)
    np.testing.assert_allclose([g.close_distance_m, g.distance_m], 0.150, rtol=1e-14)


def test_about_the_sample_a_panel_turned_beside_the_beam_needs_its_close_distance(place):
    g = place("dials", "sample", rotation_deg=(0, 90, 0), close_distance_mm=80)
    np.testing.assert_allclose(g.normal, [1, 0, 0], atol=1e-15)
    assert g.close_distance_m == pytest.approx(0.080, rel=1e-14)
    for wrong in ({"distance_mm": 80}, {"close_distance_mm": 80, "beam_center_mm": (1, 1)}):
        pivot = "sample" if "distance_mm" in wrong else "beam"
        with pytest.raises(ExperimentError, match="contains the beam; give close_distance_mm"):
            place("dials", pivot, rotation_deg=(0, 90, 0), **wrong)


def test_a_plane_through_the_sample_is_refused(place):
    with pytest.raises(ExperimentError, match="contains the sample"):
        place("dials", "beam", two_theta_deg=90.0, distance_mm=80)


def test_an_origin_behind_the_sample_turns_the_normal_that_nobody_gave(place):
    g = place("xds", origin_mm=(-5, -5, -90))
    np.testing.assert_array_equal(g.normal, [0, 0, -1])
    assert (g.close_distance_m, g.distance_m) == pytest.approx((0.09, -0.09))


def test_panels_have_sizes_of_their_own(small_experiment):
    panels = [{"spixels": rows, "fpixels": 20 + rows, "origin_mm": [-5, rows, 100]} for rows in (10, 20, 30)]
    instrument = resolve(small_experiment(detector={"convention": "xds", "panels": panels})).instrument
    assert instrument.shapes == ((10, 30), (20, 40), (30, 50))
    assert instrument.pixels == 300 + 800 + 1500


@pytest.mark.parametrize(
    "panel", [{}, {"rotation_deg": [3, -7, 11]}, {"two_theta_deg": 40.0}, {"origin_mm": [30, -40, 70]}]
)
def test_rays_meet_a_panel_where_their_positions_lie(small_experiment, panel):
    [geometry] = resolve(small_experiment(panel=panel)).instrument.panels
    slow, fast = np.meshgrid(np.linspace(-20, 120, 8), np.linspace(-20, 120, 9), indexing="ij")
    found = geometry.coordinates(0.5 * geometry.positions_m(slow, fast))
    np.testing.assert_allclose(found, np.stack([slow, fast], axis=-1), rtol=0, atol=1e-9)
    assert np.isnan(geometry.coordinates(-geometry.normal)).all(), "a ray away from the panel"


def test_pixels_that_are_not_square_to_each_other_are_found_again(small_experiment):
    axes = {"fast_axis": [1, 0, 0], "slow_axis": [0.6, 0.8, 0], "normal_axis": [0, 0, 1]}
    detector = {"convention": "custom", "panels": [{"spixels": 30, "fpixels": 20, "distance_mm": 50, **axes}]}
    [geometry] = resolve(
        small_experiment(detector=detector, beam={"direction": [0, 0, 1], "polarization_vector": [1, 0, 0]})
    ).instrument.panels
    np.testing.assert_allclose(
        geometry.coordinates(geometry.positions_m([3.5], [7.25])), [[3.5, 7.25]], rtol=0, atol=1e-11
    )


def test_resolution_and_solid_angle_of_a_pixel_are_those_of_the_textbook(small_experiment):
    # lambda = 2 d sin(theta), and a pixel seen under 2 theta at distance D has the solid angle p^2 cos^3(2 theta) / D^2
    [geometry] = resolve(small_experiment(panel={"distance_mm": 100, "pixel_size_mm": 0.8})).instrument.panels
    slow, fast = geometry.coordinates(geometry.beam) + np.array([30.0, -40.0])
    two_theta = np.arctan(50 * 0.8 / 100)
    assert geometry.resolution_A(slow, fast, 1.2) == pytest.approx(1.2 / (2 * np.sin(two_theta / 2)), rel=1e-12)
    assert geometry.solid_angle_sr(geometry.directions(slow, fast)[1]) == pytest.approx(
        0.8**2 / 100**2 * np.cos(two_theta) ** 3, rel=1e-12
    )


def test_rectangles_of_a_panel_are_dead(small_experiment, place):
    usable = place("xds", spixels=6, fpixels=5, dead_rectangles_pixels=[(1, 3, 0, 6), (4, 5, 2, 3)]).usable
    assert [[*np.flatnonzero(row)] for row in usable] == [[0, 3, 4]] * 2 + [[0, 3]] + [[0, 3, 4]] * 3
    for wrong in ((3, 3, 0, 6), (0, 6, 0, 6), (0, 5, 5, 7)):
        with pytest.raises(ExperimentError, match=r"^detector\.panels\.0: dead_rectangles_pixels: \[.*6 x 5 pixels"):
            place("xds", spixels=6, fpixels=5, dead_rectangles_pixels=[wrong])
