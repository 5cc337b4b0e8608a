"""What a data set has of each sample is what a series of the sample alone has: exposures, doses, masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sample_sets import frames_of_sample, recipe_with

from nbdist.errors import RunError
from nbdist.frames.exposure import doses_MGy, fluence_factors
from nbdist.frames.products import made_of, rendered_frame
from nbdist.frames.sample_products import products_of_samples, samples_table
from nbdist.frames.tables import SAMPLE_COLUMNS
from nbdist.readout.chain import Readout, masks_of
from nbdist.scene import resolve

FRAMES = 3


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        panel={"spixels": 12, "fpixels": 10, "pixel_size_mm": 6.4},
        crystal={"shape": "gauss"},
        scan={"frames": FRAMES},
        sampling={"method": "integrated"},
        noise={"photon_noise": True},
    )


@pytest.fixture(scope="module")
def changing(experiment):
    """A recipe of samples whose beam flickers and whose crystal decays."""
    its = experiment.with_changes(
        beam={"flicker": {"sigma": 0.2}, "exposure_jitter_sigma": 0.1},
        crystal={"decay": {"dose_MGy_per_frame": 0.5, "half_dose_MGy": 3.0, "B_factor_A2_per_MGy": 1.5}},
    )
    return recipe_with(its, seed=5, scan={**its.content()["scan"], "phi_start_deg": {"uniform": [0, 90]}})


def test_frames_have_the_exposure_of_their_sample_and_lattices_its_dose(changing):
    seen = []
    for number in range(2):
        scene = resolve(changing.draw(number).experiment, sample=number)
        expected = fluence_factors(scene.experiment, range(FRAMES), number)
        doses = doses_MGy(scene, range(FRAMES))
        for frame, made in enumerate(frames_of_sample(changing, number)):
            its, lattice, scan = made["frames"], made["lattices"], scene.experiment.scan
            assert its["fluence_factor"] == expected[frame]
            assert (its["phi_start_deg"], its["phi_end_deg"]) == (
                scan.frame_start_deg(frame),
                scan.frame_start_deg(frame + 1),
            )
            assert lattice["dose_MGy"] == doses[frame] > 0
            assert lattice["B_factor_A2"] == 1.5 * doses[frame]
            assert np.isnan(its["d_min_A"]), "no spots are asked for"
        seen.extend(expected)
    assert len(set(seen)) == 2 * FRAMES, "no two frames have one deviate"


def test_rows_of_a_sample_are_given_with_its_first_frame(changing):
    first, *others = (made["samples"] for made in frames_of_sample(changing, 1))
    assert list(first["split"]) == [changing.draw(1).split]
    assert all(len(values) == 0 for made in others for values in made.values())


def test_spots_and_crossings_are_there_where_they_are_asked_for(experiment, changing):
    labelled = recipe_with(experiment.with_changes(labels={"spots": True, "reflections": True, "resolution": True}))
    names = [product.name for product in products_of_samples(labelled)]
    assert names == ["intensity", "counts", "resolution", "samples", "frames", "lattices", "spots", "crossings"]
    names = [product.name for product in products_of_samples(changing)]
    assert names == ["intensity", "counts", "samples", "frames", "lattices"]


def test_what_counts_mean_is_of_each_sample(experiment):
    gain = {"electrons_per_photon": {"uniform": [1.0, 2.0]}, "adu_per_electron": 3.0}
    drawn = recipe_with(experiment, readout={"offset_adu": {"integer": [3, 400]}, **gain})
    rows = [frames_of_sample(drawn, number)[0]["samples"] for number in range(3)]
    for number, row in enumerate(rows):
        its = drawn.draw(number).experiment
        assert row["offset_adu"] == its.readout.offset_adu == row["readout.offset_adu"]
        assert row["adu_per_photon"] == its.readout.adu_per_photon
        assert row["saturation_adu"] == its.saturation_adu
    assert (
        len({float(row["offset_adu"][0]) for row in rows})
        == len({float(row["adu_per_photon"][0]) for row in rows})
        == 3
    )
    counts = {product.name: product for product in products_of_samples(drawn)}["counts"]
    assert counts.attributes.keys() == {"gap_value", "bad_value"}, "an array says of itself what all samples have alike"


def test_counts_are_photons_where_they_are_in_all_samples(experiment):
    for readout, units in (({}, "photon"), ({"offset_adu": {"choice": [0, 100]}}, "ADU")):
        its = recipe_with(experiment, readout=readout)
        assert {product.name: product for product in products_of_samples(its)}["counts"].units == units


def test_crystals_may_be_chosen_whole(experiment):
    crystal = experiment.content()["crystal"]
    its = recipe_with(experiment, crystal={"choice": [crystal, {**crystal, "N_cells": [3, 4, 5]}]})
    for number in range(2):
        row = frames_of_sample(its, number)[0]["samples"]
        assert list(row["crystal"]) == [its.draw(number).crystal]
        assert row["crystal.N_cells.0"] == its.draw(number).experiment.crystal.N_cells[0]


def test_a_frame_of_no_sample_has_no_row_of_one(experiment):
    scene = resolve(experiment)
    frame = rendered_frame(scene, 0, [np.zeros((12, 10))], Readout(scene))
    with pytest.raises(RunError, match="frame 0: it is of no sample"):
        made_of(frame, [samples_table(SAMPLE_COLUMNS)])
    labelled = recipe_with(experiment.with_changes(labels={"reflections": True}))
    crossings = [product for product in products_of_samples(labelled) if product.name == "crossings"]
    with pytest.raises(RunError, match="its reflections are asked for"):
        made_of(replace(frame, draw=labelled.draw(0)), crossings)


def test_a_readout_makes_its_masks_once_for_all_samples_that_share_it(experiment):
    scene = resolve(experiment.with_changes(readout={"dead_pixel_fraction": 0.1, "bad_pixels_marked": True}))
    readout = Readout(scene)
    (mask,) = readout.masks
    np.testing.assert_array_equal(mask, *masks_of(scene))
    assert set(np.unique(mask)) == {0, 2}
    assert readout.masks[0] is mask
    assert not mask.flags.writeable
