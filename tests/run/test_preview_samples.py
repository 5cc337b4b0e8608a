"""Looking at data sets and recipes: each sample with its own detector, scene and spots."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml
from command_line import run_command
from recipes import recipe

from nbdist import generate_dataset, open_samples, open_spots, verify
from nbdist.errors import NbdistError
from nbdist.formats.views import State
from nbdist.run.preview import Preview, marks_of, picture_of, profile_of, sheet_of, spread_frames
from nbdist.run.shown import DatasetImages, RenderedSamples
from nbdist.scene import resolve
from nbdist.store import grow_store, open_group, summarize

SAMPLES, TOGETHER = 3, 2


@pytest.fixture(scope="module")
def drawn():
    """Stills of two frames on detectors of 64 or 96 rows and 80 or 90 columns; sample 1 has 64 rows."""
    return recipe("two detectors", scan={"frames": TOGETHER, "osc_range_deg": 0.5})


@pytest.fixture(scope="module")
def store(drawn, tmp_path_factory, cards_without_pictures):
    location = tmp_path_factory.mktemp("shown") / "a.zarr"
    generate_dataset(drawn, location, SAMPLES, serial=True, frames_per_shard=2 * TOGETHER)
    return location


@pytest.fixture
def preview(monkeypatch, capsys, tmp_path):
    """Run `nbdist preview` with a picture in a folder of the test; (exit status, what it said)."""

    def run(*arguments):
        words = ["preview", *map(str, arguments), "-o", str(tmp_path / "a.png")]
        status, out, err = run_command(words, monkeypatch, capsys)
        return status, (err or out).replace("\n", "")

    return run


def shape_of(drawn, number):
    (panel,) = drawn.draw(number).experiment.detector.panels
    return panel.spixels, panel.fpixels


def test_a_smaller_detector_has_a_gap_beside_it(store, drawn):
    shown, counts = Preview(store), open_group(store)["counts"]
    assert {shape_of(drawn, sample)[0] for sample in range(SAMPLES)} == {64, 96}
    for sample in range(SAMPLES):
        (view,) = shown.views(sample * TOGETHER)
        np.testing.assert_array_equal(view.values, counts[sample * TOGETHER])
        rows, columns = shape_of(drawn, sample)
        expected = np.full(view.states.shape, State.MASKED)
        expected[:rows, :columns] = State.READ
        np.testing.assert_array_equal(view.states, expected)
        profile, _ = profile_of(shown, range(sample * TOGETHER, sample * TOGETHER + 2))
        assert profile.pixels.sum() == rows * columns


def test_what_is_drawn_of_a_recipe_is_what_its_store_holds(store, drawn):
    stored, rendered = Preview(store), Preview(RenderedSamples(drawn, SAMPLES))
    for frame in (0, 3):
        (a,), (b,) = stored.views(frame), rendered.views(frame)
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.states, b.states)
    said = [picture_of(its, range(3, 4)).axes[0].get_title(loc="left") for its in (stored, rendered)]
    split = open_samples(store, ["split"])["split"][1]
    assert said[0] == said[1]
    assert said[0].startswith(f"sample 1 ({split}), frame 1, phi 0.5 to 1 deg\ncounts: brightest ")
    maximum = picture_of(stored, range(2, 4)).axes[0].get_title(loc="left")
    assert maximum.startswith(f"maximum over sample 1 ({split}), frames 0 to 1, phi 0 to 1 deg\n")
    with pytest.raises(NbdistError, match="frames 1 to 3 are of several samples; a maximum or a mean is of one"):
        stored.mean(range(1, 4))


def test_circles_are_the_stored_spots_and_rings_those_of_the_sample(store, drawn):
    frame, wavelength_A = 3, drawn.draw(1).experiment.beam.wavelength_A
    marks = marks_of(Preview(store, panel=0), [frame], most_named=5)
    spots = open_spots(store, range(frame, frame + 1)).sort_values("photons", ascending=False, kind="stable")
    np.testing.assert_array_equal(marks.spots, spots[["slow", "fast"]][: len(marks.spots)])
    assert len(marks.spots) > 20
    assert marks.names == [f"{its.h} {its.k} {its.l}" for its in spots[:5].itertuples()]
    (panel,) = resolve(drawn.draw(1).experiment).instrument.panels
    for curve, name in marks.rings:
        assert panel.resolution_A(*curve.T, wavelength_A) == pytest.approx(float(name.split()[0]))


def test_spots_are_predicted_where_no_table_has_them(drawn):
    content = {**drawn.content, "labels": {}}
    without = marks_of(Preview(RenderedSamples(type(drawn)(content), 2), panel=0), [2])
    stored = marks_of(Preview(RenderedSamples(drawn, 2), panel=0), [2])
    far = np.linalg.norm(without.spots[:10, None] - stored.spots, axis=2).min(axis=1)
    assert np.median(far) < 0.5, "centroids of the pixels' photons lie by the places that are predicted"


def test_each_sample_of_a_sheet_has_greys_of_its_own_and_frames_of_one_share_theirs(store):
    shown, (first, second, third) = Preview(store), open_samples(store, ["split"])["split"]
    whole = shown.images
    assert [spread_frames(whole, number, every=2, frame=1) for number in (2, 9)] == [[1, 5], [1, 3, 5]]
    assert spread_frames(whole, 9, range(2, 4)) == [2, 3]
    sheet = sheet_of(shown, [1, 3, 5])
    titles = [axes.get_title() for axes in sheet.axes]
    expected = [f"sample {n} ({split}), frame 1: " for n, split in enumerate((first, second, third))]
    assert [title[: len(start)] for title, start in zip(titles, expected, strict=True)] == expected
    assert len({axes.images[0].norm.vmax for axes in sheet.axes}) > 1
    of_one = sheet_of(shown, [2, 3])
    assert len({axes.images[0].norm.vmax for axes in of_one.axes[:2]}) == 1


def test_a_picture_of_pixels_needs_no_file_of_the_recipe(store, monkeypatch):
    """A data set that was handed on has none."""
    images = DatasetImages(summarize(store))
    monkeypatch.setattr(DatasetImages, "recipe", property(lambda self: pytest.fail("the recipe was read")))
    picture_of(Preview(images), range(1))
    sheet_of(Preview(images), [0, 2])


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (("--sample", 3), "--sample 3: lies outside 0:3"),
        (("--frame", 2), "--frame 2: lies outside 0:2"),
        (("--sample", 1, "--maximum", "0:3"), "--maximum 0:3: lies outside 0:2"),
        (("--sheet", "1:4"), "--sheet 1:4: lies outside 0:3"),
        (
            ("--what", "hkl"),
            "--what hkl: the store holds intensity and counts and bragg and background and spot and mask",
        ),
    ],
)
def test_what_a_data_set_has_not_is_said(options, answer, store, preview):
    assert preview(store, *options) == (2, f"nbdist: {answer}")


@pytest.mark.parametrize(
    "options", [("--sample", 1), ("--sheet", 2, "--frame", 1), ("--sample", 2, "--sheet", "0:2"), ("--what", "spot")]
)
def test_pictures_of_a_data_set_are_written(options, store, preview, tmp_path):
    assert preview(store, *options) == (0, f"wrote {tmp_path}/a.png")


def test_pictures_of_a_recipe_are_written_and_an_experiment_is_refused(drawn, preview, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(drawn.content))
    assert preview(file, "--sheet", "1:2")[0] == 0
    content = {name: its for name, its in drawn.content.items() if name != "recipe"}
    file.write_text(yaml.safe_dump(content))
    said = f"nbdist: {file} is an experiment; a store is expected, or a recipe: a file with the section recipe"
    assert preview(file) == (2, said)


def test_a_unit_that_grew_is_missing_and_not_damaged(store, tmp_path):
    """And its samples are not shown until they are rendered."""
    grown = shutil.copytree(store, tmp_path / "a.zarr")
    grow_store(grown, SAMPLES + 1)
    found = verify(grown, sample=0)
    assert (found.damaged, list(found.missing), found.frames_decoded) == ({}, [1], 4)
    with pytest.raises(NbdistError, match=r"a\.zarr: sample 2 is not rendered yet \(2 of 4 are\)$"):
        picture_of(Preview(grown), range(4, 5))
