"""The peak memory of a worker is bounded, and what the plan says of it holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = r"""
import json, re, sys
from pathlib import Path
from nbdist import generate
from nbdist.run.context import make_context
from nbdist.experiment import validate

experiment = validate(json.loads(sys.argv[1]))
planned = make_context(experiment).plan.worker_memory_bytes()
progress = generate(experiment, sys.argv[2], serial=True)
# not getrusage: what that says begins at the size of the process that started this one
peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({"peak": peak, "planned": planned, "frames": progress.frames_done}))
"""
OF_A_DATA_SET = r"""
import json, re, sys
from pathlib import Path
from nbdist import generate_dataset
from nbdist.experiment.recipe import recipe_of
from nbdist.run.sample_contexts import sample_contexts

recipe = recipe_of(json.loads(sys.argv[1]))
planned = sample_contexts(recipe, 4).plan.worker_memory_bytes()
peaks = []  # after each unit: whoever began the run makes the pictures of the card in the end


def report(progress):
    peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)


progress = generate_dataset(recipe, sys.argv[2], 4, serial=True, report=report)
print(json.dumps({"peak": peaks[-1], "planned": planned, "frames": progress.done}))
"""
PILATUS_6M = {"spixels": 2527, "fpixels": 2463, "pixel_size_mm": 0.172, "distance_mm": 300}
GIB = 2**30
DOMAINS = 250_000


def _experiment(**sections):
    return {
        "beam": {"wavelength_A": 1.0},
        "structure_factors": {"kind": "wilson", "d_min_A": 1.5},
        "sampling": {"oversample": 1},
        "scan": {"frames": 1, "osc_range_deg": 0.5, "phi_steps": 100},
        **sections,
    }


def _large_frame(folder):
    cell = {"cell": [79.1, 79.1, 37.9, 90, 90, 90], "N_cells": [20, 20, 40]}
    return _experiment(
        crystal={**cell, "mosaic_spread_deg": 0.2, "mosaic_domains": 1},
        scan={"frames": 1, "osc_range_deg": 0.5, "phi_steps": 2},
        detector={"convention": "xds", "panels": [PILATUS_6M]},
    )


def _many_domains(folder):
    angles = np.random.default_rng(1).uniform(-0.003, 0.003, DOMAINS)
    rotations = np.tile(np.eye(3), (DOMAINS, 1, 1))
    rotations[:, 0, 0] = rotations[:, 1, 1] = np.cos(angles)
    rotations[:, 0, 1], rotations[:, 1, 0] = -np.sin(angles), np.sin(angles)
    np.save(folder / "domains.npy", rotations)
    cell = {"cell": [79.1, 79.1, 37.9, 90, 90, 90], "N_cells": [20, 20, 40]}
    return _experiment(
        crystal={**cell, "mosaic_rotations_file": str(folder / "domains.npy")},
        scan={"frames": 1, "osc_range_deg": 0.5, "phi_steps": 10},
        detector={"convention": "xds", "panels": [{**PILATUS_6M, "spixels": 8, "fpixels": 8}]},
    )


def _many_reflections(folder):
    """A list of half a million, which fills its box."""
    box = np.stack([grid.ravel() for grid in np.mgrid[-40:40, -40:40, -40:40]], axis=1)
    np.savetxt(folder / "list.hkl", np.column_stack([box, np.arange(len(box)) % 97]), fmt="%d")
    return _experiment(
        crystal={"cell": [79.1, 79.1, 37.9, 90, 90, 90], "N_cells": [20, 20, 40]},
        structure_factors={"kind": "file", "file": str(folder / "list.hkl")},
        detector={"convention": "xds", "panels": [{**PILATUS_6M, "spixels": 8, "fpixels": 8}]},
    )


def _many_sources(folder):
    return _experiment(
        beam={"wavelength_A": 1.0, "dispersion": {"percent": 1, "steps": 300_000}},
        crystal={"cell": [79.1, 79.1, 37.9, 90, 90, 90], "N_cells": [20, 20, 40]},
        scan={"frames": 1},
        detector={"convention": "xds", "panels": [{**PILATUS_6M, "spixels": 8, "fpixels": 8}]},
    )


def _sixteen_megapixels(folder):
    """Integrated spots and water, read out with all that is kept of a pixel."""
    return _experiment(
        crystal={"cell": [79.1, 79.1, 37.9, 90, 90, 90], "N_cells": [20, 20, 40], "shape": "gauss"},
        structure_factors={"kind": "wilson", "d_min_A": 4.0},
        sampling={"method": "integrated"},
        scan={"frames": 1, "osc_range_deg": 0.1},
        background={"water_um": 1},
        detector={"convention": "xds", "panels": [{**PILATUS_6M, "spixels": 4096, "fpixels": 4096}]},
        noise={"photon_noise": True},
        readout={
            "point_spread": {"kind": "gaussian", "fwhm_mm": 0.2},
            "calibration_sigma": 0.02,
            "read_noise_electrons": 5.0,
            "offset_adu": 20,
        },
    )


def _samples_of_two_detectors(folder):
    """The first sample has the smaller one; distances and cells are drawn, so instruments and amplitudes of several samples are kept."""
    panel = {**PILATUS_6M, "spixels": {"choice": [1024, 2527]}, "distance_mm": {"uniform": [280, 320]}}
    cell = [{"uniform": [100, 110]}, 79.1, 37.9, 90, 90, 90]
    return {
        **_sixteen_megapixels(folder),
        "recipe": {"seed": 1},
        "crystal": {"cell": cell, "misset_deg": {"rotation": "uniform"}, "N_cells": [20, 20, 40], "shape": "gauss"},
        "structure_factors": {"kind": "wilson", "d_min_A": 2.0},
        "detector": {"convention": "xds", "panels": [panel]},
        "readout": {},
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "script", "frames"),
    [
        (_large_frame, SCRIPT, 1),
        (_sixteen_megapixels, SCRIPT, 1),
        (_many_domains, SCRIPT, 1),
        (_many_reflections, SCRIPT, 1),
        (_many_sources, SCRIPT, 1),
        (_samples_of_two_detectors, OF_A_DATA_SET, 4),
    ],
)
def test_a_run_stays_under_its_planned_memory_and_comes_near_it(tmp_path, case, script, frames):
    run = subprocess.run(
        [sys.executable, "-c", script, json.dumps(case(tmp_path)), str(tmp_path / "a.zarr")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    measured = json.loads(run.stdout.splitlines()[-1])
    assert measured["frames"] == frames
    assert measured["peak"] < GIB
    assert measured["peak"] < measured["planned"]
    assert measured["planned"] < 1.6 * measured["peak"], "the plan does not promise more than it needs to"
