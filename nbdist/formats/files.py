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
        If the file cannot be made, written or moved to its place.
    """
    special = path.exists() and not path.is_file()
    beside = path if special else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as stream:
            yield stream
        if not special:
            beside.replace(path)
    except OSError as error:
        if error.filename not in (
            None,
            str(beside),
        ):  # of another file, that the block reads; a stream's errors name none
            raise
        reason = one_line(OSError(error.errno, error.strerror)) if error.strerror else one_line(error)
        raise NbdistError(f"{path} cannot be written: {reason}") from None
    finally:
        if not special:
            beside.unlink(missing_ok=True)
