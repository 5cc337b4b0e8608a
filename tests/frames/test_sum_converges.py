"""The sum over domains, sources and phi steps converges to images made by quadrature: that is what the normal spreads mean."""

from __future__ import annotations

import numpy as np
import pytest
from integrated_cases import CASES, golden_experiment, golden_image, golden_tile

from nbdist.scene import Tile

ENOUGH = {  # region's side in pixels, phi steps, domains or sources, largest difference / maximum: twice the worst of three seeds
    "perfect": (56, 200, 1, 1e-5),
    "perfect_sharp": (12, 1000, 1, 2e-9),
    "mosaic": (24, 40, 500, 7e-3),
    "mosaic_wide": (24, 40, 300, 5e-4),
    "mosaic_anisotropic": (24, 30, 500, 2e-2),
    "near_spindle": (24, 30, 200, 4e-3),
    "bandwidth": (24, 10, 500, 5e-3),
    "divergence": (24, 10, 1000, 1.2e-2),
    "still_mosaic": (24, 1, 2000, 1e-3),
    "gap_free_frames_0": (24, 20, 300, 5e-3),
}


@pytest.fixture
def difference(make_renderer):
    """`difference(name, side, phi_steps, points, seed)`: largest over the maximum, of the pixels about the brightest one of a case."""

    def measure(name, side, phi_steps, points, seed=0):
        golden, region = golden_image(name), golden_tile(name)
        middle = np.unravel_index(golden.argmax(), golden.shape)
        slow, fast = (min(max(0, at - side // 2), size - side) for at, size in zip(middle, golden.shape, strict=True))
        slow_start, fast_start = region.slow_start + slow, region.fast_start + fast
        mosaicity = {"sigma_deg": CASES[name]["crystal"]["mosaic_sigma_deg"], "domains": points, "seed": seed}
        experiment = golden_experiment(
            name,
            beam={"spread_sources": points, "spread_seed": seed},
            crystal={"mosaicity": mosaicity},
            scan={"phi_steps": phi_steps},
        )
        image = make_renderer(experiment, "compiled").frame(
            0, Tile(0, slow_start, slow_start + side, fast_start, fast_start + side)
        )
        return np.abs(image - golden[slow : slow + side, fast : fast + side]).max() / golden.max()

    return measure


@pytest.mark.parametrize("name", CASES)
def test_enough_points_give_the_golden_image(difference, name):
    side, phi_steps, points, bound = ENOUGH[name]
    assert difference(name, side, phi_steps, points) < bound


@pytest.mark.parametrize(
    ("name", "phi_steps", "most", "at_most"),
    [("mosaic", 40, 4096, 2e-3), ("bandwidth", 8, 1024, 2e-3), ("divergence", 8, 1024, 1e-2)],
)
def test_the_difference_falls_with_the_number_of_points(difference, name, phi_steps, most, at_most):
    few = np.mean([difference(name, 20, phi_steps, 64, seed) for seed in range(3)])
    many = difference(name, 20, phi_steps, most)
    assert many < few * (most / 64) ** -0.7
    assert many < at_most
