"""A store or a file from a stranger: nothing in it is run or unpickled, and nothing is written outside the output."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import frame_dataset

from nbdist import generate, load_experiment, open_series, verify
from nbdist.errors import DamagedError, ExperimentError, NbdistError, StoreError
from nbdist.store import summarize


@pytest.fixture(scope="module")
def location(small_experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("hostile") / "series.zarr"
    generate(small_experiment(), location, serial=True, frames_per_shard=1)
    return location


@pytest.fixture
def copy(location, tmp_path):
    """A whole store that is not consolidated, to be changed."""
    copy = Path(shutil.copytree(location, tmp_path / "copy.zarr"))
    root = json.loads((copy / "zarr.json").read_text())
    del root["consolidated_metadata"]
    (copy / "zarr.json").write_text(json.dumps(root))
    return copy


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


READERS = [
    open_series,
    summarize,
    frame_dataset,
    verify,
    lambda place: generate(summarize(place).experiment, place, serial=True, resume=True),
]


def _edited(copy, name, change):
    path = copy / name / "zarr.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _objects(document):
    document["data_type"] = "object"


def _object_pickle(document):
    document["data_type"] = {"name": "numcodecs.pickle", "configuration": {}}


def _pickled(document):
    document["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]


def _pickled_inside_the_shard(document):
    document["codecs"][0]["configuration"]["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})


def _another_codec(document):
    inner = document["codecs"][0]["configuration"]["codecs"]
    inner[1:] = [{"name": "numcodecs.zlib", "configuration": {"level": 1}}]


def _strings(document):
    document["data_type"] = "string"
    document["fill_value"] = ""
    document["codecs"] = [{"name": "vlen-utf8"}]


def _other_numbers(document):
    document["data_type"] = "float64"


@pytest.mark.parametrize(
    "change",
    [_objects, _object_pickle, _pickled, _pickled_inside_the_shard, _another_codec, _strings, _other_numbers],
)
@pytest.mark.parametrize("use", READERS, ids=["open_series", "summarize", "dataset", "verify", "resume"])
@pytest.mark.filterwarnings("ignore")
def test_an_array_that_nbdist_never_writes_is_refused(change, use, copy):
    _edited(copy, "intensity", change)
    with pytest.raises(StoreError, match="intensity is") as caught:
        use(copy)
    assert "\n" not in str(caught.value)


def test_pickled_bytes_are_not_unpickled_wherever_they_lie(copy, tmp_path):
    trap = tmp_path / "sprung"
    bomb = pickle.dumps(Bomb(trap))
    pickle.loads(bomb)
    assert trap.is_dir(), "the trap works"
    trap.rmdir()
    unpacked = np.empty(1, dtype=object)
    unpacked[0] = Bomb(trap)
    np.save(tmp_path / "objects.npy", unpacked, allow_pickle=True)
    for path in (copy / "intensity/c/0/0/0", copy / "orientation/c/0/0/0", copy / "records/00000001.json"):
        path.write_bytes(bomb)
    # metadata of format 2, with a filter that unpickles, beside those of format 3
    (copy / "intensity/.zarray").write_text(
        json.dumps(
            {"zarr_format": 2, "shape": [3], "chunks": [1], "dtype": "|O", "order": "C", "compressor": None}
            | {"fill_value": 0, "filters": [{"id": "pickle", "protocol": 5}]}
        )
    )
    (copy / "intensity/0").write_bytes(bomb)
    found = verify(copy, sample=3)
    assert found.damaged[0].startswith("intensity/c/0/0/0 does not decode")
    assert found.damaged[1] == "records/00000001.json does not decode"
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever zarr says of an array that does not decode
        np.asarray(open_series(copy).orientation)
    assert not trap.exists()


@pytest.mark.parametrize("section", ["detector.mask_file", "crystal.mosaic_rotations_file"])
def test_a_file_of_pickled_objects_is_refused(section, small_experiment, tmp_path):
    trap, file = tmp_path / "sprung", tmp_path / "objects.npy"
    array = np.empty((96, 80), dtype=object)
    array[0, 0] = Bomb(trap)
    np.save(file, array, allow_pickle=True)
    part, field = section.split(".")
    with pytest.raises(ExperimentError, match=field) as caught:
        generate(small_experiment(**{part: {field: str(file)}}), tmp_path / "a.zarr", serial=True)
    assert "\n" not in str(caught.value)
    assert not trap.exists()


@pytest.mark.parametrize(
    "line",
    [
        "title: !!python/object/apply:os.mkdir [TRAP]",
        "title: !!python/object/new:os.mkdir [TRAP]",
        "title: !!python/name:os.mkdir",
        "beam: !!python/object/apply:os.mkdir [TRAP]",
    ],
)
def test_yaml_makes_no_python_objects(line, tmp_path):
    trap, file = tmp_path / "sprung", tmp_path / "e.yaml"
    file.write_text(line.replace("TRAP", str(trap)) + "\n")
    with pytest.raises(ExperimentError) as caught:
        load_experiment(file)
    assert "\n" not in str(caught.value)
    assert not trap.exists()


def _tree(folder):
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_an_experiment_makes_nbdist_write_nothing_outside_the_output(small_experiment, tmp_path, monkeypatch):
    # every text of an experiment file that is free, or names a file, leads out of the folder
    work, outside = tmp_path / "work", tmp_path / "outside"
    for folder in (work, outside):
        folder.mkdir()
    hkl = outside / "small.hkl"
    hkl.write_text("1 2 3 100\n2 0 1 50\n")
    mask = outside / "mask.npy"
    np.save(mask, np.zeros((96, 80), dtype=np.int32))
    content = small_experiment().model_dump(mode="json", exclude_defaults=True)
    content["title"] = "../../outside/title/../../../etc/nbdist \x07\n$(touch outside) {0.__class__}"
    content["structure_factors"] = {"kind": "file", "file": "../outside/small.hkl", "default_F": 10.0}
    content["detector"]["mask_file"] = "../outside/mask.npy"
    (work / "e.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(work)
    before = _tree(outside)
    experiment = load_experiment(work / "e.yaml")
    generate(experiment, "out.zarr", serial=True, frames_per_shard=1)
    verify("out.zarr", sample=1)
    assert _tree(outside) == before
    assert sorted(path.name for path in work.iterdir()) == ["e.yaml", "out.zarr"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "work"]
    assert summarize("out.zarr").experiment.title == content["title"]


@pytest.mark.parametrize("name", ["../escape", "a/../../escape", "/tmp/escape"])
def test_a_field_that_would_name_an_output_is_unknown(name, small_experiment, tmp_path):
    content = small_experiment().model_dump(mode="json", exclude_defaults=True)
    for section, field in (("detector", "output"), ("noise", "file"), ("scan", "store")):
        content.setdefault(section, {})[field] = name
        (tmp_path / "e.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(NbdistError, match=f"{section}.{field}: unknown field"):
            load_experiment(tmp_path / "e.yaml")
        del content[section][field]


@pytest.mark.parametrize("unreadable", ["zarr.json", "records/zarr.json"])
def test_a_store_that_may_not_be_read_is_one_line(unreadable, small_experiment, tmp_path, monkeypatch):
    from nbdist.store.objects import Folder

    generate(small_experiment(), tmp_path / "a.zarr", serial=True, frames=range(1))
    original = Folder.read

    def read(folder, key):
        if key == unreadable:
            raise PermissionError(13, "Permission denied", str(tmp_path / "a.zarr" / key))
        return original(folder, key)

    monkeypatch.setattr(Folder, "read", read)
    with pytest.raises(StoreError, match=r"a\.zarr cannot be read: Permission denied"):
        open_series(tmp_path / "a.zarr")


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"store_id": 1, "units": ' + 5000 * b"1" + b"}"])
@pytest.mark.parametrize("key", ["records/00000001.json", "records/finished.json", "records/failed/00000001.json"])
def test_json_that_python_chokes_on_is_none(key, content, copy):
    (copy / key).parent.mkdir(exist_ok=True)
    (copy / "records/finished.json").unlink()  # so that records are read
    (copy / key).write_bytes(content)
    summary = summarize(copy)
    assert summary.frames_complete == summary.frames - (key == "records/00000001.json")
    assert not list(summary.failed)
    (copy / "records/failed").mkdir(exist_ok=True)
    (copy / "records/failed/\u00b2.json").write_bytes(b"{}")  # a digit, and no number
    assert not list(summary.failed)


@pytest.mark.parametrize("name", ["phi_start_deg", "orientation"])
def test_a_coordinate_that_does_not_decode_is_named(name, copy):
    (chunk,) = (path for path in (copy / name).rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:5])
    with pytest.raises(DamagedError, match=f"copy.zarr: {name} does not decode"):
        frame_dataset(copy)[0]


def test_an_index_that_does_not_decode_is_named_with_the_store(copy):
    (copy / "fast/c/0").write_bytes(b"short")
    with pytest.raises(DamagedError, match=r"copy\.zarr: its coordinates do not decode"):
        open_series(copy)
