"""How settings of finders are chosen, and what is told of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from spot_comparison import BINS, LIMITS, Finder, Images, Sample, f1_by_limit, picture, tables
from spot_truth import Score, Truth

from nbdist import Experiment

SPREAD = {"kind": "gaussian", "fwhm_mm": 0.1}
PLACES = np.array([(5.5, 5.5), (15.5, 5.5), (25.5, 25.5)])
NOTHING = np.empty((0, 2))


def sample(*signal_over_noise, **readout):
    experiment = Experiment(
        crystal={"cell": [79, 79, 38, 90, 90, 90]},
        structure_factors={"kind": "uniform", "F": 1},
        readout=readout,
    )
    sigma = np.array(signal_over_noise)
    truth = Truth(PLACES[: len(sigma)], sigma, np.ones(len(sigma), dtype=bool))
    return Sample(np.full((32, 32), 4, dtype=np.int32), experiment, truth)


@pytest.fixture
def images():
    counting, ccd = sample(2.5, 4, 30), sample(2.5, 4, 30, point_spread=SPREAD)
    return Images(validation=[counting, ccd], test=[ccd, counting])


def test_what_is_read_is_told_in_photons():
    its = sample(3.0, electrons_per_photon=2, offset_adu=3).image
    np.testing.assert_array_equal(its.photons, 0.5)
    assert its.photons.dtype == np.float32
    assert its.usable.all()


def test_settings_are_chosen_by_the_validation_for_each_kind_of_detector_apart(images):
    all_of_them, one = PLACES, PLACES[:1]
    finder = Finder.of(
        "it",
        {  # validation: counting, CCD; test: CCD, counting
            "good of counting": [all_of_them, one, NOTHING, one],
            "good of CCD": [NOTHING, all_of_them, one, all_of_them],
        },
        images,
    )
    chosen = finder.chosen(images, 2.0, ~images.of_test)
    assert {kind: finder.settings[number] for kind, number in chosen.settings.items()} == {
        "counting": "good of counting",
        "CCD": "good of CCD",
    }
    assert chosen.score == Score(right=2, wrong=0, missed=4)
    assert finder.chosen(images, 2.0, images.of_test).score == Score(right=4, wrong=0, missed=2)
    # above 3, the first spot is not asked for: nothing is right in the test
    assert f1_by_limit(finder, images, ~images.of_test) == [pytest.approx(0.5), 0, 0, 0]


def test_spots_found_are_counted_by_their_signal_over_noise(images):
    finder = Finder.of("it", {"only": [PLACES, PLACES, PLACES[:1], PLACES[::2]]}, images)
    chosen = finder.chosen(images, LIMITS[0], ~images.of_test)
    assert (2, 3, 5, 10, 20, np.inf) == BINS
    assert chosen.found == [1, 0, 0, 0, 0.5]


def test_tables_name_each_finder_with_its_settings_and_a_picture_is_written(images, tmp_path):
    perfect = Finder.of("perfect", {"a": [PLACES] * 4, "b": [NOTHING] * 4}, images)
    blind = Finder.of("blind", {"c": [PLACES + 5] * 4}, images)
    lines: list[str] = []
    tables([perfect, blind], images, lines.append)
    assert lines[2].split() == ["perfect", "the", "validation", *["1.000"] * 4]
    assert lines[3].split() == ["blind", "the", "validation", *["0.000"] * 4]
    assert lines[-4:] == ["perfect, counting: a", "perfect, CCD: a", "blind, counting: c", "blind, CCD: c"]
    assert picture([perfect, blind], images, tmp_path / "spots.png") in (0, 1)
    assert (tmp_path / "spots.png").read_bytes().startswith(b"\x89PNG")
