"""`nbdist doctor`: each check with its fault injected, and what a report may not show."""

from __future__ import annotations

import contextlib
import json
import stat
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import run_command

from nbdist.clusters.running_cluster import NoSchedulerError
from nbdist.doctor import Finding, examine, gpu, kernels, machine, packages
from nbdist.doctor.checks import CHECKS
from nbdist.doctor.cluster import queue, scheduler
from nbdist.doctor.findings import at_home
from nbdist.errors import RunError
from nbdist.native import build
from nbdist.version import __version__

GIB = 2**30


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def group(tmp_path):
    """`group(cgroup="...", files={...})`: a machine whose process is in that control group, with these files."""

    def make(cgroup: str, **files: str) -> Path:
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup)
        for name, text in files.items():
            path = tmp_path / "sys" / "fs" / "cgroup" / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / path.name.replace("_", ".", 1)).write_text(text + "\n")
        return tmp_path

    return make


# ---- the machine


def test_the_least_limit_of_a_control_group_and_those_above_it_holds(group):
    root = group(
        "0::/slurm/job_7/step_0\n",
        slurm__job_7__cpu_max="250000 100000",
        slurm__job_7__step_0__cpu_max="max 100000",
        slurm__memory_max=str(8 * GIB),
        slurm__job_7__memory_max=str(2 * GIB),
    )
    assert machine.cpu_quota(root) == 2.5
    assert machine.memory_limit(root) == 2 * GIB
    found = machine.cores(16, root)
    assert (found.level, found.numbers["control_group"]) == ("note", 2.5)
    assert "--workers 2 is what fits" in found.advice
    assert machine.cores(2, root).level == "ok"
    assert "limited to 2.0 GiB by the control group" in machine.memory(root).found


