"""What another program's file says of an experiment: its models, in the laboratory frame of that program, and what else is known.

The readers of DIALS' models, of XDS' files and of the headers of images all give a `Description`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError
from nbdist.formats.models import Array, Beam, Models, Panel, Scan

Frame = Literal["dxtbx", "xds"]
MOST_PIXELS = 2**28
"""Of a panel, as of the largest image that is rendered."""
LARGEST_ELONGATION = 1e-6
"""Relative difference between the sides of a pixel above which it is no square."""
MATERIALS = {"silicon": "Si", "si": "Si", "cdte": "CdTe"}
"""Symbols of the materials of sensors, by what files call them in small letters."""
UNKNOWN_POLARIZATION = ((0.0, 1.0, 0.0), 0.999)
"""Normal and fraction that dxtbx assumes where nothing is said."""


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
    sizes_um
        Of each crystal the side of a block; None where it is not known, and nothing where that is so of all.
    cell
        Axes (Angstrom) and angles (degrees) of a crystal whose orientation is not known.
    hall, mosaicity_deg
        Hall symbol of the space group of that crystal, and the rms rotation of its blocks.
    remarks
        What is not carried over or had to be assumed, a line each.
    """

    frame: Frame
    models: Models
    mosaicities_deg: tuple[float | None, ...] = ()
    sizes_um: tuple[float | None, ...] = ()
    cell: tuple[float, ...] | None = None
    hall: str | None = None
    mosaicity_deg: float | None = None
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
    """Side of a square pixel, to 12 digits: 172e-6 m are 0.172 mm.

    Raises
    ------
    ValueError
        If its sides differ or are no lengths.
    """
    if not first > 0 or abs(first - second) > LARGEST_ELONGATION * first:
        raise ValueError(f"should be those of a square, found {first:g} x {second:g} mm")
    return float(f"{first:.12g}")


def rotation(axis: Array, angle_rad: float) -> Array:
    """Right-handed rotation (3, 3) about a unit vector (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * (cross @ cross))


def upright_panel(
    shape: tuple[int, int], pixel_mm: float, distance_mm: float, spot_mm: tuple[float, float], name: str = "panel"
) -> Panel:
    """A panel at right angles to the beam in dxtbx's frame, fast along x and slow along -y, without a sensor.

    Parameters
    ----------
    shape
        Rows and columns.
    spot_mm
        Where the beam meets it, along fast and slow from the outer corner of the first pixel.
    """
    fast, slow = spot_mm
    return Panel(
        name=name,
        origin_mm=np.array([-fast, slow, -distance_mm]),
        fast=np.array([1.0, 0.0, 0.0]),
        slow=np.array([0.0, -1.0, 0.0]),
        shape=shape,
        pixel_mm=pixel_mm,
        thickness_mm=0.0,
        attenuation_per_mm=0.0,
        gaps=(),
        material="",
        usable=all_usable(shape),
    )


def all_usable(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (slow, fast) of a panel, none of them dead.

    Raises
    ------
    FileFormatError
        If there are more than any image has.
    """
    if shape[0] * shape[1] > MOST_PIXELS:
        raise FileFormatError(f"a panel of {shape[0]} x {shape[1]} pixels; should be {MOST_PIXELS:,} at most")
    return np.ones(shape, dtype=bool)


def spindle_remark() -> str:
    """What is said where a header has the angles of a rotation and not its axis."""
    return (
        "scan.spindle_axis: such a header does not tell it; x is taken, forwards. dxtbx knows some beamlines that turn otherwise by their "
        "detector's serial number: dials.import, then from-dials"
    )


def angles_left_out(angles: Mapping[str, str], start_deg: float) -> Iterator[str]:
    """What is said of the angles of a goniometer in such a header, by name, where they are neither 0 nor where the scan begins."""
    for name, text in angles.items():
        try:
            usual, shown = float(text) in (0.0, start_deg), f"{float(text):g}"
        except ValueError:
            usual, shown = text in ("", "unknown"), text
        if not usual:
            yield f"{name} {shown} degrees is left out, as dxtbx does: how it turns the spindle is not said"


def polarization_remark() -> str:
    """What is said where a file has no polarization."""
    return f"beam.polarization_factor: not in the file; a fraction of {UNKNOWN_POLARIZATION[1]} is taken, as dxtbx does"


def polarized_as_assumed(beam: Beam) -> bool:
    """Whether a beam is polarized as dxtbx assumes where nothing is said, to 1e-6."""
    normal, fraction = UNKNOWN_POLARIZATION
    along = abs(float(beam.polarization_normal @ np.array(normal)))
    return bool(abs(beam.polarization_fraction - fraction) < 1e-6 and along > 1 - 1e-6)


def assumed_beam(wavelength_A: float, flux: float | None = None) -> Beam:
    """A beam along -z, polarized as dxtbx assumes where nothing is said (see `polarization_remark`)."""
    normal, fraction = UNKNOWN_POLARIZATION
    return Beam(np.array([0.0, 0.0, -1.0]), wavelength_A, np.array(normal), fraction, flux or None)


def one_panel(
    beam: Beam, panel: Panel, axis: Array, scan: Scan, trusted: tuple[int, int], remarks: Sequence[str]
) -> Description:
    """What an image of one panel says, in dxtbx's frame."""
    models = Models(beam=beam, panels=(panel,), axis=axis, scan=scan, crystals=(), trusted=trusted)
    dead = "detector: which pixels are dead its header does not tell, and their readings are not read; see mask_file"
    return Description(frame="dxtbx", models=models, remarks=(*remarks, dead))
