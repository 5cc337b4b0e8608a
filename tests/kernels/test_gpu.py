"""What a GPU renders, where there is one: every golden image, and what a CPU renders where there is none."""

from __future__ import annotations

import integrated_cases
import numpy as np
import pytest
from atomic_models import write_model
from test_golden import CASES, FLOAT32, assert_agrees_in_float64, golden_experiment, golden_image

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

# of the largest value: both run the same functions, but a GPU fuses multiplications and additions. Measured on an H200: 6e-14, and
# 1.3e-7 but for spots far smaller than a pixel: 5.1e-6, which a CPU has, too
SAME = {"float64": 1e-12, "float32": 1e-6}
NARROW = {"float64": 1e-12, "float32": 1e-5}
GAUSS = {"misset_deg": [14, -31, 52], "N_cells": [12, 11, 10], "shape": "gauss"}
EDGE = [{"direction": [0, 0, 1], "wavelength_A": A, "weight": weight} for A, weight in ((0.9810, 1.0), (0.9770, 3.0))]
DISORDER = {"kind": "correlated", "sigma_A": 0.4, "correlation_length_A": 25.0}
ALL_SPREAD = {
    "crystal": {**GAUSS, "N_cells": [20, 17, 15], "mosaicity": {"sigma_deg": [0.2, 0.3, 0.4]}},
    "beam": {"bandwidth_sigma": 0.002, "divergence_sigma_mrad": [0.5, 0.2]},
    "sampling": {"method": "integrated", "precision": "float64"},
}
WAYS = {
    "a twin in a space group": {
        "crystal": {
            **GAUSS,
            "cell": [40.0, 40.0, 30.0, 90, 90, 90],
            "space_group": "P 41",
            "twin": [{"law": "k,h,-l", "fraction": 0.3}],
        }
    },
    # one on either side of selenium's K edge
    "amplitudes of each wavelength": {
        "beam": {"wavelength_A": 0.979, "sources": EDGE},
        "crystal": None,
        "crystals": [GAUSS],
        "structure_factors": {"kind": "model", "file": "a.pdb", "anomalous": "each_wavelength"},
    },
    "disorder over water": {"crystal": {**GAUSS, "diffuse": DISORDER}, "background": {"water_um": 20.0}},
}
OF_THE_INTEGRATED_METHOD = {
    "spread in every way": ALL_SPREAD,
    "a still": {**ALL_SPREAD, "scan": {"frames": 1, "osc_range_deg": 0.0}},
    "spots far smaller than a pixel": {
        "crystal": {**GAUSS, "N_cells": [3000, 2500, 2800], "mosaicity": {"sigma_deg": 0.02}},
        "sampling": {"oversample_omega": True},
    },
    "panels with a sensor": {
        **ALL_SPREAD,
        "detector": {
            "panels": [
                {"spixels": 60, "fpixels": 50, "pixel_size_mm": 0.8, "distance_mm": 100, "rotation_deg": [10, 20, 5]},
                {"spixels": 40, "fpixels": 70, "pixel_size_mm": 0.8, "distance_mm": 110, "beam_center_mm": [-10, 20]},
            ],
            "sensor": {"thickness_um": 450, "attenuation_depth_um": 234, "layers": 3},
        },
    },
}
EVERY_WAY = [("sum", name) for name in WAYS] + [("integrated", name) for name in {**WAYS, **OF_THE_INTEGRATED_METHOD}]


@pytest.fixture
def said(small_experiment, tmp_path):
    """`said("sum", "disorder", "float64")`: one of the ways, by a method."""
    write_model(tmp_path / "a.pdb")

    def make(method, name, precision):
        sections = {**WAYS, **OF_THE_INTEGRATED_METHOD}[name]
        sampling = {"oversample": "auto" if method == "integrated" else 2, **sections.get("sampling", {})}
        sampling |= {"method": method, "precision": precision}
        changes = {**sections, "sampling": sampling}
        if "structure_factors" in sections:
            changes["structure_factors"] = {**sections["structure_factors"], "file": str(tmp_path / "a.pdb")}
        return small_experiment(**changes)

    return make


def renderer_of(experiment, device="cuda", mode="eager"):
    from nbdist.frames.renderer import Renderer
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections

    scene = resolve(experiment)
    return Renderer(scene, load_reflections(scene), device=device, mode=mode)


