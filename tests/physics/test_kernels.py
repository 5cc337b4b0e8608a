"""Compiled and eager kernels are one specification; where compiling fails, the eager one takes over and says so."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from nbdist.physics import kernels

# float32 rounds to 6e-8; a sum of side lobes differs by a few of them
FLOAT32_ROUNDING = 1e-6


@pytest.mark.parametrize("shape", ["square", "round", "gauss"])
def test_compiled_equals_eager_within_float32_rounding(small_experiment, make_renderer, shape):
    experiment = small_experiment(crystal={"shape": shape})
    eager = make_renderer(experiment, "eager").frame(0)
    compiled = make_renderer(experiment, "compiled")
    assert np.abs(compiled.frame(0) - eager).max() <= FLOAT32_ROUNDING * eager.max()
    assert compiled.kernels.mode == "compiled"


def test_float32_equals_float64_within_float32_rounding(small_experiment, make_renderer):
    experiment = small_experiment()
    exact = make_renderer(experiment.with_changes(sampling={"precision": "float64"})).frame(0)
    assert np.abs(make_renderer(experiment).frame(0) - exact).max() <= FLOAT32_ROUNDING * exact.max()


def fail_to_compile(*arguments, **options):
    raise RuntimeError("no C++ compiler was found\nand a long trace of the compiler's inside")


@pytest.mark.parametrize("place", ["when_called", "when_wrapped"])
def test_a_failed_compilation_falls_back_to_eager_and_says_so_once(
    small_experiment, make_renderer, monkeypatch, caplog, place
):
    if place == "when_wrapped":
        monkeypatch.setattr(kernels, "_compile", fail_to_compile)
    else:
        monkeypatch.setattr(kernels, "_compiled", {})
        monkeypatch.setattr(torch, "compile", lambda function, **options: fail_to_compile)
    experiment = small_experiment()
    with caplog.at_level(logging.WARNING, logger="nbdist"):
        renderer = make_renderer(experiment, "compiled")
        images = [renderer.frame(0), renderer.frame(0)]
    expected = make_renderer(experiment, "eager").frame(0)
    for image in images:
        np.testing.assert_array_equal(image, expected)
    assert renderer.kernels.mode == "eager"
    [record] = caplog.records
    message = record.getMessage()
    assert "torch.compile" in message
    assert "no C++ compiler was found" in message
    assert "\n" not in message


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
