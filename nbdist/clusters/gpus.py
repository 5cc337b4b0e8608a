"""Which GPU a worker renders on: one process a GPU, and never two processes on one where that can be helped.

A local worker, and one of a job that nbdist submitted, is started with `CUDA_VISIBLE_DEVICES` holding its own GPU alone. A worker that
somebody else started takes the first GPU that no other worker of nbdist on its machine holds; the hold is a file lock, so that it
ends with the process however the process ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from nbdist.errors import NbdistError, RunError, one_line, require_extra
from nbdist.kernels.devices import cuda_is_available
from nbdist.private_folder import lock_folder

logger = logging.getLogger(__name__)

ASSIGNED = "NBDIST_WORKER_GPU"
"""Set in the environment of a worker whose GPU was chosen when it was started."""

_held: dict[str, IO[str]] = {}


def visible_gpus() -> list[str]:
    """The GPUs that PyTorch can use here, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(count)] if named is None else [part.strip() for part in named.split(",")]
    return names[:count]


def chosen_gpus(text: str, visible: Sequence[str] | None = None) -> list[str]:
    """Read `all` or `0,1` (counted among the visible GPUs); returns what `CUDA_VISIBLE_DEVICES` calls them.

    Raises
    ------
    MissingExtraError, RunError
        If PyTorch is not installed, it is anything else, or a GPU is not there.
    """
    words = [word.strip() for word in text.split(",")]
    if text != "all" and not all(word.isdecimal() for word in words):
        raise RunError(f"--gpus {text}: expected all, or numbers like 0,1")
    if len(set(words)) < len(words):
        raise RunError(f"--gpus {text}: a GPU is named twice")
    if visible is None:
        require_extra("torch", "--gpus")
        visible = visible_gpus()
    found = {0: "no GPU", 1: "one GPU, number 0"}.get(
        len(visible), f"{len(visible)} GPUs, numbers 0 to {len(visible) - 1}"
    )
    if text == "all":
        if not visible:
            raise RunError(f"--gpus all: PyTorch finds {found} here")
        return list(visible)
    for word in words:
        if int(word) >= len(visible):
            raise RunError(f"--gpus {text}: there is no GPU {word}; PyTorch finds {found} here")
    return [visible[int(word)] for word in words]


def worker_environment(gpu: str | None) -> dict[str, str]:
    """Environment of a local worker that has one GPU, or (None) must not touch any."""
    return {"CUDA_VISIBLE_DEVICES": gpu or "", ASSIGNED: gpu or "none"}


def dask_setup(worker: Any) -> None:
    """Take the GPU with the number at the end of the worker's name: what Dask calls where `--preload` names this module.

    The workers of a job are called name-0, name-1 and so on.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = visible_gpus() if named is None else [part.strip() for part in named.split(",") if part.strip()]
    if visible:
        number = int(str(worker.name).rpartition("-")[2])
        os.environ.update(worker_environment(visible[number % len(visible)]))


def worker_device(wanted: str) -> str:
    """The device of this worker process: "cpu", or "cuda:N" with a GPU of its own.

    With "auto", a worker that finds every GPU of its machine taken renders on the CPU; with "cuda" it shares one.

    Raises
    ------
    RunError
        If "cuda" is wanted and there is no GPU here.
    """
    if wanted == "cpu" or (wanted == "auto" and not cuda_is_available()):
        return "cpu"
    if not cuda_is_available():
        raise RunError("device cuda: there is no CUDA device that PyTorch can use on this worker")
    if os.environ.get(ASSIGNED) not in (None, "none"):
        return "cuda:0"
    import torch

    names = [_identity(number) for number in range(torch.cuda.device_count())]
    mine = take_one(names)
    if mine is None and wanted == "auto":
        return "cpu"
    number = mine if mine is not None else os.getpid() % len(names)
    torch.cuda.set_device(number)
    return f"cuda:{number}"


def take_one(names: Sequence[str], folder: Path | None = None) -> int | None:
    """Hold the first of `names` that no other process of this user holds, until this process ends.

    Returns its position, or None where all are held. Where there is no folder for locks that other users keep out of, none is held, and
    processes are spread over the GPUs by their numbers.
    """
    for number, name in enumerate(names):
        if name in _held:
            return number
    try:
        folder = folder or lock_folder()
    except (OSError, NbdistError) as error:
        logger.warning("GPUs are not held against other workers: %s", one_line(error))
        return os.getpid() % len(names) if names else None
    for number, name in enumerate(names):
        file = (folder / f"gpu-{name.replace(os.sep, '_')}.lock").open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _held[name] = file
        return number
    return None


def cpu_affinity(gpu: str) -> list[int] | None:
    """The cores next to a GPU, from dask-cuda where it is installed; None where it is not or cannot say."""
    try:
        from dask_cuda.utils import get_cpu_affinity
    except ImportError:
        return None
    try:
        return [int(core) for core in get_cpu_affinity(int(gpu) if gpu.isdecimal() else gpu)] or None
    except Exception:  # whatever the driver's library raises: the cores are a matter of speed alone
        return None


def _identity(number: int) -> str:
    import torch

    properties = torch.cuda.get_device_properties(number)
    return str(getattr(properties, "uuid", None) or f"{visible_gpus()[number]}")