@pytest.mark.parametrize(
    ("precision", "mode"), [("float64", "eager"), pytest.param("float32", "compiled", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("method", "name"), EVERY_WAY)
def test_a_gpu_renders_what_a_cpu_does(said, method, name, precision, mode):
    from nbdist.scene import Tile

    allowed = (NARROW if "smaller" in name else SAME)[precision]
    on_gpu = renderer_of(said(method, name, precision), mode=mode)
    on_cpu = renderer_of(said(method, name, "float64"), "cpu")
    for number, panel in enumerate(on_cpu.scene.instrument.panels):
        tile = Tile(number, *panel.region)
        assert on_cpu.partial(tile, 0).max() > 0
        for what in ("partial", "background"):
            image, expected = (getattr(renderer, what)(tile, 0) for renderer in (on_gpu, on_cpu))
            assert np.abs(image - expected).max() <= allowed * expected.max(), what
    assert (on_gpu.backend.device, on_gpu.backend.mode) == ("cuda", mode)


def test_measures_of_spots_are_those_of_a_cpu(small_experiment):
    from nbdist.kernels.spots import Underneath
    from nbdist.scene import Tile

    measures = []
    for device in ("cuda", "cpu"):
        renderer = renderer_of(small_experiment(**ALL_SPREAD), device)
        tile = Tile(0, *renderer.scene.instrument.panels[0].region)
        under = Underneath(2.0, np.full(tile.shape, 3.0, dtype=np.float32), spot_share=0.3)
        measures.append(renderer.backend.integrated(tile, renderer.diffraction, 0, under)[1])
    ours, theirs = measures
    assert (theirs.moments[:, 0] > 0).sum() > 50
    for name in ("moments", "beside"):
        its, expected = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_allclose(its, expected, rtol=1e-8, atol=1e-10 * np.nanmax(expected), err_msg=name)
    np.testing.assert_array_equal(ours.boxes, theirs.boxes)
    np.testing.assert_array_equal(ours.spot, theirs.spot)


@pytest.mark.parametrize("method", ["sum", "integrated"])
def test_a_frame_has_the_same_bits_each_time(said, method):
    renderer = renderer_of(said(method, "disorder over water" if method == "sum" else "spread in every way", "float64"))
    first = renderer.frame(0)
    for _ in range(5):
        np.testing.assert_array_equal(renderer.frame(0), first)


def test_a_tile_that_does_not_fit_is_rendered_in_pieces_with_the_same_bits(small_experiment):
    from nbdist.run.context import make_context
    from nbdist.run.device_memory import partial_that_fits
    from nbdist.scene import Tile

    experiment = small_experiment(panel={"spixels": 1100, "fpixels": 1000, "pixel_size_mm": 0.08})
    context = make_context(experiment, device="cuda", kernel="eager")
    tile = Tile(0, 0, 1100, 0, 1000)
    whole = context.renderer.partial(tile, 0)
    torch.cuda.reset_peak_memory_stats()
    context.renderer.partial(tile, 0)
    peak, held = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    torch.cuda.empty_cache()
    allowed = held + 0.6 * (peak - held)
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    try:
        pieces = partial_that_fits(context, tile, 0, (0, None))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert context.largest_tile < tile.pixels
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("name", integrated_cases.CASES)
def test_spots_on_a_gpu_agree_with_the_golden_image(name):
    from nbdist.frames.renderer import Renderer
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections

    golden, tile = integrated_cases.golden_image(name), integrated_cases.golden_tile(name)
    # as on the CPU; float32 adds what it rounds
    for precision, allowed in (("float64", 3e-4), ("float32", 3.1e-4)):
        sampling = {"method": "integrated", "precision": precision}
        scene = resolve(integrated_cases.golden_experiment(name, sampling=sampling))
        image = Renderer(scene, load_reflections(scene), device="cuda", mode="eager").frame(0, tile)
        assert np.abs(image - golden).max() <= allowed * golden.max()


def test_an_image_is_its_own_while_others_are_rendered():
    from nbdist.frames.renderer import Renderer
    from nbdist.scene import Tile, resolve
    from nbdist.scene.amplitudes import load_reflections

    scene = resolve(golden_experiment("cubic_still", "float64"))
    renderer = Renderer(scene, load_reflections(scene), device="cuda", mode="eager")
    upper, lower = Tile(0, 0, 32, 0, 64), Tile(0, 32, 64, 0, 64)
    image = renderer.partial(upper, 0)
    as_rendered = image.copy()
    assert not np.array_equal(renderer.partial(lower, 0), as_rendered)
    assert np.array_equal(image, as_rendered)


@pytest.fixture
def render_on_gpu():
    from nbdist.frames.renderer import Renderer
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections

    def render(experiment, mode):
        scene = resolve(experiment)
        renderer = Renderer(scene, load_reflections(scene), device="cuda", mode=mode)
        image = renderer.frame(0)
        assert renderer.backend.device == "cuda"
        assert renderer.backend.mode == mode
        return image

    return render


@pytest.mark.parametrize("name", CASES)
def test_a_gpu_agrees_with_the_golden_image_in_float64(name, render_on_gpu):
    assert_agrees_in_float64(name, render_on_gpu(golden_experiment(name, "float64"), "eager"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_compiled_functions_of_a_gpu_agree_with_the_golden_image(name, render_on_gpu):
    golden = golden_image(name)
    image = render_on_gpu(golden_experiment(name, "float32"), "compiled")
    assert np.abs(image - golden).max() <= FLOAT32 * golden.max()
