"""The integrated method beside the sum: a frame's time in pixel-steps of the sum, measured in turn with it.

What is integrated is no nanoBragg's, so these cases are experiments rather than flags. Each core has a process of its own, as in
`nbdist run`, and all of them render the same frames; one renders them alone, then all together, then the sum has its turn, and so on:
a machine that slows down slows all of them.
"""

from __future__ import annotations

import functools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nbdist.bench.cases import cases
from nbdist.errors import NbdistError
from nbdist.experiment import Experiment, validate
from nbdist.scene import Tile

if TYPE_CHECKING:
    from nbdist.frames.renderer import Renderer

T = TypeVar("T")

FRAMES = 10
"""Frames of a case, rendered one after the other."""
SUM_PHI_STEPS, SUM_DOMAINS = 20, 100
"""What the sum is given to come near to what is integrated."""
SUM_PIXELS = 256
"""Side of the square, in the middle of the panel, that the sum renders: its time is that of a pixel, times the pixels."""
EIGER = {"spixels": 2167, "fpixels": 2070, "pixel_size_mm": 0.075, "distance_mm": 120}
TETRAGONAL = {
    "beam": {"wavelength_A": 0.9768, "fluence_photons_per_m2": 1e24, "polarization_factor": 0.99},
    "crystal": {"cell": [79.1, 79.1, 37.9, 90, 90, 90], "misset_deg": [14, -31, 52], "shape": "gauss"},
    "scan": {"frames": FRAMES, "osc_range_deg": 0.1},
    "detector": {"convention": "xds", "panels": [EIGER]},
    "structure_factors": {"kind": "wilson", "d_min_A": 1.4},
    "sampling": {"method": "integrated"},
}


@dataclass(frozen=True)
class IntegratedRecord:
    """What an integrated case took: a line of the benchmark's table; None is "not measured".

    Attributes
    ----------
    frame_s, spots
        Seconds and spots of a frame, rendered whole by one process, without background and writing.
    sum_pixel_steps_per_s
        Of the sum, with square crystals and the same subpixels (1 where the integrated method chooses).
    pixel_steps
        Of the sum, that take as long as the frame, over its pixels.
    times_the_sum
        How many times longer the sum takes with 20 phi steps, 100 domains and those subpixels.
    cores_gain
        Frames of `threads` processes at once, over those of one alone in the same time; None where there is one.
    spread
        (largest - smallest) / median of the frames' seconds.
    """

    case: str
    device: str
    dtype: str
    threads: int
    frame_s: float
    spots: float
    sum_pixel_steps_per_s: float
    pixel_steps: float
    times_the_sum: float
    cores_gain: float | None
    spread: float


def integrated_cases(folder: Path) -> dict[str, Experiment]:
    """The cases by name; `folder` is from `cases.input_folder`."""
    [reference] = cases("reference", folder)
    pilatus = reference.experiment(folder, "float32").with_changes(
        crystal={"shape": "gauss", "mosaicity": {"sigma_deg": 0.1}},
        scan={"frames": FRAMES},
        sampling={"method": "integrated", "oversample": 2, "interpolate": "auto"},
    )

    def eiger(cells: int, sigma_deg: float, oversample: int | str) -> Experiment:
        crystal = {"N_cells": [cells] * 3, "mosaicity": {"sigma_deg": sigma_deg}}
        return validate(TETRAGONAL).with_changes(crystal=crystal, sampling={"oversample": oversample})

    return {
        "pilatus_2x2": pilatus,
        "eiger_100_2x2": eiger(100, 0.1, 2),
        "eiger_100": eiger(100, 0.1, "auto"),
        "eiger_1000": eiger(1000, 0.05, "auto"),
    }


def summed(experiment: Experiment) -> Experiment:
    """The sum that comes near to an integrated experiment, with square crystals and the same subpixels."""
    crystal = experiment.only_crystal
    given = experiment.sampling.oversample
    return experiment.with_changes(
        crystal={"shape": "square", "mosaicity": {**crystal.mosaicity.model_dump(), "domains": SUM_DOMAINS}},
        scan={"phi_steps": SUM_PHI_STEPS},
        sampling={"method": "sum", "oversample": 1 if given == "auto" else given, "interpolate": False},
    )


