"""`nbdist init`, `check`, `plan` and `schema`: an experiment before it is run."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from atomic_models import write_model
from merged_files import CELL, unit, write_mtz


def test_init_writes_a_file_that_check_accepts(nbdist, tmp_path):
    file = tmp_path / "lysozyme.yaml"
    made = nbdist("init", "-o", file)
    assert made.code == 0
    assert f"nbdist check {file}" in made.out, "says what to do next"
    assert nbdist("check", file).out.startswith(f"{file}: valid")


def test_init_does_not_write_over_a_file_unasked(nbdist, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    refused = nbdist("init", "-o", file)
    assert (refused.code, refused.err) == (2, f"nbdist: {file} exists; --overwrite replaces it\n")
    assert file.read_text() == "mine"
    assert nbdist("init", "-o", file, "--overwrite").code == 0
    assert "structure_factors" in file.read_text()


def test_init_says_in_one_line_that_a_file_cannot_be_written(nbdist, tmp_path):
    refused = nbdist("init", "-o", tmp_path / "nowhere" / "a.yaml")
    assert refused.code == 2
    assert refused.err.count("\n") == 1


def test_check_says_what_follows_from_an_experiment(nbdist, write_experiment, tmp_path):
    file = write_experiment(
        tmp_path / "a.yaml",
        beam={
            "wavelength_A": 1.0,
            "fluence_photons_per_m2": None,
            "flux_photons_per_s": 1e12,
            "exposure_s": 0.1,
            "beam_size_mm": 0.05,
        },
        crystal={"mosaic_spread_deg": 0.1, "mosaic_domains": 3},
        sampling={"oversample": 2},
    )
    checked = nbdist("check", file)
    assert checked.code == 0
    for said in (
        "cell 40 45 50 A, 80 95 100 deg",
        "wavelength 1 A (12398.4 eV)",
        "fluence 4e+19 photons/m^2",  # 1e12 * 0.1 / (5e-5 m)^2
        "oversample 2",
        "steps 48 = 1 sources x 4 phi x 3 domains x 2^2 subpixels",
        "frames 3 of 0.5 deg",
        "phi 10 to 11.5 deg",
        "image 96 x 80 pixels",
        # the corner lies hypot(48, 40) * 0.8 mm off axis at 100 mm: 2 theta = 26.56 deg, d = 1 / (2 sin(theta)) = 2.18;
        # the nearest edge lies 40 * 0.8 = 32 mm off axis: 2 theta = 17.74 deg, d = 3.24
        "resolution 3.24 A at the nearest edge, 2.18 A at its finest",
    ):
        assert said in checked.out


def test_check_shows_what_is_asked_for_besides_the_crystals_photons(nbdist, write_experiment, tmp_path):
    powders = [{"preset": "ice", "photons": 1e5}, {"rings": [{"d_A": 4.0, "intensity": 1.0}], "photons": 20.0}]
    file = write_experiment(
        tmp_path / "a.yaml",
        background={"water_um": 30.0, "powder": powders},
        shadows={"beam_stop": {"size_mm": 3.0, "distance_mm": 60.0}},
        noise={"photon_noise": True},
    )
    out = nbdist("check", file).out
    for said in (
        "water_um 30",
        "powder.0 preset ice, photons 100000",
        "powder.1 rings d_A 4, intensity 1, photons 20",
        "beam_stop size_mm 3, distance_mm 60",
        "photon_noise yes",
    ):
        assert said in out
    assert "absorption" not in out
    assert "noise" not in nbdist("check", write_experiment(file, noise={"seed": 2})).out


def test_check_says_what_an_atomic_model_is(nbdist, write_experiment, tmp_path):
    write_model(tmp_path / "a.pdb")
    file = write_experiment(
        tmp_path / "a.yaml",
        crystal={"cell": [20.3, 24, 28, 90, 90, 90]},
        structure_factors={"kind": "model", "file": "a.pdb", "k_sol_e_per_A3": 0.4},
    )
    out = nbdist("check", file).out
    found = re.search(
        r"7 atoms in P 21 21 21, cell 20 24 28 90 90 90; ([\d,]+) electrons in it, (\d+) % solvent of 0\.4 e/A\^3", out
    )
    assert found
    share = int(found[2]) / 100
    atoms = 4 * (7 + 6 + 6 + 0.6 * 8 + 16 + 0.8 * 34 + 1)
    assert int(found[1].replace(",", "")) == pytest.approx(
        atoms + 0.4 * share * 20 * 24 * 28, abs=0.4 * 0.005 * 20 * 24 * 28 + 1
    )
    assert "f' f'' of Se -3.38 0.52 at 1 A" in out
    assert "note: structure_factors.file: " in out, "its cell is another than the crystal's"


def test_check_shows_normal_spreads(nbdist, write_experiment, tmp_path):
    file = write_experiment(
        tmp_path / "a.yaml",
        beam={"bandwidth_sigma": 0.003, "divergence_sigma_mrad": [1, 0.5], "spread_sources": 50},
        crystal={"mosaicity": {"sigma_deg": [0.1, 0.2, 0.3], "domains": 20}},
    )
    checked = nbdist("check", file).out
    for said in (
        "sources 50",
        "spectrum normal, 0.3 % rms",
        "divergence normal, 1 mrad rms along the polarization, 0.5 across",
        "mosaicity normal, 0.1 0.2 0.3 deg rms about a, c* x a, c*",
        "mosaic domains 20",
        "steps 4000 = 50 sources x 4 phi x 20 domains x 1^2 subpixels",
        # 0.886 * 2.176 / 320 rad = 0.345, and 2.3548 times 0.1, 0.0286 (0.5 mrad) and 0.172 * tan(13.3 deg) = 0.0406 degrees
        "rocking width 0.434 deg at 2.18 A, at the least",
    ):
        assert said in checked


def test_check_recommends_an_oversampling_that_resolves_the_spots(nbdist, write_experiment, tmp_path):
    # the small crystal is 8 * 40 = 320 A or less along each axis; 0.8 mm pixels at 100 mm need 3 * 320 / (1 * 100 / 0.8) = 7.7
    assert (
        "oversample 8 (auto)"
        in nbdist("check", write_experiment(tmp_path / "a.yaml", sampling={"oversample": "auto"})).out
    )
    assert "sampling.oversample: 8" in nbdist("check", write_experiment(tmp_path / "b.yaml")).out


def test_check_plan_and_run_say_the_same_notes(nbdist, write_experiment, tmp_path):
    stills = write_experiment(tmp_path / "a.yaml", scan={"osc_range_deg": 0.0, "phi_steps": 2})
    outputs = [nbdist("check", stills).raw, nbdist("plan", stills, "--device", "cpu").raw]
    ran = nbdist("run", stills, "-o", tmp_path / "a.zarr", "--serial", "--log-file", tmp_path / "log")
    assert ran.code == 0
    said = [[line for line in text.splitlines() if line.startswith("note: ")] for text in (*outputs, ran.err)]
    assert said[0] == said[1] == said[2]
    assert len(said[0]) == 3, "coarse subpixels, equal phi steps, equal frames"
    assert ran.err.startswith("note: "), "before anything is rendered"
    assert (tmp_path / "log").read_text().count(" note ") == 3
    assert "note: " not in nbdist("run", stills, "-o", tmp_path / "a.zarr", "--serial", "--resume").err, (
        "nothing is left"
    )


def test_the_automatic_number_of_phi_steps_is_shown(nbdist, write_experiment, tmp_path):
    file = write_experiment(tmp_path / "a.yaml", scan={"osc_range_deg": 2.0, "phi_steps": "auto"})
    assert "phi steps 18 (auto) a frame, midpoint" in nbdist("check", file).out
    assert "phi chunks 1 a frame, of 18 steps" in nbdist("plan", file, "--device", "cpu").out


def test_plan_counts_the_pieces(nbdist, write_experiment, tmp_path):
    file = write_experiment(tmp_path / "a.yaml", noise={"photon_noise": True})
    planned = nbdist(
        "plan", file, "--workers", 2, "--tile", "50,40", "--phi-chunk", 3, "--frames-per-shard", 2, "--device", "cpu"
    )
    assert planned.code == 0
    for said in (
        "steps 4 (photons are divided by it once)",
        "tiles 4 a frame, of 50 x 40 pixels",
        "phi chunks 2 a frame, of 3 steps",
        "units 2, of 2 frame(s)",
        "shards 4, inner chunks 1 x 96 x 80",
        "pixel-steps 30,720 a frame, 92,160 in all",  # 96 x 80 pixels x 4 orientations x 3 frames
        "size on disk about ",
        "memory about ",
        "on 2 cpu worker(s)",
    ):
        assert said in planned.out
    assert not list(tmp_path.glob("*.zarr")), "planning writes nothing"


def test_plan_warns_of_units_that_are_too_short_or_too_long(nbdist, write_experiment, tmp_path):
    light = write_experiment(tmp_path / "light.yaml", scan={"frames": 100_000})
    planned = nbdist("plan", light, "--workers", 2, "--device", "cpu", "--frames-per-shard", 1)
    assert "units 100000, of 1 frame(s)" in planned.out
    assert "more --frames-per-shard makes fewer and larger files" in planned.out
    assert re.search(r"[1-9]\S* ms a frame", planned.out)
    few = write_experiment(tmp_path / "few.yaml", scan={"frames": 4})
    assert "warning" not in nbdist("plan", few, "--workers", 2, "--device", "cpu", "--frames-per-shard", 1).out
    heavy = write_experiment(
        tmp_path / "heavy.yaml",
        # 4e6 pixels x 60 steps x 1000 domains: 960 s a frame at 2.5e8 pixel-steps/s
        detector={"panels": [{"spixels": 2000, "fpixels": 2000, "pixel_size_mm": 0.05, "distance_mm": 100}]},
        scan={"frames": 1000, "phi_steps": 60},
        crystal={"mosaic_spread_deg": 0.2, "mosaic_domains": 1000},
    )
    planned = nbdist("plan", heavy, "--workers", 2, "--device", "cpu", "--frames-per-shard", 1)
    assert re.search(r"warning a unit takes 1\d min \d+ s, which is lost when its worker is", planned.out)
    planned = nbdist("plan", heavy, "--workers", 2, "--device", "cpu", "--frames-per-shard", 2)
    assert "when its worker is: fewer --frames-per-shard would make it shorter" in planned.out
    quiet = nbdist("plan", light, "--workers", 2, "--device", "cpu", "--frames-per-shard", 100_000)
    assert "warning" not in quiet.out


@pytest.mark.parametrize("tile", ["0,5", "5", "a,b", "5,5,5", "-1,5"])
def test_a_tile_that_is_none_is_refused(tile, nbdist, experiment_file):
    refused = nbdist("plan", experiment_file, f"--tile={tile}")
    assert (refused.code, refused.err) == (2, f"nbdist: --tile {tile}: expected ROWS,COLS above 0\n")


def test_schema_is_json_that_knows_the_sections(nbdist):
    schema = json.loads(nbdist("schema").raw)
    assert {"beam", "crystal", "scan", "detector", "structure_factors", "sampling"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False
    assert schema["oneOf"] == [{"required": ["crystal"]}, {"required": ["crystals"]}]


def test_version_is_that_of_the_package(nbdist):
    import nbdist as package

    assert nbdist("--version").out == f"nbdist {package.__version__}"


def test_detectors_lists_those_that_an_experiment_may_name(nbdist, write_experiment, tmp_path):
    listed = nbdist("detectors").out
    assert "Eiger2 16M 4362 x 4148 0.075 8 x 4 38, 12 Si, 450 um photons 65,533" in listed
    assert "Mar 225 3072 x 3072 0.0732422 1 x 1 - phosphor charge 65,535" in listed
    assert "Eiger2 16M: Donath et al. (2023)" in listed
    assert "joints chips of 97 x 60 pixels, 1.5 pitches wide" in nbdist("detectors", "pilatus_2m").out
    [figures] = json.loads(nbdist("detectors", "EIGER2 X 16M", "--json").raw)["detectors"]
    assert (figures["name"], figures["shape"], figures["gaps"]) == ("Eiger2 16M", [4362, 4148], [38, 12])
    refused = nbdist("detectors", "Eiger3")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    file = write_experiment(tmp_path / "a.yaml", detector={"panels": [{}], "name": "timepix 512", "distance_mm": 90})
    assert "name Timepix 512 image 516 x 516 pixels (slow x fast), 4,112 not rendered" in nbdist("check", file).out


def test_check_plan_and_run_refuse_a_file_that_is_no_point_spread(nbdist, write_experiment, tmp_path):
    np.save(tmp_path / "even.npy", np.ones((2, 2)))
    spread = {"kind": "image", "file": str(tmp_path / "even.npy"), "pixel_size_mm": 0.1}
    file = write_experiment(tmp_path / "a.yaml", readout={"point_spread": spread})
    for command in (["check", file], ["plan", file], ["run", file, "-o", tmp_path / "a.zarr", "--serial"]):
        refused = nbdist(*command)
        assert refused.code == 2
        assert "readout.point_spread.file:" in " ".join(refused.err.split())
    assert not (tmp_path / "a.zarr").exists()


def test_check_says_what_was_read_of_a_reflection_file_and_how_its_domains_are_twinned(
    nbdist, write_experiment, tmp_path
):
    hkl = unit("P 41", d_A=2.0)
    write_mtz(tmp_path / "a.mtz", {"F": np.ones(len(hkl)), "I": np.ones(len(hkl))}, hkl, "P 41")
    file = write_experiment(
        tmp_path / "a.yaml",
        crystal={"cell": list(CELL), "twin": [{"law": "k,h,-l", "fraction": 0.25}]},
        structure_factors={"kind": "file", "file": "a.mtz"},
        sampling={"d_min_A": 2.5},
    )
    out = " ".join(nbdist("check", file).out.split())
    for said in (
        "space group P 41",
        "weight 0.75",
        "F of a.mtz; there are also I",
        "crystal.twin.0",
        "law k,h,-l",
        "fraction 0.25",
    ):
        assert said in out
    assert re.search(r"completeness 100\.0 % of the [\d,]+ reflections to the detector's corner at 2\.5 A", out)
