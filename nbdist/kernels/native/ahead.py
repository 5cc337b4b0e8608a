"""Which kernels runs may need, to compile them ahead."""

from __future__ import annotations

from nbdist.experiment import Experiment
from nbdist.kernels.native.backend import is_sharp
from nbdist.kernels.native.sources import SHAPES, diffuse_source, factors_source, integrated_source, variant_source
from nbdist.kernels.variant import Variant, kernel_shape
from nbdist.native.build import Source
from nbdist.scene import resolve

TABLES = ((False, False), (True, False), (False, True))
"""(interpolate, uniform) of the variants: where all amplitudes are the same there is nothing to interpolate."""
PRECISIONS = (("float32", False), ("float32", True), ("float64", False))
"""(precision, sharp): float64 needs no remainders, nor do shapes other than a brick."""


def sources_of(experiment: Experiment | None = None) -> list[Source]:
    """What all kernels are compiled from, or those that an experiment may need, whatever its amplitudes.

    Raises
    ------
    ExperimentError
        If the experiment's geometry, or one of its files, is wrong.
    """
    if experiment is None:
        scattered = [
            of(precision) for of in (integrated_source, diffuse_source) for precision in ("float32", "float64")
        ]
        kinds = {
            (shape, precision, sharp)
            for shape in SHAPES
            for precision, sharp in PRECISIONS
            if shape == "square" or not sharp
        }
    else:
        precision = experiment.sampling.precision
        disordered = any(crystal.diffuse for crystal in experiment.each_crystal.values())
        scattered = [diffuse_source(precision)] if disordered else []
        if experiment.sampling.integrated:
            return [factors_source(), *scattered, integrated_source(precision)]
        kinds = {
            (kernel_shape(lattice), precision, precision == "float32" and is_sharp(lattice))
            for lattice in resolve(experiment).specimen.lattices
        }
    return [factors_source(), *scattered] + [
        variant_source(Variant(shape, interpolate, uniform, precision), sharp)
        for shape, precision, sharp in sorted(kinds)
        for interpolate, uniform in TABLES
    ]
