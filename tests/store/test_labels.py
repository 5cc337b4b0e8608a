"""Labels are products: spots are rows of frames, reflections rows of the series, resolution a coordinate; all are read by frames."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas
import pyarrow.parquet
import pytest
import zarr
from labelled import INTEGRATED, labelled_store, reflection_rows, spot_rows
from typer.testing import CliRunner

from nbdist import generate, open_reflections, open_series, open_spots, verify
from nbdist.cli.main import app
from nbdist.errors import RunError, StoreError
from nbdist.frames import products
from nbdist.frames.tables import REFLECTION_COLUMNS, SPOT_COLUMNS
from nbdist.readout.chain import Readout
from nbdist.run.finish import finish
from nbdist.scene import resolve
from nbdist.store import mark_finished, open_group, read_frame, read_frames, read_table, table_reading, tables
from nbdist.store.tables import unpacked

FRAMES, IMAGE = 7, (6, 8)
# reflection 10 + n crosses frame n, n + 1 and n + 2
IDENTITIES = np.arange(10, 10 + FRAMES)
REFLECTIONS = reflection_rows(IDENTITIES, IDENTITIES - 10, np.minimum(IDENTITIES - 8, FRAMES - 1), h=IDENTITIES)


def _spots(frame):
    touched = IDENTITIES[(frame >= IDENTITIES - 10) & (frame <= IDENTITIES - 8)]
    return spot_rows(touched, seed=frame, photons=touched + frame, overlap=np.full(len(touched), frame / 10))


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        panel={"spixels": IMAGE[0], "fpixels": IMAGE[1], "pixel_size_mm": 10.0},
        scan={"frames": FRAMES},
        labels={"reflections": True, "spots": True, "resolution": True},
        **INTEGRATED,
    )


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    return labelled_store(experiment, tmp_path_factory.mktemp("labels") / "a.zarr", REFLECTIONS, _spots)


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy.zarr")


def test_the_spots_of_a_frame_are_rows_of_a_frame(whole):
    found = open_spots(whole)
    assert list(found.columns) == ["frame", *(column.name for column in SPOT_COLUMNS)]
    assert {name: str(kind) for name, kind in found.dtypes.items() if name != "frame"} == {
        column.name: column.dtype for column in SPOT_COLUMNS
    }
    for frame in range(FRAMES):
        expected = _spots(frame)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[found.frame == frame][name], values.astype(found[name].dtype))


@pytest.mark.parametrize(
    ("frames", "numbers"),
    [
        (slice(3, 5), [3, 4]),
        (slice(-1, None), [6]),
        (range(1, 7, 3), [1, 4]),
        (slice(5, 99), [5, 6]),
        (slice(2, 2), []),
    ],
)
def test_only_the_objects_and_columns_asked_for_are_read(frames, numbers, copy):
    for unit in set(range(4)) - {number // 2 for number in numbers}:
        (copy / f"spots/{unit:08d}.parquet").write_bytes(b"not read")
        (copy / f"records/{unit:08d}.json").write_bytes(b"not read")
    found = open_spots(copy, frames, ["photons", "frame"])
    assert list(found.columns) == ["photons", "frame"]
    expected = [(photons, frame) for frame in numbers for photons in _spots(frame)["photons"]]
    assert list(found.itertuples(index=False, name=None)) == expected
    assert list(open_spots(copy, frames, ["photons"]).photons) == [photons for photons, _ in expected]


def test_what_is_not_there_is_named(whole, copy):
    with pytest.raises(StoreError, match=r"spots has no column colour; columns: frame, reflection, panel"):
        open_spots(whole, columns=["colour"])
    with pytest.raises(StoreError, match=r"series_reflections has no column colour; columns: reflection, lattice"):
        open_reflections(whole, columns=["colour"])
    with pytest.raises(StoreError, match=r"frames 3:9 lie outside the series of 7 frames"):
        open_spots(whole, range(3, 9))
    (copy / "spots/00000001.parquet").write_bytes((copy / "spots/00000001.parquet").read_bytes()[:-8] + bytes(8))
    with pytest.raises(StoreError, match=r"spots/00000001\.parquet does not decode \(Arrow"):
        open_spots(copy)


def test_the_reflections_of_the_series_have_the_largest_overlap_of_their_spots(whole):
    found = open_reflections(whole)
    assert list(found.columns) == [*(column.name for column in REFLECTION_COLUMNS), "overlap"]
    for name, values in REFLECTIONS.items():
        np.testing.assert_array_equal(found[name], values)
    np.testing.assert_array_equal(found.overlap, np.float32(np.minimum(IDENTITIES - 8, FRAMES - 1) / 10))


@pytest.mark.parametrize(
    ("frames", "found"), [(slice(0, 1), [10]), (slice(3, 4), [11, 12, 13]), (range(0, 7, 6), [10, 14, 15, 16])]
)
def test_reflections_are_those_of_which_a_frame_has_a_part(frames, found, whole):
    assert list(open_reflections(whole, frames).reflection) == found
    assert list(open_reflections(whole, frames, ["h"]).h) == found


def test_an_unfinished_store_says_what_its_complete_frames_have(experiment, tmp_path):
    location = labelled_store(experiment, tmp_path / "a.zarr", REFLECTIONS, _spots, units=[1])
    assert set(open_spots(location).frame) == {2, 3}
    overlap = open_reflections(location, columns=["overlap"]).overlap
    np.testing.assert_array_equal(overlap, np.float32([0.2, 0.3, 0.3, 0.3, np.nan, np.nan, np.nan]))


def test_a_store_with_one_of_the_tables_has_that_one(small_experiment, tmp_path):
    alone = small_experiment(scan={"frames": FRAMES}, labels={"reflections": True})
    location = labelled_store(alone, tmp_path / "a.zarr", REFLECTIONS, _spots)
    assert list(open_reflections(location).columns) == [column.name for column in REFLECTION_COLUMNS]
    with pytest.raises(StoreError, match="there is no table spots; tables: none"):
        open_spots(location)


def test_rows_of_the_spot_image_are_those_of_its_frame(whole):
    spots = read_frame(zarr.open_group(str(whole), mode="r"), 4)["spots"]
    np.testing.assert_array_equal(spots["photons"], _spots(4)["photons"])


def test_a_damaged_table_of_the_series_is_named_by_whoever_checks(whole, copy):
    assert not finish(whole).missing
    table = copy / "series_reflections/series.parquet"
    table.write_bytes(table.read_bytes()[:-9])
    for check in (finish, lambda location: verify(location, sample=0), open_reflections):
        with pytest.raises(StoreError, match=r"series_reflections/series\.parquet does not decode"):
            check(copy)
    table.unlink()
    with pytest.raises(StoreError, match=r"series_reflections/series\.parquet is missing"):
        open_reflections(copy)


def test_metadata_describe_the_tables(whole):
    assert not finish(whole).missing
    metadata = json.loads((whole / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    columns = metadata["series_reflections"]["attributes"]["columns"]
    assert columns["d_A"] == {"units": "angstrom", "long_name": "spacing"}
    file = pyarrow.parquet.ParquetFile(whole / "series_reflections/series.parquet")
    assert file.schema_arrow.field("d_A").metadata == {b"units": b"angstrom", b"long_name": b"spacing"}
    told = " ".join(CliRunner().invoke(app, ["info", str(whole)], env={"COLUMNS": "1000"}).output.split())
    assert "arrays intensity float32, resolution float32" in told
    assert "tables spots, series_reflections" in told


@pytest.mark.parametrize("shapes", [[(70, 8)], [(5, 9), (5, 9)], [(5, 9), (7, 4)]], ids=["one", "equal", "different"])
def test_resolution_is_a_coordinate_of_pixels(shapes, small_experiment, tmp_path):
    panels = [
        {"spixels": slow, "fpixels": fast, "pixel_size_mm": 4.0, "origin_mm": [-20.0, -30.0, 100.0 + 50 * number]}
        for number, (slow, fast) in enumerate(shapes)
    ]
    detector = {"convention": "xds", "panels": panels}
    experiment = small_experiment(detector=detector, scan={"frames": 1}, labels={"resolution": True})
    generate(experiment, tmp_path / "a.zarr", serial=True)
    data = open_series(tmp_path / "a.zarr")
    assert set(data.data_vars) <= {"intensity", "intensity_0", "intensity_1"}
    for number, (slow, fast) in enumerate(shapes):
        name = "resolution" if "resolution" in data.coords else f"resolution_{number}"
        stored = data[name].values.reshape(-1, slow, fast)[number if len(set(shapes)) < len(shapes) else 0]
        assert data[name].attrs == {"units": "angstrom", "long_name": "spacing that scatters to the pixel"}
        # lambda = 2 d sin theta, with the beam along z and wavelength 1
        y, x = np.meshgrid((np.arange(slow) + 0.5) * 4 - 30, (np.arange(fast) + 0.5) * 4 - 20, indexing="ij")
        half = np.arctan2(np.hypot(x, y), 100 + 50 * number) / 2
        np.testing.assert_allclose(stored, 1 / (2 * np.sin(half)), rtol=1e-6)
    assert verify(tmp_path / "a.zarr", sample=1).good


def test_labels_that_whoever_rendered_does_not_give_are_asked_for_by_name(small_experiment):
    scene = resolve(small_experiment(labels={"bragg": True}))
    photons = [np.zeros(shape, dtype=np.float32) for shape in scene.instrument.shapes]
    with pytest.raises(RunError, match="frame 3: labels are asked for"):
        products.made_of(products.RenderedFrame(scene, 3, photons, Readout(scene)))


def test_frames_of_a_unit_share_one_reading_of_its_rows(small_experiment, tmp_path, monkeypatch):
    experiment = small_experiment(
        panel={"spixels": 1, "fpixels": 1}, scan={"frames": 6}, labels={"spots": True}, **INTEGRATED
    )
    location = labelled_store(
        experiment,
        tmp_path / "a.zarr",
        {},
        lambda frame: spot_rows(np.zeros(frame)) | {"reflection": np.full(frame, frame)},
        frames_per_shard=3,
    )
    group, decoded = open_group(location), []
    apart = [read_frame(group, frame) for frame in range(1, 5)]
    monkeypatch.setattr(table_reading, "unpacked", lambda *its: decoded.append(its) or unpacked(*its))
    together = read_frames(group, range(1, 5))
    assert len(decoded) == 2
    for frame, one, other in zip(range(1, 5), apart, together, strict=True):
        assert products.same(one["spots"], other["spots"])
        np.testing.assert_array_equal(other["spots"]["reflection"], np.full(frame, frame))


def test_the_labels_of_ten_thousand_frames_are_read_by_the_object(small_experiment, tmp_path):
    """A hundred objects, each asked for once; the columns that are not asked for are not decoded."""
    experiment = small_experiment(
        panel={"spixels": 1, "fpixels": 1},
        scan={"frames": 10_000},
        labels={"reflections": True, "spots": True},
        **INTEGRATED,
    )
    identities = np.arange(10_000)
    rows = spot_rows(np.zeros(20))
    location = labelled_store(
        experiment,
        tmp_path / "a.zarr",
        reflection_rows(identities, identities, identities),
        lambda frame: rows | {"reflection": np.full(20, frame)},
        frames_per_shard=100,
    )
    assert mark_finished(location)
    assert len(open_spots(location)) == 200_000
    found = open_reflections(location)
    np.testing.assert_array_equal(found.overlap, rows["overlap"].max())


def test_the_rows_of_many_units_are_read_into_few_tables(whole, monkeypatch):
    """A table takes some hundred times a row beside it: as many as there are units fill the memory at a million."""
    assert read_table(whole, "spots")["frame"].num_chunks == 1
    schema = pyarrow.schema([("frame", pyarrow.int64())])
    monkeypatch.setattr(tables, "TABLES_TOGETHER", 3)
    pieces = list(tables.joined(schema, (pyarrow.table([[number]], schema) for number in range(10))))
    assert [len(piece) for piece in pieces] == [3, 4, 3]
    assert {piece["frame"].num_chunks for piece in pieces} == {1}
    assert [its for piece in pieces for its in piece["frame"].to_pylist()] == list(range(10))
    assert [len(piece) for piece in tables.joined(schema, ())] == [0]


def test_of_every_second_frame_a_unit_is_asked_for_its_own(whole, monkeypatch):
    asked = []

    def isin(values, wanted, original=np.isin):
        asked.append(list(wanted))
        return original(values, wanted)

    every = open_spots(whole)
    monkeypatch.setattr(np, "isin", isin)
    found = open_spots(whole, slice(0, FRAMES, 2))
    pandas.testing.assert_frame_equal(found, every[every["frame"] % 2 == 0].reset_index(drop=True))
    assert sorted(asked) == [[0], [2], [4], [6]]
