"""What DIALS reads of exported images: where everything is, and every pixel, from the images alone and from the models beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import hdf5plugin
import numpy as np
import pytest
from dials_programs import dials, dials_python

from nbdist import generate, open_series
from nbdist.run.export import FORMATS, export
from nbdist.scene import resolve
from nbdist.scene.models import models_of

FRAMES = 3
ORIGIN = [-60.0, -45.0, 100.0]
"""In the laboratory of xds."""
TURNED = {
    "xds": lambda x, y, z: [x, y, z],
    "adxv": lambda x, y, z: [x, y, z],
    "mosflm": lambda x, y, z: [z, -y, x],
    "dials": lambda x, y, z: [-y, x, z],
}
"""Where a point of xds' laboratory, whose axis is x, lies in that of another convention."""
TILTED = {"spixels": 20, "fpixels": 24, "pixel_size_mm": 4.0, "two_theta_deg": 12.0, "rotation_deg": [3, -5, 8]}
COUNTS = {"noise": {"photon_noise": True}, "background": {"level_photons": 3.0}}


def series(small_experiment):
    """Experiments by name."""
    scan = {"frames": FRAMES, "phi_start_deg": 17.1, "osc_range_deg": 0.1, "phi_steps": 1}
    for convention, turned in TURNED.items():
        panel = TILTED | {"origin_mm": turned(*ORIGIN)}
        yield convention, small_experiment(detector={"convention": convention, "panels": [panel]}, scan=scan, **COUNTS)
    axes = {"fast_axis": [0.1, 0.9, 0.2], "slow_axis": [0.2, 0.0, -0.1], "origin_mm": [110.0, 30.0, -20.0]}
    detector = {"convention": "custom", "panels": [{"spixels": 20, "fpixels": 24, "pixel_size_mm": 4.0} | axes]}
    beam = {"wavelength_A": 1.23456789, "flux_photons_per_s": 1e12, "exposure_s": 0.25, "beam_size_mm": 0.05}
    spindle = {"spindle_axis": [0.1, 0.7, -0.7], "osc_range_deg": -0.1}
    yield (
        "custom",
        small_experiment(
            detector=detector, beam=beam | {"fluence_photons_per_m2": None}, scan=scan | spindle, **COUNTS
        ),
    )
    panels = [
        {"spixels": 20, "fpixels": 24, "pixel_size_mm": 2.0, "origin_mm": [-50.0, -20.0, 100.0]},
        {
            "spixels": 12,
            "fpixels": 24,
            "pixel_size_mm": 2.0,
            "origin_mm": [2.0, -20.0, 95.0],
            "rotation_deg": [0, 12, 3],
        },
    ]
    silicon = {"thickness_um": 450.0, "material": "Si", "layers": 2}
    sections = {"readout": {"dead_pixel_fraction": 0.05, "saturation_adu": 40}} | COUNTS
    yield (
        "panels",
        small_experiment(detector={"convention": "xds", "panels": panels, "sensor": silicon}, scan=scan, **sections),
    )
    modules = {"spixels": 9, "fpixels": 24, "slow_gap_pixels": 2}
    yield (
        "stills",
        small_experiment(
            panel={"spixels": 20, "fpixels": 24, "pixel_size_mm": 3.0, "modules": modules},
            scan=scan | {"osc_range_deg": 0.0},
            **COUNTS,
        ),
    )
    yield "photons", small_experiment(panel={"spixels": 20, "fpixels": 24, "pixel_size_mm": 3.0}, scan=scan)
    axes = {
        "fast_axis": [0.98769, 0.08924, -0.12841],
        "slow_axis": [-0.07272, 0.98911, 0.12797],
    }  # digits of XDS' files
    detector = {"convention": "custom", "panels": [{"spixels": 20, "fpixels": 24, "pixel_size_mm": 4.0} | axes]}
    detector["panels"][0]["origin_mm"] = ORIGIN
    yield "digits", small_experiment(detector=detector, scan=scan, **COUNTS)
    crystal = {"cell": [40.0, 40.0, 55.0, 90.0, 90.0, 90.0], "space_group": "P 43 21 2"}
    yield "labelled", small_experiment(crystal=crystal, scan=scan, labels={"reflections": True}, **COUNTS)


