"""Pictures: no spot gets lost, what is no reading has a colour of its own, and a person can read the scale."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdist.formats.pictures import Marks, RadialProfile, frame_figure, radial_figure, sheet_figure, sheet_side
from nbdist.formats.scales import MOST_TICKS, Scale, log_ticks, tick_label, unit_label
from nbdist.formats.views import COLOURS, State, View, shrunk


def view(values, **states):
    made = View.of(np.asarray(values))
    for name, where in states.items():
        made.states[where] = State[name]
    return made


def frame(slow=60, fast=80, seed=1):
    """Counts of a background of 10 with one spot."""
    values = np.random.default_rng(seed).poisson(10, (slow, fast)).astype(np.int32)
    values[20, 30] = 5_000
    return values


def test_a_smaller_image_has_the_brightest_of_each_square():
    values = np.arange(7 * 10).reshape(7, 10)
    small, factor = shrunk(View.of(values), 4)
    assert factor == 3
    np.testing.assert_array_equal(small.values, [[22, 25, 28, 29], [52, 55, 58, 59], [62, 65, 68, 69]])
    assert not small.states.any(), "also where a square reaches past the edge of the image"


def test_what_holds_no_value_is_not_the_brightest_of_its_square():
    values = np.ones((4, 4), dtype=np.uint16)
    values[0, 0] = values[2, 2] = 65_535
    small, _ = shrunk(view(values, MASKED=(0, 0), BAD=(2, 2)), 2)
    np.testing.assert_array_equal(small.values, 1)
    assert small.states.tolist() == [[State.READ, State.READ], [State.READ, State.BAD]]


def test_a_square_is_masked_where_most_of_it_is_and_saturated_where_any_is():
    masked, saturated = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    masked[:2, :2] = masked[0, 2] = True
    masked[0, 0] = False
    saturated[3, 0] = True
    small, _ = shrunk(view(np.ones((4, 4)), MASKED=masked, SATURATED=saturated), 2)
    assert small.states.tolist() == [[State.MASKED, State.READ], [State.SATURATED, State.READ]]


@pytest.mark.parametrize(
    ("brightest", "name", "logarithmic"),
    [(299, "auto", False), (301, "auto", True), (299, "log", True), (301, "linear", False)],
)
def test_a_scale_is_logarithmic_where_the_range_asks_for_it(brightest, name, logarithmic):
    from matplotlib.colors import LogNorm  # here: it is loaded by one process of the tests, not by all

    values = np.full((10, 10), 10.0)
    values[0, 0] = brightest
    scale = Scale.of([View.of(values)], name)
    assert isinstance(scale.norm, LogNorm) == logarithmic


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e12), st.sampled_from(["auto", "linear", "log"]), st.booleans())
def test_the_numbers_of_a_scale_are_few_and_round_and_lie_on_it(low, ratio, name, whole):
    values = np.geomspace(low, low * ratio, 100).reshape(10, 10)
    scale = Scale.of([View.of(np.rint(values).astype(np.int64) if whole else values)], name)
    assert scale.norm.vmin < scale.norm.vmax
    assert len(scale.ticks) == len(scale.labels) <= MOST_TICKS + 1
    for tick, label in zip(scale.ticks, scale.labels, strict=True):
        assert scale.norm.vmin * (1 - 1e-9) <= tick <= scale.norm.vmax * (1 + 1e-9)
        assert len(label) < 24
        if label != "0" and "$" not in label:
            assert float(label.replace(",", "")) == pytest.approx(tick, rel=0.01)


def test_counts_of_nothing_have_a_place_on_a_logarithmic_scale():
    values = np.zeros((10, 10), dtype=np.int32)
    values[0, :5], values[1, 0] = 1, 400
    scale = Scale.of([View.of(values)])
    assert scale.labels[:3] == ["0", "1", "2"]
    assert scale.beyond == "neither"
    assert scale.norm(0.5) == 0


def test_a_scale_does_not_see_what_holds_no_value():
    values = np.full((10, 10), 7.0)
    values[0, 0] = 1e9
    assert Scale.of([view(values, BAD=(0, 0))]).norm.vmax == 7
    nothing = Scale.of([view(values, MASKED=slice(None))])
    assert nothing.labels == ["0", "1"]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0, "0"),
        (0.05, "0.05"),
        (1, "1"),
        (2.5, "2.5"),
        (5_000, "5,000"),
        (1e6, "$10^{6}$"),
        (2e-4, "$2 \\times 10^{-4}$"),
    ],
)
def test_numbers_are_written_as_a_person_reads_them(value, label):
    assert tick_label(value) == label


def test_ticks_of_many_decades_are_powers_of_ten():
    assert log_ticks(3, 150) == [5, 10, 20, 50, 100]
    assert log_ticks(1e-3, 1e4) == [10.0**n for n in range(-3, 5)]
    assert len(log_ticks(1e-12, 1e12)) <= MOST_TICKS


def test_a_scale_says_what_it_counts():
    assert unit_label("photon") == "photons per pixel"
    assert unit_label("ADU", 3) == "ADU per pixel, brightest of 3 x 3"
    assert unit_label("", 2) == "brightest of 2 x 2"


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []


def drawn(figure):
    """Red, green and blue of each dot of a figure."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def seen(figure, colour):
    """How many dots have a colour."""
    return int((np.abs(drawn(figure) - np.array(colour[:3])).max(axis=-1) < 0.01).sum())


