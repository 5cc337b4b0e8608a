"""What an experiment probably does not mean is said in one line, and nothing is said of one that means what it says."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import yaml

from nbdist.cli.demo import DEMO
from nbdist.experiment import validate
from nbdist.experiment.lattice import reciprocal_from_cell
from nbdist.experiment.template import TEMPLATE
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.completeness import lattice_points
from nbdist.scene.notes import notes

CELL = (40.0, 50.0, 60.0, 90.0, 90.0, 90.0)
PLAIN = {
    "beam": {"wavelength_A": 1.0, "fluence_photons_per_m2": 1e24},
    "crystal": {"cell": CELL, "N_cells": (5, 5, 5)},
    "scan": {"frames": 3, "osc_range_deg": 0.5},
    "detector": {
        "convention": "xds",
        "panels": [{"spixels": 64, "fpixels": 80, "pixel_size_mm": 0.5, "distance_mm": 100}],
    },
    "structure_factors": {"kind": "uniform", "F": 100},
    "sampling": {"oversample": 5},
}
EDGE_A = 3.99874
"""Of PLAIN's farthest corner: hypot(16, 20) mm off axis at 100 mm, 1 / (2 sin(atan(0.25612) / 2)) A."""


def said(**sections):
    """Notes on PLAIN with fields of some sections replaced; a section with a `kind` is replaced whole."""
    content = {name: dict(fields) for name, fields in PLAIN.items()}
    for name, fields in sections.items():
        content[name] = fields if "kind" in fields else {**content.get(name, {}), **fields}
    content["crystal"] = {name: value for name, value in content["crystal"].items() if value is not None}
    scene = resolve(validate(content))
    lines = notes(scene, load_reflections(scene))
    assert all("\n" not in line for line in lines)
    return lines


def only(lines):
    (line,) = lines
    return line


def test_nothing_is_said_of_a_plain_experiment_the_template_and_the_demo():
    assert said() == []
    for content in (yaml.safe_load(TEMPLATE), DEMO):
        scene = resolve(validate(content))
        assert notes(scene, load_reflections(scene)) == []


def test_a_distance_in_metres_is_named():
    (panel,) = PLAIN["detector"]["panels"]
    lines = said(detector={"panels": [{**panel, "pixel_size_mm": 1e-3, "distance_mm": 0.2}]})
    assert "detector.panels.0: a distance of 0.2 mm; distance_mm is in millimetres, not in metres" in lines


@pytest.mark.parametrize(
    ("field", "value"), [("close_distance_mm", 0.2), ("origin_mm", (-0.04, 0.03, 0.1))], ids=["close", "origin"]
)
def test_other_distances_in_metres_are_named(field, value):
    (panel,) = PLAIN["detector"]["panels"]
    panel = {name: its for name, its in panel.items() if name != "distance_mm"} | {"pixel_size_mm": 1e-3}
    (line,) = [line for line in said(detector={"panels": [panel | {field: value}]}) if "a distance of" in line]
    assert line.endswith(f"{field} is in millimetres, not in metres")
    far = value * 1000 if field == "close_distance_mm" else tuple(1000 * each for each in value)
    assert not any("a distance of" in line for line in said(detector={"panels": [panel | {field: far}]}))


def test_a_sensor_that_captures_almost_nothing_is_named():
    def panel(thickness_um, depth_um=254.5):
        sensor = {"thickness_um": thickness_um, "attenuation_depth_um": depth_um, "layers": 1}
        return {"panels": [PLAIN["detector"]["panels"][0] | {"sensor": sensor}]}

    assert "detector.panels.0: its sensor captures 3.9e-06 of the photons" in only(said(detector=panel(0.001)))
    assert said(detector=panel(2.6)) == []  # 1 - exp(-2.6 / 254.5) = 1.02 %
    assert only(said(detector=panel(2.5)))
    assert said(detector=panel(0.001, depth_um=None)) == []  # in which every photon is counted


# ---- lists of reflections


def sphere(d_A=EDGE_A, keep=lambda h, k, l: True):
    """Reflections of CELL to a resolution, one by one."""
    limits = [range(-int(axis / d_A), int(axis / d_A) + 1) for axis in CELL[:3]]
    within = [
        hkl
        for hkl in product(*limits)
        if 0 < sum((n / axis) ** 2 for n, axis in zip(hkl, CELL, strict=False)) <= d_A**-2
    ]
    return [hkl for hkl in within if keep(*hkl)]


