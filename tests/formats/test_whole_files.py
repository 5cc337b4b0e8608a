"""A file is written whole or stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdist.errors import NbdistError
from nbdist.formats.files import require_writable, written_whole


def test_a_file_appears_at_the_end_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with written_whole(path) as stream:
        stream.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with pytest.raises(FileNotFoundError, match="another"), written_whole(path):
        (tmp_path / "another").read_bytes()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with (
        pytest.raises(NbdistError, match=r"^/dev/full cannot be written: the disk is full$"),
        written_whole(Path("/dev/full")) as stream,
    ):
        stream.write(b"x")
    with (
        pytest.raises(NbdistError, match="gone/a cannot be written: No such file or directory"),
        written_whole(tmp_path / "gone/a"),
    ):
        pass
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(NbdistError, match="folder cannot be written: Is a directory"),
        written_whole(tmp_path / "folder"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_no_file_is_written_to(tmp_path):
    with written_whole(Path("/dev/null")) as stream:
        stream.write(b"x")
    assert Path("/dev/null").is_char_device()


def test_whether_a_file_can_be_written_is_known_before(tmp_path):
    (tmp_path / "there").write_text("before")
    for path in (tmp_path / "there", tmp_path / "new", Path("/dev/null"), None):
        require_writable(path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there": "before"}
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "gone/a", "No such file")):
        with pytest.raises(NbdistError, match=f"cannot be written: .*{why}"):
            require_writable(path)
