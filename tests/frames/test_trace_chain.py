"""The trace of a pixel is the image's arithmetic, taken apart."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nbdist.experiment import Experiment
from nbdist.frames.trace import Choice, PixelTrace, trace_pixel
from nbdist.nanobragg.flags import experiment_from_flags
from nbdist.scene import resolve
from nbdist.scene.amplitudes import AmplitudeCache, load_reflections

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = [name for name in json.loads((GOLDEN / "cases.json").read_text()) if not name.startswith("_")]
# the terms are added in another order than in the image; the largest case has 27 of them a pixel
SAME = 1e-13
EXACT = 1e-9
AMPLITUDES = AmplitudeCache()
"""Most cases name one of a few files, of which each pixel's trace asks."""


def golden_experiment(name: str) -> Experiment:
    flags = json.loads((GOLDEN / "cases.json").read_text())[name].replace("{in}", str(GOLDEN / "inputs"))
    return experiment_from_flags(flags.split()).with_changes(sampling={"precision": "float64"})


def trace(renderer, pixel: tuple[int, int], **options) -> PixelTrace:
    return trace_pixel(renderer, load_reflections(renderer.scene, AMPLITUDES), pixel, **options)


def values(chain: PixelTrace, key: str) -> list[tuple[float, ...]]:
    return [line.values for line in chain.lines if line.key == key]


@pytest.mark.parametrize("name", CASES)
def test_the_chain_multiplies_out_and_its_last_number_is_the_pixel_of_the_image(name, make_renderer):
    renderer = make_renderer(golden_experiment(name), cache=AMPLITUDES)
    image = renderer.frame(0)
    brightest = np.unravel_index(image.argmax(), image.shape)
    for pixel in [(40, 30), (0, 0), (image.shape[0] - 1, 7), brightest]:
        chain = trace(renderer, (int(pixel[0]), int(pixel[1])))
        assert chain.value("I_pixel_final") == pytest.approx(image[pixel], rel=SAME, abs=SAME * 1e-9 * image.max())
    factors = ("r_e_sqr", "fluence_photons_per_m2", "I_before_scaling", "omega_pixel", "polar", "capture_fraction")
    product = math.prod(chain.value(key) for key in factors) / chain.value("steps")
    background = sum(value[0] for value in values(chain, "I_background"))
    assert product + background == pytest.approx(chain.value("I_pixel_final"), rel=1e-12)


@pytest.mark.parametrize(
    "name", ["triclinic_still", "rotation_10_steps", "shape_round_fudge", "shape_gauss", "mosaic_8_domains"]
)
def test_every_term_is_the_product_of_its_factors(name, make_renderer):
    chain = trace(make_renderer(golden_experiment(name)), (40, 33))
    terms = [value[0] for value in values(chain, "term")]
    F_cell, F_latt = np.array(values(chain, "F_cell")), np.array(values(chain, "F_latt"))
    np.testing.assert_allclose(((F_cell * F_latt) ** 2)[:, 0], terms, rtol=1e-12)
    if axes := values(chain, "F_latt_a"):
        brick = np.array(axes) * np.array(values(chain, "F_latt_b")) * np.array(values(chain, "F_latt_c"))
        np.testing.assert_allclose(brick, F_latt, rtol=1e-12)
    assert sum(terms) == pytest.approx(chain.value("I_before_scaling"), rel=1e-12)


def lysozyme(folder: Path, **scan) -> tuple[Experiment, dict]:
    case = folder / "lysozyme_p1"
    expected = json.loads((case / "expected_trace.json").read_text())
    experiment = experiment_from_flags(expected["flags"].split(), case)
    return experiment.with_changes(sampling={"precision": "float64"}, scan=scan), expected


def test_the_reference_chain_agrees_to_every_digit(reference_data, make_renderer):
    experiment, expected = lysozyme(reference_data)
    chain = trace(make_renderer(experiment), (685, 1039))
    for key, number in expected["common"].items():
        for found in values(chain, key):
            np.testing.assert_allclose(found, np.atleast_1d(number), rtol=EXACT, err_msg=key)
    exact = expected["exact"]
    assert chain.value("I_before_scaling") == pytest.approx(exact["I_before_scaling"], rel=EXACT)
    assert chain.value("I_pixel_final") == pytest.approx(exact["I_pixel_final"], rel=EXACT)
    np.testing.assert_allclose([h[1] for h in values(chain, "hkl_frac")], exact["k_frac"], rtol=EXACT)
    np.testing.assert_allclose([F[0] for F in values(chain, "F_latt")], exact["F_latt"], rtol=EXACT)


def test_the_carry_over_reproduces_nanobragg_c(reference_data, make_renderer):
    experiment, expected = lysozyme(reference_data, phi_zero_carryover=True)
    chain = trace(make_renderer(experiment), (685, 1039))
    # nanoBragg.c prints 15 digits
    assert chain.value("I_before_scaling") == pytest.approx(expected["nanobragg_c"]["I_before_scaling"], rel=EXACT)
    assert chain.value("I_pixel_final") == pytest.approx(expected["nanobragg_c"]["I_pixel_final"], rel=EXACT)
    assert values(chain, "F_latt")[0] == values(chain, "F_latt")[9]
    assert any("phi_zero_carryover" in note for note in chain.notes)


