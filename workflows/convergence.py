"""How the sum comes near to what is integrated: `python workflows/convergence.py`, a minute on one core.

Prints a line for each number of mosaic domains and phi steps: the seconds of a frame, the largest difference of a pixel over the
largest pixel, how far the sum of all pixels is off, and the correlation.
"""

from __future__ import annotations

import time

from nbdist import Experiment, simulate_frame
from nbdist.experiment import validate
from nbdist.run.compare import Series, compare

INTEGRATED = validate(
    {
        "beam": {"wavelength_A": 0.9768, "fluence_photons_per_m2": 1e24},
        "crystal": {
            "cell": [79.1, 79.1, 37.9, 90, 90, 90],
            "misset_deg": [14, -31, 52],
            "N_cells": [30, 30, 60],
            "shape": "gauss",
            "mosaicity": {"sigma_deg": 0.1},
        },
        "scan": {"frames": 1, "osc_range_deg": 0.1},
        "detector": {
            "convention": "xds",
            "panels": [
                {
                    "spixels": 200,
                    "fpixels": 200,
                    "pixel_size_mm": 0.172,
                    "distance_mm": 150,
                    "near_point_pixels": [250, 100],
                }
            ],
        },
        "structure_factors": {"kind": "wilson", "d_min_A": 1.5},
        "sampling": {"method": "integrated", "oversample": 2},
    }
)


def rendered(experiment: Experiment) -> tuple[Series, float]:
    """The frame of an experiment, and the seconds it takes once all is loaded."""
    simulate_frame(experiment, device="cpu")
    started = time.perf_counter()
    image = simulate_frame(experiment, device="cpu")
    seconds = time.perf_counter() - started
    return Series(experiment.sampling.method, experiment, range(1), lambda frame: [image]), seconds


if __name__ == "__main__":
    exact, seconds = rendered(INTEGRATED)
    print(f"integrated: {seconds:.3f} s")
    for domains, steps in ((10, 10), (64, 40), (100, 20), (512, 40), (2048, 40)):
        experiment = INTEGRATED.with_changes(
            crystal={"mosaicity": {"sigma_deg": 0.1, "domains": domains}},
            scan={"phi_steps": steps},
            sampling={"method": "sum"},
        )
        near, seconds = rendered(experiment)
        found = compare(exact, near).whole
        print(
            f"{domains} domains, {steps} phi steps: {seconds:.2f} s, difference {found.difference / found.largest:.1e}, "
            f"sum {found.sum_other / found.sum - 1:+.1e}, correlation {found.correlation:.6f}"
        )
