"""The workflow that tells numbers of images: how what is told is counted, what the network sees, and the way through all of it."""

from __future__ import annotations

import numpy as np
import pytest
import tell_numbers
import torch
from image_network import Numbers, features, turned

import nbdist
from nbdist.experiment.recipe import recipe_of

SPACING_A = torch.full((1, 40, 40), 3.0)


def numbers(limit, lattices):
    return Numbers(np.array(limit, dtype=np.float64), np.array(lattices))


def test_errors_are_those_of_images_that_have_a_limit():
    told, true = numbers([0.25, 0.3, 0.2], [1, 2, 3]), numbers([0.2, 0.4, np.nan], [1, 3, 3])
    found = tell_numbers.errors(told, true)
    assert found["limit, mean error (1/A)"] == pytest.approx((0.05 + 0.1) / 2)
    assert found["resolution, mean error (A)"] == pytest.approx((1 + 1 / 0.3 - 2.5) / 2)
    assert found["limit, variance explained (%)"] == pytest.approx(100 * (1 - (0.05**2 + 0.1**2) / 2 / 0.1**2))
    assert found["lattices, right (%)"] == pytest.approx(200 / 3)
    assert found["one or more, right (%)"] == 100


def test_the_trivial_predictor_explains_nothing_of_what_it_was_made_of():
    true = numbers([0.2, 0.3, 0.4, np.nan], [1, 2, 2, 3])
    told = tell_numbers.trivial(true, 4)
    np.testing.assert_allclose(told.limit, 0.3)
    np.testing.assert_array_equal(told.lattices, 2)
    assert tell_numbers.errors(told, true)["limit, variance explained (%)"] == pytest.approx(0)


def test_what_goes_with_the_logarithm_of_photons_is_told_by_photons_alone():
    photons = np.array([1e2, 1e3, 1e4, 1e5])
    true = numbers(np.log10(photons) / 10, [1, 2, 3, 4])
    told = tell_numbers.by_brightness(true, photons, photons[:3])
    np.testing.assert_allclose(told.limit, true.limit[:3])
    np.testing.assert_array_equal(told.lattices, [1, 2, 3])


def test_images_are_counted_by_what_they_have_and_what_is_told():
    counts = tell_numbers.confusion(np.array([1, 1, 3, 2]), np.array([1, 2, 3, 2]))
    np.testing.assert_array_equal(counts, [[1, 0, 0], [1, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize("what", ["lattices, right (%)", "limit, mean error (1/A)"])
def test_better_is_less_of_errors_and_more_of_what_is_right(what):
    better, worse = (1.0, 2.0) if "error" in what else (2.0, 1.0)
    assert tell_numbers.is_better({what: better}, [{what: worse}])
    assert not tell_numbers.is_better({what: better}, [{what: worse}, {what: better}])


def test_a_spot_is_seen_in_deviations_above_its_surroundings():
    counts = torch.full((1, 40, 40), 16.0)
    counts[0, 20, 20] += 100
    above, around, inverse_spacing = features(counts, SPACING_A)[0]
    assert above[20, 20] == pytest.approx(
        np.arcsinh(100 / 17**0.5), rel=0.01
    )  # 16 photons and one more; the spot is among them
    assert above[5, 5] == 0
    torch.testing.assert_close(around[5, 5], torch.tensor(np.log(17.0) / 3).float())
    torch.testing.assert_close(inverse_spacing, torch.ones(40, 40))


def test_turned_images_have_the_same_pixels():
    seen = torch.arange(24.0).reshape(1, 2, 3, 4)
    for seed in range(8):
        its = turned(seen, np.random.default_rng(seed))
        assert sorted(its[0, 1].flatten().tolist()) == sorted(seen[0, 1].flatten().tolist())


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.workflows
def test_a_network_is_trained_on_a_data_set_and_compared_on_its_test(tmp_path, capsys):
    content = nbdist.load_recipe(tell_numbers.RECIPE).content
    halves = recipe_of({**content, "recipe": {**content["recipe"], "splits": {"train": 0.5, "test": 0.5}}})
    nbdist.generate_dataset(halves, tmp_path / "images.zarr", 10, serial=True)
    splits = nbdist.open_samples(tmp_path / "images.zarr", ["split"])["split"]
    found = tell_numbers.compared(tmp_path / "images.zarr", epochs=1)
    assert set(found) == {"network", "photons alone", "trivial"}
    assert f"{(splits == 'train').sum()} images to train on" in capsys.readouterr().out
    assert all(np.isfinite(value) for its in found.values() for value in its.values())
