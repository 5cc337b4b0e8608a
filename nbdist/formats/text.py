"""Reading numbers from the text files of this field, with the file and line in every complaint."""

from __future__ import annotations

import contextlib
import difflib
import errno
import itertools
import json
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbdist.errors import ExperimentError, FileFormatError, NbdistError, one_line

MOST_NAMES = 1000
"""Of a folder that are looked at for one that is near."""


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as a shell reads it: `~` and `~name` are home folders, where there is such a user."""
    return Path(os.path.expanduser(os.fspath(path)))  # noqa: PTH111 (Path's own raises where there is none)


def near_name(path: Path) -> str:
    """What a complaint that something is not there ends with: the name in the same folder that is nearest; nothing where none is near."""
    try:
        names = [entry.name for entry in itertools.islice(os.scandir(path.absolute().parent), MOST_NAMES)]
    except (OSError, ValueError):  # of a name with a NUL
        return ""
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"; did you mean {path.with_name(near[0])}?" if near and path.name else ""


def file_stat(path: Path) -> os.stat_result:
    """What the file system says of a file that is to be read.

    Raises
    ------
    OSError
        If there is none, or it is a device, which may have no end.
    """
    found = path.stat()
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        raise OSError(errno.ENODEV, "it is a device, and no file")
    return found


def version_of(path: Path, what: str) -> tuple[int, ...]:
    """What tells that a file has changed: what is kept of one is of one of its versions. `what` names it in an error.

    When it was written, which copies and archives set as they like, does not: a model whose atoms have moved is as large as before.
    So when it was changed in any way counts, in ns, with its size and which file it is.
    """
    with unreadable_named(path, what):
        found = file_stat(user_path(path))
    return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino


def read_text(path: Path, what: str) -> str:
    """Return the text of `path`; `what` names it in the error ("structure-factor file").

    It is read as UTF-8 whatever the locale, without the byte-order mark that some editors put first. Bytes that are no UTF-8, as in a
    comment in another encoding, become U+FFFD, which no number holds.

    Raises
    ------
    FileFormatError
        If the file is missing, a directory, unreadable, or not text.
    """
    with unreadable_named(path, what):
        file_stat(user_path(path))
        content = user_path(path).read_bytes()
    if b"\0" in content:
        raise FileFormatError(f"{what} {path} is not a text file")
    return content.decode("utf-8-sig", errors="replace")


@contextlib.contextmanager
def unreadable_named(path: Path, what: str) -> Iterator[None]:
    """While a file is read: that it is missing, a directory or unreadable becomes a `FileFormatError` in one line."""
    try:
        yield
    except FileNotFoundError:
        raise FileFormatError(f"{what} {path} does not exist") from None
    except IsADirectoryError:
        raise FileFormatError(f"{what} {path} is a directory") from None
    except (
        OSError,
        EOFError,  # of a compressed file that ends too early
        zlib.error,  # of one that is damaged
        ValueError,  # of a name with a NUL, or with characters that the locale's file names cannot have
    ) as error:
        raise FileFormatError(f"{what} {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


@contextlib.contextmanager
def damage_named(path: Path, what: str) -> Iterator[None]:
    """While another library reads a file: whatever it raises of one that is damaged becomes a `FileFormatError` in one line."""
    try:
        yield
    except NbdistError:
        raise
    except MemoryError:
        raise FileFormatError(f"{what} {path} cannot be read: it asks for more memory than there is") from None
    except Exception as error:
        said = one_line(error).replace(str(user_path(path)), "").strip(": ")
        raise FileFormatError(f"{what} {path} is damaged: {said}") from None


@contextlib.contextmanager
def said_of(place: str | os.PathLike[str]) -> Iterator[None]:
    """While something is made of an experiment: what is wrong with it, or with a file that it names, is said behind a place, once.

    Parameters
    ----------
    place
        The field that names the file, or the file whose fields they are.
    """
    try:
        yield
    except (ExperimentError, FileFormatError) as error:
        name = os.fspath(place)
        if not any(its in str(error) for its in (name, str(user_path(name)))):
            error.args = (f"{name}: {error}",)
        raise


def parsed_json(content: str | bytes) -> Any:
    """What JSON says that somebody else may have written.

    Raises
    ------
    ValueError
        If it is no JSON, or nested more deeply than Python goes.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def data_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, columns) of the lines that hold something; `#` starts a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split("#", 1)[0].split()
        if columns:
            yield number, columns