@contextmanager
def own_processes(cores: int) -> Iterator[list[Executor]]:
    """So many executors of one process each."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        yield [stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for _ in range(cores)]


def measure_integrated(
    name: str, experiment: Experiment, device: str, cores: Sequence[Executor], repeats: int
) -> IntegratedRecord:
    """Render the frames of a case on one core and on all of them at once, `repeats` times in turn with the sum."""

    def at_once(cores: Sequence[Executor], function: Callable[[Experiment, str], T]) -> list[T]:
        running = [core.submit(function, experiment, device) for core in cores]
        return [future.result() for future in running]

    spots = at_once(cores, _spots)[0]  # loads and compiles
    at_once(cores, _seconds)
    [_] = at_once(cores[:1], _sum_rate)
    alone: list[float] = []
    rates: list[float] = []
    steps: list[float] = []
    times: list[float] = []
    gains: list[float] = []
    for _ in range(repeats):
        [seconds] = at_once(cores[:1], _seconds)
        if len(cores) > 1:
            gains.append(sum(seconds / its for its in at_once(cores, _seconds)))
        [(rate, pixels, of_a_pixel)] = at_once(cores[:1], _sum_rate)
        alone.append(seconds)
        rates.append(rate)
        steps.append(seconds * rate / pixels)
        times.append(pixels * of_a_pixel / rate / seconds)
    return IntegratedRecord(
        case=name,
        device=device,
        dtype=experiment.sampling.precision,
        threads=len(cores),
        frame_s=statistics.median(alone),
        spots=spots,
        sum_pixel_steps_per_s=statistics.median(rates),
        pixel_steps=statistics.median(steps),
        times_the_sum=statistics.median(times),
        cores_gain=statistics.median(gains) if gains else None,
        spread=(max(alone) - min(alone)) / statistics.median(alone),
    )


@functools.lru_cache(1)
def _renderers(experiment: Experiment, device: str) -> tuple[Renderer, Renderer]:
    """The case's renderer and that of the sum, in this process."""
    from nbdist.frames.renderer import Renderer
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections

    made = []
    for its in (experiment, summed(experiment)):
        scene = resolve(its)
        made.append(Renderer(scene, load_reflections(scene), device, threads=1))
        if made[-1].backend.mode != "compiled":
            raise NbdistError("the kernel cannot be compiled here; there is nothing to measure")
    return made[0], made[1]


def _panel(renderer: Renderer) -> Tile:
    return Tile(0, *renderer.scene.instrument.panels[0].region)


def _spots(experiment: Experiment, device: str) -> float:
    """Spots of a frame, on the detector or beside it."""
    diffraction = _renderers(experiment, device)[0].diffraction
    assert diffraction is not None
    return statistics.mean(len(diffraction.spots(frame).reflection) for frame in range(FRAMES))


def _seconds(experiment: Experiment, device: str) -> float:
    """Seconds of a frame."""
    renderer = _renderers(experiment, device)[0]
    tile, started = _panel(renderer), time.perf_counter()
    for frame in range(FRAMES):
        renderer.partial(tile, frame)
    return (time.perf_counter() - started) / FRAMES


def _sum_rate(experiment: Experiment, device: str) -> tuple[float, int, int]:
    """Pixel-steps/s of the sum, and how many pixels the panel has, of how many pixel-steps each."""
    from nbdist.kernels.native.backend import BLOCK_PIXELS

    renderer = _renderers(experiment, device)[1]
    scene, panel = renderer.scene, _panel(renderer)
    of_a_pixel = scene.instrument.rays_per_pixel(0) * len(scene.instrument.sources) * scene.orientations_per_frame
    slow, fast = (max(0, pixels - SUM_PIXELS) // 2 // BLOCK_PIXELS * BLOCK_PIXELS for pixels in panel.shape)
    rows, columns = (min(pixels, SUM_PIXELS) for pixels in panel.shape)
    tile = Tile(0, slow, slow + rows, fast, fast + columns)
    started = time.perf_counter()
    renderer.partial(tile, 0)
    return tile.pixels * of_a_pixel / (time.perf_counter() - started), panel.pixels, of_a_pixel
