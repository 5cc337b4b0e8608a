"""A data set is a store of samples, frame after frame: tables say whose their rows are, and what samples have alike is there once."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas
import pyarrow.parquet
import pytest
import zarr
from sample_sets import frames_of_sample, make_dataset, recipe_with, record_of, write_units
from typer.testing import CliRunner

from nbdist import open_reflections, open_samples, open_series, open_spots
from nbdist.cli.main import app
from nbdist.errors import MissingExtraError, StoreError
from nbdist.frames.products import same
from nbdist.frames.sample_products import products_of_samples
from nbdist.frames.tables import REFLECTION_COLUMNS, SAMPLE_SPOT_COLUMNS
from nbdist.planning import Settings
from nbdist.scene import resolve
from nbdist.store import (
    UnitWriter,
    grow_store,
    mark_finished,
    open_group,
    read_completeness,
    read_frame,
    read_table,
    summarize,
    summarize_series,
)
from nbdist.store.objects import Folder
from nbdist.store.schema import schema_of, schema_of_samples

SAMPLES, TOGETHER = 5, 2
TABLES = ("samples", "frames", "lattices", "spots", "crossings")


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        panel={"spixels": 24, "fpixels": 20, "pixel_size_mm": 3.2},
        beam={"fluence_photons_per_m2": 2e24},
        crystal={"shape": "gauss", "space_group": "P 1"},
        scan={"frames": TOGETHER},
        sampling={"method": "integrated"},
        noise={"photon_noise": True},
        labels={"reflections": True, "spots": True, "resolution": True},
    )


@pytest.fixture(scope="module")
def recipe(experiment):
    """One or two lattices of 6 to 8 cells along each axis, from any phi on."""
    crystal = {**experiment.content()["crystal"], "N_cells": ["= let.size"] * 3}
    return recipe_with(
        experiment,
        let={"size": {"integer": [6, 8]}, "kind": {"choice": ["a", "b"]}},
        crystals={"repeat": {"integer": [1, 2]}, "of": {**crystal, "misset_deg": {"rotation": "uniform"}}},
        scan={**experiment.content()["scan"], "phi_start_deg": {"uniform": [0, 90]}},
    )


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    location = make_dataset(tmp_path_factory.mktemp("sets") / "a.zarr", recipe, SAMPLES)
    write_units(location, recipe)
    return location


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy.zarr")


def test_a_data_set_holds_what_each_sample_gives(whole, recipe):
    for sample in range(SAMPLES):
        for frame, made in enumerate(frames_of_sample(recipe, sample)):
            stored = read_frame(open_group(whole), sample * TOGETHER + frame)
            assert stored.keys() == made.keys()
            for name, values in made.items():
                assert same(values, stored[name]), (sample, frame, name)


def test_a_data_set_says_what_it_is(whole, recipe):
    attributes = dict(zarr.open_group(str(whole), mode="r").attrs)
    expected = {
        "kind": "dataset",
        "samples": SAMPLES,
        "frames_per_sample": TOGETHER,
        "seed": recipe.seed,
        "recipe": recipe.content,
        "fingerprint": recipe.fingerprint,
        "products": ["intensity", "counts", "resolution", *TABLES],
    }
    assert {name: attributes[name] for name in expected} == expected
    assert "frames" not in attributes
    assert sorted(path.name for path in whole.iterdir()) == sorted(
        ["intensity", "counts", "mask", "resolution", "slow", "fast", *TABLES, "records", "zarr.json"]
    )
    found, made = schema_of(open_group(whole)), schema_of_samples(recipe, SAMPLES, Settings((24, 20), 1, 2 * TOGETHER))
    assert found.as_attributes() == made.as_attributes()
    assert (found.dtypes, found.coordinates, found.groups) == (made.dtypes, made.coordinates, made.groups)


def test_each_table_says_first_whose_its_rows_are(whole):
    for name in TABLES:
        table = read_table(whole, name)
        keys = ["sample"] if name in ("samples", "crossings") else ["sample", "frame"]
        assert table.column_names[: len(keys)] == keys, name
        rows = table.to_pandas()
        assert set(rows["sample"]) == set(range(SAMPLES))
        assert rows["sample"].is_monotonic_increasing
        if "frame" in keys:
            assert set(rows["frame"]) == {0, 1}
    assert len(read_table(whole, "frames")) == SAMPLES * TOGETHER
    assert len(read_table(whole, "lattices")) == TOGETHER * open_samples(whole)["lattices"].sum()


def test_the_samples_of_a_data_set_are_rows_with_all_that_was_drawn(whole, recipe):
    samples, draws = open_samples(whole), [recipe.draw(number) for number in range(SAMPLES)]
    drawn = [column.name for column in recipe.columns]
    known = ["split", "crystal", "lattices", "d_min_A", "photons", "saturation_adu", "adu_per_photon", "offset_adu"]
    assert list(samples.columns) == ["sample", *known, *drawn]
    expected = pandas.DataFrame([draw.values for draw in draws])
    pandas.testing.assert_frame_equal(
        samples[drawn], expected, check_dtype=False
    )  # of texts, which pyarrow may give as objects
    assert samples["crystals.1.misset_deg.0"].isna().any(), "of a sample with one lattice"
    for name, expected in (
        ("sample", range(SAMPLES)),
        ("split", [draw.split for draw in draws]),
        ("crystal", [draw.crystal for draw in draws]),
        ("lattices", [len(draw.experiment.each_crystal) for draw in draws]),
    ):
        assert list(samples[name]) == list(expected)
    frames = read_table(whole, "frames").to_pandas().groupby("sample")
    np.testing.assert_array_equal(samples["photons"], frames["photons"].sum())
    np.testing.assert_array_equal(samples["d_min_A"], frames["d_min_A"].min())
    images = open_series(whole, chunks=None)["intensity"].to_numpy().reshape(SAMPLES, -1)
    np.testing.assert_allclose(samples["photons"], images.sum(axis=1, dtype=np.float64), rtol=1e-12)


def test_the_resolution_of_a_sample_is_that_of_its_finest_spot_that_is_seen(whole):
    spots = open_spots(whole)
    seen = spots[spots["signal_over_noise"] >= 3].groupby("sample")["d_A"].min()
    assert 0 < len(seen) < SAMPLES, "of some samples, and not of all"
    found = open_samples(whole, ["sample", "d_min_A"]).set_index("sample")["d_min_A"]
    np.testing.assert_allclose(found[seen.index], seen, rtol=1e-6)  # spots have it in float32
    assert found.drop(seen.index).isna().all()


def test_columns_and_samples_are_read_alone(whole):
    some = open_samples(whole, ["let.kind", "photons"], slice(1, 4))
    assert list(some.columns) == ["let.kind", "photons"]
    pandas.testing.assert_frame_equal(some, open_samples(whole)[1:4].reset_index(drop=True)[["let.kind", "photons"]])
    assert list(open_samples(whole, ["sample"], range(4, 5))["sample"]) == [4]
    every = open_spots(whole)
    for sample in range(SAMPLES):
        its = open_spots(whole, samples=range(sample, sample + 1))
        pandas.testing.assert_frame_equal(its, every[every["sample"] == sample].reset_index(drop=True))
    frame = open_spots(whole, frames=slice(3, 4), columns=["frame", "photons"])
    assert set(frame["frame"]) == {1}
    np.testing.assert_array_equal(frame["photons"], every[(every["sample"] == 1) & (every["frame"] == 1)]["photons"])
    with pytest.raises(StoreError, match="lie outside the data set of 5 samples"):
        open_spots(whole, samples=range(3, 6))
    with pytest.raises(StoreError, match="not both"):
        open_spots(whole, range(1), samples=range(1))
    with pytest.raises(StoreError, match="consecutive"):
        open_spots(whole, samples=slice(0, 5, 2))
    with pytest.raises(StoreError, match="samples has no column colour; columns: sample, split"):
        open_samples(whole, ["colour"])


def test_spots_have_the_indices_of_the_crossings_that_they_are_of(whole):
    spots, crossings = open_spots(whole), open_reflections(whole)
    assert list(spots.columns) == ["sample", "frame", *(column.name for column in SAMPLE_SPOT_COLUMNS)]
    assert list(crossings.columns) == ["sample", *(column.name for column in REFLECTION_COLUMNS)]
    both = spots.merge(crossings, on=["sample", "reflection"], suffixes=("", "_crossing"))
    assert len(both) > 20
    assert set(both["lattice"]) == {0, 1}
    for name in ("lattice", "h", "k", "l", "d_A"):
        np.testing.assert_array_equal(both[name], both[f"{name}_crossing"])


def test_lattices_are_at_the_middle_of_their_frame(whole, recipe):
    lattices = read_table(whole, "lattices").to_pandas()
    for (sample, frame), rows in lattices.groupby(["sample", "frame"]):
        scene = resolve(recipe.draw(sample).experiment)
        real = rows[[f"{edge}_{axis}" for edge in "abc" for axis in "xyz"]].to_numpy().reshape(-1, 3, 3)
        np.testing.assert_array_equal(real, scene.frame_orientations_A(frame))
        assert list(rows["weight"]) == [its.weight for its in scene.specimen.lattices]
    np.testing.assert_allclose(lattices[["a_A", "b_A", "c_A"]], [[40, 45, 50]] * len(lattices), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(lattices[[f"q_{name}" for name in "wxyz"]], axis=1), 1, rtol=1e-12)
    assert set(lattices["space_group"]) == {"P 1"}


def test_a_data_set_opens_as_its_frames_with_the_sample_of_each(whole):
    data = open_series(whole)
    assert dict(data.sizes) == {"frame": SAMPLES * TOGETHER, "slow": 24, "fast": 20}
    assert set(data.coords) == {"slow", "fast", "mask", "resolution", "sample", "complete"}
    np.testing.assert_array_equal(data["sample"], np.arange(SAMPLES * TOGETHER) // TOGETHER)
    assert data["complete"].all()
    some = data.isel(frame=slice(7, 2, -2))
    np.testing.assert_array_equal(some["sample"], [3, 2, 1])
    np.testing.assert_array_equal(data["sample"].isel(frame=[9, 0]), [4, 0])
    assert int(data["sample"][3]) == 1
    np.testing.assert_array_equal(data.where(data["sample"] == 2, drop=True)["frame"].size, TOGETHER)


def test_what_differs_from_sample_to_sample_is_an_image_of_each_frame(experiment, tmp_path):
    shadowed = experiment.with_changes(shadows={"beam_stop": {"size_mm": 8.0, "distance_mm": 50.0}})
    detector = shadowed.content()["detector"]
    panel = {**detector["panels"][0], "distance_mm": {"uniform": [90, 110]}}
    drawn = recipe_with(shadowed, detector={**detector, "panels": [panel]})
    location = make_dataset(tmp_path / "a.zarr", drawn, 2)
    write_units(location, drawn)
    data = open_series(location)
    assert {"mask", "resolution", "shadow"} <= set(data.data_vars)
    assert "mask" not in data.coords
    scene = resolve(drawn.draw(1).experiment)
    panel = scene.instrument.panels[0]
    np.testing.assert_array_equal(data["mask"][3] == 0, panel.usable)
    expected = panel.resolution_A(np.arange(24)[:, None] + 0.5, np.arange(20) + 0.5, 1.0)
    np.testing.assert_array_equal(data["resolution"][3], expected.astype(np.float32))
    assert 0 < data["shadow"].sum() < data["shadow"].size
    gaps = {product.name: product.gap for product in products_of_samples(drawn) if hasattr(product, "gap")}
    assert gaps == {"intensity": 0, "counts": -1, "resolution": 0, "shadow": 0, "mask": 1}


def test_an_unfinished_data_set_is_read_of_the_samples_that_are_there(recipe, tmp_path):
    location = make_dataset(tmp_path / "a.zarr", recipe, SAMPLES)
    write_units(location, recipe, [1])
    assert list(open_samples(location)["sample"]) == [2, 3]
    assert list(open_series(location)["complete"].to_numpy()) == [False] * 4 + [True] * 4 + [False] * 2
    summary = summarize(location)
    assert (summary.samples, summary.frames_per_sample, summary.frames_complete) == (SAMPLES, TOGETHER, 4)


def test_a_data_set_grows_and_is_the_set_that_was_made_so_long(recipe, copy, tmp_path, assert_same_bits):
    assert mark_finished(copy)
    grow_store(copy, SAMPLES + 2)
    found = read_completeness(open_group(copy))
    assert found.complete == {0, 1}, "the last unit has more frames than were written"
    assert list(open_samples(copy)["sample"]) == [0, 1, 2, 3]
    assert open_series(copy).sizes["frame"] == (SAMPLES + 2) * TOGETHER
    write_units(copy, recipe, found.missing)
    assert read_completeness(open_group(copy)).finished
    long = make_dataset(tmp_path / "long.zarr", recipe, SAMPLES + 2)
    write_units(long, recipe)
    assert_same_bits(copy, long)
    pandas.testing.assert_frame_equal(open_samples(copy), open_samples(long))
    for array in ("intensity", "counts"):
        assert (copy / array / "zarr.json").read_bytes() == (long / array / "zarr.json").read_bytes()
    grown, made = (zarr.open_group(str(place), mode="r").attrs.asdict() for place in (copy, long))
    for name in ("store_id", "provenance"):
        del grown[name], made[name]
    assert grown == made


def test_a_store_that_says_it_is_finished_is_not_believed_after_it_grew_within_its_last_unit(copy):
    assert mark_finished(copy)
    grow_store(copy, SAMPLES + 1)
    assert read_completeness(open_group(copy)).missing == {2}


@pytest.mark.parametrize("again", range(1, 4))
@pytest.mark.parametrize("written", range(1, 5))
def test_growing_that_is_cut_short_again_and_again_leaves_the_data_set_as_it_was(
    whole, copy, monkeypatch, written, again
):
    """At each of the objects that it writes: the metadata in one, those of two arrays, and the root."""
    for writes, samples in ((written, SAMPLES + 4), (again, SAMPLES + 3)):
        left = iter(range(writes - 1))

        def write(objects, key, content, real=Folder.write, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(objects, key, content)

        with monkeypatch.context() as patched:
            patched.setattr(Folder, "write", write)
            with pytest.raises(KeyboardInterrupt):
                grow_store(copy, samples)
        assert open_series(copy).equals(open_series(whole))
    pandas.testing.assert_frame_equal(open_samples(copy), open_samples(whole))
    assert mark_finished(copy)
    assert open_series(copy).equals(open_series(whole))
    grow_store(copy, SAMPLES + 4)
    assert open_series(copy).sizes["frame"] == (SAMPLES + 4) * TOGETHER


def test_rows_of_a_few_units_are_read_without_a_list_of_all_records(copy, monkeypatch):
    listed = []
    for name in ("names", "each_name"):
        real = getattr(Folder, name)
        monkeypatch.setattr(Folder, name, lambda its, place, real=real: listed.append(place) or real(its, place))
    assert list(open_samples(copy, samples=range(2, 3))["sample"]) == [2]
    assert not listed


def test_what_cannot_grow_says_so(copy):
    with pytest.raises(StoreError, match="has 5 samples; it can grow to more, and not to 4"):
        grow_store(copy, 4)
    before = (copy / "zarr.json").read_bytes()
    grow_store(copy, SAMPLES)
    assert (copy / "zarr.json").read_bytes() == before


def test_units_hold_whole_samples(recipe):
    with pytest.raises(StoreError, match="3 are not whole samples of 2 frames; expected a multiple of 2"):
        schema_of_samples(recipe, 4, Settings((24, 20), 1, 3))
    with pytest.raises(StoreError, match="0 samples; at least 1"):
        schema_of_samples(recipe, 0, Settings((24, 20), 1, 2))


def test_info_tells_a_data_set(whole):
    told = " ".join(CliRunner().invoke(app, ["info", str(whole)]).stdout.split())
    assert "5 of 5 complete, 2 frames each, 3 of 3 units" in told
    assert "let.size, let.kind, " in told
    assert "crystals, crystals.0.misset_deg, crystals.1.misset_deg" in told, "each field once, not each of its numbers"
    assert str(2**64 - 1) in told


def test_an_unfinished_data_set_names_the_command_that_goes_on(recipe, tmp_path):
    location = make_dataset(tmp_path / "a.zarr", recipe, SAMPLES)
    told = " ".join(CliRunner().invoke(app, ["info", str(location)]).stdout.split())
    assert f"nbdist dataset RECIPE.yaml -o {location} --resume" in told


def test_what_is_for_series_says_that_it_found_a_data_set(whole):
    with pytest.raises(StoreError, match="is a data set of 5 samples; expected a series"):
        summarize_series(whole)
    with pytest.raises(StoreError, match="ask for samples"):
        open_reflections(whole, range(2))


@pytest.mark.parametrize("table", [None, "samples", "frames", "lattices", "reflections"])
def test_labels_of_a_data_set_are_files_with_the_sample_first(whole, tmp_path, table):
    chosen = ["--table", table] if table else []
    files = [f"--{kind}={tmp_path / kind}" for kind in ("parquet", "csv")]
    ran = CliRunner().invoke(app, ["labels", str(whole), *files, "--samples", "1:3", *chosen])
    assert ran.exit_code == 0, ran.output
    rows, text = pyarrow.parquet.read_table(tmp_path / "parquet").to_pandas(), pandas.read_csv(tmp_path / "csv")
    expected = {
        None: lambda: open_spots(whole, samples=range(1, 3)),
        "samples": lambda: open_samples(whole, samples=range(1, 3)),
        "reflections": lambda: open_reflections(whole, samples=range(1, 3)),
    }.get(table, lambda: read_table(whole, table, samples=range(1, 3)).to_pandas())()
    pandas.testing.assert_frame_equal(rows, expected)
    assert text.columns[0] == "sample"
    assert list(text.columns) == list(expected.columns)
    assert set(text["sample"]) == {1, 2}


def test_rows_of_samples_cannot_be_asked_for_by_frames(whole, tmp_path):
    ran = CliRunner().invoke(
        app, ["labels", str(whole), "--csv", str(tmp_path / "a.csv"), "--table", "samples", "--frames", "1:2"]
    )
    assert ran.exit_code
    assert not list(tmp_path.iterdir())


def test_a_data_set_needs_pyarrow_and_says_so_before_anything_is_rendered(recipe, monkeypatch, tmp_path):
    monkeypatch.setattr("nbdist.errors.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"the table samples needs pyarrow: install nbdist with its extra tables"
    ):
        make_dataset(tmp_path / "a.zarr", recipe, 1)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"samples": 0}, "no frames"),
        ({"frames_per_sample": 3}, "units of parts of samples"),
        ({"samples": "many"}, "invalid literal"),
        (
            {"columns": [{"name": "a", "dtype": "O", "units": "", "long_name": ""}]},
            "column a of type O; possible: float64",
        ),
        ({"columns": None}, "not iterable"),
        ({"columns": [True]}, "not iterable"),
        ({"samples": float("inf")}, "infinity"),
        ({"products": ["intensity", 1, None]}, "no table samples"),
        ({"products": ["intensity", "frames"]}, "no table samples"),
    ],
)
def test_attributes_that_are_those_of_no_data_set_are_refused(copy, change, wrong):
    root = json.loads((copy / "zarr.json").read_bytes())
    root["attributes"] |= change
    (copy / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(StoreError, match=f"not those of a data set .*{wrong}"):
        open_series(copy)


def test_a_long_data_set_opens_in_the_memory_of_a_short_one(recipe, tmp_path):
    """A million samples: no coordinate of theirs is worked out, and nothing is read but what is asked for."""
    import tracemalloc

    location = make_dataset(tmp_path / "a.zarr", recipe, 10**6, samples_per_unit=1000)
    unit = schema_of(open_group(location)).units[999]
    open_series(location)
    tracemalloc.start()
    data = open_series(location, chunks=None)
    assert int(data["sample"][-1]) == 10**6 - 1
    assert not bool(data["complete"][-1])
    assert data.isel(frame=slice(-3, None))["sample"].to_numpy().tolist() == [10**6 - 2, 10**6 - 1, 10**6 - 1]
    assert open_samples(location, samples=range(10**6 - 2, 10**6)).empty
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6, "a byte for each of two million frames would be as much"
    assert len(unit.frames) == 2000


def test_a_record_of_other_frames_is_of_no_complete_unit(copy, recipe):
    group = open_group(copy)
    unit = schema_of(group).units[2]
    made = [frame for sample in range(4, 5) for frame in frames_of_sample(recipe, sample)]
    UnitWriter(copy).write(unit, made, {**record_of(unit), "frames": [8, 12]})
    assert read_completeness(group).missing == {2}
