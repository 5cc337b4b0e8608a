"""The reflections of a series are where and when an independent solution of the Laue equations has them, with the photons of its frames."""

from __future__ import annotations

import numpy as np
import pytest

import nbdist
from nbdist.errors import RunError
from nbdist.experiment.lattice import axis_rotation
from nbdist.frames.renderer import Renderer
from nbdist.frames.tables import REFLECTION_COLUMNS
from nbdist.kernels.prediction import Prediction, frame_reflections, rocking_curve, series_reflections
from nbdist.kernels.reflections import spread_of
from nbdist.kernels.spots import Diffraction, Underneath
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.tile import Tile

FRAMES = 10
CRYSTAL = {
    "cell": [40.0, 45.0, 50.0, 80.0, 95.0, 100.0],
    "misset_deg": [14, -31, 52],
    "N_cells": [24, 20, 18],
    "shape": "gauss",
    "mosaicity": {"sigma_deg": 0.05},
}


@pytest.fixture(scope="module")
def scene(small_experiment):
    sensor = {"thickness_um": 450, "attenuation_depth_um": 350, "layers": 1}
    panel = {"spixels": 400, "fpixels": 360, "pixel_size_mm": 0.3, "distance_mm": 100}
    return resolve(
        small_experiment(
            crystal=CRYSTAL,
            detector={"convention": "xds", "panels": [panel], "sensor": sensor},
            scan={"frames": FRAMES, "phi_start_deg": 355.0, "osc_range_deg": 0.8, "phi_steps": 1},
            sampling={"method": "integrated", "oversample": "auto", "precision": "float64", "tolerance": 1e-6},
        )
    )


@pytest.fixture(scope="module")
def reflections(scene):
    return series_reflections(scene, load_reflections(scene))


def test_every_column_has_a_value_for_each_reflection(reflections):
    assert set(reflections) == {column.name for column in REFLECTION_COLUMNS}
    assert {len(values) for values in reflections.values()} == {len(reflections["reflection"])}
    assert (np.diff(reflections["reflection"]) > 0).all()


def test_a_reflection_is_where_laues_equations_have_it(scene, reflections):
    lattice, beam = scene.specimen.lattices[0], scene.instrument.beam_direction
    wavelength_A, panel = scene.experiment.beam.mean_wavelength_A, scene.instrument.panels[0]
    met = np.flatnonzero(reflections["panel"] >= 0)
    assert len(met) > 200
    hkl = np.stack([reflections[name][met] for name in "hkl"], axis=1)
    places = panel.positions_m(reflections["slow"][met], reflections["fast"][met])
    towards = places / np.linalg.norm(places, axis=1)[:, None]
    turns = np.stack([axis_rotation(scene.spindle_axis, phi).T for phi in np.deg2rad(reflections["phi_deg"][met])])
    found = np.einsum("nij,nj->ni", lattice.real_vectors_A @ turns, towards - beam) / wavelength_A
    crosses = np.abs(found - hkl).max(axis=1) < 1e-9
    assert crosses.mean() > 0.99, "the others come near the sphere and do not cross it"
    assert (reflections["lorentz"][met][~crosses] > 5).all()
    two_theta = np.arccos(towards @ beam)
    np.testing.assert_allclose(np.deg2rad(reflections["two_theta_deg"][met]), two_theta)
    np.testing.assert_allclose((2 * reflections["d_A"][met] * np.sin(two_theta / 2))[crosses], wavelength_A)
    np.testing.assert_allclose(reflections["frame"], (reflections["phi_deg"] - 355) / 0.8)