def test_keys_come_in_the_order_of_the_chain(make_renderer):
    chain = trace(make_renderer(golden_experiment("triclinic_still")), (10, 12))
    assert " ".join(line.key for line in chain.lines) == (
        "pix0_vector_m fdet_vec sdet_vec pixel_pos_m airpath_m close_distance_m obliquity_factor omega_pixel "
        "diffracted_vec incident_vec wavelength_A scattering_vec_m_inv rot_a_A rot_b_A rot_c_A phi_step "
        "phi_deg mosaic_domain hkl_frac hkl_rounded F_latt_a F_latt_b F_latt_c F_latt "
        "F_cell term I_before_scaling r_e_sqr fluence_photons_per_m2 steps oversample_thick oversample_polar "
        "oversample_omega capture_fraction polar cos_2theta I_pixel_final"
    )


def test_subpixels_are_listed_on_request_and_add_up(make_renderer):
    renderer = make_renderer(golden_experiment("thick_sensor_subpixel"))
    pixel = (50, 61)
    chain = trace(renderer, pixel, choice=Choice(subpixels=True))
    assert len(values(chain, "subpixel")) == 2 * 2 * 5
    assert sum(value[0] for value in values(chain, "subpixel_sum")) == pytest.approx(
        chain.value("I_before_scaling"), rel=1e-12
    )
    assert len(values(trace(renderer, pixel), "term")) == 1
    assert any("5 sensor layers" in note for note in chain.notes)
    assert any("2 x 2 subpixels" in note for note in chain.notes)


def test_one_mosaic_domain_can_be_listed(make_renderer):
    chain = trace(make_renderer(golden_experiment("mosaic_8_domains")), (50, 61), choice=Choice(mosaic=3))
    assert values(chain, "mosaic_domain") == [(3,)]
    assert chain.value("I_before_scaling") > 0


def test_a_reflection_that_is_not_listed_is_said(make_renderer):
    renderer = make_renderer(golden_experiment("sparse_default_F"))
    notes = [note for s in range(0, 112, 9) for note in trace(renderer, (s, 40)).notes]
    assert any("not listed" in note and "default_F = 350" in note for note in notes)


def test_a_pixel_outside_the_region_is_said_and_is_0_as_in_the_image(make_renderer):
    chain = trace(make_renderer(golden_experiment("region_of_interest")), (3, 4))
    assert chain.value("I_pixel_final") == 0
    assert "outside the region of interest" in chain.notes[0]


def test_a_masked_pixel_is_said_and_is_0_as_in_the_image(make_renderer, small_experiment, tmp_path):
    mask = np.zeros((96, 80), dtype=np.uint8)
    mask[20, 30] = 1
    np.save(tmp_path / "mask.npy", mask)
    renderer = make_renderer(small_experiment(detector={"mask_file": tmp_path / "mask.npy"}))
    chain = trace(renderer, (20, 30))
    assert chain.value("I_pixel_final") == 0
    assert "is masked" in chain.notes[0]
    assert not any("masked" in note for note in trace(renderer, (20, 31)).notes)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("curved_detector", "curved"),
        ("point_pixel", "point pixels"),
        ("interpolated_saxs", "interpolated"),
        ("dmin_cut", "d_min"),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(name, note, make_renderer):
    assert any(note in line for line in trace(make_renderer(golden_experiment(name)), (1, 2)).notes)


def test_the_trace_follows_the_image_in_float32_and_in_later_frames(make_renderer, small_experiment):
    renderer = make_renderer(small_experiment())
    image = renderer.frame(2)
    pixel = np.unravel_index(image.argmax(), image.shape)
    chain = trace(renderer, (int(pixel[0]), int(pixel[1])), frame=2)
    # one float32 term after the other: the sum over 4 steps may be rounded differently
    assert chain.value("I_pixel_final") == pytest.approx(image[pixel], rel=1e-6)


def test_the_carry_over_changes_only_steps_at_phi_0(small_experiment):
    left = {"phi_rule": "left", "phi_zero_carryover": True}
    scan = small_experiment(scan={"phi_start_deg": 0.0, **left}).scan
    assert scan.phi_deg(0, 4) == [0.375, 0.125, 0.25, 0.375]
    assert scan.phi_deg(1, 4) == [0.5, 0.625, 0.75, 0.875]
    crossing = small_experiment(scan={"phi_start_deg": -0.25, **left}).scan
    assert crossing.phi_deg(0, 4) == [-0.25, -0.125, -0.125, 0.125]
    still = small_experiment(scan={"phi_start_deg": 0.0, "osc_range_deg": 0.0, "phi_steps": 1, **left})
    assert still.scan.phi_deg(0, 1) == [0.0]
    assert resolve(still).phi_rotations(0) == pytest.approx(np.eye(3)[None])


def test_the_carry_over_alone_enters_the_fingerprint(small_experiment):
    plain = small_experiment()
    assert plain.with_changes(scan={"phi_zero_carryover": False}).fingerprint == plain.fingerprint
    assert plain.with_changes(scan={"phi_zero_carryover": True}).fingerprint != plain.fingerprint
