"""Reading numbers from the text files of this field, with the file and line in every complaint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbdist.errors import FileFormatError


def read_text(path: Path, what: str) -> str:
    """Return the text of `path`; `what` names it in the error ("structure-factor file").

    Raises
    ------
    FileFormatError
        If the file is missing, a directory, unreadable, or not text.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        raise FileFormatError(f"{what} {path} does not exist") from None
    except IsADirectoryError:
        raise FileFormatError(f"{what} {path} is a directory") from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{what} {path} is not a text file") from None
    except OSError as error:
        raise FileFormatError(f"{what} {path} cannot be read: {error.strerror}") from None


def data_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, columns) of the lines that hold something; `#` starts a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split("#", 1)[0].split()
        if columns:
            yield number, columns
