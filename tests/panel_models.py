"""Models of one panel, for tests of headers, and what XDS.INP says of them."""

import re

import numpy as np

from nbdist.experiment.lattice import xyz_rotation
from nbdist.formats.models import Beam, Models, Panel, Scan


def models_of_a_panel(turn=(0, 0, 0), shape=(5, 7), axis=(1, 0, 0), osc_deg=0.5, material="", thickness_mm=0.0):
    """A panel upright at (-12.3, 45.6, -123.4) mm unless it is turned, of pixels of 0.1 mm."""
    rotation = xyz_rotation(turn)
    panel = Panel(
        "panel 0",
        rotation @ np.array([-12.3, 45.6, -123.4]),
        rotation @ np.array([1.0, 0.0, 0.0]),
        rotation @ np.array([0.0, -1.0, 0.0]),
        shape,
        0.1,
        thickness_mm,
        0.0,
        (),
        material,
        np.ones(shape, dtype=bool),
    )
    beam = Beam(np.array([0.0, 0.0, -1.0]), 1.0332, np.array([0.0, 1.0, 0.0]), 0.9)
    return Models(
        beam, (panel,), np.array(axis, dtype=float), Scan(4, 3, 10.0, osc_deg, 0.25), (), (0, 1000), 2.0, 40.0
    )


def xds_parameters(text):
    """Numbers of each parameter of XDS.INP, in the order of the lines; words where they are no numbers."""
    found: dict[str, list[list[float] | str]] = {}
    for line in text.splitlines():
        for key, value in re.findall(r"([A-Z'_-]+)= *(.*?)(?= +[A-Z'_-]+=|$)", line.partition("!")[0].rstrip()):
            try:
                found.setdefault(key, []).append([float(word) for word in value.split()])
            except ValueError:
                found.setdefault(key, []).append(value)
    return found
