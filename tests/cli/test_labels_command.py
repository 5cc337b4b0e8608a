"""`nbdist labels` writes one table into one file, or files of DIALS, whole or not at all."""

from __future__ import annotations

import shutil

import numpy as np
import pandas
import pandas.testing
import pytest
from labelled import INTEGRATED, labelled_store, reflection_rows, spot_rows

from nbdist import open_reflections, open_spots

FRAMES = 6
REFLECTIONS = reflection_rows(
    np.arange(5),
    np.arange(5),
    np.arange(5) + 1,
    whole=True,
    masked=np.arange(5) == 2,
    h=[3, 0, -7, 2, 1],
    k=[0, -4, 9, 5, 1],
    l=[1, 2, 3, 4, -8],
)


@pytest.fixture(scope="module")
def store(small_experiment, tmp_path_factory):
    experiment = small_experiment(
        panel={"spixels": 4, "fpixels": 4, "pixel_size_mm": 10.0},
        scan={"frames": FRAMES},
        labels={"reflections": True, "spots": True},
        **INTEGRATED,
    )
    location = tmp_path_factory.mktemp("labels") / "a.zarr"
    return labelled_store(experiment, location, REFLECTIONS, lambda frame: spot_rows(np.arange(frame), seed=frame))


def with_indices(store, frames=None):
    """Spots of a store, with the indices of their reflections after the numbers of these."""
    spots, reflections = open_spots(store, frames), open_reflections(store).set_index("reflection")
    for place, name in enumerate("hkl", start=spots.columns.get_loc("reflection") + 1):
        spots.insert(place, name, reflections[name].loc[spots.reflection].to_numpy())
    return spots


def test_spots_without_the_reflections_of_the_series_have_no_indices(small_experiment, nbdist, tmp_path):
    experiment = small_experiment(
        panel={"spixels": 4, "fpixels": 4}, scan={"frames": 1}, labels={"spots": True}, **INTEGRATED
    )
    alone = labelled_store(experiment, tmp_path / "a.zarr", REFLECTIONS, lambda frame: spot_rows(np.arange(2)))
    assert nbdist("labels", alone, "--parquet", tmp_path / "a.parquet").code == 0
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "a.parquet"), open_spots(alone))


def test_a_spot_whose_reflection_is_none_of_the_series_has_no_indices(small_experiment, nbdist, tmp_path):
    """As of a lobe that reaches a pixel, whose reflection does not cross the sphere in the scan."""
    experiment = small_experiment(
        panel={"spixels": 4, "fpixels": 4}, scan={"frames": 1}, labels={"reflections": True, "spots": True}
    )
    rows = {name: values[1:4] for name, values in REFLECTIONS.items()}
    for found, expected in ((rows, [None, 0, -7, 2, None]), (reflection_rows([], [], []), [None] * 5)):
        location = labelled_store(
            experiment, tmp_path / f"{len(found['h'])}.zarr", found, lambda frame: spot_rows(np.arange(5))
        )
        assert nbdist("labels", location, "--parquet", tmp_path / "a.parquet", "--csv", tmp_path / "a.csv").code == 0
        for read in (pandas.read_parquet(tmp_path / "a.parquet"), pandas.read_csv(tmp_path / "a.csv")):
            assert list(read.reflection) == [0, 1, 2, 3, 4]
            assert [None if np.isnan(h) else h for h in read.h] == expected


def test_a_table_becomes_a_file(store, nbdist, tmp_path):
    said = nbdist("labels", store, "--parquet", tmp_path / "a.parquet", "--csv", tmp_path / "a.csv")
    assert (said.code, said.out) == (0, f"wrote {tmp_path}/a.parquet: 15 rows wrote {tmp_path}/a.csv: 15 rows")
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "a.parquet"), with_indices(store))
    read = pandas.read_csv(tmp_path / "a.csv").astype(with_indices(store).dtypes)
    pandas.testing.assert_frame_equal(read, with_indices(store))


def test_frames_that_are_not_rendered_yet_are_told(small_experiment, nbdist, tmp_path):
    def of(units, **labels):
        experiment = small_experiment(
            panel={"spixels": 4, "fpixels": 4},
            scan={"frames": FRAMES},
            labels={"reflections": True, **labels},
            **INTEGRATED,
        )
        name = tmp_path / f"{len(units)}{len(labels)}.zarr"
        return labelled_store(experiment, name, REFLECTIONS, lambda frame: spot_rows(np.arange(frame)), units=units)

    written = ("--csv", tmp_path / "a.csv")
    half = of([0, 2], spots=True)
    for chosen, told in (((), "note: 2 of the 6 frames"), (("--frames", "1:3"), "note: 1 of the 2 frames")):
        said = nbdist("labels", half, *written, *chosen)
        assert said.code == 0
        assert f"{told} are not rendered yet, and what they have is left out" in said.err
    for whole in (
        nbdist("labels", half, *written, "--frames", "4:6"),
        nbdist("labels", of(range(3), spots=True), *written),
    ):
        assert "note" not in whole.err
    assert "note" not in nbdist("labels", of([0]), *written).err, "reflections are known before any frame"


def test_frames_and_table_are_chosen(store, nbdist, tmp_path):
    assert nbdist("labels", store, "--parquet", tmp_path / "a.parquet", "--frames", "2:4").code == 0
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "a.parquet"), with_indices(store, slice(2, 4)))
    chosen = ("--table", "reflections", "--frames", "2:3")
    assert nbdist("labels", store, "--parquet", tmp_path / "a.parquet", *chosen).code == 0
    found = pandas.read_parquet(tmp_path / "a.parquet")
    pandas.testing.assert_frame_equal(found, open_reflections(store, range(2, 3)))
    assert list(found.reflection) == [1, 2]


def test_files_of_dials_are_written_into_a_folder(store, nbdist, tmp_path):
    said = nbdist("labels", store, "--dials", tmp_path / "out", "--frames", "0:2")
    assert (said.code, said.out) == (
        0,
        f"wrote {tmp_path}/out/labels.expt and {tmp_path}/out/labels.refl: 2 reflections",
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"labels.expt", "labels.refl"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to write: --parquet FILE, --csv FILE or --dials DIR"),
        (("--csv", "a.csv", "--frames", "4:9"), "--frames 4:9: lies outside 0:6"),
        (("--csv", "gone/a.csv"), "gone/a.csv cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(options, said, store, nbdist, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = nbdist("labels", store, *options)
    assert (ended.code, ended.err) == (2, f"nbdist: {said}\n")
    assert not list(tmp_path.iterdir())


def test_a_file_stays_as_it_was_where_rows_cannot_be_read(store, nbdist, tmp_path):
    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    rows = copy / "spots/00000002.parquet"
    rows.write_bytes(bytes(rows.stat().st_size))
    (tmp_path / "a.csv").write_text("as it was")
    ended = nbdist("labels", copy, "--csv", tmp_path / "a.csv")
    assert ended.code == 2
    assert "spots/00000002.parquet does not decode" in ended.err
    assert (tmp_path / "a.csv").read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"copy.zarr", "a.csv"}


def test_samples_of_a_series_are_refused_in_one_line(nbdist, finished, tmp_path):
    refused = nbdist("labels", finished, "--csv", tmp_path / "a.csv", "--samples", "0:2")
    assert refused.code == 2
    assert (
        refused.err == f"nbdist: --samples 0:2: {finished} is a series, which has no samples; --frames chooses of it\n"
    )
