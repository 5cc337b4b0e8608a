"""Reads what the headers of images say of the experiment: NXmx, CBF and SMV, as dxtbx takes them, in its frame.

An SMV header has a detector at right angles to the beam, fast along x and slow along -y, and a spindle along x; its centre is MOSFLM's
(BEAM_CENTER_X along slow), or nanoBragg's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nbdist.errors import FileFormatError
from nbdist.formats.cbf_models import read_cbf
from nbdist.formats.description import (
    Description,
    angles_left_out,
    assumed_beam,
    one_panel,
    polarization_remark,
    spindle_remark,
    upright_panel,
)
from nbdist.formats.models import Scan
from nbdist.formats.nxmx_models import SIGNATURE, read_nxmx
from nbdist.formats.smv import Header, header_number, is_smv, read_smv_header

WHAT = "image"
PHI_TOLERANCE = 0.01
"""Of an image's oscillation: by how much its start may be off from where its place in the series has it.

Where the numbers of the files leave out none, by as much of all oscillations together: increments in headers are rounded.
"""
LARGEST_SMV = 65535


def read_images(paths: Sequence[Path]) -> Description:
    """Read the header of an image, or of a series of images in files of their own, in dxtbx's frame.

    Parameters
    ----------
    paths
        One master file of NXmx, or CBF or SMV images in the order of the series.

    Raises
    ------
    FileFormatError
        If the first is no image, a header lacks what places the detector, or the images are no series.
    """
    first = _read_image(paths[0])
    scan, number = first.models.scan, _number(paths[0])
    if len(paths) == 1 and _is_hdf5(paths[0]):
        return first
    if number is not None:
        scan = scan._replace(first_frame=number - 1)
        first = replace(first, models=replace(first.models, scan=scan))
    if len(paths) == 1:
        return replace(first, remarks=(*first.remarks, "scan.frames: of one image; name all, or put their number"))
    if scan.frames > 1:
        raise FileFormatError(f"{WHAT} {paths[0]} holds {scan.frames} images; name it alone")
    last, steps = _read_image(paths[-1]).models.scan.start_deg, len(paths) - 1
    expected, last_number = scan.start_deg + steps * scan.osc_deg, _number(paths[-1])
    off = math.remainder(last - expected, 360)  # headers begin at 0 again after a whole turn
    whole = number is not None and last_number is not None and last_number - number == steps
    if abs(off) > max(PHI_TOLERANCE * abs(scan.osc_deg) * (len(paths) if whole else 1), 1e-6):
        raise FileFormatError(
            f"{WHAT} {paths[-1]} begins at {last:g} degrees, the last of {len(paths)} images of "
            f"{scan.osc_deg:g} from {scan.start_deg:g} on would at {expected:g}"
        )
    remarks = first.remarks
    if abs(off) > PHI_TOLERANCE * abs(scan.osc_deg):
        found_deg = scan.osc_deg + off / steps
        said = f"the header has {scan.osc_deg:g}; from the first image to the last it is {found_deg:.8g}"
        scan, remarks = scan._replace(osc_deg=found_deg), (*remarks, f"scan.osc_range_deg: {said}")
    return replace(first, models=replace(first.models, scan=scan._replace(frames=len(paths))), remarks=remarks)


def _number(path: Path) -> int | None:
    """The number of an image, as the last digits of its file's name have it."""
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else None


def _is_hdf5(path: Path) -> bool:
    return _start(path) == SIGNATURE


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(len(SIGNATURE))
    except OSError as error:
        raise FileFormatError(f"{WHAT} {path} cannot be read: {error.strerror or error}") from None


def _read_image(path: Path) -> Description:
    if _is_hdf5(path):
        return read_nxmx(path)
    if _start(path).startswith(b"###CBF"):
        return read_cbf(path)
    if is_smv(path):
        return _of_smv(path, read_smv_header(path))
    raise FileFormatError(
        f"{WHAT} {path} is neither NXmx (HDF5) nor CBF nor SMV; dials.import and from-dials read others"
    )


def _of_smv(path: Path, header: Header) -> Description:
    """An SMV image: nanoBragg's own header has the spot and the distance along the beam, others MOSFLM's centre."""

    def number(*keys: str, default: float | None = None) -> float:
        for key in keys:
            found = header_number(header, key, path, f"SMV {WHAT}")
            if found is not None:
                return found
        if default is None:
            raise FileFormatError(f"SMV {WHAT} {path}: its header has no {keys[0]}")
        return default

    pixel_mm = number("PIXEL_SIZE")
    shape = (round(number("SIZE2")), round(number("SIZE1")))
    start_deg = number("OSC_START", "PHI", default=0.0)
    angles: dict[str, str] = {name: header[name] for name in ("OMEGA", "PHI", "KAPPA", "CHI") if name in header}
    remarks = [polarization_remark(), spindle_remark(), *angles_left_out(angles, start_deg)]
    if header.get("BEAMLINE") != "fake":
        spot = (number("BEAM_CENTER_Y"), number("BEAM_CENTER_X"))
    elif "DENZO_X_BEAM" in header:
        spot = (number("DENZO_Y_BEAM"), number("DENZO_X_BEAM"))
    else:
        spot = (
            number("ADXV_CENTER_X", "BEAM_CENTER_X"),
            shape[0] * pixel_mm - number("ADXV_CENTER_Y", "BEAM_CENTER_Y"),
        )
    swing = number("TWOTHETA", default=0.0)
    if swing:
        remarks.append(f"TWOTHETA {swing:g} degrees is left out, as dxtbx does: about which axis is not said")
    osc_deg = number("OSC_RANGE", default=0.0)
    sense = -1.0 if osc_deg < 0 else 1.0  # dxtbx turns forwards about the opposite axis, from the same start
    found = one_panel(
        assumed_beam(number("WAVELENGTH")),
        upright_panel(shape, pixel_mm, number("DISTANCE"), spot),
        np.array([sense, 0.0, 0.0]),
        Scan(0, 1, start_deg, abs(osc_deg), number("TIME", default=0.0)),
        (0, LARGEST_SMV - 1),
        remarks,
    )
    gain, pedestal = number("GAIN", default=1.0) or 1.0, number("IMAGE_PEDESTAL", "ADC_OFFSET", default=0.0)
    return replace(found, models=replace(found.models, gain=gain, pedestal=pedestal))
