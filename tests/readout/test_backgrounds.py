"""Each background is its formula: closed cases, and the same photons for any tile and on any panel."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.errors import ExperimentError, FileFormatError
from nbdist.kernels.native.backend import NativeBackend
from nbdist.readout.air import AIR, air_photons
from nbdist.readout.backgrounds import Backgrounds, scattered_photons
from nbdist.readout.powder import texture
from nbdist.scene import Tile, resolve
from nbdist.scene.background import AVOGADRO, Curve

WIDTH_UM = 50.0
WATER = {"thickness_um": 20.0, "width_um": 20.0, "density_g_per_cm3": 1.0, "molecular_weight_g_per_mol": 18.0}
RE2_M2 = 7.94079248018965e-30
FLUENCE = 1e24
BASE = {"sampling": {"precision": "float64", "oversample": 1}}
UNPOLARISED = {"beam": {"polarization_factor": None}}


@pytest.fixture
def photons(small_experiment):
    """Photons a pixel of the first panel of an experiment with a background."""

    def make(background, tile=None, **sections):
        instrument = resolve(small_experiment(background=background, **{**BASE, **sections})).instrument
        tile = tile or Tile(0, 0, *instrument.panels[0].shape[:1], 0, instrument.panels[0].shape[1])
        return scattered_photons(instrument, NativeBackend(instrument), tile)

    return make


@pytest.fixture
def curve(tmp_path):
    """A file with a curve."""

    def write(*rows, name="F.stol"):
        path = tmp_path / name
        path.write_text("# sin(theta)/lambda value\n" + "".join(f"{stol} {value}\n" for stol, value in rows))
        return str(path)

    return write


def two_theta(instrument, panel=0):
    """Scattering angle of the pixels of a panel, radians, from positions; the beam is along z."""
    its = instrument.panels[panel]
    slow, fast = np.meshgrid(np.arange(its.spixels) + 0.5, np.arange(its.fpixels) + 0.5, indexing="ij")
    x = its.positions_m(slow, fast)
    return np.arctan2(np.hypot(x[..., 0], x[..., 1]), x[..., 2])


def test_a_flat_curve_scatters_as_water(photons, curve):
    water = photons({"water_um": 20.0})
    assert water.min() > 0
    np.testing.assert_allclose(
        photons({"amorphous": [{"f_file": curve((0, 2.57), (1, 2.57)), **WATER}]}), water, rtol=1e-13
    )


def test_curves_are_linear_in_between_and_held_at_their_ends(photons, curve, small_experiment):
    flat = photons({"amorphous": [{"f_file": curve((0, 1.0)), **WATER}]})
    stol = np.sin(two_theta(resolve(small_experiment()).instrument) / 2)  # wavelength 1 A
    bent = photons({"amorphous": [{"f_file": curve((0.05, 2.0), (0.1, 3.0), name="bent"), **WATER}]})
    expected = np.clip(2 + (stol - 0.05) / 0.05, 2, 3)
    assert expected.min() == 2
    assert expected.max() == 3
    np.testing.assert_allclose(bent, flat * expected**2, rtol=1e-12)


def test_materials_add_up_in_proportion_to_their_molecules(photons, curve):
    one = {"f_file": curve((0, 2.57)), **WATER}
    other = {**one, "thickness_um": 40.0, "density_g_per_cm3": 3.0, "molecular_weight_g_per_mol": 36.0}
    together = photons({"amorphous": [one, other]})
    np.testing.assert_allclose(together, photons({"amorphous": [one]}) * (1 + 2 * 3 / 2), rtol=1e-13)


def test_the_width_of_a_slab_is_that_of_a_beam_with_a_flux(small_experiment, curve):
    slab = {"f_file": curve((0, 2.57)), **WATER, "width_um": None}
    flux = {"fluence_photons_per_m2": None, "flux_photons_per_s": 1e12, "beam_size_mm": 0.05}
    scene = resolve(small_experiment(background={"amorphous": [slab]}, beam=flux))
    [material] = scene.instrument.background.materials
    assert material.molecules == pytest.approx((50e-6) ** 2 * 20e-6 * 1e6 * AVOGADRO / 18)
    with pytest.raises(
        ExperimentError, match=r"^background\.amorphous\.0\.width_um: is required where the beam has no"
    ):
        resolve(small_experiment(background={"amorphous": [slab]}))


@pytest.mark.parametrize("beam", [{"polarization_factor": None}, {"polarization_factor": 0.0}])
def test_forward_compton_photons_are_thomsons_and_backward_ones_keep_less_energy(photons, curve, beam):
    material = {"f_file": curve((0, 0.0), name="none"), "compton_file": curve((0, 10.0), name="S"), **WATER}
    thomson = {"f_file": curve((0, np.sqrt(10.0)), name="root"), **WATER}
    for panel, angle in (({"distance_mm": 1e5}, 0.0), ({"distance_mm": 1e5, "two_theta_deg": 180.0}, np.pi)):
        sections = {"panel": panel, "beam": beam}
        ratio = photons({"amorphous": [material]}, **sections) / photons({"amorphous": [thomson]}, **sections)
        kept = 1 / (1 + 12398.42 / 510998.95 * (1 - np.cos(angle)))
        # Klein and Nishina: P^2 (P + 1/P - sin^2)/2, over (1 + cos^2)/2 = 1 at both ends
        np.testing.assert_allclose(ratio, kept**2 * (kept + 1 / kept) / 2, rtol=1e-6)


def test_a_bad_curve_is_named_with_its_line(small_experiment, tmp_path):
    path = tmp_path / "bad.stol"
    for text, said in (
        ("0 1\n0.1\n", r"bad\.stol, line 2: expected 'sin\(theta\)/lambda value', neither negative, found '0\.1'"),
        ("0 1\n0.1 -2\n", r"line 2: expected .* found '0\.1 -2'"),
        ("0.2 1\n0.1 2\n", r"line 2: sin\(theta\)/lambda 0\.1 is not above 0\.2 of the line before"),
        ("# nothing\n", r"^background\.amorphous\.0\.f_file: amplitude curve .*bad\.stol holds no numbers"),
    ):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=said):
            resolve(small_experiment(background={"amorphous": [{"f_file": path, **WATER}]}))


def test_the_contents_of_named_files_are_part_of_the_fingerprint(small_experiment, curve):
    prints = {
        small_experiment(background={"amorphous": [{"f_file": curve((0, F)), **WATER}]}).fingerprint for F in (1, 2, 1)
    }
    assert len(prints) == 2
    assert small_experiment(background={"amorphous": [], "air": None}).fingerprint == small_experiment().fingerprint


def test_nitrogen_and_oxygen_scatter_forward_with_all_their_electrons():
    # N2, O2 and Ar in their shares
    assert AIR.at(np.array(0.0)) ** 2 == pytest.approx(0.7808 * 14**2 + 0.2095 * 16**2 + 0.0093 * 18**2, rel=2e-3)
    # International Tables C, 6.1.1.1, at s = 1/A: f(N) 1.263, f(O) 1.374; the bonds' interference is all but gone there
    interference = 1 + np.sin(4 * np.pi * np.array([1.098, 1.208])) / (4 * np.pi * np.array([1.098, 1.208]))
    expected = 2 * np.array([0.7808, 0.2095]) * np.array([1.263, 1.374]) ** 2 * interference
    assert AIR.at(np.array(1.0)) ** 2 == pytest.approx(expected.sum() + 0.0093 * 4.5**2, rel=0.01)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"detector": {"curved": True}},
        {"detector": {"point_pixels": True}},
        {"panel": {"rotation_deg": [10.0, -30.0, 5.0]}},
        {"panel": {"two_theta_deg": 150.0}, **UNPOLARISED},
    ],
    ids=["flat", "curved", "point_pixels", "tilted", "backwards"],
)
def test_a_short_path_of_air_is_a_material_at_the_sample(photons, curve, sections):
    air = {"before_mm": 5e-4, "after_mm": 5e-4, "width_um": WIDTH_UM, "pressure_kPa": 100.0, "temperature_K": 300.0}
    moles_per_cm3 = 1e5 / (8.31446 * 300) * 1e-6
    slab = {
        "f_file": curve(*zip(AIR.stol_per_A, AIR.values, strict=True)),
        "thickness_um": 1.0,
        "width_um": WIDTH_UM,
        "density_g_per_cm3": moles_per_cm3,
        "molecular_weight_g_per_mol": 1.0,
    }
    # Avogadro's and Boltzmann's numbers are of different years: 4e-7
    np.testing.assert_allclose(photons({"air": air}, **sections), photons({"amorphous": [slab]}, **sections), rtol=1e-5)


def air_of(instrument, points=12):
    [panel] = instrument.panels
    return air_photons(
        instrument.background.air, instrument, panel, *panel.pixel_directions(Tile(0, 0, 96, 0, 80)), points
    )


@pytest.mark.parametrize(
    "panel",
    [
        {},
        {"rotation_deg": [0.0, 25.0, 10.0]},
        {"two_theta_deg": 100.0},
        {"two_theta_deg": 170.0},
        {"pixel_size_mm": 0.05},
    ],
)
@pytest.mark.parametrize("path", [{"before_mm": 80.0, "after_mm": 30.0}, {"before_mm": 30.0}])
def test_air_converges_in_its_points(small_experiment, panel, path):
    experiment = small_experiment(panel=panel, background={"air": {"width_um": WIDTH_UM, **path}})
    instrument = resolve(experiment).instrument
    few, many = (air_of(instrument, points) for points in (12, 60))
    assert many.max() > 0
    assert np.abs(few - many).max() <= 1e-5 * many.max()


def test_air_is_the_sum_over_points_of_its_path(small_experiment):
    experiment = small_experiment(background={"air": {"before_mm": 20.0, "after_mm": 60.0, "width_um": WIDTH_UM}})
    instrument = resolve(experiment).instrument
    [panel], K = instrument.panels, 0.9
    slow, fast = np.meshgrid(np.arange(96) + 0.5, np.arange(80) + 0.5, indexing="ij")
    pixel, total = panel.positions_m(slow, fast), 0.0
    density = 101325.0 / (1.380649e-23 * 295) * (WIDTH_UM * 1e-6) ** 2
    step = 80e-3 / 400
    for z in -20e-3 + (np.arange(400) + 0.5) * step:
        d = pixel - [0, 0, z]
        R = np.linalg.norm(d, axis=-1)
        d /= R[..., None]
        stol = np.sqrt((1 - d[..., 2]) / 2)
        # E along x: K. Kahn's factor
        polar = (1 + d[..., 2] ** 2 - K * (d[..., 0] ** 2 - d[..., 1] ** 2)) / 2
        total = total + np.interp(stol, AIR.stol_per_A, AIR.values) ** 2 * polar * d[..., 2] / R**2 * step
    expected = RE2_M2 * FLUENCE * density * panel.pixel_m**2 * total
    np.testing.assert_allclose(air_of(instrument), expected, rtol=1e-5)


def test_air_ends_at_the_beam_stop(photons):
    air = {"before_mm": 1.0, "width_um": WIDTH_UM}
    stop = {"shadows": {"beam_stop": {"size_mm": 1e-6, "distance_mm": 20.0}}}
    lit = np.s_[:30]  # the stop itself shades nothing there
    np.testing.assert_array_equal(photons({"air": air}, **stop)[lit], photons({"air": {**air, "after_mm": 20.0}})[lit])
    assert (photons({"air": air}) > photons({"air": air}, **stop)).all()


RING = {"rings": [{"d_A": 3.0, "intensity": 1.0}], "photons": 1e6, "width_deg": 0.8}
FINE = {"panel": {"spixels": 400, "fpixels": 420, "pixel_size_mm": 0.25, "distance_mm": 100.0}}


@pytest.mark.parametrize("d_A", [6.0, 3.0])
def test_a_ring_lies_where_bragg_has_it_and_holds_its_photons(photons, small_experiment, d_A):
    powder = {**RING, "rings": [{"d_A": d_A, "intensity": 7.0}]}
    image = photons({"powder": [powder]}, **FINE, **UNPOLARISED)
    angle = two_theta(resolve(small_experiment(**FINE)).instrument)
    at = 2 * np.arcsin(1 / (2 * d_A))
    assert image.sum() == pytest.approx(1e6, rel=2e-4)
    assert (image * angle).sum() / image.sum() == pytest.approx(at, abs=1e-4)
    rms = np.sqrt((image * (angle - at) ** 2).sum() / image.sum())
    # full width 0.8 degrees, and a pixel of 0.25 mm at 100 mm
    assert rms == pytest.approx(np.hypot(np.deg2rad(0.8) / 2.3548, 2.5e-3 * np.cos(at) ** 1.5 / np.sqrt(12)), rel=0.02)


def test_a_narrow_ring_keeps_its_photons(photons):
    sharp = photons({"powder": [{**RING, "width_deg": 1e-3}]}, **FINE, **UNPOLARISED)
    assert sharp.sum() == pytest.approx(1e6, rel=0.02)  # half a pixel wide, sampled once a pixel


def test_a_spread_of_the_spacing_widens_a_ring_by_tan_theta(photons, small_experiment):
    image = photons({"powder": [{**RING, "d_spread": 0.02, "width_deg": 1e-3}]}, **FINE, **UNPOLARISED)
    angle = two_theta(resolve(small_experiment(**FINE)).instrument)
    theta = np.arcsin(1 / 6)
    rms = np.sqrt((image * (angle - 2 * theta) ** 2).sum() / image.sum())
    assert rms == pytest.approx(2 * np.tan(theta) * 0.02, rel=0.02)


def test_tilted_panels_have_the_same_ring(photons, small_experiment):
    panel = {**FINE["panel"], "rotation_deg": [5.0, -6.0, 5.0]}
    image = photons({"powder": [RING]}, panel=panel, **UNPOLARISED)
    angle = two_theta(resolve(small_experiment(panel=panel)).instrument)
    assert image.sum() == pytest.approx(1e6, rel=1e-3)
    assert (image * angle).sum() / image.sum() == pytest.approx(2 * np.arcsin(1 / 6), abs=2e-4)


@pytest.mark.parametrize("spindle", [[1, 0, 0], [0, 0, 1]])
def test_a_texture_moves_photons_around_a_ring_and_none_away(photons, spindle):
    sections = {**FINE, **UNPOLARISED, "scan": {"spindle_axis": spindle}}
    even, rough = (photons({"powder": [{**RING, "texture": value}]}, **sections) for value in (0.0, 0.5))
    assert rough.sum() == pytest.approx(even.sum(), rel=1e-3)
    bright = even > 0.1 * even.max()
    assert 0.1 < (rough[bright] / even[bright]).std() < 2
    other = photons({"powder": [{**RING, "texture": 0.5, "texture_seed": 1}]}, **sections)
    assert np.corrcoef(rough[bright], other[bright])[0, 1] < 0.9


def test_a_texture_has_the_mean_1_and_over_seeds_its_deviation():
    factors = np.stack([texture(0.4, seed, 0)[1][1:] for seed in range(60)])
    np.testing.assert_allclose(factors.mean(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(factors[:, -1], [texture(0.4, seed, 0)[1][0] for seed in range(60)], rtol=1e-6)
    logarithms = np.log(factors) - np.log(factors).mean(axis=1, keepdims=True)
    # 60 x 24 normal amplitudes: their root mean square is known to 2 % (one deviation)
    assert np.sqrt((logarithms**2).mean()) == pytest.approx(0.4, rel=0.05)
    assert factors.min() > 0
    one, next_ring = texture(0.4, 0, 0)[1], texture(0.4, 0, 1)[1]
    assert abs(np.corrcoef(one, next_ring)[0, 1]) < 0.9


def test_a_texture_keeps_to_its_azimuth_on_a_tilted_panel(photons, small_experiment):
    powder = {"powder": [{**RING, "texture": 0.6, "width_deg": 3.0}]}
    ratios = []
    for rotation in ([0.0, 0.0, 0.0], [8.0, -10.0, 20.0]):
        panel = {**FINE["panel"], "rotation_deg": rotation}
        even = photons({"powder": [{**RING, "width_deg": 3.0}]}, panel=panel, **UNPOLARISED)
        rough = photons(powder, panel=panel, **UNPOLARISED)
        towards, _ = (
            resolve(small_experiment(panel=panel)).instrument.panels[0].pixel_directions(Tile(0, 0, 400, 0, 420))
        )
        azimuth = np.arctan2(towards[..., 1], towards[..., 0])
        bright = even > 1e-3 * even.max()
        angles, factor = texture(0.6, 0, 0)
        np.testing.assert_allclose(rough[bright], even[bright] * np.interp(azimuth[bright], angles, factor), rtol=1e-9)
        ratios.append((rough[bright] / even[bright]).max())
    assert ratios[0] == pytest.approx(ratios[1], rel=0.02)


def test_known_powders_have_their_lines(small_experiment):
    def lines(preset):
        experiment = small_experiment(background={"powder": [{"preset": preset, "photons": 100.0}]})
        [powder] = resolve(experiment).instrument.background.powders
        assert powder.photons.max() == pytest.approx(100.0)
        return powder

    ice, salt, behenate = map(lines, ("ice", "salt", "silver_behenate"))
    # hexagonal ice: 1/d^2 = 4/3 (h^2 + hk + k^2)/a^2 + l^2/c^2
    a, c = 4.4975, 7.3224
    indices = {(h, k, l) for h in range(4) for k in range(h + 1) for l in range(7) if h or l}
    spacings = [1 / np.sqrt(4 / 3 * (h * h + h * k + k * k) / a**2 + (l / c) ** 2) for h, k, l in indices]
    assert all(min(abs(d - np.array(spacings))) < 1e-3 for d in ice.d_A)
    np.testing.assert_allclose(5.6402 / salt.d_A[:4], np.sqrt([3, 4, 8, 11]), rtol=3e-4)
    np.testing.assert_allclose(behenate.d_A, 58.380 / np.arange(1, 14))
    # the card of halite (5-628) has 13, 100, 55, 2 and 15 in copper radiation: m F^2 (1 + cos^2 2theta)/(sin^2 cos)
    theta = np.arcsin(1.5406 / (2 * salt.d_A[:5]))
    seen = salt.photons[:5] / salt.d_A[:5] * (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    np.testing.assert_allclose(100 * seen / seen.max(), [13, 100, 55, 2, 15], atol=6)


@pytest.mark.parametrize("given", [{}, {"preset": "ice", "rings": [{"d_A": 3, "intensity": 1}]}])
def test_a_powder_is_known_or_listed(small_experiment, given):
    with pytest.raises(ExperimentError, match=r"^background\.powder\.0: give preset or rings"):
        small_experiment(background={"powder": [{**given, "photons": 1.0}]})


EVERY = {
    "water_um": 20.0,
    "air": {"before_mm": 20.0, "width_um": WIDTH_UM},
    "powder": [{"preset": "ice", "photons": 1e3, "width_deg": 1.0}],
    "level_photons": 0.25,
}
SHADED = {
    "shadows": {"beam_stop": {"size_mm": 3.0, "distance_mm": 30.0, "edge_mm": 0.5}},
    "absorption": {"crystal": {"size_um": 200.0, "attenuation_length_um": 300.0}},
}


def test_tiles_have_the_bits_of_the_whole_panel(photons):
    whole = photons(EVERY, **SHADED)
    for tile in (Tile(0, 0, 1, 0, 80), Tile(0, 13, 70, 31, 64), Tile(0, 95, 96, 79, 80)):
        np.testing.assert_array_equal(photons(EVERY, tile, **SHADED), whole[tile.slices])


def test_each_panel_has_its_part_of_the_whole(small_experiment):
    def images(*panels):
        detector = {"convention": "xds", "panels": list(panels)}
        instrument = resolve(small_experiment(background=EVERY, detector=detector, **BASE, **SHADED)).instrument
        backgrounds = Backgrounds(instrument, NativeBackend(instrument))
        return [sum(backgrounds.of(number)) for number in range(len(panels))]

    panel = {"fpixels": 80, "pixel_size_mm": 0.8}
    [whole] = images({**panel, "spixels": 96, "origin_mm": [-32.0, -38.4, 100.0]})
    upper, lower = images(
        {**panel, "spixels": 40, "origin_mm": [-32.0, -38.4, 100.0]},
        {**panel, "spixels": 56, "origin_mm": [-32.0, -38.4 + 32.0, 100.0]},
    )
    np.testing.assert_allclose(np.concatenate([upper, lower]), whole, rtol=1e-10)


def test_what_is_worked_out_is_kept_and_zero_where_nothing_is_rendered(small_experiment, tmp_path):
    mask = np.zeros((96, 80), dtype=np.uint8)
    mask[5] = 1
    np.save(tmp_path / "mask.npy", mask)
    region = {"slow": [3, 50], "fast": [10, 70]}
    detector = {"region_of_interest": region, "mask_file": str(tmp_path / "mask.npy")}
    instrument = resolve(small_experiment(background=EVERY, detector=detector)).instrument
    backgrounds, pixel = Backgrounds(instrument, NativeBackend(instrument)), Tile(0, 20, 21, 30, 31)
    alone = backgrounds.within(pixel)
    found = backgrounds.of(0)
    for one, image in zip(alone, found, strict=True):
        np.testing.assert_array_equal(one, image[pixel.slices])
    assert found is backgrounds.of(0)
    for image in found:
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image > 0, instrument.panels[0].usable)


def test_an_image_and_a_level_are_added_as_they_are(small_experiment, tmp_path):
    image = np.random.default_rng(1).random((96, 80))
    np.save(tmp_path / "image.npy", image)
    background = {"image_file": str(tmp_path / "image.npy"), "level_photons": 2.5}
    instrument = resolve(small_experiment(background=background, **BASE)).instrument
    scattered, steady = Backgrounds(instrument, NativeBackend(instrument)).of(0)
    assert scattered is None
    np.testing.assert_array_equal(steady, image.astype(np.float32).astype(np.float64) + 2.5)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((80, 96)), r"holds float64 \(80, 96\), expected numbers of shape \(96, 80\) \(slow, fast\)"),
        (np.zeros((96, 80), dtype=bool), r"holds bool"),
        (np.full((96, 80), -1.0), r"has pixels of less than 0 photons, or of no number; mask them"),
        (np.full((96, 80), np.nan), r"has pixels of less than 0 photons"),
    ],
)
def test_an_image_that_is_none_of_the_detectors_is_refused(small_experiment, tmp_path, array, said):
    np.save(tmp_path / "image.npy", array)
    with pytest.raises(ExperimentError, match=r"^background\.image_file: .*" + said):
        resolve(small_experiment(background={"image_file": str(tmp_path / "image.npy")}))


def test_masked_pixels_and_gaps_of_an_image_may_hold_anything(small_experiment, tmp_path):
    image, mask = np.full((96, 80), 2.0), np.zeros((96, 80), dtype=np.uint8)
    mask[5], image[5], image[:, 30:50] = 1, np.nan, -1
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "mask.npy", mask)
    modules = {"spixels": 96, "fpixels": 30, "fast_gap_pixels": 20}
    experiment = small_experiment(
        panel={"modules": modules},
        detector={"mask_file": str(tmp_path / "mask.npy")},
        background={"image_file": str(tmp_path / "image.npy")},
        **BASE,
    )
    instrument = resolve(experiment).instrument
    _, steady = Backgrounds(instrument, NativeBackend(instrument)).of(0)
    np.testing.assert_array_equal(steady, 2.0 * instrument.panels[0].usable)
    image[0, 0] = -1
    np.save(tmp_path / "image.npy", image)
    with pytest.raises(
        ExperimentError, match=r"^background\.image_file: .* has pixels of less than 0 photons, .* mask them"
    ):
        resolve(experiment)


def test_a_curve_of_one_point_is_flat():
    np.testing.assert_array_equal(Curve.flat(3.0).at(np.array([0.0, 1.0, 9.0])), 3.0)


def slab(curve, bent=False):
    """A material with a curve of its own, which may fall from the beam on."""
    coherent = [(0.0, 30.0), (0.005, 8.0), (0.5, 3.0)] if bent else [(0.0, 8.0), (0.1, 7.0), (0.5, 3.0)]
    return {**WATER, "f_file": curve(*coherent), "compton_file": curve((0.0, 0.0), (0.5, 4.0), name="S")}


@pytest.mark.parametrize(
    ("sections", "panel", "bent"),
    [
        ({}, {"beam_center_mm": [9.0, 7.0]}, False),
        ({}, {"beam_center_mm": [-30.0, 80.0], "two_theta_deg": 20.0}, False),
        ({}, {"beam_center_mm": [11.0, 2.0], "two_theta_deg": 5.0, "rotation_deg": [3.0, 0.0, 40.0]}, False),
        ({}, {"beam_center_mm": [-12.9, 11.0]}, False),
        ({}, {"beam_center_mm": [-12.9, 11.0], "distance_mm": 120.0}, False),
        ({"beam": {"wavelength_A": 0.5}}, {"beam_center_mm": [-12.9, 11.0]}, True),
        ({}, {"beam_center_mm": [-20.0, 11.0], "rotation_deg": [0.0, 75.0, 0.0], "distance_mm": 320.0}, False),
        ({}, {"rotation_deg": [0.0, 170.0, 0.0]}, False),
        ({"detector": {"curved": True}}, {"beam_center_mm": [-12.9, 11.0]}, False),
    ],
)
def test_between_nodes_the_background_is_what_it_is_pixel_by_pixel(small_experiment, curve, sections, panel, bent):
    pixels = {"spixels": 230, "fpixels": 205, "pixel_size_mm": 0.1, "distance_mm": 80.0, **panel}
    air = {"before_mm": 90.0, "width_um": 50.0}
    background = {"water_um": 10.0, "air": air, "amorphous": [slab(curve, bent)]}
    sections = {**sections, "detector": {"pivot": "beam", **sections.get("detector", {})}}
    instrument = resolve(small_experiment(panel=pixels, background=background, **sections)).instrument
    backend = NativeBackend(instrument)
    exact, quick = (Backgrounds(instrument, backend, its).of(0).scattered for its in (False, True))
    apart = np.abs(exact.astype(np.float64) - quick)
    assert apart.any(), "or nothing was interpolated"
    assert (apart / exact).max() < 1e-5


def test_what_changes_quickly_is_not_interpolated(small_experiment):
    for sections in (
        {},  # 96 x 80 pixels of 0.8 mm at 100 mm: a pixel is a long way
        {
            "panel": {"pixel_size_mm": 0.1, "distance_mm": 80.0},
            "shadows": {"beam_stop": {"distance_mm": 20.0, "size_mm": 2.0}},
        },
    ):
        instrument = resolve(small_experiment(background={"water_um": 10.0}, **sections)).instrument
        backend = NativeBackend(instrument)
        images = [Backgrounds(instrument, backend, its).of(0).scattered for its in (False, True)]
        np.testing.assert_array_equal(*images)


def test_a_few_pixels_that_are_asked_for_first_lie_between_the_nodes_of_their_panel(small_experiment, curve):
    panel = {"spixels": 60, "fpixels": 50, "pixel_size_mm": 0.1, "distance_mm": 80.0, "beam_center_mm": [-60.0, 30.0]}
    instrument = resolve(small_experiment(panel=panel, background={"amorphous": [slab(curve)]})).instrument
    made = Backgrounds(instrument, NativeBackend(instrument), interpolates=True)
    few = Tile(0, 41, 44, 21, 27)
    first = made.within(few).scattered
    np.testing.assert_array_equal(first, made.of(0).scattered[few.slices])


def test_in_float64_nothing_is_interpolated(small_experiment, curve):
    panel = {"spixels": 60, "fpixels": 50, "pixel_size_mm": 0.1, "distance_mm": 80.0, "beam_center_mm": [-60.0, 30.0]}
    instrument = resolve(small_experiment(panel=panel, background={"amorphous": [slab(curve)]}, **BASE)).instrument
    backend = NativeBackend(instrument)
    images = [Backgrounds(instrument, backend, its).of(0).scattered for its in (False, True)]
    np.testing.assert_array_equal(*images)
