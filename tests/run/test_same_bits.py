"""The same experiment gives the same image, however it was cut and whoever rendered it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from injected import in_process_client

from nbdist import generate, simulate_frame
from nbdist.planning import Cut
from nbdist.planning import plan as planning
from nbdist.run.context import make_context
from nbdist.run.rendering import assemble_frame, render_frame, render_partial

FRAMES = 5
NOISY = {"photon_noise": True, "seed": 7}
READ = {"read_noise_electrons": 2.0, "offset_adu": 20.0, "calibration_sigma": 0.1, "dead_pixel_fraction": 0.01}
READ |= {"point_spread": {"kind": "fibre", "fwhm_mm": 0.8}, "electrons_per_photon": 5.0}


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(scan={"frames": FRAMES}, noise=NOISY, readout=READ)


@pytest.fixture(scope="module")
def serial_store(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("serial") / "series.zarr"
    generate(experiment, location, serial=True)
    return location


@pytest.fixture
def client_of(workers, request):
    """Two workers are processes, which the session has; one or three live in this process."""
    if workers == 2:
        yield request.getfixturevalue("client")
    else:
        with in_process_client(*[{}] * workers) as connected:
            yield connected


@pytest.mark.integration
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_bits_of_a_serial_run(
    workers, client_of, experiment, serial_store, tmp_path, assert_same_bits
):
    progress = generate(experiment, tmp_path / "dask.zarr", client_of, frames_per_shard=1)
    assert (progress.frames_done, progress.failed) == (FRAMES, {})
    assert progress.workers == workers
    assert_same_bits(serial_store, tmp_path / "dask.zarr")


@pytest.mark.integration
@settings(max_examples=8)
@given(frames_per_shard=st.integers(1, FRAMES), on_dask=st.booleans())
def test_any_number_of_frames_in_a_shard_gives_the_same_bits(
    frames_per_shard, on_dask, experiment, serial_store, client, tmp_path, assert_same_bits
):
    location = tmp_path / "cut.zarr"
    generate(
        experiment,
        location,
        client if on_dask else None,
        serial=not on_dask,
        frames_per_shard=frames_per_shard,
        overwrite=location.exists(),
    )
    assert_same_bits(serial_store, location)


@pytest.mark.integration
def test_the_run_makes_its_own_workers_where_no_client_is_given(experiment, serial_store, tmp_path, assert_same_bits):
    progress = generate(experiment, tmp_path / "own.zarr", workers=1, frames_per_shard=2)
    assert progress.workers == 1
    assert_same_bits(serial_store, tmp_path / "own.zarr")


@pytest.fixture
def client_for(kernel, request):
    """A client of two workers; in this process, which has loaded PyTorch, for the kernel that needs it."""
    if kernel == "compiled":
        yield request.getfixturevalue("client")
        return
    with in_process_client({}, {}) as here:
        yield here


@pytest.mark.integration
@pytest.mark.parametrize("kernel", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_frames_split_into_tasks_have_the_bits_of_whole_frames(
    kernel, experiment, client_for, tmp_path, monkeypatch, assert_same_bits
):
    few = experiment.with_changes(scan={"frames": 2})
    cut = {"tile": (40, 32), "phi_chunk": 3, "frames_per_shard": 1}
    generate(few, tmp_path / "whole.zarr", serial=True, kernel=kernel, **cut)
    monkeypatch.setattr(planning, "SPLIT_TASK_S", 1e-9)
    context = make_context(few, workers=2, kernel=kernel, cut=Cut(**cut))
    assert context.plan.split
    assert context.plan.tasks_per_frame == 3 * 3 * 2, "96 x 80 pixels in 40 x 32, 4 phi steps in 3"
    progress = generate(few, tmp_path / "split.zarr", client_for, kernel=kernel, **cut)
    assert (progress.frames_done, progress.failed) == (2, {})
    assert_same_bits(tmp_path / "whole.zarr", tmp_path / "split.zarr")


def test_a_frame_assembled_from_partials_is_the_frame_rendered_whole(small_experiment):
    context = make_context(small_experiment(), kernel="eager", cut=Cut((50, 33), 1))
    partials = [
        [render_partial(context, 1, tile, chunk) for chunk in context.plan.chunks] for tile in context.plan.tiles
    ]
    [whole] = render_frame(context, 1)
    assert whole.max() > 0
    np.testing.assert_array_equal(assemble_frame(context, 1, partials), [whole])


@settings(max_examples=15)
@given(
    tile=st.tuples(st.integers(17, 96), st.integers(17, 80)),
    phi_chunk=st.integers(1, 4),
    precision=st.sampled_from(["float64", "float32"]),
)
def test_another_tile_and_chunk_changes_rounding_only(tile, phi_chunk, precision, small_experiment):
    experiment = small_experiment(sampling={"precision": precision})
    whole = simulate_frame(experiment, 2, kernel="eager")
    [cut] = render_frame(make_context(experiment, kernel="eager", cut=Cut(tile, phi_chunk)), 2)
    assert whole.dtype == cut.dtype == precision
    # the bounds: the order of float64 additions, and one float32 rounding at the brightest pixel
    tolerance = {"float64": 1e-12, "float32": 1e-6}[precision] * whole.max()
    np.testing.assert_allclose(cut, whole, rtol=0, atol=tolerance)


def test_photons_are_divided_by_the_steps_of_the_experiment_not_of_a_chunk(small_experiment):
    context = make_context(small_experiment(), kernel="eager", cut=Cut(phi_chunk=1))
    assert context.scene.steps == 4, "one source, 4 phi steps, one domain, one subpixel"
    tile = context.plan.tiles[0]
    single = [
        context.renderer.photons(context.renderer.partial(tile, 0, *chunk), tile, 0) for chunk in context.plan.chunks
    ]
    np.testing.assert_allclose(sum(single), render_frame(context, 0)[0], rtol=1e-6)
    one_step = small_experiment(scan={"phi_steps": 1, "osc_range_deg": 0.125, "frames": 1})
    alone = simulate_frame(one_step, 0, kernel="eager")
    np.testing.assert_allclose(4 * single[0], alone, rtol=0, atol=1e-6 * alone.max())


def test_frame_n_of_a_series_is_frame_0_of_a_series_that_starts_there(small_experiment):
    series = small_experiment(sampling={"precision": "float64"})
    later = small_experiment(sampling={"precision": "float64"}, scan={"phi_start_deg": 11.0, "frames": 1})
    third = simulate_frame(series, 2, kernel="eager")
    # 10 + 2 * 0.5 is 11 without rounding
    np.testing.assert_allclose(simulate_frame(later, 0, kernel="eager"), third, rtol=0, atol=1e-12 * third.max())


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_store_holds_what_simulate_frame_returns(precision, small_experiment, tmp_path, stored):
    experiment = small_experiment(sampling={"precision": precision})
    generate(experiment, Path(tmp_path / "a.zarr"), serial=True)
    for frame, image in enumerate(stored(tmp_path / "a.zarr")["intensity"]):
        rendered = simulate_frame(experiment, frame)
        assert rendered.dtype == precision
        np.testing.assert_array_equal(image, rendered.astype(np.float32))
