"""Run by DIALS' own Python: models that use all that dxtbx has, or what it reads of an XPARM.XDS, and what DIALS predicts of them.

dials_models.py FOLDER D_MIN writes FOLDER/models.expt, FOLDER/found.json and FOLDER/XDS.INP; FOLDER/XPARM.XDS is read where there is one.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import dxtbx
from cctbx.sgtbx import space_group
from dials.array_family import flex
from dxtbx.model import BeamFactory, Crystal, Detector, Experiment, ExperimentList, GoniometerFactory, ScanFactory
from dxtbx.serialize import xds
from scitbx import matrix

folder, d_min = Path(sys.argv[1]), float(sys.argv[2])
IMAGES = 40


def of_xparm(path):
    models = dxtbx.load(str(path))
    scan = models.get_scan()
    scan.set_image_range((scan.get_image_range()[0], scan.get_image_range()[0] + IMAGES - 1))
    return Experiment(
        beam=models.get_beam(),
        detector=models.get_detector(),
        goniometer=models.get_goniometer(),
        scan=scan,
        crystal=xds.to_crystal(str(path)),
        identifier="a",
    )


def of_all_kinds():
    beam = BeamFactory.make_polarized_beam(
        sample_to_source=(0.01, -0.02, 1.0),
        wavelength=1.1,
        polarization=(0.02, 1.0, 0.0),
        polarization_fraction=0.9,
    )
    turn = matrix.col((0, 0, 1)).axis_and_angle_as_r3_rotation_matrix(12, deg=True)
    tilt = matrix.col((0, 1, 0)).axis_and_angle_as_r3_rotation_matrix(-20, deg=True)
    detector = Detector()
    group = detector.hierarchy().add_group()
    group.set_local_frame(tilt * matrix.col((1, 0, 0)), tilt * matrix.col((0, -1, 0)), tilt * matrix.col((-5, 4, -110)))
    for number, origin in enumerate([(-30.0, -30.0, 0.0), (0.5, -30.0, 1.0)]):
        panel = group.add_panel()
        panel.set_local_frame(turn * matrix.col((1, 0, 0)), turn * matrix.col((0, 1, 0)), origin)
        panel.set_name(f"p{number}")
        panel.set_type("SENSOR_PAD")
        panel.set_image_size((150, 300))
        panel.set_pixel_size((0.2, 0.2))
        panel.set_raw_image_offset((160 * number, 0))
        panel.set_trusted_range((-1, 70000))
        panel.add_mask(10, 0, 14, 300)
    goniometer = GoniometerFactory.multi_axis(
        axes=flex.vec3_double([(0.0, 0.6, 0.8), (0.8, 0.0, 0.6), (1.0, 0.0, 0.0)]),
        angles=flex.double([20.0, 30.0, 40.0]),
        names=flex.std_string(["phi", "kappa", "omega"]),
        scan_axis=1,
    )
    images = range(11, 11 + IMAGES)
    scan = ScanFactory.make_scan(
        image_range=(images[0], images[-1]),
        exposure_times=0.1,
        oscillation=(25.0, 0.5),
        epochs=dict.fromkeys(images, 0.0),
    )
    turned = matrix.col((0.36, 0.48, 0.8)).axis_and_angle_as_r3_rotation_matrix(70, deg=True)
    lattice = matrix.sqr((57.0, 0, 0, 0, 57.0, 0, 0, 0, 149.0)) * turned
    crystal = Crystal(lattice[:3], lattice[3:6], lattice[6:], space_group=space_group(" P 4nw 2abw"))
    return Experiment(beam=beam, detector=detector, goniometer=goniometer, scan=scan, crystal=crystal, identifier="a")


class Sweep:
    """What dxtbx' writer of XDS.INP asks of images."""

    def __init__(self, experiment):
        self.get_beam = lambda: experiment.beam
        self.get_detector = lambda: experiment.detector
        self.get_goniometer = lambda: experiment.goniometer
        self.get_scan = lambda: experiment.scan
        self.get_template = lambda: "image_####.cbf"


path = folder / "models.expt"
experiment = of_xparm(folder / "XPARM.XDS") if (folder / "XPARM.XDS").exists() else of_all_kinds()
# it has no name for this detector, which decides nothing but DETECTOR=
xds.detector_helpers_types = SimpleNamespace(get=lambda *_: "adsc")
(folder / "XDS.INP").write_text(xds.to_xds(Sweep(experiment)).XDS_INP())
ExperimentList([experiment]).as_file(str(path))
content = json.loads(path.read_text())
# DIALS takes an experiment for a still unless it has a sequence of images, which need not be there
nothing = dict.fromkeys(("mask", "gain", "pedestal", "dx", "dy"))
content["imageset"] = [{"__id__": "ImageSequence", "template": "image_####.cbf", "params": {}, **nothing}]
content["experiment"][0]["imageset"] = 0
path.write_text(json.dumps(content))
(experiment,) = ExperimentList.from_file(str(path), check_format=False)
predicted = flex.reflection_table.from_predictions(experiment, dmin=d_min)
crystal = experiment.crystal
within = crystal.get_unit_cell().d(predicted["miller_index"]) > d_min  # it goes a little beyond
absent = flex.bool(crystal.get_space_group().is_sys_absent(predicted["miller_index"]))
predicted = predicted.select(within & ~absent)
columns = (predicted[name] for name in ("miller_index", "panel", "xyzcal.px"))
spots = [[list(h), panel, list(px)] for h, panel, px in zip(*columns, strict=True)]
corners = [
    [list(panel.get_pixel_lab_coord(corner)) for corner in ((0.0, 0.0), panel.get_image_size())]
    for panel in experiment.detector
]
first_frame = experiment.scan.get_array_range()[0]
(folder / "found.json").write_text(json.dumps({"spots": spots, "corners": corners, "first_frame": first_frame}))
