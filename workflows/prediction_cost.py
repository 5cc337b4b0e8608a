"""Measure what it costs to know the reflections of a frame: CPU time of a frame of some 10,000 reflections out of a list of a million.

    python workflows/prediction_cost.py

What is printed is the least of several frames and repeats, in milliseconds of CPU time: the search for the spots that a frame is rendered
from, and that with the places, extents and photons of `nbdist.predict`; and the time that the series takes once, before its first frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nbdist.experiment import validate
from nbdist.kernels.prediction import Prediction, frame_reflections
from nbdist.kernels.spots import Diffraction
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

EXPERIMENT = {
    "beam": {"wavelength_A": 1.0, "fluence_photons_per_m2": 1e24},
    "crystal": {
        "cell": [72, 78, 84, 90, 90, 90],
        "misset_deg": [20, 35, 50],
        "N_cells": [100, 100, 100],
        "shape": "gauss",
        "mosaicity": {"sigma_deg": 0.03},
    },
    "detector": {
        "convention": "xds",
        "panels": [{"spixels": 4000, "fpixels": 4000, "pixel_size_mm": 0.075, "distance_mm": 139}],
    },
    "scan": {"frames": 100, "osc_range_deg": 1.0},
    "structure_factors": {"kind": "wilson", "d_min_A": 1.25, "seed": 1},
    "sampling": {"method": "integrated"},
}
FRAMES, REPEATS = range(10, 20), 10


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of this process for some work, milliseconds."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    """Print the measured times."""
    scene = resolve(validate(EXPERIMENT))
    amplitudes = load_reflections(scene)
    start = time.process_time()
    prediction = Prediction(Diffraction(scene, amplitudes))
    once_s = time.process_time() - start
    diffraction = prediction.diffraction
    diffraction.spots(0)  # works out the crossings of the source
    frames = [*FRAMES] * REPEATS
    spots = min(cpu_ms(lambda frame=frame: diffraction.spots(frame)) for frame in frames)
    places = min(cpu_ms(lambda frame=frame: frame_reflections(prediction, frame)) for frame in frames)
    counts = [len(diffraction.spots(frame).reflection) for frame in FRAMES]
    print(f"list of {len(diffraction.lists[0]):,} reflections: {once_s:.2f} s once a series")
    print(f"frames of {min(counts):,} to {max(counts):,} spots: {spots:.1f} ms to find them")
    print(f"their places, extents and photons besides, with a search of their own: {places:.1f} ms")


if __name__ == "__main__":
    main()
