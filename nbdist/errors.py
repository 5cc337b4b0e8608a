"""What nbdist raises when a person can mend it: one line that names the field or file, what was found and what is allowed."""

from __future__ import annotations

import errno
import re
from importlib.util import find_spec
from typing import Literal

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
FATAL_ERRNOS = FULL_ERRNOS | {errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors of the file system that no other unit of a run would escape."""
Extra = Literal["cluster", "dashboard", "hdf5", "pictures", "s3", "tables", "torch", "view"]
EXTRAS: dict[Extra, str] = {
    "cluster": "dask-jobqueue",
    "dashboard": "bokeh",
    "hdf5": "hdf5plugin",  # which needs h5py
    "pictures": "matplotlib",
    "s3": "obstore",
    "tables": "pyarrow",
    "torch": "torch",
    "view": "bokeh",
}
"""Packages that a plain installation leaves out, by the extra of nbdist that brings each."""


class NbdistError(Exception):
    """Something the user can put right; the command line prints it in one line and exits with status 2."""


class ExperimentError(NbdistError):
    """An experiment file or one of its fields is wrong."""


class DrawError(ExperimentError):
    """A sample of a recipe is no experiment, wherever and however often it is drawn."""


class FileFormatError(NbdistError):
    """A file of another program is missing or malformed; the message carries its name and, where there is one, the line."""


class StoreError(NbdistError):
    """A Zarr store cannot be written, continued or read as a series or a data set of nbdist."""


class DamagedError(StoreError):
    """An object that a store should hold is gone or does not decode; others may be whole."""


class UnreachableError(StoreError):
    """An object store gave no answer, or a passing error, to every attempt; a later one may succeed."""


class RunError(NbdistError):
    """A run cannot start or cannot go on."""


class UnfinishedError(RunError):
    """A run ended before its end, and `--resume` goes on; the command line exits with status 1."""


class MissingExtraError(NbdistError):
    """Something was asked for that a package does which is not installed."""


def require_extra(extra: Extra, what: str) -> None:
    """Check that the package of an extra is installed, before it is imported.

    Raises
    ------
    MissingExtraError
        Saying that `what` needs it, and how to get it.
    """
    package = EXTRAS[extra]
    if find_spec(package.replace("-", "_")) is None:
        raise MissingExtraError(f"{what} needs {package}: {how_to_get(extra)}")


def how_to_get(extra: Extra) -> str:
    """How to get what an extra brings, whether nbdist is installed from a checkout, a wheel or an index."""
    return f"install nbdist with its extra {extra}"


def is_fatal(error: BaseException) -> bool:
    """Whether an error would meet every other unit of a run too, so that the run had better stop."""
    if isinstance(error, MissingExtraError):
        return True
    if isinstance(error, StoreError):  # removed, replaced, refused; what may pass is worth another attempt
        return not isinstance(error, UnreachableError)
    return isinstance(error, OSError) and error.errno in FATAL_ERRNOS


def one_line(error: BaseException) -> str:
    """Say an error as a person would, in one line that holds no password."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    if isinstance(error, OSError) and error.errno == errno.EDQUOT:
        return "the disk quota is used up"
    if isinstance(error, OSError) and error.strerror:
        return " ".join(error.strerror.split()) + (f": {error.filename}" if error.filename else "")
    return scrubbed(" ".join(str(error).split())) or type(error).__name__


def scrubbed(text: str) -> str:
    """A text with the user and password of every URL in it blotted out."""
    return re.sub(r"(://)[^/\s]+@", r"\1***@", text)


def printable(text: str) -> str:
    """A text with its control characters spelled out, but ends of lines and tabs: a terminal does what they say, whoever wrote them."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)
