"""Labels are asked for one by one or all at once, and cost nothing where they are not."""

from __future__ import annotations

import pytest

from nbdist.errors import ExperimentError
from nbdist.experiment import experiment_schema, experiment_to_yaml, load_experiment
from nbdist.experiment.labels import Labels

SWITCHES = ("reflections", "spots", "bragg", "background", "spot", "resolution", "shadow")


def test_an_experiment_without_labels_has_the_fingerprint_it_had_before_there_were_any(small_experiment):
    plain = small_experiment()
    assert "labels" not in plain.content()
    assert small_experiment(labels={"spots": False, "spot_share": 0.5}).fingerprint == plain.fingerprint
    assert not plain.labels.of_frames


def test_one_word_asks_for_all_of_them(small_experiment, tmp_path):
    experiment = small_experiment(labels="all")
    assert all(getattr(experiment.labels, name) for name in SWITCHES)
    assert experiment.labels.spot_share == 0.5
    # what came later and is there without being asked for leaves fingerprints as they were
    assert "shadow" not in experiment.content()["labels"]
    (tmp_path / "a.yaml").write_text(experiment_to_yaml(experiment))
    assert load_experiment(tmp_path / "a.yaml") == experiment
    assert experiment.fingerprint == small_experiment(labels=dict.fromkeys(SWITCHES, True)).fingerprint


@pytest.mark.parametrize(
    ("name", "of_frames"), [(name, name not in ("reflections", "resolution", "shadow")) for name in SWITCHES]
)
def test_some_labels_are_the_series_and_some_the_frames(name, of_frames):
    assert Labels(**{name: True}).of_frames is of_frames


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("some", r"^labels: should be all, or the labels by name, each true or false; found some$"),
        ({"spot_share": 0}, r"^labels\.spot_share: should be greater than 0, found 0$"),
        ({"spot_share": 1.5}, r"^labels\.spot_share: should be less than or equal to 1, found 1\.5$"),
        ({"shoebox": True}, r"^labels\.shoebox: unknown field"),
    ],
)
def test_what_is_no_label_is_named(small_experiment, given, said):
    with pytest.raises(ExperimentError, match=said):
        small_experiment(labels=given)


def test_the_schema_allows_the_word_and_the_switches():
    either = experiment_schema()["$defs"]["Labels"]["anyOf"]
    assert either[0] == {"const": "all"}
    assert set(either[1]["properties"]) == {*SWITCHES, "spot_share"}
