"""A tile that does not fit the memory of the device is halved, and the bits stay the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbdist import generate
from nbdist.frames.renderer import Renderer
from nbdist.planning import Tile
from nbdist.run import device_memory
from nbdist.run.context import make_context
from nbdist.run.device_memory import halves, partial_that_fits
from nbdist.run.rendering import render_frame

GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
CPU = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")


@pytest.fixture
def small_memory(monkeypatch):
    """`small_memory(pixels, error)`: a renderer that has memory for so many pixels; returns the tiles it was asked for."""

    def limit(pixels, error=GPU):
        asked = []

        def limited(self, box, *rest, whole=Renderer.partial):
            asked.append(Tile(*box))
            if asked[-1].pixels > pixels:
                raise error
            return whole(self, box, *rest)

        monkeypatch.setattr(Renderer, "partial", limited)
        return asked

    return limit


@pytest.mark.parametrize("error", [GPU, CPU], ids=["gpu", "cpu"])
def test_the_tile_is_halved_until_it_fits_and_the_bits_stay(error, small_experiment, small_memory, monkeypatch):
    monkeypatch.setattr(device_memory, "SMALLEST_TILE", 64)
    context = make_context(small_experiment(), kernel="eager")
    [whole] = render_frame(context, 1)
    asked = small_memory(1000, error)
    [image] = render_frame(context, 1)
    assert whole.any()
    np.testing.assert_array_equal(image, whole)
    # 96 x 80 = 7680, 48 x 80 = 3840, 48 x 40 = 1920, 24 x 40 = 960
    assert [tile.pixels for tile in asked[:4]] == [7680, 3840, 1920, 960]
    assert sum(tile.pixels for tile in asked if tile.pixels <= 1000) == 7680
    assert context.renderer.backend._whole_pixel._kept == {}, "what is kept of one piece is memory that the next wants"
    asked.clear()
    render_frame(context, 2)
    assert {tile.pixels for tile in asked} == {960}, "what did not fit is not tried again"


def test_a_run_short_of_memory_has_the_bits_of_one_that_is_not(
    small_experiment, small_memory, monkeypatch, tmp_path, assert_same_bits
):
    cut = {"serial": True, "kernel": "eager", "frames_per_shard": 1}
    generate(small_experiment(), tmp_path / "ample.zarr", **cut)
    monkeypatch.setattr(device_memory, "SMALLEST_TILE", 64)
    small_memory(500)
    progress = generate(small_experiment(), tmp_path / "short.zarr", **cut)
    assert (progress.frames_done, progress.failed, progress.retried) == (3, {}, 0)
    assert_same_bits(tmp_path / "short.zarr", tmp_path / "ample.zarr")


def test_where_the_smallest_tile_does_not_fit_the_unit_fails_with_the_devices_words(
    small_experiment, small_memory, tmp_path
):
    small_memory(0)
    progress = generate(small_experiment(), tmp_path / "a.zarr", serial=True, kernel="eager", frames=range(1))
    assert "out of memory" in progress.failed[0]


def test_another_error_is_not_taken_for_a_lack_of_memory(small_experiment, small_memory):
    asked = small_memory(0, RuntimeError("expected a tensor"))
    context = make_context(small_experiment(), kernel="eager")
    with pytest.raises(RuntimeError, match="expected a tensor"):
        partial_that_fits(context, context.plan.tiles[0], 0, context.plan.chunks[0])
    assert len(asked) == 1


def test_halves_lie_side_by_side():
    assert halves(Tile(3, 0, 9, 5, 9)) == (Tile(3, 0, 4, 5, 9), Tile(3, 4, 9, 5, 9), 0)
    assert halves(Tile(0, 0, 4, 0, 5)) == (Tile(0, 0, 4, 0, 2), Tile(0, 0, 4, 2, 5), 1)
