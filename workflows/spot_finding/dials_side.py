"""Finds spots with DIALS; run by DIALS' own Python: python3 dials_side.py FOLDER.

FOLDER holds images.npy (n, slow, fast) int32, models.json, dxtbx's beam and detector of each, and settings.json, a list of lists of
options of dials.find_spots. Writes found.npz: setting, image, slow, fast and pixels of each spot. Nothing of nbdist is used here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from dials.algorithms.shoebox import MaskCode
from dials.array_family import flex
from dials.command_line.find_spots import phil_scope
from dxtbx.imageset import ImageSet, ImageSetData, MemReader
from dxtbx.model import BeamFactory, Detector, Experiment, ExperimentList
from libtbx.phil import parse


class Raw:
    """An image in memory, as dxtbx reads one."""

    def __init__(self, pixels):
        self.pixels = pixels

    def get_raw_data(self):
        """What the only panel reads."""
        return flex.int(self.pixels)


def still(pixels, models):
    """A still of an image and its models."""
    imageset = ImageSet(ImageSetData(MemReader([Raw(np.ascontiguousarray(pixels))]), None))
    beam, detector = BeamFactory.from_dict(models["beam"]), Detector.from_dict(models["detector"])
    imageset.set_beam(beam)
    imageset.set_detector(detector)
    return ExperimentList([Experiment(beam=beam, detector=detector, imageset=imageset)])


def main(folder):
    """Find the spots of each image with each setting."""
    images = np.load(folder / "images.npy")
    models, settings = (json.loads((folder / name).read_text()) for name in ("models.json", "settings.json"))
    stills = [still(pixels, its) for pixels, its in zip(images, models, strict=True)]
    found = []
    for number, setting in enumerate(settings):
        options = ["spotfinder.filter.min_spot_size=1", "spotfinder.filter.max_strong_pixel_fraction=1", *setting]
        for image, experiments in enumerate(stills):
            parameters = phil_scope.fetch(parse("\n".join(options))).extract()
            spots = flex.reflection_table.from_observations(experiments, parameters)
            if len(spots):
                fast, slow, _ = spots["xyzobs.px.value"].parts()
                pixels = spots["shoebox"].count_mask_values(MaskCode.Valid | MaskCode.Foreground)
                rows = (np.asarray(column) for column in (slow, fast, pixels))
                found.append(np.stack([np.full(len(spots), number), np.full(len(spots), image), *rows], axis=1))
    columns = np.concatenate(found).T if found else np.empty((5, 0))
    np.savez(folder / "found.npz", **dict(zip(("setting", "image", "slow", "fast", "pixels"), columns, strict=True)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
