"""`nbdist trace`: the files it writes, the table it prints, and where two chains part."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended, run_command

from nbdist.experiment.files import experiment_to_yaml, load_experiment
from nbdist.run.simulate import simulate_frame


@pytest.fixture
def nbdist(tmp_path, monkeypatch, capsys, small_experiment) -> Callable[[str], Ended]:
    """Run a command line in a folder with `e.yaml`, and `c.yaml` that carries phi 0 over."""
    monkeypatch.chdir(tmp_path)
    left = {"phi_start_deg": 0.0, "phi_rule": "left"}
    Path("e.yaml").write_text(experiment_to_yaml(small_experiment(scan=left)))
    Path("c.yaml").write_text(experiment_to_yaml(small_experiment(scan={**left, "phi_zero_carryover": True})))

    def call(line: str) -> Ended:
        return run_command(line.split(), monkeypatch, capsys)

    return call


def final(log: str = "trace/trace.log") -> float:
    found = re.search(r"^I_pixel_final (\S+)$", Path(log).read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_three_files_are_written_and_the_chain_is_printed(nbdist, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    ended = nbdist("trace e.yaml --pixel 20 30")
    assert ended.status == 0, ended.err
    vectors = [line.split() for line in ended.out.splitlines() if line.startswith("  pix0_vector_m ")]
    assert len(vectors[0]) == 4, "no line is broken where nobody watches"
    assert sorted(path.name for path in Path("trace").iterdir()) == [
        "config_snapshot.json",
        "environment.json",
        "trace.log",
    ]
    for key in ("pix0_vector_m", "hkl_frac", "F_cell", "I_pixel_final"):
        assert key in ended.out
    log = Path("trace/trace.log").read_text().splitlines()
    assert all(re.fullmatch(r"\w+( -?[\d.e+-]+)+|note .+", line) for line in log)
    assert sum(line.startswith("hkl_frac ") for line in log) == 4
    image = simulate_frame(load_experiment("e.yaml").with_changes(sampling={"precision": "float64"}), kernel="eager")
    # the log has 15 digits
    assert final() == pytest.approx(image[20, 30], rel=1e-13)


def test_the_snapshot_and_the_environment_say_what_was_traced(nbdist):
    nbdist("trace e.yaml --pixel 20 30 --frame 2 --precision float32 -o t")
    snapshot = json.loads(Path("t/config_snapshot.json").read_text())
    assert list(snapshot)[:5] == ["crystal", "detector", "beam", "scan", "sampling"]
    assert snapshot["crystal"]["N_cells"] == [8, 7, 6]
    about = json.loads(Path("t/environment.json").read_text())
    assert (about["pixel"], about["frame"], about["device"], about["precision"]) == ([20, 30], 2, "cpu", "float32")
    assert set(about["versions"]) == {"nbdist", "torch", "numpy"}
    assert about["threads"] >= 1
    assert about["platform"]


def test_the_same_chain_agrees_with_itself(nbdist):
    nbdist("trace e.yaml --pixel 20 30 -o a")
    ended = nbdist("trace e.yaml --pixel 20 30 -o b --against a/trace.log")
    assert ended.status == 0
    assert "agree within 1e-09" in ended.out
    assert "*" not in ended.out


def test_the_first_factor_that_differs_is_named(nbdist):
    nbdist("trace e.yaml --pixel 20 30 -o a")
    out = nbdist("trace c.yaml --pixel 20 30 -o b --against a/trace.log").out
    # at phi 0 the crystal is turned as in the last step, and so are its axes
    assert "first difference: rot_a_A:" in out
    assert re.search(r"hkl_frac \[0 0\] .* \*$", out, re.MULTILINE)
    assert re.search(r"hkl_frac \[1 0\] .*0\.00e\+00$", out, re.MULTILINE)
    again = nbdist("trace -o b --against a/trace.log")
    assert "first difference: rot_a_A:" in again.out


def test_nanobraggs_own_lines_are_read(nbdist):
    nbdist("trace e.yaml --pixel 20 30 -o a")
    log = [
        line
        for line in Path("a/trace.log").read_text().splitlines()
        if not line.startswith(("note", "phi_", "mosaic_domain"))
    ]
    foreign = [f"TRACE_C: {re.sub('^F_cell .*', 'F_cell 1.5', line)}" for line in log]
    Path("c.log").write_text(
        "\n".join(["nanoBragg nanocrystal diffraction simulator", "phi0 = 0", *foreign, "max_I = 3"])
    )
    out = nbdist("trace e.yaml --pixel 20 30 --against c.log").out
    assert "first difference: F_cell (phi_step 0, mosaic_domain 0): " in out
    assert "1.5 in c.log" in out


def test_the_carry_over_is_for_the_trace_alone(nbdist):
    assert nbdist("trace c.yaml --pixel 20 30").status == 0
    ended = nbdist("run c.yaml -o series.zarr --serial --kernel eager")
    assert ended.status == 2
    assert "scan.phi_zero_carryover" in ended.err
    assert not Path("series.zarr").exists()


def test_subpixels_are_listed_on_request(nbdist, small_experiment):
    Path("o.yaml").write_text(experiment_to_yaml(small_experiment(sampling={"oversample": 2})))
    nbdist("trace o.yaml --pixel 20 30 -o a --subpixels")
    listed = [line for line in Path("a/trace.log").read_text().splitlines() if line.startswith("subpixel ")]
    assert listed == ["subpixel 0 0", "subpixel 0 1", "subpixel 1 0", "subpixel 1 1"]
    assert "2 x 2 subpixels" in nbdist("trace o.yaml --pixel 20 30").out


def test_domains_of_a_normal_mosaicity_can_be_listed_and_add_up(nbdist, small_experiment, make_renderer):
    experiment = small_experiment(
        crystal={"mosaicity": {"sigma_deg": 0.5, "domains": 3}}, sampling={"precision": "float64"}
    )
    Path("m.yaml").write_text(experiment_to_yaml(experiment))
    assert nbdist("trace m.yaml --pixel 20 30 -o m --mosaic 2").status == 0
    lines = Path("m/trace.log").read_text().splitlines()
    assert [line for line in lines if line.startswith("mosaic_domain ")] == ["mosaic_domain 2"] * 4
    (photons,) = (float(line.split()[1]) for line in lines if line.startswith("I_pixel_final "))
    assert photons == pytest.approx(make_renderer(experiment).frame(0)[20, 30], rel=1e-12)
    assert "mosaic 3 lies outside 0:3" in nbdist("trace m.yaml --pixel 20 30 --mosaic 3").err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("e.yaml --pixel 96 0", "pixel 96 0 lies outside the image of 96 x 80 pixels"),
        ("e.yaml --pixel 0 0 --frame 3", "frame 3 lies outside 0:3"),
        ("e.yaml --pixel 0 0 --panel 1", "panel 1 lies outside 0:1"),
        ("e.yaml --pixel 0 0 --lattice 1", "lattice 1 lies outside 0:1"),
        ("e.yaml --pixel 0 0 --source 1", "source 1 lies outside 0:1"),
        ("e.yaml --pixel 0 0 --mosaic 1", "mosaic 1 lies outside 0:1"),
        ("e.yaml", "--pixel SLOW FAST is needed"),
        ("", "needs an EXPERIMENT"),
        ("none.yaml --pixel 0 0", "none.yaml cannot be read"),
        ("e.yaml --pixel 0 0 --against none.log", "none.log does not exist"),
        ("e.yaml --pixel 0 0 --against e.yaml -o e.yaml", "e.yaml"),
    ],
)
def test_a_mistake_is_said_in_one_line(nbdist, line, said):
    ended = nbdist(f"trace {line}")
    assert ended.status == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_a_file_without_a_trace_is_named(nbdist):
    Path("empty.log").write_text("note nothing\nhello there\n")
    ended = nbdist("trace e.yaml --pixel 0 0 --against empty.log")
    assert (ended.status, "empty.log holds no trace" in ended.err) == (2, True)