@pytest.fixture
def listed(tmp_path):
    """`listed(reflections, **sections)`: notes on PLAIN with a list of them."""

    def write(reflections, default_F=0, **sections):
        path = tmp_path / "a.hkl"
        path.write_text("".join(f"{h} {k} {l} 10\n" for h, k, l in reflections))
        return said(structure_factors={"kind": "file", "file": path, "default_F": default_F}, **sections)

    return write


def test_a_list_of_the_whole_sphere_is_well(listed):
    assert listed([(0, 0, 0), *sphere()]) == []
    assert listed(sphere(3.5)) == [], "more than the detector sees"
    assert listed(sphere(d_A=8), sampling={"d_min_A": 8.0}) == [], "no more is asked for"


def test_an_asymmetric_unit_is_said_with_its_share_and_its_missing_mates(listed):
    line = only(listed(sphere(keep=lambda h, k, l: min(h, k, l) >= 0)))
    share = len(sphere(keep=lambda h, k, l: min(h, k, l) >= 0)) / len(sphere())
    assert f"lists {100 * share:.0f} % of the reflections to the detector's edge at 4 A" in line
    assert "the Friedel mates of 100 % of these are missing" in line


def test_a_hemisphere_lacks_its_mates(listed):
    line = only(listed(sphere(keep=lambda h, k, l: (h, k, l) > (0, 0, 0))))
    assert "lists 50 %" in line
    assert "Friedel mates of 100 %" in line


def test_mates_that_a_nearly_whole_list_lacks_are_said(listed):
    line = only(listed(sphere(keep=lambda h, k, l: (h, k, l) > (0, 0, 0) or (h + 2 * k + 5 * l) % 8)))
    assert "lists 94 %" in line
    assert "Friedel mates of 7 %" in line
    assert listed(sphere(keep=lambda h, k, l: (h, k, l) > (0, 0, 0) or (h + 2 * k + 5 * l) % 32)) == []


def test_the_absences_of_a_centred_cell_are_no_missing_mates(listed):
    line = only(listed(sphere(keep=lambda h, k, l: (h + k) % 2 == 0)))
    share = len(sphere(keep=lambda h, k, l: (h + k) % 2 == 0)) / len(sphere())
    assert f"lists {100 * share:.0f} %" in line
    assert "mates" not in line


def test_a_list_that_ends_before_the_detector_says_where(listed):
    line = only(listed(sphere(d_A=8)))
    assert "none beyond 8" in line
    assert "mates" not in line


def test_reflections_given_twice_are_counted_once(listed):
    half = sphere(keep=lambda h, k, l: (h, k, l) > (0, 0, 0))
    assert "lists 50 %" in only(listed(half * 2))


def test_an_amplitude_for_all_others_makes_any_list_whole(listed):
    assert listed([(1, 2, 3)], default_F=5) == []


@pytest.mark.parametrize("cell", [(7, 9, 11, 90, 90, 90), (9, 8, 7, 70, 95, 115)])
def test_lattice_points_are_counted_as_one_by_one(cell):
    reciprocal, radius = reciprocal_from_cell(cell), 1 / 1.3
    grid = np.array(list(product(range(-12, 13), repeat=3)))
    inside = np.linalg.norm(grid @ reciprocal, axis=1) <= radius
    assert np.abs(grid[inside]).max() < 12
    assert lattice_points(reciprocal, radius) == inside.sum() - 1


def test_lattice_points_beyond_count_are_estimated_by_volume(monkeypatch):
    reciprocal = reciprocal_from_cell((40, 45, 50, 80, 95, 100))
    counted = lattice_points(reciprocal, 1.0)
    monkeypatch.setattr("nbdist.scene.completeness.MOST_ROWS_COUNTED", 100)
    assert lattice_points(reciprocal, 1.0) == pytest.approx(counted, rel=1e-3)


# ---- matrices and units


@pytest.fixture
def matrix(tmp_path):
    """`matrix(wavelength_A, rest)`: a MOSFLM file of CELL's matrix times a wavelength, with the lines that follow."""

    def write(wavelength_A=1.0, rest="", mirror=1):
        a = (reciprocal_from_cell(CELL) * [[1], [1], [mirror]]).T * wavelength_A
        path = tmp_path / "A.mat"
        path.write_text("".join(" ".join(f"{x:.8f}" for x in row) + "\n" for row in a) + rest)
        return {"cell": None, "matrix_file": path}

    return write


