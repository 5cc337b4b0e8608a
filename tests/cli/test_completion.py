"""What the shell completes after `nbdist`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nbdist.bench import GROUPS
from nbdist.cli.completing import bench_cases, detector_names, pixel_products
from nbdist.experiment.named_detectors import NAMED_DETECTORS, named_detector

SCRIPTS = {
    "bash": "complete -o default -F _nbdist_completion nbdist",
    "zsh": "#compdef nbdist",
    "fish": "complete --command nbdist --no-files",
}


@pytest.fixture
def completes(nbdist, monkeypatch):
    """What is offered for the last of some words."""

    def run(words):
        monkeypatch.setenv("_NBDIST_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        ran = nbdist()
        assert (ran.code, ran.err) == (0, "")
        return ran.raw.split()

    return run


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_of_each_shell_is_printed(nbdist, monkeypatch, shell):
    monkeypatch.setenv("_NBDIST_COMPLETE", f"source_{shell}")
    printed = nbdist()
    assert printed.code == 0
    assert SCRIPTS[shell] in printed.raw
    assert f"_NBDIST_COMPLETE=complete_{shell}" in printed.raw


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("nbdist fin", ["finish"]),
        ("nbdist kernels ", ["build"]),
        ("nbdist run a.yaml --frames", ["--frames", "--frames-per-shard"]),
        ("nbdist run a.yaml --device ", ["auto", "cpu", "cuda"]),
        ("nbdist detectors eiger2_1", ["eiger2_1M", "eiger2_16M"]),
        ("nbdist preview a.zarr --what int", ["intensity"]),
        ("nbdist bench --cases sharp,inte", ["sharp,integrated"]),
    ],
)
def test_commands_options_and_names_are_completed(completes, words, offered):
    assert sorted(completes(words)) == sorted(offered)


@pytest.mark.parametrize(
    "words", ["nbdist run exp", "nbdist info s", "nbdist run --cluster s", "nbdist run a.yaml -o s"]
)
def test_paths_are_left_to_the_shell(completes, words):
    """Which completes files and folders where nothing is offered: `-o default` in bash, `_files` in zsh, no `--no-files` in fish."""
    assert completes(words) == []


def test_names_are_those_of_the_code_and_are_understood():
    names = detector_names("")
    assert len(names) == len(NAMED_DETECTORS)
    assert [named_detector(name) for name in names] == list(NAMED_DETECTORS.values())
    assert {"counts", "intensity", "bragg", "spot"} <= set(pixel_products(""))
    assert bench_cases("") == list(GROUPS)
    assert "sharp,sharp" not in bench_cases("sharp,")


@pytest.mark.integration
def test_a_fresh_bash_completes_a_command_an_option_and_a_file(tmp_path):
    (tmp_path / "lysozyme.yaml").touch()
    program = Path(sys.executable).with_name("nbdist")
    if not program.exists():
        pytest.skip("the command nbdist is not installed beside Python")
    shell = f"""
        PATH={program.parent}:$PATH
        source <(_NBDIST_COMPLETE=source_bash nbdist)
        offer() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _nbdist_completion nbdist; echo "${{COMPREPLY[*]}}"; }}
        offer nbdist verif
        offer nbdist run lysozyme.yaml --overw
        offer nbdist run lyso
        complete -p nbdist
    """
    ran = subprocess.run(["bash", "--norc", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=True)
    verify, overwrite, nothing, how = ran.stdout.splitlines()
    assert (verify, overwrite, nothing) == ("verify", "--overwrite", "")
    assert "-o default" in how
