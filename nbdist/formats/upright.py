"""What headers of one distance and one beam centre can say of a detector: it stands at right angles to the beam, its rows along the axis.

A program that reads such a header has the beam along -z, the first panel's fast axis along x and its slow one along -y, as dxtbx has, and
the crystals turn about x. Its laboratory is the one of `formats.models` turned about the beam; where that cannot be, the header is wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbdist.formats.models import Models

LARGEST_LEAN = 1e-8
"""Of an axis from where it should lie, in radians."""


class Upright(NamedTuple):
    """A detector as a distance and a centre, all that some headers have.

    Attributes
    ----------
    distance_mm
        From the sample to the plane of the panel along the beam.
    centre_mm
        Where the beam meets it, along fast and slow from the outer corner of the first pixel.
    sense
        1 where the crystals turn forwards about x as such a header has it, -1 where they turn backwards.
    faithful
        Whether that is where the detector is.
    """

    distance_mm: float
    centre_mm: tuple[float, float]
    sense: int
    faithful: bool

    @classmethod
    def of(cls, models: Models) -> Upright:
        """The first panel of models; one that the beam does not meet has the foot of the perpendicular instead."""
        panel, beam = models.panels[0], models.beam.travels
        # a plane through the sample has a foot, too
        towards = beam if panel.met_by(beam) else panel.normal * np.copysign(1.0, panel.origin_mm @ panel.normal)
        distance = float(panel.origin_mm @ panel.normal) / float(towards @ panel.normal)
        spot = distance * towards - panel.origin_mm
        along = float(models.axis @ panel.fast)
        leans = [np.cross(panel.normal, beam), *([] if models.still else [np.cross(models.axis, panel.fast)])]
        faithful = (
            len(models.panels) == 1
            and float(panel.normal @ beam) > 0
            and all(np.linalg.norm(lean) < LARGEST_LEAN for lean in leans)
        )
        centre = float(spot @ panel.fast), float(spot @ panel.slow)
        return cls(distance, centre, -1 if along < 0 and faithful and not models.still else 1, faithful)
