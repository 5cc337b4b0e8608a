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
        Shape transform.
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
    return Variant(lattice.shape, lattice.interpolate and not table.uniform, table.uniform, table.values.dtype.name)
