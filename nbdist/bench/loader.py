"""Reading for training beside zarr: whole frames by a loader of two workers, crops by one process, over epochs of one store.

What is compared takes turns, so a machine that slows down slows both. zarr reads the same frames of the same arrays one by one, in as many
processes as the loader has workers; that is quicker than whole shards at once, whose images are too large for its memory to be used again.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nbdist.bench.integrated import TETRAGONAL
from nbdist.experiment import Experiment, validate

FRAMES, FRAMES_PER_SHARD = 24, 4
WORKERS, RANKS = 2, 2
EPOCHS = 10
"""Epochs over which memory is looked at, at least."""
BATCH, BUFFER = 2, 8
CROP_PIXELS = 128
CROPS = 48
"""Crops that are timed together."""
METHOD = "fork"


@dataclass(frozen=True)
class LoaderRecord:
    """What reading for training took: a line of the benchmark's table.

    Attributes
    ----------
    threads
        Workers of the loader.
    frames_per_s
        Frames (intensity and counts) of the loader, mixed by shard.
    sequential_ratio, shuffled_ratio
        Rate of the loader over that of zarr in as many processes: in the order of the store, and mixed by shard.
    processor_ratio
        Seconds of processors that zarr takes, over those of the loader, mixed: what rates come to if nobody else uses the machine.
    crops_ratio
        Rate of crops at random over that of a reader of whole frames that crops them, both of this package and in one process.
    growth_mib
        Memory of the loader's processes after `EPOCHS` epochs, less that after the first one; without that of batches, which is shared.
    once
        Whether ranks and workers had each frame exactly once in an epoch that was left and gone on with.
    spread
        (largest - smallest) / median of `shuffled_ratio`.
    """

    case: str
    device: str
    dtype: str
    threads: int
    frames_per_s: float
    sequential_ratio: float
    shuffled_ratio: float
    processor_ratio: float
    crops_ratio: float
    growth_mib: float
    once: bool
    spread: float


def missing_for_loader() -> str:
    """What this case needs and is not here; empty where all is."""
    if find_spec("torch") is None:
        return "PyTorch is not installed"
    return "" if Path("/proc/self/statm").exists() else "it looks at processes as Linux shows them"


def loader_experiment() -> Experiment:
    """Frames of 4.5 megapixels, integrated, over water, with photon noise."""
    return validate(TETRAGONAL).with_changes(
        crystal={"N_cells": [100] * 3, "mosaicity": {"sigma_deg": 0.1}},
        scan={"frames": FRAMES},
        background={"water_um": 2.5},
        noise={"photon_noise": True},
    )


def measure_loader(name: str, experiment: Experiment, repeats: int, epochs: int = EPOCHS) -> LoaderRecord:
    """Make a series of an experiment and read it, for so many epochs at least."""
    from nbdist.run.generate import generate

    with tempfile.TemporaryDirectory(prefix="nbdist-bench-") as scratch:
        location = str(Path(scratch) / "series.zarr")
        generate(experiment, location, serial=True, frames_per_shard=FRAMES_PER_SHARD)
        crops = [_crops_ratio(location) for _ in range(repeats)]
        rates, growth = _rates(location, max(repeats, epochs))
        once = _exactly_once(location)
    shuffled = [mixed.rate / plain.rate for _, mixed, plain in rates]
    return LoaderRecord(
        case=name,
        device="cpu",
        dtype=experiment.sampling.precision,
        threads=WORKERS,
        frames_per_s=statistics.median(mixed.rate for _, mixed, _ in rates),
        sequential_ratio=statistics.median(in_order.rate / plain.rate for in_order, _, plain in rates),
        shuffled_ratio=statistics.median(shuffled),
        processor_ratio=statistics.median(plain.processor_s / mixed.processor_s for _, mixed, plain in rates),
        crops_ratio=statistics.median(crops),
        growth_mib=growth / 2**20,
        once=once,
        spread=(max(shuffled) - min(shuffled)) / statistics.median(shuffled),
    )


class _Epoch(NamedTuple):
    """Frames a second of an epoch, and seconds of processors that it took, of all processes that read."""

    rate: float
    processor_s: float


def _rates(location: str, epochs: int) -> tuple[list[tuple[_Epoch, _Epoch, _Epoch]], float]:
    """Epochs in the order of the store, mixed, and by zarr; and bytes that the loaders' processes grew by."""
    from nbdist.learning import FrameDataset, ResumableLoader, StreamDataset

    def loader(shuffle: bool) -> ResumableLoader:
        stream = StreamDataset(FrameDataset(location), shuffle=shuffle, buffer=BUFFER)
        options = {"batch_size": BATCH, "num_workers": WORKERS, "persistent_workers": True}
        return ResumableLoader(stream, multiprocessing_context=METHOD, **options)

    in_order, mixed = loader(False), loader(True)
    for its in (in_order, mixed):  # processes are started, the store comes into the memory of the machine
        _drain(its)
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)]
    first, found = _memory_bytes(processes), []

    def by_loader(its: ResumableLoader) -> _Epoch:
        before = _processor_s(processes)
        seconds = _seconds(lambda: _drain(its))
        return _Epoch(FRAMES / seconds, _processor_s(processes) - before)

    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context(METHOD)) as pool:

        def by_zarr() -> _Epoch:
            started = time.perf_counter()
            reading = [pool.submit(_read_by_zarr, location, worker) for worker in range(WORKERS)]
            spent = sum(its.result() for its in reading)
            return _Epoch(FRAMES / (time.perf_counter() - started), spent)

        by_zarr()
        for _ in range(epochs):
            found.append((by_loader(in_order), by_loader(mixed), by_zarr()))
    return found, _memory_bytes(processes) - first


