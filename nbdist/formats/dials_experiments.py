"""DIALS' models of an experiment, `.expt`: a JSON document of beams, panels, axes and crystals, as dxtbx reads it.

What differs from `formats.models`: a beam's direction is from the sample to the source, and frames are counted from 1. The ends of a
trusted range lie half a count beyond the readings that are trusted, for some versions of dxtbx trust the ends themselves and others do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from nbdist.formats.models import Array, Beam, Crystal, Models, Panel, Scan

NO_IMAGES = "frame_#####.img"
"""Name of the image of a frame, counted from 1, where there are none; of frames beyond 99,999 it has more digits."""


def experiment_list(
    models: Models, identifiers: Sequence[str], images: str = NO_IMAGES, *, crystals: bool = True
) -> bytes:
    """Content of an `.expt` file: an experiment of each crystal, which share all other models, or one of no crystal.

    Parameters
    ----------
    identifiers
        Of the experiments.
    images
        Where the images lie: a path in which # stand for the digits of a frame's number, or one file of all of them.
    crystals
        Whether the experiments have a crystal each.
    """
    still = models.still
    shared: dict[str, Any] = {"beam": 0, "detector": 0, "imageset": 0}
    shared |= {} if still else {"goniometer": 0, "scan": 0}
    experiments = [
        {"__id__": "Experiment", "identifier": identifier, **shared, **({"crystal": number} if crystals else {})}
        for number, identifier in enumerate(identifiers)
    ]
    content = {
        "__id__": "ExperimentList",
        "experiment": experiments,
        "imageset": [_images(models.scan, images)],
        "beam": [_beam(models.beam)],
        "detector": [_detector(models)],
        "goniometer": [] if still else [_goniometer(models.axis)],
        "scan": [] if still else [_scan(models.scan)],
        "crystal": [_crystal(crystal) for crystal in models.crystals] if crystals else [],
        "profile": [],
        "scaling_model": [],
    }
    return json.dumps(content, indent=2).encode()


def _images(scan: Scan, images: str) -> dict[str, Any]:
    """DIALS takes an experiment for a still unless it has a sequence of images, which need not be there."""
    nothing = dict.fromkeys(("mask", "gain", "pedestal", "dx", "dy"))
    in_one_file = {} if "#" in images else {"single_file_indices": [*range(scan.frames)]}
    if scan.osc_deg == 0:
        names = [_numbered(images, frame + 1) for frame in range(scan.first_frame, scan.first_frame + scan.frames)]
        return {"__id__": "ImageSet", "images": names, **in_one_file, **nothing, "params": {}}
    return {"__id__": "ImageSequence", "template": images, **in_one_file, **nothing, "params": {}}


def _numbered(template: str, number: int) -> str:
    """A template with a number in place of its #."""
    return re.sub("#+", lambda digits: f"{number:0{len(digits[0])}d}", template)


def _beam(beam: Beam) -> dict[str, Any]:
    return {
        "direction": (0.0 - beam.travels).tolist(),
        "wavelength": beam.wavelength_A,
        "divergence": 0.0,
        "sigma_divergence": 0.0,
        "polarization_normal": beam.polarization_normal.tolist(),
        "polarization_fraction": beam.polarization_fraction,
        "flux": beam.flux_photons_per_s or 0.0,
        "transmission": 1.0,
    }


def _detector(models: Models) -> dict[str, Any]:
    children = [{"panel": number} for number in range(len(models.panels))]
    lowest, highest = models.trusted
    together = {
        "name": "",
        "type": "",
        "fast_axis": [1.0, 0.0, 0.0],
        "slow_axis": [0.0, 1.0, 0.0],
        "origin": [0.0, 0.0, 0.0],
    }
    reading = {"trusted_range": [lowest - 0.5, highest + 0.5], "gain": models.gain, "pedestal": models.pedestal}
    panels = [{**_panel(panel), **reading} for panel in models.panels]
    return {"panels": panels, "hierarchy": {**together, "children": children}}


def _panel(panel: Panel) -> dict[str, Any]:
    slow, fast = panel.shape
    strategy = "ParallaxCorrectedPxMmStrategy" if panel.corrects_parallax else "SimplePxMmStrategy"
    return {
        "name": panel.name,
        "type": "SENSOR_PAD",
        "fast_axis": panel.fast.tolist(),
        "slow_axis": panel.slow.tolist(),
        "origin": panel.origin_mm.tolist(),
        "raw_image_offset": [0, 0],
        "image_size": [fast, slow],
        "pixel_size": [panel.pixel_mm, panel.pixel_mm],
        "thickness": panel.thickness_mm,
        "material": panel.material,
        "mu": panel.attenuation_per_mm,
        "identifier": "",
        "mask": [[fast0, slow0, fast1, slow1] for fast0, fast1, slow0, slow1 in panel.gaps],
        "px_mm_strategy": {"type": strategy},
    }


def _goniometer(axis: Array) -> dict[str, Any]:
    unturned = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    return {"rotation_axis": axis.tolist(), "fixed_rotation": unturned, "setting_rotation": unturned}


def _scan(scan: Scan) -> dict[str, Any]:
    return {
        "image_range": [scan.first_frame + 1, scan.first_frame + scan.frames],
        "batch_offset": 0,
        "oscillation": [scan.start_deg, scan.osc_deg],
        "exposure_time": [scan.exposure_s] * scan.frames,
        "epochs": [scan.exposure_s * frame for frame in range(scan.frames)],
        "valid_image_ranges": {},
    }


def _crystal(crystal: Crystal) -> dict[str, Any]:
    a, b, c = crystal.real_vectors_A.tolist()
    axes = {"real_space_a": a, "real_space_b": b, "real_space_c": c}
    return {"__id__": "crystal", **axes, "space_group_hall_symbol": crystal.hall}
