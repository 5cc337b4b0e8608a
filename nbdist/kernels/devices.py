"""Whether there is a GPU, asked without loading PyTorch where no driver is, and which device `auto` means."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import Literal

from nbdist.errors import RunError, require_extra

Device = Literal["auto", "cpu", "cuda"]
CUDA_DRIVERS = ("libcuda.so.1", "nvcuda.dll")


def cuda_is_available() -> bool:
    """Whether PyTorch can use a GPU here; it takes a second to load, and is not asked where no driver is."""
    if "torch" not in sys.modules and not _has_driver():
        return False
    try:
        import torch
    except ModuleNotFoundError:
        return False
    return torch.cuda.is_available()


def _has_driver() -> bool:
    for name in CUDA_DRIVERS:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return True
    return Path("/dev/kfd").exists()  # of AMD's GPUs, which PyTorch calls CUDA devices, too


def pick_device(wanted: str) -> str:
    """Turn auto into cuda where there is a GPU, else cpu.

    Raises
    ------
    MissingExtraError, RunError
        If cuda is wanted and cannot be had.
    """
    if wanted == "auto":
        return "cuda" if cuda_is_available() else "cpu"
    if wanted.startswith("cuda"):
        require_extra("torch", f"device {wanted}")
        if not cuda_is_available():
            raise RunError(f"device {wanted}: there is no CUDA device that PyTorch can use here")
    return wanted
