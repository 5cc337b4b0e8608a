"""`nbdist readout`: stored photons into another store of counts."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from nbdist import open_series
from nbdist.readout.draws import Draws


def test_photons_are_read_out_with_a_seed_and_info_says_whose_they_are(nbdist, finished, tmp_path):
    location = tmp_path / "counts.zarr"
    ended = nbdist("readout", finished, "-o", location, "--seed", 7, "--serial")
    assert (ended.code, ended.out.split()[:3]) == (0, [f"{location}:", "3", "frames"])
    photons = zarr.open_group(str(finished), mode="r")["intensity"][1]
    np.testing.assert_array_equal(open_series(location).counts[1], Draws(7, 1).poisson(photons))
    assert f"photons of {finished} (fingerprint" in nbdist("info", location).out


def test_an_experiment_file_names_another_exposure(nbdist, finished, write_experiment, tmp_path):
    noisy = {"noise": {"photon_noise": True}, "beam": {"fluence_photons_per_m2": 5e23}}
    other, location = write_experiment(tmp_path / "other.yaml", **noisy), tmp_path / "counts.zarr"
    assert nbdist("readout", finished, "-o", location, "--experiment", other, "--serial").code == 0
    np.testing.assert_array_equal(open_series(location).intensity, open_series(finished).intensity / 2)
    assert f"{finished}, times 0.5 (fingerprint" in nbdist("info", location).out


@pytest.mark.parametrize("cut", [("--frames", "0:2"), ("--part", "1/2")])
def test_what_is_left_goes_on_with_the_command_that_is_said(cut, nbdist, finished, tmp_path):
    location = tmp_path / "counts.zarr"
    begun = nbdist("readout", finished, "-o", location, "--seed", 7, "--serial", *cut)
    assert begun.code == 0
    told = nbdist("info", location).raw
    command = next(line for line in told.splitlines() if "nbdist readout" in line).partition("nbdist ")[2].split()
    assert command[:5] == ["readout", str(finished), "-o", str(location), "--seed"]
    assert nbdist(*command, "--serial").code == 0
    assert "frames 3 of 3 complete" in nbdist("info", location).out


def test_photons_that_are_not_complete_end_it_with_status_1(nbdist, part, tmp_path):
    location = tmp_path / "counts.zarr"
    ended = nbdist("readout", part, "-o", location, "--seed", 7, "--serial")
    assert ended.code == 1
    assert f"nbdist: {part}: frames 1 to 2 are not complete; they are read out by --resume when they are" in ended.err
    assert f"Go on with: nbdist readout {part} -o {location} --seed 7 --resume --serial" in ended.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "asks for no counts"),
        (("--seed", 1, "--resume", "--overwrite"), "--resume and --overwrite exclude each other"),
        (("--seed", 1, "--frames", "0:4"), "--frames 0:4: lies outside 0:3"),
        (("--seed", 1, "--part", "1/2", "--frames", "0:2"), "--part and --frames exclude each other"),
        (("--seed", 1, "--serial", "--workers", 2), "exclude each other"),
    ],
)
def test_what_cannot_be_read_out_is_said_in_one_line(options, said, nbdist, finished, tmp_path):
    refused = nbdist("readout", finished, "-o", tmp_path / "counts.zarr", *options)
    assert refused.code == 2
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "counts.zarr").exists()
