"""Absorption follows its closed forms, and shadows are what rays from the sample make of shapes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.scene import Tile, resolve
from nbdist.scene.obstacles import Cylinder, Sphere

X, Y, Z = np.eye(3)
WIDE = {"spixels": 400, "fpixels": 420, "pixel_size_mm": 0.25, "distance_mm": 100.0}


@pytest.mark.parametrize(("mu_R", "rel"), [(0.1, 1e-6), (1.0, 1e-5), (3.0, 2e-4), (5.0, 1.3e-3)])
def test_a_sphere_absorbs_forward_and_backward_as_its_closed_forms(mu_R, rel):
    sphere, x = Sphere.of(mu_R, Z), 2 * mu_R
    # chords c of density c/2 dc: straight on c exp(-mu c), straight back the mean of exp(-2 mu s) from 0 to c
    forward = 3 / x**3 * (2 - np.exp(-x) * (x * x + 2 * x + 2))
    back = 3 / (2 * x**3) * (x * x / 2 - (1 - np.exp(-2 * x) * (1 + 2 * x)) / 4)
    assert sphere.left(Z) == pytest.approx(forward, rel=rel)
    assert sphere.left(-Z) == pytest.approx(back, rel=rel)
    assert sphere.left(X) == pytest.approx(sphere.left(Y))


@pytest.mark.parametrize(("mu_R", "rel"), [(0.1, 1e-6), (1.0, 1e-5), (3.0, 4e-4), (5.0, 3.2e-3)])
def test_a_cylinder_absorbs_forward_and_backward_as_its_chords(mu_R, rel):
    cylinder, around = Cylinder.of(mu_R, Z, X), (np.arange(2000) + 0.5) * (np.pi / 2000)
    weight = np.sin(around) ** 2 * (2 / np.pi) * (np.pi / 2000)  # of a chord c = 2 sin, of the volume
    path = 2 * np.sin(around) * mu_R
    assert cylinder.left(Z) == pytest.approx((weight * np.exp(-path)).sum(), rel=rel)
    assert cylinder.left(-Z) == pytest.approx((weight * (1 - np.exp(-2 * path)) / (2 * path)).sum(), rel=rel)


def test_a_crystal_that_lets_nothing_through_is_refused(small_experiment):
    small_experiment(absorption={"crystal": {"size_um": 100, "attenuation_length_um": 10}})
    with pytest.raises(
        ExperimentError, match=r"^absorption\.crystal\.size_um: a radius of 5\.05 attenuation lengths, and 5 is"
    ):
        small_experiment(absorption={"crystal": {"size_um": 101, "attenuation_length_um": 10}})


def test_the_international_tables_have_the_same_sphere_and_cylinder():
    # volume C, tables 6.3.3.2 and 6.3.3.3: A* at mu R = 1, theta = 0
    assert 1 / Sphere.of(1.0, Z).left(Z) == pytest.approx(4.12, abs=0.005)
    assert 1 / Cylinder.of(1.0, Z, X).left(Z) == pytest.approx(5.09, abs=0.005)


def test_a_ray_aslant_has_a_longer_path_through_a_cylinder():
    cylinder, slant = Cylinder.of(0.5, Z, X), np.array([np.cos(np.pi / 3), 0.0, np.sin(np.pi / 3)])
    straight = cylinder.left(Z)
    assert cylinder.left(slant) < straight
    # forward every path in and out makes up a chord; the part outwards is 1/sin(60) as long
    longer = Cylinder.of(0.5 / np.sin(np.pi / 3), Z, X).left(Z)
    assert longer < cylinder.left(slant)
    assert cylinder.left(X) == 0
    np.testing.assert_allclose(cylinder.left(Y), cylinder.left(-Y), rtol=1e-12)


def test_nothing_is_absorbed_by_a_thin_crystal(small_experiment):
    for shape in ("sphere", "cylinder"):
        crystal = {"shape": shape, "size_um": 1e-3, "attenuation_length_um": 1e3}
        instrument = resolve(small_experiment(absorption={"crystal": crystal})).instrument
        np.testing.assert_allclose(instrument.transmissions[0], 1.0, atol=1e-5)


def test_a_capillary_is_crossed_twice_and_aslant_along_its_axis(small_experiment):
    capillary = {
        "inner_radius_um": 50.0,
        "wall_um": 10.0,
        "attenuation_length_um": 100.0,
        "contents_attenuation_length_um": 1000.0,
    }
    obstacles = resolve(small_experiment(absorption={"capillary": capillary})).instrument.obstacles
    slanted = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)  # the spindle is along x
    np.testing.assert_allclose(
        obstacles.absorption(np.stack([Z, Y, slanted])), np.exp([-0.3, -0.3, -0.15 * (1 + np.sqrt(2))]), rtol=1e-12
    )


def shadowed(small_experiment, panel=None, **shadows):
    experiment = small_experiment(panel={**WIDE, **(panel or {})}, shadows=shadows)
    instrument = resolve(experiment).instrument
    return instrument, 1 - instrument.shadow(Tile(0, 0, 400, 0, 420))


@pytest.mark.parametrize("edge_mm", [0.0, 0.4])
@pytest.mark.parametrize(("size_mm", "area_mm2"), [(6.0, 9 * np.pi), ((6.0, 3.0), 18.0)], ids=["disc", "rectangle"])
def test_a_beam_stop_covers_its_area_projected_from_the_sample(small_experiment, size_mm, area_mm2, edge_mm):
    stop = {"size_mm": size_mm, "distance_mm": 25.0, "edge_mm": edge_mm, "center_mm": [0.7, -0.4]}
    _, dark = shadowed(small_experiment, beam_stop=stop)
    # four times as far from the sample: 16 times the area; a penumbra of a width w adds its corners' w^2/12 at most
    assert dark.sum() * 0.25**2 == pytest.approx(16 * area_mm2, rel=3e-3)
    slow, fast = (np.average(np.arange(n) + 0.5, weights=dark.sum(axis=axis)) for axis, n in ((1, 400), (0, 420)))
    # along the spindle, x, and along beam x spindle, y; the beam is in the middle
    assert (slow, fast) == pytest.approx((200 - 4 * 0.4 / 0.25, 210 + 4 * 0.7 / 0.25), abs=0.05)


def test_a_soft_edge_goes_linearly_from_dark_to_bright(small_experiment):
    stop = {"size_mm": (6.0, 400.0), "distance_mm": 25.0, "edge_mm": 2.0, "transmission": 0.1}
    _, dark = shadowed(small_experiment, beam_stop=stop)
    x = ((np.arange(420) + 0.5) * 0.25 - 52.5) / 4  # in the plane of the stop
    expected = 0.1 + 0.9 * np.clip(0.5 + (np.abs(x) - 3) / 2, 0, 1)
    np.testing.assert_allclose(1 - dark[200], expected, atol=1e-9)


def test_a_holder_goes_outwards_from_the_stop(small_experiment):
    holder = {"width_mm": 1.0, "direction_deg": 90.0, "transmission": 0.25}
    stop = {"size_mm": 4.0, "distance_mm": 50.0, "holder": holder}
    _, dark = shadowed(small_experiment, beam_stop=stop)
    assert (dark[:183] == 0).all()  # 200 - 2 x 2 mm, and half a pixel of an edge
    np.testing.assert_allclose(dark[399, 207:213], 0.75)  # 2 mm wide there
    np.testing.assert_allclose(dark[399, [200, 220]], 0)
    np.testing.assert_allclose(dark[205, 210], 1.0)


def test_a_pin_begins_at_its_tip_and_opens_like_a_wedge(small_experiment):
    pin = {"distance_mm": 50.0, "start_mm": 5.0, "width_mm": 2.0, "wedge_deg": 60.0}
    _, dark = shadowed(small_experiment, pin=pin)
    assert (dark[:, :248] == 0).all()  # the tip is at 10 mm, 40 pixels beside the beam
    width_mm = dark.sum(axis=0) * 0.25
    out_mm = (np.arange(420) + 0.5) * 0.25 - 52.5 - 10
    np.testing.assert_allclose(width_mm[255:400], 4 + 2 * out_mm[255:400] * np.tan(np.pi / 6), rtol=0.01)
    other = shadowed(small_experiment, pin={**pin, "direction_deg": 180.0})[1]
    np.testing.assert_allclose(other[:, ::-1], dark, atol=1e-6)


def test_a_tilted_panel_sees_the_same_shadow_in_the_same_directions(small_experiment):
    stop = {"size_mm": 8.0, "distance_mm": 25.0, "edge_mm": 1.0}
    instrument, dark = shadowed(small_experiment, {"rotation_deg": [20.0, -10.0, 5.0]}, beam_stop=stop)
    towards, _ = instrument.panels[0].pixel_directions(Tile(0, 0, 400, 0, 420))
    radius_mm = 25 * np.tan(np.arccos(towards[..., 2]))
    np.testing.assert_allclose(dark, np.clip(0.5 - (radius_mm - 4) / 1.0, 0, 1), atol=1e-6)


def test_no_shadow_falls_behind_the_sample(small_experiment):
    _, dark = shadowed(small_experiment, {"two_theta_deg": 180.0}, beam_stop={"size_mm": 8.0, "distance_mm": 25.0})
    assert not dark.any()


def test_what_lies_behind_the_detector_throws_no_shadow(small_experiment):
    stop = {"size_mm": 80.0, "holder": {"width_mm": 40.0}}
    pin = {"start_mm": 1.0, "width_mm": 20.0}
    for distance_mm, some in ((99.0, True), (101.0, False)):
        for name, its in (("beam_stop", stop), ("pin", pin)):
            _, dark = shadowed(small_experiment, **{name: {**its, "distance_mm": distance_mm}})
            assert dark.any() == some
    # of a tilted panel, what is in front of it alone
    instrument, dark = shadowed(
        small_experiment, {"rotation_deg": [20.0, 0.0, 0.0]}, beam_stop={"size_mm": 400.0, "distance_mm": 100.0}
    )
    towards, distance = instrument.panels[0].pixel_directions(Tile(0, 0, 400, 0, 420))
    behind = distance * towards[..., 2] > 0.1
    assert 0.1 < behind.mean() < 0.9
    np.testing.assert_array_equal(dark, behind)


@pytest.mark.parametrize(
    "sections",
    [
        {"shadows": {"pin": {"distance_mm": 5, "start_mm": 1, "width_mm": 1}}},
        {"absorption": {"crystal": {"shape": "cylinder", "size_um": 9, "attenuation_length_um": 9}}},
    ],
)
def test_what_the_spindle_places_needs_one_across_the_beam(small_experiment, sections):
    (section, fields), *_ = sections.items()
    with pytest.raises(ExperimentError, match=rf"^{section}\.{next(iter(fields))}: is placed by the spindle axis"):
        resolve(small_experiment(scan={"spindle_axis": [0, 0, 1]}, **sections))


def test_an_instrument_travels_without_what_it_keeps(small_experiment):
    crystal = {"size_um": 100, "attenuation_length_um": 300}
    instrument = resolve(small_experiment(absorption={"crystal": crystal})).instrument
    before = len(pickle.dumps(instrument))
    kept = instrument.transmissions[0]
    assert instrument.transmissions[0] is kept
    again = pickle.dumps(instrument)
    assert len(again) == before
    np.testing.assert_array_equal(pickle.loads(again).transmissions[0], kept)


def test_what_stands_at_its_default_changes_no_fingerprint(small_experiment):
    plain = small_experiment()
    assert small_experiment(absorption={}, shadows={"beam_stop": None}).fingerprint == plain.fingerprint
    assert resolve(plain).instrument.transmissions == (None,)
