"""`--json`: one object on standard output, nothing else there; what a person reads does not change by it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from labelled import INTEGRATED, labelled_store, reflection_rows, spot_rows

import nbdist as package
from nbdist.cli.display import console
from nbdist.cli.json_output import print_json
from nbdist.store.number_set import NumberSet


@pytest.fixture
def found(nbdist):
    """`found(code, "info", store)`: what the command prints with `--json`, which ends with that status."""

    def run(code, *words):
        ran = nbdist(*words, "--json")
        assert ran.code == code, ran.err
        content = json.loads(ran.raw)
        assert (content.pop("nbdist"), content.pop("command")) == (package.__version__, words[0])
        return content

    return run


def test_an_experiment_that_is_checked_and_planned(found, nbdist, experiment_file, write_experiment, tmp_path):
    checked = found(0, "check", experiment_file)
    assert (checked["file"], checked["valid"]) == (str(experiment_file), True)
    assert json.loads(nbdist("check", "--json", experiment_file).raw)["file"] == str(experiment_file), (
        "no file to write"
    )
    [panel] = checked["detector"]["panels"]
    assert (panel["slow_pixels"], panel["fast_pixels"]) == (96, 80)
    assert checked["scan"]["frames"] == 3
    assert checked["crystals"][0]["field"] == "crystal"
    assert len(checked["crystals"][0]["cell_A_deg"]) == 6
    planned = found(0, "plan", experiment_file, "--workers", 2, "--frames-per-shard", 2)
    assert (planned["frames"], planned["units"], planned["frames_per_unit"]) == (3, 2, 2)
    assert planned["disk_bytes"] == 3 * planned["disk_bytes_per_frame"]
    many = write_experiment(tmp_path / "many.yaml", scan={"frames": 100_000})
    planned = found(0, "plan", many, "--workers", 1, "--frames-per-shard", 1)
    assert planned["warnings"]
    text = nbdist("plan", many, "--workers", 1, "--frames-per-shard", 1)
    assert all(warning in text.out for warning in planned["warnings"])
    assert text.out.count("warning") == len(planned["warnings"])


def test_a_run_that_ends_and_its_store(found, experiment_file, tmp_path):
    store = tmp_path / "a.zarr"
    ran = found(0, "run", experiment_file, "-o", store, "--serial")
    assert (ran["output"], ran["frames_done"], ran["units_failed"], ran["go_on"]) == (str(store), 3, {}, None)
    assert ran["bytes_written"] > 0
    again = found(0, "readout", store, "-o", tmp_path / "b.zarr", "--serial", "--seed", 1)
    assert again["frames_done"] == 3
    info = found(0, "info", store)
    assert (info["kind"], info["finished"], info["frames_complete"], info["go_on"]) == ("series", True, 3, [])
    assert info["panels_slow_fast_pixels"] == [[96, 80]]
    assert info["arrays"]["intensity"] == "float32"
    assert info["rendering_seconds_by_device"].keys() == ran["rendering_seconds_by_device"].keys()
    verified = found(0, "verify", store, "--sample", 1)
    assert (verified["good"], verified["frames_decoded"]) == (True, 3)
    assert verified["largest_differences_over_maximum"] == {"0": 0.0}
    finished = found(0, "finish", store)
    assert (finished["finished"], finished["units_missing"]) == (True, [])


def test_a_store_that_is_unfinished_says_how_to_go_on(found, part, tmp_path):
    store = shutil.copytree(part, tmp_path / "part.zarr")
    for command in ("info", "verify", "finish"):
        content = found(0 if command == "info" else 1, command, store)
        [go_on] = content["go_on"]
        assert go_on.endswith("--resume")
    assert content["units_missing"] == [1, 2]


def test_a_unit_that_fails_is_in_what_the_run_prints_and_its_status_is_1(found, experiment_file, tmp_path, monkeypatch):
    def fails(*arguments):
        raise ValueError("a cosmic ray")

    monkeypatch.setattr("nbdist.run.rendering.render_frame", fails)
    ran = found(1, "run", experiment_file, "-o", tmp_path / "a.zarr", "--serial", "--frames-per-shard", 3)
    assert "a cosmic ray" in ran["units_failed"]["0"]
    assert "--resume" in ran["go_on"]


def test_labels_and_images_that_are_written(found, small_experiment, tmp_path):
    experiment = small_experiment(
        panel={"spixels": 4, "fpixels": 4, "pixel_size_mm": 10.0},
        scan={"frames": 2},
        labels={"reflections": True, "spots": True},
        **INTEGRATED,
    )
    rows = reflection_rows(np.arange(1), np.arange(1), np.arange(1) + 1, whole=True, masked=False, h=[1], k=[1], l=[1])
    store = labelled_store(experiment, tmp_path / "a.zarr", rows, lambda frame: spot_rows(np.arange(1)))
    spots = tmp_path / "spots.csv"
    assert found(0, "labels", store, "--csv", spots)["written"] == [{"file": str(spots), "rows": 2}]
    images = found(0, "export", store, "--format", "smv", "-o", tmp_path / "images", "--serial")
    assert (images["output"], images["frames_done"]) == (str(tmp_path / "images"), 2)


def test_an_error_prints_nothing_but_its_line(nbdist, tmp_path):
    for words in (("check", "nothing.yaml"), ("info", tmp_path / "nothing.zarr")):
        refused = nbdist(*words, "--json")
        assert (refused.code, refused.raw, refused.err.count("\n")) == (2, "", 1)


def test_numbers_that_json_has_not_are_null_and_the_others_are_kept(capsys, monkeypatch):
    monkeypatch.setattr(console, "quiet", True)
    print_json(
        "a",
        nan=math.nan,
        numpy=np.float32(0.5),
        rows=np.eye(2),
        infinite=np.array([np.inf]),
        numbers=NumberSet([3, 1]),
        file=Path("x") / "y",
        by_number={3: True},
    )
    content = json.loads(capsys.readouterr().out)
    assert content["nan"] is None
    assert content["infinite"] == [None]
    assert (content["numpy"], content["rows"], content["numbers"]) == (0.5, [[1, 0], [0, 1]], [1, 3])
    assert (content["file"], content["by_number"]) == ("x/y", {"3": True})
    monkeypatch.setattr(console, "quiet", False)
    print_json("a", number=1)
    assert capsys.readouterr().out == ""
