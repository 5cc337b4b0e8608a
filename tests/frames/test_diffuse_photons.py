"""Diffuse scattering in a frame: what it adds to whose photons, wherever and however the frame is rendered."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.experiment.lattice import axis_rotation
from nbdist.frames.exposure import fluence_factor
from nbdist.frames.renderer import Renderer
from nbdist.kernels.diffuse import CONVOLUTION_BYTES
from nbdist.planning import Cut
from nbdist.run.context import make_context
from nbdist.run.rendering import labelled_frame, render_frame
from nbdist.scene import resolve
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.tile import Tile

CELL = [40.0, 45.0, 50.0, 80.0, 95.0, 100.0]
CORRELATED = {"kind": "correlated", "sigma_A": [0.3, 0.5, 0.4], "correlation_length_A": 20.0}
RIGID = {"kind": "rigid_body", "sigma_A": [0.3, 0.5, 0.4]}
GAUSS = {"cell": CELL, "misset_deg": [14, -31, 52], "N_cells": [8, 7, 6], "shape": "gauss"}
WHOLE = Tile(0, 0, 40, 0, 30)


@pytest.fixture
def frame_of(small_experiment):
    """An experiment of 40 x 30 pixels with a crystal's disorder, or without."""

    def make(diffuse=None, crystal=GAUSS, **sections):
        panel = {"spixels": 40, "fpixels": 30, "pixel_size_mm": 0.4, **sections.pop("panel", {})}
        return small_experiment(panel=panel, crystal={**crystal, "diffuse": diffuse}, **sections)

    return make


def renderer_of(experiment, mode="compiled"):
    scene = resolve(experiment)
    return Renderer(scene, load_reflections(scene), mode=mode, threads=1)


@pytest.mark.parametrize("diffuse", [CORRELATED, RIGID], ids=["correlated", "rigid_body"])
def test_both_methods_add_the_same(frame_of, diffuse):
    added = []
    for method in ("sum", "integrated"):
        sampling = {"method": method, "precision": "float64"}
        plain, disordered = (renderer_of(frame_of(its, sampling=sampling)).frame(1) for its in (None, diffuse))
        added.append(disordered - plain)
        assert added[-1].min() >= -1e-12 * plain.max()
    np.testing.assert_allclose(*added, rtol=0, atol=1e-12 * added[0].max() + 1e-13 * plain.max())
    assert added[0].max() > 0


