"""Images with labels for programs that learn from them: what a format of such files is to whoever writes them.

Images are counted from 0, and each has a row of a table. An image is (slow, fast), float32: what is read or expected of its pixels, -1
where there is none, and -2 where a bad one is marked. Panels are stacked along slow, each from the first column on. Labels of pixels are
int32: 0, or 1 + the row of the spot among those of the frame. Nothing of a format knows stores or experiments.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = Mapping[str, NDArray[Any]]
"""A row for each image by column, each (image,)."""


class ImageColumn(NamedTuple):
    """A column of the table of images: `dtype` is of NumPy, or "str"."""

    name: str
    dtype: str
    units: str
    long_name: str

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.dtype != "str"


class LabelledImage(NamedTuple):
    """An image (slow, fast), float32, and the labels of its pixels, int32; None where they are not asked for."""

    pixels: NDArray[np.float32]
    spots: NDArray[np.int32] | None


@dataclass(frozen=True)
class LabelledSet:
    """Images that are written.

    Attributes
    ----------
    prefix
        What the names of the files begin with.
    images, shape
        How many there are, and (slow, fast) of each.
    columns
        Of the table of images.
    attributes
        What is said of all of them.
    """

    prefix: str
    images: int
    shape: tuple[int, int]
    columns: tuple[ImageColumn, ...]
    attributes: Mapping[str, str | int | float]


class LabelledFormat(abc.ABC):
    """A format of images with labels, with its settings; it travels to the processes that write.

    Attributes
    ----------
    name
        By which it is asked for.
    images_per_file
        How many are written together; the last ones may be fewer.
    wants_spots
        Whether it holds the labels of pixels.
    """

    name: ClassVar[str]
    wants_spots: ClassVar[bool]
    images_per_file: int

    @abc.abstractmethod
    def file_name(self, prefix: str, number: int) -> str:
        """Name of the file with this number, from 0, which is there when all of its images are."""

    @abc.abstractmethod
    def images_name(self, prefix: str) -> str:
        """Name of what is opened to read all of them."""

    @abc.abstractmethod
    def require_usable(self) -> None:
        """Check that the package that writes it is installed.

        Raises
        ------
        MissingExtraError
            If it is not.
        """

    @abc.abstractmethod
    def begin(self, folder: Path, described: LabelledSet) -> None:
        """Write what is there before the images; again where it is there."""

    @abc.abstractmethod
    def write(
        self,
        folder: Path,
        described: LabelledSet,
        images: range,
        frames: Iterable[LabelledImage],
        rows: Callable[[], Rows],
        require_there: Callable[[], None],
    ) -> int:
        """Write the images of a file, which come one after the other, and where they belong there their rows; how many bytes they take.

        Parameters
        ----------
        rows
            Reads the rows of these images.
        require_there
            Called before anything is moved to its place; it raises where the folder is another run's by now.
        """

    @abc.abstractmethod
    def finish(self, folder: Path, described: LabelledSet, parts: Iterator[Rows]) -> None:
        """Write the table, whose rows come in parts in the order of the images, when all images are there."""
