"""The lysozyme reference case: every factor of one pixel, and the whole first frame.

Numbers are those of expected_trace.json: one pixel of a 2463 x 2527 frame taken apart, with the left phi rule and every step rotated.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nbdist.errors import ExperimentError
from nbdist.experiment import load_experiment
from nbdist.kernels.reference import pixels
from nbdist.kernels.torch_scene import TorchInstrument
from nbdist.nanobragg.flags import experiment_from_flags
from nbdist.scene import Tile, resolve
from nbdist.scene.amplitudes import load_reflections

WORKFLOW = Path(__file__).parent.parent / "workflows" / "lysozyme_p1.yaml"
MAX, MAX_AT, SUM = 466.48182448958516, (1039, 685), 6517.574685842101
PIXEL, PIXEL_AT = 2.464707311717602e-07, (685, 1039)


@pytest.fixture(scope="module")
def trace(reference_data):
    return json.loads((reference_data / "lysozyme_p1" / "expected_trace.json").read_text())


@pytest.fixture(scope="module")
def experiment(reference_data, trace):
    # -nonoise belongs to the front end's outputs
    flags = [flag for flag in trace["flags"].split() if flag != "-nonoise"]
    return experiment_from_flags(flags, reference_data / "lysozyme_p1")


@pytest.fixture
def workflow(reference_data, monkeypatch):
    """The example experiment, frame 0 with nanoBragg's left rule."""
    monkeypatch.setenv("NBDIST_REFERENCE_DATA", str(reference_data))
    return load_experiment(WORKFLOW).with_changes(scan={"phi_rule": "left"})


def assert_frame(image, bright, total):
    assert image.shape == (2527, 2463)
    assert np.unravel_index(image.argmax(), image.shape) == MAX_AT
    assert image.max() == pytest.approx(MAX, rel=bright)
    assert image.sum() == pytest.approx(SUM, rel=total)


@pytest.mark.slow
def test_float64_frame_is_the_reference(experiment, make_renderer):
    image = make_renderer(experiment.with_changes(sampling={"precision": "float64"}), "compiled").frame(0)
    assert_frame(image, 1e-9, 1e-7)
    assert image[PIXEL_AT] == pytest.approx(PIXEL, rel=1e-9)


@pytest.mark.slow
def test_float32_frame_is_the_reference(experiment, make_renderer):
    image = make_renderer(experiment.with_changes(sampling={"precision": "float32"}), "compiled").frame(0)
    assert_frame(image, 1e-5, 1e-5)


@pytest.mark.slow
def test_the_workflow_gives_the_reference_with_the_left_rule(workflow, make_renderer):
    image = make_renderer(workflow.with_changes(sampling={"precision": "float64"}), "compiled").frame(0)
    assert_frame(image, 1e-7, 1e-7)
    assert image[PIXEL_AT] == pytest.approx(PIXEL, rel=1e-7)


def test_the_workflow_is_a_series_of_thirty_frames_of_a_tenth_of_a_degree(workflow):
    assert workflow.scan.frames == 30
    assert workflow.scan.osc_range_deg == 0.1
    assert resolve(workflow).steps == 10


def test_the_workflow_says_which_variable_to_set(monkeypatch):
    monkeypatch.delenv("NBDIST_REFERENCE_DATA", raising=False)
    with pytest.raises(ExperimentError, match="NBDIST_REFERENCE_DATA") as raised:
        load_experiment(WORKFLOW)
    assert "\n" not in str(raised.value)


def test_one_pixel_alone_is_the_references(experiment, make_renderer):
    renderer = make_renderer(experiment.with_changes(sampling={"precision": "float64"}), "eager")
    slow, fast = PIXEL_AT
    assert renderer.frame(0, Tile(0, slow, slow + 1, fast, fast + 1))[0, 0] == pytest.approx(PIXEL, rel=1e-9)


def test_steps_are_10_and_160_with_automatic_oversampling(experiment):
    assert resolve(experiment).steps == 10
    automatic = resolve(experiment.with_changes(sampling={"oversample": "auto"}))
    assert automatic.instrument.oversample == 4
    assert automatic.steps == 160


def test_fluence_is_the_references(experiment, trace):
    assert experiment.beam.fluence == pytest.approx(trace["common"]["fluence_photons_per_m2"], rel=1e-15)


@pytest.fixture(scope="module")
def traced_pixel(experiment, make_renderer):
    """The panel, and position, direction and distance of the traced pixel's centre."""
    renderer = make_renderer(experiment, "eager")
    instrument = TorchInstrument(renderer.scene.instrument)
    [panel] = instrument.panels
    slow, fast = (torch.tensor([x + 0.5], dtype=torch.float64) for x in PIXEL_AT)
    position = pixels.positions(slow, fast, torch.tensor(0.0, dtype=torch.float64), panel, curved=False)
    return instrument, panel, position, *pixels.directions(position)


def test_geometry_of_the_traced_pixel(traced_pixel, trace):
    common = trace["common"]
    _, panel, position, _, distance = traced_pixel
    np.testing.assert_allclose(panel.origin, common["pix0_vector_m"], rtol=1e-9)
    assert panel.close_distance.item() == pytest.approx(common["close_distance_m"], rel=1e-9)
    np.testing.assert_allclose(position[:, 0], common["pixel_pos_m"], rtol=1e-9)
    assert distance.item() == pytest.approx(common["airpath_m"], rel=1e-9)


def test_factors_of_the_traced_pixel(traced_pixel, trace, experiment):
    common = trace["common"]
    instrument, panel, _, direction, distance = traced_pixel
    incident, wavelength = instrument.sources[0]
    assert pixels.solid_angle(distance, panel, False).item() == pytest.approx(common["omega_pixel"], rel=1e-9)
    [[sensor]] = instrument.sensors
    polar = pixels.polarization(direction, incident, sensor.polarization_vector, sensor.kahn_factor)
    assert polar.item() == pytest.approx(common["polar"], rel=1e-9)
    assert (direction[:, 0] @ incident).item() == pytest.approx(common["cos_2theta"], rel=1e-9)
    q = 1e10 * pixels.scattering_vectors(direction, incident, wavelength)[:, 0]
    np.testing.assert_allclose(q, common["scattering_vec_m_inv"], rtol=1e-9)


def test_miller_indices_lattice_factors_and_amplitude_of_the_traced_pixel(traced_pixel, trace, experiment):
    instrument, _, _, direction, _ = traced_pixel
    scene = resolve(experiment)
    q = pixels.scattering_vectors(direction, *instrument.sources[0])[:, 0].numpy()
    hkl = np.array([scene.specimen.lattices[0].real_vectors_A @ rotation.T @ q for rotation in scene.phi_rotations(0)])
    whole = np.rint(hkl)
    assert (whole == trace["common"]["hkl_rounded"]).all()
    np.testing.assert_allclose(hkl[:, 1], trace["exact"]["k_frac"], rtol=1e-9)
    cells = np.array(scene.specimen.lattices[0].N_cells)
    ratios = np.sin(np.pi * cells * hkl) / np.sin(np.pi * hkl)
    np.testing.assert_allclose(ratios.prod(axis=1), trace["exact"]["F_latt"], rtol=1e-8)
    [reflections] = load_reflections(scene)
    [place] = np.flatnonzero((reflections.indices == trace["common"]["hkl_rounded"]).all(axis=1))
    assert reflections.amplitudes[place] == trace["common"]["F_cell"]
