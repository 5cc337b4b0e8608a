"""The header of ADSC's images in SMV, by which DIALS, MOSFLM and others place a detector.

It has a distance and a beam centre: a panel stands at right angles to the beam, its rows along the axis of rotation (`Upright`). dxtbx
takes BEAM_CENTER_X along slow and BEAM_CENTER_Y along fast, each in millimetres from the outer corner of the first pixel, as MOSFLM names
them; an OSC_RANGE below 0 as a rotation about the opposite axis that begins at OSC_START and goes forwards; and GAIN and IMAGE_PEDESTAL
as readings a photon and without one. It has no word for a beam's polarization, which dxtbx takes for 0.999, and none for a sensor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.models import Models
from nbdist.formats.smv import Value
from nbdist.formats.upright import Upright

LARGEST = 65535
MISREAD_SHAPE = (2527, 2463)
"""Rows and columns of a PILATUS 6M: dxtbx takes an image of them for one whose sides have changed places."""
NO_DATE = "Thu Jan 01 00:00:00 1970"
"""When a simulated frame was exposed: files of one series are to be the same each time."""


def adsc_header(models: Models, frame: int) -> dict[str, Value]:
    """What comes after the sizes in the header of a frame, counted from the first of the scan: lengths in mm, angles in degrees."""
    scan, panel, upright = models.scan, models.panels[0], Upright.of(models)
    start_deg, (fast_mm, slow_mm) = scan.start_deg + frame * scan.osc_deg, upright.centre_mm
    return {
        "PIXEL_SIZE": panel.pixel_mm,
        "BIN": "1x1",
        "DETECTOR_SN": 0,
        "DATE": NO_DATE,
        "TIME": scan.exposure_s,
        "DISTANCE": upright.distance_mm,
        "TWOTHETA": 0,
        "AXIS": "phi",
        "PHI": start_deg,
        "OSC_START": start_deg,
        "OSC_RANGE": upright.sense * scan.osc_deg,
        "WAVELENGTH": models.beam.wavelength_A,
        "BEAM_CENTER_X": slow_mm,
        "BEAM_CENTER_Y": fast_mm,
        "GAIN": models.gain,
        "IMAGE_PEDESTAL": models.pedestal,
    }


def sixteen_bits(pixels: NDArray[np.integer]) -> tuple[NDArray[np.uint16], int]:
    """Readings as an image of 16 bits has them, and how many of them it cannot hold.

    One below 0, which says nothing, is 0; one above 65535 is 65535, which programs take for an overload.
    """
    return np.clip(pixels, 0, LARGEST).astype(np.uint16), int(np.count_nonzero(pixels > LARGEST))