def test_what_is_no_reading_is_drawn_in_colours_that_the_legend_names():
    values = frame()
    values[values == 5_000] = 6_000
    masked = np.zeros(values.shape, dtype=bool)
    masked[:, 40:43] = True
    figure = frame_figure(view(values, MASKED=masked, BAD=(5, 6), SATURATED=(20, 30)), "a", "photon")
    size = 1000 // 80  # dots along a side of a pixel
    assert seen(figure, COLOURS[State.BAD]) >= size**2
    assert seen(figure, COLOURS[State.SATURATED]) >= size**2
    assert seen(figure, COLOURS[State.MASKED]) >= 180 * size**2
    assert legend(figure) == ["masked or gap (180 px)", "bad (1 px)", "saturated (1 px)"]
    assert legend(frame_figure(View.of(values), "a", "photon")) == []


def test_what_is_read_in_a_shadow_shows_through():
    values, shadow = np.full((40, 40), 10.0), np.zeros((40, 40), dtype=bool)
    values[:20], shadow[:, :20] = 20, True
    dots = drawn(frame_figure(view(values, SHADOW=shadow), "a", "photon"))
    lit, dim = dots[600, 800], dots[600, 300]  # on the lower half
    assert (dots[200, 800] < lit - 0.1).all()
    assert dots[200, 300].sum() < dim.sum() - 0.1
    assert np.ptp(lit) < 0.01
    assert np.ptp(dim) > 0.1, "coloured"


def test_every_pixel_of_an_image_is_as_many_dots_as_the_others():
    checks = np.indices((90, 110)).sum(axis=0) % 2 * 10.0
    dots = drawn(frame_figure(View.of(checks), "a", "photon", scale="linear"))
    row = dots[100 + 4, 105 : 105 + 990, 0]  # through the first row of pixels, which are nine dots wide
    changes = np.flatnonzero(np.abs(np.diff(row)) > 0.5)
    assert set(np.diff(changes[1:])) == {9}, "the first is below the frame around the image"


def test_the_values_of_an_image_are_those_that_were_given():
    figure = frame_figure(View.of(frame()), "frame 3", "photon", origin=(100, 200))
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), frame())
    assert tuple(axes.images[0].get_extent()) == (200, 280, 160, 100)
    assert axes.get_title(loc="left") == "frame 3"
    assert figure.axes[1].get_ylabel() == "photons per pixel"


def test_a_contact_sheet_shows_its_images_on_one_scale():
    views = [view(frame(seed=number), MASKED=(slice(0, 5), slice(None))) for number in range(5)]
    figure = sheet_figure(views, [f"frame {number}" for number in range(5)], "five", "photon")
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title()]
    assert len(images) == 5
    assert len({(image.norm.vmin, image.norm.vmax) for image in images}) == 1
    for image, its in zip(images, views, strict=True):
        np.testing.assert_array_equal(image.get_array()[5:], its.values[5:])
    assert legend(figure) == ["masked or gap (2,000 px)"]


