"""Where a store lies: a path or a URL, opened as a zarr store, with one-line answers when that cannot be."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import zarr
import zarr.errors

from nbdist.errors import StoreError

FORMAT = "nbdist series"
FORMAT_VERSION = 1
LAST_MADE = "records"
"""What `create_store` makes last: a store without it was never whole."""


def normalised(location: str | os.PathLike[str]) -> str:
    """A location that means the same in every process: an absolute path with `~` expanded, or a URL as it is."""
    return str(location) if is_url(location) else str(Path(location).expanduser().absolute())


def is_url(location: str | os.PathLike[str]) -> bool:
    """Whether a location is a URL rather than a path."""
    return "://" in str(location)


def exists(location: str | os.PathLike[str]) -> bool:
    """Whether anything lies at a location."""
    if is_url(location):
        try:
            zarr.open_group(str(location), mode="r")
        except (FileNotFoundError, zarr.errors.GroupNotFoundError, zarr.errors.ContainsArrayError):
            return False
        return True
    path = Path(location)
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def open_group(location: str | os.PathLike[str], mode: Any = "r", *, begun: bool = False) -> zarr.Group:
    """Open the series at a location, and check that it is one of nbdist's; `begun` accepts one whose making was cut short.

    Raises
    ------
    StoreError
        If there is nothing, something else, or a store of a newer nbdist.
    """
    if not is_url(location) and not Path(location).exists():
        raise StoreError(f"{location}: there is no store")
    try:
        group = zarr.open_group(str(location), mode=mode, zarr_format=3)
    except PermissionError:
        raise StoreError(f"{location}: permission denied") from None
    except Exception:
        raise StoreError(f"{location} is not a Zarr store of nbdist") from None
    if group.attrs.get("format") != FORMAT:
        raise StoreError(f"{location} is a Zarr store, but not one of nbdist")
    version = group.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise StoreError(f"{location}: store format {version}, this nbdist reads format {FORMAT_VERSION}")
    if not begun and LAST_MADE not in group:
        raise StoreError(f"{location}: its making was cut short; --overwrite replaces it")
    return group


def check_writable(location: str | os.PathLike[str]) -> None:
    """Check that a new store can be made at a path.

    Raises
    ------
    StoreError
        If its parent folder is missing or cannot be written.
    """
    if is_url(location):
        return
    path = Path(location).absolute()
    parent = path.parent
    if not parent.exists():
        raise StoreError(f"{location}: the folder {parent} does not exist")
    if not parent.is_dir():
        raise StoreError(f"{location}: {parent} is not a folder")
    if not os.access(parent, os.W_OK):
        raise StoreError(f"{location}: the folder {parent} cannot be written")
    if path.exists() and not path.is_dir():
        raise StoreError(f"{location} is a file")


def remove(location: str | os.PathLike[str]) -> None:
    """Remove a store that is to be overwritten; what is not a store of nbdist is left alone.

    Raises
    ------
    StoreError
        If something else lies there.
    """
    if is_url(location):
        open_group(location, begun=True)
        zarr.open_group(str(location), mode="w")
        return
    folder = Path(location).resolve()
    if folder.is_dir() and not any(folder.iterdir()):
        return
    open_group(location, begun=True)
    try:
        # the folder itself stays: it may be a link to another disk
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    except OSError as error:
        raise StoreError(f"{location} cannot be removed: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """Say an operating-system error as a person would."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    if isinstance(error, OSError) and error.errno == errno.EDQUOT:
        return "the disk quota is used up"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return " ".join(str(error).split()) or type(error).__name__
