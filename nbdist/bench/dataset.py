"""Samples of a recipe end to end, against packing and writing what they hold: stills of a megapixel, each with an instrument of its own.

Two processes render at a time, as on two cores; seconds are of the processor, so that others on the machine matter little.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbdist.bench.readout import RESPONSE
from nbdist.bench.series_steps import STEPS, store_steps
from nbdist.experiment.recipe import Recipe, recipe_of
from nbdist.run.sample_contexts import sample_contexts
from nbdist.store import DatasetContent

SAMPLES = 16
"""Samples that a process renders."""
RECIPE: dict[str, Any] = {
    "recipe": {"seed": 1},
    "let": {"size_um": {"log_uniform": [2.0, 20.0]}},
    "beam": {
        "wavelength_A": 0.9768,
        "flux_photons_per_s": 1e12,
        "exposure_s": 0.1,
        "beam_size_mm": 0.05,
        "polarization_factor": 0.99,
        "exposure_jitter_sigma": 0.05,
    },
    "crystal": {
        "cell": [79.1, 79.1, 37.9, 90, 90, 90],
        "space_group": "P 43 21 2",
        "misset_deg": {"rotation": "uniform"},
        "size_um": "= let.size_um",
        "shape": "gauss",
        "mosaicity": {"sigma_deg": {"uniform": [0.02, 0.2]}},
    },
    "scan": {"frames": 1, "osc_range_deg": 0.0},
    "detector": {
        "convention": "xds",
        "panels": [
            {
                "spixels": 1024,
                "fpixels": 1024,
                "pixel_size_mm": 0.172,
                "distance_mm": {"uniform": [150.0, 250.0]},
                "beam_center_mm": [{"normal": [88.0, 0.5]}, {"normal": [88.0, 0.5]}],
            }
        ],
    },
    "structure_factors": {"kind": "wilson", "d_min_A": 1.5, "seed": {"integer": [1, 2]}},
    "sampling": {"method": "integrated"},
    "background": {"water_um": {"uniform": [2.0, 6.0]}, "air": {"before_mm": 20.0}},
    "noise": {"photon_noise": True},
    "readout": RESPONSE,
    "labels": "all",
}


@dataclass(frozen=True)
class DatasetRecord:
    """What a sample of a recipe took: a line of the benchmark's table.

    Attributes
    ----------
    threads
        Processes that rendered at a time.
    sample_s
        Seconds of a sample, of one process.
    steps_s
        The same of each of `STEPS`.
    ratio
        All of a sample over packing and writing what it holds.
    spread
        (largest - smallest) / median of `ratio`.
    """

    case: str
    device: str
    dtype: str
    threads: int
    sample_s: float
    steps_s: dict[str, float]
    ratio: float
    spread: float


def dataset_recipe() -> Recipe:
    """Stills of a megapixel: integrated, over water and air, with all of the response that a CCD has, and labels of pixels and spots."""
    return recipe_of(RECIPE)


def measure_dataset(
    name: str, recipe: Recipe, processes: Sequence[Executor], repeats: int, samples: int = SAMPLES
) -> DatasetRecord:
    """Make data sets of so many samples in each of some processes at a time, `repeats` times."""
    ratios, steps = [], []
    with _a_thread_each():
        for its in [each.submit(dataset_recipe) for each in processes]:
            its.result()  # the process is there, with the threads that it has been told
    for _ in range(repeats):
        running = [each.submit(_sample_seconds, recipe, samples) for each in processes]
        found = [its.result() for its in running]
        each = {step: statistics.mean(its[step] for its in found) / samples for step in STEPS}
        steps.append(each)
        ratios.append(sum(each.values()) / (each["packing"] + each["writing"]))
    seconds = {step: statistics.median(each[step] for each in steps) for step in STEPS}
    return DatasetRecord(
        case=name,
        device="cpu",
        dtype=recipe.example.sampling.precision,
        threads=len(processes),
        sample_s=sum(seconds.values()),
        steps_s=seconds,
        ratio=statistics.median(ratios),
        spread=(max(ratios) - min(ratios)) / statistics.median(ratios),
    )


@contextlib.contextmanager
def _a_thread_each() -> Iterator[None]:
    """Have processes that start meanwhile one thread each, as Dask's workers have: others of linear algebra would wait by computing."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def _sample_seconds(recipe: Recipe, samples: int) -> dict[str, float]:
    contexts = sample_contexts(recipe, samples)
    with tempfile.TemporaryDirectory(prefix="nbdist-bench-") as scratch:
        content = DatasetContent(recipe, samples, contexts.plan)
        return store_steps(contexts, content, Path(scratch), time.process_time)[0]
