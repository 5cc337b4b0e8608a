"""One image, whole or in pieces."""

from __future__ import annotations

import numpy as np

from nbdist.execution.simulate import simulate_frame
from nbdist.execution.single import render_image, single_context


def test_pieces_add_up_to_the_image(small_experiment):
    experiment = small_experiment(sampling={"precision": "float64"})
    context = single_context(experiment, device="cpu", kernel="eager")
    assert len(context.plan.chunks) == 4
    done = []
    image = render_image(context, report=lambda count, total: done.append((count, total)))
    assert done == [(n, 4) for n in range(1, 5)]
    # chunks of phi change the order of float64 additions, nothing else
    np.testing.assert_allclose(image, simulate_frame(experiment, device="cpu", kernel="eager"), rtol=1e-13)


def test_tiles_do_not_change_a_bit(small_experiment):
    experiment = small_experiment(panel={"spixels": 300, "fpixels": 270}, scan={"phi_steps": 1})
    context = single_context(experiment, device="cpu", kernel="eager")
    assert (len(context.plan.tiles), len(context.plan.chunks)) == (4, 1)
    np.testing.assert_array_equal(render_image(context), simulate_frame(experiment, device="cpu", kernel="eager"))
