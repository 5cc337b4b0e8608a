"""What scheduling and writing cost: a series whose frames cost nothing to render, on a scheduler and workers of their own.

    python workflows/scale/null_kernel.py --units 200000

Everything is what `nbdist run --scheduler` does (plan, window, tasks, shards, records), except that a frame is not computed: all pixels
of frame n hold n + 1 photons. Prints units a second (by the clock, and by the time of two processors that these processes had), the
processor time of a unit in each process, and the growth of the scheduler's and the client's memory: between a tenth of the run and its
end. `--units-per-task 1` gives every unit a task of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from distributed import Client

from nbdist.experiment import validate
from nbdist.planning import Cut
from nbdist.run.executors.choice import chosen_workers
from nbdist.run.generate import run_series
from nbdist.run.origins import Rendering
from nbdist.run.settings import Pacing, RunSettings
from nbdist.store import StoredUnits, open_group

EXPERIMENT = {
    "beam": {"wavelength_A": 1.0, "fluence_photons_per_m2": 1e24},
    "crystal": {"cell": [40, 45, 50, 80, 95, 100], "N_cells": [8, 7, 6]},
    "detector": {
        "convention": "xds",
        "panels": [{"spixels": 16, "fpixels": 20, "pixel_size_mm": 0.8, "distance_mm": 100}],
    },
    "structure_factors": {"kind": "uniform", "F": 100.0},
}
MIB = 2**20


def null_frame(context, frame):
    """All pixels hold the number of the frame, from 1; costs nothing."""
    return [np.full(shape, frame + 1.0) for shape in context.scene.instrument.shapes]


@contextlib.contextmanager
def cluster(folder: Path, workers: int):
    """A scheduler and workers, each a process; yields the file with the address, and the processes."""
    file, command = folder / "scheduler.json", [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    here = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")  # as in clusters that nbdist starts
    scheduler = subprocess.Popen([*command, "--port", "0", *here, "--scheduler-file", str(file)])
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1"]
    command += ["--scheduler-file", str(file), *here]
    processes = [scheduler, *(subprocess.Popen(command) for _ in range(workers))]
    try:
        yield str(file), [psutil.Process(process.pid) for process in processes]
    finally:
        for process in reversed(processes):  # the scheduler last
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Run the series and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--units-per-task", type=int, default=Pacing.most_units, help="at most")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *told: sys.exit(143))
    settings = RunSettings(cut=Cut(frames_per_shard=1), kernel="eager", pacing=Pacing(most_units=chosen.units_per_task))
    experiment = validate({**EXPERIMENT, "scan": {"frames": chosen.units, "osc_range_deg": 0.001, "phi_steps": 1}})
    with (
        tempfile.TemporaryDirectory(dir=chosen.folder) as folder,
        cluster(Path(folder), chosen.workers) as (file, they),
    ):
        named = {"client": [psutil.Process()], "scheduler": they[:1], "workers": they[1:]}
        result = measured(experiment, Path(folder) / "null.zarr", settings, file, named)
    if chosen.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value:.3f}" if isinstance(value, float) else f"{name:28} {value}")


def measured(experiment, store, settings, scheduler_file, processes) -> dict[str, float]:
    """Run, watching the memory and the processor time of processes, given in lists by name, from a tenth of the run to its end."""
    units, samples = experiment.scan.frames, []

    def report(progress):
        if progress.frames_done >= (len(samples) + 1) * units / 100:
            memory = {name: sum(each.memory_info().rss for each in those) for name, those in processes.items()}
            times = {name: sum(sum(each.cpu_times()[:2]) for each in those) for name, those in processes.items()}
            samples.append((time.monotonic(), progress.frames_done, memory, times))

    with Client(scheduler_file=scheduler_file, timeout=60) as client:
        client.wait_for_workers(len(processes["workers"]), timeout=60)
        began = time.monotonic()
        workers = chosen_workers(settings, client)
        progress = run_series(experiment, store, settings, workers, origin=Rendering(null_frame), report=report)
        seconds = time.monotonic() - began
    assert progress.frames_done == units, f"{progress.failed}"
    group = open_group(store)
    assert len(StoredUnits(group).recorded()) == units
    for frame in range(0, units, max(1, units // 100)):
        assert (group["intensity"][frame] == frame + 1).all()
    first = next(sample for sample in samples if sample[1] >= 0.1 * units)
    wall, done = samples[-1][0] - first[0], samples[-1][1] - first[1]
    cpu = {name: samples[-1][3][name] - first[3][name] for name in processes}
    grown = {name: max(sample[2][name] for sample in samples) - first[2][name] for name in ("client", "scheduler")}
    return {
        "units": units,
        "units_per_s": done / wall,
        "units_per_two_core_s": 2 * done / sum(cpu.values()),
        "seconds_in_all": seconds,
        **{f"{name}_ms_per_unit": 1000 * spent / done for name, spent in cpu.items()},
        **{f"{name}_grew_MiB": size / MIB for name, size in grown.items()},
        **{f"{name}_MiB": samples[-1][2][name] / MIB for name in grown},
    }


if __name__ == "__main__":
    main()
