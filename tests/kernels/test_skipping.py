"""Shapes gauss and tophat: terms that are 0 are left out by the native kernel, and no bit of an image changes by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbdist.frames.renderer import Renderer
from nbdist.kernels.native.backend import NativeBackend
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.spots import spot_limit

CASES = {
    "many_cells": {"crystal": {"N_cells": [30, 47, 36]}},
    "more_cells_than_float32_can_tell": {"crystal": {"N_cells": [200, 30, 70]}},
    "mosaic": {"crystal": {"N_cells": [12, 30, 19], "mosaic_spread_deg": 2.0, "mosaic_domains": 21}},
    "wide_phi": {"crystal": {"N_cells": [12, 30, 19]}, "scan": {"osc_range_deg": 40.0, "phi_steps": 13}},
    "interpolated": {"crystal": {"N_cells": [9, 12, 13]}, "sampling": {"interpolate": True}},
    "sources_layers_and_subpixels": {
        "crystal": {"N_cells": [12, 30, 19]},
        "detector": {"sensor": {"thickness_um": 450.0, "attenuation_depth_um": 230.0, "layers": 2}},
        "beam": {"polarization_factor": 0.7, "dispersion": {"percent": 2.0, "steps": 2}},
        "sampling": {"oversample": 3, "oversample_omega": True, "oversample_polar": True, "d_min_A": 3.0},
    },
    "curved": {"crystal": {"N_cells": [12, 30, 19]}, "detector": {"curved": True, "convention": "mosflm"}},
    "sheared": {
        "crystal": {"N_cells": [12, 30, 19]},
        "detector": {
            "convention": "custom",
            "panels": [
                {
                    "spixels": 90,
                    "fpixels": 77,
                    "pixel_size_mm": 0.8,
                    "distance_mm": 100,
                    "fast_axis": [1, 0, 0],
                    "slow_axis": [0.97, 0.243, 0],
                    "normal_axis": [0, 0, 1],
                }
            ],
        },
        "beam": {"direction": [0, 0, 1], "polarization_vector": [1, 0, 0]},
    },
    "nearly_at_the_sample": {"crystal": {"N_cells": [12, 30, 19]}, "panel": {"distance_mm": 1.5}},
}


def images(experiment):
    """Frame 0 with what is 0 left out, and with every term worked out."""
    scene = resolve(experiment)
    reflections = load_reflections(scene)
    return [
        Renderer(scene, reflections, backend=NativeBackend(scene.instrument, threads=1, skip=skip)).frame(0)
        for skip in (True, False)
    ]


TOPHATS = ("many_cells", "mosaic", "curved", "sheared")
SHAPES = [("gauss", case) for case in CASES] + [("tophat", case) for case in TOPHATS]


@pytest.mark.parametrize(("shape", "case"), SHAPES)
def test_leaving_out_what_is_0_changes_no_bit(small_experiment, shape, case):
    sections = CASES[case]
    # spots of top hats so wide that they meet pixels
    crystal = {**sections["crystal"], "shape": shape, "fudge": 0.02 if shape == "tophat" else 1.0}
    skipped, whole = images(small_experiment(**{**sections, "crystal": crystal}))
    assert whole.max() > 0
    np.testing.assert_array_equal(skipped, whole)


def test_nor_does_it_in_float64(small_experiment):
    crystal = {"shape": "gauss", "N_cells": [100, 300, 1000]}
    skipped, whole = images(small_experiment(crystal=crystal, sampling={"precision": "float64"}))
    assert 0 < np.count_nonzero(whole) < 0.9 * whole.size
    np.testing.assert_array_equal(skipped, whole)


@settings(max_examples=12)
@given(
    cell=st.tuples(*[st.floats(30, 90)] * 3, *[st.floats(70, 115)] * 3),
    N_cells=st.tuples(*[st.integers(3, 64)] * 3),
    fudge=st.floats(0.03, 10),
    pixel_mm=st.floats(0.05, 1.5),
    distance_mm=st.floats(20, 500),
    phi_steps=st.integers(1, 40),
)
def test_nor_does_it_for_any_crystal_and_detector(
    small_experiment, cell, N_cells, fudge, pixel_mm, distance_mm, phi_steps
):
    experiment = small_experiment(
        crystal={"shape": "gauss", "cell": cell, "N_cells": N_cells, "fudge": fudge},
        panel={"pixel_size_mm": pixel_mm, "distance_mm": distance_mm, "spixels": 50, "fpixels": 45},
        scan={"phi_steps": phi_steps},
        structure_factors={"kind": "wilson", "d_min_A": 5.0, "seed": 1},
    )
    np.testing.assert_array_equal(*images(experiment))


@pytest.mark.parametrize(("precision", "half_of_smallest_log2"), [("float32", -150), ("float64", -1075)])
@pytest.mark.parametrize(("cells", "largest_F"), [(1.0, 1e-3), (8.0, 1.0), (49068.0, 1000.0), (1e9, 1e4)])
def test_the_limit_of_a_gaussian_is_where_its_square_rounds_to_0(precision, half_of_smallest_log2, cells, largest_F):
    limit = spot_limit("gauss", cells, largest_F, precision)
    square_log2 = 2 * np.log2(cells * largest_F) - 2 * limit / 0.63 * np.log2(np.e)
    assert half_of_smallest_log2 - 0.01 < square_log2 < half_of_smallest_log2


def test_a_tophat_ends_at_its_radius_and_a_brick_nowhere():
    assert spot_limit("tophat", 1e6, 1e3, "float32") == 0.3969  # 0.63^2
    assert spot_limit("square", 1e6, 1e3, "float32") == spot_limit("round", 1.0, 1.0, "float64") == np.inf
    assert spot_limit("gauss", 1e6, 0.0, "float32") == 0
