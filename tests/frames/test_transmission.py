"""What is in the way takes its share of everything alike: of both methods, labels, background, trace and predictions."""

from __future__ import annotations

import numpy as np
import pytest

import nbdist
from nbdist import generate, open_series, open_spots
from nbdist.frames.renderer import Renderer
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

SHADED = {
    "shadows": {
        "beam_stop": {
            "size_mm": 10.0,
            "distance_mm": 30.0,
            "edge_mm": 6.0,
            "transmission": 0.1,
            "holder": {"width_mm": 4.0, "direction_deg": 40.0, "transmission": 0.3},
        }
    },
    "absorption": {"crystal": {"size_um": 200.0, "attenuation_length_um": 150.0}},
}
INTEGRATED = {"crystal": {"shape": "gauss"}, "sampling": {"method": "integrated", "precision": "float64"}}
SUM = {"sampling": {"oversample": 1, "precision": "float64"}}
POWDER = [{"preset": "ice", "photons": 1e4, "width_deg": 2.0}]


def rendered(experiment, mode="compiled"):
    scene = resolve(experiment)
    return Renderer(scene, load_reflections(scene), "cpu", mode)


@pytest.mark.parametrize("mode", ["compiled", "eager"])
@pytest.mark.parametrize("sections", [SUM, INTEGRATED], ids=["sum", "integrated"])
def test_every_photon_of_the_sample_is_multiplied_alike(small_experiment, sections, mode):
    sections = {**sections, "background": {"water_um": 20.0, "powder": POWDER}}
    shaded = rendered(small_experiment(**sections, **SHADED), mode)
    [transmission] = shaded.scene.instrument.transmissions
    assert transmission.min() < 0.05
    assert transmission.max() > 0.2
    plain = rendered(small_experiment(**sections), mode).frame(0)
    np.testing.assert_allclose(shaded.frame(0), plain * transmission, rtol=1e-7)  # the factor is kept in float32


@pytest.mark.parametrize("sections", [SUM, INTEGRATED], ids=["sum", "integrated"])
def test_a_level_is_neither_absorbed_nor_shadowed_and_air_and_an_image_are_shadowed(
    small_experiment, tmp_path, sections
):
    np.save(tmp_path / "image.npy", np.full((96, 80), 7.0))
    background = {
        "level_photons": 3.0,
        "image_file": str(tmp_path / "image.npy"),
        "air": {"before_mm": 5.0, "after_mm": 30.0, "width_um": 50.0},
    }
    shaded = rendered(small_experiment(**sections, **SHADED, background=background))
    plain = rendered(small_experiment(**sections, background={"air": background["air"]}))
    tile = nbdist.scene.Tile(0, 0, 96, 0, 80)
    shadow = shaded.scene.instrument.shadow(tile)
    np.testing.assert_allclose(shaded.background(tile, 0), 3 + shadow * (7 + plain.background(tile, 0)), rtol=1e-12)


def test_the_trace_of_a_pixel_has_it_as_a_factor(small_experiment):
    from nbdist.frames.trace import trace_pixel

    experiment = small_experiment(**SUM, **SHADED, background={"water_um": 20.0})
    renderer = rendered(experiment, "eager")
    for pixel in ((47, 41), (20, 33)):
        trace = trace_pixel(renderer, load_reflections(renderer.scene), pixel)
        [transmission] = renderer.scene.instrument.transmissions
        assert trace.value("transmission") == transmission[pixel]
        names = ("I_before_scaling", "r_e_sqr", "fluence_photons_per_m2", "omega_pixel", "polar", "capture_fraction")
        product = np.prod([trace.value(name) for name in (*names, "transmission")]) / trace.value("steps")
        assert product + trace.value("I_background") == pytest.approx(trace.value("I_pixel_final"), rel=1e-12)
        assert trace.value("I_pixel_final") == pytest.approx(renderer.frame(0)[pixel], rel=1e-9)


@pytest.mark.parametrize("method", ["sum", "integrated"])
def test_the_spots_of_a_shaded_series_add_up_to_its_image(small_experiment, tmp_path, method):
    experiment = small_experiment(
        crystal={"shape": "gauss"},
        sampling={"method": method},
        scan={"frames": 1, "phi_steps": 4 if method == "sum" else 1},
        background={"water_um": 5.0, "powder": POWDER},
        labels="all",
        **SHADED,
    )
    generate(experiment, tmp_path / "a.zarr", serial=True)
    series, spots = open_series(tmp_path / "a.zarr"), open_spots(tmp_path / "a.zarr")
    np.testing.assert_allclose(series.bragg + series.background, series.intensity, rtol=1e-5)
    assert spots.photons.sum() == pytest.approx(float(series.bragg.sum(dtype=float)), rel=1e-3)
    shadow = resolve(experiment).instrument.shadow(nbdist.scene.Tile(0, 0, 96, 0, 80))
    np.testing.assert_array_equal(series.shadow, shadow < 0.5)
    assert 0 < int(series.shadow.sum()) < shadow.size / 2
    assert series.shadow.dtype == np.uint8


def test_predicted_photons_are_those_that_come_through(small_experiment):
    dark, plain = (nbdist.predict(small_experiment(**INTEGRATED, **sections), 0) for sections in (SHADED, {}))
    [transmission] = resolve(small_experiment(**INTEGRATED, **SHADED)).instrument.transmissions
    place = plain.slow.astype(int).clip(0, 95), plain.fast.astype(int).clip(0, 79)
    assert len(plain) > 20
    # a spot of a few pixels has the share of the pixel that its ray meets, which may be the next one
    np.testing.assert_allclose(dark.photons / plain.photons, transmission[place], rtol=0.3)
    assert (dark.photons / plain.photons).corr(plain.photons * 0 + transmission[place]) > 0.999


def test_without_shadows_a_series_has_no_map_of_them(small_experiment, tmp_path):
    generate(small_experiment(scan={"frames": 1}, labels={"resolution": True}), tmp_path / "a.zarr", serial=True)
    assert "shadow" not in open_series(tmp_path / "a.zarr").coords
