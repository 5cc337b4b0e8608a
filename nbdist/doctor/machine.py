"""The machine: its system, and how many cores and how much memory this process may use of it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from nbdist.cores import usable_cores
from nbdist.doctor.findings import Finding, at_home
from nbdist.formats.amounts import size
from nbdist.native.build import processor

SYSTEM = Path("/")
LEAST_MEMORY = 2**30
"""Bytes: a worker takes a few hundred megabytes, and the client as much."""
VARIABLES = ("CXX", "CUDA_VISIBLE_DEVICES", "HTTPS_PROXY", "OMP_NUM_THREADS", "PYTHONPATH", "TMPDIR", "XDG_CACHE_HOME")
PREFIXES = ("AWS_", "DASK_", "NBDIST_")
"""What changes how nbdist works where it is set in the environment."""
OWN = ("DASK_LOGGING__DISTRIBUTED", "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "NBDIST_REFERENCE_DATA")
"""Set by the command itself, or read by tests alone."""


def system() -> Finding:
    """The operating system and the processor."""
    name = platform.system()
    found = f"{platform.platform()}, {processor()}"
    if name != "Linux":
        return Finding(
            "system", found, "note", "runs in one process (--serial) are expected to work; Linux is supported"
        )
    return Finding("system", found)


def python() -> Finding:
    """The interpreter and whether it is in an environment of its own."""
    place = "a virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    found = f"{platform.python_implementation()} {platform.python_version()}, {place}, {at_home(Path(sys.executable))}"
    return Finding("Python", found, numbers={"version": platform.python_version()})


def cores(usable: int | None = None, root: Path = SYSTEM) -> Finding:
    """Cores that this process may run on, and the share of their time that its control group has."""
    usable = usable_cores() if usable is None else usable
    quota = cpu_quota(root)
    numbers = {"usable": usable, "in_the_machine": os.cpu_count(), "control_group": quota}
    found = f"{usable} usable of {os.cpu_count()}"
    if quota is not None and quota < usable:
        least = max(1, int(quota))
        advice = f"the control group gives this process the time of {quota:g} core(s): --workers {least} is what fits"
        return Finding("cores", found, "note", advice, numbers)
    return Finding("cores", found, numbers=numbers)


def memory(root: Path = SYSTEM) -> Finding:
    """Memory of the machine, what is free of it, and the limit of this process' control group."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available, limit = _available(root), memory_limit(root)
    most = total if limit is None else min(total, limit)
    numbers = {"total_bytes": total, "available_bytes": available, "control_group_bytes": limit}
    parts = [f"{size(total)}"]
    if available is not None:
        parts.append(f"{size(available)} available")
    if limit is not None and limit < total:
        parts.append(f"limited to {size(limit)} by the control group")
    found = ", ".join(parts)
    if most < LEAST_MEMORY:
        return Finding("memory", found, "note", "only small detectors fit: --serial, and a smaller --tile", numbers)
    if limit is not None and limit < total:
        advice = "nbdist plan shows what a run takes; --workers N says how many share the limit"
        return Finding("memory", found, "note", advice, numbers)
    return Finding("memory", found, numbers=numbers)


def environment() -> Finding:
    """Names of the variables that are set and change how nbdist works; their values are nobody's business."""
    read = (name for name in os.environ if name in VARIABLES or name.startswith(PREFIXES))
    names = sorted(name for name in read if name not in OWN)
    found = f"set: {', '.join(names)}" if names else "nothing set that nbdist reads"
    return Finding("environment", found, numbers={"set": names})


def cpu_quota(root: Path = SYSTEM) -> float | None:
    """Cores whose time the control group of this process may take, in either version of control groups; None without a limit."""
    limits = []
    for folder in _groups(root):
        quota, _, period = _line(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal():
            limits.append(int(quota) / int(period))
    for folder in _groups(root, "cpu"):
        quota, period = _line(folder / "cpu.cfs_quota_us"), _line(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal():
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit(root: Path = SYSTEM) -> int | None:
    """Bytes of memory that the control group of this process may use; None without a limit."""
    files = [folder / "memory.max" for folder in _groups(root)]
    files += [folder / "memory.limit_in_bytes" for folder in _groups(root, "memory")]
    limits = [int(text) for text in map(_line, files) if text.isdecimal()]
    return min((limit for limit in limits if limit < 2**60), default=None)  # version 1 writes a huge number for none


def _groups(root: Path, controller: str = "") -> Iterator[Path]:
    """Folders of this process' control group and of those above it, of version 2, or of a controller of version 1."""
    mounted = root / "sys" / "fs" / "cgroup" / controller
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            group = Path(path.lstrip("/"))
            # in a container, the group itself is what is mounted
            yield from (mounted / above for above in (group, *group.parents))


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _available(root: Path) -> int | None:
    for line in _line(root / "proc" / "meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None
