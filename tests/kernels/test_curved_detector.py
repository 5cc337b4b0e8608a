"""Curved detectors against a reading of their definition in NumPy, by every engine, in conventions that no golden image has."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.scene import Tile, resolve

# b, f, s and Xbeam, Ybeam (mm) of each detector; the custom ones: any right-handed or left-handed frame, sheared axes
FRAMES = {
    "denzo": ("denzo", (1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "dials": ("dials", (0, 0, 1), (1, 0, 0), (0, 1, 0)),
    "turned": ("custom", (0.6, 0.8, 0), (0.8, -0.6, 0), (0, 0, 1)),
    "left_handed": ("custom", (0, 1, 0), (0.28, 0, 0.96), (0.96, 0, -0.28)),
    "sheared": ("custom", (0, 0, 1), (1, 0, 0), (0.6, 0.8, 0)),
}
DISTANCE_MM, PIXEL_MM, ROWS, COLUMNS = 60.0, 1.5, 40, 48
CELLS, WAVELENGTH_A, FLUENCE, F = (5, 6, 7), 1.1, 1e24, 30.0


def curved(small_experiment, frame, **panel):
    convention, beam, fast, slow = FRAMES[frame]
    custom = {"fast_axis": fast, "slow_axis": slow} if convention == "custom" else {}
    direction = {"direction": beam, "polarization_vector": fast} if convention == "custom" else {}
    return small_experiment(
        beam={"wavelength_A": WAVELENGTH_A, "polarization_factor": None, **direction},
        crystal={"cell": [21, 24, 27, 90, 90, 90], "misset_deg": [0, 0, 0], "N_cells": CELLS},
        scan={"frames": 1, "phi_start_deg": 0.0, "osc_range_deg": 0.0, "phi_steps": 1},
        detector={
            "convention": convention,
            "pivot": "beam",
            "curved": True,
            "panels": [
                {
                    "spixels": ROWS,
                    "fpixels": COLUMNS,
                    "pixel_size_mm": PIXEL_MM,
                    "distance_mm": DISTANCE_MM,
                    "beam_center_mm": (23.0, 31.0),
                    **custom,
                    **panel,
                }
            ],
        },
        structure_factors={"kind": "uniform", "F": F},
        sampling={"precision": "float64", "interpolate": False},
    )


def turned(vector, axis, angle):
    """`vector` about a unit axis (Rodrigues' formula)."""
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return vector + np.sin(angle) * (cross @ vector) + (1 - np.cos(angle)) * (cross @ cross @ vector)


def expected_image(frame):
    """Photons from a cubic-axes crystal with a, b, c along x, y, z: r_e^2 fluence F^2 omega times the square transform."""
    _, beam, fast, slow = (np.array(part, dtype=float) if n else part for n, part in enumerate(FRAMES[frame]))
    spot = DISTANCE_MM * beam
    corner = (
        -23.0 * fast - 31.0 * slow + spot
    )  # denzo, dials and custom: the beam is at (Xbeam, Ybeam) along fast, slow
    if frame == "denzo":
        corner = -31.0 * fast - 23.0 * slow + spot  # denzo: (Ybeam, Xbeam)
    image = np.empty((ROWS, COLUMNS))
    for row, column in np.ndindex(ROWS, COLUMNS):
        x = corner + (column + 0.5) * PIXEL_MM * fast + (row + 0.5) * PIXEL_MM * slow
        y_f, y_s = (x - spot) @ fast, (x - spot) @ slow
        place = turned(spot, np.cross(beam, fast), y_f / DISTANCE_MM)
        place = turned(place, np.cross(beam, slow), y_s / DISTANCE_MM)
        R = np.linalg.norm(place)
        h = np.array([21.0, 24.0, 27.0]) * (place / R - beam) / WAVELENGTH_A
        dh = h - np.rint(h)
        with np.errstate(invalid="ignore"):
            axes = np.where(np.abs(dh) < 1e-12, CELLS, np.sin(np.pi * np.array(CELLS) * h) / np.sin(np.pi * h))
        omega = PIXEL_MM**2 / R**2 * DISTANCE_MM / R
        image[row, column] = F**2 * np.prod(axes) ** 2 * omega
    return 7.94079248018965e-30 * FLUENCE * image


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("frame", FRAMES)
def test_a_curved_detector_is_the_sphere_of_its_definition(small_experiment, make_renderer, frame, mode):
    expected = expected_image(frame)
    image = make_renderer(curved(small_experiment, frame), mode).frame(0)
    assert np.abs(image - expected).max() <= 1e-9 * expected.max()


@pytest.mark.parametrize("frame", FRAMES)
def test_positions_of_a_panel_are_those_that_its_kernel_renders(small_experiment, make_renderer, frame):
    import torch

    from nbdist.kernels.reference.pixels import positions
    from nbdist.kernels.torch_scene import TorchInstrument

    instrument = make_renderer(curved(small_experiment, frame)).scene.instrument
    panel, vectors = instrument.panels[0], TorchInstrument(instrument).panels[0]
    slow, fast = np.meshgrid(np.arange(0.0, ROWS), np.arange(0.0, COLUMNS), indexing="ij")
    zero = torch.zeros((), dtype=torch.float64)
    for is_curved in (True, False):
        at = positions(*(torch.from_numpy(v.ravel()) for v in (slow, fast)), zero, vectors, is_curved)
        object.__setattr__(panel, "curved", is_curved)
        np.testing.assert_allclose(panel.positions_m(slow, fast).reshape(-1, 3), at.numpy().T, rtol=0, atol=1e-16)


@pytest.mark.parametrize("frame", FRAMES)
def test_rays_meet_a_curved_panel_where_their_positions_lie(small_experiment, frame):
    panel = resolve(curved(small_experiment, frame)).instrument.panels[0]
    slow, fast = np.meshgrid(np.linspace(0, ROWS, 9), np.linspace(0, COLUMNS, 8), indexing="ij")
    found = panel.coordinates(3.0 * panel.positions_m(slow, fast))
    np.testing.assert_allclose(found, np.stack([slow, fast], axis=-1), rtol=0, atol=1e-11)


def test_panels_of_a_curved_detector_lie_on_one_sphere(small_experiment, make_renderer):
    whole = curved(small_experiment, "dials")
    top, half = resolve(whole).instrument.panels[0].origin_m * 1e3, {"spixels": ROWS // 2}
    panels = [{**half, "origin_mm": (top + np.array([0, shift, 0])).tolist()} for shift in (0, ROWS // 2 * PIXEL_MM)]
    content = [{**whole.detector.panels[0].model_dump(exclude={"beam_center_mm"}), **panel} for panel in panels]
    parts = whole.with_changes(detector={"panels": content})
    half_tile = Tile(0, 0, ROWS // 2, 0, COLUMNS)
    renderer = make_renderer(parts, "compiled")
    stacked = np.concatenate([renderer.frame(0, half_tile._replace(panel=panel)) for panel in (0, 1)])
    images = [make_renderer(whole, "compiled").frame(0), stacked]
    assert np.abs(images[1] - images[0]).max() <= 1e-12 * images[0].max()


@pytest.mark.parametrize(
    "tilt",
    [
        {"two_theta_deg": 5.0},
        {"rotation_deg": [0.0, 0.001, 0.0]},
        {"rotation_deg": [3.0, 0.0, 0.0]},
        {"origin_mm": [-30, -30, 60], "two_theta_deg": -20.0},
    ],
)
def test_a_tilted_curved_detector_is_refused_by_name(small_experiment, tilt):
    with pytest.raises(ExperimentError, match=r"^detector\.panels\.0: detector\.curved .* not tilted"):
        resolve(curved(small_experiment, "dials", **tilt))


def test_a_curved_detector_may_be_turned_about_the_beam(small_experiment):
    panel = resolve(curved(small_experiment, "dials", rotation_deg=[0, 0, 25.0])).instrument.panels[0]
    np.testing.assert_allclose(panel.distance_m, 1e-3 * DISTANCE_MM, rtol=1e-14)