@pytest.mark.parametrize("kind", ["correlated", "rigid_body"])
def test_photons_are_those_of_the_formula_with_solid_angle_polarization_and_cells(frame_of, kind):
    # a length at which halos of equal reflections are interpolated to 1e-3
    diffuse = {**CORRELATED, "correlation_length_A": 8.0} if kind == "correlated" else RIGID
    amplitudes = {"kind": "uniform", "F": 70.0}
    experiment = frame_of(diffuse, structure_factors=amplitudes, sampling={"precision": "float64"})
    found = renderer_of(experiment).diffuse(WHOLE, 2)

    # an independent reading, with the mean over a grid of 4 x 4 subpixels and 8 phi
    scene = resolve(experiment)
    panel, lattice, beam = scene.instrument.panels[0], scene.specimen.lattices[0], experiment.beam
    a, b, _ = lattice.real_vectors_A
    z = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    axes = np.stack([a / np.linalg.norm(a), np.cross(z, a / np.linalg.norm(a)), z])
    slow, fast = np.ogrid[10:14:0.25, 20:23:0.25]
    towards, distance = panel.directions(slow + 0.125, fast + 0.125)
    q = (towards - scene.instrument.beam_direction) / beam.wavelength_A
    reach = np.stack(np.meshgrid(*[np.arange(-7, 8)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = reach @ lattice.real_vectors_A  # R of the direct lattice: the sum of all halos is one of exp(-|R|/gamma)
    cells = cells[np.linalg.norm(cells, axis=1) < 20 * 8.0]
    total = 0.0
    for phi in 10 + 0.5 * (2 + (np.arange(8) + 0.5) / 8):
        still = q @ axis_rotation(scene.spindle_axis, np.deg2rad(phi))  # turned back into the crystal
        exponent = 4 * np.pi**2 * np.square((still @ axes.T) * diffuse["sigma_A"]).sum(axis=-1)
        if kind == "rigid_body":
            total = total + (1 - np.exp(-exponent)) / 8
            continue
        halos = np.exp(-np.linalg.norm(cells, axis=1) / 8.0) @ np.cos(2 * np.pi * cells @ still.reshape(-1, 3).T)
        total = total + np.exp(-exponent) * exponent * halos.reshape(exponent.shape) / 8
    total = total.reshape(4, 4, 3, 4).mean(axis=(1, 3))
    middle, distance = panel.directions(*np.ogrid[10.5:14, 20.5:23])
    cosine = middle @ scene.instrument.beam_direction
    horizontal = middle @ scene.instrument.polarization_vector
    vertical = np.sqrt(1 - cosine**2 - horizontal**2)
    polar = 0.5 * (1 + cosine**2 - 0.9 * (horizontal**2 - vertical**2))
    omega = panel.pixel_m**2 * panel.close_distance_m / distance**3
    held = (0.315 * np.pi) ** 1.5 * 8 * 7 * 6  # the integral of exp(-2 r^2 / 0.63)
    expected = total * 70.0**2 * held * omega * polar * 7.94079248018965e-30 * 1e24
    np.testing.assert_allclose(found[10:14, 20:23], expected, rtol=2e-3)


def test_eager_operations_give_the_photons_of_the_compiled_kernel(frame_of):
    for method in ("sum", "integrated"):
        experiment = frame_of(CORRELATED, sampling={"method": method})
        compiled, eager = (renderer_of(experiment, mode).diffuse(WHOLE, 0) for mode in ("compiled", "eager"))
        np.testing.assert_allclose(compiled, eager, rtol=0, atol=2e-6 * eager.max())


def test_tiles_and_phi_chunks_have_the_bits_of_the_whole_frame(frame_of):
    experiment = frame_of(CORRELATED)
    whole, cut = (make_context(experiment, cut=its) for its in (Cut(), Cut((17, 13))))
    np.testing.assert_array_equal(render_frame(whole, 1), render_frame(cut, 1))
    renderer = cut.renderer
    tile = Tile(0, 5, 29, 3, 30)
    np.testing.assert_array_equal(renderer.diffuse(tile, 1), renderer.diffuse(WHOLE, 1)[tile.slices])
    chunks = make_context(experiment, cut=Cut(phi_chunk=1))
    np.testing.assert_allclose(render_frame(chunks, 1)[0], render_frame(whole, 1)[0], rtol=1e-6)


def test_a_region_of_interest_is_part_of_the_whole(frame_of):
    region = {"region_of_interest": {"slow": [4, 36], "fast": [2, 28]}}
    sections = {"labels": "all", "sampling": {"method": "integrated"}}
    contexts = [make_context(frame_of(CORRELATED, detector=its, **sections)) for its in ({}, region)]
    whole, part = (labelled_frame(its, 1, render_frame(its, 1)) for its in contexts)
    usable = contexts[1].scene.instrument.panels[0].usable
    expected = np.where(usable, whole.labels.background[0], 0)
    np.testing.assert_array_equal(part.labels.background[0], expected)


def test_without_a_compiler_spots_and_halos_have_factors_of_their_own(frame_of, tmp_path):
    pytest.importorskip("torch")
    np.save(tmp_path / "mask.npy", np.eye(*WHOLE.shape, dtype=np.uint8))
    sampling = {"method": "integrated", "oversample_omega": True, "d_min_A": 3.0, "precision": "float64"}
    experiment = frame_of(RIGID, sampling=sampling, detector={"mask_file": str(tmp_path / "mask.npy")})
    compiled, eager = (renderer_of(experiment, mode) for mode in ("compiled", "eager"))
    for _ in range(2):  # the second one of what is kept
        np.testing.assert_allclose(eager.frame(1), compiled.frame(1), rtol=0, atol=1e-6 * compiled.frame(1).max())
        np.testing.assert_allclose(eager.diffuse(WHOLE, 1), compiled.diffuse(WHOLE, 1), rtol=1e-9)


def test_lattices_add_up_by_their_weights(small_experiment, frame_of):
    other = {**GAUSS, "misset_deg": [-40, 10, 5], "weight": 0.3, "diffuse": RIGID}
    both = frame_of(CORRELATED).with_changes(crystal=None, crystals=[{**GAUSS, "diffuse": CORRELATED}, other])
    first, second = frame_of(CORRELATED), frame_of(RIGID, crystal={**other, "weight": 1.0})
    one, two, sum_of = (renderer_of(its).diffuse(WHOLE, 0) for its in (first, second, both))
    np.testing.assert_allclose(sum_of, one + 0.3 * two, rtol=1e-12)


@pytest.mark.parametrize(("method", "cut"), [("sum", Cut()), ("integrated", Cut()), ("integrated", Cut((17, 13)))])
def test_it_lies_under_the_spots_and_is_none_of_their_photons(frame_of, method, cut):
    sections = {"labels": "all", "sampling": {"method": method, "precision": "float64"}}
    sections["background"] = {"water_um": 0.3}
    plain, disordered = (make_context(frame_of(its, **sections), cut=cut) for its in (None, CORRELATED))
    ordered, frame = (labelled_frame(its, 1, render_frame(its, 1)) for its in (plain, disordered))
    assert not disordered.renderer._found.scattered, "what was kept for the labels is forgotten"
    diffuse = disordered.renderer.diffuse(WHOLE, 1)
    np.testing.assert_allclose(frame.labels.background[0], ordered.labels.background[0] + diffuse, rtol=1e-6)
    np.testing.assert_allclose(frame.photons[0], ordered.photons[0] + diffuse, rtol=1e-6)
    scale = frame.photons[0].max()
    np.testing.assert_allclose(frame.labels.bragg[0], ordered.labels.bragg[0], rtol=0, atol=1e-6 * scale)
    assert (frame.labels.spots["background"] >= 0).all()
    assert frame.labels.spots["background"].sum() > ordered.labels.spots["background"].sum()
    if method == "integrated":
        np.testing.assert_allclose(frame.labels.spots["photons"], ordered.labels.spots["photons"], rtol=1e-12)
        assert (frame.labels.spots["signal_over_noise"] <= ordered.labels.spots["signal_over_noise"]).all()


def test_masked_pixels_and_what_is_not_rendered_have_none(frame_of, tmp_path):
    mask = np.zeros((40, 30), dtype=bool)
    mask[10:20, 5:9] = True
    np.save(tmp_path / "mask.npy", mask)
    detector = {"mask_file": str(tmp_path / "mask.npy"), "region_of_interest": {"slow": [4, 36], "fast": [2, 28]}}
    renderer = renderer_of(frame_of(CORRELATED, detector=detector))
    found, open_pixels = renderer.diffuse(WHOLE, 0), renderer_of(frame_of(CORRELATED)).diffuse(WHOLE, 0)
    usable = renderer.scene.instrument.panels[0].usable
    np.testing.assert_array_equal(found, np.where(usable, open_pixels, 0))
    assert (found[usable] > 0).all()


def test_a_trace_has_its_term(frame_of):
    from nbdist.frames.trace import trace_pixel

    experiment = frame_of(CORRELATED, sampling={"precision": "float64"})
    renderer = renderer_of(experiment, "eager")
    chain = trace_pixel(renderer, load_reflections(renderer.scene), (12, 21), frame=1)
    assert chain.value("I_diffuse") == pytest.approx(renderer.diffuse(WHOLE, 1)[12, 21], rel=1e-12)
    assert chain.value("I_background") == chain.value("I_diffuse"), "there is no other background"
    assert chain.value("I_pixel_final") == pytest.approx(renderer.frame(1)[12, 21], rel=1e-12)


def test_it_goes_with_the_fluence_of_a_frame_and_fades_with_dose(frame_of):
    decay = {"dose_MGy_per_frame": 5.0}
    steady, fading = frame_of(CORRELATED), frame_of(CORRELATED, crystal={**GAUSS, "decay": decay})
    renderer = renderer_of(fading)
    [left] = renderer.left_by_dose(WHOLE, 2)
    assert left.max() < 1
    np.testing.assert_allclose(renderer.diffuse(WHOLE, 2), left * renderer_of(steady).diffuse(WHOLE, 2), rtol=1e-13)
    flickering = renderer_of(frame_of(CORRELATED, beam={"flicker": {"sigma": 0.1}}))
    shares = [flickering.diffuse(WHOLE, frame) / renderer_of(steady).diffuse(WHOLE, frame) for frame in (0, 1)]
    factors = [fluence_factor(flickering.scene.experiment, frame) for frame in (0, 1)]
    assert factors[0] != factors[1]
    for share, factor in zip(shares, factors, strict=True):
        np.testing.assert_allclose(share, factor, rtol=1e-12)


def test_a_plan_counts_its_time_and_memory(frame_of):
    plain, disordered = (make_context(frame_of(its)) for its in (None, CORRELATED))
    assert disordered.plan.cost.seconds > plain.plan.cost.seconds
    tables = AmplitudeTable.of(load_reflections(disordered.scene)[0], "float32").values.nbytes
    factors = 4 * disordered.scene.instrument.pixels
    assert disordered.plan.memory.shared - plain.plan.memory.shared == tables * (1 + CONVOLUTION_BYTES // 4) + factors
    assert disordered.plan.memory.per_thread > plain.plan.memory.per_thread