def dxtbx_reading(folder, paths):
    """What dxtbx reads of files, by path; a test is skipped where it is not installed."""
    # not every DIALS brings the filter that unpacks bitshuffle
    environment = os.environ | {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    environment.pop("PYTHONPATH", None)
    program = Path(__file__).with_name("dxtbx_reading.py")
    dials(dials_python(), program, folder / "read.json", *paths, env=environment, cwd=folder)
    return json.loads((folder / "read.json").read_text())


@pytest.mark.integration
def test_dials_reads_where_everything_is_and_every_pixel(small_experiment, tmp_path):
    experiments, out, paths = dict(series(small_experiment)), tmp_path / "out", []
    for name, experiment in experiments.items():
        generate(experiment, tmp_path / f"{name}.zarr", serial=True)
        export(tmp_path / f"{name}.zarr", out / name, FORMATS["nxmx"], frames=range(1, FRAMES))
        paths += [f"{out / name / name}{end}" for end in ("_master.h5", ".expt")]
    truth = f"{out / 'labelled' / 'labelled'}_truth.expt"
    found = dxtbx_reading(tmp_path, [*paths, truth])
    for name, experiment in experiments.items():
        images, beside = (found[path] for path in paths[:2])
        del paths[:2]
        models = models_of(resolve(experiment), range(1, FRAMES)).counted_from(0)
        stored = open_series(tmp_path / f"{name}.zarr", chunks=None)
        for read in (images, beside):
            assert read["crystals"] == 0
            assert_models(read["models"], models, read is images)
            assert_pixels(read, stored, name)
        assert images["types"] == ["float32" if name == "photons" else "int32"]
        # dxtbx knows no polarization of NXmx; the models beside do
        expected = [models.beam.polarization_fraction, *models.beam.polarization_normal]
        np.testing.assert_allclose(beside["models"]["polarization"], expected, atol=1e-9)
    number, apart, group = found[truth]
    assert number > 10
    assert group == " P 4nw 2abw"
    assert apart < 1e-5


def assert_models(read, models, of_images):
    np.testing.assert_allclose(read["source"], [0, 0, 1], atol=1e-12)
    assert read["wavelength"] == pytest.approx(models.beam.wavelength_A, abs=1e-9)
    if not models.still:
        np.testing.assert_allclose(read["axis"], models.axis, atol=1e-9)
        assert read["images"] == [1, 2]
        np.testing.assert_allclose(read["oscillation"], [models.scan.start_deg, models.scan.osc_deg], atol=1e-9)
        assert read["exposure"] == pytest.approx(models.scan.exposure_s)
    for its, panel in zip(read["panels"], models.panels, strict=True):
        np.testing.assert_allclose(its["origin"], panel.origin_mm, atol=1e-6)
        for axis in ("fast", "slow"):
            np.testing.assert_allclose(its[axis], getattr(panel, axis), atol=1e-9)
        assert its["size"] == [panel.shape[1], panel.shape[0]]
        np.testing.assert_allclose(its["pixel"], panel.pixel_mm, rtol=1e-12)
        if panel.corrects_parallax:
            assert (its["material"], its["thickness"]) == ("Si", pytest.approx(0.45))
        if panel.corrects_parallax and of_images:
            continue  # DIALS looks the attenuation up in tables of its own
        np.testing.assert_allclose(its["corner_mm"], panel.millimetres([[3.5, 2.25]])[0], atol=1e-8)


def assert_pixels(read, stored, name):
    product = "intensity" if name == "photons" else "counts"
    if name == "panels":
        panels = [stored[f"{product}_{number}"][1:].to_numpy() for number in range(2)]
        masked = [image == -2 for image in panels]
        assert all(image.any() for image in masked)
    else:
        panels = [stored[product][1:].to_numpy()]
        masked = [np.broadcast_to(stored.mask.to_numpy() != 0, panels[0].shape)]
    for number, (image, bad) in enumerate(zip(panels, masked, strict=True)):
        for frame, expected in enumerate(image):
            seen = np.array(read["images"][frame][number])
            np.testing.assert_array_equal(seen[~bad[frame]], expected[~bad[frame]])
        held = image[0] >= 40 if name == "panels" else np.zeros(image[0].shape, dtype=bool)
        np.testing.assert_array_equal(np.array(read["masks"][number]), ~bad[0] & ~held)
