"""Objects in a folder: replaced whole, created once, and nothing left half written."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from nbdist.store.objects import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "store")


def test_an_object_is_read_back_and_replaced(folder):
    assert folder.read("a/b/c") is None
    folder.write("a/b/c", b"one")
    folder.write("a/b/c", b"two")
    assert folder.read("a/b/c") == b"two"
    assert folder.names("a/b") == ["c"]
    assert folder.sizes(["a/b/c", "a/b/d", "a/b/c/e"]) == {"a/b/c": 3}
    assert list(folder.read_all(["a/b/c", "x"])) == [("a/b/c", b"two"), ("x", None)]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "none"])
def test_one_of_many_comes_first(links, folder, monkeypatch):
    if not links:

        def refuse(*paths):
            raise OSError(errno.EPERM, "no links on this file system")

        monkeypatch.setattr(os, "link", refuse)
    together, first = threading.Barrier(8), []

    def create(number):
        together.wait()
        if folder.create("zarr.json", bytes([number])):
            first.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(first) == 1
    assert folder.read("zarr.json") == bytes(first)
    assert [path.name for path in Path(folder.location).iterdir()] == ["zarr.json"]


def test_a_write_that_fails_leaves_the_object_as_it_was(folder, monkeypatch):
    folder.write("a", b"good")

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:2])
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        folder.write("a", b"better")
    with pytest.raises(OSError, match="no space"):
        folder.write("new/b", b"first")
    assert folder.read("a") == b"good"
    assert list((Path(folder.location) / "new").iterdir()) == []
    (Path(folder.location) / "new").rmdir()
    assert sorted(path.name for path in Path(folder.location).iterdir()) == ["a"]


def test_deleting_takes_empty_folders_along_and_nothing_else(folder, tmp_path):
    (tmp_path / "beside").mkdir()
    folder.write("a/b/c", b"1")
    folder.write("a/d", b"2")
    folder.delete("a/b/c")
    assert (tmp_path / "store/a/d").exists()
    assert not (tmp_path / "store/a/b").exists()
    folder.delete("a/d")
    folder.delete("a/d")
    assert not (tmp_path / "store").exists()
    assert (tmp_path / "beside").exists()


def test_what_a_killed_writer_left_is_swept_away(folder, tmp_path):
    folder.write("a/b", b"1")
    (tmp_path / "store/a/b.0123.partial").write_bytes(b"half")
    assert folder.names("a") == ["b"]
    folder.sweep()
    assert [path.name for path in (tmp_path / "store/a").iterdir()] == ["b"]


def test_what_a_killed_writer_left_is_not_a_store(folder, tmp_path):
    assert not folder.exists()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/zarr.json.0123.partial").write_bytes(b"half")
    assert not folder.exists()
    folder.write("zarr.json", b"{}")
    assert folder.exists()


def test_the_object_that_makes_it_a_store_is_removed_last(folder, monkeypatch):
    for key in ("zarr.json", "a/b", "z/b", "zz"):
        folder.write(key, b"{}")
    original, left = Path.unlink, []

    def unlink(path, missing_ok=False):
        left.append(sorted(entry.name for entry in Path(folder.location).iterdir()))
        original(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    folder.clear()
    assert left[-1] == ["zarr.json"]
    assert not folder.exists()


def test_an_object_that_nfs_says_is_there_because_a_request_was_repeated_is_ours(folder, monkeypatch):
    import os

    original = os.link

    def repeated(source, target):
        original(source, target)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", repeated)
    assert folder.create("a", b"1")
    monkeypatch.undo()
    assert not folder.create("a", b"1")
    assert folder.read("a") == b"1"


def test_where_there_are_no_hard_links_an_object_that_cannot_be_filled_is_not_there(folder, monkeypatch):
    import os
    import pathlib

    def none(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    assert folder.create("a", b"1")
    assert not folder.create("a", b"2")
    original = pathlib.Path.open

    def full(path, mode="r", *rest, **options):
        file = original(path, mode, *rest, **options)
        if mode == "xb":
            file.close()
        return file

    monkeypatch.setattr(pathlib.Path, "open", full)
    with pytest.raises(ValueError, match="closed file"):
        folder.create("b", b"1")
    assert folder.read("b") is None


def test_locks_and_half_written_files_are_nothing(folder):
    for name in ("records/runs/run.lock", "records/runs/1.beat", "zarr.json.1.partial"):
        folder.write(name, b"")
        assert not folder.exists()
    folder.write("zarr.json", b"{}")
    assert folder.exists()


def test_a_folder_is_cleared_but_for_what_is_kept(folder):
    for name in ("zarr.json", "a/zarr.json", "a/c/0", "records/zarr.json", "records/runs/run.lock", "records/runs/b"):
        folder.write(name, b"1")
    folder.clear({"zarr.json", "records/runs/run.lock"})
    root = folder.root
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert left == {"zarr.json", "records/runs/run.lock"}
    assert not (root / "a").exists()
