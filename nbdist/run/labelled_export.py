"""A store as images with labels: what the loaders of this field's networks read, of a data set or of a series.

A frame is an image, in the order of the store, with a row of what is known of it: of a series its number and phi, and what changes from
frame to frame; of a data set the values of its sample besides.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import RunError, one_line
from nbdist.experiment import Experiment
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
from nbdist.planning import Unit
from nbdist.run.context import RunContext
from nbdist.run.exporting import (
    Export,
    Written,
    export_context,
    now,
    prefix_to_export,
    product_to_export,
    read_images,
    whole_counts,
)
from nbdist.run.stored_frames import FrameReader, Source
from nbdist.store import SeriesSummary, open_group
from nbdist.store.schema import schema_of
from nbdist.store.table_reading import consecutive_frames
from nbdist.store.units import store_id_of

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
            "made_by": f"nbdist {version('nbdist')}",
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
        rows = image_rows(reader.group, frames)
        size = self.format.write(
            self.folder, self.described, file.frames, self._images(frames, reader), rows, self.require_there
        )
        return Written(size)

    def _images(self, frames: range, reader: FrameReader) -> Iterator[LabelledImage]:
        names, shape = {self.product}, stacked_shape(self.shapes)
        if self.format.wants_spots:
            names.add(SPOT.name)
        usable = None if self.product == COUNTS.name else _usable(reader.group)
        for frame in read_images(reader, frames, names):
            panels: Any = frame[self.product]
            if usable is None:
                panels = [whole_counts(image) for image in panels]
            else:
                panels = [np.where(its, image, np.float32(GAP)) for its, image in zip(usable, panels, strict=True)]
            spots: Any = frame.get(SPOT.name)
            yield LabelledImage(
                stacked(panels, shape, "float32"),
                None if spots is None else stacked(spots, shape, "int32", nothing=0),
            )

    def finish(self, context: RunContext) -> None:
        """Write the table of all images."""
        group = open_group(self.source.location)
        starts = range(self.frames.start, self.frames.stop, ROWS_TOGETHER)
        parts = (image_rows(group, range(first, min(first + ROWS_TOGETHER, self.frames.stop))) for first in starts)
        try:
            self.format.finish(self.folder, self.described, parts)
        except OSError as error:
            raise RunError(f"{self.images} cannot be written: {one_line(error)}") from None


def labelled_export(
    summary: SeriesSummary,
    folder: str | os.PathLike[str],
    format: LabelledFormat,
    frames: slice | range | None,
    what: str | None,
    prefix: str | None,
    experiment: Experiment | None,
) -> tuple[RunContext, LabelledExport]:
    """The context of the run and what it exports; nothing is written.

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
    scene = summary.scene_of(experiment)
    return export_context(scene, summary.settings, location), LabelledExport(
        source=Source(location, store_id_of(group)),
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
        title=scene.experiment.title or "",
    )


def image_columns(group: zarr.Group) -> tuple[ImageColumn, ...]:
    """What is known of each image of a store."""
    stored: Any = group
    columns = [ImageColumn("frame", "int64", "", "frame of the series, from 0")]
    for name in _of_frames(group):
        array = stored[name]
        columns.append(ImageColumn(name, array.dtype.name, array.attrs["units"], array.attrs.get("long_name", name)))
    return tuple(columns)


def image_rows(group: zarr.Group, frames: range) -> Rows:
    """The rows of `image_columns` of consecutive frames."""
    stored: Any = group
    known = {name: np.asarray(stored[name][frames.start : frames.stop]) for name in _of_frames(group)}
    return {"frame": np.array(frames, dtype=np.int64), **known}


def _of_frames(group: zarr.Group) -> list[str]:
    """Coordinates of a series that are one number a frame."""
    stored: Any = group
    return [name for name in schema_of(group).coordinates if stored[name].metadata.dimension_names == ("frame",)]


def _usable(group: zarr.Group) -> list[NDArray[np.bool_]]:
    """Which pixels of each panel have photons."""
    stored: Any = group
    masks = [np.asarray(stored[f"mask{panels.suffix}"]) for panels in schema_of(group).panel_groups]
    return [panel != 1 for mask in masks for panel in (mask if mask.ndim == 3 else [mask])]
