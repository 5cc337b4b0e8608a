"""Frames without a store: one as an array, the whole series as a lazy one."""

from __future__ import annotations

import tracemalloc

import dask
import numpy as np
import pytest

from nbdist import generate, predict, simulate_frame, simulate_series
from nbdist.errors import RunError
from nbdist.frames.renderer import Renderer
from nbdist.run import predict as prediction
from nbdist.run import simulate


@pytest.fixture
def rendered(monkeypatch):
    """(box, frame) of every partial that is rendered from now on."""
    calls = []
    original = Renderer.partial

    def counting(self, box, frame, *steps):
        calls.append((tuple(box), frame))
        return original(self, box, frame, *steps)

    monkeypatch.setattr(Renderer, "partial", counting)
    with dask.config.set(scheduler="synchronous"):
        yield calls


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_frame_has_the_experiments_precision_and_shape(precision, small_experiment):
    image = simulate_frame(small_experiment(sampling={"precision": precision}), kernel="eager")
    assert (image.dtype, image.shape) == (precision, (96, 80))
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() > 0


def test_the_two_precisions_agree_to_float32_rounding(small_experiment):
    single, double = (
        simulate_frame(small_experiment(sampling={"precision": precision}), 1, kernel="eager")
        for precision in ("float32", "float64")
    )
    # architecture.md: 3e-6 of the maximum is what a float32 sum over orientations reaches on the reference case
    np.testing.assert_allclose(single, double, rtol=0, atol=3e-6 * double.max())


def test_the_compiled_kernel_is_the_default_and_agrees_with_the_eager_one(small_experiment):
    experiment = small_experiment()
    compiled, eager = simulate_frame(experiment, 1), simulate_frame(experiment, 1, kernel="eager")
    np.testing.assert_allclose(compiled, eager, rtol=0, atol=3e-6 * eager.max())


def test_a_frame_rendered_twice_has_the_same_bits(small_experiment):
    experiment = small_experiment()
    np.testing.assert_array_equal(simulate_frame(experiment, 2), simulate_frame(experiment, 2))


def test_frames_of_a_rotation_differ(small_experiment):
    first, second = (simulate_frame(small_experiment(), frame, kernel="eager") for frame in (0, 1))
    assert np.abs(first - second).max() > 0.01 * first.max()


def test_one_experiment_is_not_taken_for_another(small_experiment):
    bright = small_experiment(beam={"fluence_photons_per_m2": 2e24})
    simulated = simulate_frame(small_experiment(), kernel="eager"), simulate_frame(bright, kernel="eager")
    np.testing.assert_allclose(simulated[1], 2 * simulated[0], rtol=1e-6)


def test_a_copy_with_another_beam_is_simulated_anew(small_experiment):
    experiment = small_experiment()
    first = simulate_frame(experiment, kernel="eager")
    beam = experiment.beam.model_copy(update={"fluence_photons_per_m2": 2e24})
    again = simulate_frame(experiment.model_copy(update={"beam": beam}), kernel="eager")
    np.testing.assert_allclose(again, 2 * first, rtol=1e-6)


def test_what_is_probably_not_meant_is_logged_once_where_nobody_reports_it(small_experiment, tmp_path, caplog):
    experiment = small_experiment(scan={"osc_range_deg": 0.0}, structure_factors={"kind": "uniform", "F": 7})
    said = "scan.osc_range_deg is 0: the 3 frames are all alike"
    for _ in range(2):
        simulate_frame(experiment, kernel="eager")
        simulate_series(experiment, kernel="eager")
    assert [record.message for record in caplog.records].count(said) == 1
    caplog.clear()
    told = []
    generate(experiment, tmp_path / "a.zarr", serial=True, report=lambda progress: told.extend(progress.notes))
    assert said in told
    assert not caplog.records
    generate(experiment, tmp_path / "b.zarr", serial=True)
    assert said in [record.message for record in caplog.records]


def test_a_file_that_changes_between_two_frames_counts(small_experiment, tmp_path):
    mask = tmp_path / "mask.npy"
    np.save(mask, np.zeros((96, 80)))
    experiment = small_experiment(panel={"mask_file": mask})
    series = simulate_series(experiment, kernel="eager")
    assert simulate_frame(experiment, kernel="eager").any()
    np.save(mask, np.ones((96, 80)))
    assert not simulate_frame(experiment, kernel="eager").any()
    simulate._contexts.clear()  # as in another process, where the lazy series meets the other mask
    with pytest.raises(RunError, match="a file that the experiment names has changed"):
        series[0].compute()


