"""Systems that are not Linux: everything is imported, and runs in one process, where there is no /proc and no affinity of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nbdist.experiment import experiment_to_yaml

WITHOUT_LINUX = """
import importlib, io, os, pkgutil, sys
from pathlib import Path
for name in ("sched_getaffinity", "sched_setaffinity"):
    delattr(os, name)
opens, reads = io.open, os.readlink
def elsewhere(path):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", str(path))
def hidden_open(path, *arguments, **options):
    elsewhere(path)
    return opens(path, *arguments, **options)
def hidden_readlink(path, *arguments, **options):
    elsewhere(path)
    return reads(path, *arguments, **options)
io.open, os.readlink = hidden_open, hidden_readlink
import nbdist
for module in pkgutil.walk_packages(nbdist.__path__, "nbdist."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from nbdist.clusters.local_workers import default_workers
from nbdist.store.shard_reading import decoding_threads
assert default_workers("cpu") == os.cpu_count() >= decoding_threads()
experiment = nbdist.load_experiment(sys.argv[1])
for kernel, resume in (("eager", False), ("eager", True)):
    nbdist.generate(experiment, sys.argv[2], serial=True, kernel=kernel, resume=resume)
assert nbdist.verify(sys.argv[2]).good
assert nbdist.generate(experiment, sys.argv[2] + "2", serial=True).frames_done == 1
print("rendered")
"""


@pytest.mark.integration
def test_without_proc_and_affinities_everything_is_imported_and_serial_runs_work(small_experiment, tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text(experiment_to_yaml(small_experiment(scan={"frames": 1})), encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT_LINUX, str(file), str(tmp_path / "a.zarr")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert ran.stdout == "rendered\n", ran.stderr
