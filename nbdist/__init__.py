"""nbdist: large synthetic X-ray diffraction data sets.

The public names are imported when they are used, so that `import nbdist` loads neither torch nor Dask nor Zarr.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbdist.errors import NbdistError
    from nbdist.execution.generate import generate
    from nbdist.execution.simulate import simulate_frame, simulate_series
    from nbdist.execution.verify import verify
    from nbdist.experiment import Experiment, load_experiment
    from nbdist.store import open_series

_HOMES = {
    "Experiment": "nbdist.experiment",
    "NbdistError": "nbdist.errors",
    "generate": "nbdist.execution.generate",
    "load_experiment": "nbdist.experiment",
    "open_series": "nbdist.store",
    "simulate_frame": "nbdist.execution.simulate",
    "simulate_series": "nbdist.execution.simulate",
    "verify": "nbdist.execution.verify",
}

__all__ = [
    "Experiment",
    "NbdistError",
    "generate",
    "load_experiment",
    "open_series",
    "simulate_frame",
    "simulate_series",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nbdist")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nbdist' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
