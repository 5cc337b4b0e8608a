"""Folders that nobody else can write into, and the ways by which somebody else could."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

import pytest

from nbdist.private_folder import UnsafeFolderError, lock_folder, private_folder, trusted_folder

STRANGER = 65533
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def private_tmp(tmp_path) -> Path:
    return tmp_path.resolve()


def test_a_missing_folder_is_made_for_its_owner_alone_with_its_parents(private_tmp):
    folder = private_folder(private_tmp / "a" / "b")
    assert folder == private_tmp / "a" / "b"
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
    assert private_folder(folder) == folder


def test_a_folder_that_others_only_read_will_do(private_tmp):
    (private_tmp / "a").mkdir()
    (private_tmp / "a").chmod(0o755)
    assert private_folder(private_tmp / "a") == private_tmp / "a"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_others_write_into_is_refused(private_tmp, mode):
    (private_tmp / "a").mkdir()
    (private_tmp / "a").chmod(mode)
    with pytest.raises(UnsafeFolderError, match="writable by others"):
        private_folder(private_tmp / "a")


def test_a_parent_in_which_others_rename_is_refused_and_a_sticky_one_is_not(private_tmp):
    (private_tmp / "a").mkdir()
    (private_tmp / "a").chmod(0o777)
    with pytest.raises(UnsafeFolderError, match="replace"):
        private_folder(private_tmp / "a" / "b")
    (private_tmp / "a").chmod(0o1777)
    assert private_folder(private_tmp / "a" / "b") == private_tmp / "a" / "b"


def test_a_group_that_may_write_is_others(private_tmp, monkeypatch):
    (private_tmp / "a").mkdir()
    (private_tmp / "a").chmod(0o770)
    monkeypatch.setattr("nbdist.private_folder._is_own_group", lambda number: False)
    with pytest.raises(UnsafeFolderError, match="writable by others"):
        private_folder(private_tmp / "a")
    monkeypatch.setattr("nbdist.private_folder._is_own_group", lambda number: True)
    assert private_folder(private_tmp / "a") == private_tmp / "a"


def test_a_list_that_gives_others_access_is_others(private_tmp, monkeypatch):
    folder = private_tmp / "a"
    folder.mkdir()
    folder.chmod(0o700)
    everyone = 0xFFFFFFFF
    # user::rwx user:STRANGER:rwx group::--- mask::rwx other::---
    entries = [(1, 7, everyone), (2, 7, STRANGER), (4, 0, everyone), (0x10, 7, everyone), (0x20, 0, everyone)]
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder, "system.posix_acl_access", content)
    except OSError as error:
        pytest.skip(f"no access control lists here: {error.strerror}")
    monkeypatch.setattr("nbdist.private_folder._is_own_group", lambda number: True)
    with pytest.raises(UnsafeFolderError, match="writable by others"):
        private_folder(folder)


def test_links_are_followed_and_what_they_lead_through_is_looked_at(private_tmp):
    (private_tmp / "real").mkdir(mode=0o700)
    (private_tmp / "link").symlink_to("real")
    (private_tmp / "long").symlink_to(private_tmp / "link")
    assert private_folder(private_tmp / "long" / "a") == private_tmp / "real" / "a"
    assert private_folder(private_tmp / "real" / ".." / "real" / "a") == private_tmp / "real" / "a"
    (private_tmp / "real").chmod(0o777)
    with pytest.raises(UnsafeFolderError, match="real is writable"):
        private_folder(private_tmp / "long" / "a")


def test_a_link_to_itself_is_refused(private_tmp):
    (private_tmp / "loop").symlink_to("loop")
    with pytest.raises(UnsafeFolderError, match="symbolic links"):
        private_folder(private_tmp / "loop")


def test_a_file_is_refused(private_tmp):
    (private_tmp / "file").write_text("")
    with pytest.raises(UnsafeFolderError, match="is not a folder"):
        private_folder(private_tmp / "file" / "a")


def test_a_trusted_folder_is_not_made(private_tmp):
    with pytest.raises(FileNotFoundError):
        trusted_folder(private_tmp / "a")
    assert not (private_tmp / "a").exists()
    private_folder(private_tmp / "a")
    assert trusted_folder(private_tmp / "a") == private_tmp / "a"


@as_root
def test_a_folder_a_parent_or_a_link_of_a_stranger_is_refused(private_tmp):
    for name in ("a", "b"):
        (private_tmp / name).mkdir()
    (private_tmp / "link").symlink_to("b")
    os.lchown(private_tmp / "a", STRANGER, STRANGER)
    os.lchown(private_tmp / "link", STRANGER, STRANGER)
    for path in ("a", "a/inside", "link"):
        with pytest.raises(UnsafeFolderError, match=f"belongs to user {STRANGER}"):
            private_folder(private_tmp / path)


@as_root
def test_where_a_stranger_has_taken_the_name_the_locks_lie_in_the_users_cache(private_tmp, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(private_tmp))
    monkeypatch.setenv("XDG_CACHE_HOME", str(private_tmp / "cache"))
    assert lock_folder() == private_tmp / f"nbdist-{os.getuid()}"
    os.lchown(private_tmp / f"nbdist-{os.getuid()}", STRANGER, STRANGER)
    assert private_tmp / "cache" in lock_folder().parents
