"""Exporting a series: what `nbdist export` does, from a store to image files of other programs.

What holds: a file is a unit of the run, and whoever writes it writes it whole, under another name until it is; so a run that is ended
loses the files in flight and nothing else, and going on needs no memory but the folder. What is exported stands in the folder before the
first file (`EXPORTED`): another store, format or span of frames does not mix with it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError, RunError, StoreError, UnfinishedError, is_fatal, one_line
from nbdist.experiment import Experiment
from nbdist.experiment.readout import LARGEST_READING
from nbdist.formats.adsc import Smv
from nbdist.formats.cbf import Cbf
from nbdist.formats.dials_experiments import experiment_list
from nbdist.formats.files import whole_path, written_whole
from nbdist.formats.image_files import BAD, GAP, Image, ImageFormat, ImageSeries
from nbdist.formats.nxmx import NXmx
from nbdist.formats.text import user_path
from nbdist.formats.xds_input import DETECTORS, WRITTEN, XDS_INPUT, xds_input
from nbdist.frames.products import COUNTS, INTENSITY, SERIES_REFLECTIONS, products_of
from nbdist.planning import Unit, Units, make_plan
from nbdist.planning.plan import LARGEST_SHARD_BYTES
from nbdist.readout.chain import masks_of
from nbdist.run.context import RunContext
from nbdist.run.events import EventLog, no_log
from nbdist.run.executors.choice import Workers, this_process
from nbdist.run.failures import ErrorLine
from nbdist.run.jobs import Job
from nbdist.run.ledger import Ledger
from nbdist.run.loop import run_units
from nbdist.run.progress import Progress, Record, Report, silent
from nbdist.run.stored_frames import FrameReader, Source
from nbdist.scene import Scene
from nbdist.scene.models import LARGEST_VALUE, models_of
from nbdist.store import StoreSummary, open_group, summarize
from nbdist.store.dials import write_truth
from nbdist.store.number_set import NumberSet
from nbdist.store.schema import Schema, schema_of
from nbdist.store.table_reading import consecutive_frames
from nbdist.store.units import store_id_of

FORMATS: dict[str, ImageFormat] = {its.name: its for its in (NXmx(), Cbf(), Smv())}
"""Formats by the names that they are asked for by."""
WHAT = (COUNTS, INTENSITY)
"""What may be exported, in the order in which it is chosen."""
EXPORTED = "export.json"
"""File of a folder that says what is exported there."""
PROBE = ".nbdist-writable"
"""File that is written into a folder and removed, to see whether it can be."""
TRUTH = "_truth"
"""What the names of the models and reflections that were simulated end with."""
SECONDS_PER_PIXEL = 2e-8
"""What reading a pixel, packing and writing it takes, about."""
GO_ON = "files that are whole are kept, go on with --resume"


@dataclass(frozen=True)
class Export:
    """What is exported, where: all that does not change from file to file.

    Attributes
    ----------
    source
        The store.
    frames
        Of its series, consecutive.
    product
        Name of what is written of them.
    format, series
        The format, and what it writes.
    folder
        Where to.
    run_id
        Random name of the run that writes it, which the folder has, too: another one that goes on with it, or replaces it, has another.
    """

    source: Source
    frames: range
    product: str
    format: ImageFormat
    series: ImageSeries
    folder: Path
    run_id: str = ""

    @property
    def files(self) -> Units:
        """The files as units; frames are counted from the first that is exported."""
        return Units(len(self.frames), self.format.images_per_file)

    def path(self, file: Unit) -> Path:
        """Where a file is."""
        return self.folder / self.format.file_name(self.series.prefix, file.number)

    @property
    def images(self) -> Path:
        """What names all images: a path with # in it, or the list of the files."""
        return self.folder / self.format.images_name(self.series.prefix)

    @property
    def has_list(self) -> bool:
        """Whether there is a list of the files."""
        return "#" not in self.images.name

    def said(self) -> dict[str, object]:
        """What the folder says of it, as JSON has it."""
        return {
            "format": self.format.name,
            "images_per_file": self.format.images_per_file,
            "prefix": self.series.prefix,
            "what": self.product,
            "dtype": self.series.dtype,
            "frames": [self.frames.start, self.frames.stop],
            "store_id": self.source.store_id,
        }

    def require_there(self) -> None:
        """Check that the folder is this run's.

        Raises
        ------
        StoreError
            If another one goes on with the export by now, or it is gone.
        """
        if self._is_there():
            return
        _see_anew(self.folder)
        if not self._is_there():
            raise StoreError(f"{self.folder}: {EXPORTED} is gone, or another nbdist export writes there by now")

    def _is_there(self) -> bool:
        try:
            return bool(json.loads((self.folder / EXPORTED).read_bytes())["run_id"] == self.run_id)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def publish(self, *, anew: bool) -> None:
        """Have the folder say what is exported there, and by which run; `anew` where it says nothing of any.

        Raises
        ------
        NbdistError
            If it cannot be written, or says something by now.
        """
        said = {**self.said(), "made_at": self.series.made_at, "store": self.source.location, "run_id": self.run_id}
        _publish(self.folder, said, anew=anew)


