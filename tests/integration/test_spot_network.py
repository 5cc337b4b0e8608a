"""What the network that finds spots is taught, and how places are made of what it gives."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spot_network import CROP, WEAKEST, Image, Target, crops, features, places  # noqa: E402
from spot_truth import FAINTEST, Truth  # noqa: E402

SIZE = 24


def image(*spots, photons=None):
    """An image with spots at places, each given as slow, fast, signal over noise and whether it is usable."""
    slow, fast, sigma, usable = np.array(spots, dtype=np.float64).reshape(-1, 4).T
    if photons is None:
        photons = np.zeros((SIZE, SIZE), dtype=np.float32)
    truth = Truth(np.stack([slow, fast], axis=1), sigma, usable.astype(bool))
    return Image(photons, np.ones(photons.shape, dtype=bool), truth)


def test_the_way_from_each_pixel_leads_to_the_centre():
    target = Target.of(image((10.3, 7.9, 10, 1)))
    assert target.centre.argmax() == 10 * SIZE + 7
    near = target.way.abs().sum(dim=0) > 0
    assert near.sum() == 7  # pixels whose centres are within 1.5 of it
    slow, fast = torch.nonzero(near, as_tuple=True)
    np.testing.assert_allclose(slow + 0.5 + target.way[0][near], 10.3, atol=1e-6)
    np.testing.assert_allclose(fast + 0.5 + target.way[1][near], 7.9, atol=1e-6)


def test_weak_spots_are_neither_spots_nor_background_and_fainter_ones_are_background():
    between, below = (WEAKEST + FAINTEST) / 2, FAINTEST / 2
    target = Target.of(image((4.5, 4.5, between, 1), (12.5, 12.5, below, 1), (20.5, 20.5, 10, 0)))
    assert target.centre.max() == 0
    assert target.weight[4, 4] == 0
    assert target.weight[12, 12] == 1
    assert target.weight[20, 20] == 0  # on a pixel that is not usable


def test_a_spot_beside_a_weak_one_is_taught():
    target = Target.of(image((10.5, 10.5, 10, 1), (10.5, 12.6, (WEAKEST + FAINTEST) / 2, 1)))
    assert target.weight[10, 10:12].tolist() == [1, 1]
    assert target.weight[10, 13] == 0


def test_what_is_turned_and_mirrored_still_leads_to_the_centre():
    drawn = Target.of(image((10.3, 7.9, 10, 1)))
    turned = {}
    for photons, usable, centre, way, weight in crops(
        [image((10.3, 7.9, 10, 1), photons=drawn.centre.numpy())], [drawn], 8, 1
    ):
        assert photons.shape == (8, SIZE, SIZE)  # smaller than a crop
        assert SIZE < CROP
        assert torch.equal(photons, centre)
        assert usable.all()
        assert weight.all()
        for one, its in zip(centre, way, strict=True):
            near = its.abs().sum(dim=0) > 0
            slow, fast = torch.nonzero(near, as_tuple=True)
            at = torch.stack([slow + 0.5 + its[0][near], fast + 0.5 + its[1][near]])
            np.testing.assert_allclose(at, at[:, :1].expand_as(at), atol=1e-5)
            assert one[near].min() > one[~near].max()
            turned[tuple(np.round(at[:, 0].tolist(), 3))] = True
    sides = {10.3, SIZE - 10.3}, {7.9, SIZE - 7.9}
    assert set(turned) == {pair for a in sides[0] for b in sides[1] for pair in ((a, b), (b, a))}


def test_places_are_where_the_ways_lead_and_two_at_one_spot_are_one():
    there = image((10.3, 7.9, 10, 1), (3.6, 17.2, 10, 1))
    target = Target.of(there)
    logit = torch.logit(target.centre.clamp(1e-4, 0.99))
    logit[3, 16] = 1.0  # a second peak beside the second spot, whose way leads to the same place
    logit[3, 17] = 0.9
    at, sure = places(lambda seen: torch.cat([logit[None], target.way])[None], there)
    np.testing.assert_allclose(at, [(10.3, 7.9), (3.6, 17.2)], atol=1e-5)
    assert sure[0] > sure[1]


def test_noise_looks_the_same_at_every_level_and_beside_masked_pixels():
    random = np.random.default_rng(1)
    levels = torch.tensor([[4.0], [40.0], [400.0]])
    photons = torch.from_numpy(random.poisson(levels.numpy()[:, :, None], (3, 96, 96)).astype(np.float32))
    usable = torch.ones_like(photons, dtype=torch.bool)
    usable[:, :, 40:56] = False
    photons[:, :, 40:56] = -1
    seen = features(photons, usable)
    excess = torch.sinh(seen[:, 0])
    assert not excess[:, :, 40:56].any()
    for number in range(3):
        # 15 x 15 pixels about each take 1/225 of the variance with them; the root of a few photons has a little more than 1
        assert excess[number][usable[number]].std().item() == pytest.approx(1.0, abs=0.06)
        assert seen[number, 1][usable[number]].mean().item() == pytest.approx(1.0, abs=0.06)
