"""DIALS' models of an experiment, `.expt`: a JSON document of beams, panels, axes and crystals, as dxtbx reads it.

Its conventions: one laboratory frame for all, lengths in millimetres, a beam's direction from the sample to the source; a crystal is given
at a rotation of 0; frames are counted from 1, and the first pixel of a panel begins at its origin, so that its centre is at 1/2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IMAGES = "frame_#####.img"
"""Name of the image of a frame, counted from 1, beside the models; of frames beyond 99,999 it has more digits."""
LARGEST_VALUE = 2**31 - 1
"""No pixel has more counts."""


class Panel(NamedTuple):
    """A flat panel: outer corner of its first pixel, unit vectors at right angles, rows and columns, its sensor and its gaps.

    A gap is a rectangle of pixels: first and last (exclusive) along fast, first and last along slow.
    """

    name: str
    origin_mm: Array
    fast: Array
    slow: Array
    shape: tuple[int, int]
    pixel_mm: float
    thickness_mm: float
    attenuation_per_mm: float
    gaps: tuple[tuple[int, int, int, int], ...] = ()


class Beam(NamedTuple):
    """Direction the beam travels, wavelength, and polarization: share of it whose E vector lies in the plane with this normal."""

    travels: Array
    wavelength_A: float
    polarization_normal: Array
    polarization_fraction: float


class Scan(NamedTuple):
    """Frames of a rotation: the spindle axis, the first of them (counted from 0), their number, and their phi."""

    axis: Array
    first_frame: int
    frames: int
    start_deg: float
    osc_deg: float


def experiment_list(beam: Beam, panels: Sequence[Panel], scan: Scan | None, crystals: Mapping[str, Array]) -> bytes:
    """Content of an `.expt` file: one experiment for each crystal, which share all other models.

    Parameters
    ----------
    scan
        None for a still.
    crystals
        Rows a, b, c (3, 3) in Angstrom by the identifier of the experiment; their space group is P1.
    """
    models: dict[str, Any] = {"beam": 0, "detector": 0, "imageset": 0}
    models |= {} if scan is None else {"goniometer": 0, "scan": 0}
    experiments = [
        {"__id__": "Experiment", "identifier": identifier, **models, "crystal": number}
        for number, identifier in enumerate(crystals)
    ]
    content = {
        "__id__": "ExperimentList",
        "experiment": experiments,
        "imageset": [_images(scan)],
        "beam": [_beam(beam)],
        "detector": [_detector(panels)],
        "goniometer": [] if scan is None else [_goniometer(scan.axis)],
        "scan": [] if scan is None else [_scan(scan)],
        "crystal": [_crystal(real_vectors_A) for real_vectors_A in crystals.values()],
        "profile": [],
        "scaling_model": [],
    }
    return json.dumps(content, indent=2).encode()


def _images(scan: Scan | None) -> dict[str, Any]:
    """Names of images, none of which is looked for: DIALS takes an experiment for a still unless it has a sequence of them."""
    files = {"images": [IMAGES.replace("#" * 5, "00001")]} if scan is None else {"template": IMAGES}
    nothing = dict.fromkeys(("mask", "gain", "pedestal", "dx", "dy"))
    return {"__id__": "ImageSet" if scan is None else "ImageSequence", **files, **nothing, "params": {}}


def _beam(beam: Beam) -> dict[str, Any]:
    return {
        "direction": (-beam.travels).tolist(),
        "wavelength": beam.wavelength_A,
        "divergence": 0.0,
        "sigma_divergence": 0.0,
        "polarization_normal": beam.polarization_normal.tolist(),
        "polarization_fraction": beam.polarization_fraction,
        "flux": 0.0,
        "transmission": 1.0,
    }


def _detector(panels: Sequence[Panel]) -> dict[str, Any]:
    children = [{"panel": number} for number in range(len(panels))]
    together = Panel("", np.zeros(3), np.eye(3)[0], np.eye(3)[1], (0, 0), 0.0, 0.0, 0.0)
    return {"panels": [_panel(panel) for panel in panels], "hierarchy": {**_panel(together), "children": children}}


def _panel(panel: Panel) -> dict[str, Any]:
    slow, fast = panel.shape
    return {
        "name": panel.name,
        "type": "SENSOR_PAD" if panel.name else "",
        "fast_axis": panel.fast.tolist(),
        "slow_axis": panel.slow.tolist(),
        "origin": panel.origin_mm.tolist(),
        "raw_image_offset": [0, 0],
        "image_size": [fast, slow],
        "pixel_size": [panel.pixel_mm, panel.pixel_mm],
        "trusted_range": [-1.0, float(LARGEST_VALUE)],
        "thickness": panel.thickness_mm,
        "material": "",
        "mu": panel.attenuation_per_mm,
        "identifier": "",
        "mask": [[fast0, slow0, fast1, slow1] for fast0, fast1, slow0, slow1 in panel.gaps],
        "gain": 1.0,
        "pedestal": 0.0,
        "px_mm_strategy": {"type": "SimplePxMmStrategy"},
    }


def _goniometer(axis: Array) -> dict[str, Any]:
    unturned = np.eye(3).ravel().tolist()
    return {"rotation_axis": axis.tolist(), "fixed_rotation": unturned, "setting_rotation": unturned}


def _scan(scan: Scan) -> dict[str, Any]:
    return {
        "image_range": [scan.first_frame + 1, scan.first_frame + scan.frames],
        "batch_offset": 0,
        "oscillation": [scan.start_deg, scan.osc_deg],
        "exposure_time": [0.0] * scan.frames,
        "epochs": [0.0] * scan.frames,
        "valid_image_ranges": {},
    }


def _crystal(real_vectors_A: Array) -> dict[str, Any]:
    a, b, c = real_vectors_A.tolist()
    axes = {"real_space_a": a, "real_space_b": b, "real_space_c": c}
    return {"__id__": "crystal", **axes, "space_group_hall_symbol": " P 1"}
