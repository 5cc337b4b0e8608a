"""The labels of integrated frames: whose photons they are, whatever the cut; measured in the images that are stored beside them."""

from __future__ import annotations

import numpy as np
import pytest

import nbdist
from nbdist.run.context import make_context
from nbdist.run.generate import generate
from nbdist.run.rendering import labelled_frame, render_frame
from nbdist.run.verify import verify

EVERY = {"spots": True, "spot": True, "bragg": True, "background": True}


@pytest.fixture(scope="module")
def labelled(small_experiment):
    def make(**sections):
        mask = sections.pop("panel", None)
        return small_experiment(
            panel=mask,
            **{
                "crystal": {"shape": "gauss", "N_cells": [20, 17, 15], "mosaicity": {"sigma_deg": 0.2}},
                "scan": {"frames": 4, "osc_range_deg": 0.25},
                "sampling": {"method": "integrated", "oversample": "auto"},
                "background": {"water_um": 0.1},
                "labels": EVERY,
                **sections,
            },
        )

    return make


def written(experiment, location, **cut):
    generate(experiment, location, serial=True, **cut)
    return nbdist.open_series(location), nbdist.open_spots(location)


def test_the_photons_of_the_table_are_those_of_the_image(labelled, tmp_path):
    series, spots = written(labelled(), tmp_path / "s.zarr")
    for frame in range(4):
        its, bragg = spots[spots.frame == frame], series.bragg.values[frame]
        assert its.photons.sum() == pytest.approx(bragg.sum(dtype=np.float64), rel=1e-6)
        np.testing.assert_array_equal(bragg + series.background.values[frame], series.intensity.values[frame])
        number = series.spot.values[frame]
        brightest = int(its.photons.to_numpy().argmax())
        row = its.iloc[brightest]
        assert number[int(row.peak_slow), int(row.peak_fast)] == brightest + 1
        assert row.first_slow <= row.peak_slow < row.last_slow
        assert row.first_fast <= row.peak_fast < row.last_fast


def test_centroids_are_those_of_isolated_spots_in_the_image(labelled, tmp_path):
    series, spots = written(labelled(), tmp_path / "s.zarr")
    compared = 0
    for _, row in spots[(spots.overlap < 1e-4) & (spots.photons > spots.photons.quantile(0.8))].iterrows():
        box = slice(int(row.first_slow), int(row.last_slow)), slice(int(row.first_fast), int(row.last_fast))
        image = series.bragg.values[int(row.frame)][box].astype(np.float64)
        if image.sum() > 1.0002 * row.photons:  # another's tail is in the box
            continue
        slow, fast = np.mgrid[box] + 0.5
        assert (image * slow).sum() / image.sum() == pytest.approx(row.slow, abs=0.02)
        assert (image * fast).sum() / image.sum() == pytest.approx(row.fast, abs=0.02)
        compared += 1
    assert compared > 10


def test_the_rows_are_the_same_however_the_run_was_cut(labelled, tmp_path):
    whole, spots = written(labelled(), tmp_path / "whole.zarr")
    cut, others = written(labelled(), tmp_path / "cut.zarr", tile=(40, 33), frames_per_shard=3)
    assert spots.equals(others)
    for name in ("intensity", "bragg", "background", "spot"):
        np.testing.assert_array_equal(whole[name].values, cut[name].values)


def test_bragg_photons_do_not_depend_on_what_else_is_asked_for(labelled):
    alone, among = (make_context(labelled(labels=labels)) for labels in ({"bragg": True}, EVERY))
    one, other = (labelled_frame(its, 2, render_frame(its, 2)).labels.bragg[0] for its in (alone, among))
    np.testing.assert_array_equal(one, other)
    assert one.any()


def test_verify_makes_the_labels_again(labelled, tmp_path):
    written(labelled(), tmp_path / "s.zarr")
    result = verify(tmp_path / "s.zarr", sample=2)
    assert result.good, result
    assert len(result.compared) == 2


def test_masked_pixels_have_no_photons_of_any_spot(labelled, tmp_path):
    mask = np.zeros((96, 80), dtype=np.uint8)
    mask[30:60, 20:70] = 1
    np.save(tmp_path / "mask.npy", mask)
    experiment = labelled(panel={"mask_file": str(tmp_path / "mask.npy")})
    series, spots = written(experiment, tmp_path / "s.zarr")
    hidden = mask.astype(bool)
    assert not series.bragg.values[:, hidden].any()
    assert not series.spot.values[:, hidden].any()
    assert spots.photons.sum() == pytest.approx(series.bragg.values.sum(dtype=np.float64), rel=1e-6)


def test_shares_of_a_reflection_add_up_to_one(labelled, tmp_path):
    experiment = labelled(scan={"frames": 40, "osc_range_deg": 0.1}, labels={"spots": True})
    _, spots = written(experiment, tmp_path / "s.zarr")
    whole = spots.groupby("reflection").agg(first=("frame", "min"), last=("frame", "max"), share=("partiality", "sum"))
    whole = whole[(whole["first"] > 0) & (whole["last"] < 39)]
    assert len(whole) > 20
    # its deviation is taken where each frame is nearest to the crossing
    assert np.abs(whole.share - 1).max() < 5e-3


def test_a_sum_tells_photons_of_the_crystal_from_the_background(labelled, tmp_path):
    experiment = labelled(sampling={"method": "sum", "oversample": 1}, labels={"bragg": True, "background": True})
    generate(experiment, tmp_path / "s.zarr", serial=True)
    series = nbdist.open_series(tmp_path / "s.zarr")
    assert series.background.values.min() > 0
    np.testing.assert_allclose(series.bragg.values + series.background.values, series.intensity.values, rtol=1e-5)
