"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nbdist.errors import NbdistError, one_line


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A stream for the new content of a file: it is written beside its place, and moved there at the end of the block.

    Where the block ends with an error, the file is as it was. /dev/null and its like are written to, not replaced.

    Raises
    ------
    NbdistError
        If the file cannot be made or moved to its place.
    """
    special = path.exists() and not path.is_file()
    beside = path if special else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _named(path):
            stream = beside.open("wb")
        with stream:
            yield stream
        if not special:
            with _named(path):
                beside.replace(path)
    except BaseException:
        if not special:
            beside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NbdistError(f"{path} cannot be written: {error.strerror or one_line(error)}") from None
