"""What scheduling and writing cost: a series whose frames cost nothing to render, on a scheduler and workers of their own.

    python workflows/scale/null_kernel.py --units 200000

Everything is what `nbdist run --scheduler` does (plan, window, tasks, shards, records), except that a frame is not computed: all pixels
of frame n hold n + 1 photons. Prints units a second, the processor time of a unit in each process, and by how much the memory of the
scheduler and of the client grew between a tenth of the run and its end. `--units-per-task 1` gives every unit a task of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import torch
import zarr
from distributed import Client

from nbdist.execution import opening, roster
from nbdist.execution.context import RunContext
from nbdist.execution.generate import generate
from nbdist.experiment import validate
from nbdist.store import open_group
from nbdist.store.units import recorded_units

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


class NullRenderer:
    """Stands for the renderer: a partial intensity costs nothing."""

    kernels = SimpleNamespace(mode="eager")
    device = torch.device("cpu")

    def partial(self, tile, frame, first_step, last_step):
        """All pixels hold the number of the frame, from 1."""
        return torch.full((tile.slow_stop - tile.slow_start, tile.fast_stop - tile.fast_start), frame + 1.0)

    def photons(self, partial, tile):
        """The partial as it is."""
        return partial


class NullContext(RunContext):
    """A run's context with that renderer."""

    renderer = NullRenderer()


def null_context(*arguments, make=opening.make_context, **options):
    """What `make_context` makes, with the other renderer."""
    context = make(*arguments, **options)
    context.__class__ = NullContext
    return context


@contextlib.contextmanager
def cluster(folder: Path, workers: int):
    """A scheduler and workers, each a process; yields the file with the address, and the processes."""
    file, command = folder / "scheduler.json", [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = subprocess.Popen([*command, "--port", "0", "--host", "127.0.0.1", "--scheduler-file", str(file)])
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1"]
    command += ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
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
    parser.add_argument("--units-per-task", type=int, default=roster.MOST_UNITS, help="at most")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    roster.MOST_UNITS = chosen.units_per_task
    opening.make_context = null_context
    experiment = validate({**EXPERIMENT, "scan": {"frames": chosen.units, "osc_range_deg": 0.001, "phi_steps": 1}})
    with (
        tempfile.TemporaryDirectory(dir=chosen.folder) as folder,
        cluster(Path(folder), chosen.workers) as (file, they),
    ):
        result = measured(
            experiment, Path(folder) / "null.zarr", file, {"client": psutil.Process(), "scheduler": they[0]}, they[1:]
        )
    if chosen.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value:.3f}" if isinstance(value, float) else f"{name:28} {value}")


def measured(experiment, store, scheduler_file, watched, workers) -> dict[str, float]:
    """Run, watching the memory of the processes `watched`."""
    units, samples = experiment.scan.frames, []

    def watch(progress):
        due = (len(samples) + 1) * units / 100
        if progress.frames_done >= due:
            memory = {name: process.memory_info().rss for name, process in watched.items()}
            samples.append((progress.frames_done / units, memory))

    def seconds(process):
        times = process.cpu_times()
        return times.user + times.system

    with Client(scheduler_file=scheduler_file, timeout=60) as client:
        client.wait_for_workers(len(workers), timeout=60)
        began = time.monotonic()
        everyone = {**watched, "workers": None}
        before = {
            name: seconds(watched[name]) if watched.get(name) else sum(map(seconds, workers)) for name in everyone
        }
        done = {}

        def report(progress):
            watch(progress)
            if progress.frames_done == units and not done:
                done["wall"] = time.monotonic() - began
                for name in everyone:
                    now = seconds(watched[name]) if watched.get(name) else sum(map(seconds, workers))
                    done[name] = now - before[name]

        progress = generate(experiment, store, client, kernel="eager", frames_per_shard=1, report=report)
        finished = time.monotonic() - began
    assert progress.frames_done == units, f"{progress.failed}"
    group = open_group(store)
    assert len(recorded_units(group)) == units
    for frame in range(0, units, max(1, units // 100)):
        assert (zarr.open_group(str(store), mode="r")["intensity"][frame] == frame + 1).all()
    grown = {
        name: max(memory[name] for _, memory in samples) - next(memory[name] for part, memory in samples if part >= 0.1)
        for name in watched
    }
    cpu = sum(done[name] for name in everyone)
    return {
        "units": units,
        "units_per_s": units / done["wall"],
        "units_per_two_core_s": 2 * units / cpu,
        "seconds": done["wall"],
        "seconds_with_checks": finished,
        **{f"{name}_ms_per_unit": 1000 * done[name] / units for name in everyone},
        **{f"{name}_grew_MiB": size / MIB for name, size in grown.items()},
        **{f"{name}_MiB": samples[-1][1][name] / MIB for name in watched},
    }


if __name__ == "__main__":
    main()
