"""A frame can be cut anyhow: partial intensities add up, and `steps` is divided out once."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbdist.scene import Tile, resolve
from nbdist.scene.instrument import CLASSICAL_RADIUS_SQUARED_M2

# more than one block of 128 x 128 pixels along both sides, and more than one group of 1 degree
ROWS, COLUMNS, STEPS = 150, 140, 24
WHOLE = Tile(0, 0, ROWS, 0, COLUMNS)
LIMIT = {"float64": 1e-12, "float32": 1e-6}


def edges(size: int) -> st.SearchStrategy[list[int]]:
    """Where to cut [0, size): sorted, both ends included."""
    return st.lists(st.integers(1, size - 1), max_size=2, unique=True).map(lambda cuts: [0, *sorted(cuts), size])


def span(size: int) -> st.SearchStrategy[tuple[int, int]]:
    """A part of [0, size) that is not empty."""
    return st.tuples(st.integers(0, size - 1), st.integers(1, size)).map(
        lambda ends: (min(ends), max(ends[0] + 1, ends[1]))
    )


def pieces(cuts: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(cuts))


@pytest.fixture(scope="module")
def rendered(small_experiment, make_renderer):
    """`rendered(precision, mode)`: a renderer of the module's experiment and the partial of the whole frame 1."""

    @cache
    def make(precision, mode="eager"):
        experiment = small_experiment(
            panel={"spixels": ROWS, "fpixels": COLUMNS},
            # 30 orientations in a group: more than the eager kernel takes at a time in a whole block
            crystal={"mosaic_spread_deg": 0.2, "mosaic_domains": 3},
            scan={"phi_steps": STEPS, "osc_range_deg": 2.4},
            sampling={"precision": precision},
        )
        renderer = make_renderer(experiment, mode)
        return renderer, renderer.partial(WHOLE, 1)

    return make


def assert_cut_adds_up(renderer, whole, limit, rows, columns, steps):
    total = np.zeros_like(whole)
    for slow in pieces(rows):
        for fast in pieces(columns):
            for first, last in pieces(steps):
                total[slice(*slow), slice(*fast)] += renderer.partial(Tile(0, *slow, *fast), 1, first, last)
    assert np.abs(total - whole).max() <= limit * whole.max()


@pytest.mark.parametrize("precision", ["float64", "float32"])
@settings(max_examples=4)
@given(rows=edges(ROWS), columns=edges(COLUMNS), steps=edges(STEPS))
def test_partials_sum_to_the_whole_for_any_cut(rendered, precision, rows, columns, steps):
    assert_cut_adds_up(*rendered(precision), LIMIT[precision], rows, columns, steps)


@settings(max_examples=10)
@given(rows=edges(ROWS), columns=edges(COLUMNS), steps=edges(STEPS))
def test_compiled_partials_sum_to_the_whole_for_any_cut(rendered, rows, columns, steps):
    assert_cut_adds_up(*rendered("float32", "compiled"), LIMIT["float32"], rows, columns, steps)


@pytest.mark.parametrize(("precision", "mode"), [("float64", "eager"), ("float32", "eager"), ("float32", "compiled")])
@given(rows=span(ROWS), columns=span(COLUMNS))
def test_a_box_does_not_depend_on_the_box_it_is_part_of(rendered, precision, mode, rows, columns):
    renderer, whole = rendered(precision, mode)
    part = renderer.partial(Tile(0, *rows, *columns), 1)
    np.testing.assert_array_equal(part, whole[slice(*rows), slice(*columns)])


@given(first=st.integers(0, STEPS - 1), length=st.integers(0, STEPS))
def test_photons_of_partials_add_up_to_the_photons_of_the_frame(rendered, first, length):
    # fails where `photons` divides by the steps of the chunk that it was given
    renderer, whole = rendered("float64", "compiled")
    last = min(first + length, STEPS)
    ranges = [(0, first), (first, last), (last, STEPS)]
    total = sum(
        renderer.photons(renderer.partial(WHOLE, 1, *steps), WHOLE, 1) for steps in ranges if steps[0] < steps[1]
    )
    expected = whole * CLASSICAL_RADIUS_SQUARED_M2 * 1e24 / (3 * STEPS)
    assert np.abs(total - expected).max() <= 1e-12 * expected.max()


def test_one_of_four_equal_steps_has_a_quarter_of_the_photons(small_experiment, make_renderer):
    renderer = make_renderer(small_experiment(scan={"osc_range_deg": 0, "phi_steps": 4}))
    box = Tile(0, 0, 96, 0, 80)
    one = renderer.photons(renderer.partial(box, 0, 2, 3), box, 0)
    np.testing.assert_allclose(one, renderer.frame(0) / 4, rtol=1e-14)


def test_steps_counts_sources_phi_domains_and_subpixels_but_not_layers(small_experiment):
    experiment = small_experiment(
        beam={"dispersion": {"percent": 1, "steps": 3}},
        scan={"phi_steps": 5},
        crystal={"mosaic_spread_deg": 0.3, "mosaic_domains": 7},
        sampling={"oversample": 2},
        detector={"sensor": {"thickness_um": 300, "attenuation_depth_um": 200, "layers": 6}},
    )
    assert resolve(experiment).steps == 3 * 5 * 7 * 2**2


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("frame", [1, 2, 17])
def test_a_frame_equals_the_first_of_a_series_that_starts_there(small_experiment, make_renderer, precision, frame):
    experiment = small_experiment(scan={"frames": 20}, sampling={"precision": precision})
    later = experiment.with_changes(scan={"phi_start_deg": experiment.scan.frame_start_deg(frame), "frames": 1})
    image = make_renderer(experiment).frame(frame)
    np.testing.assert_array_equal(image, make_renderer(later).frame(0))
    assert image.max() > 0
    assert not np.array_equal(image, make_renderer(experiment).frame(0))


def test_midpoint_steps_are_half_a_step_later_than_left_ones(small_experiment, make_renderer):
    experiment = small_experiment(scan={"osc_range_deg": 0.5, "phi_steps": 4}, sampling={"precision": "float64"})
    left = experiment.with_changes(scan={"phi_rule": "left", "phi_start_deg": 10.0 + 0.5 / 8})
    image = make_renderer(experiment).frame(0)
    assert np.abs(image - make_renderer(left).frame(0)).max() <= 1e-11 * image.max()
