"""What a whole series takes, and the share of each step: start, frames, counts and labels, packing, writing.

    python workflows/series_shares.py [EXPERIMENT.yaml] [--frames N]

One process on one core renders the frames of an experiment into a store as a worker does; without an experiment, frames of six megapixels
of triclinic lysozyme, integrated and by a sum of ten phi steps. `start` is a new interpreter up to its first frame: imports, amplitudes,
the reflections that light up, the kernel loaded. Seconds are of the clock; the kernels were compiled before.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nbdist.bench.series_steps import series_steps
from nbdist.experiment import Experiment, load_experiment, validate

LYSOZYME = {
    "beam": {"wavelength_A": 0.9768, "fluence_photons_per_m2": 1e25, "polarization_factor": 0.99},
    "crystal": {
        "cell": [27.3, 32.0, 34.3, 88.5, 108.5, 111.9],
        "misset_deg": [15, 40, -70],
        "N_cells": [36, 47, 29],
        "shape": "gauss",
    },
    "scan": {"frames": 20, "osc_range_deg": 0.1},
    "detector": {
        "convention": "xds",
        "panels": [{"spixels": 2527, "fpixels": 2463, "pixel_size_mm": 0.172, "distance_mm": 231}],
    },
    "structure_factors": {"kind": "wilson", "d_min_A": 1.2},
    "background": {"water_um": 20.0},
    "noise": {"photon_noise": True},
}


def experiments() -> dict[str, Experiment]:
    """The two methods on the same detector, by name."""
    integrated = {**LYSOZYME, "crystal": {**LYSOZYME["crystal"], "mosaicity": {"sigma_deg": 0.1}}}
    summed = {**LYSOZYME, "crystal": {**LYSOZYME["crystal"], "shape": "square"}}
    summed["scan"] = {**LYSOZYME["scan"], "phi_steps": 10}
    return {
        "integrated, mosaicity 0.1 degrees, with spots": validate(
            {**integrated, "sampling": {"method": "integrated"}, "labels": {"spots": True}}
        ),
        "sum, 10 phi steps": validate({**summed, "sampling": {"oversample": 1}}),
    }


def start_seconds(experiment: Experiment, folder: Path) -> float:
    """Seconds of a new interpreter up to its first frame."""
    path = folder / "experiment.json"
    path.write_text(experiment.model_dump_json(exclude_unset=True), encoding="utf-8")
    code = (
        "import sys; from nbdist.experiment import load_experiment; from nbdist.run.context import make_context;"
        "from nbdist.run.rendering import render_frame; render_frame(make_context(load_experiment(sys.argv[1])), 0)"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=20)
    given = parser.parse_args()
    chosen = {given.experiment.name: load_experiment(given.experiment)} if given.experiment else experiments()
    for name, experiment in chosen.items():
        with tempfile.TemporaryDirectory() as scratch:
            seconds, written = series_steps(experiment.with_changes(scan={"frames": given.frames}), Path(scratch))
            seconds = {"start": start_seconds(experiment, Path(scratch)), **seconds}
        total = sum(seconds.values())
        parts = ", ".join(f"{step} {100 * spent / total:.0f} %" for step, spent in seconds.items())
        print(f"{name}: {given.frames} frames in {total:.1f} s, {written / 2**20:.0f} MiB: {parts}")


if __name__ == "__main__":
    main()
