"""Which backend renders: the compiled one where it can be had, torch where a GPU or its own operations are asked for."""

from __future__ import annotations

import logging

from nbdist.errors import require_extra
from nbdist.kernels.backend import Backend, KernelMode
from nbdist.kernels.native.backend import NativeBackend
from nbdist.native.build import BuildError
from nbdist.scene.instrument import Instrument

logger = logging.getLogger(__name__)


def make_backend(
    instrument: Instrument, device: str = "cpu", mode: KernelMode = "compiled", threads: int | None = None
) -> Backend:
    """The fastest backend for an instrument; where no kernel can be compiled that is said once, and torch runs eagerly.

    Parameters
    ----------
    device
        "cpu", "cuda" or "cuda:N".
    threads
        Of the native kernel; all usable cores where left out.

    Raises
    ------
    MissingExtraError
        If it needs PyTorch, which is not installed.
    """
    if mode == "compiled" and device == "cpu":
        try:
            return NativeBackend(instrument, threads)
        except BuildError as error:
            return eager_backend(instrument, str(error))
    return _torch_backend(
        instrument, device, mode == "compiled", "", f"device {device}" if device != "cpu" else f"kernel {mode}"
    )


def eager_backend(instrument: Instrument, why: str) -> Backend:
    """Torch's own operations on a CPU, where no kernel can be compiled, which is said once.

    Raises
    ------
    MissingExtraError
        If PyTorch is not installed either.
    """
    found = _torch_backend(instrument, "cpu", False, why, f"a machine on which no kernel can be compiled ({why})")
    logger.warning("the kernel cannot be compiled here (%s); going on without it, tens of times slower", why)
    return found


def _torch_backend(instrument: Instrument, device: str, compiled: bool, why_eager: str, what: str) -> Backend:
    require_extra("torch", what)
    from nbdist.kernels.torch_backend import TorchBackend

    return TorchBackend(instrument, device, compiled, why_eager)
