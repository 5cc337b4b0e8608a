"""A store as images with labels: what the loaders of this field's networks read, of a data set or of a series.

A frame is an image, in the order of the store, with a row of what is known of it: of a series its number and phi, and what changes from
frame to frame; of a data set the values of its sample besides.
"""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from nbdist.errors import RunError, one_line
from nbdist.formats.image_files import GAP, stacked, stacked_shape
from nbdist.formats.labelled_images import (
    ImageColumn,
    LabelledFormat,
    LabelledImage,
    LabelledSet,
    Rows,
)
from nbdist.formats.text import user_path
from nbdist.frames.products import COUNTS, SPOT
from nbdist.frames.sample_products import FRAMES, LATTICES, MASK
from nbdist.frames.tables import EDGE_NAMES, FRAME_COLUMNS, LATTICE_COLUMNS, QUATERNION_NAMES
from nbdist.planning import Unit
from nbdist.run.exporting import (
    Export,
    Written,
    now,
    prefix_to_export,
    product_to_export,
    read_images,
    whole_counts,
)
from nbdist.run.stored_frames import FrameReader, SourceStore
from nbdist.store import StoreSummary, open_group
from nbdist.store.locations import read_known
from nbdist.store.reading import panel_masks
from nbdist.store.samples import IN_ALL, sample_rows
from nbdist.store.schema import schema_of
from nbdist.store.table_reading import consecutive_frames, table_reader
from nbdist.store.tables import FRAME, SAMPLE
from nbdist.store.units import store_id_of
from nbdist.version import __version__

SAMPLE_NUMBER = ImageColumn(SAMPLE, "int64", "", "sample of the data set, from 0")
FRAME_NUMBER = ImageColumn(FRAME, "int64", "", "frame of the sample, from 0")
OF_FIRST_LATTICE = (*EDGE_NAMES, "space_group", *QUATERNION_NAMES)
"""Columns of lattices that an image has of its first one."""
ROWS_TOGETHER = 4096
"""Rows of the table that are read together, about."""


@dataclass(frozen=True)
class LabelledExport(Export):
    """Frames as images with labels.

    Attributes
    ----------
    format
        The format.
    shapes
        (slow, fast) of each panel.
    columns
        Of the table of images.
    title
        What is shown of all of it.
    """

    format: LabelledFormat
    shapes: tuple[tuple[int, int], ...]
    columns: tuple[ImageColumn, ...]
    title: str

    @property
    def described(self) -> LabelledSet:
        """What the format writes."""
        attributes: dict[str, str | int] = {
            "title": self.title,
            "what": self.product,
            "made_by": f"nbdist {__version__}",
            "made_at": self.made_at,
            "store_id": self.source.store_id,
        }
        return LabelledSet(self.prefix, len(self.frames), stacked_shape(self.shapes), self.columns, attributes)

    def notes(self) -> list[str]:
        """What a person should know of the files."""
        self.format.require_usable()
        if len(self.shapes) > 1:
            return [f"the {len(self.shapes)} panels are stacked along slow, each from the first column on"]
        return []

    def begin(self) -> None:
        """Write what is there before the images."""
        try:
            self.format.begin(self.folder, self.described)
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written: {one_line(error)}") from None

    def write(self, file: Unit, reader: FrameReader) -> Written:
        """Write a file of images."""
        frames = range(self.frames.start + file.first_frame, self.frames.start + file.last_frame)
        rows = functools.partial(image_rows, reader.group, frames)
        images = self._images(frames, reader)
        return Written(self.format.write(self.folder, self.described, file.frames, images, rows, self.require_there))

    def _images(self, frames: range, reader: FrameReader) -> Iterator[LabelledImage]:
        names, shape = {self.product}, stacked_shape(self.shapes)
        if self.format.wants_spots:
            names.add(SPOT.name)
        alike = panel_masks(reader.group)
        if alike is None:
            names.add(MASK.name)
        for frame in read_images(reader, frames, names):
            panels: Any = frame[self.product]
            if self.product == COUNTS.name:
                panels = [whole_counts(image) for image in panels]
            else:
                masks = alike or MASK.images(frame)
                panels = [np.where(mask == 1, np.float32(GAP), its) for mask, its in zip(masks, panels, strict=True)]
            spots = SPOT.images(frame) if SPOT.name in frame else None
            yield LabelledImage(
                stacked(panels, shape, "float32"),
                None if spots is None else stacked(spots, shape, "int32", nothing=0),
            )

    def finish(self) -> None:
        """Write the table of all images."""
        group = open_group(self.source.location)
        starts = range(self.frames.start, self.frames.stop, ROWS_TOGETHER)
        parts = (image_rows(group, range(first, min(first + ROWS_TOGETHER, self.frames.stop))) for first in starts)
        try:
            self.format.finish(self.folder, self.described, parts)
        except OSError as error:
            raise RunError(f"{self.images} cannot be written: {one_line(error)}") from None


