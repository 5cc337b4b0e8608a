"""The engine of exports: a store's frames are written as files of other programs, by the loop and the ledger of every run.

What holds: a file is a unit of the run, and whoever writes it writes it whole, under another name until it is; so a run that is ended
loses the files in flight and nothing else, and going on needs no memory but the folder. What is exported stands in the folder before the
first file (`EXPORTED`): another store, format or span of frames does not mix with it.
"""

from __future__ import annotations

import abc
import json
import platform
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError, RunError, StoreError, UnfinishedError, is_fatal, one_line
from nbdist.experiment.readout import LARGEST_READING
from nbdist.formats.files import written_whole
from nbdist.formats.image_files import FileNames
from nbdist.formats.text import parsed_json
from nbdist.formats.xds_input import WRITTEN, XDS_INPUT
from nbdist.frames.products import COUNTS, INTENSITY, Products
from nbdist.planning import Plan, Unit, Units
from nbdist.planning.cost import Cost, Memory
from nbdist.planning.plan import LARGEST_SHARD_BYTES
from nbdist.run.events import EventLog
from nbdist.run.executors.choice import Workers, this_process
from nbdist.run.failures import ErrorLine
from nbdist.run.jobs import Job
from nbdist.run.ledger import Ledger
from nbdist.run.loop import run_units
from nbdist.run.progress import Progress, Record, Report
from nbdist.run.stored_frames import FrameReader, SourceStore
from nbdist.scene.models import LARGEST_VALUE
from nbdist.store import StoreSummary
from nbdist.store.number_set import NumberSet
from nbdist.store.schema import Schema

WHAT = (COUNTS, INTENSITY)
"""What may be exported, in the order in which it is chosen."""
EXPORTED = "export.json"
"""File of a folder that says what is exported there."""
PROBE = ".nbdist-writable"
"""File that is written into a folder and removed, to see whether it can be."""
TRUTH = "_truth"
"""What the names of the models and reflections that were simulated end with."""
PIXEL_BYTES = 4
"""Of what is read and written."""
SECONDS_PER_PIXEL = 2e-8
"""What reading a pixel, packing and writing it takes, about."""
GO_ON = "files that are whole are kept, go on with --resume"


class Written(NamedTuple):
    """What became of a file: its size in bytes, and how many readings are too large for it and held."""

    size: int
    held: int = 0


