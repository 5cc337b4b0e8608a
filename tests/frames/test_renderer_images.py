"""Whole images: masks, regions, panels, sources, sensors and background."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist import simulate_frame
from nbdist.scene import Tile, resolve

PIXEL_MM, ROWS, COLUMNS = 0.8, 96, 80


def image_of(make_renderer, experiment):
    return make_renderer(experiment.with_changes(sampling={"precision": "float64"})).frame(0)


def test_masked_pixels_are_zero_and_the_others_are_as_without_a_mask(small_experiment, make_renderer, tmp_path):
    mask = np.random.default_rng(1).integers(0, 3, (ROWS, COLUMNS)).astype(np.uint8)
    np.save(tmp_path / "mask.npy", mask)
    experiment = small_experiment(background={"water_um": 20})
    masked = image_of(make_renderer, experiment.with_changes(detector={"mask_file": tmp_path / "mask.npy"}))
    np.testing.assert_array_equal(masked, np.where(mask == 0, image_of(make_renderer, experiment), 0))
    assert (masked[mask == 0] > 0).all()


def test_pixels_outside_the_region_are_zero_and_those_inside_unchanged(small_experiment, make_renderer):
    region = {"slow": [10, 43], "fast": [5, 71]}
    experiment = small_experiment(background={"water_um": 20})
    image = image_of(make_renderer, experiment.with_changes(detector={"region_of_interest": region}))
    expected = np.zeros((ROWS, COLUMNS))
    expected[10:43, 5:71] = image_of(make_renderer, experiment)[10:43, 5:71]
    np.testing.assert_array_equal(image, expected)


def panel_at(origin, rows):
    axes = {"fast_axis": [1, 0, 0], "slow_axis": [0, 1, 0], "normal_axis": [0, 0, 1]}
    return {"spixels": rows, "fpixels": COLUMNS, "pixel_size_mm": PIXEL_MM, "origin_mm": origin, **axes}


@pytest.fixture
def custom_detector(small_experiment):
    """Experiments with a detector of the given panels, in the custom convention with the beam along z."""

    def make(*panels):
        return small_experiment(
            beam={"direction": [0, 0, 1], "polarization_vector": [1, 0, 0]},
            scan={"spindle_axis": [1, 0, 0]},
            detector={"convention": "custom", "panels": list(panels)},
        )

    return make


def test_a_detector_of_two_panels_is_the_whole_one(custom_detector, make_renderer):
    origin, cut = np.array([-31.0, -40.0, 100.0]), 37
    below = origin + np.array([0, cut * PIXEL_MM, 0])
    whole = image_of(make_renderer, custom_detector(panel_at(list(origin), ROWS)))
    upper, lower = panel_at(list(origin), cut), panel_at(list(below), ROWS - cut)
    renderer = make_renderer(custom_detector(upper, lower).with_changes(sampling={"precision": "float64"}))
    tiles = [Tile(0, 0, cut, 0, whole.shape[1]), Tile(1, 0, ROWS - cut, 0, whole.shape[1])]
    stacked = np.concatenate([renderer.frame(0, tile) for tile in tiles])
    assert np.abs(stacked - whole).max() <= 1e-12 * whole.max()
    alone = [image_of(make_renderer, custom_detector(panel)) for panel in (upper, lower)]
    np.testing.assert_array_equal(stacked, np.concatenate(alone))


def test_a_named_convention_equals_the_same_geometry_given_by_vectors(small_experiment, custom_detector, make_renderer):
    [panel] = resolve(small_experiment()).instrument.panels
    named = image_of(make_renderer, small_experiment())
    by_vectors = image_of(make_renderer, custom_detector(panel_at(list(1e3 * panel.origin_m), ROWS)))
    assert np.abs(named - by_vectors).max() <= 1e-12 * named.max()


def sources(*weights):
    directions = [[0, 0, 1], [0.002, 0, 1], [0, -0.003, 1]]
    return [{"direction": d, "weight": w} for d, w in zip(directions, weights, strict=False)]


def test_only_the_ratios_of_source_weights_count(small_experiment, make_renderer):
    image = image_of(make_renderer, small_experiment(beam={"sources": sources(1, 2, 5)}))
    scaled = image_of(make_renderer, small_experiment(beam={"sources": sources(7, 14, 35)}))
    equal = image_of(make_renderer, small_experiment(beam={"sources": sources(1, 1, 1)}))
    assert np.abs(scaled - image).max() <= 1e-14 * image.max()
    assert np.abs(equal - image).max() > 0.01 * image.max()


def test_an_image_is_the_weighted_mean_of_its_sources_images(small_experiment, make_renderer):
    weights = (1, 2, 5)
    # polarization and solid angle are the first source's unless they are oversampled
    single = [
        image_of(make_renderer, small_experiment(beam={"sources": [source], "polarization_factor": None}))
        for source in sources(1, 1, 1)
    ]
    both = small_experiment(beam={"sources": sources(*weights), "polarization_factor": None})
    expected = np.average(single, axis=0, weights=weights)
    assert np.abs(image_of(make_renderer, both) - expected).max() <= 1e-13 * expected.max()


def test_a_source_without_weight_adds_nothing(small_experiment, make_renderer):
    one = image_of(make_renderer, small_experiment(beam={"sources": sources(1)}))
    with_dark = image_of(make_renderer, small_experiment(beam={"sources": sources(1, 0)}))
    assert np.abs(with_dark - one).max() <= 1e-14 * one.max()


def test_photons_are_proportional_to_fluence_however_it_is_given(small_experiment, make_renderer):
    image = image_of(make_renderer, small_experiment())
    flux = {
        "fluence_photons_per_m2": None,
        "flux_photons_per_s": 1e12,
        "exposure_s": 0.5,
        "beam_size_mm": 0.05,  # 1e12 * 0.5 / (5e-5)^2 = 2e20
    }
    dimmer = image_of(make_renderer, small_experiment(beam=flux))
    assert np.abs(dimmer - 2e-4 * image).max() <= 1e-14 * dimmer.max()


def water(experiment):
    """F^2 r_e^2 fluence w^3 1e6 N_A/18 omega polar of a flat detector, straight from the design's formula."""
    scene = resolve(experiment)
    [panel] = scene.instrument.panels
    slow, fast = np.meshgrid(np.arange(ROWS) + 0.5, np.arange(COLUMNS) + 0.5, indexing="ij")
    x = panel.origin_m + panel.pixel_m * (fast[..., None] * panel.fast + slow[..., None] * panel.slow)
    distance = np.linalg.norm(x, axis=-1)
    omega = panel.pixel_m**2 / distance**2 * panel.close_distance_m / distance
    d = x / distance[..., None]
    beam, electric = scene.instrument.beam_direction, scene.instrument.polarization_vector
    cosine = d @ beam
    psi = np.arctan2(d @ np.cross(electric, beam), d @ electric)
    K = experiment.beam.polarization_factor
    polar = 0.5 * (1 + cosine**2 - K * np.cos(2 * psi) * (1 - cosine**2))
    volume = (1e-6 * experiment.background.water_um) ** 3
    molecules = volume * 1e6 * 6.02214179e23 / 18
    return 2.57**2 * 7.94079248018965e-30 * experiment.beam.fluence * molecules * omega * polar