def labelled_export(
    summary: StoreSummary,
    folder: str | os.PathLike[str],
    format: LabelledFormat,
    frames: slice | range | None,
    what: str | None,
    prefix: str | None,
) -> LabelledExport:
    """What is exported; nothing is written.

    Raises
    ------
    NbdistError
        If the store has not what is asked for.
    """
    location, schema = summary.location, summary.schema
    product = product_to_export(location, schema, what)
    if format.wants_spots and not any(its.name == SPOT.name for its in schema.products):
        raise RunError(f"{location}: holds no {SPOT.name}, which {format.name} has of each pixel; labels.spot makes it")
    group = open_group(location)
    return LabelledExport(
        source=SourceStore(location, store_id_of(group)),
        frames=consecutive_frames(group, frames),
        product=product,
        dtype="float32",
        format=format,
        prefix=prefix_to_export(location, prefix),
        folder=user_path(folder).absolute(),
        made_at=now(),
        run_id=uuid.uuid4().hex,
        shapes=schema.panels,
        columns=image_columns(group),
        title=summary.title,
    )


def image_columns(group: zarr.Group) -> tuple[ImageColumn, ...]:
    """What is known of each image of a store: of a data set also the orientation of the first lattice, and what was drawn."""
    if schema_of(group).frames_per_sample is not None:
        columns: dict[str, ImageColumn] = {SAMPLE: SAMPLE_NUMBER, FRAME: FRAME_NUMBER}
        own = sample_rows(group)[0]
        for column in (*FRAME_COLUMNS, *(its for its in LATTICE_COLUMNS if its.name in OF_FIRST_LATTICE)):
            columns[column.name] = ImageColumn(column.name, column.dtype, column.units, column.long_name)
        for name in own.names:
            if name not in columns:
                said = {key.decode(): value.decode() for key, value in (own.field(name).metadata or {}).items()}
                kind = "str" if "string" in str(own.field(name).type) else own.field(name).type.to_pandas_dtype()
                dtype = kind if isinstance(kind, str) else np.dtype(kind).name
                columns[name] = ImageColumn(name, dtype, said.get("units", ""), said.get("long_name", name))
        return tuple(columns.values())
    known = [FRAME_NUMBER._replace(long_name="frame of the series, from 0")]
    for name in _of_frames(group):
        array = group[name]
        known.append(ImageColumn(name, array.dtype.name, array.attrs["units"], array.attrs.get("long_name", name)))
    return tuple(known)


def image_rows(group: zarr.Group, frames: range) -> Rows:
    """The rows of `image_columns` of consecutive frames, which are complete."""
    numbers, together = np.array(frames, dtype=np.int64), schema_of(group).frames_per_sample
    if together is None:
        return {FRAME: numbers} | {
            name: read_known(group, name, slice(frames.start, frames.stop)) for name in _of_frames(group)
        }
    import pyarrow

    samples = range(frames.start // together, (frames.stop - 1) // together + 1)
    of_samples = [name for name in sample_rows(group)[0].names if name not in {column.name for column in IN_ALL}]
    schema, parts = sample_rows(group, samples, of_samples)
    own = pyarrow.concat_tables([schema.empty_table(), *parts])
    rows = {name: own[name].to_numpy()[numbers // together - samples.start] for name in own.column_names}
    for table, names in ((FRAMES, None), (LATTICES, [*OF_FIRST_LATTICE, "lattice"])):
        reader = table_reader(group, table.name, names)
        found = pyarrow.concat_tables([reader.columns.empty_table(), *(part for _, part in reader.units(frames))])
        if table is LATTICES:
            found = found.filter(found["lattice"].to_numpy() == 0).drop_columns("lattice")
        rows |= {name: found[name].to_numpy() for name in found.column_names}
    return {**rows, SAMPLE: numbers // together, FRAME: numbers % together}


def _of_frames(group: zarr.Group) -> list[str]:
    """Coordinates of a series that are one number a frame."""
    return [name for name in schema_of(group).coordinates if group[name].metadata.dimension_names == ("frame",)]
