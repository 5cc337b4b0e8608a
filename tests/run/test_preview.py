"""Looking at a store: images with what each pixel is, several panels as one, and radial profiles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from nbdist import generate, predict
from nbdist.errors import NbdistError
from nbdist.formats.views import State, View
from nbdist.run.preview import (
    Arrangement,
    Preview,
    marks_of,
    picture_of,
    profile_of,
    sheet_of,
    spread_frames,
)
from nbdist.run.radial import radial_profile
from nbdist.scene import resolve

FRAMES = 3
PIXEL_MM = 1.6


@pytest.fixture(scope="module")
def experiment_of(small_experiment):
    """`experiment_of(panel, ...)`: an experiment with counts whose panels are these."""

    def make(*panels, **sections):
        detector = {"convention": "xds", "panels": [{"pixel_size_mm": PIXEL_MM, **panel} for panel in panels]}
        return small_experiment(
            detector=detector,
            scan={"frames": FRAMES, "phi_steps": 1},
            noise={"photon_noise": True},
            background={"water_um": 0.5},
            **sections,
        )

    return make


@pytest.fixture(scope="module")
def store(experiment_of, tmp_path_factory):
    location = tmp_path_factory.mktemp("preview") / "a.zarr"
    generate(
        experiment_of({"spixels": 48, "fpixels": 40, "distance_mm": 100}), location, serial=True, frames_per_shard=1
    )
    return location


@pytest.fixture(scope="module")
def marked(store, tmp_path_factory):
    """The same with a gap, a bad pixel, and readings of 50 or more that count as saturated."""
    copy = Path(shutil.copytree(store, tmp_path_factory.mktemp("marked") / "a.zarr"))
    root = json.loads((copy / "zarr.json").read_text())
    del root["consolidated_metadata"]
    (copy / "zarr.json").write_text(json.dumps(root))
    group = zarr.open_group(str(copy), mode="r+")
    mask = group["mask"][:]
    mask[:, 20:22], mask[7, 9] = 1, 2
    group["mask"][:] = mask
    group["counts"].attrs["saturation_value"] = 50
    return copy


def counts(store):
    return zarr.open_group(str(store), mode="r")["counts"][:]


def test_a_frame_is_what_the_store_holds(store):
    images = Preview(store)
    (view,) = images.views(1)
    np.testing.assert_array_equal(view.values, counts(store)[1])
    assert not view.states.any()
    figure = picture_of(images, range(1, 2))
    said = figure.axes[0].get_title(loc="left")
    assert said.startswith("frame 1, phi 10.5 to 11 deg\ncounts: brightest ")
    np.testing.assert_array_equal(Preview(store, "intensity").views(2)[0].values.dtype, np.float32)


def test_maximum_and_mean_are_those_of_numpy(store):
    images, whole, told = Preview(store), counts(store), []
    report = lambda done, total: told.append((done, total))  # noqa: E731
    np.testing.assert_array_equal(images.maximum(range(3), report)[0].values, whole.max(axis=0))
    assert told == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_allclose(images.mean(range(1, 3))[0].values, whole[1:].mean(axis=0))


def test_a_zoom_is_read_alone(store):
    rows, columns = range(10, 30), range(20, 40)
    images = Preview(store, panel=0, zoom=(rows, columns))
    np.testing.assert_array_equal(images.views(0)[0].values, counts(store)[0, 10:30, 20:40])
    figure = picture_of(images, range(1))
    assert tuple(figure.axes[0].images[0].get_extent()) == (20, 40, 30, 10)


def test_each_pixel_is_what_the_mask_and_the_saturation_say(marked):
    images, whole = Preview(marked), counts(marked)
    (view,) = images.views(0)
    assert (view.states[:, 20:22] == State.MASKED).all()
    assert view.states[7, 9] == State.BAD
    elsewhere = view.drawn
    np.testing.assert_array_equal((view.states == State.SATURATED)[elsewhere], (whole[0] >= 50)[elsewhere])
    assert view.counted()[State.SATURATED] > 0
    (most,), (mean,) = images.maximum(range(3)), images.mean(range(3))
    ever = (whole.max(axis=0) >= 50) & elsewhere
    for its in (most, mean):
        np.testing.assert_array_equal(its.states == State.SATURATED, ever)


def test_shadows_are_those_of_their_label(experiment_of, tmp_path):
    stop = {"beam_stop": {"size_mm": 20.0, "distance_mm": 50.0}}
    panel = {"spixels": 48, "fpixels": 40, "distance_mm": 100}
    generate(experiment_of(panel, shadows=stop, labels={"shadow": True}), tmp_path / "a.zarr", serial=True)
    (view,) = Preview(tmp_path / "a.zarr").views(0)
    slow, fast = (PIXEL_MM * (np.arange(size) + 0.5 - size / 2) for size in (48, 40))
    far = np.hypot(slow[:, None], fast)  # the shadow's edge is 20 mm from the beam
    assert (view.states[far < 20 - PIXEL_MM] == State.SHADOW).all()
    assert not view.states[far > 20 + PIXEL_MM].any()
    profile = profile_of(Preview(tmp_path / "a.zarr"), range(1))[0]
    assert profile.pixels.sum() == (view.states == State.READ).sum()


def test_a_contact_sheet_shows_frames_and_counts_what_is_saturated_in_all(marked):
    images = Preview(marked)
    figure = sheet_of(images, range(3))
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == [
        "frame 0: 10 to 10.5 deg",
        "frame 1: 10.5 to 11 deg",
        "frame 2: 11 to 11.5 deg",
    ]
    saturated = sum(images.views(frame)[0].counted()[State.SATURATED] for frame in range(3))
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == [f"masked or gap ({48 * 2} px)", "bad (1 px)", f"saturated ({saturated:,} px)"]


def test_frames_of_a_sheet_are_spread_over_those_that_are_complete(store, experiment_of, tmp_path):
    images = Preview(store)
    assert [spread_frames(images.images, number) for number in (1, 2, 9)] == [[0], [0, 2], [0, 1, 2]]
    experiment = experiment_of({"spixels": 8, "fpixels": 8, "distance_mm": 100})
    generate(experiment, tmp_path / "a.zarr", serial=True, frames_per_shard=1, frames=range(1, 2))
    assert spread_frames(Preview(tmp_path / "a.zarr").images, 2) == [1]
    with pytest.raises(NbdistError, match="frame 2 is not rendered yet"):
        picture_of(Preview(tmp_path / "a.zarr"), range(2, 3))


def panels_at(*corners, **others):
    panel = {"spixels": 20, "fpixels": 14, **others}
    return [{**panel, "origin_mm": [PIXEL_MM * fast, PIXEL_MM * slow, 100.0]} for slow, fast in corners]


def test_panels_are_drawn_where_they_are(experiment_of, tmp_path):
    experiment = experiment_of(*panels_at((-21, -15), (-21, 1), (1, -15)))
    generate(experiment, tmp_path / "a.zarr", serial=True)
    images, whole = Preview(tmp_path / "a.zarr"), counts(tmp_path / "a.zarr")
    assert images.arrangement(0) == Arrangement([(0, 0), (0, 16), (22, 0)], (42, 30))
    view = images.together(images.views(1), 1)
    for panel, (slow, fast) in enumerate(images.arrangement(0).corners):
        np.testing.assert_array_equal(view.values[slow : slow + 20, fast : fast + 14], whole[1, panel])
    assert (view.states == State.NOWHERE).sum() == 42 * 30 - 3 * 280
    figure = picture_of(images, range(1, 2))
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "1", "2"]
    alone = picture_of(Preview(tmp_path / "a.zarr", panel=1), range(1, 2))
    np.testing.assert_array_equal(alone.axes[0].images[0].get_array(), whole[1, 1])
    assert alone.axes[0].get_title(loc="left").startswith("frame 1, panel 1, phi")


@pytest.mark.parametrize(
    "change", [{"rotation_deg": [0, 10, 0]}, {"pixel_size_mm": 0.8}, {"origin_mm": [900.0, 0.0, 100.0]}]
)
def test_panels_that_fit_no_grid_are_drawn_side_by_side(change, experiment_of):
    one, other = panels_at((0, 0), (0, 14))
    panels = resolve(experiment_of(one, other | change)).instrument.panels
    assert Arrangement.of(panels) == Arrangement([(0, 0), (0, 15)], (20, 29))


def test_panels_that_lie_over_each_other_are_drawn_side_by_side(experiment_of):
    panels = resolve(experiment_of(*panels_at((0, 0), (0, 13)))).instrument.panels
    assert Arrangement.of(panels) == Arrangement([(0, 0), (0, 15)], (20, 29))


def test_predicted_spots_lie_where_the_image_is_bright(experiment_of, finished_small):
    """The rings where their spacing scatters to, the beam where it meets the panel."""
    zoom = (range(48), range(20, 80))
    images = Preview(finished_small, panel=0, zoom=zoom)
    marks = marks_of(images, range(1, 2), most_named=400)
    assert len(marks.spots) == len(marks.names) > 10
    assert ((marks.spots >= [0, 20]) & (marks.spots < [48, 80])).all()
    image = images.views(1)[0].values
    near = [image[max(0, s - 1) : s + 2, max(0, f - 21) : f - 18].max() for s, f in marks.spots.astype(int)]
    assert np.median(near) > np.quantile(image, 0.9)
    (panel,) = images.geometry(0)
    for curve, name in marks.rings:
        assert panel.resolution_A(*curve.T, 1.0) == pytest.approx(float(name.split()[0]))
    towards, _ = panel.directions(*marks.beam)
    assert towards == pytest.approx(panel.beam)
    few = marks_of(images, range(1, 2), most_named=5)
    assert few.names == marks.names[:5]
    assert len(few.spots) == len(marks.spots)
    brightness = predict(images.images.summary.experiment, 1).set_index(["h", "k", "l"]).photons
    named = [brightness[tuple(map(int, name.split()))] for name in marks.names]
    assert named == sorted(named, reverse=True), "the brightest are named"
    assert marks_of(images, range(1, 2)).names == []


@pytest.fixture(scope="module")
def finished_small(small_experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("small") / "a.zarr"
    generate(small_experiment(), location, serial=True)
    return location


def test_a_radial_profile_is_mean_and_percentiles_of_shells(store):
    images = Preview(store, "intensity")
    profile, _ = profile_of(images, range(1))
    assert profile.pixels.sum() == 48 * 40
    (panel,), values = images.geometry(0), images.views(0)[0].values
    across = (1 / panel.resolution_A(np.arange(48)[:, None] + 0.5, np.arange(40) + 0.5, 1.0)).astype(np.float32)
    low, high, shells = float(across.min()), float(across.max()), int(np.hypot(48, 40) // 4)
    shell = np.minimum(((across - low) * (shells / (high - low))).astype(int), shells - 1)
    there = np.unique(shell)
    np.testing.assert_allclose(1 / profile.d_A, low + (high - low) * (there + 0.5) / shells, rtol=1e-12)
    for place, number in enumerate(there):
        its = values[shell == number]
        assert profile.pixels[place] == len(its)
        assert profile.mean[place] == its.mean(dtype=float)
        found = [of_shells[place] for of_shells in profile.percentiles.values()]
        np.testing.assert_array_equal(found, np.percentile(its, list(profile.percentiles)))
    assert (np.diff(profile.two_theta_deg) > 0).all()
    assert profile.two_theta_deg == pytest.approx(np.rad2deg(2 * np.arcsin(0.5 / profile.d_A)))
    assert (profile.percentiles[5] <= profile.percentiles[50]).all()
    assert (profile.percentiles[50] <= profile.percentiles[95]).all()


def test_a_radial_profile_leaves_out_what_holds_no_value_or_stands_in_a_shadow(store):
    (panel,) = Preview(store).geometry(0)
    view = View.of(np.full((48, 40), 7.0))
    view.values[:5], view.states[:5] = 1e6, State.MASKED
    view.values[5], view.states[5] = -2, State.BAD
    view.values[6], view.states[6] = 0, State.SHADOW
    profile = radial_profile([panel], [view], 1.0)
    assert profile.pixels.sum() == 41 * 40
    assert (profile.mean == 7).all()
    view.states[:] = State.MASKED
    with pytest.raises(NbdistError, match="no pixel holds a value"):
        radial_profile([panel], [view], 1.0)


def test_numbers_of_spots_are_not_joined(experiment_of, tmp_path):
    experiment = experiment_of({"spixels": 8, "fpixels": 8, "distance_mm": 100}, labels={"spot": True})
    generate(experiment, tmp_path / "a.zarr", serial=True)
    images = Preview(tmp_path / "a.zarr", "spot")
    picture_of(images, range(1))
    for join in (picture_of, profile_of):
        with pytest.raises(
            NbdistError, match=r"^--what spot: numbers the spots of each frame by itself; --frame shows one"
        ):
            join(images, range(2))


def test_a_radial_profile_of_several_frames_is_that_of_their_mean(store):
    images = Preview(store, "intensity")
    profile, figure = profile_of(images, range(3))
    each = [profile_of(images, range(frame, frame + 1))[0] for frame in range(3)]
    np.testing.assert_allclose(profile.mean, np.mean([one.mean for one in each], axis=0), rtol=1e-5)
    assert figure.axes[0].get_title(loc="left") == "intensity, mean over frames 0 to 2, phi 10 to 11.5 deg"
