"""One image, whole or in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.run.simulate import simulate_frame
from nbdist.run.single import render_image, single_context


def test_every_piece_is_told_and_they_make_the_image(small_experiment):
    experiment = small_experiment(sampling={"precision": "float64"})
    context = single_context(experiment, device="cpu")
    done = []
    [image] = render_image(context, report=lambda count, total: done.append((count, total)))
    pieces = len(context.plan.tiles)
    assert done == [(n, pieces) for n in range(1, pieces + 1)]
    np.testing.assert_array_equal(image, simulate_frame(experiment, device="cpu"))


@pytest.mark.parametrize("size", [(40, 48), (300, 270)])
def test_an_image_has_the_bits_of_a_frame_of_a_series(size, small_experiment):
    experiment = small_experiment(panel={"spixels": size[0], "fpixels": size[1]}, scan={"phi_steps": 10})
    context = single_context(experiment, device="cpu", kernel="compiled")
    assert len(context.plan.tiles) > 1
    np.testing.assert_array_equal(render_image(context)[0], simulate_frame(experiment, device="cpu"))
