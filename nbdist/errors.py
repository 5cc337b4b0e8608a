"""What nbdist raises when a person can mend it: one line that names the field or file, what was found and what is allowed."""

from __future__ import annotations

import errno

FATAL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
"""Errors of the file system that no other unit of a run would escape."""


class NbdistError(Exception):
    """Something the user can put right; the command line prints it in one line and exits with status 2."""


class ExperimentError(NbdistError):
    """An experiment file or one of its fields is wrong."""


class FileFormatError(NbdistError):
    """A file of another program is missing or malformed; the message carries its name and, where there is one, the line."""


class StoreError(NbdistError):
    """A Zarr store cannot be written, continued or read as a series of nbdist."""


class UnreachableError(StoreError):
    """An object store gave no answer, or a passing error, to every attempt; a later one may succeed."""


class RunError(NbdistError):
    """A run cannot start or cannot go on."""


class UnfinishedError(RunError):
    """A run ended before its end, and `--resume` goes on; the command line exits with status 1."""


def is_fatal(error: BaseException) -> bool:
    """Whether an error would meet every other unit of a run too, so that the run had better stop."""
    if isinstance(error, StoreError):  # removed, replaced, refused; what may pass is worth another attempt
        return not isinstance(error, UnreachableError)
    return isinstance(error, OSError) and error.errno in FATAL_ERRNOS