TAIL = "   0.000   0.000   0.000\n 1.0 0.0 0.0\n 0.0 1.0 0.0\n 0.0 0.0 1.0\n  {}\n   0.000   0.000   0.000\nSYMM P222\n"


def test_a_matrix_file_that_agrees_with_its_cell_or_says_none_is_well(matrix):
    assert said(crystal=matrix()) == []
    assert said(crystal=matrix(1.0, TAIL.format("40.0000 50.0000 60.0000 90.0000 90.0000 90.0000"))) == []
    assert said(crystal=matrix(1.0, TAIL.format("40.1 50.1 60.1 90.1 90 90"))) == [], "as after a refinement"


def test_a_matrix_at_another_wavelength_than_the_beams_is_said_with_the_one_it_fits(matrix):
    line = only(said(crystal=matrix(1.2, TAIL.format("40 50 60 90 90 90"))))
    assert "says a cell of 40 50 60 90 90 90" in line
    assert "33.333 41.667 50" in line
    assert "it fits a wavelength of 1.2 A" in line


def test_a_matrix_of_another_cell_is_said(matrix):
    line = only(said(crystal=matrix(1.0, TAIL.format("40 50 78 90 90 90"))))
    assert "fits" not in line
    assert "says a cell of 40 50 60 90 92 90" in only(said(crystal=matrix(1.0, TAIL.format("40 50 60 90 92 90"))))


def test_a_left_handed_matrix_is_said_and_a_right_handed_one_not(matrix):
    assert "crystal.matrix_file: its vectors are left-handed" in only(said(crystal=matrix(mirror=-1)))
    vectors = reciprocal_from_cell(CELL)
    assert said(crystal={"cell": None, "reciprocal_vectors_per_A": vectors.tolist()}) == []
    swapped = said(crystal={"cell": None, "reciprocal_vectors_per_A": vectors[[1, 0, 2]].tolist()})
    assert "crystal.reciprocal_vectors_per_A: its vectors are left-handed" in only(swapped)


@pytest.mark.parametrize(
    ("beam", "odd"),
    [
        ({"wavelength_A": 1e-10}, True),
        ({"wavelength_A": None, "energy_eV": 12.4}, True),
        ({"wavelength_A": 0.02}, False),
    ],
)
def test_a_wavelength_in_another_unit_is_said(beam, odd):
    lines = said(
        beam=beam, sampling={"oversample": 100_000}, crystal={"cell": [axis * 1e-3 for axis in CELL[:3]] + [90] * 3}
    )
    assert any("wavelength of" in line for line in lines) == odd


def test_wavelengths_of_sources_in_another_unit_are_said(tmp_path):
    (tmp_path / "sources.txt").write_text("0 0 -10 1 1.0\n")
    line = said(beam={"source_file": tmp_path / "sources.txt"})[0]
    assert "a wavelength of 1e+10 A" in line
    (tmp_path / "sources.txt").write_text("0 0 -10 1 1.0e-10\n")
    assert said(beam={"source_file": tmp_path / "sources.txt"}) == []


def test_a_cell_shorter_than_an_atom_is_said():
    assert "a cell axis of 0.4 A" in only(said(crystal={"cell": (0.4, 5, 6, 90, 90, 90), "N_cells": (10, 10, 10)}))
    assert said(crystal={"cell": (1.1, 5, 6, 90, 90, 90), "N_cells": (10, 10, 10)}) == []


# ---- sampling

LARGE = {"crystal": {"N_cells": (300, 300, 300)}, "sampling": {"oversample": 270}}
"""18,000 A along c: reflections at 4 A are 0.886 * 4 / 18000 rad = 0.0113 degrees wide."""


def test_phi_steps_wider_than_a_reflection_are_said_with_the_number_that_is_right():
    line = only(said(**LARGE))
    assert "phi steps of 0.5 deg are wider than reflections rock, 0.011 deg at 4 A" in line
    # 3 * 0.5 / 0.01128
    assert "scan.phi_steps: 134 (or auto)" in line
    assert said(scan={"phi_steps": 134}, **LARGE) == []
    assert said(scan={"phi_steps": "auto"}, **LARGE) == []
    assert said(scan={"osc_range_deg": 0.01}, **LARGE) == []
    assert said(scan={"osc_range_deg": 0.0, "frames": 1}, **LARGE) == [], "a still samples no rotation"


