"""Recipes: samples depend on recipe, seed and number alone, and what all samples share is refused where it is drawn."""

from __future__ import annotations

import pickle
from typing import Any

from nbdist.experiment.recipe import Recipe, recipe_of

CRYSTAL = {"cell": [50.0, 60.0, 70.0, 90.0, 90.0, 90.0], "N_cells": [10, 10, 10], "misset_deg": {"rotation": "uniform"}}


def recipe(**sections: Any) -> Recipe:
    """A small recipe with some sections."""
    content: dict[str, Any] = {
        "recipe": {"seed": 3},
        "beam": {"wavelength_A": {"uniform": [0.9, 1.1]}},
        "crystal": CRYSTAL,
        "structure_factors": {"kind": "uniform", "F": 100.0},
    }
    return recipe_of({**content, **sections})


def test_a_sample_is_the_same_in_whatever_order_and_after_pickling() -> None:
    its = recipe()
    backwards = [its.draw(number) for number in (10**6, 2, 1, 0)]
    again = pickle.loads(pickle.dumps(recipe()))
    for drawn in backwards:
        assert again.draw(drawn.number) == drawn


def test_a_distribution_that_is_added_changes_no_other() -> None:
    more = recipe(let={"x": {"normal": [0, 1]}}, scan={"phi_start_deg": {"uniform": [0, 180]}})
    for number in range(3):
        before, after = recipe().draw(number).values, more.draw(number).values
        assert {name: after[name] for name in before} == before
        assert set(after) - set(before) == {"let.x", "scan.phi_start_deg"}
