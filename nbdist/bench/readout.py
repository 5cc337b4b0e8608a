"""The read-out on one core: counts against numpy's, the response against counts, and a whole series against its packing and writing.

Seconds are of the processor, so that others on the machine matter little; what is compared takes turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbdist.bench.integrated import TETRAGONAL
from nbdist.bench.series_steps import series_steps
from nbdist.errors import NbdistError
from nbdist.experiment import Experiment, validate
from nbdist.readout.chain import Readout
from nbdist.readout.compiled import compiled
from nbdist.readout.draws import Draws
from nbdist.scene import resolve

LEAST_PHOTONS, MOST_PHOTONS = 0.1, 20.0
"""Expected photons of a pixel, evenly between: pixels beside one another have nothing in common."""
FRAMES = 10
RESPONSE = {
    "point_spread": {"kind": "gaussian", "fwhm_mm": 0.1},
    "electrons_per_photon": 10,
    "calibration_sigma": 0.02,
    "read_noise_electrons": 5,
    "adu_per_electron": 0.5,
    "offset_adu": 40,
    "saturation_adu": 65000,
}


@dataclass(frozen=True)
class ReadoutRecord:
    """What reading out a frame took: a line of the benchmark's table.

    Attributes
    ----------
    poisson_s
        Seconds of the Poisson counts of a frame.
    times_numpy
        What `numpy.random.RandomState(numpy.random.Philox()).poisson` takes for the same frame, over that.
    response_ratio
        What follows the counts (point spread, gain, calibration, noise, saturation, gaps), over them.
    series_ratio
        All steps of a series with integrated photons, water and response, over packing and writing alone.
    spread
        (largest - smallest) / median of `times_numpy`.
    """

    case: str
    device: str
    dtype: str
    threads: int
    poisson_s: float
    times_numpy: float
    response_ratio: float
    series_ratio: float
    spread: float


def readout_experiment() -> Experiment:
    """Frames of 4.5 megapixels with 3 to 14 photons of water a pixel, integrated, and all of the response that a CCD has."""
    return validate(TETRAGONAL).with_changes(
        crystal={"N_cells": [100] * 3, "mosaicity": {"sigma_deg": 0.1}},
        scan={"frames": FRAMES},
        background={"water_um": 2.5},
        noise={"photon_noise": True},
        readout=RESPONSE,
    )


def measure_readout(name: str, experiment: Experiment, repeats: int) -> ReadoutRecord:
    """Read out a frame, and make a series of an experiment, `repeats` times in turn with what they are compared with."""
    if compiled() is None:
        raise NbdistError("the deviates cannot be compiled here; there is nothing to measure")
    scene = resolve(experiment)
    readout, draws = Readout(scene), Draws(experiment.noise.seed)
    shape = scene.instrument.panels[0].shape
    photons = np.random.default_rng(1).uniform(LEAST_PHOTONS, MOST_PHOTONS, shape).astype(np.float32)
    numpys = np.random.RandomState(np.random.Philox(1))
    readout.counts([photons], 0)  # what is the same in all frames is made
    poisson, gains, responses, series = [], [], [], []
    for _ in range(repeats):
        own = _seconds(lambda: draws.poisson(photons))
        gains.append(_seconds(lambda: numpys.poisson(photons)) / own)
        responses.append(_seconds(lambda: readout.counts([photons], 0)) / own - 1)
        poisson.append(own)
        with tempfile.TemporaryDirectory(prefix="nbdist-bench-") as scratch:
            steps, _ = series_steps(experiment, Path(scratch), time.process_time)
        series.append(sum(steps.values()) / (steps["packing"] + steps["writing"]))
    return ReadoutRecord(
        case=name,
        device="cpu",
        dtype=experiment.sampling.precision,
        threads=1,
        poisson_s=statistics.median(poisson),
        times_numpy=statistics.median(gains),
        response_ratio=statistics.median(responses),
        series_ratio=statistics.median(series),
        spread=(max(gains) - min(gains)) / statistics.median(gains),
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
