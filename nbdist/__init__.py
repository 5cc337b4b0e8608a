"""nbdist: large synthetic X-ray diffraction data sets.

The public names are imported when they are used, so that `import nbdist` loads neither torch nor Dask nor Zarr.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbdist.version import __version__ as __version__

if TYPE_CHECKING:
    from nbdist.errors import NbdistError
    from nbdist.experiment import Experiment, load_experiment
    from nbdist.experiment.recipe import load_recipe
    from nbdist.run.datasets import generate_dataset, sample
    from nbdist.run.export import export
    from nbdist.run.generate import generate
    from nbdist.run.predict import predict
    from nbdist.run.read_out import read_out
    from nbdist.run.simulate import simulate_frame, simulate_series
    from nbdist.run.verify import verify
    from nbdist.store import open_reflections, open_samples, open_series, open_spots

_HOMES = {
    "Experiment": "nbdist.experiment",
    "NbdistError": "nbdist.errors",
    "export": "nbdist.run.export",
    "generate": "nbdist.run.generate",
    "generate_dataset": "nbdist.run.datasets",
    "load_experiment": "nbdist.experiment",
    "load_recipe": "nbdist.experiment.recipe",
    "open_reflections": "nbdist.store",
    "open_samples": "nbdist.store",
    "open_series": "nbdist.store",
    "open_spots": "nbdist.store",
    "predict": "nbdist.run.predict",
    "read_out": "nbdist.run.read_out",
    "sample": "nbdist.run.datasets",
    "simulate_frame": "nbdist.run.simulate",
    "simulate_series": "nbdist.run.simulate",
    "verify": "nbdist.run.verify",
}

__all__ = [
    "Experiment",
    "NbdistError",
    "export",
    "generate",
    "generate_dataset",
    "load_experiment",
    "load_recipe",
    "open_reflections",
    "open_samples",
    "open_series",
    "open_spots",
    "predict",
    "read_out",
    "sample",
    "simulate_frame",
    "simulate_series",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nbdist' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
