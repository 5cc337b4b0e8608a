"""A data card says of a data set what its tables and records hold, and is taken back before anything is written into it again."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from sample_sets import recipe_with, write_units
from typer.testing import CliRunner

from nbdist import generate, open_samples, open_series, verify
from nbdist.cli.main import app
from nbdist.errors import StoreError
from nbdist.run.card import card_fault, make_card
from nbdist.run.datasets import generate_dataset
from nbdist.run.finish import finish
from nbdist.store import grow_store, mark_finished, open_group
from nbdist.store.parts import Part

SAMPLES = 6
TITLE = "Small\n| crystals <b> $x_{"


@pytest.fixture(scope="module")
def recipe(small_experiment):
    experiment = small_experiment(
        title=TITLE,
        panel={"spixels": 24, "fpixels": 20, "pixel_size_mm": 3.2},
        beam={"fluence_photons_per_m2": 2e24},
        crystal={"shape": "gauss", "space_group": "P 1"},
        scan={"frames": 1},
        sampling={"method": "integrated"},
        noise={"photon_noise": True},
        labels={"spots": True, "spot": True},
    )
    return recipe_with(
        experiment,
        let={
            "phi": {"uniform": [0, 90]},
            "kind": {"choice": ["a", "b"]},
            "pair": {"choice": [[1, 2], [3, 4]]},
            "cells": {"integer": [6, 8]},
        },
        recipe={"seed": 7, "license": "CC-BY-4.0"},
        scan={**experiment.content()["scan"], "phi_start_deg": "= let.phi"},
        crystal={**experiment.content()["crystal"], "N_cells": ["= let.cells"] * 3},
    )


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    location = tmp_path_factory.mktemp("sets") / "a.zarr"
    generate_dataset(recipe, location, SAMPLES, serial=True, frames_per_shard=2)
    return location


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy.zarr")


def said(location):
    return json.loads((location / "card.json").read_bytes())


def test_a_card_says_what_was_drawn_of_which_recipe(whole, recipe):
    card = said(whole)
    assert (card["samples"], card["frames"], card["frames_per_sample"], card["seed"]) == (SAMPLES, SAMPLES, 1, 7)
    assert (card["title"], card["license"]) == (TITLE, "CC-BY-4.0")
    assert card["recipe"] == recipe.content
    assert card["fingerprint"] == recipe.fingerprint
    assert {its["name"] for its in card["arrays"]} == {"intensity", "counts", "spot"}
    assert {its["name"] for its in card["tables"]} == {"samples", "frames", "lattices", "spots"}
    assert card["provenance"]["versions"]["nbdist"]


def test_values_are_those_of_the_table_of_samples(whole):
    values, samples = said(whole)["values"], open_samples(whole)
    assert values.keys() == set(samples.columns) - {"sample"}
    for name in ("let.phi", "let.cells", "photons"):
        of_samples = samples[name]
        assert values[name]["least"] == of_samples.min()
        assert values[name]["greatest"] == of_samples.max()
        assert values[name]["mean"] == pytest.approx(of_samples.mean())
        assert sum(values[name]["histogram"]["counts"]) == SAMPLES
    for name in ("let.kind", "let.pair"):  # which of the pairs it is has no mean
        assert values[name]["counts"] == samples[name].astype(str).value_counts().to_dict()
    assert values["photons"]["units"] == "photon"
    splits = said(whole)["splits"]
    assert {name: its["samples"] for name, its in splits.items()} == samples["split"].value_counts().to_dict()
    for name, its in splits.items():
        assert its["crystals"]["counts"] == samples["crystal"][samples["split"] == name].value_counts().to_dict()


def test_every_shard_has_a_checksum_that_sha256sum_agrees_with(whole):
    card = said(whole)["checksums"]
    lines = "".join((whole / name).read_text() for name in card["files"])
    assert hashlib.sha256(lines.encode()).hexdigest() == card["all"]
    keys = {line.split("  ")[1] for line in lines.splitlines()}
    shards = {str(path.relative_to(whole)) for path in whole.rglob("*/c/*/*/*")} | {
        str(path.relative_to(whole)) for path in whole.rglob("*/*.parquet")
    }
    assert keys == {key for key in shards if not key.startswith(("mask", "slow", "fast"))}
    assert card["shards"] == len(keys) == 7 * 3
    if sys.platform == "linux":
        subprocess.run(["sha256sum", "--quiet", "-c", *card["files"]], cwd=whole, check=True)


@pytest.mark.usefixtures("card_without_pictures")
def test_the_checksum_is_that_of_the_set_and_not_of_the_run(whole, recipe, tmp_path):
    again = tmp_path / "b.zarr"
    for number in (1, 2):
        generate_dataset(recipe, again, SAMPLES, part=Part(number, 2), serial=True, frames_per_shard=2)
    finish(again)
    assert said(again)["checksums"]["all"] == said(whole)["checksums"]["all"]
    assert said(again)["store_id"] != said(whole)["store_id"]


def test_pictures_are_of_values_and_of_samples(whole):
    from matplotlib.image import imread  # here: it is loaded by one process of the tests, not by all

    assert said(whole)["pictures"] == ["card/values.png", "card/samples.png"]
    for name in said(whole)["pictures"]:
        picture = imread(whole / name)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05


def test_people_read_splits_values_and_how_it_is_checked(whole):
    text = (whole / "README.md").read_text()
    assert text.startswith("# Small | crystals &lt;b> $x_{\n")
    for expected in (
        "6 samples of a still each",
        "Licence: CC-BY-4.0.",
        "| split | samples | share | crystals |",
        "| counts | int32 | photon | what the detector reads of intensity |",
        "![card/values.png](card/values.png)",
        said(whole)["checksums"]["all"],
    ):
        assert expected in text
    assert f"| let.cells |  | {said(whole)['values']['let.cells']['least']:.5g} |" in text


def test_readers_find_nothing_strange_in_a_store_with_a_card(whole):
    assert open_series(whole).sizes["frame"] == SAMPLES
    assert "card" not in open_series(whole)


@pytest.mark.usefixtures("card_without_pictures")
def test_a_card_is_taken_back_before_anything_is_written(copy, recipe):
    assert card_fault(open_group(copy)) is None
    write_units(copy, recipe, [1])
    assert not (copy / "card.json").exists()
    assert not (copy / "README.md").exists()
    mark_finished(copy)
    make_card(copy)
    grow_store(copy, SAMPLES + 1)
    assert not (copy / "card.json").exists()
    open_series(copy)
    with pytest.raises(StoreError, match="1 of 4 units are missing; a card is of all"):
        make_card(copy)


@pytest.mark.usefixtures("card_without_pictures")
def test_what_someone_wrote_of_a_set_is_left_alone(copy, recipe):
    (copy / "README.md").write_text("mine")
    make_card(copy)
    write_units(copy, recipe, [1])
    assert (copy / "README.md").read_text() == "mine"
    assert not (copy / "card.json").exists()


def test_a_card_that_does_not_fit_the_records_is_found(copy):
    record = json.loads((copy / "records/00000001.json").read_bytes())
    record["shard_sha256"]["counts"] = "0" * 64
    (copy / "records/00000001.json").write_text(json.dumps(record))
    assert "card.json has the checksum" in card_fault(open_group(copy))
    (copy / "card.json").write_text("{}")
    assert card_fault(open_group(copy)) == "card.json does not decode"
    (copy / "card.json").write_text(
        json.dumps(said(copy) | {"store_id": "another", "checksums": {"all": "", "shards": 0}})
    )
    assert card_fault(open_group(copy)) == "card.json is of another store"
    (copy / "card.json").unlink()
    assert card_fault(open_group(copy)) is None


def test_shards_and_card_are_verified_by_their_checksums(copy):
    found = verify(copy, sample=1)
    assert found.good
    assert found.compared.keys() == {0}
    open_group(copy, mode="r+")["counts"][3, 5, 5] += 1
    found = verify(copy, sample=0)
    assert found.damaged == {1: "counts/c/1/0/0 is not what was written: it has another checksum"}


def test_the_command_that_verifies_names_a_card_that_is_wrong(copy):
    (copy / "card.json").write_text("{}")
    result = CliRunner().invoke(app, ["verify", str(copy), "--sample", "0"])
    assert "the data card is wrong: card.json does not decode" in result.output
    assert result.exit_code == 1


@pytest.mark.usefixtures("card_without_pictures")
def test_a_set_that_is_finished_has_a_card(copy):
    expected = said(copy)
    for name in ("card.json", "README.md"):
        (copy / name).unlink()
    finish(copy)
    assert said(copy)["values"] == expected["values"]
    made = (copy / "card.json").read_bytes()
    finish(copy)
    assert (copy / "card.json").read_bytes() == made, "it is not made again"


def test_the_command_makes_a_card_again(copy):
    expected = said(copy)
    (copy / "card.json").unlink()
    printed = json.loads(CliRunner().invoke(app, ["card", str(copy), "--json"]).output)
    assert (printed["samples"], printed["sha256"]) == (6, expected["checksums"]["all"])
    (copy / "card.json").unlink()
    result = CliRunner().invoke(app, ["card", str(copy)])
    assert result.exit_code == 0, result.output
    assert "card of 6 samples" in result.output
    again = said(copy)
    assert again | {"made_at": ""} == expected | {"made_at": ""}


def test_a_series_has_no_card(light_experiment, tmp_path):
    generate(light_experiment(1), tmp_path / "a.zarr", serial=True)
    with pytest.raises(StoreError, match=r"a\.zarr is a series; a card is of a data set"):
        make_card(tmp_path / "a.zarr")