@pytest.mark.parametrize(
    ("number", "shape", "columns"),
    [(1, (9, 9), 1), (4, (9, 9), 2), (6, (9, 9), 3), (7, (9, 9), 4), (3, (9, 14), 1), (12, (9, 9), 4)],
)
def test_a_contact_sheet_leaves_few_places_empty(number, shape, columns):
    assert sheet_side(number, shape)[0] == columns


def test_a_radial_profile_has_resolution_below_and_angles_above():
    across = np.linspace(0.05, 0.6, 100)
    profile = RadialProfile(
        d_A=1 / across,
        two_theta_deg=np.rad2deg(2 * np.arcsin(across / 2)),
        pixels=np.full(100, 9),
        mean=np.linspace(20, 5, 100),
        percentiles={share: np.linspace(20, 5, 100) * share / 50 for share in (5, 25, 50, 75, 95)},
    )
    figure = radial_figure(profile, "a", "photon")
    (axes,) = figure.axes
    figure.canvas.draw()
    below = {text.get_text(): place for text, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)}
    assert below["2"] == 0.5
    above = axes.child_axes[0]
    angles = {
        float(text.get_text()): place for text, place in zip(above.get_xticklabels(), above.get_xticks(), strict=True)
    }
    assert 2 * np.rad2deg(np.arcsin(angles[20] / 2)) == pytest.approx(20, abs=0.01)
    mean = next(line for line in axes.lines if line.get_label() == "mean")
    np.testing.assert_array_equal(mean.get_ydata(), profile.mean)
    assert axes.get_yscale() == "linear"
    assert radial_figure(profile, "a", "photon", "log").axes[0].get_yscale() == "log"


def test_names_of_spots_are_whole_inside_the_picture_and_those_of_the_brightest_where_they_meet():
    """At every edge, and twice at nearly one place."""
    spots = np.array([[50.0, 50.0], [0.5, 20.0], [99.5, 20.0], [20.0, 0.5], [30.0, 99.5], [0.5, 99.5], [51.0, 50.0]])
    names = [f"-{number} 0 -1" for number in range(len(spots))]
    marks = Marks(spots, np.zeros(len(spots), dtype=int), names, [], np.full(2, np.nan))
    axes = frame_figure(View.of(np.ones((100, 100))), "", "photon", marks=marks).axes[0]
    assert [text.get_text() for text in axes.texts] == [name.replace("-", "−") for name in names[:-1]]
    panel = axes.get_window_extent()
    for text in axes.texts:
        box = text.get_window_extent()
        assert (box.min > panel.min).all()
        assert (box.max < panel.max).all()


def test_each_ring_that_shows_has_its_name_inside_the_picture():
    """Whole rings, one cut by all edges, one that takes a corner off, and one outside; at a zoom, and of an image that is low."""
    turns = np.linspace(0, 2 * np.pi, 721)[:, None]
    for slow, fast in ((100, 100), (40, 200)):
        origin = (300, 500)
        middle, corner = np.add(origin, (slow / 2, fast / 2)), np.hypot(slow, fast) / 2
        radii = [0.4 * slow, 0.48 * slow, 0.9 * corner, 0.99 * corner, 1.1 * corner]
        rings = [
            (middle + radius * np.hstack([np.sin(turns), np.cos(turns)]), f"{d} Å") for d, radius in enumerate(radii)
        ]
        marks = Marks(np.zeros((0, 2)), np.zeros(0, dtype=int), [], rings, middle)
        axes = frame_figure(View.of(np.ones((slow, fast))), "", "photon", origin=origin, marks=marks).axes[0]
        assert [text.get_text() for text in axes.texts] == ["0 Å", "1 Å", "2 Å", "3 Å"]
        boxes, panel = [text.get_window_extent() for text in axes.texts], axes.get_window_extent()
        assert all((box.min > panel.min).all() and (box.max < panel.max).all() for box in boxes)
        assert not any(box.overlaps(other) for box, other in itertools.combinations(boxes, 2))
