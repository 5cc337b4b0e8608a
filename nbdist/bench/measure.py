"""Measures one case in a process of its own: the machine's limit, the rendering and the other program take turns."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from nbdist.bench.cases import FRAMES, Case
from nbdist.bench.limit import SLOTS_PER_PIXEL_STEP, cpu_fma_per_s, cuda_fma_per_s
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from nbdist.frames.renderer import Renderer

P = ParamSpec("P")
T = TypeVar("T")
TILE = 1024
"""Side of the tiles that a frame is cut into, as `nbdist run` cuts it."""
ERROR_PIXELS = 256
"""Side of the square, around the brightest pixel rendered, in which the error is measured."""


@dataclass(frozen=True)
class Record:
    """What the sum of a case took: a line of the benchmark's table; None is "not measured"."""

    case: str
    device: str
    dtype: str
    threads: int
    pixel_steps_per_s: float
    limit_pixel_steps_per_s: float
    fraction_of_limit: float
    ratio_to_reference: float | None
    peak_memory_bytes: int
    max_error: float | None
    spread: float


def in_own_process(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function in a fresh process, so that its peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments, **options).result()


def measure_on_cores(case: Case, folder: Path, dtype: str, cores: int, repeats: int) -> Record:
    """A case rendered by as many processes at once as there are cores to measure, each on one: as `nbdist run` uses them."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        running = [pool.submit(measure, case, folder, "cpu", dtype, None, repeats) for _ in range(cores)]
        records = [future.result() for future in running]
    rate = sum(record.pixel_steps_per_s for record in records)
    limit = sum(record.limit_pixel_steps_per_s for record in records)
    return replace(
        records[0],
        threads=cores,
        pixel_steps_per_s=rate,
        limit_pixel_steps_per_s=limit,
        fraction_of_limit=rate / limit,
        peak_memory_bytes=max(record.peak_memory_bytes for record in records),
        spread=max(record.spread for record in records),
    )


def measure(case: Case, folder: Path, device: str, dtype: str, against: Path | None, repeats: int) -> Record:
    """Render a case on one core `repeats` times and compare each time with the limit, and with `against`."""
    from nbdist.frames.renderer import Renderer
    from nbdist.planning.cutting import cut_tiles
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections

    scene = resolve(case.experiment(folder, dtype))
    renderer = Renderer(scene, load_reflections(scene), device, threads=1)
    if renderer.backend.mode != "compiled":
        raise NbdistError("the kernel cannot be compiled here; there is nothing to measure")
    samples = scene.instrument.rays_per_pixel(0) * len(scene.instrument.sources)
    work = case.tile.pixels * samples * scene.orientations_per_frame
    tiles = cut_tiles([case.tile], (TILE, TILE))

    def render() -> float:
        started = time.perf_counter()
        for tile in tiles:
            renderer.partial(tile, 0)
        return work / (time.perf_counter() - started)

    render()
    rates, limits, ratios, memory = [], [], [], 0
    for _ in range(repeats):
        limits.append(_limit(device, dtype, 1))
        if device == "cuda":
            _cuda().reset_peak_memory_stats()
        rates.append(render())
        memory = max(memory, _cuda().max_memory_allocated() if device == "cuda" else _peak_memory_bytes())
        if against is not None:
            ratios.append(rates[-1] / (work / _seconds_of(against, case.words_of_the_tile, folder, 1)))
    fractions = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
    return Record(
        case=case.name,
        device=_cuda().get_device_name() if device == "cuda" else "cpu",
        dtype=dtype,
        threads=1,
        pixel_steps_per_s=statistics.median(rates),
        limit_pixel_steps_per_s=statistics.median(limits),
        fraction_of_limit=statistics.median(fractions),
        ratio_to_reference=statistics.median(ratios) if ratios else None,
        peak_memory_bytes=memory,
        max_error=_max_error(case, renderer, folder) if dtype == "float32" else None,
        spread=(max(rates) - min(rates)) / statistics.median(rates),
    )


def _cuda() -> ModuleType:
    import torch

    return torch.cuda


def _limit(device: str, dtype: str, threads: int) -> float:
    """Pixel-steps/s that the device's arithmetic allows, measured now."""
    peak = cuda_fma_per_s(dtype) if device == "cuda" else cpu_fma_per_s(dtype, threads)
    return peak / SLOTS_PER_PIXEL_STEP


def _peak_memory_bytes(who: int = resource.RUSAGE_SELF) -> int:
    return resource.getrusage(who).ru_maxrss * 1024


