"""What the start of a worker takes: processor time and memory of one local worker process that has rendered one small frame.

    python workflows/scale/worker_start.py [--kernel eager]

prints seconds of processor time from the start of the process to its first finished frame, its largest resident memory in MiB, and
whether it loaded PyTorch. The kernel is compiled by a first run that is not counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import psutil
from distributed import Client

from nbdist import generate
from nbdist.clusters.local import local_cluster
from nbdist.experiment import validate

EXPERIMENT = {
    "crystal": {"cell": [79.1, 79.1, 37.9, 90, 90, 90], "N_cells": [10, 10, 10]},
    "detector": {"panels": [{"spixels": 64, "fpixels": 64}]},
    "structure_factors": {"kind": "uniform", "F": 100.0},
    "scan": {"frames": 1, "osc_range_deg": 0.1},
}


def cost_of_worker() -> tuple[float, float, bool]:
    """Processor seconds, MiB and whether torch is loaded, of the process that asks."""
    import sys

    me = psutil.Process(os.getpid())
    times = me.cpu_times()
    high_water = next(
        line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")
    )
    return times.user + times.system, int(high_water.split()[1]) / 1024, "torch" in sys.modules


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="compiled", choices=["compiled", "eager"])
    kernel = parser.parse_args().kernel
    experiment = validate(EXPERIMENT)
    with tempfile.TemporaryDirectory() as folder:
        generate(experiment, Path(folder) / "first.zarr", serial=True, kernel=kernel)
        with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
            generate(experiment, Path(folder) / "second.zarr", client, kernel=kernel)
            ((seconds, mebibytes, torch),) = client.run(cost_of_worker).values()
    print(f"{seconds:.2f} s of processor time, {mebibytes:.0f} MiB, {'with' if torch else 'without'} PyTorch")


if __name__ == "__main__":
    main()
