"""What some of nanoBragg's flags stand for: the geometry in an SMV header, a random orientation, a crystal clipped by the beam."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nbdist.cli.nanobragg_words import FlagError, Flags
from nbdist.errors import FileFormatError
from nbdist.experiment.mosaic import cap_rotation, uniform_deviates
from nbdist.formats.smv import Header, header_number, read_smv_header

DEFAULT_BEAM_SIZE_MM = 0.1
RANDOM_CAP_RAD = 90.0
"""nanoBragg means 90 degrees and passes radians: angles up to 14 turns, which makes orientations about uniform."""
HEADER_FLAGS = {
    "PIXEL_SIZE": "pixel",
    "DISTANCE": "distance",
    "CLOSE_DISTANCE": "close_distance",
    "WAVELENGTH": "lambda",
    "BEAM_CENTER_X": "Xbeam",
    "BEAM_CENTER_Y": "Ybeam",
    "XDS_ORGX": "ORGX",
    "XDS_ORGY": "ORGY",
    "ORGX": "ORGX",
    "ORGY": "ORGY",
    "PHI": "phi",
    "OSC_RANGE": "osc",
}
"""Keys of an SMV header and the flags they stand for: the same units."""


def input_path(flag: str, flags: Flags, folder: Path) -> Path:
    """The file that a flag names.

    Raises
    ------
    FlagError
        If there is no such file.
    """
    path: Path = folder / Path(flags.get(flag)).expanduser()
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):  # a name too long, or with a NUL
        pass
    raise FlagError(f"-{flag}: {flags.get(flag)} does not exist or is not a file")


def header_values(flags: Flags, folder: Path) -> dict[str, Any]:
    """What the headers of -mask and then -img set, by flag; flags of the command line override them.

    As in nanoBragg a mask's BEAM_CENTER_Y is counted from the other edge, and TWOTHETA is not used (`header_twotheta` tells it).

    Raises
    ------
    FlagError
        If such a file is not an SMV image.
    """
    values: dict[str, Any] = {}
    for flag in ("mask", "img"):
        if not flags.get(flag):
            continue
        path = input_path(flag, flags, folder)
        try:
            header = read_smv_header(path)
            values |= _from_header(header, path)
        except FileFormatError as error:
            raise FlagError(f"-{flag}: {error}") from None
        if flag == "mask" and "Ybeam" in values:
            values["Ybeam"] = values["detpixels_s"] * values.get("pixel", 0.1) - values["Ybeam"]
    if flags.get("distance") is not None:
        values.pop("close_distance", None)
    return values


def _from_header(header: Header, path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {"detpixels_f": int(header["SIZE1"]), "detpixels_s": int(header["SIZE2"])}
    values["header_twotheta"] = header_number(header, "TWOTHETA", path) or 0.0
    for key, name in HEADER_FLAGS.items():
        number = header_number(header, key, path)
        if number is not None:
            values[name] = number
    return values


def random_misset(flags: Flags) -> tuple[float, float, float]:
    """Rotations about x, y and z (degrees) of nanoBragg's random orientation for -misset_seed, or else -seed, or else 1."""
    seed = flags.get("misset_seed", flags.get("seed", 1))
    turn = cap_rotation(RANDOM_CAP_RAD, uniform_deviates(seed))
    return (
        math.degrees(math.atan2(turn[2, 1], turn[2, 2])),
        math.degrees(math.atan2(-turn[2, 0], math.hypot(turn[2, 1], turn[2, 2]))),
        math.degrees(math.atan2(turn[1, 0], turn[0, 0])),
    )


def clipped_sizes(flags: Flags) -> tuple[tuple[float, float, float], list[str]]:
    """Size of the crystal along a, b, c in mm (0 where none was given), and a warning for each that the beam clips.

    Raises
    ------
    FlagError
        If a size is negative.
    """
    beam_mm = flags.get("beamsize", DEFAULT_BEAM_SIZE_MM)
    sizes, warnings = [], []
    for axis in "xyz":
        size = flags.get(f"sample_{axis}", 0.0)
        if size < 0:
            raise FlagError(f"-sample_{axis}: expected mm, 0 or more, found {size:g}")
        if axis in "yz" and 0 <= beam_mm < size:
            warnings.append(f"sample_{axis} of {size:g} mm is clipped by the beam to {beam_mm:g} mm (-beamsize)")
            size = beam_mm
        sizes.append(size)
    return (sizes[0], sizes[1], sizes[2]), warnings
