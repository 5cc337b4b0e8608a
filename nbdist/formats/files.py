"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nbdist.errors import NbdistError, one_line
from nbdist.formats.text import user_path


def require_writable(path: Path | None) -> None:
    """Check that a file can be written, before the work whose result it gets; nothing is made or changed, and None is no file.

    Raises
    ------
    NbdistError
        If it is a folder, its folder is not there, or either cannot be written.
    """
    if path is None:
        return
    whole = user_path(path)
    try:
        if whole.is_file() or whole.is_dir():
            whole.open("ab").close()
        if whole.is_file() or not whole.exists():  # the new content is written beside it
            tempfile.TemporaryFile(dir=whole.parent).close()
    except OSError as error:
        raise NbdistError(f"{path} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Another path in the same folder for the new content of a file, which is moved to its place at the end of the block.

    Where the block ends with an error, the file is as it was. /dev/null and its like are written to, not replaced.
    """
    special = path.exists() and not path.is_file()
    beside = path if special else path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.part")
    try:
        yield beside
        if not special:
            beside.replace(path)
    finally:
        if not special:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A stream for the new content of a file, which is written as `whole_path` has it.

    Raises
    ------
    NbdistError
        If the file cannot be made, written or moved to its place.
    """
    beside = path
    try:
        with whole_path(path) as beside, beside.open("wb") as stream:
            yield stream
    except OSError as error:
        if error.filename not in (
            None,
            str(beside),
        ):  # of another file, that the block reads; a stream's errors name none
            raise
        reason = one_line(OSError(error.errno, error.strerror)) if error.strerror else one_line(error)
        raise NbdistError(f"{path} cannot be written: {reason}") from None
