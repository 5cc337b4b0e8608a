"""What some of nanoBragg's flags stand for: the geometry in an SMV header, a random orientation, a crystal clipped by the beam."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from nbdist.errors import FileFormatError
from nbdist.experiment.model import Experiment
from nbdist.formats.smv import read_smv_header, read_smv_header_text
from nbdist.formats.text import user_path
from nbdist.nanobragg.words import REAL, FlagError, Flags
from nbdist.scene.mosaic import cap_rotation, uniform_deviates
from nbdist.scene.resolve import resolve
from nbdist.scene.rounding import rounded_up

DEFAULT_BEAM_SIZE_MM, DEFAULT_PIXEL_MM = 0.1, 0.1
RANDOM_CAP_RAD = 90.0
"""nanoBragg means 90 degrees and passes radians: angles up to 14 turns, which makes orientations about uniform."""
HEADER_FLAGS = {
    "PIXEL_SIZE": "pixel",
    "DISTANCE": "distance",
    "CLOSE_DISTANCE": "close_distance",
    "WAVELENGTH": "lambda",
    "BEAM_CENTER_X": "Xbeam",
    "BEAM_CENTER_Y": "Ybeam",
    "ORGX": "ORGX",
    "ORGY": "ORGY",
    "PHI": "phi",
    "OSC_RANGE": "osc",
    "TWOTHETA": "header_twotheta",
}
"""Keys of an SMV header and the flags they stand for: the same units."""


def input_path(flag: str, flags: Flags, folder: Path) -> Path:
    """The file that a flag names."""
    return folder / user_path(flags.get(flag))


def header_values(flags: Flags, folder: Path) -> dict[str, Any]:
    """What the headers of -mask and then -img set, by flag, read as nanoBragg reads them; the flags of the line are read after them.

    A mask's BEAM_CENTER_Y is counted from the other edge, and TWOTHETA is not used (`header_twotheta` tells it).

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
            values |= {"detpixels_f": int(header["SIZE1"]), "detpixels_s": int(header["SIZE2"])}
            text = read_smv_header_text(path)
            found = {name: _last_number(text, key, path, flags.warnings) for key, name in HEADER_FLAGS.items()}
        except FileFormatError as error:
            raise FlagError(f"-{flag}: {error}") from None
        values |= {name: number for name, number in found.items() if number is not None}
        for axis in "fs":  # what is left where the line says -detpixels 0
            values[f"detsize_{axis}"] = values[f"detpixels_{axis}"] * values.get("pixel", DEFAULT_PIXEL_MM)
        if flag == "mask" and found["Ybeam"] is not None:
            values["Ybeam"] = values["detsize_s"] - found["Ybeam"]
    return values


def _last_number(text: str, key: str, path: Path, warnings: list[str]) -> float | None:
    """The number after the first `=` after the last place where `key` stands in a header, be it a part of another key.

    Where that place is in a value, as in AXIS=PHI, it is the next line's number, or 0 where that has none; a warning says so.
    """
    _, there, after = text.rpartition(key)
    if not there:
        return None
    rest, _, value = after.partition("=")
    value = value.lstrip(" \t")
    number = REAL.match(value)
    if ";" in rest or "\n" in rest:
        read = float(number[0]) if number else 0.0
        warnings.append(
            f"{path}: {key} is read as {read:g}, what the line after its last place says, as nanoBragg does"
        )
        return read
    if number is None:
        raise FileFormatError(f"SMV image {path}: {key} should be a number, found '{value[:20].partition(';')[0]}'")
    return float(number[0])


def random_misset(flags: Flags) -> tuple[float, float, float]:
    """Rotations about x, y and z (degrees) of nanoBragg's random orientation for -misset_seed, or else -seed, or else 1."""
    seed = flags.get("misset_seed", flags.get("seed", 1))
    turn = cap_rotation(RANDOM_CAP_RAD, uniform_deviates(max(seed, 1)))
    return (
        math.degrees(math.atan2(turn[2, 1], turn[2, 2])),
        math.degrees(math.atan2(-turn[2, 0], math.hypot(turn[2, 1], turn[2, 2]))),
        math.degrees(math.atan2(turn[1, 0], turn[0, 0])),
    )


def clipped_sizes(flags: Flags) -> tuple[tuple[float, float, float], list[str]]:
    """Size of the crystal along a, b, c in mm (0 where none was given), and a warning for each that the beam clips."""
    beam_mm = flags.get("beamsize", DEFAULT_BEAM_SIZE_MM)
    sizes, warnings = [], []
    for axis in "xyz":
        size = max(flags.get(f"sample_{axis}", 0.0), 0.0)
        if axis in "yz" and 0 <= beam_mm < size:
            warnings.append(f"sample_{axis} of {size:g} mm is clipped by the beam to {beam_mm:g} mm (-beamsize)")
            size = beam_mm
        sizes.append(size)
    return (sizes[0], sizes[1], sizes[2]), warnings


def cells_of_sizes(flags: Flags, experiment: Experiment) -> tuple[int, int, int]:
    """Cells along a, b, c: ceil(size/axis) where a size is given, else those of `experiment`.

    A size that is a whole number of cells but for rounding has that number.
    """
    axes_mm = 1e-7 * np.linalg.norm(resolve(experiment).specimen.lattices[0].real_vectors_A, axis=1)
    given = experiment.only_crystal.N_cells or (1, 1, 1)
    na, nb, nc = (
        max(1, rounded_up(size / axis)) if size else count
        for size, axis, count in zip(clipped_sizes(flags)[0], axes_mm, given, strict=True)
    )
    return na, nb, nc
