"""What a GPU renders, where there is one: every golden image."""

from __future__ import annotations

import integrated_cases
import numpy as np
import pytest
from test_golden import CASES, FLOAT32, assert_agrees_in_float64, golden_experiment, golden_image

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


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
