"""The workflow that finds spots: how what was found is counted, what the network is taught, and DIALS beside it."""

from __future__ import annotations

import numpy as np
import pytest
import spot_truth
from spot_truth import Score, Truth, matched

USABLE = np.ones((40, 40), dtype=bool)


def spots(*rows):
    """Columns of spots, each given as slow, fast, photons and background."""
    slow, fast, photons, background = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    peaks = {f"peak_{axis}": np.floor(at).astype(np.int16) for axis, at in (("slow", slow), ("fast", fast))}
    return {"slow": slow, "fast": fast, "photons": photons, "background": background, **peaks}


def truth(*rows):
    return Truth.of(spots(*rows), USABLE)


def places(*at):
    return np.array(at, dtype=np.float64).reshape(-1, 2)


def score(found, there, limit):
    return spot_truth.score(matched(found, there), there, limit)


BRIGHT, WEAK, FAINT = (100, 0), (9, 7), (1, 3)
"""Photons and background of spots whose signal over noise is 10, 2.25 and 0.5."""


def test_signal_over_noise_is_photons_over_the_deviation_of_counting_all_of_them():
    found = truth((5, 5, *BRIGHT), (15, 5, *WEAK), (25, 5, *FAINT))
    np.testing.assert_allclose(found.signal_over_noise, [10, 9 / 4, 1 / 2])


def test_what_is_right_wrong_and_missed_adds_up():
    found = places((5.5, 5.5), (20, 20))
    assert score(found, truth((5, 5, *BRIGHT), (15, 5, *BRIGHT)), 2) == Score(right=1, wrong=1, missed=1)
    assert score(found, truth((5, 5, *BRIGHT), (15, 5, *BRIGHT)), 2).f1 == 0.5


def test_a_place_is_right_up_to_a_pixel_and_not_beyond():
    there = truth((5, 5, *BRIGHT))
    assert score(places((5.0, 6.0)), there, 2) == Score(right=1)
    assert score(places((5.0, 6.01)), there, 2) == Score(wrong=1, missed=1)


def test_a_spot_makes_one_place_right_the_nearest():
    there = truth((5, 5, *BRIGHT))
    np.testing.assert_array_equal(matched(places((5.8, 5), (5.1, 5)), there), [-1, 0])
    assert score(places((5.8, 5), (5.1, 5)), there, 2) == Score(right=1, wrong=1)


def test_spots_that_are_there_and_not_asked_for_are_neither_right_nor_wrong():
    there = truth((5, 5, *BRIGHT), (15, 5, *WEAK), (25, 5, *FAINT))
    assert score(places((5, 5), (15, 5)), there, 3) == Score(right=1)
    assert score(places((5, 5), (15, 5)), there, 2) == Score(right=2)
    assert score(places((25, 5)), there, 2) == Score(wrong=1, missed=2)


def test_overlapping_spots_are_one_at_the_centroid_of_their_photons():
    one = truth((5, 5, 30, 4), (6.8, 5, 10, 9))
    np.testing.assert_allclose(one.places, [(5.45, 5)])
    np.testing.assert_allclose(one.signal_over_noise, [40 / 7])
    assert len(truth((5, 5, 30, 4), (7, 5, 10, 9)).places) == 2


def test_a_chain_of_spots_is_not_one_spot():
    found = truth((5, 5, 30, 0), (6.5, 5, 20, 0), (8, 5, 10, 0))
    assert sorted(found.places[:, 0]) == [pytest.approx((5 * 30 + 6.5 * 20) / 50), 8]


def test_a_spot_on_a_masked_pixel_is_not_asked_for_and_not_wrong():
    usable = USABLE.copy()
    usable[5, 5] = False
    there = Truth.of(spots((5.2, 5.2, *BRIGHT)), usable)
    assert score(places(), there, 2) == Score()
    assert score(places((5, 5)), there, 2) == Score()


def test_an_image_without_spots_has_wrong_places_alone():
    assert score(places((5, 5)), truth(), 2) == Score(wrong=1)
    assert score(places(), truth(), 2) == Score()
    assert Score().f1 == 0
