"""Wrong input is answered in one line that names the field or file, with exit status 2, and nothing is written."""

from __future__ import annotations

import os
import subprocess

import pytest
import typer
import zarr
from packaging.version import Version

from nbdist.cli import main
from nbdist.errors import ExperimentError

SERIAL = ("--serial",)
PANEL = {"spixels": 96, "fpixels": 80, "pixel_size_mm": 0.8, "distance_mm": 100}


def _panel(**changes):
    return {"detector": {"panels": [{**PANEL, **changes}]}}


SECTIONS = {
    "an unknown field": ({"beam": {"wavelenth_A": 1.0}}, ["beam.wavelenth_A", "unknown field"]),
    "an unknown section": ({"goniometer": {"kappa": 1.0}}, ["goniometer", "unknown field"]),
    "a wavelength of 0": ({"beam": {"wavelength_A": 0}}, ["beam.wavelength_A", "greater than 0", "found 0"]),
    "a wavelength that is text": ({"beam": {"wavelength_A": "1 A"}}, ["beam.wavelength_A", "1 A"]),
    "a negative distance": (_panel(distance_mm=-100), ["detector.panels.0.distance_mm", "greater than 0", "-100"]),
    "no pixels": (_panel(spixels=0), ["detector.panels.0.spixels", "found 0"]),
    "a region outside the detector": (
        {"detector": {"region_of_interest": {"slow": [0, 97], "fast": [0, 80]}}},
        ["region_of_interest", "lies outside the detector of 96 x 80 pixels"],
    ),
    "no frames": ({"scan": {"frames": 0}}, ["scan.frames", "found 0"]),
    "no amplitudes": ({"structure_factors": None}, ["structure_factors"]),
    "a missing hkl file": (
        {"structure_factors": {"kind": "file", "file": "missing.hkl"}},
        ["structure_factors.file: ", "missing.hkl", "does not exist"],
    ),
    "a missing MTZ file": (
        {"structure_factors": {"kind": "file", "file": "missing.mtz"}},
        ["structure_factors.file: ", "missing.mtz", "does not exist"],
    ),
    "a missing model": (
        {"structure_factors": {"kind": "model", "file": "missing.pdb"}},
        ["structure_factors.file: ", "missing.pdb", "does not exist"],
    ),
    "a missing matrix": (
        {"crystal": {"cell": None, "matrix_file": "missing.mat"}},
        ["crystal.matrix_file: ", "missing.mat", "does not exist"],
    ),
    "a missing list of sources": (
        {"beam": {"source_file": "missing.txt"}},
        ["beam.source_file: ", "missing.txt", "does not exist"],
    ),
    "a missing curve": (
        {
            "background": {
                "amorphous": [
                    {"f_file": "missing.stol", "thickness_um": 1, "width_um": 1}
                    | {"density_g_per_cm3": 1, "molecular_weight_g_per_mol": 1}
                ]
            }
        },
        ["background.amorphous.0.f_file: ", "missing.stol", "does not exist"],
    ),
    "a panel through the sample": (_panel(origin_mm=[0, 1, 0]), ["detector.panels.0: ", "contains the sample"]),
    "a variable that is not set": (
        {"structure_factors": {"kind": "file", "file": "$NBDIST_NOT_SET/a.hkl"}},
        ["structure_factors.file", "NBDIST_NOT_SET", "not set"],
    ),
}


@pytest.fixture
def refused(nbdist, tmp_path):
    """Run something that is to fail; check that it does so in one line without a trace, and return the line."""

    def run(*arguments, command="run"):
        before = sorted(tmp_path.rglob("*"))
        output = ("-o", tmp_path / "out.zarr", *SERIAL) if command == "run" else ()
        ended = nbdist(command, *arguments, *output)
        assert ended.code == 2
        assert ended.err.startswith("nbdist: ")
        assert ended.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before, "nothing is half-written"
        return ended.err

    return run


@pytest.mark.parametrize("command", ["run", "check", "plan"])
@pytest.mark.parametrize("name", SECTIONS)
def test_a_wrong_experiment_is_answered_with_the_field(name, command, refused, write_experiment, tmp_path):
    sections, said = SECTIONS[name]
    file = write_experiment(tmp_path / "wrong.yaml", **sections)
    answer = refused(file, command=command)
    assert answer.startswith(f"nbdist: {file}: ")
    for word in said:
        assert word in answer


def test_what_is_wrong_with_an_experiment_is_said_with_its_file_by_every_command_that_takes_one(
    nbdist, write_experiment, tmp_path
):
    file = write_experiment(tmp_path / "wrong.yaml", structure_factors={"kind": "file", "file": "missing.hkl"})
    for words in (("compare", file, file), ("trace", file, "--pixel", "1", "1")):
        ended = nbdist(*words, "-o", tmp_path / "out")
        assert ended.code == 2
        assert ended.err.startswith(f"nbdist: {file}: structure_factors.file: ")
        assert ended.err.count(str(file)) == 1


