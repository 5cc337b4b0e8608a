"""What a viewer is answered: windows at the resolution of a screen, what is under the pointer, spots, rocking curves."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from sample_sets import make_dataset, recipe_with, write_units

from nbdist import generate, open_spots
from nbdist.errors import NbdistError
from nbdist.formats.views import State
from nbdist.run.preview import quiet
from nbdist.scene import resolve
from nbdist.view.model import HALF_BOX, RING, Look, Model, Window

FRAMES, RENDERED = 5, 4
SLOW, FAST = 1100, 620
"""More than one chunk along both."""
LEVEL = 2.0
"""Photons a pixel beside the spots."""


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        panel={"spixels": SLOW, "fpixels": FAST, "pixel_size_mm": 0.1, "distance_mm": 100},
        crystal={"N_cells": [24, 21, 18]},
        scan={"frames": FRAMES, "osc_range_deg": 0.2, "phi_steps": 1},
        background={"level_photons": LEVEL},
        noise={"photon_noise": True},
    )


@pytest.fixture(scope="module")
def store(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("view") / "a.zarr"
    generate(experiment, location, serial=True, frames=range(RENDERED), frames_per_shard=1)
    return location


@pytest.fixture(scope="module")
def counts(store):
    return zarr.open_group(str(store), mode="r")["counts"][:]


@pytest.fixture
def model(store):
    return Model(str(store))


def one(frame: int, product: str = "counts", panel: int | None = None) -> Look:
    return Look(product, panel, range(frame, frame + 1))


def whole(dots: tuple[int, int]) -> Window:
    return Window((0, SLOW), (0, FAST), dots)


def test_counts_come_first_and_the_whole_image_is_all_there_is(model):
    assert model.products[:2] == ["counts", "intensity"]
    assert model.arrangement(one(0)).shape == (SLOW, FAST)
    assert (model.samples, model.frames_of_sample, model.panels) == (1, FRAMES, 1)


def test_a_dot_is_the_brightest_of_its_square(model, counts):
    picture = model.picture(one(1), whole((275, 310)))
    assert picture.factor == 4
    assert picture.first == (0, 0)
    expected = counts[1].reshape(SLOW // 4, 4, FAST // 4, 4).max(axis=(1, 3))
    np.testing.assert_array_equal(picture.view.values, expected)
    assert picture.title == "frame 1, phi 10.2 to 10.4 deg"
    assert not picture.corners, "one panel needs no number"
    assert not picture.missing


def test_a_small_window_has_true_pixels_and_reads_one_chunk(model, counts):
    picture = model.picture(one(2), Window((600.2, 640.9), (7.5, 38.0), (600, 500)))
    assert (picture.factor, picture.first) == (1, (600, 7))
    np.testing.assert_array_equal(picture.view.values, counts[2, 600:641, 7:38])
    assert picture.view.values.dtype == counts.dtype
    array = zarr.open_group(model.images.name, mode="r")["counts"]
    assert model.blocks.pixels_read == array.chunks[1] * array.chunks[2]


def test_a_window_beyond_the_edges_ends_at_them(model, counts):
    picture = model.picture(one(0), Window((-300, 40), (600, 2000), (100, 400)))
    assert picture.factor == 4
    rows, columns = slice(0, 40), slice(600, FAST)
    expected = counts[0, rows, columns].reshape(10, 4, 5, 4).max(axis=(1, 3))
    np.testing.assert_array_equal(picture.view.values, expected)
    assert model.picture(one(0), Window((5000, 5010), (-9, -1), (10, 10))).view.values.shape == (1, 1)


def test_what_was_read_is_kept_within_a_bound(store, counts):
    array = zarr.open_group(str(store), mode="r")["counts"]
    chunk = array.chunks[1] * array.chunks[2] * array.dtype.itemsize
    model = Model(str(store), most_bytes=3 * chunk)
    for frame in (0, 1, 2, 0):
        np.testing.assert_array_equal(model.picture(one(frame), whole((SLOW, FAST))).view.values, counts[frame])
        assert 0 < model.blocks.kept_bytes <= 3 * chunk
    kept = Model(str(store))
    kept.picture(one(0), whole((SLOW, FAST)))
    read = kept.blocks.pixels_read
    kept.picture(one(0), Window((10, 1000), (10, 600), (50, 50)))
    assert kept.blocks.pixels_read == read


def test_a_maximum_is_over_the_frames_that_are_rendered(model, counts):
    picture = model.picture(Look("counts", None, range(FRAMES)), whole((SLOW, FAST)))
    np.testing.assert_array_equal(picture.view.values, counts[:RENDERED].max(axis=0))
    assert picture.title == "maximum over frames 0 to 3, phi 10 to 10.8 deg"
    assert picture.missing == "1 of these 5 frames are not rendered yet"


def test_reading_a_maximum_is_given_up_where_somebody_says_so(model):
    class EnoughError(Exception):
        pass

    def report(done, total):
        if done == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        model.picture(Look("counts", None, range(RENDERED)), whole((SLOW, FAST)), report)
    assert model.blocks.pixels_read == 2 * SLOW * FAST
    assert model.blocks.kept_bytes == 0


def test_a_frame_that_is_not_rendered_yet_is_shown_as_that(model):
    picture = model.picture(one(4), whole((110, 62)))
    assert set(np.unique(picture.view.states)) == {State.UNFINISHED}
    assert picture.missing == "frame 4 is not rendered yet (4 of 5 are)"
    pixel = model.pixel(one(4), 3.0, 4.0)
    assert (pixel.value, pixel.state) == (None, State.UNFINISHED)
    assert model.blocks.pixels_read == 0


def test_frames_appear_as_they_are_rendered(small_experiment, tmp_path):
    location, experiment = tmp_path / "a.zarr", small_experiment(scan={"phi_steps": 1})
    generate(experiment, location, serial=True, frames=range(2), frames_per_shard=1)
    model, window = Model(str(location)), Window((0, 96), (0, 80), (96, 80))
    model.look_again()
    assert model.progress() == "2 of 3 frames are rendered"
    generate(experiment, location, serial=True, frames_per_shard=1, resume=True)
    assert model.picture(one(2, "intensity"), window).missing
    model.look_again()
    assert model.finished
    last = zarr.open_group(str(location), mode="r")["intensity"][2]
    np.testing.assert_array_equal(model.picture(one(2, "intensity"), window).view.values, last)


def test_the_pixel_under_the_pointer(model, counts, experiment):
    row, column = (int(place) for place in np.unravel_index(counts[3].argmax(), counts[3].shape))
    pixel = model.pixel(one(3), row + 0.9, column + 0.1)
    assert (pixel.panel, pixel.slow, pixel.fast, pixel.value) == (0, row, column, counts[3].max())
    assert isinstance(pixel.value, int)
    # by Bragg's law, from the place of the pixel alone
    panel = resolve(experiment).instrument.panels[0]
    direction = panel.directions(row + 0.5, column + 0.5)[0]
    theta = np.arccos(direction @ panel.beam) / 2
    assert pixel.d_A == pytest.approx(1.0 / (2 * np.sin(theta)), rel=1e-12)
    assert model.pixel(one(3), -0.1, 5) is None
    assert model.pixel(one(3), 5, FAST) is None


def test_spots_are_where_the_image_is_bright_and_the_brightest_come_first(model):
    photons = zarr.open_group(model.images.name, mode="r")["intensity"][1] - LEVEL
    spots = model.spots(one(1), whole((SLOW, FAST)))
    assert len(spots.slow) > 20
    about = [
        photons[max(0, int(slow) - 2) : int(slow) + 3, max(0, int(fast) - 2) : int(fast) + 3].sum()
        for slow, fast in zip(spots.slow[:5], spots.fast[:5], strict=True)
    ]
    assert min(about) > 20 * 25 * photons.mean()
    some = model.spots(one(1), Window((100, 300), (0, 200), (1, 1)))
    inside = (spots.slow >= 100) & (spots.slow < 300) & (spots.fast >= 0) & (spots.fast < 200)
    assert some.indices == [name for name, there in zip(spots.indices, inside, strict=True) if there]
    assert not len(model.spots(one(4), whole((SLOW, FAST))).slow), "of a frame that is not rendered"


def test_the_rocking_curve_of_a_spot_is_the_sum_of_its_box_less_the_background(model, counts):
    spots = model.spots(one(1), whole((SLOW, FAST)))
    slow, fast = spots.slow[0], spots.fast[0]
    curve = model.rocking_curve(one(1), slow + 1.2, fast - 0.8)
    assert curve.name == spots.indices[0]
    assert len(curve.rows) == len(curve.columns) == 2 * HALF_BOX + 1
    assert (curve.rows[HALF_BOX], curve.columns[HALF_BOX]) == (int(slow), int(fast))
    box = counts[:RENDERED, curve.rows.start : curve.rows.stop, curve.columns.start : curve.columns.stop]
    wide = counts[:RENDERED, curve.rows.start - RING : curve.rows.stop + RING]
    wide = wide[:, :, curve.columns.start - RING : curve.columns.stop + RING].astype(float)
    wide[:, RING:-RING, RING:-RING] = np.nan
    below = np.nanmedian(wide, axis=(1, 2))
    assert (below > 0).all()
    np.testing.assert_array_equal(curve.sums, box.sum(axis=(1, 2)) - curve.pixels * below)
    assert (curve.product, curve.pixels) == ("counts", box[0].size)
    assert curve.frames == [0, 1, 2, 3]
    np.testing.assert_allclose(curve.edges, [[10 + 0.2 * n, 10.2 + 0.2 * n] for n in range(4)])
    assert curve.along == "phi (degrees)"


def test_a_click_where_no_spot_is_sums_about_the_pixel(model, counts):
    places = model.spots(one(1), whole((SLOW, FAST)))
    apart = [
        (slow, fast)
        for slow in range(20, SLOW, 40)
        for fast in range(0, FAST, 40)
        if np.hypot(places.slow - slow, places.fast - fast).min() > 12
    ]
    slow, fast = apart[0]
    curve = model.rocking_curve(one(1), slow, fast)
    assert curve.name == ""
    assert curve.columns.start == max(0, fast - HALF_BOX)
    assert (np.abs(curve.sums) < 0.5 * LEVEL * curve.pixels).all(), "the background is taken away"
    assert curve.rows == range(slow - HALF_BOX, slow + HALF_BOX + 1)


def test_a_label_that_numbers_spots_has_no_maximum(small_experiment, tmp_path):
    experiment = small_experiment(crystal={"shape": "gauss"}, sampling={"method": "integrated"}, labels={"spot": True})
    generate(experiment, tmp_path / "a.zarr", serial=True)
    model = Model(str(tmp_path / "a.zarr"))
    assert "spot" in model.products
    window = Window((0, 96), (0, 80), (96, 80))
    stored = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")["spot"][0]
    np.testing.assert_array_equal(model.picture(one(0, "spot"), window).view.values, stored)
    with pytest.raises(NbdistError, match="spot numbers the spots of each frame"):
        model.picture(Look("spot", None, range(2)), window)
    # nor a rocking curve: numbers of spots would be added up
    place = tuple(its[0] + 0.5 for its in np.nonzero(stored))
    curve, summed = (model.rocking_curve(one(0, product), *place) for product in ("spot", "intensity"))
    assert curve.product == "intensity"
    np.testing.assert_array_equal(curve.sums, summed.sums)


@pytest.fixture(scope="module")
def panelled(small_experiment, tmp_path_factory):
    """Two panels of other shapes beside each other, the second with a gap in its middle, and readings of 5 at most."""
    location = tmp_path_factory.mktemp("view") / "panels.zarr"
    size = {"pixel_size_mm": 0.8, "distance_mm": 100}
    experiment = small_experiment(
        detector={
            "convention": "xds",
            "panels": [
                {"spixels": 60, "fpixels": 40, "near_point_pixels": [44.5, 30.5], **size},
                {
                    "spixels": 60,
                    "fpixels": 50,
                    "near_point_pixels": [-5.5, 30.5],
                    "modules": {"spixels": 27, "fpixels": 50, "slow_gap_pixels": 6},
                    **size,
                },
            ],
        },
        scan={"frames": 2, "phi_steps": 1},
        noise={"photon_noise": True},
        readout={"saturation_adu": 5},
        beam={"fluence_photons_per_m2": 1e26},
    )
    generate(experiment, location, serial=True, frames_per_shard=1)
    return location


def test_panels_lie_on_one_canvas_where_they_are(panelled):
    model, group = Model(str(panelled)), zarr.open_group(str(panelled), mode="r")
    look = one(0)
    corners, shape = model.arrangement(look).corners, model.arrangement(look).shape
    assert (corners, shape) == ([(0, 0), (0, 50)], (60, 100)), "ten pixels apart"
    picture = model.picture(look, Window((0, shape[0]), (0, shape[1]), shape))
    view = picture.view
    assert picture.corners == corners
    for number, (slow, fast) in enumerate(corners):
        stored, mask = group[f"counts_{number}"][0], group[f"mask_{number}"][:]
        place = slice(slow, slow + stored.shape[0]), slice(fast, fast + stored.shape[1])
        np.testing.assert_array_equal(view.values[place], stored)
        states = view.states[place]
        np.testing.assert_array_equal(states == State.MASKED, mask == 1)
        np.testing.assert_array_equal(states == State.SATURATED, (stored >= 5) & (mask == 0))
    assert (view.states == State.MASKED).any()
    assert (view.states == State.SATURATED).any()
    slow, fast = corners[1]
    pixel = model.pixel(look, slow + 5.5, fast + 9.5)
    assert (pixel.panel, pixel.slow, pixel.fast) == (1, 5, 9)
    assert pixel.value == group["counts_1"][0, 5, 9]
    alone = model.pixel(one(0, panel=1), 5.5, 9.5)
    assert alone == pixel
    gap = model.pixel(one(0, panel=1), 29.5, 9.5)
    assert (gap.value, gap.state) == (None, State.MASKED)


def test_spots_of_a_panel_move_with_it(panelled):
    model = Model(str(panelled))
    both = model.spots(one(0), Window((-1e6, 1e6), (-1e6, 1e6), (1, 1)))
    alone = model.spots(one(0, panel=1), Window((-1e6, 1e6), (-1e6, 1e6), (1, 1)))
    corner = model.arrangement(one(0)).corners[1]
    np.testing.assert_allclose(both.fast[both.panel == 1] - corner[1], alone.fast)
    np.testing.assert_allclose(both.slow[both.panel == 1] - corner[0], alone.slow)
    assert set(both.panel) == {0, 1}


@pytest.fixture(scope="module")
def dataset(small_experiment, tmp_path_factory):
    """Three samples of two frames, of which the last one is not rendered yet."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: extra tables")
    experiment = small_experiment(
        crystal={"shape": "gauss"},
        scan={"frames": 2, "phi_steps": 1},
        sampling={"method": "integrated"},
        noise={"photon_noise": True},
        labels={"spots": True},
    )
    recipe = recipe_with(experiment, seed=1)
    location = make_dataset(tmp_path_factory.mktemp("view") / "set.zarr", recipe, 3, samples_per_unit=1)
    write_units(location, recipe, [0, 1])
    return location