@dataclass
class ExportJob(Job):
    """Writes files of an export.

    Attributes
    ----------
    export
        What is written.
    """

    export: Export
    _reader: FrameReader | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def frames_per_unit(self) -> float:
        """Images of a file."""
        return self.export.format.images_per_file

    @property
    def reader(self) -> FrameReader:
        """The reader of the store, opened where it is first asked for."""
        if self._reader is None:
            self._reader = FrameReader(self.export.source)
        return self._reader

    def prepare(self) -> None:
        """Open the store, see whether the folder is this run's, and ask for what the format needs."""
        self.export.require_there()
        _ = self.reader
        self.export.format.notes(self.export.series)

    @property
    def kernel(self) -> dict[str, str]:
        """None: nothing is rendered."""
        return {"kernel": "none", "why_eager": ""}

    def require_usable(self, workers: int, error: ErrorLine) -> None:
        """See whether the store can be read from here, and the folder written: a file a worker, where the disk was full there."""
        self.export.require_there()
        FrameReader(self.export.source)
        files = self.context.scene.instrument.pixels * 4 * self.export.format.images_per_file * workers
        _require_writable(self.export.folder, min(LARGEST_SHARD_BYTES, files) if error.disk_full else 1)

    def unit(self, number: int) -> Unit:
        """The file with this number."""
        return self.export.files[number]

    def render(self, unit: Unit) -> Record:
        """Write a file; its record."""
        export, began = self.export, time.perf_counter()
        path = export.path(unit)
        with whole_path(path) as beside:
            held = export.format.write(beside, export.series, unit.frames, self.images(unit.frames))
            export.require_there()
        return {
            "unit": unit.number,
            "frames": [unit.first_frame, unit.last_frame],
            "shard_bytes": {path.name: path.stat().st_size},
            "device": "cpu",
            "precision": export.series.dtype,
            "saturated_pixels": held,
            "kernel": "none",
            "host": platform.node(),
            "seconds": time.perf_counter() - began,
        }

    def images(self, images: range) -> Iterator[Image]:
        """Images as they are written, read a shard at a time."""
        first, size = self.export.frames.start, self.reader.frames_per_shard
        following, stop = first + images.start, first + images.stop
        while following < stop:
            some = range(following, min(stop, (following // size + 1) * size))
            for frame in self.reader.read(some, {self.export.product})[0]:
                yield self.image(frame[self.export.product])
            following = some.stop

    def image(self, stored: Any) -> Image:
        """What a frame has of the product, as it is written: masked pixels hold `GAP`, bad ones `BAD` where they are marked so."""
        if self.export.product == COUNTS.name:
            return [whole_counts(image) for image in stored]
        whole = self.export.series.dtype == "int32"
        images = [whole_photons(image) if whole else image for image in stored]
        panels = self.export.series.models.panels
        return [
            np.where(panel.usable, image, image.dtype.type(GAP)) for panel, image in zip(panels, images, strict=True)
        ]


def whole_photons(photons: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Photons as int32: what is too large is the largest value, which float32 does not have."""
    return np.minimum(np.rint(photons), LARGEST_VALUE, dtype=np.float64).astype(np.int32)


def whole_counts(counts: NDArray[Any]) -> NDArray[np.int32]:
    """Counts as int32: marks of unsigned ones become `GAP` and `BAD`, and what is too large the largest value."""
    dtype = counts.dtype.name
    if dtype == "int32":
        return counts
    marked = counts > LARGEST_READING[dtype]  # type: ignore[index]
    found = np.minimum(counts, np.uint32(LARGEST_VALUE)).astype(np.int32)
    found[marked] = counts[marked].astype(f"int{8 * counts.itemsize}")
    return found


def export(
    location: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    format: str | ImageFormat = "nxmx",
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
    """Write the frames of a store as image files, with their models for DIALS, and the truth where the store has labels.

    Beside the images lie `PREFIX.expt`, models as DIALS imports them; `PREFIX_truth.expt`, the same with the crystals that were simulated,
    with `PREFIX_truth.refl` where the store has reflections; and `XDS.INP` of a rotation on one panel. Images are counted from 1,
    whichever frame is the first.

    Parameters
    ----------
    location
        Path or s3:// URL of the store; it may be unfinished, where the frames that are asked for are complete.
    folder
        Where to; made where there is none.
    format
        "nxmx", "cbf" or "smv", or one that is made with other settings: `NXmx(images_per_file=100)`.
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
        The experiment, where the files that the store names have moved.
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
    summary = summarize(location)
    context, wanted = _wanted(summary, folder, format, frames, what, prefix, experiment)
    notes = list(format.notes(wanted.series))
    if wanted.product == INTENSITY.name and not format.real_numbers:
        notes.append(f"intensity is rounded to whole photons: {format.name} holds no others")
    if _is_labelled(summary.schema) and not _may_have_truth(wanted.series):
        notes.append(
            f"no truth is written of {wanted.series.images} stills, of which DIALS has no scan; that of one has it: "
            f"--frames {wanted.frames.start}:{wanted.frames.start + 1}"
        )
    _require_complete(summary, wanted.frames)
    wanted = _begun(wanted, resume=resume, overwrite=overwrite)
    there = _names_in(wanted.folder)
    missing = [file.number for file in wanted.files if wanted.path(file).name not in there]
    left = Units(len(wanted.frames), format.images_per_file, NumberSet(missing))
    workers = workers or this_process("cpu")
    progress = Progress(frames_total=sum(len(file.frames) for file in left), log=log, kinds=dict(workers.kinds))
    progress.workers = sum(workers.kinds.values())
    progress.begun(store=str(location), units=len(left), resumed=resume)
    ended = "stopped"
    try:
        for note in notes:
            progress.noted(note)
        report(progress)
        job = ExportJob(context, wanted)
        if left:
            _write_files(job, left, workers, progress, report)
        if not progress.failed:
            _write_beside(job)
        ended = "units failed" if progress.failed else "complete"
    finally:
        progress.ended(ended)
    return wanted, progress


def _wanted(
    summary: StoreSummary,
    folder: str | os.PathLike[str],
    format: ImageFormat,
    frames: slice | range | None,
    what: str | None,
    prefix: str | None,
    experiment: Experiment | None,
) -> tuple[RunContext, Export]:
    """The context of the run and what it exports; nothing is written.

    Raises
    ------
    NbdistError
        If the store has not what is asked for, or there is no model of its detector.
    """
    location = summary.location
    scene = summary.scene_of(experiment)
    there = {product.name for product in summary.schema.products}
    held = [product.name for product in WHAT if product.name in there]
    product = what or held[0]
    if product not in held:
        raise RunError(f"{location}: holds {' and '.join(held)}, and no {product}")
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
    settings = summary.settings
    plan = make_plan(scene, products=products_of(scene.experiment), kernel=settings.kernel, settings=settings)
    plan = replace(plan, cost=replace(plan.cost, seconds=SECONDS_PER_PIXEL * scene.instrument.pixels))
    prefix = prefix or location.rstrip("/").rpartition("/")[2].removesuffix(".zarr")
    if not _is_name(prefix):
        raise RunError(
            f"--prefix {prefix}: begins names of files, of letters, digits and _ . + - with none of the last three in front"
        )
    series = ImageSeries(
        prefix=prefix,
        models=models,
        dtype="float32" if product == INTENSITY.name and format.real_numbers else "int32",
        title=scene.experiment.title or "",
        made_by=f"nbdist {version('nbdist')}",
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    source, place = Source(location, store_id_of(group)), user_path(folder).absolute()
    return RunContext(scene, plan, "cpu", location), Export(
        source, chosen, product, format, series, place, uuid.uuid4().hex
    )


def _require_complete(summary: StoreSummary, frames: range) -> None:
    there = summary.found.frames.flags(summary.frames)[frames.start : frames.stop]
    if not there.all():
        # each stretch of complete frames begins and ends where this changes
        edges = frames.start + np.flatnonzero(np.diff(there, prepend=False, append=False)).reshape(-1, 2)
        first, stop = max(edges.tolist(), key=lambda edge: edge[1] - edge[0], default=(0, 0))
        shown = f"the most in a row that are: --frames {first}:{stop}" if len(edges) else "none of them is"
        raise UnfinishedError(
            f"{summary.location}: {np.count_nonzero(~there)} of frames {frames.start}:{frames.stop} are not complete; {shown}"
        )


def _require_writable(folder: Path, size: int) -> None:
    """Check that so many bytes can be written into a folder; they are removed again."""
    try:
        with written_whole(folder / PROBE) as file:
            file.write(bytes(size))
    except NbdistError as error:
        raise StoreError(f"{error}; {GO_ON}") from None
    finally:
        (folder / PROBE).unlink(missing_ok=True)


def _see_anew(folder: Path) -> None:
    """Change a folder from here: of one that it changed itself, no client of a file server goes by what it saw before."""
    _require_writable(folder, 1)


def _is_name(prefix: object) -> bool:
    """Whether something can begin the names of files of a folder."""
    return isinstance(prefix, str) and re.fullmatch(r"\w[\w.+-]*", prefix) is not None


def _names(its: ImageFormat, prefix: str, files: int) -> set[str]:
    """Names of the files of an export, but for `EXPORTED`, and XDS.INP, which may be someone's own."""
    beside = {f"{prefix}.expt", f"{prefix}{TRUTH}.expt", f"{prefix}{TRUTH}.refl", its.images_name(prefix)}
    return beside | {its.file_name(prefix, number) for number in range(files)}


def _begun(wanted: Export, *, resume: bool, overwrite: bool) -> Export:
    """The export, begun in its folder, or gone on with.

    Raises
    ------
    NbdistError
        If another one is there, or the folder cannot be written.
    """
    folder, said = wanted.folder, wanted.said()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = _names_in(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be made: {one_line(error)}") from None
    formats = {**FORMATS, wanted.format.name: wanted.format}
    earlier = _read_exported(folder, formats)
    if earlier is not None and not (resume or overwrite):
        raise RunError(f"{folder} holds an export; --resume goes on with it, --overwrite replaces it")
    if earlier is not None and not overwrite:
        if earlier.get("store_id") != wanted.source.store_id:
            raise RunError(
                f"{folder} holds an export of {earlier.get('store')} as it was then; give this one another folder"
            )
        for name, value in said.items():
            if earlier.get(name) != value:
                raise RunError(f"{folder} holds an export of {name} {earlier.get(name)}, this one is of {value}")
        wanted = replace(wanted, series=replace(wanted.series, made_at=str(earlier.get("made_at"))))
        wanted.publish(anew=False)
        _remove_parts(folder, wanted.series.prefix)
        return wanted
    replaced = set[str]()
    if earlier is not None:
        files = len(Units(len(range(*earlier["frames"])), earlier["images_per_file"]))
        replaced = _names(formats[earlier["format"]], earlier["prefix"], files)
    names = _names(wanted.format, wanted.series.prefix, len(wanted.files))
    if taken := sorted(there & (names - replaced)):
        raise RunError(f"{folder} holds {taken[0]}, of which {EXPORTED} says nothing; give the export another folder")
    if earlier is not None:
        # a run that still writes it moves no file from now on
        _publish(folder, {**earlier, "run_id": wanted.run_id}, anew=False)
        _remove(folder, replaced & _names_in(folder), earlier["prefix"])
    wanted.publish(anew=True)
    return wanted


def _read_exported(folder: Path, formats: Collection[str]) -> Mapping[str, Any] | None:
    """What a folder says is exported there; None where it says nothing."""
    try:
        said = json.loads((folder / EXPORTED).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{folder / EXPORTED} cannot be read: {one_line(error)}") from None
    except ValueError:
        raise RunError(
            f"{folder / EXPORTED} is not whole, as where an export was ended when it began; remove it unless one begins there now"
        ) from None
    try:
        if said["format"] in formats and _is_name(said["prefix"]) and said["images_per_file"] > 0:
            range(*said["frames"])
            return dict(said)
    except (KeyError, TypeError, ValueError):
        pass
    raise RunError(f"{folder / EXPORTED} is not one that this nbdist wrote")


def _publish(folder: Path, said: Mapping[str, object], *, anew: bool) -> None:
    """Write what a folder says is exported there; see `Export.publish`."""
    place, content = folder / EXPORTED, json.dumps(said, indent=2).encode()
    if not anew:
        with written_whole(place) as file:
            file.write(content)
        return
    try:
        with place.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise RunError(f"{folder}: another nbdist export began there just now") from None
    except OSError as error:
        place.unlink(missing_ok=True)
        raise RunError(f"{place} cannot be written: {one_line(error)}") from None


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _remove(folder: Path, names: Collection[str], prefix: str) -> None:
    """Remove the files of an export, with an XDS.INP that is ours; what the folder says of it last."""
    for_xds = folder / XDS_INPUT
    ours = for_xds.is_file() and for_xds.read_bytes().startswith(WRITTEN.encode())
    for name in (*names, *([XDS_INPUT] if ours else [])):
        (folder / name).unlink(missing_ok=True)
    _remove_parts(folder, prefix)
    (folder / EXPORTED).unlink(missing_ok=True)


def _remove_parts(folder: Path, prefix: str) -> None:
    """Remove what processes that were ended left of files, which they had not written whole."""
    for begun in (f"{prefix}[_.]*", *(f"{name}.*" for name in (EXPORTED, XDS_INPUT, PROBE))):
        for part in folder.glob(f".{begun}.part"):
            part.unlink(missing_ok=True)


def _write_files(job: ExportJob, files: Units, workers: Workers, progress: Progress, report: Report) -> None:
    folder = job.export.folder
    try:
        with workers.executor(job, progress, len(files)) as executor:
            run_units(Ledger(files, progress), executor, progress, report)
    except UnfinishedError as error:
        raise UnfinishedError(f"{error}; {GO_ON}") from None
    except OSError as error:
        if not is_fatal(error):
            raise
        raise StoreError(f"{folder}: writing stopped: {one_line(error)}; {GO_ON}") from None
    _see_anew(folder)
    there = _names_in(folder)
    unseen = [name for file in files if (name := job.export.path(file).name) not in there]
    if unseen and not progress.failed:
        raise RunError(f"{folder}: {unseen[0]} was written but is not in the folder that is seen from here")


def _write_beside(job: ExportJob) -> None:
    """What is written when all images are there: the list of files, the models, the truth, and what XDS is told.

    Raises
    ------
    NbdistError
        If a file cannot be written.
    """
    export, series = job.export, job.export.series
    export.require_there()
    if export.has_list:
        marks = _marks(job.context.scene, export.product)
        try:
            with whole_path(export.images) as beside:
                export.format.write_list(beside, series, marks)
        except OSError as error:
            raise RunError(f"{export.images} cannot be written: {one_line(error)}") from None
    name, models, images = series.prefix, series.models, export.images.name
    group = open_group(export.source.location)
    with written_whole(export.folder / f"{name}.expt") as file:
        file.write(experiment_list(models, [group.attrs["fingerprint"][:32]], images, crystals=False))
    for_xds = export.folder / XDS_INPUT
    known = export.format.name in DETECTORS and len(models.panels) == 1 and not models.still
    if known and not for_xds.exists():  # one that is there may have been changed by hand
        with written_whole(for_xds) as file:
            file.write(xds_input(models, export.format.name, images).encode())
    if _is_labelled(schema_of(group)) and _may_have_truth(series):
        write_truth(group, job.context.scene, export.frames, models, export.folder, f"{name}{TRUTH}", images)


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
