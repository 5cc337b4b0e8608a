"""Run by DIALS' own Python: what dxtbx reads of exported images, and of the models beside them, into a JSON file.

dxtbx_reading.py OUTPUT FILE...
"""

import json
import sys
from pathlib import Path

from dials.array_family import flex
from dxtbx.model.experiment_list import ExperimentList, ExperimentListFactory


def models(experiment):
    beam, goniometer, scan = experiment.beam, experiment.goniometer, experiment.scan
    return {
        "source": beam.get_sample_to_source_direction(),
        "wavelength": beam.get_wavelength(),
        "polarization": [beam.get_polarization_fraction(), *beam.get_polarization_normal()],
        "axis": goniometer and goniometer.get_rotation_axis(),
        "images": scan and scan.get_image_range(),
        "oscillation": scan and scan.get_oscillation(),
        "exposure": scan and scan.get_exposure_times()[0],
        "panels": [
            {
                "origin": panel.get_origin(),
                "fast": panel.get_fast_axis(),
                "slow": panel.get_slow_axis(),
                "size": panel.get_image_size(),
                "pixel": panel.get_pixel_size(),
                "thickness": panel.get_thickness(),
                "material": panel.get_material(),
                "trusted": panel.get_trusted_range(),
                "corner_mm": panel.pixel_to_millimeter((3.5, 2.25)),
            }
            for panel in experiment.detector
        ],
    }


def read(path):
    of_images = ExperimentListFactory.from_filenames
    experiments = ExperimentList.from_file(path) if path.endswith(".expt") else of_images([path])
    imageset = experiments[0].imageset
    panels = [[panel.as_numpy_array() for panel in imageset.get_raw_data(number)] for number in range(len(imageset))]
    masks = [panel.as_numpy_array() for panel in imageset.get_mask(0)]
    return {
        "experiments": len(experiments),
        "crystals": sum(experiment.crystal is not None for experiment in experiments),
        "models": models(experiments[0]),
        "images": [[image.tolist() for image in images] for images in panels],
        "types": sorted({str(image.dtype) for images in panels for image in images}),
        "masks": [mask.tolist() for mask in masks],
    }


def truth_agrees(path):
    """Whether reflections name the experiments of a file, and rays predicted from these go to the places that they have."""
    experiments = ExperimentList.from_file(path)
    table = flex.reflection_table.from_file(path.replace(".expt", ".refl"))
    table.assert_experiment_identifiers_are_consistent(experiments)
    predicted = flex.reflection_table.from_predictions(experiments[0], dmin=float(min(table["d"])) - 1e-6)
    mine = {(*table["miller_index"][n], table["entering"][n]): table["xyzcal.px"][n] for n in range(len(table))}
    theirs = {(*predicted["miller_index"][n], predicted["entering"][n]): n for n in range(len(predicted))}
    shared = mine.keys() & theirs.keys()
    places = [(mine[key], predicted["xyzcal.px"][theirs[key]]) for key in shared]
    apart = max(abs(here[axis] - there[axis]) for here, there in places for axis in range(3))
    return len(shared), apart, experiments[0].crystal.get_space_group().type().hall_symbol()


output, *paths = sys.argv[1:]
found = {path: truth_agrees(path) if path.endswith("_truth.expt") else read(path) for path in paths}
Path(output).write_text(json.dumps(found))