def test_reflections_are_not_predicted_of_a_file_that_changes_meanwhile(small_experiment, tmp_path, monkeypatch):
    file = tmp_path / "a.hkl"
    file.write_text("1 2 3 4\n")
    experiment = small_experiment(structure_factors={"kind": "file", "file": file})
    original = prediction.load_reflections

    def changing(scene):
        file.write_text("1 2 3 5\n")
        return original(scene)

    monkeypatch.setattr(prediction, "load_reflections", changing)
    with pytest.raises(RunError, match="a file that the experiment names has changed while it was read"):
        predict(experiment)


@pytest.mark.parametrize("frame", [-1, 3, 100])
def test_a_frame_outside_the_series_is_refused(frame, small_experiment):
    with pytest.raises(RunError, match=f"frame {frame} lies outside the series of 3 frames"):
        simulate_frame(small_experiment(), frame, kernel="eager")


def test_making_a_lazy_series_renders_nothing(small_experiment, rendered):
    series = simulate_series(small_experiment(), kernel="eager")
    assert rendered == []
    assert series.dims == ("frame", "slow", "fast")
    assert (series.shape, series.dtype, series.name) == ((3, 96, 80), np.float32, "intensity")
    assert series.attrs["units"] == "photon"
    # the small experiment: 3 frames of 0.5 degrees from 10
    np.testing.assert_array_equal(series["phi_start_deg"], [10.0, 10.5, 11.0])
    np.testing.assert_array_equal(series["phi_end_deg"], [10.5, 11.0, 11.5])


def test_slicing_a_lazy_series_renders_the_tiles_asked_for_and_no_others(small_experiment, rendered):
    series = simulate_series(small_experiment(), kernel="eager", tile=(32, 40))
    piece = series.isel(frame=1, slow=slice(40, 50), fast=slice(0, 20)).values
    assert rendered == [((0, 32, 64, 0, 40), 1)]
    whole = simulate_frame(small_experiment(), 1, kernel="eager")
    np.testing.assert_allclose(piece, whole[40:50, :20], rtol=0, atol=1e-6 * whole.max())


def test_a_lazy_series_of_many_blocks_is_made_and_sliced_without_going_through_them(small_experiment):
    experiment = small_experiment(scan={"frames": 1_000})
    simulate_series(experiment, kernel="eager")
    tracemalloc.start()
    try:
        series = simulate_series(experiment, kernel="eager", tile=(8, 8))
        (piece,) = dask.optimize(series[500, :8, :8].data)
        height = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert series.data.npartitions == 120_000
    # 10 bytes with the newest Dask, 215 with the oldest; with what a block is told in the graph it was 1,400
    assert height < 300 * series.data.npartitions
    assert len(piece.__dask_graph__()) < 5


def test_a_frame_that_is_changed_in_place_changes_no_other(small_experiment):
    experiment = small_experiment()
    image = simulate_frame(experiment, 1, kernel="eager")
    before = image.copy()
    image[:] = -1
    np.testing.assert_array_equal(simulate_frame(experiment, 1, kernel="eager"), before)


def test_a_lazy_series_is_the_frames_one_by_one(small_experiment):
    experiment = small_experiment()
    series = simulate_series(experiment, kernel="eager")
    assert series.chunks == ((1, 1, 1), (96,), (80,))
    for frame in range(3):
        np.testing.assert_array_equal(series[frame].values, simulate_frame(experiment, frame, kernel="eager"))


def test_a_lazy_series_in_float64_agrees_with_the_frames_for_any_tile(small_experiment):
    experiment = small_experiment(sampling={"precision": "float64"})
    series = simulate_series(experiment, kernel="eager", tile=(50, 33))
    assert series.dtype == np.float64
    whole = simulate_frame(experiment, 2, kernel="eager")
    np.testing.assert_allclose(series[2].values, whole, rtol=0, atol=1e-12 * whole.max())


def test_pixels_outside_the_region_of_interest_are_zero_in_both(small_experiment):
    experiment = small_experiment(detector={"region_of_interest": {"slow": [10, 60], "fast": [20, 70]}})
    whole = small_experiment()
    image = simulate_frame(experiment, kernel="eager")
    expected = np.zeros_like(image)
    expected[10:60, 20:70] = simulate_frame(whole, kernel="eager")[10:60, 20:70]
    np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6 * expected.max())
    np.testing.assert_array_equal(image == 0, expected == 0)
    np.testing.assert_allclose(
        simulate_series(experiment, kernel="eager")[0], image, rtol=0, atol=1e-6 * expected.max()
    )
