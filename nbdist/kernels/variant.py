"""What is fixed when a kernel is compiled."""

from __future__ import annotations

from typing import NamedTuple

from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.specimen import Lattice


class Variant(NamedTuple):
    """The kind of sum that a lattice asks for.

    Attributes
    ----------
    shape
        Shape transform: that of the crystal, or "isotropic" for a Gaussian of one size in all directions.
    interpolate, uniform
        Whether amplitudes are interpolated between reflections, and whether all are the same.
    precision
        "float32" or "float64".
    """

    shape: str
    interpolate: bool
    uniform: bool
    precision: str


def variant_of(lattice: Lattice, table: AmplitudeTable) -> Variant:
    """The variant that renders a lattice with its table; where all amplitudes are the same there is nothing to interpolate."""
    return Variant(
        kernel_shape(lattice), lattice.interpolate and not table.uniform, table.uniform, table.values.dtype.name
    )


def kernel_shape(lattice: Lattice) -> str:
    """The shape transform of a lattice as kernels name it."""
    return lattice.shape if lattice.size_A is None else "isotropic"
