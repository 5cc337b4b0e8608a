"""What formats with a file for each image have in common: their names, and what is said of what a header cannot say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError
from nbdist.formats.image_files import Image, ImageSeries, unread_notes
from nbdist.formats.models import Models

DIGITS = 5
"""Of the number of an image, from 1: DIALS and XDS go by as many in each name."""


@dataclass(frozen=True)
class SingleImages(ABC):
    """A format with a file for each image of one panel, all of which have its geometry."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    images_per_file: ClassVar[int] = 1
    real_numbers: ClassVar[bool] = False

    def file_name(self, prefix: str, number: int) -> str:
        """Name of the file with this number, from 0."""
        return f"{prefix}_{number + 1:0{DIGITS}}.{self.suffix}"

    def images_name(self, prefix: str) -> str:
        """What names all images: # stand for digits."""
        return f"{prefix}_{'#' * DIGITS}.{self.suffix}"

    def trusted(self, models: Models) -> tuple[int, int]:
        """All readings that models trust: files hold each unchanged."""
        return models.trusted

    def notes(self, series: ImageSeries) -> list[str]:
        """What DIALS makes of the files that is not as it is.

        Raises
        ------
        NbdistError
            If there are several panels, or more images than their names have numbers for.
        """
        panels, most = len(series.models.panels), 10**DIGITS - 1
        if panels > 1:
            raise NbdistError(
                f"{self.name}: an image is of one panel, and the detector has {panels}; use --format nxmx"
            )
        if series.images > most:
            raise NbdistError(f"{self.name}: {series.images} images are more than {most}; name some with --frames")
        images = self.images_name(series.prefix).replace("#" * DIGITS, "*")
        return unread_notes(self.name, self.unread(series.models), images, series.prefix)

    def unread(self, models: Models) -> list[str]:
        """What DIALS does not find in the files, a few words each."""
        return ["the sensor, for whose depth it then corrects no spots"] if models.panels[0].corrects_parallax else []

    @abstractmethod
    def image_bytes(self, series: ImageSeries, image: int, pixels: NDArray[np.int32]) -> tuple[bytes, int]:
        """A file of one image, and how many of its readings are held at the largest that it has."""

    def write(self, path: Path, series: ImageSeries, images: range, frames: Iterable[Image]) -> int:
        """Write a file of one image; how many of its readings are held."""
        held = 0
        for image, (pixels,) in zip(images, frames, strict=True):
            content, too_large = self.image_bytes(series, image, pixels.astype(np.int32, copy=False))
            path.write_bytes(content)
            held += too_large
        return held

    def write_list(self, path: Path, series: ImageSeries, marks: Sequence[NDArray[np.integer[Any]]]) -> None:
        """None is written: what names the images is no file.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(f"{self.name} has no list of files")
