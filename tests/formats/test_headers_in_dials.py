"""What DIALS makes of the headers of images, and of their pixels, is what the scene has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dials_programs import dials, dials_python
from panel_models import xds_parameters

from nbdist.formats.adsc import adsc_header, sixteen_bits
from nbdist.formats.cbf import cbf_bytes
from nbdist.formats.smv import smv_bytes
from nbdist.formats.upright import Upright
from nbdist.formats.xds_input import xds_input
from nbdist.scene import resolve
from nbdist.scene.models import models_of

FRAMES = 3
CONVENTIONS = ("mosflm", "xds", "adxv", "dials")
KINDS = {
    "plain": ({}, 0.5),
    "backwards": ({}, -0.5),
    "still": ({}, 0.0),
    "two_theta": ({"two_theta_deg": 10}, 0.5),
    "tilted": ({"rotation_deg": [3, 4, 5]}, 0.5),
}
UPRIGHT = {f"{convention}-{kind}" for convention in ("mosflm", "xds") for kind in ("plain", "backwards", "still")} | {
    "dials-still"
}
"""What a distance and a centre can say: rows of adxv's panel are a mirror image, those of dials' run across the axis."""
AS_IT_IS, HALF_TURN = np.eye(3), np.diag([-1.0, -1.0, 1.0])
"""About the beam."""


def models_in(small_experiment, convention, kind):
    panel, osc_deg = KINDS[kind]
    experiment = small_experiment(
        panel={"spixels": 9, "fpixels": 7, "pixel_size_mm": 0.172, "distance_mm": 123.4, **panel},
        detector={"convention": convention},
        beam={"wavelength_A": 1.0332, "polarization_factor": 0.8},
        scan={"frames": FRAMES, "phi_start_deg": 10.3, "osc_range_deg": osc_deg},
        readout={"offset_adu": 40, "electrons_per_photon": 2.0, "saturation_adu": 60000},
    )
    return models_of(resolve(experiment), range(FRAMES))


def as_read(models):
    """The models as DIALS should have them, by the names of `dials_images.py`."""
    panel, beam, scan = models.panels[0], models.beam, models.scan
    return {
        "towards": -beam.travels,
        "wavelength": beam.wavelength_A,
        "origin": panel.origin_mm,
        "fast": panel.fast,
        "slow": panel.slow,
        "axis": models.axis,
        "oscillation": (scan.start_deg, scan.osc_deg),
        "pixel": (panel.pixel_mm, panel.pixel_mm),
        "size": panel.shape[::-1],
    }


def require_equal(found, models, turn=AS_IT_IS, but=()):
    for name, expected in as_read(models).items():
        turned = name in ("origin", "fast", "slow", "axis")
        if name not in but:
            np.testing.assert_allclose(found[name], turn @ expected if turned else expected, atol=1e-9, err_msg=name)


def require_same_for_xds(told, text):
    """What dxtbx tells XDS of the same images has vectors along the detector's rows, its columns, and both at right angles."""
    ours = xds_parameters(text)
    rows, columns = (np.array(ours[f"DIRECTION_OF_DETECTOR_{axis}-AXIS"][0]) for axis in "XY")
    axes = np.stack([rows, columns, np.cross(rows, columns)])
    ours["ORG"] = [[*ours["ORGX"][0], *ours["ORGY"][0]]]
    for name, expected in told.items():
        (value,) = ours[name]
        np.testing.assert_allclose(axes @ value if len(value) == 3 else value, expected, atol=1e-9, err_msg=name)


@pytest.mark.integration
def test_dials_has_the_geometry_of_the_scene(small_experiment, tmp_path):
    cases = {
        f"{convention}-{kind}": models_in(small_experiment, convention, kind)
        for convention in CONVENTIONS
        for kind in KINDS
    }
    rng, images, folders = np.random.default_rng(7), {}, []
    for name, models in cases.items():
        images[name] = rng.integers(0, 500, (FRAMES, *models.panels[0].shape), dtype=np.int32)
        images[name][:, 2] = -1, -2, -1, -2, -1, -2, -1
        images[name][:, 3] = 70000
        upright = Upright.of(models)
        assert upright.faithful == (name in UPRIGHT)
        for suffix in ("cbf", "img") if upright.faithful else ("cbf",):
            folders.append(tmp_path / f"{name}-{suffix}")
            folders[-1].mkdir()
            for frame, pixels in enumerate(images[name]):
                as_bytes = (
                    cbf_bytes(models, frame, pixels)
                    if suffix == "cbf"
                    else smv_bytes(adsc_header(models, frame), sixteen_bits(pixels)[0])
                )
                (folders[-1] / f"frame_{frame + 1:05}.{suffix}").write_bytes(as_bytes)
    dials(dials_python(), Path(__file__).with_name("dials_images.py"), tmp_path / "found.json", *folders)
    for name, found in json.loads((tmp_path / "found.json").read_text()).items():
        case, _, suffix = name.rpartition("-")
        models = cases[case]
        assert found["experiments"] == (FRAMES if models.still else 1)
        assert found["still"] == models.still
        assert found["gain"] == 2.0
        if suffix == "cbf":
            assert found["format"] == "FormatCBFFullByteOffset"
            require_equal(found, models)
            np.testing.assert_array_equal(found["pixels"], images[case])
            assert found["polarization"][0] == 0.9
            assert abs(np.dot(found["polarization"][1:], models.beam.polarization_normal)) == pytest.approx(
                1, abs=1e-12
            )
            assert found["trusted"] == [-1, 59999]
            np.testing.assert_array_equal(found["trusted_pixels"], (images[case][0] >= 0) & (images[case][0] < 59999))
            if "xds" in found:
                require_same_for_xds(found["xds"], xds_input(models, "cbf", "frame_#####.cbf"))
            # dxtbx's reader of miniCBF goes by its lines, but where it would be misled
            assert ("miniature" in found) == (case in UPRIGHT and "backwards" not in case)
            if "miniature" in found and case != "dials-still":  # which it has in a laboratory that is turned
                require_equal(found["miniature"], models)
        else:
            assert found["format"] == "FormatSMVADSCSN"
            if case != "dials-still":
                turn = HALF_TURN if "backwards" in case else AS_IT_IS
                require_equal(found, models, turn, but=("axis",) if models.still else ())
            assert found["pedestal"] == 40
            np.testing.assert_array_equal(found["pixels"], np.clip(images[case], 0, 65535))
