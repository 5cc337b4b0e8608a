"""What a format of image files is to whoever exports a series: names of files, and two functions that write them.

A file holds so many consecutive images of the series, and is written by one process, from its first image to its last, while others write
other files; it is there whole or not at all. A format whose files need a list of them has one more file, which is written when all of
them are there. Nothing of a format knows stores or experiments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.models import Models

GAP, BAD = -1, -2
"""What a pixel holds that is between modules or masked, and one that is dead or hot and marked so."""
Image = Sequence[NDArray[np.int32] | NDArray[np.float32]]
"""An image: what each panel reads, (slow, fast)."""


@dataclass(frozen=True)
class ImageSeries:
    """Images that are written; they are counted from 0, and the first of them is the first frame of the models' scan, number 0.

    Attributes
    ----------
    prefix
        What the names of the files begin with.
    models
        Where everything is.
    dtype
        "int32", or "float32" for a format that holds real numbers and was asked for such.
    title
        What is shown of the sample.
    made_by, made_at
        Name and version of the program, and when it began to write, as ISO 8601 has it.
    """

    prefix: str
    models: Models
    dtype: str
    title: str
    made_by: str
    made_at: str

    @property
    def images(self) -> int:
        """How many there are."""
        return self.models.scan.frames


def unread_notes(format: str, unread: Sequence[str], images: str, prefix: str) -> list[str]:
    """What is said where DIALS does not find something in images that the models beside them have; nothing where it finds all.

    Parameters
    ----------
    unread
        What it does not find, a few words each.
    images
        What it imports.
    """
    if not unread:
        return []
    return [
        f"DIALS does not read from {format} {' and '.join(unread)}; dials.import {images} reference_geometry={prefix}.expt does"
    ]


class FileNames(Protocol):
    """What a format calls its files, and how many images each has."""

    @property
    def name(self) -> str:
        """Name of the format, by which it is asked for."""

    @property
    def images_per_file(self) -> int:
        """How many a file holds; the last one may have fewer."""

    def file_name(self, prefix: str, number: int) -> str:
        """Name of the file with this number, from 0; it may lie in a folder."""

    def images_name(self, prefix: str) -> str:
        """What names all images: a name in which # stand for the digits of an image's number from 1, or that of the list of files."""


class ImageFormat(FileNames, Protocol):
    """A format of image files, with its settings; it travels to the processes that write."""

    @property
    def real_numbers(self) -> bool:
        """Whether it can hold float32; others hold int32 alone."""

    def trusted(self, models: Models) -> tuple[int, int]:
        """The lowest and the highest of the readings that models trust which a file holds unchanged, and for nothing else."""

    def notes(self, series: ImageSeries) -> Sequence[str]:
        """What a person should know who processes these files, a line each; nothing is written yet.

        Raises
        ------
        NbdistError
            If the format cannot hold such a series, saying why.
        """

    def write(self, path: Path, series: ImageSeries, images: range, frames: Iterable[Image]) -> int:
        """Write a file of these images, which come one after the other; how many of their readings are too large for it, and held."""

    def write_list(self, path: Path, series: ImageSeries, marks: Sequence[NDArray[np.integer[Any]]]) -> None:
        """Write the list of files, beside them, where `images_name` names one: one that has no #.

        Parameters
        ----------
        marks
            `GAP`, `BAD` or 0 of each pixel (slow, fast) of each panel.
        """


def stacked_shape(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Rows and columns of an image in which panels of these shapes are stacked."""
    return sum(slow for slow, _ in shapes), max(fast for _, fast in shapes)


def stacked(panels: Sequence[NDArray[Any]], shape: tuple[int, int], dtype: str, nothing: int = GAP) -> NDArray[Any]:
    """What is known of the pixels of each panel, in one image, and `nothing` where there is no panel."""
    if len(panels) == 1:
        return panels[0].astype(dtype, copy=False)
    image, first = np.full(shape, nothing, dtype), 0
    for panel in panels:
        rows, columns = panel.shape
        image[first : first + rows, :columns] = panel
        first += rows
    return image
