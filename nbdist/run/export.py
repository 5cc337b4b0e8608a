"""Exporting a series: what `nbdist export` does, from a store to image files of other programs, and to files that networks learn from.

`exporting` is the engine; here is what a series is as images, and what lies beside them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError, one_line
from nbdist.experiment import Experiment
from nbdist.formats.adsc import Smv
from nbdist.formats.cbf import Cbf
from nbdist.formats.dials_experiments import experiment_list
from nbdist.formats.files import whole_path, written_whole
from nbdist.formats.image_files import BAD, GAP, Image, ImageFormat, ImageSeries
from nbdist.formats.labelled_hdf5 import LabelledHdf5
from nbdist.formats.labelled_images import LabelledFormat
from nbdist.formats.models import Models
from nbdist.formats.nxmx import NXmx
from nbdist.formats.text import user_path
from nbdist.formats.xds_input import DETECTORS, XDS_INPUT, xds_input
from nbdist.formats.zarr_labels import ZarrLabels
from nbdist.frames.products import COUNTS, INTENSITY, SERIES_REFLECTIONS, Products
from nbdist.planning import Unit
from nbdist.readout.chain import masks_of
from nbdist.run.events import EventLog, no_log
from nbdist.run.executors.choice import Workers
from nbdist.run.exporting import (
    TRUTH,
    Export,
    Written,
    now,
    prefix_to_export,
    product_to_export,
    read_images,
    whole_counts,
    written,
)
from nbdist.run.labelled_export import labelled_export
from nbdist.run.progress import Progress, Report, silent
from nbdist.run.stored_frames import FrameReader, SourceStore
from nbdist.scene import Scene
from nbdist.scene.models import LARGEST_VALUE, models_of
from nbdist.store import SeriesSummary, open_group, summarize, summarize_series
from nbdist.store.dials import write_truth
from nbdist.store.schema import Schema, schema_of
from nbdist.store.table_reading import consecutive_frames
from nbdist.store.units import store_id_of
from nbdist.version import __version__

FORMATS: dict[str, ImageFormat | LabelledFormat] = {
    its.name: its for its in (NXmx(), Cbf(), Smv(), ZarrLabels(), LabelledHdf5())
}
"""Formats by the names that they are asked for by."""


@dataclass(frozen=True)
class SeriesExport(Export):
    """A series as image files.

    Attributes
    ----------
    format
        The format.
    scene, models
        The numbers of the series, and where everything is, for the format.
    title
        What is shown of the sample.
    """

    format: ImageFormat
    scene: Scene
    models: Models
    title: str

    @property
    def series(self) -> ImageSeries:
        """What the format writes."""
        return ImageSeries(self.prefix, self.models, self.dtype, self.title, f"nbdist {__version__}", self.made_at)

    def notes(self) -> list[str]:
        """What a person should know who processes the files."""
        notes = list(self.format.notes(self.series))
        if self.product == INTENSITY.name and not self.format.real_numbers:
            notes.append(f"intensity is rounded to whole photons: {self.format.name} holds no others")
        return notes

    def begin(self) -> None:
        """Write nothing: no file is there before its images."""

    def write(self, file: Unit, reader: FrameReader) -> Written:
        """Write a file of images."""
        path = self.path(file)
        with whole_path(path) as beside:
            held = self.format.write(beside, self.series, file.frames, self._images(file.frames, reader))
            self.require_there()
        return Written(path.stat().st_size, held)

    def _images(self, images: range, reader: FrameReader) -> Iterator[Image]:
        first = self.frames.start
        for frame in read_images(reader, range(first + images.start, first + images.stop), {self.product}):
            yield self._image(frame)

    def _image(self, frame: Products) -> Image:
        """A frame as it is written: masked pixels hold `GAP`, bad ones `BAD` where they are marked so."""
        stored: Any = frame[self.product]
        if self.product == COUNTS.name:
            return [whole_counts(image) for image in stored]
        images = [whole_photons(image) if self.dtype == "int32" else image for image in stored]
        panels = self.models.panels
        return [
            np.where(panel.usable, image, image.dtype.type(GAP)) for panel, image in zip(panels, images, strict=True)
        ]

    def finish(self) -> None:
        """Write the list of files, the models, the truth, and what XDS is told."""
        if "#" not in self.images.name:
            marks = _marks(self.scene, self.product)
            try:
                with whole_path(self.images) as beside:
                    self.format.write_list(beside, self.series, marks)
            except OSError as error:
                raise RunError(f"{self.images} cannot be written: {one_line(error)}") from None
        name, models, images = self.prefix, self.models, self.images.name
        group = open_group(self.source.location)
        with written_whole(self.folder / f"{name}.expt") as file:
            file.write(experiment_list(models, [group.attrs["fingerprint"][:32]], images, crystals=False))
        for_xds = self.folder / XDS_INPUT
        known = self.format.name in DETECTORS and len(models.panels) == 1 and not models.still
        if known and not for_xds.exists():  # one that is there may have been changed by hand
            with written_whole(for_xds) as file:
                file.write(xds_input(models, self.format.name, images).encode())
        if _is_labelled(schema_of(group)) and _may_have_truth(self.series):
            write_truth(group, self.scene, self.frames, models, self.folder, f"{name}{TRUTH}", images)


def whole_photons(photons: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Photons as int32: what is too large is the largest value, which float32 does not have."""
    return np.minimum(np.rint(photons), LARGEST_VALUE, dtype=np.float64).astype(np.int32)


