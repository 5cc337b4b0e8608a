"""The header of ADSC's images in SMV, by which DIALS, MOSFLM and others place a detector.

It has a distance and a beam centre: a panel stands at right angles to the beam, its rows along the axis of rotation (`Upright`). dxtbx
takes BEAM_CENTER_X along slow and BEAM_CENTER_Y along fast, each in millimetres from the outer corner of the first pixel, as MOSFLM names
them; an OSC_RANGE below 0 as a rotation about the opposite axis that begins at OSC_START and goes forwards; and GAIN and IMAGE_PEDESTAL
as readings a photon and without one. It has no word for a beam's polarization, which dxtbx takes for 0.999, and none for a sensor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError
from nbdist.formats.description import polarized_as_assumed
from nbdist.formats.image_files import ImageSeries
from nbdist.formats.models import Models
from nbdist.formats.single_images import SingleImages
from nbdist.formats.smv import Value, smv_bytes
from nbdist.formats.upright import Upright

LARGEST = 65535
MISREAD_SHAPE = (2527, 2463)
"""Rows and columns of a PILATUS 6M: dxtbx takes an image of them for one whose sides have changed places."""
NO_DATE = "Thu Jan 01 00:00:00 1970"
"""When a simulated frame was exposed: files of one series are to be the same each time."""


class Smv(SingleImages):
    """SMV as a format of image files."""

    name = "smv"
    suffix = "img"

    def trusted(self, models: Models) -> tuple[int, int]:
        """The readings that 16 bits hold; 0 is what a pixel holds that says nothing, and a reading where there is no pedestal."""
        lowest, highest = models.trusted
        return max(lowest, 1) if models.pedestal > 0 else lowest, min(highest, LARGEST - 1)

    def notes(self, series: ImageSeries) -> list[str]:
        """What DIALS and others make of the files that is not as it is."""
        models, notes = series.models, super().notes(series)
        if models.panels[0].shape == MISREAD_SHAPE:
            raise NbdistError(
                "smv: DIALS takes an image of 2463 x 2527 pixels for one whose sides have changed places; use --format cbf or nxmx"
            )
        masked = int(np.count_nonzero(~models.panels[0].usable))
        if masked and models.pedestal == 0:
            notes.append(
                f"SMV has no readings below 0: {masked} masked pixels hold 0, as if nothing had fallen on them"
            )
        return notes

    def unread(self, models: Models) -> list[str]:
        """What DIALS does not find in the files."""
        unread = []
        if not Upright.of(models).faithful:
            unread.append("how the detector and the axis stand")
        if not polarized_as_assumed(models.beam):
            unread.append("polarization")
        return [*unread, *super().unread(models)]

    def image_bytes(self, series: ImageSeries, image: int, pixels: NDArray[np.int32]) -> tuple[bytes, int]:
        """A file of one image, and how many of its readings are held at 65535."""
        whole, held = sixteen_bits(pixels)
        return smv_bytes(adsc_header(series.models, image), whole), held


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