@pytest.mark.parametrize("phi_steps", [1, 6])
def test_water_adds_its_formula_whatever_the_steps(small_experiment, make_renderer, phi_steps):
    dry = small_experiment(scan={"phi_steps": phi_steps}, crystal={"mosaic_spread_deg": 0.2, "mosaic_domains": 2})
    wet = dry.with_changes(background={"water_um": 30})
    background = image_of(make_renderer, wet) - image_of(make_renderer, dry)
    assert np.abs(background - water(wet)).max() <= 1e-12 * image_of(make_renderer, wet).max()
    assert background.min() > 0


def test_layers_without_attenuation_each_count_every_photon(small_experiment, make_renderer):
    sensor = {"thickness_um": 1e-6, "attenuation_depth_um": None, "layers": 3}
    image = image_of(make_renderer, small_experiment())
    layered = image_of(make_renderer, small_experiment(detector={"sensor": sensor}))
    # a thickness of a picometre moves nothing that can be seen: 1e-11 of the distance
    assert np.abs(layered - 3 * image).max() <= 1e-7 * layered.max()


def test_an_opaque_thin_sensor_captures_everything(small_experiment, make_renderer):
    sensor = {"thickness_um": 1e-3, "attenuation_depth_um": 1e-5, "layers": 4}
    image = image_of(make_renderer, small_experiment())
    captured = image_of(make_renderer, small_experiment(detector={"sensor": sensor}))
    # 100 attenuation depths; the layers are a nanometre thick together, 1e-8 of the distance
    assert np.abs(captured - image).max() <= 1e-5 * image.max()