def _max_error(case: Case, renderer: Renderer, folder: Path) -> float:
    """Largest difference of float32 from float64 over the largest photon count, around the brightest pixel of the case's tile."""
    import numpy as np

    from nbdist.frames.renderer import Renderer
    from nbdist.scene import Tile, resolve
    from nbdist.scene.amplitudes import load_reflections

    image = renderer.frame(0, case.tile)
    slow, fast = np.unravel_index(int(image.argmax()), image.shape)
    start = [max(0, int(n) - ERROR_PIXELS // 2) for n in (slow, fast)]
    rows, columns = (slice(first, first + ERROR_PIXELS) for first in start)
    single = image[rows, columns]
    top, left = case.tile.slow_start + start[0], case.tile.fast_start + start[1]
    tile = Tile(0, top, top + single.shape[0], left, left + single.shape[1])
    scene = resolve(case.experiment(folder, "float64"))
    exact = Renderer(scene, load_reflections(scene)).frame(0, tile)
    return float(np.abs(single - exact).max() / exact.max())


def _seconds_of(program: Path, words: Sequence[str], folder: Path, threads: int) -> float:
    """How long another nanoBragg takes for the same flags, as a whole command."""
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [
            "-floatfile",
            f"{scratch}/float.bin",
            "-intfile",
            f"{scratch}/int.img",
            "-pgmfile",
            f"{scratch}/x.pgm",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        started = time.perf_counter()
        done = subprocess.run(
            [program, *words, *outputs],
            cwd=folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        seconds = time.perf_counter() - started
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NbdistError(f"--against {program}: it ended with {done.returncode}: {said[-1] if said else 'no message'}")
    return seconds


def measure_series(
    case: Case, folder: Path, device: str, workers: int, against: Path | None, repeats: int, scratch: Path
) -> Record:
    """The whole command `nbdist run` for a series of frames, intensities written, kernels compiled before."""
    import sys

    from nbdist.experiment import experiment_to_yaml
    from nbdist.scene import resolve

    experiment = case.experiment(folder, "float32")
    experiment = experiment.with_changes(scan={"frames": FRAMES})
    file, store = scratch / "series.yaml", scratch / "series.zarr"
    file.write_text(experiment_to_yaml(experiment), encoding="utf-8")
    command = [sys.executable, "-m", "nbdist", "run", str(file), "-o", str(store), "--overwrite", "--device", device]
    command += ["--workers", str(workers)]
    steps = resolve(experiment).orientations_per_frame
    work = FRAMES * case.tile.pixels * steps
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    rates, limits, ratios, memory = [], [], [], 0
    for repeat in range(repeats + 1):
        limits.append(_limit(device, "float32", workers))
        started = time.perf_counter()
        done = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        rates.append(work / (time.perf_counter() - started))
        if done.returncode != 0:
            raise NbdistError(f"nbdist run failed: {done.stderr.strip().splitlines()[-1]}")
        memory = memory or _peak_memory_bytes(resource.RUSAGE_CHILDREN)  # before any other program has run
        if against is not None and repeat > 0:
            ratios.append(rates[-1] / (work / FRAMES / _seconds_of(against, case.words, folder, workers)))
    rates, limits = rates[1:], limits[1:]  # the first filled the caches
    fractions = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
    return Record(
        case=f"series_{FRAMES}_frames",
        device=device,
        dtype="float32",
        threads=workers,
        pixel_steps_per_s=statistics.median(rates),
        limit_pixel_steps_per_s=statistics.median(limits),
        fraction_of_limit=statistics.median(fractions),
        ratio_to_reference=statistics.median(ratios) if ratios else None,
        peak_memory_bytes=memory,
        max_error=None,
        spread=(max(rates) - min(rates)) / statistics.median(rates),
    )


FIRST = """
import sys
from pathlib import Path
from nbdist.bench.cases import cases
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.frames.renderer import Renderer
from nbdist.scene import Tile
folder = Path(sys.argv[1])
[case] = cases("reference", folder)
scene = resolve(case.experiment(folder, "float32"))
renderer = Renderer(scene, load_reflections(scene), sys.argv[3], sys.argv[2], threads=1)
renderer.frame(0, Tile(0, 1000, 1032, 1000, 1032))
"""


def first_frame_seconds(folder: Path, mode: str, device: str, cache: Path) -> float:
    """Seconds from a new process to 32 x 32 pixels of the reference frame, with the compile cache at `cache`."""
    import sys

    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache), "NBDIST_KERNELS": str(cache)}
    command = [sys.executable, "-c", FIRST, str(folder), mode, device]
    started = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return time.perf_counter() - started
