"""Images with a table of numbers in HDF5: what networks that tell resolution, lattices or orientation of an image are trained on.

PREFIX.h5                             all images, as virtual datasets of the files beside it, and both tables
PREFIX_000001.h5, PREFIX_000002.h5    some of them each
  images    (image, slow, fast) float32   what each image reads, a chunk an image, shuffled and packed by gzip, which every HDF5 has
  labels    (image, column) float64       the numbers of each image; its attribute `names` has the columns, `units` their units
  samples   (image,) compound             the same and the texts, by named columns

Loaders of this kind go by `images`, and by `labels` with its attribute `names`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import require_extra
from nbdist.formats.files import whole_path
from nbdist.formats.image_files import GAP
from nbdist.formats.labelled_images import LabelledFormat, LabelledImage, LabelledSet, Rows

if TYPE_CHECKING:
    import h5py

VERSIONS = "earliest", "v110"
"""Versions of HDF5 whose files these are: a virtual dataset is of 1.10."""
ROWS_PER_CHUNK = 1024
"""Rows of a table that are packed together."""


@dataclass(frozen=True)
class LabelledHdf5(LabelledFormat):
    """HDF5 as a format of labelled images.

    Attributes
    ----------
    images_per_file
        Images of a file.
    """

    images_per_file: int = 100
    name: ClassVar[str] = "hdf5"
    wants_spots: ClassVar[bool] = False

    def file_name(self, prefix: str, number: int) -> str:
        """Name of a file of images."""
        return f"{prefix}_{number + 1:06d}.h5"

    def images_name(self, prefix: str) -> str:
        """Name of the file of all."""
        return f"{prefix}.h5"

    def require_usable(self) -> None:
        """Check that h5py is installed."""
        require_extra("hdf5", "format hdf5")

    def begin(self, folder: Path, described: LabelledSet) -> None:
        """Write nothing: no file is there before its images."""

    def write(
        self,
        folder: Path,
        described: LabelledSet,
        images: range,
        frames: Iterable[LabelledImage],
        rows: Callable[[], Rows],
        require_there: Callable[[], None],
    ) -> int:
        """Write a file of images."""
        import h5py

        path = folder / self.file_name(described.prefix, images.start // self.images_per_file)
        with whole_path(path) as beside:
            with h5py.File(beside, "w", libver=VERSIONS) as file:
                stored = file.create_dataset(
                    "images",
                    (len(images), *described.shape),
                    "float32",
                    chunks=(1, *described.shape),
                    shuffle=True,
                    compression="gzip",
                    compression_opts=1,
                )
                for place, frame in enumerate(frames):
                    stored[place] = frame.pixels
                _write_tables(file, described, len(images), iter([rows()]))
            require_there()
        return path.stat().st_size

    def finish(self, folder: Path, described: LabelledSet, parts: Iterator[Rows]) -> None:
        """Write the file of all images."""
        import h5py

        layout = h5py.VirtualLayout((described.images, *described.shape), "float32")
        for number, first in enumerate(range(0, described.images, self.images_per_file)):
            last = min(first + self.images_per_file, described.images)
            name = self.file_name(described.prefix, number)
            layout[first:last] = h5py.VirtualSource(name, "images", (last - first, *described.shape), "float32")
        with (
            whole_path(folder / self.images_name(described.prefix)) as beside,
            h5py.File(beside, "w", libver=VERSIONS) as file,
        ):
            file.create_virtual_dataset("images", layout, fillvalue=GAP)
            _write_tables(file, described, described.images, parts)


def _write_tables(file: h5py.File, described: LabelledSet, images: int, parts: Iterator[Rows]) -> None:
    """Write `labels` and `samples` of some images, whose rows come in parts."""
    import h5py

    file.attrs.update(described.attributes)
    numbers = [column for column in described.columns if column.is_number]
    kinds = {column.name: column.dtype if column.is_number else h5py.string_dtype() for column in described.columns}
    rows_of = {"chunks": (min(images, ROWS_PER_CHUNK),)}
    labels = file.create_dataset(
        "labels", (images, len(numbers)), "float64", chunks=(min(images, ROWS_PER_CHUNK), max(1, len(numbers)))
    )
    samples = file.create_dataset("samples", (images,), np.dtype([*kinds.items()]), **rows_of)
    for table, columns in ((labels, numbers), (samples, described.columns)):
        table.attrs["names"] = [column.name for column in columns]
        table.attrs["units"] = [column.units for column in columns]
        table.attrs["long_names"] = [column.long_name for column in columns]
    following = 0
    for rows in parts:
        length = len(next(iter(rows.values())))
        both: NDArray[np.void] = np.empty(length, samples.dtype)
        for name in kinds:
            both[name] = rows[name]
        some = slice(following, following + length)
        labels[some] = np.stack([rows[column.name].astype(np.float64) for column in numbers], axis=1)
        samples[some] = both
        following += length