def test_a_name_with_a_line_break_is_said_in_one_line(refused, tmp_path):
    assert "two\\nlines.yaml cannot be read" in refused(tmp_path / "two\nlines.yaml", command="check")


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_bad_line_of_an_hkl_file_is_named_by_its_number(command, refused, write_experiment, tmp_path):
    (tmp_path / "bad.hkl").write_text("# h k l F\n1 2 3 100\n1 2 x 100\n")
    file = write_experiment(tmp_path / "a.yaml", structure_factors={"kind": "file", "file": "bad.hkl"})
    answer = refused(file, command=command)
    assert "bad.hkl, line 3: expected 'h k l F'" in answer
    assert "'1 2 x 100'" in answer


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_a_singular_matrix_is_named(command, refused, write_experiment, tmp_path):
    (tmp_path / "flat.mat").write_text("1 2 3\n2 4 6\n1 0 1\n")
    crystal = {"cell": None, "matrix_file": "flat.mat"}
    answer = refused(write_experiment(tmp_path / "a.yaml", crystal=crystal), command=command)
    assert "crystal.matrix_file" in answer
    assert "flat.mat: the matrix is singular" in answer


def test_a_matrix_that_ends_early_is_named(refused, write_experiment, tmp_path):
    (tmp_path / "short.mat").write_text("1 0 0\n0 1\n")
    crystal = {"cell": None, "matrix_file": "short.mat"}
    assert "holds 5 numbers, expected 9" in refused(write_experiment(tmp_path / "a.yaml", crystal=crystal))


def test_a_mistake_of_syntax_is_named_with_its_line(refused, tmp_path):
    (tmp_path / "a.yaml").write_text("beam:\n  wavelength_A: 1.0\n wrong: [\n")
    assert f"{tmp_path / 'a.yaml'}, line " in refused(tmp_path / "a.yaml")


def test_a_missing_experiment_file_is_named(refused, tmp_path):
    assert f"{tmp_path / 'none.yaml'} cannot be read: No such file" in refused(tmp_path / "none.yaml")


@pytest.mark.parametrize("frames", ["0:4", "3", "2:2", "2:1", "-1:2", "a:b"])
def test_frames_outside_the_series_are_refused(frames, refused, experiment_file):
    assert f"--frames {frames}: " in refused(experiment_file, f"--frames={frames}")


def test_a_folder_that_is_missing_is_named(nbdist, experiment_file, tmp_path):
    ended = nbdist("run", experiment_file, "-o", tmp_path / "nowhere" / "a.zarr", *SERIAL)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in ended.err
    assert not (tmp_path / "nowhere").exists()


def test_a_path_that_cannot_be_written_is_named(nbdist, experiment_file):
    ended = nbdist("run", experiment_file, "-o", "/proc/nbdist.zarr", *SERIAL)  # not even root writes there
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "/proc/nbdist.zarr" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("how", [(), ("--resume",), ("--overwrite",)], ids=["plain", "resume", "overwrite"])
def test_a_folder_that_is_not_a_store_is_left_alone(how, nbdist, experiment_file, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    ended = nbdist("run", experiment_file, "-o", folder, *how, *SERIAL)
    assert (ended.code, ended.err) == (2, f"nbdist: {folder} is not a Zarr store of nbdist\n")
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("command", ["info", "preview", "verify"])
def test_what_is_not_a_store_is_not_read_as_one(command, refused, tmp_path):
    zarr.create_group(str(tmp_path / "other.zarr"))
    assert "not one of nbdist" in refused(tmp_path / "other.zarr", command=command)
    assert "there is no store" in refused(tmp_path / "missing.zarr", command=command)


def test_a_scheduler_that_does_not_answer_is_named(nbdist, experiment_file, tmp_path, monkeypatch):
    import distributed

    original = distributed.Client
    monkeypatch.setattr(
        distributed, "Client", lambda address, **options: original(address, **{**options, "timeout": 0.5})
    )
    ended = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", "--scheduler", "tcp://127.0.0.1:9")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "--scheduler tcp://127.0.0.1:9: no Dask scheduler answers there" in ended.err
    assert not (tmp_path / "a.zarr").exists()


def test_debug_raises_the_error_where_it_happened(nbdist, tmp_path):
    with pytest.raises(ExperimentError):
        nbdist("--debug", "check", tmp_path / "none.yaml")


@pytest.mark.integration
def test_the_command_itself_says_one_line_and_debug_the_traceback(tmp_path):
    def run(*arguments):
        command = ["nbdist", *arguments, "check", str(tmp_path / "none.yaml")]
        return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)

    plain, debug = run(), run("--debug")
    assert (plain.returncode, plain.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert "ExperimentError" in debug.stderr
    assert debug.returncode != 0


@pytest.mark.parametrize("name", ["a" * 300, "loop/a.zarr", "file/a.zarr"])
@pytest.mark.parametrize("command", ["info", "preview", "verify", "finish", "run"])
def test_a_place_that_cannot_be_is_one_line(name, command, nbdist, experiment_file, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    words = [experiment_file, "--serial", "-o"] if command == "run" else []
    ran = nbdist(command, *words, tmp_path / name)
    assert ran.code == 2
    assert ran.err.startswith("nbdist: ")
    assert ran.err.count("\n") == 1
    assert str(tmp_path) in ran.err


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(5, "Input/output error", "/data/a"), "Input/output error: /data/a"),
        (ZeroDivisionError("by nothing"), "ZeroDivisionError: by nothing; this is a fault of nbdist"),
    ],
)
def test_whatever_is_raised_is_one_line_and_what_nobody_foresaw_keeps_its_traceback(
    error, answer, tmp_path, monkeypatch, capsys
):
    def failing():
        raise error

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # what it found before
    with pytest.raises(SystemExit) as ended:
        main.run(failing)
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert answer in said
    kept = [path.read_text() for path in tmp_path.glob("nbdist-traceback-*.txt")]
    assert len(kept) == isinstance(error, ZeroDivisionError)
    assert all("Traceback" in text and "failing" in text for text in kept)


