"""One place, however it is said: with a tilde, as a file:// URL, relative to a folder that is left, with a slash at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import frame_dataset

from nbdist import generate, open_series, verify
from nbdist.errors import StoreError
from nbdist.run.finish import finish
from nbdist.store import summarize
from nbdist.store.places import normalised


@pytest.fixture(scope="module")
def home(small_experiment, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    generate(small_experiment(), home / "a b.zarr", serial=True)
    return home


@pytest.mark.parametrize("said", ["~/a b.zarr", "file://{home}/a%20b.zarr", "a b.zarr/", "{home}/../{name}/a b.zarr"])
@pytest.mark.parametrize("read", [open_series, frame_dataset, summarize, finish])
def test_every_reader_finds_the_store(said, read, home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    read(said.format(home=home, name=home.name))


def test_what_was_opened_by_a_relative_name_is_read_after_a_change_of_folder(home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    data, dataset = open_series("a b.zarr"), frame_dataset(Path("a b.zarr"))
    monkeypatch.chdir(tmp_path)
    assert float(data.intensity.max()) > 0
    assert float(dataset[0]["intensity"].max()) > 0


def test_a_tilde_is_the_same_place_for_writing_and_checking(small_experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    generate(small_experiment(), "~/b.zarr", serial=True, frames=range(1))
    assert (tmp_path / "b.zarr").is_dir()
    assert verify("~/b.zarr", sample=0).frames_decoded > 0


@pytest.mark.parametrize(
    ("said", "answer"),
    [("a\0b", "NUL"), ("file://elsewhere/a", "this machine"), ("http://x/a", "a store is a path or")],
)
def test_what_is_no_place_is_refused_in_one_line(said, answer):
    with pytest.raises(StoreError, match=answer) as caught:
        normalised(said)
    assert "\n" not in str(caught.value)


def test_a_tilde_of_nobody_is_a_name():
    assert normalised("~nobody-of-this-name/a") == str(Path.cwd() / "~nobody-of-this-name/a")
