"""The physics functions as torch runs them: compiled by torch.compile where that works, eagerly in small blocks where it does not.

Both give the same numbers within rounding, and neither ever stores all pixels x orientations: the sum goes over blocks of
orientations of a fixed size, small enough for the cache where it runs eagerly.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nbdist.kernels.backend import KernelMode
from nbdist.kernels.reference import orientation_sum as spec
from nbdist.kernels.reference.amplitudes import AmplitudeTensors
from nbdist.kernels.reference.factors import FactorChoice, SensorNumbers, pixel_factors
from nbdist.kernels.reference.pixels import PanelVectors
from nbdist.kernels.variant import Variant
from nbdist.private_folder import lock_folder, private_folder

logger = logging.getLogger(__name__)

EAGER_ORIENTATIONS = 16
"""Orientations that the eager path holds at a time: with a block of pixels 1 MiB in float32. Fixed, so that the order of the
additions does not depend on the size of a box."""
COMPILED_ORIENTATIONS = 256
"""Orientations of one call of the compiled sum: it bounds what little the compiler may still store for each."""
COMPILE_OPTIONS: dict[str, Any] = {
    "cpp.enable_floating_point_contract_flag": "fast",
    "cpp.dynamic_threads": True,
}
FUSING: dict[str, Any] = {
    "realize_opcount_threshold": 120,
    "realize_reads_threshold": 120,
    "realize_acc_reads_threshold": 120,
}
"""By default the compiler stores pixels x orientations wherever an expression is long; this long, and the sum is one loop. Longer
still, and compiling takes twice as long."""
_compiling = threading.RLock()
"""torch.compile is not safe in several threads at once; a compiled kernel has threads of its own."""
_compiled: dict[str, Callable[..., Any]] = {}


class Kernels:
    """The three heavy functions in one of two modes.

    `mode` is "compiled" until a compilation fails (no C++ compiler, for instance): that is said once, and the object goes on eagerly.
    """

    def __init__(self, mode: KernelMode = "compiled") -> None:
        self.mode: KernelMode = mode

    def pixel_part(
        self,
        coordinates: tuple[Tensor, Tensor, Tensor],
        panel: PanelVectors,
        source: tuple[Tensor, Tensor],
        q_reference: Tensor,
        real_reference: Tensor,
        curved: bool,
        dtype: torch.dtype,
    ) -> Tensor:
        """`orientation_sum.pixel_part`."""
        return self._call(
            spec.pixel_part,
            *coordinates,
            panel,
            *source,
            q_reference,
            real_reference,
            curved,
            dtype,
        )

    def pixel_factors(
        self,
        coordinates: tuple[Tensor, Tensor],
        panel: PanelVectors,
        source: tuple[Tensor, Tensor],
        sensor: SensorNumbers,
        choice: FactorChoice,
    ) -> Tensor:
        """`factors.pixel_factors`."""
        return self._call(pixel_factors, *coordinates, panel, *source, sensor, choice)

    def orientation_sum(
        self,
        pixels: Tensor,
        orientations: Tensor,
        cells: Tensor,
        fudge: Tensor,
        table: AmplitudeTensors,
        variant: Variant,
    ) -> Tensor:
        """`orientation_sum.orientation_sum`."""
        size = EAGER_ORIENTATIONS if self.mode == "eager" else COMPILED_ORIENTATIONS
        total: Tensor | None = None
        for part in torch.split(orientations, size, dim=1):
            terms = self._call(spec.orientation_sum, pixels, part, cells, fudge, table, variant)
            total = terms if total is None else total + terms
        assert total is not None
        return total

    def _call(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        if self.mode == "compiled":
            try:
                with _compiling:
                    return _compile(function, arguments)(*arguments)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                result = function(*arguments)  # a mistake of ours fails here again, and is not taken for the compiler's
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                logger.warning(
                    "torch.compile does not work here (%s); going on without it, several times slower", reason
                )
                self.mode = "eager"
                return result
        return function(*arguments)


def _compile(function: Callable[..., Tensor], arguments: tuple[Any, ...]) -> Callable[..., Any]:
    fused = function is spec.orientation_sum and not arguments[-1].interpolate
    name = f"{function.__name__}{' fused' if fused else ''}"
    if name not in _compiled:
        if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:  # torch's own, from which it loads code, is anybody's to make
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(private_folder(lock_folder() / "torch"))
        import torch._dynamo

        # one function serves every shape transform, precision and detector kind: each is a recompilation that is meant
        for limit in ("recompile_limit", "cache_size_limit"):
            if hasattr(torch._dynamo.config, limit):
                setattr(torch._dynamo.config, limit, 256)
        if hasattr(torch._dynamo.config, "specialize_float"):  # else the polynomials' coefficients become arguments
            torch._dynamo.config.specialize_float = True
        options = {**COMPILE_OPTIONS, **(FUSING if fused else {})}
        _compiled[name] = torch.compile(function, dynamic=True, fullgraph=True, options=options)
    return _compiled[name]