def _drain(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def _read_by_zarr(location: str, worker: int) -> float:
    """Read every frame of a worker's share; seconds of the processor that it took."""
    return _seconds(lambda: _drain(_frames_by_zarr(location, range(worker, FRAMES, WORKERS))), time.process_time)


def _frames_by_zarr(location: str, frames: range) -> Iterator[list[Any]]:
    import zarr

    group = zarr.open_group(location, mode="r")
    arrays: list[Any] = [group["intensity"], group["counts"]]
    for frame in frames:
        yield [array[frame] for array in arrays]


def _crops_ratio(location: str) -> float:
    """Rate of crops at random over that of crops of whole frames, in this process, by its processor time."""
    from nbdist.learning import CropDataset, FrameDataset

    crops = CropDataset(location, CROP_PIXELS, crops=-(-CROPS // FRAMES), centred=0, negatives=0)
    frames = FrameDataset(location)

    def whole(index: int) -> list[Any]:
        frame = frames[index % FRAMES]
        return [frame[name][:CROP_PIXELS, :CROP_PIXELS].clone() for name in ("intensity", "counts")]

    crops[0], whole(0)
    few = CROPS // 8
    own = _seconds(lambda: [crops[index] for index in range(CROPS)], time.process_time) / CROPS
    return _seconds(lambda: [whole(index) for index in range(few)], time.process_time) / few / own


def _exactly_once(location: str) -> bool:
    """Whether ranks of workers have each frame once in an epoch, and in one that is left after a few batches and gone on with."""
    from nbdist.learning import FrameDataset, ResumableLoader, StreamDataset

    dataset = FrameDataset(location, products=[])
    options = {"batch_size": BATCH, "num_workers": WORKERS, "multiprocessing_context": METHOD}
    whole: list[int] = []
    resumed: list[int] = []
    for rank in range(RANKS):
        stream = StreamDataset(dataset, buffer=BUFFER, rank=rank, ranks=RANKS)
        whole += _frames(ResumableLoader(stream, **options))
        left, going_on = ResumableLoader(stream, **options), ResumableLoader(stream, **options)
        resumed += _frames(islice(left, 3))
        going_on.load_state_dict(left.state_dict())
        resumed += _frames(going_on)
    return sorted(whole) == list(range(FRAMES)) and whole == resumed


def _frames(batches: Iterable[Any]) -> list[int]:
    return [frame for batch in batches for frame in batch["frame"].tolist()]


def _memory_bytes(processes: Sequence[int]) -> int:
    """Memory that some processes have for themselves; that of batches, which they share, is bounded from the beginning."""
    sizes = [Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split() for pid in processes]
    return sum(os.sysconf("SC_PAGE_SIZE") * (int(resident) - int(shared)) for _, resident, shared, *_ in sizes)


def _processor_s(processes: Sequence[int]) -> float:
    """Seconds of processors that some processes have taken so far."""
    after_name = [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for pid in processes]
    return sum(int(ticks) for its in after_name for ticks in its[11:13]) / os.sysconf("SC_CLK_TCK")


def _seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work()
    return clock() - started