@pytest.mark.parametrize("switch", ["oversample_omega", "oversample_polar", "oversample_thick"])
def test_factors_of_subpixels_stay_close_to_those_of_the_first(small_experiment, make_renderer, switch):
    base = small_experiment(
        sampling={"oversample": 3},
        detector={"sensor": {"thickness_um": 300, "attenuation_depth_um": 300, "layers": 2}},
    )
    fixed = image_of(make_renderer, base)
    own = image_of(make_renderer, base.with_changes(sampling={switch: True}))
    difference = np.abs(own - fixed).max() / fixed.max()
    # a pixel is 0.8 mm at 100 mm: its factors vary by about 1 %
    assert 1e-6 < difference < 0.02


def test_nothing_is_left_beyond_the_resolution_limit(small_experiment, make_renderer):
    whole = image_of(make_renderer, small_experiment())
    cut = image_of(make_renderer, small_experiment(sampling={"d_min_A": 4.0}))
    [panel] = resolve(small_experiment()).instrument.panels
    slow, fast = np.meshgrid(np.arange(ROWS) + 0.5, np.arange(COLUMNS) + 0.5, indexing="ij")
    x = panel.origin_m + panel.pixel_m * (fast[..., None] * panel.fast + slow[..., None] * panel.slow)
    q = x / np.linalg.norm(x, axis=-1)[..., None] - [0, 0, 1]  # wavelength 1
    np.testing.assert_array_equal(cut, np.where(np.linalg.norm(q, axis=-1) <= 1 / 4.0, whole, 0))
    assert 0 < np.count_nonzero(cut) < cut.size


def test_uniform_amplitudes_equal_a_list_that_holds_the_same_value(small_experiment, make_renderer, tmp_path):
    (tmp_path / "one.hkl").write_text("1 2 3 50\n")
    uniform = small_experiment(structure_factors={"kind": "uniform", "F": 50})
    listed = small_experiment(structure_factors={"kind": "file", "file": tmp_path / "one.hkl", "default_F": 50})
    image = image_of(make_renderer, uniform)
    assert np.abs(image_of(make_renderer, listed) - image).max() <= 1e-14 * image.max()


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("thick", [False, True])
def test_a_panel_may_have_a_sensor_of_its_own(custom_detector, make_renderer, mode, thick):
    def image(panel, number=0):
        sampling = {"precision": "float64", "oversample_thick": thick}
        experiment = custom_detector(*panel).with_changes(sampling=sampling, background={"water_um": 20.0})
        found = simulate_frame(experiment, kernel=mode, panel=number)
        assert found.max() > 0
        return found

    upper, lower = panel_at([-31.0, -40.0, 100.0], 30), panel_at([-31.0, -16.0, 100.0], 30)
    thin = {"thickness_um": 450, "attenuation_depth_um": 230, "layers": 3}
    deep = {"thickness_um": 900, "attenuation_depth_um": 400, "layers": 2}
    alone = [image([upper]), image([{**lower, "sensor": deep}])]
    both = [upper, {**lower, "sensor": deep}]
    for number in (0, 1):
        np.testing.assert_array_equal(image(both, number), alone[number])
    assert not np.array_equal(alone[1], image([{**lower, "sensor": thin}]))