def test_its_photons_and_frames_are_those_of_the_images(scene, reflections):
    """The integrated method's, whose factors of a pixel are those of its first subpixel."""
    amplitudes = load_reflections(scene)
    renderer, count = Renderer(scene, amplitudes), len(reflections["reflection"])
    photons, first, last = np.zeros(count), np.full(count, FRAMES), np.full(count, -1)
    for frame in range(FRAMES):
        under = Underneath(renderer.photons_per_electron2 / scene.steps, None)
        whole = Tile(0, 0, *scene.instrument.panels[0].shape[:1], 0, scene.instrument.panels[0].fpixels)
        _, measures = renderer.backend.integrated(whole, renderer.diffraction, frame, under)
        place = np.searchsorted(reflections["reflection"], renderer.diffraction.spots(frame).reflection)
        photons[place] += measures.moments[:, 0]
        seen = place[measures.moments[:, 0] > 0]
        first[seen], last[seen] = np.minimum(first[seen], frame), frame
    slow, fast = reflections["slow"], reflections["fast"]
    with np.errstate(invalid="ignore"):
        inside = (slow > 5) & (slow < 395) & (fast > 5) & (fast < 355)
    some = np.flatnonzero(inside & reflections["whole"] & (reflections["lorentz"] < 20))
    assert len(some) > 100
    np.testing.assert_allclose(photons[some] / reflections["photons"][some], 1, atol=1e-3)
    assert (first[some] >= reflections["first_frame"][some]).all()
    assert (last[some] <= reflections["last_frame"][some]).all()
    assert not photons[reflections["panel"] < 0].any() or photons[reflections["panel"] < 0].max() < photons.max()


@pytest.mark.parametrize(
    "changes",
    [
        {"scan": {"osc_range_deg": 0.0}},
        {"scan": {"osc_range_deg": -0.4}},
        {"crystal": {"mosaicity": {"sigma_deg": [0.05, 0.1, 0.2]}}},
        {"detector": {"sensor": {"thickness_um": 600, "attenuation_depth_um": 450, "layers": 3}}},
        {"beam": {"bandwidth_sigma": 0.003, "divergence_sigma_mrad": [1.0, 0.5]}},
        {"beam": {"sources": [{"direction": [0, 0, 1]}, {"direction": [0, 0.001, 1], "wavelength_A": 1.001}]}},
        {"detector": {"curved": True}},
    ],
)
def test_the_spots_of_a_frame_have_the_photons_places_and_extents_of_its_image(scene, changes):
    """A crystal so small that its spots are wider than a pixel: what falls between pixels has a centroid of its own."""
    small = scene.experiment.with_changes(crystal={"N_cells": [8, 7, 6]}, sampling={"oversample": 8})
    numbers = resolve(small.with_changes(**changes))
    amplitudes = load_reflections(numbers)
    renderer, prediction = Renderer(numbers, amplitudes), Prediction(Diffraction(numbers, amplitudes))
    whole = Tile(0, *numbers.instrument.panels[0].region)
    under = Underneath(numbers.instrument.photons_per_electron2 / numbers.steps, None)
    _, measures = renderer.backend.integrated(whole, renderer.diffraction, 1, under)
    spots, rows = renderer.diffraction.spots(1), frame_reflections(prediction, 1)
    place = np.searchsorted(spots.reflection, rows["reflection"])
    known = spots.reflection[np.minimum(place, len(spots.reflection) - 1)] == rows["reflection"]
    assert rows["photons"][~known].max(initial=0) < 1e-3 * rows["photons"].max()
    rows = {name: values[known] for name, values in rows.items()}
    moments = measures.moments[place[known]]
    slow, fast = rows["slow"], rows["fast"]
    inside = (slow > 8) & (slow < 392) & (fast > 8) & (fast < 352) & (rows["lorentz"] < 8)
    bright = np.flatnonzero(inside & (rows["photons"] > 0.01 * rows["photons"].max()))
    assert len(bright) > 50
    apart = np.abs(moments[bright, 1:3] - np.stack([slow, fast], axis=1)[bright])
    assert np.quantile(apart, 0.98) < 0.02
    np.testing.assert_allclose(np.median(moments[bright, 0] / rows["photons"][bright]), 1, atol=2e-3)
    assert np.quantile(np.abs(moments[bright, 0] / rows["photons"][bright] - 1), 0.9) < 0.02
    # a pixel widens what falls into it by its own variance of 1/12
    extent = rows["sigma_slow"][bright] ** 2 + rows["sigma_fast"][bright] ** 2 + 1 / 6
    assert abs(np.median(moments[bright, 3:5].sum(axis=1) / extent) - 1) < 0.05