def test_what_the_image_loses_is_what_the_note_says():
    # one reflection at 4 A that rocks at right angles to the spindle, somewhere in the frame: its mean over the steps
    size, q = 18_000.0, 0.25

    def photons(steps):
        phi = (np.arange(steps) + 0.5) / steps * np.deg2rad(0.5) - np.deg2rad(0.11)
        return np.sinc(size * q * phi) ** 2 @ np.ones(steps) / steps

    right = photons(100_000)
    assert photons(134) == pytest.approx(right, rel=0.02)
    assert photons(45) == pytest.approx(right, rel=0.02)
    assert not 0.3 < photons(10) / right < 1.7


def test_many_domains_widen_a_reflection_and_few_do_not():
    few = said(
        scan={"phi_steps": 20},
        sampling=LARGE["sampling"],
        crystal={**LARGE["crystal"], "mosaic_spread_deg": 1.0, "mosaic_domains": 10},
    )
    assert "phi steps" in only(few)
    many = {**LARGE["crystal"], "mosaic_spread_deg": 1.0, "mosaic_domains": 300}
    assert said(scan={"phi_steps": 20}, sampling=LARGE["sampling"], crystal=many) == []


def test_coarse_subpixels_and_domains_of_nobodys_choice_are_said():
    assert "sampling.oversample: 5 (or auto)" in only(said(sampling={"oversample": 4}))
    assert "without mosaic_domains: 10" in only(said(crystal={"mosaic_spread_deg": 0.1}))


def test_domains_too_few_for_a_normal_mosaicity_are_said_with_a_number_that_is_enough():
    def few(domains, **scan):
        crystal = {**LARGE["crystal"], "mosaicity": {"sigma_deg": 0.1, "domains": domains}, "shape": "gauss"}
        return said(scan={"frames": 1, **scan}, sampling=LARGE["sampling"], crystal=crystal)

    # a spot of 0.934 * 4 A / 18000 A = 0.0119 degrees in a mosaicity of 0.2355 degrees: 20 widths each way, 10 points in each
    assert "mosaicity.domains: 4000" in only(few(100, osc_range_deg=0.0))
    assert few(4000, osc_range_deg=0.0) == []
    # and other domains in each of the 40 phi steps over which it rocks, of those 85
    line = only(few(10, osc_range_deg=0.5, phi_steps=85))
    assert line.startswith("crystal.mosaicity: 10 domains are too few for spots 0.012 deg wide at 4 A")


def test_phi_steps_of_a_still_are_no_longer_alike_where_each_has_domains_of_its_own():
    still = {"osc_range_deg": 0.0, "frames": 1, "phi_steps": 2}
    assert said(scan=still, crystal={"mosaicity": {"sigma_deg": 0.1}}) == []


def test_sources_too_few_for_a_normal_spectrum_and_divergence_are_said():
    # spots of 0.886 * 4 A / 18000 A = 1.97e-4: a spectrum of 2.3548e-3 makes them hypot(1, 11.96) times as wide, ten points in each
    line = only(said(**LARGE, beam={"bandwidth_sigma": 1e-3, "spread_sources": 100}, scan={"osc_range_deg": 0.01}))
    assert "beam.spread_sources: 130" in line
    enough = {"bandwidth_sigma": 1e-3, "spread_sources": 130}
    assert said(**LARGE, beam=enough, scan={"osc_range_deg": 0.01}) == []
    line = only(said(**LARGE, beam={"divergence_sigma_mrad": 1, "spread_sources": 100}, scan={"osc_range_deg": 0.01}))
    assert "beam.spread_sources: 1500" in line


def test_stills_that_are_all_alike_are_said():
    assert "the 3 frames are all alike" in only(said(scan={"osc_range_deg": 0.0}))
    assert "in nothing but their noise" in only(said(scan={"osc_range_deg": 0.0}, noise={"photon_noise": True}))
    assert said(scan={"osc_range_deg": 0.0, "frames": 1}) == []
    assert "all phi steps" in only(said(scan={"osc_range_deg": 0.0, "frames": 1, "phi_steps": 2}))
