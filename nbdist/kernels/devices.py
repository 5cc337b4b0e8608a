"""Whether there is a GPU, asked without loading PyTorch where no driver is, and which device `auto` means."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from nbdist.errors import RunError, require_extra

Device = Literal["auto", "cpu", "cuda"]
CUDA_DRIVERS = ("libcuda.so.1", "nvcuda.dll")


def cuda_is_available() -> bool:
    """Whether PyTorch can use a GPU here; it takes a second to load, and is not asked where no driver is."""
    if "torch" not in sys.modules and not has_driver():
        return False
    try:
        import torch
    except ModuleNotFoundError:
        return False
    return torch.cuda.is_available()


def has_driver() -> bool:
    """Whether there is a driver of GPUs here; no PyTorch is needed to ask."""
    for name in CUDA_DRIVERS:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return True
    return Path("/dev/kfd").exists()  # of AMD's GPUs, which PyTorch calls CUDA devices, too


def preferred_device(wanted: Device, method: str) -> Device:
    """What is asked of whoever renders: cpu for auto where frames are integrated, else what is wanted.

    A core integrates a frame sooner than a GPU does, whose work it is to do the same for many pixels: spots have few.
    """
    return "cpu" if wanted == "auto" and method == "integrated" else wanted


def pick_device(wanted: str, method: str = "sum", available: Callable[[], bool] = cuda_is_available) -> str:
    """Turn auto into cuda where there is a GPU that is the faster for the method of the sampling, else cpu.

    Raises
    ------
    MissingExtraError, RunError
        If cuda is wanted and cannot be had.
    """
    if wanted == "auto":
        return "cuda" if preferred_device("auto", method) == "auto" and available() else "cpu"
    if wanted.startswith("cuda"):
        require_extra("torch", f"device {wanted}")
        if not available():
            raise RunError(f"device {wanted}: there is no CUDA device that PyTorch can use here")
    return wanted


def device_notes(wanted: str, taken: str, available: Callable[[], bool] = cuda_is_available) -> Sequence[str]:
    """A line where auto has left a GPU alone."""
    if wanted != "auto" or taken != "cpu" or not available():
        return ()
    return ("device auto: the GPU is left alone, as a core integrates frames faster; --device cuda takes it",)