def test_limits_of_the_first_version_of_control_groups_are_read(group):
    root = group("4:memory:/job\n3:cpu,cpuacct:/job\n", **{"cpu__job__cpu_cfs_quota_us": "150000"})
    (root / "sys/fs/cgroup/cpu/job/cpu.cfs_period_us").write_text("100000\n")
    (root / "sys/fs/cgroup/memory/job").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory/job/memory.limit_in_bytes").write_text(f"{GIB // 2}\n")
    (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine.cpu_quota(root) == 1.5
    found = machine.memory(root)
    assert (found.level, found.numbers["control_group_bytes"]) == ("note", GIB // 2)
    assert "--serial" in found.advice


def test_a_machine_without_control_groups_has_no_limit(tmp_path):
    assert machine.cpu_quota(tmp_path) is None
    assert machine.memory_limit(tmp_path) is None
    assert machine.cores(4, tmp_path).level == "ok"


def test_another_system_than_linux_is_noted(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert machine.system().level == "note"


# ---- kernels


def test_a_compiler_that_works_is_named_by_its_version():
    found = kernels.compiler()
    assert (found.level, found.advice) == ("ok", "")
    assert "compiles and loads" in found.found


def test_a_compiler_is_tried_where_nobody_else_can_write(monkeypatch, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "open"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen = []
    monkeypatch.setattr(kernels, "built", lambda source, folder: seen.append(folder) or build.built(source, folder))
    assert kernels.compiler().level == "ok"
    assert seen[0].is_relative_to(tmp_path / "cache")


@pytest.fixture
def compilers(monkeypatch):
    """`compilers(command)`: CXX names that one."""

    def use(command: object) -> None:
        monkeypatch.setenv("CXX", str(command))
        build._asked.cache_clear()

    monkeypatch.delenv(build.FOLDER_VARIABLE, raising=False)
    return use


def test_a_compiler_that_is_missing_is_a_fault_unless_pytorch_renders(compilers):
    compilers("/nowhere/g++")
    assert kernels.compiler(has_torch=False).level == "fault"
    assert "install nbdist with its extra torch" in kernels.compiler(has_torch=False).advice
    slow = kernels.compiler(has_torch=True)
    assert slow.level == "note"
    assert "tens of times slower" in slow.found


def test_a_compiler_that_fails_says_why(compilers, tmp_path):
    compilers(
        program(
            tmp_path, "broken", '[ "$1" = --version ] && echo broken 1.0 || { echo "error: no headers" >&2; exit 1; }'
        )
    )
    found = kernels.compiler(has_torch=False)
    assert found.level == "fault"
    assert found.found.startswith("broken 1.0, named by CXX, which fails: ")
    assert "error: no headers" in found.found


def test_the_folder_of_kernels_that_others_can_write_into_is_noted_and_a_private_one_counted(tmp_path):
    folder = tmp_path / "kernels"
    assert "made by the first run" in kernels.cache(folder).found
    folder.mkdir(mode=0o700)
    (folder / "a-1-2.so").write_bytes(bytes(2048))
    found = kernels.cache(folder)
    assert (found.level, found.numbers["libraries"], found.numbers["mode"]) == ("ok", 1, "700")
    assert "1 compiled, 2.0 KiB, owner you, mode 700" in found.found
    folder.chmod(0o777)
    found = kernels.cache(folder)
    assert found.level == "note"
    assert "writable by others" in found.found
    found = kernels.cache(Path(__file__))
    assert (found.level, "is not a folder" in found.found) == ("note", True)
    assert "named by XDG_CACHE_HOME" in found.advice


# ---- the installation


def versions(**installed):
    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    return version


NEEDED = ["numpy>=1.26", "zarr>=3.1.3", 'bokeh>=3.1; extra == "dashboard"', 'gone; python_version < "3"']


def test_packages_that_are_missing_or_too_old_are_faults():
    assert packages.needed(NEEDED, versions(numpy="2.0", zarr="3.2")).level == "ok"
    old = packages.needed(NEEDED, versions(numpy="1.24"))
    assert old.level == "fault"
    assert old.found.startswith("numpy is 1.24, which needs to be >=1.26; zarr is missing")
    assert packages.needed([]).level == "note", "nbdist is not installed"


def test_an_extra_that_is_not_installed_is_noted_with_the_way_to_get_it():
    [found] = packages.extras(NEEDED, versions(numpy="2.0"))
    assert (found.name, found.level, found.advice) == (
        "extra dashboard",
        "note",
        "install nbdist with its extra dashboard",
    )
    [found] = packages.extras(NEEDED, versions(bokeh="3.0"))
    assert (found.level, found.found) == ("note", "bokeh is 3.0, which needs to be >=3.1; bokeh 3.0")
    [found] = packages.extras(NEEDED, versions(bokeh="3.4"))
    assert (found.level, found.found) == ("ok", "bokeh 3.4")


def test_another_version_than_the_installed_one_is_noted():
    assert packages.nbdist_itself(versions(nbdist=__version__)).level == "ok"
    assert "installed as 0.0.1" in packages.nbdist_itself(versions(nbdist="0.0.1")).found
    assert packages.nbdist_itself(versions()).level == "note"


def test_completion_is_found_where_typer_puts_it(tmp_path):
    assert "--install-completion" in packages.completion(tmp_path).advice
    file = tmp_path / packages.COMPLETIONS["fish"]
    file.parent.mkdir(parents=True)
    file.touch()
    assert packages.completion(tmp_path).found == "installed for fish"


# ---- GPUs


@pytest.fixture
def torch(monkeypatch):
    """A PyTorch that is built for CPUs."""
    its = SimpleNamespace(__version__="2.6.0+cpu", version=SimpleNamespace(cuda=None), get_num_threads=lambda: 3)
    monkeypatch.setitem(sys.modules, "torch", its)
    monkeypatch.setattr(gpu, "find_spec", lambda name: its)
    monkeypatch.setattr(gpu, "cuda_is_available", lambda: False)
    monkeypatch.setattr(gpu, "has_driver", lambda: False)


def test_a_gpu_with_a_pytorch_for_cpus_is_noted(torch, monkeypatch):
    monkeypatch.setattr(gpu, "_driver", lambda: "H100, 550.54, 80 GiB")
    pytorch, found = gpu.gpus()
    assert (pytorch.level, pytorch.found) == ("ok", "2.6.0+cpu, for CPUs, 3 thread(s)")
    assert (found.level, found.found) == ("note", "H100, 550.54, 80 GiB, which PyTorch cannot use")
    monkeypatch.setattr(gpu, "_driver", lambda: "")
    assert [its.level for its in gpu.gpus()] == ["ok", "ok"]


def test_gpus_that_pytorch_uses_are_listed_with_their_driver(torch, monkeypatch):
    about = SimpleNamespace(name="H100", total_memory=80 * GIB, major=9, minor=0)
    cuda = SimpleNamespace(device_count=lambda: 2, get_device_properties=lambda number: about)
    monkeypatch.setattr(sys.modules["torch"], "cuda", cuda, raising=False)
    monkeypatch.setattr(gpu, "cuda_is_available", lambda: True)
    monkeypatch.setattr(gpu, "_driver", lambda: "H100, 550.54, 80 GiB")
    found = gpu.gpus()
    assert [its.name for its in found] == ["PyTorch", "GPU 0", "GPU 1", "GPU driver"]
    assert found[1].found == "H100, 80.0 GiB, compute capability 9.0"
    assert all(its.level == "ok" for its in found)


def test_the_driver_is_asked_and_one_that_does_not_answer_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu._driver() == ""
    program(tmp_path, "nvidia-smi", "echo 'H100, 550.54, 81559 MiB'; echo 'H100, 550.54, 81559 MiB'")
    assert gpu._driver() == "H100, 550.54, 81559 MiB; H100, 550.54, 81559 MiB"
    program(tmp_path, "nvidia-smi", "echo 'No devices were found'; exit 6")
    assert gpu._driver() == ""


def test_a_gpu_without_pytorch_is_noted(monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu, "has_driver", lambda: False)
    monkeypatch.setattr(gpu, "_driver", lambda: "H100, 550.54, 80 GiB")
    [found] = gpu.gpus()
    assert (found.level, found.advice) == ("note", "PyTorch renders on it: install nbdist with its extra torch")
    monkeypatch.setattr(gpu, "_driver", lambda: "")
    assert [found.level for found in gpu.gpus()] == ["ok"]


def test_a_pytorch_that_does_not_load_is_a_fault(monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch", None)
    [found] = gpu.gpus()
    assert (found.name, found.level) == ("PyTorch", "fault")


# ---- clusters


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """`slurm(squeue="exit 0")`: a cluster file, and commands of Slurm that do what is said."""
    pytest.importorskip("dask_jobqueue")
    file = tmp_path / "slurm.yaml"
    file.write_text(
        "kind: slurm\ncores: 2\nmemory: 4GB\nwalltime: '00:10:00'\njobs: {maximum: 1}\ninterface: 127.0.0.1\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=False)

    def make(**commands: str) -> Path:
        for name, script in commands.items():
            program(tmp_path, name, script)
        return file

    return make


def test_a_queue_whose_commands_are_missing_or_do_not_answer_is_a_fault(slurm):
    found = queue(slurm())
    assert [its.level for its in found] == ["ok", "fault"]
    assert "the command sbatch is not found here" in found[-1].found
    found = queue(slurm(sbatch="exit 0", squeue="echo no controller >&2; exit 1"))
    assert (found[-1].level, found[-1].found) == ("fault", "squeue does not answer")
    found = queue(slurm(sbatch="exit 0", squeue="exit 0"))
    assert (found[-1].level, found[-1].found) == ("ok", "slurm answers")


def test_a_cluster_file_that_is_wrong_is_a_fault_that_says_where(tmp_path):
    file = tmp_path / "slurm.yaml"
    file.write_text("kind: slurn\n")
    [found] = queue(file)
    assert (found.name, found.level) == ("cluster file", "fault")
    assert "slurn" in found.found


def test_a_scheduler_that_does_not_answer_is_a_fault_and_other_versions_are_notes():
    def away(report):
        raise NoSchedulerError("--scheduler tcp://a:1: no Dask scheduler answers there")

    [found] = scheduler(away)
    assert (found.level, found.found) == ("fault", "--scheduler tcp://a:1: no Dask scheduler answers there")
    assert "firewall" in found.advice

    def empty(report):
        raise RunError("--scheduler tcp://a:1: the cluster has no workers")

    [found] = scheduler(empty)
    assert (found.level, found.advice) == ("fault", "")

    @contextlib.contextmanager
    def there(report):
        report("waiting for workers of tcp://a:1")
        report("note: numpy 2.1 on 1 worker(s), 2.2 here")
        yield SimpleNamespace(nthreads=lambda: {"tcp://b": 4, "tcp://c": 4})

    found = scheduler(there)
    assert [(its.name, its.level) for its in found] == [("scheduler", "ok"), ("versions", "note")]
    assert found[0].numbers == {"workers": 2, "threads": 8}
    assert found[1].found == "numpy 2.1 on 1 worker(s), 2.2 here"


# ---- all of it


def test_a_check_that_fails_is_a_fault_and_the_others_go_on():
    def broken():
        raise ValueError("a surprise")

    found = list(examine(partial(broken), checks=(broken, lambda: Finding("middle", "there"))))
    assert [(its.name, its.level) for its in found] == [("broken", "fault"), ("middle", "ok"), ("broken", "fault")]
    assert "ValueError: a surprise" in found[0].found


def test_a_path_has_no_name_of_a_user(tmp_path):
    assert at_home(tmp_path / "a" / "b", tmp_path) == "~/a/b"
    assert at_home(Path("/usr/bin"), tmp_path) == "/usr/bin"
    assert at_home(f"{tmp_path} and {tmp_path}er/a: {tmp_path}/b", tmp_path) == f"~ and {tmp_path}er/a: ~/b"


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Run `nbdist doctor` in this process; torch is not loaded for it."""
    monkeypatch.setattr("nbdist.doctor.checks.CHECKS", tuple(its for its in CHECKS if its is not gpu.gpus))
    return lambda *words: run_command(["doctor", *map(str, words)], monkeypatch, capsys)


def test_the_command_says_what_it_finds_and_no_value_of_the_environment_but_folders(doctor, monkeypatch, tmp_path):
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "hunter2secret",
        "DASK_TOKEN": "tokenvalue",
        "CUDA_VISIBLE_DEVICES": "31337",
        "HTTPS_PROXY": "http://user:hunter2@proxy",
        "OMP_NUM_THREADS": "271828",
        "PYTHONPATH": "/nowhere/library",
        "TMPDIR": "/nowhere/temporary",
    }
    shown = {
        "CXX": "/nowhere/g++",
        "XDG_CACHE_HOME": "/nowhere/cache",
        build.FOLDER_VARIABLE: str(tmp_path / "kernels"),
    }
    assert set(machine.VARIABLES) <= {*secrets, *shown}
    for name, value in shown.items():
        monkeypatch.setenv(name, value)
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    ran, printed = doctor(), doctor("--json")
    assert all(name in ran.out for name in shown)
    for name, value in secrets.items():
        assert name in ran.out
        assert value not in ran.out + ran.err + printed.out + printed.err
    assert f"nbdist: {__version__}" in ran.out
    content = json.loads(printed.out)
    assert content["good"] is (ran.status == 0)
    assert {"cores", "memory", "compiler", "kernels", "packages"} <= {its["name"] for its in content["findings"]}
    assert ran.out.rstrip().splitlines()[-1].endswith("note(s)")


def test_a_fault_ends_the_command_with_status_1(doctor, tmp_path):
    file = tmp_path / "nothing.yaml"
    ran = doctor("--cluster", file)
    assert ran.status == 1
    assert "fault  cluster file: " in ran.out
    assert str(file) in ran.out
    assert "1 fault(s)" in ran.out
    alone = doctor("--security", "ca,cert,key")
    assert (alone.status, "--security goes with --scheduler" in alone.err) == (2, True)
    both = doctor("--cluster", file, "--scheduler", "tcp://127.0.0.1:1")
    assert (both.status, both.err.count("\n")) == (2, 1)
