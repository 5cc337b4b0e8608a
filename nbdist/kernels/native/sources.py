"""What the kernels are compiled from."""

from __future__ import annotations

from pathlib import Path

from nbdist.kernels.variant import Variant
from nbdist.native.build import Source

FOLDER = Path(__file__).parent
SHAPES = ("square", "round", "gauss", "tophat", "isotropic")


def variant_source(variant: Variant, sharp: bool) -> Source:
    """What the kernel of a variant is compiled from.

    `sharp`, for a brick, keeps what float32 rounds off a distance before it is multiplied by the number of cells.
    """
    macros = {
        "SHAPE": SHAPES.index(variant.shape),
        "INTERPOLATE": int(variant.interpolate),
        "SHARP": int(sharp and variant.precision == "float32"),
        "UNIFORM": int(variant.uniform),
    }
    numbers = tuple(f"-D{name}={value}" for name, value in macros.items())
    return Source(FOLDER / "kernel.cpp", (_real(variant.precision), *numbers))


def factors_source() -> Source:
    """What the factors that do not depend on the crystal are compiled from."""
    return Source(FOLDER / "factors.cpp")


def integrated_source(precision: str) -> Source:
    """What the kernel of the integrated method is compiled from."""
    return Source(FOLDER / "integrated.cpp", (_real(precision),))


def diffuse_source(precision: str) -> Source:
    """What the kernel of diffuse scattering is compiled from."""
    return Source(FOLDER / "diffuse.cpp", (_real(precision),))


def peak_source() -> Source:
    """What runs as many multiplications and additions a second as the machine can."""
    return Source(FOLDER / "peak.cpp")


def _real(precision: str) -> str:
    return f"-DREAL={'double' if precision == 'float64' else 'float'}"
