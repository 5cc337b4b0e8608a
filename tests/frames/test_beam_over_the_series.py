"""Flicker, exposure jitter and decay: what a frame has of the beam, worked out for it alone, and what it makes of its photons."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist import generate, open_series
from nbdist.errors import ExperimentError
from nbdist.frames.exposure import B_factors_A2, doses_MGy, fluence_factor, fluence_factors
from nbdist.kernels.spots import Diffraction
from nbdist.planning import Cut
from nbdist.run.context import make_context
from nbdist.run.predict import predict
from nbdist.run.rendering import labelled_frame, render_frame
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

FLICKER = {"flicker": {"sigma": 0.2, "spectrum": "pink", "seed": 5}, "exposure_jitter_sigma": 0.1}
DECAY = {"dose_MGy_per_frame": 4.0, "dose_MGy_at_start": 1.0, "B_factor_A2_per_MGy": 0.6, "half_dose_MGy": 43.0}
GAUSS = {"shape": "gauss", "N_cells": [30, 27, 24]}


def series(small_experiment, frames=4096, **beam):
    experiment = small_experiment(scan={"frames": frames}, beam=beam)
    return fluence_factors(experiment, range(frames)), experiment


def test_a_steady_beam_has_the_same_fluence_in_all_frames(small_experiment):
    factors, experiment = series(small_experiment, frames=5)
    assert experiment.beam.steady
    assert (factors == 1).all()
    assert fluence_factor(experiment, 3) == 1


@pytest.mark.parametrize("spectrum", ["white", "pink"])
def test_a_frame_alone_has_the_factor_that_it_has_among_others(small_experiment, spectrum):
    flicker = {"sigma": 0.3, "spectrum": spectrum, "seed": 9}
    factors, experiment = series(small_experiment, 300, flicker=flicker, exposure_jitter_sigma=0.05)
    assert [fluence_factor(experiment, frame) for frame in (299, 0, 17, 128)] == list(factors[[299, 0, 17, 128]])
    assert len(set(factors.tolist())) == 300
    other, _ = series(small_experiment, 300, flicker={**flicker, "seed": 10}, exposure_jitter_sigma=0.05)
    assert not np.isin(other, factors).any()


@pytest.mark.parametrize("beam", [{"flicker": FLICKER["flicker"]}, {"exposure_jitter_sigma": 0.1}])
def test_samples_of_a_data_set_have_factors_of_their_own(small_experiment, beam):
    _, experiment = series(small_experiment, 40, **beam)
    of_samples = np.stack([fluence_factors(experiment, range(40), sample) for sample in range(5)])
    assert len(np.unique(of_samples)) == of_samples.size
    assert fluence_factor(experiment, 7, sample=3) == of_samples[3, 7]


def test_white_flicker_and_jitter_are_normal_and_independent(small_experiment):
    both, _ = series(small_experiment, flicker={"sigma": 0.1}, exposure_jitter_sigma=0.05)
    jitter, _ = series(small_experiment, exposure_jitter_sigma=0.05)
    flicker, _ = series(small_experiment, flicker={"sigma": 0.1})
    np.testing.assert_allclose(both, jitter * flicker, rtol=1e-15)
    for factors, sigma in ((flicker, 0.1), (jitter, 0.05)):
        # of n = 4096 deviates: the mean to sigma / sqrt(n), the deviation to a part of 1 / sqrt(2 n); four of each
        assert factors.mean() == pytest.approx(1, abs=4 * sigma / 64)
        assert factors.std() == pytest.approx(sigma, rel=4 / np.sqrt(2 * 4096))
        neighbours = np.corrcoef(factors[1:], factors[:-1])[0, 1]
        assert abs(neighbours) < 4 / 64
    assert abs(np.corrcoef(flicker, jitter)[0, 1]) < 4 / 64


def test_pink_flicker_has_a_power_of_one_over_the_frequency(small_experiment):
    count, power = 2**12, np.zeros(2**11)
    for seed in range(40):
        factors, _ = series(small_experiment, count, flicker={"sigma": 0.02, "spectrum": "pink", "seed": seed})
        power += np.abs(np.fft.rfft(factors - factors.mean())[1:]) ** 2
    octaves = np.log2([power[2**k : 2 ** (k + 1)].sum() for k in range(1, 10)])
    # 1/f has the same power in every octave; steps make it ripple by less than half
    slope = np.polyfit(np.arange(len(octaves)), octaves, 1)[0]
    assert abs(slope) < 0.15
    assert np.ptp(octaves) < 1.5
    factors, _ = series(small_experiment, count, flicker={"sigma": 0.02})
    white = np.abs(np.fft.rfft(factors - factors.mean())[1:]) ** 2
    rise = np.polyfit(np.arange(9), np.log2([white[2**k : 2 ** (k + 1)].sum() for k in range(1, 10)]), 1)[0]
    assert rise == pytest.approx(1, abs=0.3)  # of white noise an octave has twice the power of the one below


def test_fluence_is_never_negative(small_experiment):
    factors, _ = series(small_experiment, flicker={"sigma": 1.0})
    assert factors.min() == 0


def test_photons_and_scattered_background_have_the_fluence_of_the_frame(small_experiment, make_renderer):
    sections = {"background": {"water_um": 30.0, "level_photons": 2.0}, "scan": {"frames": 8}}
    steady = make_renderer(small_experiment(**sections))
    experiment = small_experiment(beam=FLICKER, **sections)
    changing = make_renderer(experiment)
    for frame in (0, 6):
        factor = fluence_factor(experiment, frame)
        assert factor not in (0, 1)
        expected = factor * (steady.frame(frame) - 2.0) + 2.0  # a level is the detector's own
        np.testing.assert_allclose(changing.frame(frame), expected, rtol=1e-6)


def left(decay, dose_MGy, s_per_A):
    """Share of the intensity: 2^(-D s/H) 2^(-D/D_half) exp(-k D s^2/2)."""
    share = 2 ** (-dose_MGy * s_per_A / decay.get("half_dose_MGy_per_A", 10.0))
    share = share * 2 ** (-dose_MGy / decay.get("half_dose_MGy", np.inf))
    return share * np.exp(-decay.get("B_factor_A2_per_MGy", 0) * dose_MGy * s_per_A**2 / 2)


def test_the_dose_is_that_of_the_middle_of_a_frame(small_experiment):
    scene = resolve(small_experiment(crystal={"decay": DECAY}))
    np.testing.assert_allclose(doses_MGy(scene, range(1, 3)), [7.0, 11.0])  # 1 + 1.5 x 4, 1 + 2.5 x 4
    np.testing.assert_allclose(B_factors_A2(scene, range(1, 3)), [4.2, 6.6])


def test_the_sum_decays_by_the_spacing_of_each_pixel(small_experiment, make_renderer):
    fresh, faded = (make_renderer(small_experiment(crystal=its)) for its in ({}, {"decay": DECAY}))
    panel = fresh.scene.instrument.panels[0]
    s = 1 / panel.resolution_A(np.arange(96)[:, None] + 0.5, np.arange(80) + 0.5, 1.0)
    for frame, dose_MGy in ((0, 3.0), (2, 11.0)):
        np.testing.assert_allclose(faded.frame(frame), fresh.frame(frame) * left(DECAY, dose_MGy, s), rtol=1e-12)


def test_integrated_reflections_decay_by_their_own_spacing(small_experiment):
    sections = {"sampling": {"method": "integrated"}}
    entries = []
    for crystal in (GAUSS, {**GAUSS, "decay": DECAY}):
        scene = resolve(small_experiment(crystal=crystal, **sections))
        entries.append(Diffraction(scene, load_reflections(scene)).spots(1).entries)
    fresh, faded = entries
    assert len(fresh.strength) > 20
    s = np.linalg.norm(fresh.vector, axis=1)
    np.testing.assert_allclose(faded.strength, fresh.strength * left(DECAY, 7.0, s), rtol=1e-12)


def test_both_methods_decay_alike(small_experiment, make_renderer):
    # spots of 60 cells are a quarter of a pixel wide: the spacings of a pixel and of its reflection differ by little
    crystal = {"shape": "gauss", "N_cells": [60, 60, 60], "mosaicity": {"sigma_deg": 0.2, "domains": 5}}
    decay = {"dose_MGy_per_frame": 1.0}
    panel = {"spixels": 480, "fpixels": 400, "pixel_size_mm": 0.16}
    shares = {}
    for method in ("sum", "integrated"):
        totals = []
        for its in (crystal, {**crystal, "decay": decay}):
            experiment = small_experiment(crystal=its, sampling={"method": method}, panel=panel)
            totals.append(make_renderer(experiment).frame(2).astype(np.float64))
        bright = totals[0] > 1e-3 * totals[0].max()
        shares[method] = np.where(bright, totals[1] / np.where(bright, totals[0], 1), np.nan)
    both = ~np.isnan(shares["sum"]) & ~np.isnan(shares["integrated"])
    assert both.sum() > 20
    np.testing.assert_allclose(shares["sum"][both], shares["integrated"][both], rtol=1e-3)
    assert np.ptp(shares["sum"][both]) > 0.01


def test_each_crystal_has_its_own_dose(small_experiment, make_renderer):
    cell = {"cell": [40.0, 45.0, 50.0, 80.0, 95.0, 100.0], "misset_deg": [14, -31, 52], "N_cells": [8, 7, 6]}
    crystals = [cell, {**cell, "misset_deg": [5, 6, 7]}]
    fresh = make_renderer(small_experiment(crystal=None, crystals=crystals)).frame(1)
    alone = make_renderer(small_experiment(crystal=cell)).frame(1)
    faded_crystals = [cell, {**crystals[1], "decay": {"dose_MGy_per_frame": 1e6}}]
    experiment = small_experiment(crystal=None, crystals=faded_crystals)
    faded = make_renderer(experiment).frame(1)
    np.testing.assert_allclose(faded, alone, rtol=1e-12)
    assert not np.allclose(faded, fresh)
    np.testing.assert_array_equal(doses_MGy(resolve(experiment), range(2)), [[0, 5e5], [0, 1.5e6]])


def test_pieces_of_a_frame_are_the_frame(small_experiment):
    experiment = small_experiment(beam=FLICKER, crystal={"decay": DECAY}, background={"water_um": 30.0})
    (whole,) = render_frame(make_context(experiment), 2)
    (tiles,) = render_frame(make_context(experiment, cut=Cut((32, 64))), 2)
    np.testing.assert_array_equal(tiles, whole)
    (chunks,) = render_frame(make_context(experiment, cut=Cut(phi_chunk=1)), 2)
    np.testing.assert_allclose(
        chunks, whole, rtol=0, atol=1e-6 * whole.max()
    )  # one float32 rounding at the brightest pixel


def test_a_store_has_the_numbers_of_each_frame_and_goes_on_to_the_same_bits(small_experiment, tmp_path):
    experiment = small_experiment(beam=FLICKER, crystal={"decay": DECAY})
    generate(experiment, tmp_path / "whole.zarr", serial=True, frames_per_shard=1)
    generate(experiment, tmp_path / "parts.zarr", serial=True, frames_per_shard=1, frames=range(2, 3))
    generate(experiment, tmp_path / "parts.zarr", serial=True, resume=True)
    whole, parts = (open_series(tmp_path / name) for name in ("whole.zarr", "parts.zarr"))
    np.testing.assert_array_equal(whole.intensity, parts.intensity)
    for name, values, units in (
        ("fluence_factor", [fluence_factor(experiment, frame) for frame in range(3)], "1"),
        ("dose_MGy", [3.0, 7.0, 11.0], "MGy"),
        ("B_factor_A2", [1.8, 4.2, 6.6], "angstrom^2"),
    ):
        assert name in whole.coords
        assert (whole[name].dims, whole[name].units) == (("frame",), units)
        np.testing.assert_allclose(whole[name], values, rtol=1e-14)
    torch = pytest.importorskip("torch")
    from nbdist.learning import FrameDataset

    sample = FrameDataset(tmp_path / "whole.zarr")[1]
    assert sample["dose_MGy"] == torch.tensor(7.0)
    assert sample["fluence_factor"].item() == pytest.approx(fluence_factor(experiment, 1), rel=1e-6)


def test_a_store_of_a_steady_beam_has_none_of_them(small_experiment, tmp_path):
    generate(small_experiment(), tmp_path / "a.zarr", serial=True, frames=range(1))
    assert not {"fluence_factor", "dose_MGy", "B_factor_A2"} & set(open_series(tmp_path / "a.zarr").coords)


def test_the_trace_of_a_pixel_multiplies_out(small_experiment, make_renderer):
    pytest.importorskip("torch")
    from nbdist.frames.trace import trace_pixel

    experiment = small_experiment(beam=FLICKER, crystal={"decay": DECAY}, background={"water_um": 30.0})
    renderer = make_renderer(experiment, "eager")
    image = renderer.frame(2)
    slow, fast = map(int, np.unravel_index(image.argmax(), image.shape))
    chain = trace_pixel(renderer, load_reflections(renderer.scene), (slow, fast), 2)
    assert chain.value("I_pixel_final") == pytest.approx(float(image[slow, fast]), rel=1e-5)
    factors = ("r_e_sqr", "fluence_photons_per_m2", "fluence_factor", "I_before_scaling", "omega_pixel", "polar")
    product = np.prod([chain.value(key) for key in factors]) / chain.value("steps")
    assert product + chain.value("I_background") == pytest.approx(chain.value("I_pixel_final"), rel=1e-9)


@pytest.mark.parametrize("method", ["sum", "integrated"])
def test_labels_of_a_changing_beam_add_up_to_the_image(small_experiment, method):
    crystal = {**GAUSS, "decay": DECAY}
    sections = {"background": {"water_um": 30.0}, "sampling": {"method": method}, "labels": "all"}
    if method == "sum":
        sections["labels"] = {"bragg": True, "background": True}
    context = make_context(small_experiment(beam=FLICKER, crystal=crystal, **sections))
    (image,) = render_frame(context, 2)
    labels = labelled_frame(context, 2, [image]).labels
    np.testing.assert_allclose(labels.bragg[0] + labels.background[0], image, rtol=1e-5, atol=1e-6 * image.max())
    if method == "integrated":
        total = labels.bragg[0].sum(dtype=np.float64)
        assert labels.spots["photons"].sum() == pytest.approx(total, rel=1e-4)


def test_predicted_photons_are_those_of_the_frame(small_experiment):
    steady = predict(small_experiment(crystal=GAUSS), 2)
    experiment = small_experiment(beam=FLICKER, crystal={**GAUSS, "decay": DECAY})
    changed = predict(experiment, 2)
    expected = steady.photons * left(DECAY, 11.0, 1 / steady.d_A) * fluence_factor(experiment, 2)
    np.testing.assert_allclose(changed.photons, expected, rtol=1e-6)


def test_a_decay_needs_a_dose(small_experiment):
    with pytest.raises(ExperimentError, match=r"crystal\.decay\.dose_MGy_per_frame: is required"):
        small_experiment(crystal={"decay": {}})
    with pytest.raises(ExperimentError, match=r"beam\.flicker\.spectrum: should be 'white' or 'pink', found"):
        small_experiment(beam={"flicker": {"spectrum": "brown"}})
    plain = small_experiment()
    assert plain.with_changes(beam={"flicker": {"sigma": 0.0}}).fingerprint == plain.fingerprint
    assert plain.with_changes(beam={"flicker": {"sigma": 0.1}}).fingerprint != plain.fingerprint
