"""A product is an entry in a table and a function: plan, store, checks and readers know of it by that alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import zarr
from datasets import frame_dataset
from typer.testing import CliRunner

from nbdist import generate, open_series, verify
from nbdist.cli.main import app
from nbdist.errors import MissingExtraError, StoreError
from nbdist.frames.products import PRODUCTS, PixelProduct, TableProduct
from nbdist.frames.tables import Column
from nbdist.planning import Cut
from nbdist.run.context import make_context
from nbdist.run.finish import finish
from nbdist.store import read_table, summarize

CUT = {"serial": True, "frames_per_shard": 2}
FRAMES, IMAGE = 5, (16, 20)


def _tenths(frame):
    return [np.minimum(np.floor(10 * image), 65535).astype(np.uint16) for image in frame.photons]


def _bright(frame):
    """Pixels brighter than the mean: another number of them in each frame, none in frame 3."""
    (image,) = frame.photons
    slow, fast = np.nonzero(image > (np.inf if frame.number == 3 else image.mean()))
    return {"slow": slow, "fast": fast, "photons": image[slow, fast]}


TENTHS = PixelProduct(
    name="tenths", dtype="uint16", units="photon", long_name="tenths of photons", make=_tenths, held_at=65535
)
BRIGHT = TableProduct(
    name="bright",
    long_name="pixels brighter than the mean",
    columns=(
        Column("slow", "int32", "pixel", "row"),
        Column("fast", "int32", "pixel", "column"),
        Column("photons", "float32", "photon", "expected photons"),
    ),
    make=_bright,
)


@pytest.fixture(autouse=True)
def more_products(monkeypatch):
    for product in (TENTHS, BRIGHT):
        monkeypatch.setitem(PRODUCTS, product.name, product)


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        panel={"spixels": IMAGE[0], "fpixels": IMAGE[1], "pixel_size_mm": 4.0}, scan={"frames": FRAMES}
    )


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("products") / "series.zarr"
    with pytest.MonkeyPatch.context() as patch:
        for product in (TENTHS, BRIGHT):
            patch.setitem(PRODUCTS, product.name, product)
        generate(experiment, location, **CUT)
    return location


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy.zarr"))


def test_the_plan_counts_a_product(experiment, monkeypatch):
    more = make_context(experiment, cut=Cut(frames_per_shard=2)).plan
    monkeypatch.delitem(PRODUCTS, "tenths")
    less = make_context(experiment, cut=Cut(frames_per_shard=2)).plan
    pixels = IMAGE[0] * IMAGE[1]
    assert more.cost.disk_bytes - less.cost.disk_bytes == TENTHS.disk_bytes_per_pixel * pixels
    assert more.cost.product_bytes - less.cost.product_bytes == 2 * pixels
    assert more.memory.per_thread - less.memory.per_thread == 2 * 2 * pixels, "as it is made; arrays are packed in turn"


def test_a_product_of_pixels_is_an_array_of_the_store(whole):
    group = zarr.open_group(str(whole), mode="r")
    intensity, tenths = group["intensity"][:], group["tenths"]
    assert intensity.any()
    np.testing.assert_array_equal(tenths[:], np.minimum(np.floor(10 * intensity), 65535))
    assert (tenths.dtype, tenths.shape, tenths.attrs["long_name"]) == (np.uint16, (FRAMES, *IMAGE), "tenths of photons")
    assert [record["saturated_pixels"] for record in summarize(whole).records] == [
        (tenths[first : first + 2] == 65535).sum() for first in (0, 2, 4)
    ]


def test_every_reader_shows_a_product(whole, tmp_path):
    data, sample = open_series(whole), frame_dataset(whole)[1]
    assert set(data.data_vars) == {"intensity", "tenths"}
    np.testing.assert_array_equal(data.tenths[1], sample["tenths"])
    told = " ".join(CliRunner().invoke(app, ["info", str(whole)], env={"COLUMNS": "1000"}).output.split())
    assert "arrays intensity float32, tenths uint16" in told
    assert "tables bright" in told
    drawn = ["preview", str(whole), "--what", "tenths", "-o", str(tmp_path / "tenths.png")]
    assert CliRunner().invoke(app, drawn).exit_code == 0


def test_a_product_that_its_intensity_does_not_give_is_found(copy):
    assert verify(copy, sample=FRAMES).good
    zarr.open_group(str(copy), mode="r+")["tenths"][0] += 1
    record = copy / "records/00000000.json"
    said = json.loads(record.read_text())
    said["shard_bytes"]["tenths"] = (copy / "tenths/c/0/0/0").stat().st_size
    record.write_text(json.dumps(said))
    assert verify(copy, sample=FRAMES).wrong == {0: "its tenths are not those that its intensity gives"}


@pytest.fixture
def labelled(experiment, tmp_path, monkeypatch):
    """`labelled(changed, record)`: a store in which the brightest pixel of a label of frame 0 was changed by a factor."""
    halves = PixelProduct(
        name="halves",
        dtype="float32",
        units="photon",
        long_name="",
        make=lambda frame: [frame.photons[0] / 2],
        label=True,
    )
    monkeypatch.setitem(PRODUCTS, "halves", halves)
    store = tmp_path / "labelled.zarr"
    generate(experiment.with_changes(scan={"frames": 1}), store, serial=True)

    def change(factor, said):
        array = zarr.open_group(str(store), mode="r+")["halves"]
        image = array[0]
        image[np.unravel_index(image.argmax(), image.shape)] *= np.float32(factor)
        array[0] = image
        record = store / "records/00000000.json"
        content = json.loads(record.read_text()) | said
        content["shard_bytes"]["halves"] = (store / "halves/c/0/0/0").stat().st_size
        record.write_text(json.dumps(content))
        return verify(store, sample=1)

    return change


ELSEWHERE = {"compiler": "clang version 99"}


def test_a_label_that_rendering_again_does_not_give_is_found(labelled):
    assert labelled(1, {}).good
    assert labelled(1 + 2.0**-22, {}).wrong == {0: "its halves are not those that rendering it again gives"}


def test_other_last_bits_of_a_label_of_another_compiler_are_expected_and_no_more(labelled):
    assert labelled(1 + 2.0**-22, ELSEWHERE).good
    assert labelled(1 + 1e-4, ELSEWHERE).wrong == {0: "its halves differ by more than 1e-05 of its largest intensity"}


def test_a_store_that_was_made_before_a_product_goes_on_without_it(experiment, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        for name in ("tenths", "bright"):
            patch.delitem(PRODUCTS, name)
        generate(experiment, tmp_path / "a.zarr", frames=range(2), **CUT)
    generate(experiment, tmp_path / "a.zarr", serial=True, resume=True)
    assert set(open_series(tmp_path / "a.zarr").data_vars) == {"intensity"}
    assert verify(tmp_path / "a.zarr", sample=FRAMES).good


def test_rows_are_read_with_their_frames(whole):
    intensity = zarr.open_group(str(whole), mode="r")["intensity"][:]
    table = read_table(whole, "bright")
    assert table.column_names == ["frame", "slow", "fast", "photons"]
    for frame in range(FRAMES):
        rows = table.filter(np.asarray(table["frame"]) == frame)
        expected = 0 if frame == 3 else (intensity[frame] > intensity[frame].mean()).sum()
        assert len(rows) == expected
        np.testing.assert_array_equal(rows["photons"], intensity[frame][rows["slow"], rows["fast"]])
    assert len(table) > FRAMES


def test_only_the_objects_of_the_frames_asked_for_are_read(copy):
    whole = read_table(copy, "bright")
    (copy / "bright/00000001.parquet").unlink()
    some = read_table(copy, "bright", frames=range(1, 5, 3))
    assert some.equals(whole.filter(np.isin(whole["frame"], [1, 4])))
    with pytest.raises(StoreError, match="frames 3:9 lie outside the series of 5 frames"):
        read_table(copy, "bright", frames=range(3, 9))
    assert len(read_table(copy, "bright", frames=range(3, 3))) == 0


def test_an_object_of_a_table_is_parquet(whole):
    file = pyarrow.parquet.ParquetFile(whole / "bright/00000002.parquet")
    assert file.schema_arrow.field("photons").metadata == {b"units": b"photon", b"long_name": b"expected photons"}
    assert set(file.read()["frame"].to_pylist()) == {4}, "the last unit has one frame"


def test_the_rows_of_an_unfinished_store_are_those_of_its_complete_frames(experiment, tmp_path):
    generate(experiment, tmp_path / "a.zarr", frames=range(2, 5), **CUT)
    assert set(read_table(tmp_path / "a.zarr", "bright")["frame"].to_pylist()) == {2, 4}
    generate(experiment, tmp_path / "a.zarr", serial=True, resume=True)
    assert set(read_table(tmp_path / "a.zarr", "bright")["frame"].to_pylist()) == {0, 1, 2, 4}


def test_a_table_that_is_not_there_is_named(whole):
    with pytest.raises(StoreError, match="there is no table spots; tables: bright"):
        read_table(whole, "spots")


def _gone(path):
    path.unlink()


def _cut_short(path):
    os.truncate(path, path.stat().st_size - 8)


def _noise(path):
    path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size))


def _rows_of_other_frames(path):
    shutil.copy(path.with_name("00000000.parquet"), path)


def _other_columns(path):
    pyarrow.parquet.write_table(pyarrow.table({"frame": [2]}), path)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_gone, "is missing"),
        (_cut_short, "does not decode"),
        (_noise, "does not decode"),
        (_rows_of_other_frames, "holds rows of other frames"),
        (_other_columns, "has other columns than its table"),
    ],
)
def test_rows_are_checked_like_shards_and_rendered_again(harm, said, copy, experiment):
    before = read_table(copy, "bright")
    harm(copy / "bright/00000001.parquet")
    assert said in verify(copy, sample=0).damaged[1]
    assert finish(copy).missing == [1]
    assert generate(experiment, copy, serial=True, resume=True).frames_done == 2
    assert read_table(copy, "bright").equals(before)
    assert verify(copy, sample=FRAMES).good
    assert not finish(copy).missing


def test_rows_of_another_experiment_are_replaced_with_their_store(copy, experiment):
    other = experiment.with_changes(scan={"frames": 2})
    generate(other, copy, overwrite=True, **CUT)
    assert [path.name for path in (copy / "bright").glob("*.parquet")] == ["00000000.parquet"]


def test_a_table_needs_a_package_that_is_named_before_anything_is_rendered(experiment, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MissingExtraError, match=r"the table bright needs pyarrow: install nbdist with its extra tables"
    ):
        generate(experiment, tmp_path / "a.zarr", **CUT)


def test_a_product_that_this_nbdist_does_not_know_is_named(whole, monkeypatch):
    monkeypatch.delitem(PRODUCTS, "tenths")
    with pytest.raises(StoreError, match="it holds tenths, which this nbdist does not know"):
        summarize(whole)
