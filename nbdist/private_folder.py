"""Folders that this user alone can write into: where code is loaded from, and where locks lie that strangers must not take.

A folder is as private as the way to it: whoever can rename one of its parents can put another folder in its place. So the whole path is
walked, symbolic links and all, and every step must belong to this user, to root or to whoever owns `/`, and be writable by nobody else;
a parent that everybody writes into will do where its sticky bit keeps entries with their owners, as that of /tmp does.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from nbdist.errors import NbdistError

MOST_LINKS = 40
"""Symbolic links on one path, as Linux counts them; more is a loop."""


class UnsafeFolderError(NbdistError):
    """Somebody else can write into a folder, or put another one in its place."""


def private_folder(path: str | os.PathLike[str]) -> Path:
    """A folder of this user that nobody else can write into or replace, made with mode 0700 (and its parents) where it is missing.

    Parameters
    ----------
    path
        Where; `~` is expanded.

    Returns
    -------
    The folder's absolute path without symbolic links: as long as it is used by this name, nobody else can turn it elsewhere.

    Raises
    ------
    UnsafeFolderError
        If it, a parent or a symbolic link on the way belongs to another user or is writable by others.
    OSError
        If it cannot be made or looked at.
    """
    folder, owner = _walked(path, make=True)
    if owner != os.getuid():
        raise UnsafeFolderError(f"{folder} belongs to user {owner}, not to user {os.getuid()} who runs this")
    return folder


def trusted_folder(path: str | os.PathLike[str]) -> Path:
    """A folder that exists and that nobody but this user or root can write into or replace; the path as `private_folder` gives it.

    Raises
    ------
    UnsafeFolderError
        If it, a parent or a symbolic link on the way belongs to another user or is writable by others.
    OSError
        If it is not there or cannot be looked at.
    """
    return _walked(path, make=False)[0]


def lock_folder() -> Path:
    """The private folder for this user's locks on this machine: the same for all processes that share a folder for temporary files.

    Where another user has taken its name, a folder of the user's cache serves.

    Raises
    ------
    UnsafeFolderError
        If neither will do.
    OSError
        If the second cannot be made.
    """
    with contextlib.suppress(UnsafeFolderError, OSError):
        return private_folder(Path(tempfile.gettempdir()) / f"nbdist-{os.getuid()}")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return private_folder(Path(cache) / "nbdist" / "locks" / os.uname().nodename)


def _walked(path: str | os.PathLike[str], make: bool) -> tuple[Path, int]:
    """Go along a path, step by step; the folder at its end and the number of its owner."""
    try:
        start = Path(path).expanduser().absolute()
    except RuntimeError:
        raise UnsafeFolderError(f"{path}: there is no such home folder") from None
    here = Path(start.anchor)
    info = here.lstat()
    trusted = {0, os.getuid(), info.st_uid}
    ahead = list(reversed(start.parts[1:]))
    links = 0
    while ahead:
        _require_kept(here, info)
        name = ahead.pop()
        there = here.parent if name == ".." else here / name
        try:
            info = there.lstat()
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):
                there.mkdir(mode=0o700)
            info = there.lstat()
        if info.st_uid not in trusted:
            raise UnsafeFolderError(f"{there} belongs to user {info.st_uid}, not to user {os.getuid()} or root")
        if stat.S_ISLNK(info.st_mode):
            links += 1
            if links > MOST_LINKS:
                raise UnsafeFolderError(f"{start} leads through more than {MOST_LINKS} symbolic links")
            target = there.readlink()
            there = Path(target.anchor) if target.is_absolute() else here
            ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            info = there.lstat()
        elif not stat.S_ISDIR(info.st_mode):
            raise UnsafeFolderError(f"{there} is not a folder")
        here = there
    if _others_write(here, info):
        raise UnsafeFolderError(f"{here} is writable by others (mode {stat.S_IMODE(info.st_mode):o}); expected 700")
    return here, info.st_uid


def _require_kept(folder: Path, info: os.stat_result) -> None:
    """Refuse a parent whose entries others can rename."""
    if _others_write(folder, info) and not info.st_mode & stat.S_ISVTX:
        raise UnsafeFolderError(
            f"{folder} is writable by others (mode {stat.S_IMODE(info.st_mode):o}), who can replace what is in it"
        )


def _others_write(folder: Path, info: os.stat_result) -> bool:
    if info.st_mode & stat.S_IWOTH:
        return True
    return bool(info.st_mode & stat.S_IWGRP) and (_has_list(folder) or not _is_own_group(info.st_gid))


def _has_list(folder: Path) -> bool:
    """Whether a list says who else has access; the bits of the group are then the most that anybody on it may do."""
    try:
        return "system.posix_acl_access" in os.listxattr(folder)
    except (OSError, AttributeError):  # no such lists, on this file system or on this operating system
        return False


def _is_own_group(number: int) -> bool:
    """Whether a group is this user alone, as distributions make one for every user: same name, main group, no other members."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and number == user.pw_gid and set(group.gr_mem) <= {user.pw_name}