MEANT = ". Did you mean '{}'?" if Version(typer.__version__) >= Version("0.26") else ";"
"""What typer says of a wrong word, since that version."""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runn", "a.yaml"), f"no such command 'runn'{MEANT.format('run')} nbdist --help lists what there is"),
        (
            ("kernels", "bild"),
            f"no such command 'bild'{MEANT.format('build')} nbdist kernels --help lists what there is",
        ),
        (("run", "a.yaml"), "missing option '--output' / '-o'; nbdist run --help lists what there is"),
        (("run",), "nbdist run --help"),
        (("run", "a.yaml", "-o", "a.zarr", "--worker", 2), "no such option: --worker "),
        (
            ("run", "a.yaml", "-o", "a.zarr", "--device", "gpu"),
            "'gpu' is not one of 'auto', 'cpu', 'cuda'; nbdist run --help",
        ),
        (("run", "a.yaml", "-o", "a.zarr", "--workers", "two"), "'two'"),
        (("run", "a.yaml", "-o", "a.zarr", "--workers=0"), "0"),  # in the words of whichever typer
        (("check", "a.yaml", "--json", "b.yaml"), "--json=b.yaml writes a file"),
    ],
)
def test_a_command_line_that_is_wrong_is_told_in_one_line(nbdist, words, said):
    ended = nbdist(*words)
    assert (ended.code, ended.raw, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("nbdist: ")
    assert said in ended.err


def test_no_command_at_all_shows_the_help(nbdist):
    for words in ((), ("kernels",)):
        ended = nbdist(*words)
        assert "Usage: nbdist" in ended.raw + ended.err


def test_a_name_that_is_near_is_offered(nbdist, refused, experiment_file, finished, tmp_path):
    assert f"did you mean {experiment_file}?" in refused(tmp_path / "smal.yaml")
    other = finished.with_name("serie.zarr")
    assert f"there is no store; did you mean {finished}?" in refused(other, command="info")
    assert "did you mean" not in refused(tmp_path / "entirely-another.yaml")
    assert "did you mean" not in refused(tmp_path / "nowhere" / "a.yaml")


def test_a_store_for_an_experiment_and_the_reverse_are_told_apart(refused, experiment_file, finished, tmp_path):
    assert f"{finished} cannot be read: a Zarr store, which nbdist info shows" in refused(finished)
    assert f"{tmp_path} cannot be read: Is a directory" in refused(tmp_path)
    said = "is not a Zarr store of nbdist; nbdist run or nbdist dataset makes one of an experiment or recipe"
    for command in ("info", "verify", "finish"):
        assert f"{experiment_file} {said}" in refused(experiment_file, command=command)


def test_an_address_without_a_protocol_is_named_with_one(nbdist, experiment_file, tmp_path):
    ended = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", "--scheduler", "node7:8786")
    assert (ended.code, ended.err) == (
        2,
        "nbdist: --scheduler node7:8786: expected an address such as tcp://node7:8786, or tls://\n",
    )
