"""Run by DIALS' own Python: what it makes of images, by their headers alone, into a JSON file.

dials_images.py OUTPUT FOLDER...
"""

import json
import sys
from pathlib import Path

from dxtbx.format.FormatCBFMini import FormatCBFMini
from dxtbx.format.Registry import get_format_class_for_file
from dxtbx.model.experiment_list import ExperimentListFactory
from dxtbx.serialize.xds import to_xds


def models(beam, detector, goniometer, scan):
    panel = detector[0]
    return {
        "towards": beam.get_sample_to_source_direction(),
        "wavelength": beam.get_wavelength(),
        "polarization": [beam.get_polarization_fraction(), *beam.get_polarization_normal()],
        "panels": len(detector),
        "origin": panel.get_origin(),
        "fast": panel.get_fast_axis(),
        "slow": panel.get_slow_axis(),
        "pixel": panel.get_pixel_size(),
        "size": panel.get_image_size(),
        "trusted": panel.get_trusted_range(),
        "gain": panel.get_gain(),
        "pedestal": panel.get_pedestal(),
        "sensor": [panel.get_material(), panel.get_thickness()],
        "axis": goniometer.get_rotation_axis(),
        "still": scan.is_still(),
        "oscillation": scan.get_oscillation(),
        "images": scan.get_image_range(),
    }


def for_xds(images):
    """What dxtbx tells XDS of a rotation: vectors along the detector's rows, its columns and both at right angles."""
    told = to_xds(images)
    return {
        "DETECTOR_DISTANCE": [told.detector_distance],
        "ORG": told.detector_origin,
        "INCIDENT_BEAM_DIRECTION": told.beam_vector,
        "ROTATION_AXIS": told.rotation_axis,
        "STARTING_ANGLE": [told.starting_angle],
        "OSCILLATION_RANGE": [told.oscillation_range],
    }


def read(folder):
    files = sorted(str(path) for path in Path(folder).iterdir() if path.suffix in (".cbf", ".img"))
    experiments = ExperimentListFactory.from_filenames(files)
    first = experiments[0]
    pixels = [first.imageset.get_raw_data(number)[0] for number in range(len(first.imageset))]
    found = models(first.beam, first.detector, first.goniometer, first.scan)
    found["format"] = get_format_class_for_file(files[0]).__name__
    found["experiments"] = len(experiments)
    found["pixels"] = [image.as_numpy_array().tolist() for image in pixels]
    found["trusted_pixels"] = first.imageset.get_mask(0)[0].as_numpy_array().tolist()
    if files[0].endswith(".cbf") and not first.scan.is_still():
        found["xds"] = for_xds(first.imageset)
    if files[0].endswith(".cbf") and FormatCBFMini.understand(files[0]):
        mini = FormatCBFMini(files[0])
        found["miniature"] = models(mini.get_beam(), mini.get_detector(), mini.get_goniometer(), mini.get_scan())
    return found


output, *folders = sys.argv[1:]
Path(output).write_text(json.dumps({Path(folder).name: read(folder) for folder in folders}))
