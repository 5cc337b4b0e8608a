"""All engines are one specification; where compiling fails, the eager one takes over and says so."""

from __future__ import annotations

import itertools
import logging
import os
import stat

import numpy as np
import pytest
import torch

from nbdist.frames.renderer import Renderer
from nbdist.kernels import torch_compile as kernels
from nbdist.kernels.reference.orientation_sum import orientation_sum
from nbdist.kernels.torch_backend import TorchBackend
from nbdist.native import build
from nbdist.scene import Tile, resolve
from nbdist.scene.amplitudes import load_reflections

# float32 rounds to 6e-8; a sum of side lobes differs by a few of them
ROUNDING = {"float32": 1e-6, "float64": 1e-12}

VARIANTS = {
    "square": {},
    "round": {"crystal": {"shape": "round", "fudge": 1.3}},
    "gauss": {"crystal": {"shape": "gauss", "fudge": 0.8}},
    "tophat": {"crystal": {"shape": "tophat", "fudge": 0.7}},
    "interpolated": {"crystal": {"N_cells": [2, 3, 2]}, "sampling": {"interpolate": True}},
    "one_amplitude": {"structure_factors": {"kind": "uniform", "F": 37.0}},
    "few_amplitudes": {"structure_factors": {"kind": "wilson", "d_min_A": 6.0, "seed": 2}},
    "mosaic": {"crystal": {"mosaic_spread_deg": 2.0, "mosaic_domains": 21}},
    # the native kernel takes 4096 orientations of a group at a time
    "several_slabs": {
        "crystal": {"mosaic_spread_deg": 2.0, "mosaic_domains": 2200},
        "detector": {
            "convention": "xds",
            "panels": [{"spixels": 24, "fpixels": 20, "pixel_size_mm": 3.0, "distance_mm": 100}],
        },
    },
    "wide_phi": {"scan": {"osc_range_deg": 40.0, "phi_steps": 6}},
    "sources": {
        "beam": {
            "dispersion": {"percent": 3.0, "steps": 3},
            "divergence": {"horizontal_mrad": 2.0, "horizontal_steps": 3},
        }
    },
    "every_factor_for_every_term": {
        "detector": {"sensor": {"thickness_um": 450.0, "attenuation_depth_um": 230.0, "layers": 3}},
        "beam": {"polarization_factor": 0.7, "dispersion": {"percent": 2.0, "steps": 2}},
        "sampling": {
            "oversample": 2,
            "oversample_omega": True,
            "oversample_polar": True,
            "oversample_thick": True,
            "d_min_A": 3.0,
        },
    },
    "sheared": {
        "crystal": {"cell": [300, 310, 30, 90, 90, 90]},
        "detector": {
            "convention": "custom",
            "panels": [
                {
                    "spixels": 96,
                    "fpixels": 80,
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
    "curved": {"detector": {"curved": True, "convention": "mosflm"}},
}


def on_torch(experiment):
    """A renderer on a CPU by what a GPU compiles."""
    scene = resolve(experiment)
    return Renderer(scene, load_reflections(scene), backend=TorchBackend(scene.instrument, "cpu", compiled=True))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled_equals_eager_within_rounding(small_experiment, make_renderer, variant, precision):
    changes = VARIANTS[variant]
    sampling = {**changes.get("sampling", {}), "precision": precision}
    experiment = small_experiment(**{**changes, "sampling": sampling})
    eager = make_renderer(experiment, "eager").frame(0)
    compiled = make_renderer(experiment, "compiled")
    assert compiled.backend.mode == "compiled"
    assert eager.max() > 0
    assert np.abs(compiled.frame(0) - eager).max() <= ROUNDING[precision] * eager.max()


def test_the_background_is_the_same_compiled_and_eager(small_experiment, make_renderer):
    sampling = {"oversample": 2, "oversample_omega": True, "oversample_polar": True, "precision": "float64"}
    experiment = small_experiment(background={"water_um": 20.0}, sampling=sampling)
    tile = Tile(0, 10, 60, 5, 70)
    eager = make_renderer(experiment, "eager").background(tile, 0)
    np.testing.assert_allclose(make_renderer(experiment, "compiled").background(tile, 0), eager, rtol=1e-13, atol=0)


def test_a_source_without_weight_gives_no_background(small_experiment, make_renderer):
    sampling = {"oversample": 1, "oversample_polar": True, "precision": "float64"}
    sources = [{"direction": [0, 0, 1], "weight": 0.0}, {"direction": [0.3, 0, 1], "weight": 2.0}]
    images = [
        make_renderer(
            small_experiment(background={"water_um": 20.0}, sampling=sampling, beam={"sources": some})
        ).background(Tile(0, 0, 20, 0, 20), 0)
        for some in (sources, sources[1:])
    ]
    np.testing.assert_allclose(*images, rtol=1e-12, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "to_the_end"), [("gauss", True), ("square", False)])
def test_the_functions_that_a_gpu_compiles_equal_the_eager_ones(
    small_experiment, make_renderer, shape, to_the_end, monkeypatch
):
    """All are traced whole, of any size; the sum of one shape is compiled to its end, in C++, of which a GPU has none.

    What comes before the sum is arithmetic of single pixels, which takes as long to compile.
    """
    # vector instructions of this processor say nothing of a GPU, and take g++ most of a minute
    monkeypatch.setitem(kernels.COMPILE_OPTIONS, "cpp.vec_isa_ok", False)
    real = torch.compile

    def compiled(function, options, **how):
        if function is not orientation_sum:
            return real(function, backend="eager", **how)
        return real(function, options=options, **how) if to_the_end else real(function, backend="aot_eager", **how)

    monkeypatch.setattr(kernels, "_compiled", {})
    monkeypatch.setattr(torch, "compile", compiled)
    experiment = small_experiment(crystal={"shape": shape})
    renderer = make_renderer(experiment, "eager")
    expected = renderer.frame(0)
    renderer = on_torch(experiment)
    image = renderer.frame(0)
    assert renderer.backend.mode == "compiled"
    assert np.abs(image - expected).max() <= ROUNDING["float32"] * expected.max()


def test_float32_equals_float64_within_float32_rounding(small_experiment, make_renderer):
    experiment = small_experiment()
    exact = make_renderer(experiment.with_changes(sampling={"precision": "float64"})).frame(0)
    for mode in ("eager", "compiled"):
        image = make_renderer(experiment, mode).frame(0)
        assert np.abs(image - exact).max() <= ROUNDING["float32"] * exact.max()


CELLS = ([40, 45, 50, 80, 95, 100], [79, 79, 38, 90, 90, 90], [120, 90, 210, 90, 101, 90])
MISSETS = ([14, -31, 52], [0, 0, 0], [77, 5, -120])


@pytest.mark.parametrize("N_cells", [10, 64, 100, 1000])
def test_float32_images_of_sharp_crystals_correlate_with_float64(small_experiment, make_renderer, N_cells):
    for cell, misset in itertools.product(CELLS, MISSETS):
        crystal = {"cell": cell, "misset_deg": misset, "N_cells": [N_cells] * 3}
        structure_factors = {"kind": "uniform", "F": 100.0}
        images = [
            make_renderer(
                small_experiment(
                    panel={"pixel_size_mm": 0.2},
                    crystal=crystal,
                    structure_factors=structure_factors,
                    sampling={"precision": precision},
                ),
                "compiled",
            ).frame(0)
            for precision in ("float32", "float64")
        ]
        assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] > 1 - 1e-11
        assert images[0].sum() / images[1].sum() == pytest.approx(1, abs=6e-6)
        assert np.abs(images[0] - images[1]).max() < 8e-6 * images[1].max()


def test_threads_change_no_bit(small_experiment):
    scene = resolve(small_experiment(panel={"spixels": 200, "fpixels": 150}))
    images = [Renderer(scene, load_reflections(scene), threads=threads).frame(0) for threads in (1, 3)]
    np.testing.assert_array_equal(*images)


def test_work_cut_into_many_calls_changes_no_bit(small_experiment, make_renderer, monkeypatch):
    renderer = make_renderer(small_experiment(panel={"spixels": 200, "fpixels": 150}), "compiled")
    whole = renderer.frame(0)
    monkeypatch.setattr("nbdist.kernels.native.backend.CALL_PIXEL_STEPS", 1)
    np.testing.assert_array_equal(renderer.frame(0), whole)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """No kernel compiled yet, neither in the process nor on the disk."""
    monkeypatch.setenv("NBDIST_KERNELS", str(tmp_path))
    build.load.cache_clear()
    yield tmp_path
    build.load.cache_clear()


@pytest.mark.parametrize(("compiler", "reason"), [("/nowhere/g++", "does not run"), ("false", "false failed")])
def test_a_failed_compilation_falls_back_to_eager_and_says_so_once(
    small_experiment, make_renderer, monkeypatch, caplog, empty_cache, compiler, reason
):
    monkeypatch.setenv("CXX", compiler)
    experiment = small_experiment()
    with caplog.at_level(logging.WARNING, logger="nbdist"):
        renderer = make_renderer(experiment, "compiled")
        images = [renderer.frame(0), renderer.frame(0)]
    expected = make_renderer(experiment, "eager").frame(0)
    for image in images:
        np.testing.assert_array_equal(image, expected)
    assert renderer.backend.mode == "eager"
    [record] = caplog.records
    assert reason in record.getMessage()
    assert "\n" not in record.getMessage()
    assert list(empty_cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_does_not_matter(small_experiment, make_renderer, monkeypatch, empty_cache):
    (empty_cache / "file").touch()
    monkeypatch.setenv("NBDIST_KERNELS", str(empty_cache / "file"))
    assert make_renderer(small_experiment(), "compiled").backend.mode == "compiled"


def fail_to_compile(*arguments, **options):
    raise RuntimeError("no compiler was found\nand a long trace of the compiler's inside")


@pytest.mark.parametrize("place", ["when_called", "when_wrapped"])
def test_where_torch_cannot_compile_the_functions_run_eagerly(
    small_experiment, make_renderer, monkeypatch, caplog, place
):
    if place == "when_wrapped":
        monkeypatch.setattr(kernels, "_compile", fail_to_compile)
    else:
        monkeypatch.setattr(kernels, "_compiled", {})
        monkeypatch.setattr(torch, "compile", lambda function, **options: fail_to_compile)
    renderer = make_renderer(small_experiment(), "eager")
    expected = renderer.frame(0)
    renderer = on_torch(small_experiment())
    with caplog.at_level(logging.WARNING, logger="nbdist"):
        np.testing.assert_array_equal(renderer.frame(0), expected)
    assert renderer.backend.mode == "eager"
    [record] = caplog.records
    assert "no compiler was found" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_torch_keeps_its_compiled_code_in_a_private_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr(kernels, "_compiled", {})
    monkeypatch.setattr(kernels, "lock_folder", lambda: tmp_path)
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    assert kernels._compile(kernels.pixel_factors, (None,)) is kernels.pixel_factors
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "torch")
    assert stat.S_IMODE((tmp_path / "torch").stat().st_mode) == 0o700


def test_a_mistake_in_the_physics_is_not_taken_for_a_failed_compilation(monkeypatch):
    def mistaken(value):
        raise ZeroDivisionError

    monkeypatch.setattr(kernels, "_compile", lambda *_: fail_to_compile)
    kernel = kernels.Kernels("compiled")
    with pytest.raises(ZeroDivisionError):
        kernel._call(mistaken, torch.zeros(1))
    assert kernel.mode == "compiled"


def test_eager_blocks_of_orientations_change_nothing_beyond_rounding(small_experiment, make_renderer, monkeypatch):
    experiment = small_experiment(scan={"phi_steps": 30}, sampling={"precision": "float64"})
    whole = make_renderer(experiment).frame(0)
    monkeypatch.setattr(kernels, "EAGER_ORIENTATIONS", 1)
    assert np.abs(make_renderer(experiment).frame(0) - whole).max() <= 1e-14 * whole.max()


def test_the_instrument_lists_every_subpixel_of_every_layer(small_experiment):
    sensor = {"thickness_um": 300.0, "attenuation_depth_um": 200.0, "layers": 2}
    instrument = resolve(small_experiment(detector={"sensor": sensor}, sampling={"oversample": 2})).instrument
    rays = list(instrument.rays(0))
    assert [ray.layer for ray in rays] == [0] * 4 + [1] * 4
    assert {(r.slow_shift, r.fast_shift) for r in rays} == {(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)}
