"""`nbdist check`, `schema` and `init` of a recipe."""

from __future__ import annotations

import json

import yaml

from nbdist.experiment.recipe import load_recipe

RECIPE = {
    "recipe": {"seed": 3},
    "beam": {"wavelength_A": {"uniform": [0.9, 1.1]}},
    "crystal": {"cell": [0.5, 60, 70, 90, 90, 90], "N_cells": [10, 10, 10], "misset_deg": {"rotation": "uniform"}},
    "detector": {"panels": [{"spixels": 20, "fpixels": {"choice": [10, 30]}}]},
    "structure_factors": {"kind": "uniform", "F": 100.0},
}


def test_check_shows_what_a_recipe_draws(nbdist, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    drawn = json.loads(nbdist("check", file, "--draw", 4, "--json").raw)
    checked = nbdist("check", file, "--draw", 4, "--json", tmp_path / "drawn.json")
    assert json.loads((tmp_path / "drawn.json").read_text()) == drawn["samples"]
    assert (checked.code, checked.err) == (0, "")
    assert checked.out.startswith(f"{file}: valid")
    for said in ("seed 3", "image 20 x 30 pixels (slow x fast)", "mask drawn", "split by sample", "drawn 5 columns"):
        assert said in checked.out
    samples = [load_recipe(file).draw(number) for number in range(4)]
    wavelengths = " ".join(f"{sample.values['beam.wavelength_A']:.6g}" for sample in samples)
    assert f"beam.wavelength_A {wavelengths}" in checked.out
    assert checked.out.count("a cell axis of 0.5 A") == 1, "a note of all samples is told once"
    assert "(sample" not in checked.out.partition("a cell axis of 0.5 A")[2].partition("note:")[0]
    assert (drawn["valid"], drawn["seed"], drawn["panels_slow_fast_pixels"]) == (True, 3, [[20, 30]])
    for sample, its in zip(samples, drawn["samples"], strict=True):
        assert its["values"] == dict(sample.values)
        assert (its["sample"], its["split"], its["crystal"]) == (sample.number, sample.split, sample.crystal)
        assert its["experiment"]["beam"] == {"wavelength_A": sample.values["beam.wavelength_A"]}


def test_splits_that_do_not_add_up_to_1_are_noted(nbdist, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, "recipe": {"splits": {"train": 0.9, "test": 0.6}}}))
    assert "note: recipe.splits: add up to 1.5, and are taken in proportion" in nbdist("check", file).out
    file.write_text(yaml.safe_dump(RECIPE))
    assert "add up to" not in nbdist("check", file).out


def test_check_names_the_sample_that_is_wrong(nbdist, tmp_path):
    file = tmp_path / "recipe.yaml"
    wrong = {"structure_factors": {"kind": "file", "file": {"choice": ["nowhere.hkl"]}}}
    file.write_text(yaml.safe_dump({**RECIPE, **wrong}))
    refused = nbdist("check", file)
    assert refused.code == 2
    assert "3 of 3 samples are no experiment: sample 0: " in refused.err
    assert refused.err.endswith("; nor samples 1, 2\n")
    assert (refused.out, refused.err.count("\n")) == ("", 1)


def test_check_draws_many_samples_and_goes_on_past_one_that_is_none(nbdist, tmp_path):
    file = tmp_path / "recipe.yaml"
    crystal = {**RECIPE["crystal"], "cell": [50, 60, 70, 80, 95, {"uniform": [100, 190]}]}
    file.write_text(yaml.safe_dump({**RECIPE, "crystal": crystal}))
    found = json.loads(nbdist("check", file, "--draw", 30, "--json").raw)
    checked = nbdist("check", file, "--draw", 30)
    numbers = {its["sample"] for its in found["samples"]}
    wrong = [number for number in range(30) if number not in numbers]
    assert 2 < len(wrong) < 22
    assert (found["valid"], [*found["wrong"]]) == (False, [*map(str, wrong)])
    assert checked.code == 2
    assert f"{len(wrong)} of 30 samples are no experiment: sample {wrong[0]}: crystal.cell" in checked.err
    assert f"; nor samples {wrong[1]}, {wrong[2]}" in checked.err
    assert f"{len(numbers)} samples were drawn, of which 8 are shown; --json prints all" in checked.out
    assert f"{file}: valid" not in checked.out


def test_draws_are_of_a_recipe(nbdist, experiment_file):
    refused = nbdist("check", experiment_file, "--draw", 2)
    assert (refused.code, refused.err) == (
        2,
        f"nbdist: --draw is of a recipe, and {experiment_file} has no section recipe\n",
    )


def test_init_writes_a_recipe_and_schema_describes_it(nbdist, tmp_path):
    file = tmp_path / "mine.yaml"
    made = nbdist("init", "--recipe", "-o", file)
    assert f"nbdist dataset {file} --samples 1000 -o mine.zarr" in made.out
    assert load_recipe(file).seed == 1
    assert json.loads(nbdist("schema", "--recipe").out)["title"] == "nbdist recipe"