def test_a_data_set_is_looked_at_by_samples(dataset):
    model, group = Model(str(dataset)), zarr.open_group(str(dataset), mode="r")
    assert (model.samples, model.frames_of_sample) == (3, 2)
    window = Window((0, 96), (0, 80), (96, 80))
    picture = model.picture(one(3), window)
    np.testing.assert_array_equal(picture.view.values, group["counts"][3])
    assert picture.title.startswith("sample 1 (")
    assert picture.title.endswith("), frame 1, phi 10.5 to 11 deg")
    both = model.picture(Look("counts", None, range(2, 4)), window)
    np.testing.assert_array_equal(both.view.values, group["counts"][2:4].max(axis=0))
    assert model.picture(one(4), window).missing == "sample 2 is not rendered yet (2 of 3 are)"


def test_spots_of_a_data_set_are_those_of_its_table(dataset):
    model, window = Model(str(dataset)), Window((0, 96), (0, 80), (96, 80))
    spots, rows = model.spots(one(3), window), open_spots(dataset, frames=range(3, 4))
    rows = rows[rows.photons > 1e-3 * rows.photons.max()].sort_values("photons", ascending=False, kind="stable")
    np.testing.assert_array_equal(spots.slow, rows.slow)
    assert spots.indices == [f"{row.h} {row.k} {row.l}" for row in rows.itertuples()]
    curve = model.rocking_curve(one(3), spots.slow[0], spots.fast[0])
    assert (curve.name, curve.frames) == (spots.indices[0], [2, 3]), "those of its own sample"
    assert model.rocking_curve(one(4), 10, 10).frames == []


def test_blocks_are_read_again_where_another_frame_is_asked_for(model, counts):
    (array,) = (its for its in model.images.schema.arrays if its.name == "counts")
    for frames in ([0], [1], [0, 1]):
        found = model.blocks.brightest(array, 0, frames, (range(530, 560), range(300, 330)), quiet)
        np.testing.assert_array_equal(found, counts[frames, 530:560, 300:330].max(axis=0))
