"""Arrays and images of the files that an experiment names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError, FileFormatError
from nbdist.formats.smv import is_smv, read_smv
from nbdist.formats.text import said_of


def load_array(path: Path, field: str) -> NDArray[Any]:
    """Read a .npy file without unpickling anything.

    Raises
    ------
    FileFormatError
        If it cannot be read, which another machine may do.
    ExperimentError
        If it is not a plain array.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise FileFormatError(f"{field}: {path} cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise FileFormatError(f"{field}: {path} cannot be read: it asks for more memory than there is") from None
    except Exception:  # numpy's many: of a header that is no Python, of an archive that is cut short
        array = None
    if not isinstance(array, np.ndarray):
        raise ExperimentError(f"{field}: {path} is not a .npy array")
    return array


def load_smv(path: Path, field: str) -> NDArray[Any] | None:
    """Pixels (slow, fast) of an SMV image; None where the file does not begin as one.

    Raises
    ------
    FileFormatError
        If the rest of it is no SMV image, or cannot be read.
    """
    if not is_smv(path):
        return None
    with said_of(field):
        return read_smv(path)[1]
