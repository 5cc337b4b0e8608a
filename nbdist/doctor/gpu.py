"""PyTorch and the GPUs that it finds."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec

from nbdist.doctor.findings import Finding
from nbdist.errors import how_to_get, one_line
from nbdist.formats.amounts import size
from nbdist.kernels.devices import cuda_is_available, has_driver

PATIENCE_S = 20.0
QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


def gpus() -> list[Finding]:
    """GPUs, their driver, and whether PyTorch renders on them."""
    cards = _driver()
    if find_spec("torch") is None:
        if cards or has_driver():
            found = f"{cards or 'a driver'} is here, and PyTorch is not installed"
            return [Finding("GPU", found, "note", f"PyTorch renders on it: {how_to_get('torch')}")]
        return [Finding("GPU", "none, and no PyTorch")]
    try:
        import torch
    except (ImportError, OSError) as error:
        advice = "install PyTorch again; until then what needs it fails, and CPUs with a compiler render"
        return [Finding("PyTorch", f"does not load: {one_line(error)}", "fault", advice)]
    built_for = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs"
    threads = torch.get_num_threads()
    first = Finding("PyTorch", f"{torch.__version__}, {built_for}, {threads} thread(s)", numbers={"threads": threads})
    if not cuda_is_available():
        if not cards:
            return [first, Finding("GPU", "none")]
        advice = f"PyTorch here is built {built_for}: a build for this driver's CUDA renders on it (pytorch.org)"
        return [first, Finding("GPU", f"{cards}, which PyTorch cannot use", "note", advice)]
    its = [first]
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        numbers = {"name": about.name, "memory_bytes": about.total_memory}
        major, minor = about.major, about.minor
        text = f"{about.name}, {size(about.total_memory)}, compute capability {major}.{minor}"
        its.append(Finding(f"GPU {number}", text, numbers=numbers))
    return [*its, Finding("GPU driver", cards or "not named by nvidia-smi")]


def _driver() -> str:
    """What the driver says of the GPUs, in a line; nothing where it has no program or that does not answer."""
    if shutil.which(QUERY[0]) is None:
        return ""
    try:
        answer = subprocess.run(QUERY, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (
        "; ".join(line.strip() for line in answer.stdout.splitlines() if line.strip()) if not answer.returncode else ""
    )