@dataclass(frozen=True)
class Export(abc.ABC):
    """What is exported, where: all that does not change from file to file.

    Attributes
    ----------
    source
        The store.
    frames
        Of it, consecutive.
    product, dtype
        Name of what is written of them, and its type in the files.
    format
        The format.
    prefix
        What the names of the files begin with.
    folder
        Where to.
    made_at
        When it began, as ISO 8601 has it.
    run_id
        Random name of the run that writes it, which the folder has, too: another one that goes on with it, or replaces it, has another.
    """

    source: SourceStore
    frames: range
    product: str
    dtype: str
    format: FileNames
    prefix: str
    folder: Path
    made_at: str
    run_id: str

    @property
    def files(self) -> Units:
        """The files as units; frames are counted from the first that is exported."""
        return Units(len(self.frames), self.format.images_per_file)

    def path(self, file: Unit) -> Path:
        """Path of a file."""
        return self.folder / self.format.file_name(self.prefix, file.number)

    @property
    def images(self) -> Path:
        """What names all images: a path with # in it, or what is opened to read them."""
        return self.folder / self.format.images_name(self.prefix)

    @abc.abstractmethod
    def notes(self) -> Sequence[str]:
        """What a person should know of the files, a line each; nothing is written yet.

        Raises
        ------
        NbdistError
            If the format cannot hold them, or wants a package that is not installed.
        """

    @abc.abstractmethod
    def begin(self) -> None:
        """Write what is there before the first file, if anything is; again where it is there."""

    @abc.abstractmethod
    def write(self, file: Unit, reader: FrameReader) -> Written:
        """Write a file whole, after `require_there`."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Write what lies beside the files, when all of them are there.

        Raises
        ------
        NbdistError
            If it cannot be written.
        """

    def missing(self) -> NumberSet:
        """Numbers of the files that are not there."""
        there = _names_in(self.path(self.files[0]).parent)
        return NumberSet(file.number for file in self.files if self.path(file).name not in there)

    def said(self) -> dict[str, object]:
        """What the folder says of it, as JSON has it."""
        return {
            "format": self.format.name,
            "images_per_file": self.format.images_per_file,
            "prefix": self.prefix,
            "what": self.product,
            "dtype": self.dtype,
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
            return bool(parsed_json((self.folder / EXPORTED).read_bytes())["run_id"] == self.run_id)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def publish(self, *, anew: bool) -> None:
        """Have the folder say what is exported there, and by which run; `anew` where it says nothing of any.

        Raises
        ------
        NbdistError
            If it cannot be written, or says something by now.
        """
        said = {**self.said(), "made_at": self.made_at, "store": self.source.location, "run_id": self.run_id}
        _publish(self.folder, said, anew=anew)


AnExport = TypeVar("AnExport", bound=Export)


@dataclass
class Copied:
    """Frames that are copied: nothing is rendered of their plan."""

    plan: Plan
    device: str = "cpu"
    threads: int | None = None

    @classmethod
    def of(cls, summary: StoreSummary) -> Copied:
        """The frames of a store, whatever has become of the files that it was made of."""
        pixels = sum(slow * fast for slow, fast in summary.schema.panels)
        cost = Cost(pixels, 0.0, SECONDS_PER_PIXEL * pixels, 0.0, PIXEL_BYTES * pixels)
        memory = Memory(0, cost.product_bytes * summary.settings.frames_per_shard)
        return cls(Plan(summary.frames, (), (), summary.settings, False, cost, memory))


@dataclass
class ExportJob(Job[Copied]):
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
        self.export.notes()

    @property
    def kernel(self) -> dict[str, str]:
        """None: nothing is rendered."""
        return {"kernel": "none", "why_eager": ""}

    def require_usable(self, workers: int, error: ErrorLine) -> None:
        """See whether the store can be read from here, and the folder written: a file a worker, where the disk was full there."""
        self.export.require_there()
        FrameReader(self.export.source)
        files = self.context.plan.cost.product_bytes * self.export.format.images_per_file * workers
        _require_writable(self.export.folder, min(LARGEST_SHARD_BYTES, files) if error.disk_full else 1)

    def unit(self, number: int) -> Unit:
        """The file with this number."""
        return self.export.files[number]

    def render(self, unit: Unit) -> Record:
        """Write a file; its record."""
        began = time.perf_counter()
        written = self.export.write(unit, self.reader)
        return {
            "unit": unit.number,
            "frames": [unit.first_frame, unit.last_frame],
            "shard_bytes": {self.export.path(unit).name: written.size},
            "device": "cpu",
            "precision": self.export.dtype,
            "saturated_pixels": written.held,
            "kernel": "none",
            "host": platform.node(),
            "seconds": time.perf_counter() - began,
        }


def read_images(reader: FrameReader, frames: range, names: Collection[str]) -> Iterator[Products]:
    """What a store holds of consecutive frames of products of these names, read a shard at a time."""
    size, following = reader.frames_per_shard, frames.start
    while following < frames.stop:
        some = range(following, min(frames.stop, (following // size + 1) * size))
        yield from reader.read(some, names)[0]
        following = some.stop


def whole_counts(counts: NDArray[Any]) -> NDArray[np.int32]:
    """Counts as int32: marks of unsigned ones become `GAP` and `BAD`, and what is too large the largest value."""
    dtype = counts.dtype.name
    if dtype == "int32":
        return counts
    marked = counts > LARGEST_READING[dtype]  # type: ignore[index]
    found = np.minimum(counts, np.uint32(LARGEST_VALUE)).astype(np.int32)
    found[marked] = counts[marked].astype(f"int{8 * counts.itemsize}")
    return found


def product_to_export(location: str, schema: Schema, what: str | None) -> str:
    """Name of what is exported of a store.

    Raises
    ------
    RunError
        If it has not what is asked for.
    """
    there = {product.name for product in schema.products}
    held = [product.name for product in WHAT if product.name in there]
    product = what or held[0]
    if product not in held:
        raise RunError(f"{location}: holds {' and '.join(held)}, and no {product}")
    return product


def prefix_to_export(location: str, prefix: str | None) -> str:
    """What the names of the files begin with: that of the store when left out.

    Raises
    ------
    RunError
        If it cannot begin the names of files of a folder.
    """
    prefix = prefix or location.rstrip("/").rpartition("/")[2].removesuffix(".zarr")
    if not _is_name(prefix):
        raise RunError(
            f"--prefix {prefix}: begins names of files, of letters, digits and _ . + - with none of the last three in front"
        )
    return prefix


def now() -> str:
    """The time as ISO 8601 has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def written(
    wanted: AnExport,
    summary: StoreSummary,
    formats: Mapping[str, FileNames],
    workers: Workers | None,
    notes: Sequence[str],
    *,
    resume: bool,
    overwrite: bool,
    report: Report,
    log: EventLog,
) -> tuple[AnExport, Progress]:
    """Write an export; see `nbdist.export` for the parameters.

    Parameters
    ----------
    summary
        The store.
    formats
        All formats by name: an export that is replaced may be of another.
    notes
        What is said of it first.

    Returns
    -------
    What was exported, and the final progress.
    """
    _require_complete(summary, wanted.frames)
    wanted = _begun(wanted, formats, resume=resume, overwrite=overwrite)
    wanted.begin()
    left = Units(len(wanted.frames), wanted.format.images_per_file, wanted.missing())
    workers = workers or this_process("cpu")
    progress = Progress(frames_total=sum(len(file.frames) for file in left), log=log, kinds=dict(workers.kinds))
    progress.workers = sum(workers.kinds.values())
    progress.begun(store=wanted.source.location, units=len(left), resumed=resume)
    ended = "stopped"
    try:
        for note in notes:
            progress.noted(note)
        report(progress)
        if left:
            _write_files(ExportJob(Copied.of(summary), wanted), left, workers, progress, report)
        if not progress.failed:
            wanted.require_there()
            wanted.finish()
        ended = "units failed" if progress.failed else "complete"
    finally:
        progress.ended(ended)
    return wanted, progress


def _require_complete(summary: StoreSummary, frames: range) -> None:
    """Check that frames of a store are complete.

    Raises
    ------
    UnfinishedError
        If some are not, with the most in a row that are.
    """
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


def _names(its: FileNames, prefix: str, files: int) -> set[str]:
    """Names of the files and folders of an export, but for `EXPORTED`, and XDS.INP, which may be someone's own."""
    beside = {f"{prefix}.expt", f"{prefix}{TRUTH}.expt", f"{prefix}{TRUTH}.refl", its.images_name(prefix)}
    return beside | {its.file_name(prefix, number).partition("/")[0] for number in range(files)}


def _begun(wanted: AnExport, formats: Mapping[str, FileNames], *, resume: bool, overwrite: bool) -> AnExport:
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
    formats = {**formats, wanted.format.name: wanted.format}
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
        wanted = replace(wanted, made_at=str(earlier.get("made_at")))
        wanted.publish(anew=False)
        _remove_parts(folder, wanted.prefix)
        return wanted
    replaced = set[str]()
    if earlier is not None:
        files = len(Units(len(range(*earlier["frames"])), earlier["images_per_file"]))
        replaced = _names(formats[earlier["format"]], earlier["prefix"], files)
    names = _names(wanted.format, wanted.prefix, len(wanted.files))
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
        said = parsed_json((folder / EXPORTED).read_bytes())
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
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
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
    missing = job.export.missing()
    unseen = [job.export.path(file).name for file in files if file.number in missing]
    if unseen and not progress.failed:
        raise RunError(f"{folder}: {unseen[0]} was written but is not in the folder that is seen from here")
