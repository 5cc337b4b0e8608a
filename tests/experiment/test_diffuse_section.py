"""The section on a crystal's disorder: what it needs and refuses."""

from __future__ import annotations

import pytest

from nbdist.errors import ExperimentError


def test_a_crystal_without_disorder_keeps_its_fingerprint(small_experiment):
    plain = small_experiment()
    assert small_experiment(crystal={"diffuse": None}).fingerprint == plain.fingerprint
    disordered = small_experiment(crystal={"diffuse": {"kind": "rigid_body", "sigma_A": 0.3}})
    assert disordered.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("diffuse", "said"),
    [
        ({"kind": "correlated", "sigma_A": 0.3}, "correlation_length_A: kind correlated needs one"),
        ({"kind": "rigid_body", "sigma_A": 0.3, "correlation_length_A": 10}, "rigid_body has none; found 10"),
        ({"kind": "correlated", "sigma_A": -0.3, "correlation_length_A": 10}, "sigma_A"),
        ({"kind": "correlated", "sigma_A": 0.3, "correlation_length_A": [10, 0, 5]}, "correlation_length_A"),
        ({"kind": "einstein", "sigma_A": 0.3}, "kind"),
    ],
)
def test_what_cannot_be_is_refused_by_name(small_experiment, diffuse, said):
    with pytest.raises(ExperimentError, match=said):
        small_experiment(crystal={"diffuse": diffuse})
