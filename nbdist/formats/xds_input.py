"""XDS.INP: what XDS is told of images before it processes them.

XDS knows no frame of its own; its parameters have the one of `formats.models` turned by half about the axis of rotation, so that the beam
travels along z, a row of an upright detector runs along x and its columns along y, as XDS' examples have them. Its pixels are counted from
1, and the middle of the first has the coordinates (1, 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.models import Models
from nbdist.formats.nxmx import MASTER

Array = NDArray[np.float64]
XDS_INPUT = "XDS.INP"
WRITTEN = "! written by nbdist"
"""Its first line."""
DETECTORS = {"cbf": "PILATUS", "nxmx": "EIGER", "smv": "ADSC"}
"""DETECTOR= of a format: by which XDS knows how its files are read."""
HALF_TURN = np.array([1.0, -1.0, -1.0])
"""About x."""
LIBRARY = "! LIB= /path/to/dectris-neggia.so  ! or durin-plugin.so: XDS reads HDF5 through it\n"


def xds_input(models: Models, format_name: str, images_name: str) -> str:
    """The content of XDS.INP of a rotation series on one panel.

    Parameters
    ----------
    models
        Their frames counted from 0.
    format_name
        One of `DETECTORS`.
    images_name
        What names the images, in the folder of XDS.INP: # stand for digits; or a master file of NXmx, `PREFIX_master.h5`.

    Raises
    ------
    ValueError
        If there are several panels, or the frames are stills: XDS has no series of them.
    """
    if models.still or len(models.panels) != 1:
        raise ValueError("XDS.INP is of a rotation series on one panel")
    beam, scan, (panel,) = models.beam, models.scan, models.panels
    in_hdf5 = images_name.endswith(MASTER)
    across = -panel.origin_mm  # to the foot of the perpendicular, from the first pixel's corner
    origin = [float(across @ axis) / panel.pixel_mm + 0.5 for axis in (panel.fast, panel.slow)]
    template = images_name.removesuffix(MASTER) + "_??????.h5" if in_hdf5 else images_name.replace("#", "?")
    first, last = scan.first_frame + 1, scan.first_frame + scan.frames
    lowest, highest = models.trusted
    sensor = [
        f"SENSOR_THICKNESS= {_word(panel.thickness_mm)}  ! mm, of {panel.material or 'no named material'}",
        f"SILICON= {_word(panel.attenuation_per_mm)}  ! attenuation of the sensor, 1/mm, whatever it is of",
    ]
    rows, columns = panel.shape
    lines = [
        WRITTEN,
        "JOB= XYCORR INIT COLSPOT IDXREF DEFPIX INTEGRATE CORRECT",
        f"NAME_TEMPLATE_OF_DATA_FRAMES= {template}",
        *([LIBRARY.rstrip()] if in_hdf5 else []),
        f"DATA_RANGE= {first} {last}",
        f"SPOT_RANGE= {first} {last}",
        "",
        f"DETECTOR= {DETECTORS[format_name]}  MINIMUM_VALID_PIXEL_VALUE= {lowest}  OVERLOAD= {highest}",
        f"NX= {columns}  NY= {rows}  QX= {_word(panel.pixel_mm)}  QY= {_word(panel.pixel_mm)}",
        f"DIRECTION_OF_DETECTOR_X-AXIS= {_vector(panel.fast)}",
        f"DIRECTION_OF_DETECTOR_Y-AXIS= {_vector(panel.slow)}",
        f"ORGX= {_word(origin[0])}  ORGY= {_word(origin[1])}",
        f"DETECTOR_DISTANCE= {_word(float(panel.origin_mm @ panel.normal))}",
        *(sensor if panel.corrects_parallax else []),
        "TRUSTED_REGION= 0.0 1.42",
        *(
            f"UNTRUSTED_RECTANGLE= {fast0} {fast1 + 1} {slow0} {slow1 + 1}"  # its edges are trusted
            for fast0, fast1, slow0, slow1 in panel.gaps
        ),
        "",
        f"X-RAY_WAVELENGTH= {_word(beam.wavelength_A)}",
        f"INCIDENT_BEAM_DIRECTION= {_vector(beam.travels)}",
        f"FRACTION_OF_POLARIZATION= {_word(beam.polarization_fraction)}",
        f"POLARIZATION_PLANE_NORMAL= {_vector(beam.polarization_normal)}",
        "",
        f"ROTATION_AXIS= {_vector(models.axis)}",
        f"STARTING_ANGLE= {_word(scan.start_deg)}  STARTING_FRAME= {first}",
        f"OSCILLATION_RANGE= {_word(scan.osc_deg)}",
        "",
        "SPACE_GROUP_NUMBER= 0  ! not told",
        "FRIEDEL'S_LAW= TRUE",
    ]
    return "\n".join(lines) + "\n"


def _vector(vector: Array) -> str:
    return " ".join(_word(value) for value in HALF_TURN * vector)


def _word(number: float) -> str:
    return f"{float(number) + 0.0:.12g}"
