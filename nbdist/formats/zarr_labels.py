"""Images and integer masks in Zarr, one chunk an image: what networks that find spots are trained on.

PREFIX.zarr/
  images    (sample, slow, fast) float32   what each image reads
  labels    (sample, slow, fast) int32     0, or 1 + the row of the spot among those of the image
  samples/  an array (sample,) for each column of the table of images

It is Zarr of version 2, which all of its libraries read, those that know no version 3 too, and what is published of this kind is in. A
chunk is a file, named by the number of its image (`images/17.0.0`), so several processes write side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.files import whole_path
from nbdist.formats.image_files import GAP
from nbdist.formats.labelled_images import LabelledFormat, LabelledImage, LabelledSet, Rows

ROWS_PER_CHUNK = 2**16
"""Rows of a column that lie in one file."""


@dataclass(frozen=True)
class ZarrLabels(LabelledFormat):
    """Zarr as a format of labelled images.

    Attributes
    ----------
    images_per_file
        Images that a process writes together.
    """

    images_per_file: int = 25
    name: ClassVar[str] = "zarr-labels"
    wants_spots: ClassVar[bool] = True

    def file_name(self, prefix: str, number: int) -> str:
        """Name of the chunk that is written last of those of some images."""
        return f"{self.images_name(prefix)}/labels/{number * self.images_per_file}.0.0"

    def images_name(self, prefix: str) -> str:
        """Name of the store."""
        return f"{prefix}.zarr"

    def require_usable(self) -> None:
        """Do nothing: Zarr is always installed."""

    def begin(self, folder: Path, described: LabelledSet) -> None:
        """Write the group and its arrays without a chunk, where they are not there; remove what is left of chunks half written."""
        import zarr

        place = folder / self.images_name(described.prefix)
        for part in place.rglob(".*.part"):
            part.unlink(missing_ok=True)
        group = zarr.open_group(place, mode="a", zarr_format=2)
        group.attrs.update(dict(described.attributes))
        for name, dtype, nothing, long_name in (
            ("images", "float32", float(GAP), "what each pixel reads; -1 where there is none, -2 where it is bad"),
            ("labels", "int32", 0, "0, or 1 + the row of the spot among those of the image"),
        ):
            if name not in group:
                group.create_array(
                    name,
                    shape=(described.images, *described.shape),
                    dtype=dtype,
                    chunks=(1, *described.shape),
                    compressors=_packed(),
                    fill_value=nothing,
                    attributes={"_ARRAY_DIMENSIONS": ["sample", "slow", "fast"], "long_name": long_name},
                )

    def write(
        self,
        folder: Path,
        described: LabelledSet,
        images: range,
        frames: Iterable[LabelledImage],
        rows: Callable[[], Rows],
        require_there: Callable[[], None],
    ) -> int:
        """Write the chunks of some images, the labels of the first of them last."""
        place = folder / self.images_name(described.prefix)
        first, size = None, 0
        for number, frame in zip(images, frames, strict=True):
            assert frame.spots is not None
            require_there()
            size += _write_chunk(place / "images" / f"{number}.0.0", frame.pixels)
            if first is None:
                first = frame.spots
            else:
                size += _write_chunk(place / "labels" / f"{number}.0.0", frame.spots)
        assert first is not None, "a file has an image at least"
        require_there()
        return size + _write_chunk(place / "labels" / f"{images.start}.0.0", first)

    def finish(self, folder: Path, described: LabelledSet, parts: Iterator[Rows]) -> None:
        """Write the columns of the table, and all metadata in one file besides."""
        import zarr

        place = folder / self.images_name(described.prefix)
        group = zarr.open_group(place, mode="r+", zarr_format=2).require_group("samples")
        size = min(described.images, ROWS_PER_CHUNK)
        arrays = {
            column.name: group.create_array(
                column.name,
                shape=(described.images,),
                dtype=column.dtype if column.is_number else str,
                chunks=(size,),
                compressors=_packed(),
                attributes={"_ARRAY_DIMENSIONS": ["sample"], "units": column.units, "long_name": column.long_name},
                overwrite=True,
            )
            for column in described.columns
        }
        following = 0
        for rows in parts:
            for name, values in rows.items():
                arrays[name][following : following + len(values)] = values
            following += len(next(iter(rows.values())))
        zarr.consolidate_metadata(group.store, zarr_format=2)


def _write_chunk(path: Path, image: NDArray[Any]) -> int:
    """Write an image as a chunk, one in which nothing is seen, too: that it is there says that it was written; its size in bytes."""
    content = _packed().encode(np.ascontiguousarray(image))
    with whole_path(path) as beside:
        beside.write_bytes(content)
    return len(content)


def _packed() -> Any:
    import numcodecs

    return numcodecs.Blosc(cname="lz4", clevel=1, shuffle=numcodecs.Blosc.BITSHUFFLE)