def export(
    location: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    format: str | ImageFormat | LabelledFormat = "nxmx",
    workers: Workers | None = None,
    *,
    frames: slice | range | None = None,
    what: str | None = None,
    prefix: str | None = None,
    experiment: Experiment | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = silent,
    log: EventLog = no_log,
) -> tuple[Export, Progress]:
    """Write the frames of a store as files of other programs.

    Beside images of "nxmx", "cbf" and "smv" lie `PREFIX.expt`, models as DIALS imports them; `PREFIX_truth.expt`, the same with the
    crystals that were simulated, with `PREFIX_truth.refl` where the store has reflections; and `XDS.INP` of a rotation on one panel.
    Images are counted from 1, whichever frame is the first.

    "zarr-labels" and "hdf5" are what networks learn from, of series and of data sets. `PREFIX.zarr` has `images`, float32, and `labels`,
    int32 (sample, slow, fast), each in chunks of an image, and the numbers of each image as arrays of `samples`; the store must have
    `spot`. `PREFIX.h5` has `images`, float32 (image, slow, fast), `labels`, float64 (image, column) with the columns in its attribute
    `names`, and `samples`, the same with texts by named columns. A frame is an image; -1 is no pixel, -2 a bad one.

    Parameters
    ----------
    location
        Path or s3:// URL of the store; it may be unfinished, where the frames that are asked for are complete.
    folder
        Where to; made where there is none.
    format
        "nxmx", "cbf", "smv", "zarr-labels" or "hdf5", or one that is made with other settings: `NXmx(images_per_file=100)`.
    workers
        Who writes; this process where left out.
    frames
        Consecutive frames; all when left out.
    what
        "counts" or "intensity"; when left out, counts where the store has them. Intensity is rounded to whole photons for a format that
        holds no real numbers.
    prefix
        What the names of the files begin with; the name of the store when left out.
    experiment
        The experiment, where the files that the store names have moved; images with labels need none of them.
    resume
        Write what is missing of an export that was begun.
    overwrite
        Remove the export that is there first.
    report, log
        As in `generate`.

    Returns
    -------
    What was exported, and the final progress, whose frames are those that were written now.

    Raises
    ------
    NbdistError
        If there is no store, frames are not complete, the format cannot hold the series, something else is exported in the folder, or a
        file cannot be written.
    """
    if isinstance(format, str):
        if format not in FORMATS:
            raise RunError(f"format {format}: should be one of {', '.join(FORMATS)}")
        format = FORMATS[format]
    how: dict[str, Any] = dict(resume=resume, overwrite=overwrite, report=report, log=log)
    if isinstance(format, LabelledFormat):
        if experiment is not None:
            raise RunError(f"experiment: {format.name} takes everything from the store, and none is read")
        store = summarize(location)
        labelled = labelled_export(store, folder, format, frames, what, prefix)
        return written(labelled, store, FORMATS, workers, labelled.notes(), **how)
    summary = summarize_series(location)
    wanted = _wanted(summary, folder, format, frames, what, prefix, experiment)
    notes = wanted.notes()
    if _is_labelled(summary.schema) and not _may_have_truth(wanted.series):
        notes.append(
            f"no truth is written of {wanted.series.images} stills, of which DIALS has no scan; that of one has it: "
            f"--frames {wanted.frames.start}:{wanted.frames.start + 1}"
        )
    return written(wanted, summary, FORMATS, workers, notes, **how)


def _wanted(
    summary: SeriesSummary,
    folder: str | os.PathLike[str],
    format: ImageFormat,
    frames: slice | range | None,
    what: str | None,
    prefix: str | None,
    experiment: Experiment | None,
) -> SeriesExport:
    """What is exported; nothing is written.

    Raises
    ------
    NbdistError
        If the store has not what is asked for, or there is no model of its detector.
    """
    location = summary.location
    scene = summary.scene_of(experiment)
    product = product_to_export(location, summary.schema, what)
    group = open_group(location)
    chosen = consecutive_frames(group, frames)
    models = models_of(scene, chosen).counted_from(0)
    if product == INTENSITY.name:
        largest = LARGEST_VALUE if format.real_numbers else LARGEST_VALUE - 1  # what is too large is held at one more
        models = replace(models, trusted=(0, largest), gain=1.0, pedestal=0.0)
    usable = [marks == 0 for marks in _marks(scene, product)]
    panels = (panel._replace(usable=its) for panel, its in zip(models.panels, usable, strict=True))
    models = replace(models, panels=tuple(panels))
    models = replace(models, trusted=format.trusted(models))
    return SeriesExport(
        source=SourceStore(location, store_id_of(group)),
        frames=chosen,
        product=product,
        dtype="float32" if product == INTENSITY.name and format.real_numbers else "int32",
        format=format,
        prefix=prefix_to_export(location, prefix),
        folder=user_path(folder).absolute(),
        made_at=now(),
        run_id=uuid.uuid4().hex,
        scene=scene,
        models=models,
        title=scene.experiment.title or "",
    )


def _is_labelled(schema: Schema) -> bool:
    """Whether a store has the reflections of its series."""
    return any(table.name == SERIES_REFLECTIONS.name for table in schema.series_tables)


def _may_have_truth(series: ImageSeries) -> bool:
    """Whether DIALS has models of such images with crystals: of a rotation, or of one still."""
    return series.images == 1 or not series.models.still


def _marks(scene: Scene, product: str) -> Sequence[NDArray[np.int8]]:
    """`GAP`, `BAD` or 0 of each pixel of an image of a product: photons have no bad ones, which are the read-out's."""
    bad = BAD if product == COUNTS.name else 0
    return [np.array([0, GAP, bad], np.int8)[mask] for mask in masks_of(scene)]
