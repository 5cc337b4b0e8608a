"""Counts of a detector with a response in a store: their type, markers and attributes are known to whoever reads or checks it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import zarr
from datasets import frame_dataset

from nbdist import generate, open_series, read_out, verify
from nbdist.errors import StoreError
from nbdist.readout.integers import is_reading
from nbdist.store import summarize

READOUT = {
    "point_spread": {"kind": "gaussian", "fwhm_mm": 1.0},
    "electrons_per_photon": 4.0,
    "read_noise_electrons": 3.0,
    "offset_adu": 30.0,
    "dead_pixel_fraction": 0.02,
    "hot_pixel_fraction": 0.02,
    "saturation_adu": 38,
}


@pytest.fixture(scope="module", params=["int32", "uint16", "uint32"])
def integers(request):
    return request.param


@pytest.fixture(scope="module")
def experiment(small_experiment, integers, tmp_path_factory):
    mask = tmp_path_factory.mktemp("mask") / "mask.npy"
    np.save(mask, np.indices((24, 20)).sum(axis=0) == 5)
    made = small_experiment(
        panel={"spixels": 24, "fpixels": 20, "pixel_size_mm": 3.0},
        noise={"photon_noise": True, "seed": 3},
        readout={**READOUT, "integers": integers},
    )
    return made.with_changes(detector={"mask_file": str(mask)})


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("counts") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=2)
    return location


def test_the_array_has_the_experiments_type_and_says_what_its_numbers_are(whole, integers):
    counts = zarr.open_group(str(whole), mode="r")["counts"]
    assert counts.dtype == integers
    largest = {"int32": 1, "uint16": 2**16, "uint32": 2**32}[integers]
    markers = (-1, -2) if integers == "int32" else (largest - 1, largest - 2)
    assert (counts.attrs["gap_value"], counts.attrs["bad_value"]) == markers
    assert counts.attrs["saturation_value"] == 38
    assert counts.attrs["adu_per_photon"] == 4.0
    assert counts.attrs["offset_adu"] == 30.0
    assert counts.attrs["units"] == "ADU"


def test_the_mask_covers_what_is_not_read(whole):
    data = open_series(whole)
    mask, counts = data["mask"].values, data["counts"].values
    assert set(np.unique(mask)) == {0, 1, 2}
    for frame in counts:
        np.testing.assert_array_equal(is_reading(frame), mask == 0)
    assert (counts[:, mask == 1] == data["counts"].attrs["gap_value"]).all()
    assert (counts[:, mask == 2] == data["counts"].attrs["bad_value"]).all()
    assert (data["intensity"].values[:, mask == 1] == 0).all()


@pytest.mark.parametrize("readout", [{"integers": "uint32"}, {"adu_per_electron": 0.01}, {}])
def test_pixels_of_more_photons_than_are_counted_are_told_whatever_they_read(readout, small_experiment, tmp_path):
    mask = tmp_path / "mask.npy"
    np.save(mask, np.indices((8, 8)).sum(axis=0) == 5)
    image = np.where(np.indices((8, 8))[0] < 3, 5e9, 7.0)
    np.save(tmp_path / "image.npy", image)
    experiment = small_experiment(
        panel={"spixels": 8, "fpixels": 8, "mask_file": mask},
        scan={"frames": 1},
        background={"image_file": tmp_path / "image.npy"},
        noise={"photon_noise": True},
        readout=readout,
    )
    progress = generate(experiment, tmp_path / "a.zarr", serial=True)
    assert progress.saturated_pixels == 3 * 8 - 3, "three of them are masked"
    again = read_out(tmp_path / "a.zarr", tmp_path / "b.zarr", seed=2, serial=True)
    assert again.saturated_pixels == progress.saturated_pixels


def test_records_tell_how_many_pixels_are_saturated(whole):
    counts = zarr.open_group(str(whole), mode="r")["counts"][:]
    told = sum(record["saturated_pixels"] for record in summarize(whole).records)
    assert told == (counts == 38).sum() > 0


def test_verify_makes_the_same_counts(whole):
    assert verify(whole, sample=3).good


@pytest.mark.parametrize(
    "integers", ["int32"], indirect=True
)  # of the unsigned types every number is a reading or a marker
def test_verify_finds_a_number_that_no_reading_is(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy.zarr")
    group = zarr.open_group(str(copy), mode="r+")
    group["counts"][0] = np.full_like(group["counts"][0], -3)
    assert "holds values that no image has" in verify(copy, sample=0).damaged[0]


@pytest.mark.parametrize("integers", ["int32"], indirect=True)
@pytest.mark.parametrize("dtype", ["float64", "int16", "|O", ["int32"]])
def test_a_type_that_no_experiment_gives_counts_is_refused(dtype, whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy.zarr")
    root = json.loads((copy / "zarr.json").read_text())
    root["attributes"]["dtypes"]["counts"] = dtype
    (copy / "zarr.json").write_text(json.dumps(root))
    for read in (summarize, open_series):
        with pytest.raises(StoreError, match="its attributes are not those of a series"):
            read(copy)


def test_a_run_that_was_cut_short_goes_on_with_the_same_counts(experiment, whole, tmp_path):
    generate(experiment, tmp_path / "part.zarr", serial=True, frames_per_shard=2, frames=range(2))
    generate(experiment, tmp_path / "part.zarr", serial=True, resume=True)
    stored = (zarr.open_group(str(its), mode="r")["counts"][:] for its in (whole, tmp_path / "part.zarr"))
    np.testing.assert_array_equal(*stored)


def test_a_dataset_gives_counts_in_their_type_and_a_mask_over_bad_ones(whole, integers):
    dataset = frame_dataset(whole)
    counts = dataset[1]["counts"].numpy()
    assert counts.dtype == integers
    np.testing.assert_array_equal(dataset.mask.numpy(), is_reading(counts))
