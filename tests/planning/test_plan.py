"""A plan covers the series exactly once, whatever the sizes, and needs neither torch nor Dask."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.errors import RunError
from nbdist.frames.products import products_of
from nbdist.planning import Cut, Layout, Settings, Tile, make_plan
from nbdist.planning.cutting import cut_phi, cut_tiles
from nbdist.planning.plan import LEAST_UNIT_S, UNIT_S, UNITS_PER_WORKER
from nbdist.scene import resolve

FAST = 50


def plan_of(experiment, tile=None, phi_chunk=None, frames_per_shard=None, **choices):
    cut = Cut(tile, phi_chunk, frames_per_shard)
    return make_plan(resolve(experiment), products=products_of(experiment), cut=cut, **choices)


def heavy(small_experiment, **scan):
    """Frames of about 100 s: 2000 x 2000 pixels and 6000 orientations."""
    panel = {"spixels": 2000, "fpixels": 2000}
    return small_experiment(panel=panel, scan={"phi_steps": 600, **scan}, crystal={"mosaic_spread_deg": 0.1})


@given(
    rows=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    region=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_tiles_cover_every_rendered_pixel_once_and_stay_on_their_panel(rows, size, region):
    regions = [
        Tile(panel, *sorted(round(x * height) for x in region[:2]), *sorted(round(x * FAST) for x in region[2:]))
        for panel, height in enumerate(rows)
    ]
    covered, expected = ([np.zeros((height, FAST), dtype=int) for height in rows] for _ in range(2))
    for tile in cut_tiles(regions, size):
        covered[tile.panel][tile.slices] += 1
        assert tile.shape[0] <= size[0]
        assert tile.shape[1] <= size[1]
        assert tile.pixels == covered[tile.panel][tile.slices].size
    for part in regions:
        expected[part.panel][part.slices] = 1
    for found, wanted in zip(covered, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@given(steps=st.integers(1, 300), size=st.integers(1, 400))
def test_chunks_cover_every_phi_step_once_in_order(steps, size):
    chunks = cut_phi(steps, size)
    assert [step for chunk in chunks for step in range(*chunk)] == list(range(steps))
    assert all(last - first <= size for first, last in chunks)


@given(
    frames=st.integers(1, 200),
    shard=st.integers(1, 50),
    workers=st.integers(1, 8),
    ends=st.tuples(*[st.floats(0, 1)] * 2),
)
def test_units_cover_every_frame_once_and_own_whole_shards(small_experiment, frames, shard, workers, ends):
    plan = plan_of(small_experiment(scan={"frames": frames}), workers=workers, frames_per_shard=shard)
    units = list(plan.units())
    assert [frame for unit in units for frame in unit.frames] == list(range(frames))
    assert len(units) == plan.unit_count
    for number, unit in enumerate(units):
        assert unit.number == number
        assert unit.first_frame == number * shard
        assert unit == plan.unit(number)
    first, last = sorted(round(x * frames) for x in ends)
    if first < last:
        some = [unit.number for unit in plan.units(range(first, last))]
        assert some == list(range(first // shard, (last - 1) // shard + 1))


@given(frames=st.integers(1, 5000), workers=st.integers(1, 64))
def test_chosen_sizes_are_possible_and_leave_work_for_every_worker(small_experiment, frames, workers):
    plan = plan_of(small_experiment(scan={"frames": frames}), workers=workers)
    assert 1 <= plan.settings.frames_per_shard <= max(1, frames // workers)
    assert plan.unit_count >= min(frames, workers)
    assert plan.worker_memory_bytes() > 0


def test_the_memory_of_a_worker_counts_what_its_threads_share_once(small_experiment):
    plan = plan_of(small_experiment(), amplitude_bytes=10**8)
    assert plan.memory.shared > plan_of(small_experiment()).memory.shared + 10**8 - 1
    assert plan.worker_memory_bytes(8) == plan.memory.shared + 8 * plan.memory.per_thread
    assert plan.worker_memory_bytes() == plan.worker_memory_bytes(1)


def test_the_memory_of_a_worker_counts_the_images_that_it_keeps_of_a_detector(small_experiment):
    def shared(**sections):
        return plan_of(small_experiment(**sections)).memory.shared

    pixels, plain = 96 * 80, shared()
    assert shared(background={"water_um": 1.0}) == plain + 4 * pixels
    assert shared(background={"water_um": 1.0, "level_photons": 1.0}) == plain + 8 * pixels
    assert shared(shadows={"beam_stop": {"size_mm": 1.0, "distance_mm": 9.0}}) == plain + 4 * pixels


def test_the_memory_of_a_thread_counts_the_orientations_of_a_chunk_and_the_frames_of_a_shard(small_experiment):
    def per_thread(phi_steps=10, **cut):
        return plan_of(small_experiment(scan={"frames": 40, "phi_steps": phi_steps}), **cut).memory.per_thread

    orientation = 9 * 8  # a (3, 3) float64
    assert per_thread(100_010) - per_thread() >= 100_000 * orientation
    assert per_thread(100_000) - per_thread(100_000, phi_chunk=10) >= 99_990 * orientation
    frame = 96 * 80 * 4  # float32
    assert per_thread(frames_per_shard=11) - per_thread(frames_per_shard=1) >= 10 * 2 * frame


@given(slow=st.integers(1, 5000), fast=st.integers(1, 5000), frames=st.integers(1, 100))
def test_a_shard_is_a_whole_number_of_chunks_and_covers_the_image(slow, fast, frames):
    layout = Layout.of((slow, fast), frames)
    assert all(shard % chunk == 0 for shard, chunk in zip(layout.shard, layout.chunk, strict=True))
    assert layout.shard[0] == frames
    assert layout.chunk[0] == 1
    for shard, chunk, size in zip(layout.shard[1:], layout.chunk[1:], (slow, fast), strict=True):
        assert size <= shard < size + chunk


@pytest.mark.parametrize("frames", [range(0, 4), range(3, 5), range(-1, 2), range(2, 2), range(2, 1)])
def test_frames_outside_the_series_are_refused(small_experiment, frames):
    plan = plan_of(small_experiment())
    with pytest.raises(RunError, match=r"outside the series of 3 frames") as raised:
        list(plan.units(frames))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("choice", [{"tile": (0, 10)}, {"tile": (10, -1)}, {"phi_chunk": 0}, {"frames_per_shard": 0}])
def test_sizes_below_one_are_refused(small_experiment, choice):
    with pytest.raises(RunError, match="at least 1"):
        plan_of(small_experiment(), **choice)


def test_a_frame_is_split_only_where_frames_are_few_and_heavy(small_experiment):
    workers = 4
    few, many = UNITS_PER_WORKER * workers - 1, UNITS_PER_WORKER * workers
    assert plan_of(heavy(small_experiment, frames=few), workers=workers).split
    assert not plan_of(heavy(small_experiment, frames=many), workers=workers).split
    assert not plan_of(heavy(small_experiment, frames=1), workers=1).split
    assert not plan_of(small_experiment(scan={"frames": 1}), workers=workers).split


def test_a_split_frame_gives_every_worker_a_task(small_experiment):
    plan = plan_of(heavy(small_experiment, frames=1), workers=6)
    assert plan.tasks_per_frame >= 6
    assert plan.settings.frames_per_shard == 1
    assert plan.tasks_per_frame == len(plan.tiles) * len(plan.chunks)


def test_the_users_sizes_are_kept(small_experiment):
    plan = plan_of(small_experiment(), tile=(20, 30), phi_chunk=3, frames_per_shard=2)
    assert plan.settings == Settings((20, 30), 3, 2, "compiled")
    assert [tuple(chunk) for chunk in plan.chunks] == [(0, 3), (3, 4)]
    assert len(plan.tiles) == 5 * 3


def test_settings_of_a_store_come_back_and_decide_the_plan(small_experiment):
    plan = plan_of(small_experiment(), workers=2, tile=(20, 30), phi_chunk=3, kernel="eager")
    settings = Settings.from_attributes(plan.settings.as_attributes())
    assert settings == plan.settings
    again = plan_of(small_experiment(), workers=7, settings=settings)
    assert (again.settings, again.tiles, again.chunks) == (plan.settings, plan.tiles, plan.chunks)


def test_tiles_and_chunks_larger_than_the_frame_are_the_frame(small_experiment):
    plan = plan_of(small_experiment(), tile=(5000, 5000), phi_chunk=999)
    assert plan.tiles == (Tile(0, 0, 96, 0, 80),)
    assert [tuple(chunk) for chunk in plan.chunks] == [(0, 4)]


def test_only_the_region_of_interest_costs(small_experiment):
    region = {"region_of_interest": {"slow": [0, 48], "fast": [0, 40]}}
    whole, part = plan_of(small_experiment()).cost, plan_of(small_experiment(detector=region)).cost
    assert part.pixels == 48 * 40
    assert part.pixel_steps == pytest.approx(whole.pixel_steps / 4)
    assert part.seconds == pytest.approx(whole.seconds / 4)


def seconds_of(small_experiment, shape, N_cells, **sampling):
    crystal = {"shape": shape, "N_cells": [N_cells] * 3}
    panel = {"pixel_size_mm": 0.172, "distance_mm": 230}
    return plan_of(
        small_experiment(crystal=crystal, panel=panel, scan={"phi_steps": 50}, sampling=sampling)
    ).cost.seconds


def test_terms_that_are_left_out_cost_little(small_experiment):
    assert seconds_of(small_experiment, "gauss", 3) == seconds_of(small_experiment, "square", 3)
    for shape, precision, least in (("gauss", "float32", 8), ("gauss", "float64", 1.5), ("tophat", "float32", 15)):
        brick = seconds_of(small_experiment, "square", 40, precision=precision)
        assert seconds_of(small_experiment, shape, 40, precision=precision) < brick / least
    # fewer of a larger crystal's terms are not 0, but each is looked at
    assert 10 < seconds_of(small_experiment, "square", 500) / seconds_of(small_experiment, "gauss", 500) < 40


def test_planning_and_experiments_load_neither_torch_nor_dask():
    heavy_modules = "{'torch', 'dask', 'distributed', 'zarr', 'xarray', 'matplotlib'}"
    code = f"import sys, nbdist, nbdist.planning, nbdist.experiment; sys.exit(str({heavy_modules} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == "set()"


def test_a_unit_of_a_data_set_is_no_shorter_for_many_workers(small_experiment):
    scene = resolve(small_experiment())
    few, many = (make_plan(scene, samples=5000, workers=workers) for workers in (1, 100_000))
    assert few.cost.seconds * few.settings.frames_per_shard == pytest.approx(UNIT_S, rel=0.1)
    assert many.cost.seconds * many.settings.frames_per_shard == pytest.approx(LEAST_UNIT_S, rel=0.1)


def test_the_frames_of_a_data_set_are_as_large_as_its_largest_detector(small_experiment):
    experiment = small_experiment()
    scene, products = resolve(experiment), products_of(experiment)
    (slow, fast), *_ = scene.instrument.shapes
    own, larger = (
        make_plan(scene, products=products, samples=9, shapes=[(factor * slow, fast)], cut=Cut(None, None, 3))
        for factor in (1, 10)
    )
    assert larger.cost.product_bytes == 10 * own.cost.product_bytes
    assert larger.cost.disk_bytes == pytest.approx(10 * own.cost.disk_bytes)
    kept = make_plan(scene, products=products, samples=9, cut=Cut(None, None, 3), kept_bytes=2**28)
    assert kept.worker_memory_bytes() == own.worker_memory_bytes() + 2**28
