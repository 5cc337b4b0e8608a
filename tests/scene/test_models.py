"""The models of a scene: the same experiment said in any convention has the same ones, in dxtbx's frame."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import axis_rotation
from nbdist.formats.models import Panel
from nbdist.scene import resolve
from nbdist.scene.models import laboratory_rotation, models_of

# the beam, an axis across it, and the third direction of a right-handed set, in the laboratory of each convention
FRAMES = {
    "xds": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "dials": np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    "mosflm": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "adxv": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "dxtbx": np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]),
}
IN_DXTBX = FRAMES["dxtbx"]
FAST, SLOW, ORIGIN_MM = np.array([0.2, 0.9, -0.1]), np.array([0.1, 0.0, 0.2]), np.array([150.0, -40.0, -30.0])
"""Along beam, axis and the third direction."""


def experiment_in(small_experiment, convention, frame=None, **scan):
    """A panel that stands askew, written in a laboratory whose rows are the beam, the axis and the third direction."""
    lab = FRAMES[convention] if frame is None else frame
    fast = FAST / np.linalg.norm(FAST)
    slow = SLOW - SLOW @ fast * fast
    if frame is None:  # a convention but custom has its own axes: they are given for custom alone
        axes = {"origin_mm": (ORIGIN_MM @ lab).tolist()}
    else:
        axes = {
            "fast_axis": (fast @ lab).tolist(),
            "slow_axis": (slow / np.linalg.norm(slow) @ lab).tolist(),
            "origin_mm": (ORIGIN_MM @ lab).tolist(),
        }
    sections = {"detector": {"convention": convention, "panels": [{"spixels": 9, "fpixels": 7, **axes}]}}
    if frame is not None:
        sections["beam"] = {"direction": lab[0].tolist(), "polarization_vector": lab[2].tolist()}
        scan = {"spindle_axis": lab[1].tolist(), **scan}
    return small_experiment(scan=scan, **sections)


@pytest.mark.parametrize("convention", FRAMES)
def test_the_beam_travels_along_minus_z_and_the_crystals_turn_about_x(small_experiment, convention):
    scene = resolve(experiment_in(small_experiment, convention))
    turn = laboratory_rotation(scene)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(FRAMES[convention] @ turn.T, IN_DXTBX, atol=1e-15)
    models = models_of(scene, range(3))
    np.testing.assert_allclose(models.beam.travels, [0, 0, -1])
    np.testing.assert_allclose(models.axis, [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(models.panels[0].origin_mm, ORIGIN_MM @ IN_DXTBX, atol=1e-12)
    lattice = scene.specimen.lattices[0]
    np.testing.assert_allclose(models.crystals[0].real_vectors_A, lattice.real_vectors_A @ turn.T)


@pytest.mark.parametrize("angle_deg", [0.0, 77.0])
def test_a_laboratory_that_is_turned_changes_no_model_of_the_instrument(small_experiment, angle_deg):
    lab = FRAMES["xds"] @ axis_rotation(np.array([0.48, 0.6, 0.64]), np.deg2rad(angle_deg)).T
    models = models_of(resolve(experiment_in(small_experiment, "custom", lab)), range(3))
    panel, fast = models.panels[0], FAST / np.linalg.norm(FAST)
    np.testing.assert_allclose(panel.origin_mm, ORIGIN_MM @ IN_DXTBX, atol=1e-12)
    np.testing.assert_allclose(panel.fast, fast @ IN_DXTBX, atol=1e-12)
    np.testing.assert_allclose(panel.slow @ panel.fast, 0, atol=1e-12)
    # the E vector is along the third direction: y, or against it, so the normal of its plane with the beam is x, or against it
    np.testing.assert_allclose(np.abs(models.beam.polarization_normal), [1, 0, 0], atol=1e-12)
    assert models.beam.polarization_fraction == pytest.approx(0.95)  # K = 0.9


def test_an_axis_that_is_not_across_the_beam_has_x_along_its_part_that_is(small_experiment):
    models = models_of(resolve(experiment_in(small_experiment, "xds", spindle_axis=[3.0, 0.0, 4.0])), range(3))
    np.testing.assert_allclose(models.axis, [0.6, 0, -0.8], atol=1e-15)
    along = resolve(experiment_in(small_experiment, "xds", spindle_axis=[0.0, 0.0, 1.0]))
    np.testing.assert_allclose(models_of(along, range(3)).axis, [0, 0, -1], atol=1e-15)
    # the E vector of xds is along x
    np.testing.assert_allclose(laboratory_rotation(along)[0], [1, 0, 0], atol=1e-15)


def test_a_scan_that_turns_backwards_turns_forwards_about_the_opposite_axis(small_experiment):
    scene = resolve(experiment_in(small_experiment, "xds", phi_start_deg=20.0, osc_range_deg=-0.5))
    models = models_of(scene, range(1, 3))
    np.testing.assert_allclose(models.axis, [1, 0, 0], atol=1e-15)
    assert models.scan[:4] == (1, 2, -19.5, 0.5)
    # what a rotation makes of a lattice is the same as in the laboratory
    phi = scene.experiment.scan.frame_start_deg(2)
    here = scene.specimen.lattices[0].real_vectors_A @ axis_rotation(scene.spindle_axis, np.deg2rad(phi)).T
    there = models.crystals[0].real_vectors_A @ axis_rotation(models.axis, models.phi_rad(np.array([2.0]))[0]).T
    np.testing.assert_allclose(there, here @ laboratory_rotation(scene).T, atol=1e-12)


def test_a_still_has_its_crystals_as_they_stand(small_experiment):
    scene = resolve(experiment_in(small_experiment, "xds", phi_start_deg=20.0, osc_range_deg=0.0))
    models = models_of(scene, range(1))
    here = scene.specimen.lattices[0].real_vectors_A @ axis_rotation(scene.spindle_axis, np.deg2rad(20.0)).T
    np.testing.assert_allclose(models.crystals[0].real_vectors_A, here @ laboratory_rotation(scene).T, atol=1e-12)
    assert models.phi_rad(np.array([0.5]))[0] == 0


def test_readings_are_trusted_below_where_they_are_held(small_experiment):
    def trusted(**readout):
        return models_of(resolve(small_experiment(readout=readout)), range(3)).trusted

    assert trusted(saturation_adu=1000) == (0, 999)
    assert trusted(saturation_adu=1000, rolls_over=True) == (0, 1000)
    assert trusted() == (0, 2**31 - 1)  # of photons that are not read


def test_a_sensor_is_that_of_the_panel_or_of_the_detector(small_experiment):
    silicon = {"thickness_um": 450.0, "material": "Si", "layers": 3}
    depth = {"thickness_um": 300.0, "attenuation_depth_um": 200.0, "layers": 2}
    panels = [{"spixels": 5, "fpixels": 5, "distance_mm": 100}, {"spixels": 5, "fpixels": 5, "distance_mm": 90}]
    experiment = small_experiment(
        detector={"convention": "xds", "sensor": silicon, "panels": [panels[0], panels[1] | {"sensor": depth}]}
    )
    first, second = models_of(resolve(experiment), range(3)).panels
    assert (first.material, first.thickness_mm) == ("Si", pytest.approx(0.45))
    assert (second.material, second.attenuation_per_mm) == ("", pytest.approx(5))


def test_axes_that_were_written_with_five_digits_are_at_right_angles(small_experiment):
    axes = {"fast_axis": [0.98769, 0.08924, -0.12841], "slow_axis": [-0.07272, 0.98911, 0.12797]}
    panel = {"spixels": 9, "fpixels": 7, "origin_mm": [5.0, -3.0, 90.0], **axes}
    scene = resolve(small_experiment(detector={"convention": "custom", "panels": [panel]}))
    (found,), (given,) = models_of(scene, range(3)).panels, scene.instrument.panels
    assert given.fast @ given.slow > 1e-6, "dxtbx refuses 1e-7"
    assert abs(found.fast @ found.slow) < 1e-15
    turn = laboratory_rotation(scene)
    np.testing.assert_allclose(found.fast, turn @ given.fast, atol=1e-15)
    np.testing.assert_allclose(found.slow, turn @ given.slow, atol=2e-5)


def test_curved_panels_have_no_model(small_experiment):
    with pytest.raises(ExperimentError, match=r"detector\.panels\.0 is curved"):
        models_of(resolve(small_experiment(detector={"curved": True})), range(3))


def panel(thickness_mm, attenuation_per_mm):
    place = np.array([-50.0, 50.0, -100.0]), np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
    return Panel("", *place, (900, 1000), 0.1, thickness_mm, attenuation_per_mm, (), "", np.ones((900, 1000), bool))


def test_parallax_is_what_dxtbx_takes_it_for():
    # dxtbx 3.12: ParallaxCorrectedPxMmStrategy(1.0, 0.3) of this panel has pixel 10, 20 at
    np.testing.assert_allclose(panel(0.3, 1.0).millimetres([[10.0, 20.0]]), [[1.021058825523114, 2.020629053573663]])
    for without in (panel(0.0, 1.0), panel(0.3, 0.0)):
        np.testing.assert_allclose(without.millimetres([[10.0, 20.0]]), [[1, 2]])


def test_a_ray_meets_the_plane_of_a_panel_where_it_goes_there():
    assert panel(0, 0).met_by(np.array([0.0, 0.0, -1.0])) == pytest.approx((500, 500))
    assert panel(0, 0).met_by(np.array([0.0, 0.0, 1.0])) is None
    assert panel(0, 0).met_by(np.array([1.0, 0.0, 0.0])) is None
    assert panel(0, 0).distance_mm == pytest.approx(100)


@pytest.mark.parametrize(
    ("cell", "name", "hall"),
    [
        ([79.1, 79.1, 38.2, 90, 90, 90], "P 43 21 2", " P 4nw 2abw"),
        ([57.3, 57.3, 57.3, 79.0, 79.0, 79.0], "R 3", " P 3*"),
        ([79.1, 80.1, 38.2, 90, 90, 90], None, " P 1"),
    ],
)
def test_a_crystal_has_its_space_group(small_experiment, cell, name, hall):
    crystal = {"cell": cell} | ({} if name is None else {"space_group": name})
    (found,) = models_of(resolve(small_experiment(crystal=crystal)), range(3)).crystals
    assert found.hall == hall