def test_the_centroids_of_whole_spots_are_where_and_when_they_are_predicted(scene):
    """Of a series' images, to 0.02 pixel and 0.02 frame, where a spot is wider than a pixel and a frame."""
    numbers = resolve(
        scene.experiment.with_changes(
            crystal={"N_cells": [8, 7, 6], "mosaicity": {"sigma_deg": 0.1}},
            scan={"frames": 24, "osc_range_deg": 0.25},
            sampling={"oversample": 4},
        )
    )
    amplitudes = load_reflections(numbers)
    renderer, table = Renderer(numbers, amplitudes), series_reflections(numbers, amplitudes)
    sums = np.zeros((len(table["reflection"]), 4))
    for frame in range(24):
        tile = Tile(0, *numbers.instrument.panels[0].region)
        _, measures = renderer.backend.integrated(tile, renderer.diffraction, frame, Underneath(1.0, None))
        photons, slow, fast = measures.moments[:, :3].T
        place = np.searchsorted(table["reflection"], renderer.diffraction.spots(frame).reflection)
        sums[place] += photons[:, None] * np.stack(
            [np.ones(len(photons)), slow, fast, np.full(len(photons), frame + 0.5)], axis=1
        )
    with np.errstate(invalid="ignore"):
        inside = (table["slow"] > 12) & (table["slow"] < 388) & (table["fast"] > 12) & (table["fast"] < 348)
        some = inside & table["whole"] & (table["lorentz"] < 4)
    assert some.sum() > 30
    centroids = sums[some, 1:] / sums[some, :1]
    predicted = np.stack([table[name][some] for name in ("slow", "fast", "frame")], axis=1)
    apart = np.abs(centroids - predicted)
    assert np.quantile(apart[:, :2], 0.98) < 0.02
    assert np.quantile(apart[:, 2], 0.98) < 0.02


def test_turns_are_counted_alike_for_every_source(small_experiment):
    """A scan that starts at phi 0, where reflections are lit before it for one source and after it for the next."""
    sources = [{"direction": [0, 0.01 * n, 1], "wavelength_A": 1 + 0.01 * n} for n in (-1, 0, 1)]
    scene = resolve(
        small_experiment(
            crystal=CRYSTAL,
            beam={"sources": sources},
            scan={"frames": 4, "osc_range_deg": 0.5, "phi_start_deg": -1.0, "phi_steps": 1},
            sampling={"method": "integrated", "oversample": "auto"},
        )
    )
    amplitudes = load_reflections(scene)
    diffraction, table = Diffraction(scene, amplitudes), series_reflections(scene, amplitudes)
    for frame in range(4):
        assert np.isin(diffraction.spots(frame).reflection, table["reflection"]).all()
    hkl = np.stack([table[name] for name in "hkl"], axis=1)
    assert np.unique(hkl, axis=0, return_counts=True)[1].max() <= 2


def test_the_lorentz_factor_and_the_rocking_width_are_those_of_a_straight_path(scene, reflections):
    """1 / |u.(b x n)|, and the width of the excitation error over the speed at which it changes; both are finite for all."""
    beam, wavelength_A, met = scene.instrument.beam_direction, 1.0, reflections["panel"] >= 0
    panel = scene.instrument.panels[0]
    ray, _ = panel.directions(reflections["slow"][met], reflections["fast"][met])
    lorentz = 1 / np.abs(np.cross(beam, ray) @ scene.spindle_axis)
    straight = lorentz < 6
    assert straight.sum() > 500
    np.testing.assert_allclose(reflections["lorentz"][met][straight], lorentz[straight], rtol=2e-3)
    crystal = scene.specimen.lattices[0]
    spread = spread_of(crystal)
    turns = np.stack([axis_rotation(scene.spindle_axis, phi) for phi in np.deg2rad(reflections["phi_deg"][met])])
    normal = np.einsum("nji,nj->ni", turns, ray)
    G = np.einsum("nji,nj->ni", turns, ray - beam) / wavelength_A
    about = np.cross(G, normal)
    variance = np.einsum("ni,ij,nj->n", normal, spread.shape, normal) + np.einsum(
        "ni,ij,nj->n", about, spread.mosaic, about
    )
    width = np.rad2deg(2.3548 * np.sqrt(variance) * lorentz * wavelength_A)
    np.testing.assert_allclose(reflections["rocking_width_deg"][met][straight], width[straight], rtol=0.01)
    assert np.isfinite(reflections["lorentz"]).all()
    assert np.isfinite(reflections["rocking_width_deg"]).all()


