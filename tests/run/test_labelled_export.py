"""Stores as images with labels: what a loader of Zarr or HDF5 reads is what the store holds, whoever writes it and however it was ended."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import zarr
from injected import in_process_client
from sample_sets import make_dataset, recipe_with, write_units

from nbdist import export, generate, open_samples, open_series
from nbdist.errors import RunError, StoreError
from nbdist.formats.image_files import BAD, GAP
from nbdist.formats.labelled_hdf5 import LabelledHdf5
from nbdist.formats.zarr_labels import ZarrLabels
from nbdist.run.executors.choice import chosen_workers
from nbdist.run.settings import RunSettings
from nbdist.store import read_table

FRAMES = 7
FORMATS = {"zarr-labels": ZarrLabels(images_per_file=3), "hdf5": LabelledHdf5(images_per_file=3)}
WRITTEN = {
    "zarr-labels": ["export.json", "series.zarr"],
    "hdf5": ["export.json", "series.h5", *(f"series_{number:06d}.h5" for number in (1, 2, 3))],
}
PANEL = {"spixels": 7, "fpixels": 9, "pixel_size_mm": 4.0, "distance_mm": 100.0}


@pytest.fixture(scope="module")
def store(light_experiment, tmp_path_factory):
    experiment = light_experiment(FRAMES).with_changes(
        title="labelled",
        noise={"photon_noise": True},
        beam={"flicker": {"sigma": 0.1}},
        readout={"dead_pixel_fraction": 0.1},
        labels={"spot": True},
        detector={"region_of_interest": {"slow": [2, 15], "fast": [0, 20]}},
    )
    location = tmp_path_factory.mktemp("store") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=2)
    return location


@pytest.fixture(scope="module")
def series(store):
    return open_series(store, chunks=None).load()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def images(folder, kind, prefix="series"):
    if kind == "zarr-labels":
        return zarr.open(folder / f"{prefix}.zarr", mode="r")["images"][:]
    with h5py.File(folder / f"{prefix}.h5") as file:
        return file["images"][:]


@pytest.mark.parametrize("where", ["serial", "dask"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_image_is_written_by_this_process_or_by_workers(kind, where, store, series, tmp_path):
    if where == "serial":
        exported, progress = export(store, tmp_path, FORMATS[kind])
    else:
        with in_process_client({}, {}) as client:
            exported, progress = export(
                store, tmp_path, FORMATS[kind], chosen_workers(RunSettings(device="cpu"), client)
            )
    assert (progress.frames_done, progress.frames_total, progress.failed) == (FRAMES, FRAMES, {})
    np.testing.assert_array_equal(images(tmp_path, kind), series.counts)
    assert (series.counts == BAD).any()
    assert exported.images.exists()
    assert names(tmp_path) == WRITTEN[kind]


def test_zarr_has_an_integer_mask_of_each_image_and_the_numbers_of_it(store, series, tmp_path):
    export(store, tmp_path, "zarr-labels")
    found = zarr.open(tmp_path / "series.zarr", mode="r")
    assert (found["images"].dtype, found["labels"].dtype) == (np.float32, np.int32)
    assert found["labels"].chunks == found["images"].chunks == (1, *series.counts.shape[1:])
    np.testing.assert_array_equal(found["labels"][:], series.spot)
    assert found["labels"][:].max() > 0
    assert sorted(found["samples"].array_keys()) == ["fluence_factor", "frame", "phi_end_deg", "phi_start_deg"]
    for name in ("frame", "phi_start_deg", "fluence_factor"):
        np.testing.assert_array_equal(found["samples"][name][:], series[name])
    assert found["samples/phi_end_deg"].attrs["units"] == "degree"
    assert found.attrs["title"] == "labelled"


def test_zarr_is_of_the_version_that_every_library_reads_with_a_file_for_each_image(store, series, tmp_path):
    export(store, tmp_path, "zarr-labels")
    described = json.loads((tmp_path / "series.zarr" / "images" / ".zarray").read_bytes())
    assert described["zarr_format"] == 2
    assert {path.name for path in (tmp_path / "series.zarr" / "images").iterdir()} == {
        ".zarray",
        ".zattrs",
        *(f"{frame}.0.0" for frame in range(FRAMES)),
    }
    import numcodecs

    packed = (tmp_path / "series.zarr" / "images" / "5.0.0").read_bytes()
    image = np.frombuffer(numcodecs.get_codec(described["compressor"]).decode(packed), described["dtype"])
    np.testing.assert_array_equal(image.reshape(described["chunks"][1:]), series.counts[5])


def test_hdf5_has_a_table_of_numbers_by_the_names_of_its_columns(store, series, tmp_path):
    export(store, tmp_path, LabelledHdf5(images_per_file=3), frames=range(1, 6))
    with h5py.File(tmp_path / "series.h5") as file:
        names = list(file["labels"].attrs["names"])
        assert names == ["frame", "phi_start_deg", "phi_end_deg", "fluence_factor"]
        assert list(file["labels"].attrs["units"]) == ["", "degree", "degree", "1"]
        labels, samples = file["labels"][:], file["samples"][:]
        assert file["images"].is_virtual
    assert labels.dtype == np.float64
    for place, name in enumerate(names):
        np.testing.assert_array_equal(labels[:, place], series[name][1:6])
        np.testing.assert_array_equal(samples[name], series[name][1:6])
    with h5py.File(tmp_path / "series_000002.h5") as file:
        np.testing.assert_array_equal(file["images"][:], series.counts[4:6])
        np.testing.assert_array_equal(file["labels"][:, 0], [4, 5])
        assert file["images"].chunks == (1, *series.counts.shape[1:])


def test_photons_are_as_they_are_stored_and_minus_one_where_no_pixel_is(store, series, tmp_path):
    for kind in FORMATS:
        export(store, tmp_path / kind, FORMATS[kind], what="intensity")
        expected = np.where(series.mask == 1, GAP, series.intensity)
        np.testing.assert_array_equal(images(tmp_path / kind, kind), expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_that_was_ended_goes_on_with_what_is_not_there(kind, store, series, tmp_path):
    export(store, tmp_path, FORMATS[kind])
    made = tmp_path / FORMATS[kind].file_name("series", 1)
    made.unlink()
    half = made.with_name(f".{made.name}.elsewhere-1.part")
    half.touch()
    _, progress = export(store, tmp_path, FORMATS[kind], resume=True)
    assert (progress.frames_done, progress.frames_total) == (3, 3)
    assert not half.exists()
    np.testing.assert_array_equal(images(tmp_path, kind), series.counts)
    assert export(store, tmp_path, FORMATS[kind], resume=True)[1].frames_total == 0


@pytest.mark.parametrize(
    ("first", "second"), [("zarr-labels", "hdf5"), ("hdf5", "zarr-labels"), ("zarr-labels", "cbf")]
)
def test_an_export_may_be_replaced_by_one_of_another_kind(first, second, store, tmp_path):
    export(store, tmp_path, first)
    with pytest.raises(RunError, match=rf"holds an export of format {first}, this one is of {second}"):
        export(store, tmp_path, second, resume=True)
    export(store, tmp_path, second, overwrite=True)
    kept = {"zarr-labels": {"series.zarr"}, "hdf5": {"series.h5", "series_000001.h5"}}
    assert not kept[first] & set(names(tmp_path))
    assert kept.get(second, {"series_00001.cbf"}) <= set(names(tmp_path))


def test_masks_that_a_store_does_not_have_are_asked_for(light_experiment, tmp_path):
    generate(light_experiment(1), tmp_path / "a.zarr", serial=True)
    with pytest.raises(RunError, match=r"holds no spot, which zarr-labels has of each pixel; labels.spot makes it"):
        export(tmp_path / "a.zarr", tmp_path / "out", "zarr-labels")
    assert not (tmp_path / "out").exists()
    export(tmp_path / "a.zarr", tmp_path / "out", "hdf5")
    assert images(tmp_path / "out", "hdf5", "a").shape[0] == 1
    shutil.rmtree(tmp_path / "out")


def test_panels_are_stacked_along_slow(small_experiment, tmp_path):
    experiment = small_experiment(
        detector={"panels": [PANEL, {**PANEL, "spixels": 5, "fpixels": 11}]}, labels={"spot": True}, scan={"frames": 2}
    )
    generate(experiment, tmp_path / "a.zarr", serial=True)
    _, progress = export(tmp_path / "a.zarr", tmp_path / "out", "zarr-labels")
    assert progress.notes == ["the 2 panels are stacked along slow, each from the first column on"]
    stored, series = zarr.open(tmp_path / "out" / "a.zarr", mode="r"), open_series(tmp_path / "a.zarr", chunks=None)
    for name, product, nothing in (("images", "intensity", GAP), ("labels", "spot", 0)):
        assert stored[name].shape == (2, 12, 11)
        np.testing.assert_array_equal(stored[name][:, :7, :9], series[f"{product}_0"])
        np.testing.assert_array_equal(stored[name][:, 7:], series[f"{product}_1"])
        assert (stored[name][:, :7, 9:] == nothing).all()


@pytest.fixture(scope="module")
def recipe(small_experiment):
    """Wedges of two frames, of one or two lattices, in a spread of phi."""
    experiment = small_experiment(
        panel={"spixels": 16, "fpixels": 20, "pixel_size_mm": 4.0},
        beam={"fluence_photons_per_m2": 2e24},
        crystal={"shape": "gauss", "space_group": "P 1"},
        scan={"frames": 2},
        sampling={"method": "integrated"},
        noise={"photon_noise": True},
        labels={"spot": True},
    )
    crystal = {**experiment.content()["crystal"], "misset_deg": {"rotation": "uniform"}}
    return recipe_with(
        experiment,
        let={"kind": {"choice": ["a", "b"]}},
        scan={**experiment.content()["scan"], "phi_start_deg": {"uniform": [0, 90]}},
        crystals={"repeat": {"integer": [1, 2]}, "of": crystal},
    )


@pytest.fixture(scope="module")
def samples(recipe, tmp_path_factory):
    location = make_dataset(tmp_path_factory.mktemp("sets") / "train.zarr", recipe, 3)
    write_units(location, recipe)
    return location


@pytest.mark.parametrize("frames", [None, range(1, 4)])
def test_a_data_set_is_exported_with_what_was_drawn_for_each_image(frames, samples, tmp_path):
    export(samples, tmp_path / "zarr", "zarr-labels", frames=frames)
    export(samples, tmp_path / "hdf5", LabelledHdf5(images_per_file=4), frames=frames)
    series, chosen = open_series(samples, chunks=None), slice(frames.start, frames.stop) if frames else slice(None)
    numbers = np.arange(6)[chosen]
    found = zarr.open(tmp_path / "zarr" / "train.zarr", mode="r")
    np.testing.assert_array_equal(found["images"][:], series.counts[chosen])
    np.testing.assert_array_equal(found["labels"][:], series.spot[chosen])
    with h5py.File(tmp_path / "hdf5" / "train.h5") as file:
        rows = pandas.DataFrame(file["samples"][:])
        np.testing.assert_array_equal(file["images"][:], series.counts[chosen])
        names, labels = list(file["labels"].attrs["names"]), file["labels"][:]
    assert set(rows.columns) - set(names) == {"split", "crystal", "space_group", "let.kind"}
    for place, name in enumerate(names):
        np.testing.assert_array_equal(labels[:, place], rows[name])
    assert rows["sample"].tolist() == (numbers // 2).tolist()
    assert rows["frame"].tolist() == (numbers % 2).tolist()
    drawn = open_samples(samples).iloc[numbers // 2]
    for name in ("split", "let.kind", "crystal"):
        assert [value.decode() for value in rows[name]] == found["samples"][name][:].tolist() == drawn[name].tolist()
    for name in ("lattices", "scan.phi_start_deg", "crystals.0.misset_deg.0"):
        np.testing.assert_array_equal(rows[name], drawn[name])
    of_frames = read_table(samples, "frames").to_pandas().iloc[numbers]
    lattices = read_table(samples, "lattices").to_pandas().query("lattice == 0").iloc[numbers]
    for name in ("phi_start_deg", "photons"):
        np.testing.assert_array_equal(rows[name], of_frames[name])
    for name in ("a_x", "c_z", "q_w", "q_z"):
        np.testing.assert_array_equal(rows[name], lattices[name])
        np.testing.assert_array_equal(found["samples"][name][:], lattices[name])


def test_a_data_set_is_exported_where_the_files_of_its_recipe_are_not(samples, tmp_path):
    copy = shutil.copytree(samples, tmp_path / "copy.zarr")
    root = json.loads((copy / "zarr.json").read_bytes())
    root["attributes"]["recipe"]["structure_factors"] = {"kind": "file", "file": "/gone.mtz"}
    (copy / "zarr.json").write_text(json.dumps(root))
    export(copy, tmp_path / "out", "hdf5")
    with h5py.File(tmp_path / "out" / "copy.h5") as file:
        assert len(file["images"]) == 6


def test_the_readers_of_the_manual_read_what_was_exported(samples, tmp_path):
    pytest.importorskip("torch")
    manual = (Path(__file__).parents[2] / "docs" / "how_to" / "datasets.md").read_text()
    readers: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", manual, re.DOTALL):
        if "Dataset)" in code:
            exec(code, readers)
    export(samples, tmp_path, "zarr-labels")
    export(samples, tmp_path / "hdf5", "hdf5")
    series = open_series(samples, chunks=None)
    masks, numbers = (
        readers["Masks"](tmp_path / "train.zarr"),
        readers["Numbers"](tmp_path / "hdf5/train.h5", ["q_w", "sample"]),
    )
    assert len(masks) == len(numbers) == 6
    for frame in (0, 5):
        image, mask = masks[frame]
        np.testing.assert_array_equal(image, series.counts[frame])
        np.testing.assert_array_equal(mask, series.spot[frame] > 0)
        image, (q_w, sample) = numbers[frame]
        np.testing.assert_array_equal(image, series.counts[frame])
        assert (sample, 0 < q_w <= 1) == (frame // 2, True)


def test_an_experiment_that_would_not_be_read_is_refused(samples, tmp_path, light_experiment):
    with pytest.raises(RunError, match="experiment: hdf5 takes everything from the store, and none is read"):
        export(samples, tmp_path, "hdf5", experiment=light_experiment(1))


def test_a_data_set_is_no_series_for_programs_that_process_one(samples, tmp_path):
    with pytest.raises(StoreError, match=r"train\.zarr is a data set of 3 samples; expected a series"):
        export(samples, tmp_path, "nxmx")
