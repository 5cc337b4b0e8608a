"""What another program's file says of an experiment: its models, in the laboratory frame of that program, and what else is known.

The readers of DIALS' models, of XDS' files and of the headers of images all give a `Description`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nbdist.formats.models import Array, Models

Frame = Literal["dxtbx", "xds"]
LARGEST_ELONGATION = 1e-6
"""Relative difference between the sides of a pixel above which it is no square."""


@dataclass(frozen=True, eq=False)
class Description:
    """An experiment as another program has it.

    Attributes
    ----------
    frame
        Whose laboratory frame its models are in.
    models
        Without crystals where the file says nothing of one, or of its cell alone.
    mosaicities_deg
        Of each crystal the rms rotation of its blocks; None where it is not known.
    cell
        Axes (Angstrom) and angles (degrees) of a crystal whose orientation is not known.
    hall, mosaicity_deg
        Hall symbol of the space group of that crystal, and the rms rotation of its blocks.
    gain, pedestal
        What is read of a photon, and of none.
    remarks
        What is not carried over or had to be assumed, a line each.
    """

    frame: Frame
    models: Models
    mosaicities_deg: tuple[float | None, ...] = ()
    cell: tuple[float, ...] | None = None
    hall: str | None = None
    mosaicity_deg: float | None = None
    gain: float = 1.0
    pedestal: float = 0.0
    remarks: tuple[str, ...] = ()


def unit_vector(vector: Sequence[float] | Array) -> Array:
    """A vector at length 1, left as it is where it has that length.

    Raises
    ------
    ValueError
        If it has no direction.
    """
    array = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(array))
    if not 0 < length < np.inf:
        raise ValueError("should be a direction, found 0 0 0")
    return array if abs(length - 1) < 1e-15 else np.asarray(array / length)


def square_side(first: float, second: float) -> float:
    """Side of a square pixel.

    Raises
    ------
    ValueError
        If its sides differ or are no lengths.
    """
    if not first > 0 or abs(first - second) > LARGEST_ELONGATION * first:
        raise ValueError(f"should be those of a square, found {first:g} x {second:g} mm")
    return first


def rotation(axis: Array, angle_rad: float) -> Array:
    """Right-handed rotation (3, 3) about a unit vector (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * (cross @ cross))
