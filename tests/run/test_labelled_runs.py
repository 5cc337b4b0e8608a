"""A run with labels writes the same truth however it is cut, and its tables and images say the same of every photon."""

from __future__ import annotations

import numpy as np
import pandas.testing
import pytest

from nbdist import generate, open_reflections, open_series, open_spots, verify
from nbdist.run.finish import finish
from nbdist.store.objects import Folder

FRAMES = 6


@pytest.fixture(scope="module")
def experiment(small_experiment):
    """Two panels, one pixel of which is masked, two lattices, water, and spots that last for about a frame."""
    panels = [
        {"spixels": 60, "fpixels": 44, "pixel_size_mm": 0.8, "origin_mm": [-40.0, -24.0, 100.0]},
        {"spixels": 60, "fpixels": 44, "pixel_size_mm": 0.8, "origin_mm": [1.0, -24.0, 100.0]},
    ]
    crystal = {"N_cells": [20, 18, 16], "shape": "gauss", "mosaicity": {"sigma_deg": 0.1}}
    cell = {"cell": [40.0, 45.0, 50.0, 80.0, 95.0, 100.0], "misset_deg": [14, -31, 52]}
    return small_experiment(
        crystal=None,
        crystals=[cell | crystal, cell | crystal | {"misset_deg": [3, 40, -8], "weight": 0.5}],
        detector={"convention": "xds", "panels": panels},
        scan={"frames": FRAMES, "phi_steps": 1},
        sampling={"method": "integrated"},
        background={"water_um": 0.2},
        labels="all",
    )


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("labelled") / "a.zarr"
    assert not generate(experiment, location, serial=True, frames_per_shard=2).failed
    return location


def test_photons_are_of_the_crystals_or_of_the_background(whole):
    data = open_series(whole)
    assert data.bragg.max() > 0
    assert data.background.max() > 0
    np.testing.assert_allclose(
        data.bragg + data.background, data.intensity, rtol=1e-5, atol=1e-5 * float(data.intensity.max())
    )


def test_photons_of_the_spots_are_those_of_the_image(whole):
    bragg, spots = open_series(whole).bragg.sum(("panel", "slow", "fast"), dtype=float), open_spots(whole)
    np.testing.assert_allclose(spots.groupby("frame").photons.sum(), bragg, rtol=1e-3)


def test_spots_are_parts_of_the_reflections_of_the_series(whole):
    spots, reflections = open_spots(whole), open_reflections(whole)
    assert (np.diff(reflections.reflection) > 0).all()
    both = spots.merge(reflections, on="reflection", suffixes=("", "_in_all"), validate="many_to_one")
    assert len(both) == len(spots)
    assert (both.first_frame <= both.frame).all()
    assert (both.frame <= both.last_frame).all()
    seen = both.groupby("reflection").agg(
        partiality=("partiality", "sum"), photons=("photons", "sum"), whole=("whole", "first")
    )
    assert (seen.partiality < 1.01).all()
    largest = reflections.set_index("reflection").overlap.dropna()
    pandas.testing.assert_series_equal(largest, spots.groupby("reflection").overlap.max(), check_names=False)


def test_pixels_name_the_spots_that_they_belong_to(whole):
    data, spots = open_series(whole), open_spots(whole)
    named = 0
    for frame, its in spots.groupby("frame"):
        image, inside = data.spot[frame].values, its.reset_index(drop=True)
        assert image.max() <= len(inside)
        for row in np.unique(image[image > 0]) - 1:
            panel, slow, fast = np.nonzero(image == row + 1)
            spot = inside.loc[row]
            assert (panel == spot.panel).all()
            assert spot.first_slow <= slow.min()
            assert slow.max() < spot.last_slow
            assert spot.first_fast <= fast.min()
            assert fast.max() < spot.last_fast
            named += 1
    assert named > FRAMES


def test_the_truth_is_the_same_however_a_run_is_cut(whole, experiment, tmp_path):
    location = tmp_path / "b.zarr"
    generate(experiment, location, serial=True, frames_per_shard=3, tile=(31, 17), frames=range(3, 6))
    assert set(open_spots(location).frame) <= {3, 4, 5}
    generate(experiment, location, serial=True, resume=True)
    pandas.testing.assert_frame_equal(open_spots(location), open_spots(whole))
    pandas.testing.assert_frame_equal(open_reflections(location), open_reflections(whole))
    assert open_series(location).drop_attrs().equals(open_series(whole).drop_attrs())


def test_the_truth_is_checked_with_the_frames(whole, experiment, tmp_path):
    found = verify(whole, sample=2)
    assert found.good
    assert len(found.compared) == 2
    assert not finish(whole).missing


def test_a_store_whose_making_was_cut_short_gets_the_same_reflections(whole, experiment, tmp_path):
    location = tmp_path / "b.zarr"
    generate(experiment, location, serial=True, frames_per_shard=2, frames=range(2))
    objects = Folder(location)
    table = objects.read("series_reflections/series.parquet")
    for key in ("series_reflections/series.parquet", "records/zarr.json"):
        objects.delete(key)
    generate(experiment, location, serial=True, frames=range(2), resume=True)
    assert (
        objects.read("series_reflections/series.parquet")
        == table
        == Folder(whole).read("series_reflections/series.parquet")
    )
