"""What is read of photons, stage by stage, against theory; and the stages in their order."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from nbdist.readout import chain
from nbdist.readout.chain import Readout
from nbdist.readout.charge_sharing import charge_sharing_taps
from nbdist.readout.draws import Draws, Stage
from nbdist.readout.integers import BAD, GAP, is_reading
from nbdist.readout.point_spread import gaussian_taps, spread_along_axes
from nbdist.readout.response import amplified, charge, counted, digitised, marked, with_bad_pixels
from nbdist.scene import resolve

SEED = 5
TIMED = {"fluence_photons_per_m2": None, "flux_photons_per_s": 1e12, "exposure_s": 0.01, "beam_size_mm": 0.1}


@pytest.fixture
def readout_of(small_experiment):
    """`readout_of(shape, **fields)`: the read-out of a panel whose `readout` has these fields."""

    def make(shape, noisy=True, beam=None, detector=None, **fields):
        experiment = small_experiment(
            panel={"spixels": shape[0], "fpixels": shape[1], "pixel_size_mm": 0.1},
            noise={"photon_noise": noisy, "seed": SEED},
            readout=fields,
            beam=beam or {},
        )
        return Readout(resolve(experiment.with_changes(detector=detector) if detector else experiment))

    return make


def flat(mean, shape):
    return [np.full(shape, mean, dtype=np.float32)]


def test_without_a_stage_counts_are_the_photons_drawn(readout_of):
    photons = flat(3.5, (30, 40))
    (counts,) = readout_of((30, 40)).counts(photons, 7)
    np.testing.assert_array_equal(counts, Draws(SEED, 7).poisson(photons[0]))
    assert counts.dtype == np.int32


def test_without_photon_noise_the_expected_photons_are_read(readout_of):
    (counts,) = readout_of((4, 5), noisy=False, electrons_per_photon=3.0, offset_adu=10).counts(flat(2.5, (4, 5)), 0)
    assert (counts == 18).all()  # 17.5: of two whole numbers as near, the even one


@pytest.mark.parametrize("paralysable", [False, True])
def test_dead_time_loses_counts_as_theory_says(readout_of, paralysable):
    # 1000 photons in 10 ms: one in 10 us, and 1 us dead after each
    readout = readout_of((500, 500), beam=TIMED, dead_time_ns=1000.0, paralysable=paralysable)
    (counts,) = readout.counts(flat(1000.0, (500, 500)), 0)
    # of Poisson counts n: E n exp(-n t) = m e^-t exp(m (e^-t - 1)); n/(1 + n t) to second order about the mean
    t, m = 1e-4, 1000.0
    longer, unseen = m * math.exp(-t) * math.exp(m * (math.exp(-t) - 1)), m / (1 + m * t) - m * t / (1 + m * t) ** 3
    assert counts.mean() == pytest.approx(longer if paralysable else unseen, rel=2e-4)
    slope = (1 - m * t) * math.exp(-m * t) if paralysable else (1 + m * t) ** -2
    assert counts.var() == pytest.approx(m * slope**2 + 1 / 12, rel=0.01)


def test_gain_calibration_and_read_noise_have_the_mean_and_variance_of_theory(readout_of):
    shape, m, epp, sigma, noise, k, offset = (1000, 1000), 30.0, 2.5, 0.05, 4.0, 3.0, 100.0
    readout = readout_of(
        shape,
        electrons_per_photon=epp,
        calibration_sigma=sigma,
        read_noise_electrons=noise,
        adu_per_electron=k,
        offset_adu=offset,
    )
    frames = [readout.counts(flat(m, shape), frame)[0].astype(np.float64) for frame in (0, 1)]
    gain = epp * k
    for counts in frames:
        assert counts.mean() == pytest.approx(m * gain + offset, rel=1e-3)
        theory = gain**2 * (m * (1 + sigma**2) + m**2 * sigma**2) + (noise * k) ** 2 + 1 / 12
        assert counts.var() == pytest.approx(theory, rel=5e-3)
    # the calibration alone is the same in both frames
    assert np.cov(*(counts.ravel() for counts in frames))[0, 1] == pytest.approx((gain * m * sigma) ** 2, rel=0.02)


def test_bad_pixels_are_the_same_in_all_frames_and_as_many_as_asked_for(readout_of):
    shape, fields = (400, 500), {"dead_pixel_fraction": 0.01, "hot_pixel_fraction": 0.02}
    first, second = (readout_of(shape, **fields).counts(flat(4.0, shape), frame)[0] for frame in (0, 1))
    np.testing.assert_array_equal(first == BAD, second == BAD)
    assert (first == BAD).mean() == pytest.approx(0.03, abs=5 * math.sqrt(0.03 / first.size))
    unmarked = readout_of(shape, bad_pixels_marked=False, hot_pixel_adu=500.0, **fields)
    (read,) = unmarked.counts(flat(100.0, shape), 0)
    assert (read == 0).mean() == pytest.approx(0.01, abs=5 * math.sqrt(0.01 / first.size))
    assert (read > 500).mean() == pytest.approx(0.02, abs=5 * math.sqrt(0.02 / first.size))
    np.testing.assert_array_equal((read == 0) | (read > 500), first == BAD)


def test_readings_are_held_at_saturation_or_roll_over():
    adu = np.array([-3.0, 0.5, 1.5, 98.6, 99.5, 100.2, 101.0, 250.0])
    np.testing.assert_array_equal(digitised(adu, 100, rolls_over=False), [0, 0, 2, 99, 100, 100, 100, 100])
    np.testing.assert_array_equal(digitised(adu, 100, rolls_over=True), [0, 0, 2, 99, 100, 100, 0, 48])


@pytest.mark.parametrize(
    ("integers", "largest", "gap", "bad"),
    [("int32", 2**31 - 1, -1, -2), ("uint16", 65533, 65535, 65534), ("uint32", 2**32 - 3, 2**32 - 1, 2**32 - 2)],
)
def test_integers_hold_readings_and_two_markers(readout_of, tmp_path, integers, largest, gap, bad):
    mask = np.zeros((20, 30), dtype=bool)
    mask[3, 4] = True
    np.save(tmp_path / "mask.npy", mask)
    readout = readout_of(
        (20, 30),
        detector={"mask_file": str(tmp_path / "mask.npy"), "region_of_interest": {"slow": [2, 18], "fast": [1, 30]}},
        integers=integers,
        dead_pixel_fraction=0.1,
        noisy=False,
    )
    (counts,) = readout.counts(flat(1e12, (20, 30)), 0)
    assert counts.dtype == np.dtype(integers)
    assert counts[3, 4] == gap
    assert set(np.unique(counts[2:18, 1:])) == {gap, bad, largest}
    assert (counts == gap).sum() == 1
    assert not counts[:2].any()
    assert not counts[18:].any()
    assert not counts[:, 0].any()
    np.testing.assert_array_equal(is_reading(counts), (counts == largest) | (counts == 0))


def test_panels_have_random_numbers_of_their_own(small_experiment):
    panel = {"spixels": 8, "fpixels": 9, "pixel_size_mm": 1.0}
    two = [panel | {"origin_mm": [-60.0, -40.0, 100.0]}, panel | {"origin_mm": [60.0, -40.0, 100.0]}]
    fields = {"read_noise_electrons": 3.0, "calibration_sigma": 0.1, "offset_adu": 100.0}
    content = {"noise": {"photon_noise": True, "seed": SEED}, "readout": fields}
    experiment = small_experiment(detector={"convention": "xds", "panels": two}, **content)
    one = small_experiment(panel={"spixels": 16, "fpixels": 9}, **content)
    separate = Readout(resolve(experiment)).counts([*flat(50.0, (8, 9)), *flat(50.0, (8, 9))], 3)
    np.testing.assert_array_equal(np.concatenate(separate), Readout(resolve(one)).counts(flat(50.0, (16, 9)), 3)[0])


def test_a_readout_that_travelled_reads_the_same(readout_of):
    spread = {"kind": "fibre", "fwhm_mm": 0.15}
    readout = readout_of((40, 50), point_spread=spread, calibration_sigma=0.1, dead_pixel_fraction=0.1)
    before = readout.counts(flat(9.0, (40, 50)), 1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(readout)).counts(flat(9.0, (40, 50)), 1), before)


# ---- the order of the stages

FIELDS = {
    "charge_sharing_fraction": 0.3,
    "dead_time_ns": 100_000.0,
    "point_spread": {"kind": "gaussian", "fwhm_mm": 0.15, "reach_mm": 0.3},
    "electrons_per_photon": 1.7,
    "calibration_sigma": 0.2,
    "read_noise_electrons": 5.0,
    "adu_per_electron": 2.0,
    "offset_adu": 6.0,
    "dead_pixel_fraction": 0.05,
    "hot_pixel_fraction": 0.05,
    "hot_pixel_adu": 60.3,
    "bad_pixels_marked": False,
    "saturation_adu": 90,
}


def stages(readout, shape, frame):
    """Each stage of an experiment with all of `FIELDS` as a function of an image, in the order of physics, by name."""
    draws, (panel,) = Draws(SEED, frame), readout.panels
    taps, share = gaussian_taps(1.5, 3), charge_sharing_taps(0.3)
    noise = draws.normals(Stage.READ_NOISE, shape[0] * shape[1]).reshape(shape)
    return {
        "charge sharing": lambda image: spread_along_axes(image, share),
        "photons": lambda image: draws.poisson(np.maximum(image, 0)),
        "dead time": lambda image: counted(image, 0.01, False),
        "point spread": lambda image: spread_along_axes(image, taps),
        "gain": lambda image: charge(image, 1.7, panel.calibration),
        "read-out noise": lambda image: amplified(image, noise, 5.0, 1.0, 0.0),
        "converter": lambda image: amplified(image, None, 0.0, 2.0, 6.0),
        "bad pixels": lambda image: with_bad_pixels(np.asarray(image, np.float64), panel.dead, panel.hot, 60.3),
        "whole numbers": lambda image: digitised(np.asarray(image, np.float64), 90, rolls_over=False),
    }


SHAPE = 24, 30


@pytest.fixture
def everything(readout_of):
    return readout_of(SHAPE, beam=TIMED, **FIELDS)


@pytest.fixture
def photons():
    image = np.random.default_rng(1).gamma(0.5, 30.0, SHAPE).astype(np.float32)
    image[10:14, 5:9] = 200.0
    return image


def test_the_chain_is_its_stages_in_the_order_of_physics(everything, photons):
    image = photons
    for stage in stages(everything, SHAPE, 4).values():
        image = stage(image)
    (panel,) = everything.panels
    whole = marked(image.astype(np.int32), panel.usable, panel.bad)
    np.testing.assert_array_equal(everything.counts([photons], 4)[0], whole)


@pytest.mark.parametrize("first", range(8))
def test_no_stage_changes_places_with_the_next(everything, photons, first):
    named = list(stages(everything, SHAPE, 4).items())
    named[first], named[first + 1] = named[first + 1], named[first]
    image = photons
    for _, stage in named:
        image = stage(image)
    different = np.rint(image) != everything.counts([photons], 4)[0]
    assert different.mean() > 0.01, f"{named[first + 1][0]} and {named[first][0]} commute"


def test_markers_come_last(readout_of, photons, tmp_path):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, :5] = True
    np.save(tmp_path / "mask.npy", mask)
    detector = {"mask_file": str(tmp_path / "mask.npy")}
    readout = readout_of(SHAPE, beam=TIMED, detector=detector, **FIELDS | {"bad_pixels_marked": True})
    (panel,), (counts,) = readout.panels, readout.counts([photons], 4)
    bad = np.zeros(SHAPE, dtype=bool)
    bad.flat[[*panel.dead, *panel.hot]] = True
    assert (counts[mask] == -1).all()
    assert (counts[bad & ~mask] == -2).all(), "a stage after the markers takes them for readings"
    assert counts[~bad & ~mask].min() >= 0
    assert (bad & ~mask).any()


@pytest.mark.parametrize("kind", ["gaussian", "fibre"])
def test_light_is_lost_to_dead_time_before_it_spreads(readout_of, kind):
    # a counter that misses photons does so in the pixel where they arrive: light of a lit pixel spreads from what is left
    image = np.zeros((9, 9), dtype=np.float32)
    image[4, 4] = 1e6
    fields = {"point_spread": {"kind": kind, "fwhm_mm": 0.2, "reach_mm": 0.2}, "electrons_per_photon": 1000.0}
    slow = readout_of((9, 9), noisy=False, beam=TIMED, dead_time_ns=100.0, **fields).counts([image], 0)[0]
    quick = readout_of((9, 9), noisy=False, **fields).counts([image / 11], 0)[0]  # n t = 10
    np.testing.assert_allclose(slow, quick, rtol=1e-5)


# ---- as written

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "readout.md"
CCD, COUNTER = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("text", "mean", "largest"),
    [
        (CCD, 40 + 50 * 7 * 0.25 * (1 - 3e-3), 65533),  # but for the light of a fibre beyond its reach
        (COUNTER, 50 - 50**2 * 120e-9 / 0.02, 126000),
    ],
    ids=["CCD", "counter"],
)
def test_the_examples_of_the_page_read_what_it_says(small_experiment, text, mean, largest):
    sections = yaml.safe_load(text)
    if "beam" in sections:
        sections["beam"]["fluence_photons_per_m2"] = None
    panel = {"spixels": 600, "fpixels": 600, "pixel_size_mm": 0.05}
    readout = Readout(resolve(small_experiment(panel=panel, **sections)))
    inside = slice(270, 330), slice(270, 330)
    read, saturated = (readout.counts(flat(photons, (600, 600)), 0)[0][inside] for photons in (50.0, 1e6))
    deviation = np.std(read[is_reading(read)]) / 60  # of a mean of 3600 pixels; more than their calibration leaves
    assert read[is_reading(read)].mean() == pytest.approx(mean, abs=5 * deviation)
    assert set(np.unique(saturated[is_reading(saturated)])) == {largest}


# ---- compiled

EACH = {
    "nothing": {},
    "everything": FIELDS,
    "roll-over": {"electrons_per_photon": 40.0, "saturation_adu": 1000, "rolls_over": True, "integers": "uint16"},
    "paralysable": {"dead_time_ns": 1e4, "paralysable": True, "integers": "uint32"},
    "noise and bad pixels": {"read_noise_electrons": 3.0, "dead_pixel_fraction": 0.1, "hot_pixel_fraction": 0.1},
    "wide": {"point_spread": {"kind": "gaussian", "fwhm_mm": 5.0}, "calibration_sigma": 0.5},
    "tails": {"point_spread": {"kind": "fibre", "fwhm_mm": 0.1, "reach_mm": 1.0}, "dead_time_ns": 1e3},
    "shared charge": {"charge_sharing_fraction": 0.2, "integers": "uint16"},
}


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("shape", [(1, 70), (70, 1), (150, 131)])
@pytest.mark.parametrize("fields", EACH.values(), ids=EACH.keys())
def test_compiled_code_reads_what_the_specification_says(readout_of, monkeypatch, tmp_path, fields, shape, noisy):
    mask = np.arange(shape[0] * shape[1]).reshape(shape) % 37 == 5
    np.save(tmp_path / "mask.npy", mask)
    detector = {"mask_file": str(tmp_path / "mask.npy")}
    readout = readout_of(shape, noisy=noisy, beam=TIMED, detector=detector, **fields)
    image = np.random.default_rng(1).gamma(0.5, 30.0, shape).astype(np.float32)
    native = readout.counts([image], 4)[0]
    monkeypatch.setattr(chain, "compiled_response", lambda: None)
    specified = readout.counts([image], 4)[0]
    assert native.dtype == specified.dtype
    np.testing.assert_array_equal(native, specified)
    assert (native[mask] == np.array(GAP).astype(native.dtype)).all()
