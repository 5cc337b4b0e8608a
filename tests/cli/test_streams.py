"""What is printed never ends a command: closed terminals, full disks, closed descriptors, readers that had enough, poor encodings."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nbdist.store import summarize

DEADLINE_S = 120


def _nbdist(*words: object, shell: str = "{}", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command inside a line of bash, where {} stands for it."""
    command = f"'{sys.executable}' -m nbdist " + " ".join(f"'{word}'" for word in words)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell.format(command)],
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    "where", ["2>/dev/full", ">/dev/full", ">/dev/full 2>&1", "2>&-", ">&-", "<&- >&- 2>&-", "2>&1 | head -c 1"]
)
@pytest.mark.integration
def test_a_run_whose_print_is_lost_ends_as_it_would_have(where, experiment_file, tmp_path):
    store = tmp_path / "a.zarr"
    ran = _nbdist("run", experiment_file, "-o", store, "--serial", shell="{} " + where)
    assert ran.returncode == 0, ran.stderr
    assert b"Traceback" not in ran.stdout + ran.stderr
    assert summarize(store).frames_complete == 3


@pytest.mark.integration
def test_a_run_goes_on_when_its_terminal_is_gone(experiment_file, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    store = tmp_path / "a.zarr"
    command = [
        sys.executable,
        "-m",
        "nbdist",
        "run",
        str(experiment_file),
        "-o",
        str(store),
        "--serial",
    ]
    process = subprocess.Popen(
        ["bash", "-c", "trap '' HUP; exec \"$@\"", "-", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert os.read(ours, 1), "the shell has set its trap, and the run has begun"
    os.close(ours)
    assert process.wait(DEADLINE_S) == 0
    assert summarize(store).frames_complete == 3


@pytest.mark.parametrize(("where", "status"), [(">/dev/full", 2), (">&-", 2), ("| head -c 1", 0), ("2>/dev/full", 0)])
def test_a_command_that_only_prints_says_by_its_status_that_the_print_was_lost(where, status):
    ran = _nbdist("schema", shell="{} " + where)
    assert ran.returncode == status
    assert ran.stderr.count(b"\n") == (1 if status else 0)
    assert b"Traceback" not in ran.stderr


def test_json_that_is_lost_is_an_error_of_any_command(part):
    ran = _nbdist("finish", part, "--json", shell="{} >/dev/full")
    assert ran.returncode == 2


def test_an_error_that_cannot_be_printed_keeps_its_status(tmp_path):
    for where in ("2>/dev/full", "2>&-", ">&- 2>&-"):
        assert _nbdist("check", tmp_path / "none.yaml", shell="{} " + where).returncode == 2
    assert _nbdist("--debug", "check", tmp_path / "none.yaml", shell="{} 2>/dev/full").returncode == 2


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_an_interrupt_that_cannot_be_told_keeps_its_status(where):
    program = """
import builtins, signal
from nbdist.__main__ import main
load = builtins.__import__
def interrupted(name, *rest):
    if name == "nbdist.cli.main":
        signal.raise_signal(signal.SIGINT)
    return load(name, *rest)
builtins.__import__ = interrupted
main()
"""
    ran = subprocess.run(["bash", "-c", f'"$0" -c "$1" {where}', sys.executable, program], check=False)
    assert ran.returncode == 130


@pytest.mark.parametrize("command", ["init", "preview", "report", "trace"])
def test_a_file_that_cannot_be_written_to_its_end_is_left_as_it_was(
    command, nbdist, experiment_file, part, tmp_path, monkeypatch
):
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / ("trace.log" if command == "trace" else "a.png")
    file.write_bytes(b"before")
    words = {
        "init": ("-o", file, "--overwrite"),
        "preview": (part, "-o", file),
        "report": (part, "-o", file),
        "trace": (experiment_file, "--pixel", 1, 2, "-o", file.parent),
    }
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        ended = nbdist(command, *words[command])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert "cannot be written: File too large" in ended.err
    assert {its.name: its.read_bytes() for its in file.parent.iterdir()} == {file.name: b"before"}


def test_printing_never_fails_for_an_encoding(write_experiment, tmp_path):
    file = write_experiment(tmp_path / "Größe — α.yaml")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump({**content, "title": "lysozyme — 1.5 Å"}, allow_unicode=True), encoding="utf-8")
    for words in (("check", file), ("check", tmp_path / "é.yaml")):
        ran = _nbdist(*words, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
        assert b"Traceback" not in ran.stderr
        assert ran.returncode == (0 if words[1] == file else 2), ran.stderr
    assert ran.stderr.count(b"\n") == 1


def test_a_file_name_that_is_no_text_is_printed(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "nbdist", "check", os.fsencode(tmp_path) + b"/\xff.yaml"],
        capture_output=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr.count(b"\n")) == (2, 1)
    assert b"Traceback" not in ran.stderr


def test_a_terminal_obeys_no_character_of_a_store_or_a_file(nbdist, finished, write_experiment, tmp_path):
    """Such characters rename a window, overwrite what stands above, or fill the clipboard."""
    orders = "\x1b]0;another\x07\x1b[31m\x9b2J\x7f"
    copy = Path(shutil.copytree(finished, tmp_path / "copy.zarr"))
    root = json.loads((copy / "zarr.json").read_text())
    root["attributes"]["title"] = orders
    (copy / "zarr.json").write_text(json.dumps(root))
    file = write_experiment(tmp_path / "a.yaml", title=orders)
    for words in (("info", copy), ("check", file), ("check", tmp_path / f"{orders}.yaml"), ("info", f"{copy}{orders}")):
        told = nbdist(*words)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told.raw + told.err), words
        assert told.code == (0 if words[1] in (copy, file) else 2)
    assert "\\x1b[31m" in nbdist("info", copy).raw