def test_what_a_mask_or_an_edge_touches_is_told(scene, tmp_path):
    usable = np.ones((400, 360), dtype=bool)
    usable[120:140, 200:260] = usable[300, 50] = False
    np.save(tmp_path / "mask.npy", ~usable)
    numbers = resolve(scene.experiment.with_changes(detector={"mask_file": tmp_path / "mask.npy"}))
    rows = frame_reflections(Prediction(Diffraction(numbers, load_reflections(numbers))), 1)
    table = series_reflections(numbers, load_reflections(numbers))
    seen = table["panel"] >= 0
    slow, fast, masked = (table[name][seen] for name in ("slow", "fast", "masked"))
    reach = 3 * max(rows["sigma_slow"].max(), rows["sigma_fast"].max())
    pixels = np.argwhere(np.pad(~usable, 1, constant_values=True)) - 0.5
    nearest = np.abs(np.stack([slow, fast], axis=1)[:, None] - pixels).max(axis=2).min(axis=1)
    near = nearest < 0.5
    assert near.sum() > 5
    assert masked[near].all()
    assert not masked[nearest > reach + 2].any()
    assert (~masked).sum() > 200


def test_nbdist_predict_gives_the_reflections_of_a_frame(scene):
    table = nbdist.predict(scene.experiment, 3)
    assert len(table) > 100
    assert (table.photons > 0).mean() > 0.99
    assert table.slow.between(0, 400).all()
    with pytest.raises(RunError, match="frame 10 lies outside the series of 10 frames"):
        nbdist.predict(scene.experiment, FRAMES)


def test_a_rocking_curve_has_what_each_frame_predicts_of_a_reflection(scene):
    prediction = Prediction(Diffraction(scene, load_reflections(scene)))
    frames = [frame_reflections(prediction, frame) for frame in range(FRAMES)]
    shown = [
        np.count_nonzero(np.concatenate([its["reflection"] for its in frames]) == one)
        for one in frames[4]["reflection"]
    ]
    row = int(np.argmax(shown))
    identity, whole = (
        int(frames[4]["reflection"][row]),
        rocking_curve(prediction, 4, int(frames[4]["reflection"][row]), FRAMES),
    )
    assert len(whole["frame"]) == shown[row] > 1
    for place, frame in enumerate(whole["frame"]):
        its = frames[frame]
        (there,) = np.flatnonzero(its["reflection"] == identity)
        for name in ("panel", "slow", "fast", "sigma_slow", "sigma_fast", "photons"):
            np.testing.assert_allclose(whole[name][place], its[name][there], rtol=1e-9, err_msg=name)
    near = rocking_curve(prediction, 4, identity, 1)
    assert set(near["frame"]) == set(whole["frame"]) & {3, 4, 5}


def test_a_still_has_a_rocking_curve_of_one_frame(small_experiment):
    scene = resolve(small_experiment(crystal=CRYSTAL, scan={"frames": 2, "osc_range_deg": 0.0}))
    prediction = Prediction(Diffraction(scene, load_reflections(scene)))
    rows = frame_reflections(prediction, 1)
    curve = rocking_curve(prediction, 1, int(rows["reflection"][0]), 9)
    assert curve["frame"].tolist() == [1]
    np.testing.assert_allclose(curve["photons"], rows["photons"][:1])
