"""Recipes: samples depend on recipe, seed and number alone, and what all samples share is refused where it is drawn."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import re
from collections import Counter
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from atomic_models import write_model
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from nbdist.errors import ExperimentError
from nbdist.experiment import Experiment, load_experiment
from nbdist.experiment.recipe import Recipe, load_recipe, recipe_of, recipe_schema
from nbdist.experiment.recipe import recipe as recipes
from nbdist.experiment.recipe.columns import units_of
from nbdist.experiment.recipe.content import is_file_field
from nbdist.experiment.recipe.distributions import CELL_PARAMETERS
from nbdist.experiment.recipe.schema import RANDOM_CELL
from nbdist.experiment.recipe.splits import quotas, splits_of
from nbdist.experiment.recipe.template import TEMPLATE
from nbdist.scene import resolve

CELL = [50.0, 60.0, 70.0, 90.0, 90.0, 90.0]
CRYSTAL = {"cell": CELL, "N_cells": [10, 10, 10], "misset_deg": {"rotation": "uniform"}}


def content_of(**sections: Any) -> dict[str, Any]:
    """A small recipe with some sections; None leaves one out."""
    content: dict[str, Any] = {
        "recipe": {"seed": 3},
        "beam": {"wavelength_A": {"uniform": [0.9, 1.1]}},
        "crystal": CRYSTAL,
        "structure_factors": {"kind": "uniform", "F": 100.0},
    }
    return {name: its for name, its in {**content, **sections}.items() if its is not None}


def recipe(**sections: Any) -> Recipe:
    return recipe_of(content_of(**sections))


def test_a_sample_is_the_same_in_whatever_order_and_after_pickling():
    its = recipe()
    backwards = [its.draw(number) for number in (10**6, 2, 1, 0)]
    again = pickle.loads(pickle.dumps(recipe()))
    for drawn in backwards:
        assert again.draw(drawn.number) == drawn
    assert len({drawn.values["beam.wavelength_A"] for drawn in backwards}) == 4


def test_a_late_sample_needs_no_more_random_words_than_the_first(monkeypatch):
    from nbdist.random_words import RandomWords

    its, asked = recipe(), []
    blocks = RandomWords.blocks
    monkeypatch.setattr(RandomWords, "blocks", lambda self, *given: asked.append(given) or blocks(self, *given))
    its.draw(1)
    first = len(asked)
    its.draw(2**32 - 1)
    assert len(asked) == 2 * first
    for wrong in (-1, 2**32):
        with pytest.raises(ExperimentError, match="numbers of samples are 0 to 4294967295"):
            its.draw(wrong)


def test_a_distribution_that_is_added_changes_no_other():
    more = recipe(
        let={"x": {"normal": [0, 1]}},
        scan={"phi_start_deg": {"uniform": [0, 180]}},
        crystal={"weight": {"uniform": [1, 2]}, **CRYSTAL},
    )
    for number in range(3):
        before, after = recipe().draw(number).values, more.draw(number).values
        assert {name: after[name] for name in before} == before
        assert set(after) - set(before) == {"let.x", "scan.phi_start_deg", "crystal.weight"}


def test_another_seed_is_another_data_set():
    one, other = recipe().draw(0), recipe(recipe={"seed": 4}).draw(0)
    assert one.values["beam.wavelength_A"] != other.values["beam.wavelength_A"]
    assert (one.experiment.noise.seed, other.experiment.noise.seed) == (3, 4)


def test_what_is_drawn_is_in_the_experiment_and_in_the_columns():
    its = recipe(
        let={"size": {"integer": [5, 9]}},
        crystal={**CRYSTAL, "N_cells": ["= let.size", "= let.size", "= 2 * let.size"], "mosaicity": {"sigma_deg": 0.1}},
        background={"powder": [{"preset": "ice", "photons": 1, "texture": 0.5}, {"preset": "salt", "photons": 1}]},
    )
    drawn = its.draw(6)
    assert [column.name for column in its.columns] == [*drawn.values]
    assert {column.name: (column.dtype, column.units) for column in its.columns} == {
        "let.size": ("int64", ""),
        "beam.wavelength_A": ("float64", "angstrom"),
        "crystal.N_cells.2": ("float64", ""),
        **{f"crystal.misset_deg.{axis}": ("float64", "degree") for axis in range(3)},
    }
    crystal, size = drawn.experiment.crystal, drawn.values["let.size"]
    assert crystal.N_cells == (size, size, 2 * size)
    assert crystal.misset_deg == tuple(drawn.values[f"crystal.misset_deg.{axis}"] for axis in range(3))
    assert drawn.experiment.beam.wavelength_A == drawn.values["beam.wavelength_A"]
    seeds = [its.draw(number).experiment.crystal.mosaicity.seed for number in range(3)]
    assert len({0, *seeds}) == 4
    textures = [powder.texture_seed for powder in drawn.experiment.background.powder]
    assert textures[0] not in (0, *seeds)
    assert textures[1] == 0, "an even ring has no texture"
    assert recipe(crystal={**CRYSTAL, "mosaicity": {"seed": 5}}).draw(2).experiment.crystal.mosaicity.seed == 5


def test_no_two_samples_share_a_seed_but_where_the_sample_itself_is_counted():
    its = recipe(
        beam={"exposure_jitter_sigma": 0.1, "flicker": {"sigma": 0.1}},
        crystal=None,
        crystals=[{**CRYSTAL, "mosaic_spread_deg": 0.1}, {**CRYSTAL, "mosaicity": {"sigma_deg": 0.1}}],
    )
    drawn = [its.draw(number).experiment for number in range(3)]
    assert {each.noise.seed for each in drawn} == {each.beam.flicker.seed for each in drawn} == {3}
    seeds = [seed for each in drawn for seed in (each.crystals[0].mosaic_seed, each.crystals[1].mosaicity.seed)]
    assert len({*seeds}) == 6
    assert recipe(beam={"flicker": {"seed": 8}}).draw(0).experiment.beam.flicker.seed == 8
    assert recipe().draw(0).experiment.beam.flicker.seed == 0, "nothing flickers"


def test_lattices_are_as_many_as_are_drawn_and_lie_on_their_own():
    its = recipe(
        crystal=None,
        crystals={"repeat": {"integer": [1, 3]}, "of": {**CRYSTAL, "N_cells": {"choice": [[9, 9, 9], [5, 6, 7]]}}},
    )
    drawn = [its.draw(number) for number in range(20)]
    assert {len(each.experiment.crystals) for each in drawn} == {1, 2, 3}
    for each in drawn:
        assert each.values["crystals"] == len(each.experiment.crystals)
        turns = {crystal.misset_deg for crystal in each.experiment.crystals}
        assert len(turns) == len(each.experiment.crystals)
        for number in range(3):
            there = number < len(turns)
            assert math.isnan(each.values[f"crystals.{number}.misset_deg.0"]) is not there
            assert each.values[f"crystals.{number}.N_cells"] in (0, 1) or not there


def test_an_alternative_may_be_a_mapping_with_distributions_of_its_own():
    choice = {
        "choice": [
            {"level_photons": {"uniform": [1, 2]}},
            {"water_um": 3.0, "air": {"before_mm": 5, "after_mm": 30, "width_um": 50}},
        ]
    }
    its = recipe(background=choice)
    names = {column.name: column.dtype for column in its.columns if column.name.startswith("background")}
    assert names["background"] == "int64"
    assert names["background.level_photons"] == names["background.air.before_mm"] == "float64"
    for number in range(10):
        drawn = its.draw(number)
        first = drawn.values["background"] == 0
        assert (1 < drawn.experiment.background.level_photons < 2) is first
        assert (drawn.values["background.water_um"] == 3.0) is not first


def test_a_reference_stands_for_whatever_is_there():
    its = recipe(
        let={
            "protein": {
                "choice": [{"cell": CELL, "group": "P 21 21 21"}, {"cell": [40, 40, 40, 90, 90, 90], "group": "P 2 3"}]
            },
            "again": "= let.protein",
        },
        crystal={
            "cell": "= let.again.cell",
            "space_group": "= let.protein.group",
            "N_cells": ["= round(let.again.cell.0)", 2, 3],
        },
    )
    found = {
        (each.crystal.cell[0], each.crystal.space_group, each.crystal.N_cells[0])
        for each in (its.draw(n).experiment for n in range(12))
    }
    assert found == {(50.0, "P 21 21 21", 50), (40.0, "P 2 3", 40)}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"beam": {"wavelength_A": "= beam.energy_eV"}}, r"beam\.wavelength_A: beam\.energy_eV is not in the recipe"),
        ({"let": {"size": 1, "x": "= 2 * let.siz"}}, r"let\.x: let\.siz is not in the recipe; near it: let\.size"),
        ({"let": {"a": "= let.b + 1", "b": "= let.a"}}, r"let\.a: refers to itself: let\.a from let\.b from let\.a"),
        ({"let": {"a": {"uniform": [0, "= let.a"]}}}, r"let\.a: refers to itself: let\.a from let\.a\.uniform\.1"),
        ({"let": "= let"}, r"let: refers to itself"),
        ({"let": {"a.b": 1}}, r"let: names of values should have no dot, found a\.b"),
        ({"let": {"c": {"rotation": "uniform"}, "x": "= let.c.3"}}, r"let\.x: let\.c\.3 is not in the recipe"),
        ({"beam": {"wavelength_A": "= __import__('os')"}}, r"beam\.wavelength_A: .* is no expression at ''os'"),
        ({"beam": {"wavelength_A": "= 1 - 1"}}, r"sample 0: beam\.wavelength_A: should be greater than 0, found 0\.0"),
        ({"scan": {"frames": {"integer": [1, 3]}}}, r"scan\.frames: is the same in all samples, and cannot be drawn"),
        ({"let": {"n": {"integer": [1, 3]}}, "scan": {"frames": "= let.n"}}, r"scan\.frames: is the same in all samples"),
        ({"labels": {"choice": ["all", {}]}}, r"labels: is the same in all samples"),
        ({"noise": {"photon_noise": {"choice": [True, False]}}}, r"noise: is the same in all samples"),
        ({"noise": {"seed": 2}}, r"noise\.seed: is left out of a recipe, whose noise has recipe\.seed"),
        ({"readout": {"integers": {"choice": ["int32", "uint16"]}}}, r"readout\.integers: is the same in all"),
        ({"sampling": {"method": {"choice": ["sum", "integrated"]}}}, r"sampling\.method: is the same in all"),
        ({"recipe": {"seed": -1}}, r"recipe\.seed: should be greater than or equal to 0"),
        ({"recipe": {"sed": 1}}, r"recipe\.sed: unknown field, near seed"),
        ({"recipe": {"splits": {"train": 0}}}, r"recipe\.splits: should have a share above 0"),
        ({"recipe": {"split_by": "let.x"}}, r"recipe\.split_by: should be crystal, sample or a field of the recipe, found let\.x"),
        ({"recipe": 5}, r"recipe: should be fields in a mapping, found 5"),
        ({"recipe": None}, r"recipe: is required in a recipe"),
        ({"let": {"day": date(2026, 1, 2)}}, r'let\.day: should be a number, a text, true, false or null, found "2026-01-02"'),
        ({"nothing": 1}, r"sample 0: nothing: unknown field"),
        ({"detector": {"panels": [{"spixels": {"uniform": [10, 20]}}]}}, r"detector: name, binning and numbers of pixels should be"),
        (
            {"crystal": {"cell": {"random_cell": {"space_group": "P 2 3", "axes_A": [30, 40]}}, "space_group": "P 4 3 2"}},
            r"sample 0: crystal\.space_group: should be that of its cell, P 2 3, found P 4 3 2",
        ),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_in_one_line_that_names_the_field(sections, said):
    with pytest.raises(ExperimentError, match=said) as refused:
        recipe(**sections)
    assert "\n" not in str(refused.value)


JUNK = st.sampled_from(
    [None, True, -1, 10**400, float("nan"), "text", "= let.x", "= x.y", "= beam", "= 1 / 0", [], {}, {5: 1}, {"choice": [1, "a", {}]},
     {"uniform": [1, 2]}, {"uniform": "= let"}, {"repeat": 2, "of": {}}, {"rotation": {"within_deg": "= crystal.cell"}},
     {"random_cell": {"space_group": 5, "axes_A": [1, 2]}}, {"weights": [1]}, {"file_of": "*"}, {"normal": [1, 1], "within": [0, 1]}]
)  # fmt: skip
PLACES = st.sampled_from(
    ["recipe", "recipe.seed", "recipe.splits", "let", "let.x", "beam", "beam.flicker", "beam.wavelength_A.uniform", "crystal", "noise",
     "crystal.cell", "crystal.cell.0", "crystal.space_group", "crystal.mosaicity", "crystal.misset_deg.rotation", "detector.panels",
     "structure_factors.kind", "structure_factors.F", "background.powder", "readout", "labels", "crystals"]
)  # fmt: skip


@settings(max_examples=60, deadline=None, database=None)
@given(PLACES, JUNK)
def test_whatever_stands_in_a_recipe_it_is_drawn_or_refused_in_one_line(place, junk):
    content: Any = copy.deepcopy(content_of(let={"x": 1}, background={}, detector={}, noise={}))
    *above, last = place.split(".")
    inner = content
    for name in above:
        inner = inner[name]
    inner[int(last) if last.isdecimal() else last] = junk
    refused = ""
    try:
        its = recipe_of(content)
        assert its.draw(5).values.keys() == {column.name for column in its.columns}
        assert its.fingerprint
    except ExperimentError as error:
        refused = str(error)
    assert "\n" not in refused


def test_what_all_samples_share_is_watched_where_a_whole_section_is_drawn():
    its = recipe(readout={"choice": [{}, {"offset_adu": 10}]})
    with pytest.raises(
        ExperimentError, match=r"sample \d+: readout: whether counts are written: is the same in all samples"
    ):
        [its.draw(number) for number in range(20)]
    with pytest.raises(ExperimentError, match="detector: all samples have one number of panels, found 1 and 2"):
        recipe(detector={"choice": [{"panels": [{}]}, {"panels": [{}, {}]}]})


def test_a_file_with_a_syntax_error_is_named_with_its_line(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("recipe: {seed: 1}\nbeam: {wavelength_A: {uniform: [1, 2}\n")
    with pytest.raises(ExperimentError, match=r"a\.yaml, line 2: "):
        load_recipe(file)
    file.write_text(yaml.safe_dump(content_of()))
    with pytest.raises(ExperimentError, match=r"a\.yaml: is a recipe, with a section recipe; expected an experiment"):
        load_experiment(file)


def test_shapes_are_the_largest_of_all_detectors_that_can_be_drawn():
    sizes = {
        "choice": [{"name": "Pilatus 300K"}, {"name": {"choice": ["Eiger 1M", "Rayonix MX340-HS"]}, "distance_mm": 200}]
    }
    both = recipe(detector=sizes)
    assert both.shapes == ((3840, 3840),)
    assert not both.one_mask
    assert not both.one_geometry
    panels = {
        "panels": [
            {"spixels": {"integer": [10, 90]}, "fpixels": "= 2 * detector.panels.0.spixels"},
            {"spixels": 20, "fpixels": 5},
        ]
    }
    assert recipe(detector=panels).shapes == ((90, 180), (20, 5))
    assert recipe().shapes == ((1024, 1024),)


@pytest.mark.parametrize(
    ("sections", "one_mask", "one_geometry"),
    [
        ({"beam": None}, True, True),
        ({}, True, False),
        ({"beam": {"fluence_photons_per_m2": {"log_uniform": [1e20, 1e22]}}}, True, True),
        ({"beam": None, "detector": {"panels": [{"distance_mm": {"uniform": [90, 100]}}]}}, True, False),
        ({"beam": None, "detector": {"panels": [{"fpixels": {"choice": [10, 20]}}]}}, False, False),
        ({"beam": None, "detector": {"panels": [{"dead_rectangles_pixels": {"choice": [[], [[0, 1, 0, 1]]]}}]}}, False, False),
        ({"beam": None, "readout": {"dead_pixel_fraction": {"uniform": [0.1, 0.2]}}}, False, True),
        ({"beam": None, "shadows": {"pin": {"distance_mm": 20, "start_mm": 15, "width_mm": 3}}}, True, True),
        ({"beam": None, "shadows": {"pin": {"distance_mm": 20, "start_mm": {"uniform": [9, 15]}, "width_mm": 3}}}, False, False),
        ({"shadows": {"pin": {"distance_mm": 20, "start_mm": 15, "width_mm": 3}}}, False, False),
    ],
)  # fmt: skip
def test_it_is_known_whether_masks_and_geometry_are_one(sections, one_mask, one_geometry):
    its = recipe(**sections)
    assert (its.one_mask, its.one_geometry) == (one_mask, one_geometry)


TEXTURED: dict[str, Any] = {
    "beam": None,
    "background": {"powder": [{"rings": [{"d_A": 3.0, "intensity": 1.0}], "photons": 9.0, "texture": 0.5}]},
}
SIZES: dict[str, Any] = {**CRYSTAL, "shape": "gauss", "N_cells": [{"integer": [3, 9]}, 3, 3]}


@pytest.mark.parametrize(
    ("sections", "one"),
    [
        ({"beam": None}, True),
        ({"beam": None, "let": {"level": {"uniform": [1, 2]}}, "background": {"level_photons": "= let.level"}}, False),
        ({"beam": None, "sampling": {"oversample": {"choice": [1, 2]}}}, False),
        ({"beam": None, "scan": {"phi_start_deg": {"uniform": [0, 90]}}}, True),
        ({"beam": None, "scan": {"spindle_axis": {"choice": [[1, 0, 0], [0, 1, 0]]}}}, False),
        (
            {"beam": None, "absorption": {"crystal": {"attenuation_length_um": 50, "size_um": {"uniform": [5, 9]}}}},
            False,
        ),
        ({}, False),
        (TEXTURED, False),
        ({"beam": None, "background": {"powder": [{**TEXTURED["background"]["powder"][0], "texture_seed": 1}]}}, True),
        ({"beam": None, "crystal": SIZES, "sampling": {"method": "sum"}}, False),
        ({"beam": None, "crystal": SIZES, "sampling": {"method": "sum", "oversample": 2}}, True),
        ({"beam": None, "crystal": SIZES, "sampling": {"method": "integrated"}}, True),
    ],
)
def test_it_is_known_whether_all_samples_have_one_instrument(sections, one):
    assert recipe(**sections).one_instrument is one


@pytest.fixture
def models(tmp_path) -> Path:
    folder = tmp_path / "models [a]"
    folder.mkdir()
    for number in range(6):
        write_model(folder / f"{number}.pdb")
    return folder


def test_a_recipe_is_not_made_again_of_other_files(models):
    pattern = str(models / "*.pdb").replace("[a]", "[[]a]")
    source = {"kind": "model", "file": {"file_of": pattern}}
    sent = pickle.dumps(recipe(structure_factors=source))
    assert pickle.loads(sent).draw(3) == recipe(structure_factors=source).draw(3)
    write_model(models / "a.pdb")
    with pytest.raises(
        ExperimentError, match=r"names 7 files here, and 6 where it was first read; a.pdb is not among both"
    ):
        pickle.loads(sent)


def test_a_file_is_chosen_from_a_folder_by_weight(models, tmp_path):
    file = tmp_path / "recipe.yaml"
    chosen = {"file_of": "models [[]a]/*.pdb", "weights": {"0.pdb": 0, "5.pdb": 3}}
    source = {"kind": "model", "file": "= let.model"}
    file.write_text(
        yaml.safe_dump(content_of(let={"model": chosen}, crystal={"N_cells": [3, 3, 3]}, structure_factors=source))
    )
    its = load_recipe(file)
    drawn = [its.draw(number) for number in range(40)]
    for each in drawn:
        path = each.experiment.structure_factors.file
        assert path.parent == models
        assert path.name == each.crystal == each.values["let.model"]
    found = Counter(each.crystal for each in drawn)
    assert set(found) == {f"{number}.pdb" for number in range(1, 6)}
    assert found["5.pdb"] == max(found.values())
    assert its.kept_together == 5
    again = recipe_of(json.loads(json.dumps(its.content)))
    assert again.draw(3) == its.draw(3)
    assert again.fingerprint == its.fingerprint


def test_names_of_files_are_those_of_the_folder_of_the_recipe(models, monkeypatch):
    monkeypatch.setenv("MODELS", str(models))
    chosen = {"choice": ["0.pdb", "$MODELS/1.pdb", str(models / "2.pdb")]}
    for let, file in (({"model": chosen}, "= let.model"), ({}, chosen)):
        source = {"kind": "model", "file": file}
        its = recipe_of(content_of(let=let, crystal={"N_cells": [3, 3, 3]}, structure_factors=source), models)
        found = {its.draw(number).experiment.structure_factors.file for number in range(12)}
        assert found == {models / f"{number}.pdb" for number in range(3)}
        assert {its.draw(number).crystal for number in range(12)} == {f"{number}.pdb" for number in range(3)}


def test_the_fingerprint_is_of_what_decides_a_sample(models):
    def its(**sections: Any) -> str:
        source = {"kind": "model", "file": {"file_of": "*.pdb"}}
        given = {"crystal": {"N_cells": [3, 3, 3]}, "structure_factors": source, **sections}
        return recipe_of(content_of(**given), models).fingerprint

    first = its()
    assert first == its(title="another", recipe={"seed": 3, "license": "CC0-1.0"})
    assert len({first, its(recipe={"seed": 4}), its(beam=None), its(recipe={"seed": 3, "splits": {"train": 1}})}) == 4
    write_model(models / "6.pdb")
    more = its()
    (models / "6.pdb").write_text((models / "6.pdb").read_text() + "REMARK\n")
    assert len({first, more, its()}) == 3
    moved = models.rename(models.with_name("elsewhere"))
    (moved / "6.pdb").unlink()
    source = {"kind": "model", "file": {"file_of": "*.pdb"}}
    assert recipe_of(content_of(crystal={"N_cells": [3, 3, 3]}, structure_factors=source), moved).fingerprint == first


def test_the_fingerprint_of_a_recipe_is_of_what_its_files_hold_now_and_of_the_document_it_was_made_of(models):
    content = content_of(crystal={"N_cells": [3, 3, 3]}, structure_factors={"kind": "model", "file": f"{models}/0.pdb"})
    its = recipe_of(content)
    first = its.fingerprint
    content["crystal"]["N_cells"][0] = 4
    assert its.fingerprint == first
    assert its.draw(0).experiment.only_crystal.N_cells == (3, 3, 3)
    file, text = models / "0.pdb", (models / "0.pdb").read_text()
    file.write_text(text.replace(" 12.00 ", " 13.00 "))
    os.utime(file, ns=(0, 0))
    changed = its.fingerprint
    assert changed == recipe_of(its.content).fingerprint != first
    file.write_text(text)
    assert its.fingerprint == first
    file.unlink()
    with pytest.raises(ExperimentError, match=r"^structure_factors\.file: .*0\.pdb cannot be read"):
        _ = its.fingerprint


def test_a_file_that_a_pattern_names_since_a_recipe_was_made_is_none_of_its_files(models):
    its = recipe_of(
        content_of(crystal={"N_cells": [3, 3, 3]}, structure_factors={"kind": "model", "file": {"file_of": "*.pdb"}}),
        models,
    )
    before = its.fingerprint
    write_model(models / "9.pdb")
    assert its.fingerprint == before
    assert recipe_of(its.content).fingerprint != before


def test_the_version_of_the_integrated_method_is_in_the_fingerprints_of_its_recipes_alone(monkeypatch):
    def prints() -> list[str]:
        its = {"crystal": {**CRYSTAL, "shape": "gauss"}}
        return [recipe(**its, sampling={"method": method}).fingerprint for method in ("sum", "integrated")]

    summed, integrated = prints()
    monkeypatch.setattr(recipes, "INTEGRATED_VERSION", recipes.INTEGRATED_VERSION + 1)
    assert prints()[0] == summed
    assert prints()[1] != integrated


def chosen_model(folder: Path, *names: str) -> Recipe:
    source = {"kind": "model", "file": {"choice": [*names]}}
    splits = {"seed": 3, "splits": {"a": 1, "b": 1}}
    return recipe_of(content_of(recipe=splits, crystal={"N_cells": [3, 3, 3]}, structure_factors=source), folder)


def test_files_of_one_name_in_different_folders_are_different_crystals(tmp_path):
    names = ("one/model.pdb", "two/model.pdb", "other.pdb")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_model(tmp_path / name)
    its = chosen_model(tmp_path, *names[:2])
    drawn = [its.draw(number) for number in range(12)]
    for each in drawn:
        file = each.experiment.structure_factors.file.relative_to(tmp_path).as_posix()
        assert file == each.crystal == each.values["structure_factors.file"]
    assert len({(each.crystal, each.split) for each in drawn}) == len({each.split for each in drawn}) == 2
    its = chosen_model(tmp_path, *names[1:])
    assert {its.draw(number).crystal for number in range(9)} == {"model.pdb", "other.pdb"}


def test_a_file_that_is_called_otherwise_is_another_crystal_in_the_fingerprint(tmp_path):
    for name in ("a.pdb", "b.pdb", "c.pdb"):
        write_model(tmp_path / name)
    first = chosen_model(tmp_path, "a.pdb", "b.pdb").fingerprint
    assert chosen_model(tmp_path, "a.pdb", "c.pdb").fingerprint != first
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert chosen_model(moved, "a.pdb", "b.pdb").fingerprint == first


def test_a_number_is_not_taken_for_the_place_of_an_alternative():
    its = recipe(structure_factors={"kind": "wilson", "d_min_A": 5.0, "seed": {"choice": [1, {"integer": [5, 6]}]}})
    crystals = {its.draw(number).crystal for number in range(20)}
    assert {each for each in crystals if "alternative 1" in each} == crystals - {"structure_factors.seed 1"}
    assert len(crystals) == 3


def test_every_field_of_a_file_has_a_name_that_says_so():
    """By which a recipe knows which texts are files."""

    def fields(model: type[BaseModel], passed: set[type[BaseModel]]) -> dict[str, bool]:
        passed.add(model)
        found = {}
        for name, info in model.model_fields.items():
            kinds, inner = [info.annotation], []
            while kinds:
                kind = kinds.pop()
                if get_origin(kind) in (Union, UnionType, tuple, dict, Annotated):
                    kinds += get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
                else:
                    inner.append(kind)
            found[name] = Path in inner
            for each in inner:
                if isinstance(each, type) and issubclass(each, BaseModel) and each not in passed:
                    found |= fields(each, passed)
        return found

    its = fields(Experiment, set())
    assert {"mask_file", "source_file", "f_file", "matrix_file"} <= {name for name, is_file in its.items() if is_file}
    assert {name: is_file_field(name) for name in its} == its


def shares(its: Recipe, number: int = 1000) -> tuple[dict[str, float], dict[str, set[str]]]:
    drawn = [its.draw(sample) for sample in range(number)]
    assert [its.split_of(sample) for sample in range(20)] == [each.split for each in drawn[:20]]
    of_crystals: dict[str, set[str]] = {}
    for each in drawn:
        of_crystals.setdefault(each.split, set()).add(each.crystal)
    return {split: count / number for split, count in Counter(each.split for each in drawn).items()}, of_crystals


def test_samples_of_one_crystal_are_in_one_split():
    wilson = {"kind": "wilson", "d_min_A": 5.0, "seed": {"integer": [1, 20]}, "B_factor_A2": {"uniform": [10, 20]}}
    its = recipe(structure_factors=wilson)
    assert (its.split_by, its.kept_together) == ("crystal", 20)
    found, crystals = shares(its, 300)
    assert {split: len(each) for split, each in crystals.items()} == {"train": 16, "validation": 2, "test": 2}
    assert len(set.union(*crystals.values())) == 20
    assert found["train"] == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize(
    ("source", "by"),
    [
        ({"kind": "uniform", "F": 1}, "sample"),
        ({"kind": "wilson", "d_min_A": 5.0, "seed": {"choice": [1, 2]}}, "sample"),
        ({"kind": "wilson", "d_min_A": 5.0, "seed": {"integer": [0, 10**12]}}, "crystal"),
        ({"kind": "wilson", "d_min_A": 5.0, "seed": {"integer": [0, "= round(100 * beam.wavelength_A)"]}}, "crystal"),
    ],
)
def test_samples_are_split_by_themselves_where_there_is_no_list_of_crystals(source, by):
    its = recipe(structure_factors=source)
    assert (its.split_by, its.kept_together) == (by, None)
    found, _ = shares(its, 400)
    assert found == {split: pytest.approx(share, abs=5 * 0.4 / 20) for split, share in its.splits.items()}


def test_splits_may_be_by_a_field():
    its = recipe(
        recipe={"seed": 1, "splits": {"a": 1, "b": 1}, "split_by": "let.group"},
        let={"group": {"choice": ["P 1", "P 21 21 21", "P 2 2 2", "C 2 2 2"]}},
        crystal={**CRYSTAL, "space_group": "= let.group"},
        structure_factors={"kind": "wilson", "d_min_A": 5.0, "seed": {"integer": [1, 9]}},
    )
    groups: dict[str, set[str]] = {}
    for number in range(60):
        drawn = its.draw(number)
        assert its.split_of(number) == drawn.split
        groups.setdefault(drawn.split, set()).add(drawn.values["let.group"])
    assert [len(each) for each in groups.values()] == [2, 2]
    with pytest.raises(
        ExperimentError, match=r"recipe.split_by: crystal has 1 alternative in this recipe, and there are 3 splits"
    ):
        recipe(recipe={"split_by": "crystal"})


def test_crystals_that_meet_in_a_sample_are_not_split():
    lattices = {
        "repeat": 2,
        "of": {**CRYSTAL, "structure_factors": {"kind": "wilson", "d_min_A": 5.0, "seed": {"integer": [1, 9]}}},
    }
    with pytest.raises(ExperimentError, match=r"recipe\.split_by: a sample may have several crystals here"):
        recipe(crystal=None, crystals=lattices)
    assert recipe(recipe={"split_by": "sample"}, crystal=None, crystals=lattices).split_by == "sample"
    lattices["of"]["structure_factors"]["seed"] = "= let.seed"
    assert recipe(let={"seed": {"integer": [1, 9]}}, crystal=None, crystals=lattices).kept_together == 9
    fixed = {**CRYSTAL, "structure_factors": {"kind": "wilson", "d_min_A": 5.0}}
    assert recipe(crystal=None, crystals=[lattices["of"], fixed], let={"seed": {"integer": [1, 9]}}).kept_together == 9


def test_names_among_let_are_the_recipes_own(tmp_path):
    write_model(tmp_path / "model.pdb")
    let = {"rotation": {"uniform": [0.9, 1.1]}, "choice": "model.pdb", "of": 5.0, "integer": {"integer": [4, 6]}}
    crystal = {"misset_deg": ["= let.rotation", 0, 0], "N_cells": ["= let.integer"] * 3}
    source = {"kind": "model", "file": "= let.choice", "d_min_A": "= let.of"}
    drawn = recipe_of(content_of(let=let, crystal=crystal, structure_factors=source), tmp_path).draw(2)
    assert drawn.experiment.structure_factors.file == tmp_path / "model.pdb"
    assert drawn.experiment.crystal.misset_deg[0] == drawn.values["let.rotation"]
    assert drawn.experiment.crystal.N_cells[0] == drawn.values["let.integer"]


def test_quotas_add_up_and_leave_no_split_out():
    assert quotas(10, {"train": 0.8, "validation": 0.1, "test": 0.1}) == {"train": 8, "validation": 1, "test": 1}
    assert quotas(3, {"train": 8, "validation": 1, "test": 1}) == {"train": 1, "validation": 1, "test": 1}
    assert quotas(2, {"train": 8, "validation": 1, "test": 1}) == {"train": 2, "validation": 0, "test": 0}
    assert quotas(7, {"train": 1, "none": 0}) == {"train": 7, "none": 0}
    shares_asked_for = {"train": 0.7, "validation": 0.2, "test": 0.1}
    for number in range(20, 60):  # from 20 on, what is left out of 0.1 is never all of it
        found = quotas(number, shares_asked_for)
        assert sum(found.values()) == number
        assert all(abs(found[split] - number * share) < 1 for split, share in shares_asked_for.items())
    assert splits_of(["b", "a", "c"], {"x": 2, "y": 1}, 5) == splits_of(["c", "b", "a", "a"], {"x": 2, "y": 1}, 5)


def test_a_value_that_fields_refer_to_is_described_as_they_are():
    cell = {"random_cell": {"space_group": "P 1", "volume_A3": {"uniform": [1e5, 2e5]}}}
    its = recipe(let={"its": cell, "unused": {"uniform": [0, 1]}}, crystal={**CRYSTAL, "cell": "= let.its"})
    columns = {column.name: column for column in its.columns}
    for number, units in enumerate(["angstrom"] * 3 + ["degree"] * 3):
        column = columns[f"let.its.{number}"]
        assert column.units == units
        assert column.long_name.startswith("a, b, c (Angstrom)")
    assert columns["let.its.volume_A3"].units == "angstrom^3"
    assert columns["let.unused"].long_name == "let.unused"


def test_units_follow_from_the_names_of_fields():
    for name, units in {
        "beam.fluence_photons_per_m2": "photon/m^2",
        "beam.flux_photons_per_s": "photon/s",
        "crystals.2.cell.1": "angstrom",
        "let.cell.4": "degree",
        "crystal.size_um": "um",
        "background.amorphous.0.density_g_per_cm3": "g/cm^3",
        "background.level_photons": "photon",
        "crystal.decay.half_dose_MGy_per_A": "MGy/angstrom",
        "structure_factors.B_factor_A2": "angstrom^2",
        "beam.bandwidth_sigma": "",
        "readout.electrons_per_photon": "electron/photon",
        "crystal.decay.dose_MGy_per_frame": "MGy/frame",
        "beam.exposure_s": "s",
        "detector.panels.0.near_point_pixels.0": "pixel",
    }.items():
        assert units_of(name) == units, name


def test_a_normal_deviate_that_its_field_does_not_allow_is_told_to_have_limits():
    with pytest.raises(ExperimentError, match=r"wavelength_A: should be .*; limits are given by within: \[lowest, h"):
        recipe(beam={"wavelength_A": {"normal": [-1, 0.1]}}).draw(0)


def test_the_recipes_of_the_manual_are_some(tmp_path):
    text, short = re.findall(
        r"```yaml\n(.*?)```",
        (Path(__file__).parents[2] / "docs" / "how_to" / "datasets.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    its = recipe_of(yaml.safe_load(text))
    assert (its.split_by, its.kept_together) == ("crystal", 300)
    assert {its.draw(number).experiment.detector.name for number in range(8)} == {"Pilatus3 300K", "Eiger 1M"}
    (tmp_path / "models").mkdir()
    for name in "abc":
        (tmp_path / "models" / f"{name}.pdb").write_text(MODEL)
    draws = [recipe_of(yaml.safe_load(short), tmp_path).draw(number) for number in range(9)]
    assert {draw.values["structure_factors.file"] for draw in draws} == {"a.pdb", "b.pdb", "c.pdb"}
    assert resolve(draws[0].experiment).specimen.lattices[0].space_group == "P 43 21 2"


MODEL = """\
CRYST1   79.000   79.000   38.000  90.00  90.00  90.00 P 43 21 2
ATOM      1  CA  ALA A   1      10.000  10.000  10.000  1.00 20.00           C
"""


def test_the_recipe_that_init_writes_is_one_and_its_schema_holds_every_section(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(TEMPLATE)
    its = load_recipe(file)
    assert {len(its.draw(number).experiment.crystals) for number in range(12)} == {1, 2, 3}
    schema = json.loads(json.dumps(recipe_schema()))
    assert set(schema["properties"]) == {"recipe", "let", *Experiment.model_fields}
    assert set(its.content) <= set(schema["properties"])
    assert "seed" not in schema["$defs"]["Noise"]["properties"]
    drawn = {"$ref": "#/$defs/Drawn"}
    for section in ("Beam", "Crystal", "Mosaicity", "FromModel"):
        for name, its_schema in schema["$defs"][section]["properties"].items():
            assert drawn in its_schema["anyOf"], (section, name)
    heads = {name for each in schema["$defs"]["Drawn"]["anyOf"] for name in each.get("required", [])}
    assert heads == {
        *["uniform", "log_uniform", "normal", "integer", "choice", "file_of", "rotation", "random_cell", "repeat", "of"]
    }
    assert tuple(RANDOM_CELL) == CELL_PARAMETERS
