"""Where compiled kernels are kept: code is loaded from private folders only, named by what made it, and compiled once."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from waiting import LIMIT_S, until

from nbdist.errors import NbdistError
from nbdist.kernels.native.ahead import sources_of
from nbdist.kernels.native.sources import diffuse_source, variant_source
from nbdist.kernels.variant import Variant
from nbdist.native import build
from nbdist.native.ahead import build_ahead
from nbdist.native.build import BuildError, Source, load
from nbdist.private_folder import UnsafeFolderError

ANSWER = 'extern "C" int answer() { return NUMBER; }\n'
SMALL_LIMIT_S = 0.2


@pytest.fixture
def small(tmp_path, monkeypatch):
    """`small(7)`: a source that compiles quickly, whose `answer()` is 7; folders and compilers are asked for anew."""
    (tmp_path / "answer.cpp").write_text(ANSWER)
    monkeypatch.delenv("NBDIST_KERNELS", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "lock_folder", lambda: tmp_path / "machine")
    load.cache_clear()
    build._asked.cache_clear()
    yield lambda number: Source(tmp_path / "answer.cpp", (f"-DNUMBER={number}",))
    load.cache_clear()
    build._asked.cache_clear()


@pytest.fixture
def cache(tmp_path, small):
    return tmp_path / "cache" / "nbdist" / "kernels"


def compiler_script(tmp_path, name, first="", version="g++ (made up) 1.0"):
    """A compiler that counts its calls, says it is of this version, does `first`, and then what g++ does."""
    path, calls = tmp_path / name, tmp_path / f"{name}.calls"
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *--version) echo "{version}"; exit;; esac\necho >>{calls}\n{first}\nexec g++ "$@"\n'
    )
    path.chmod(0o755)
    calls.touch()
    return path, lambda: len(calls.read_text().splitlines())


def again(source):
    """Load a source as a new process does."""
    load.cache_clear()
    build._asked.cache_clear()
    return load(source)


def libraries(folder):
    return sorted(path for path in folder.iterdir() if path.suffix == ".so")


def test_a_library_is_compiled_once_into_a_private_folder(small, cache, tmp_path, monkeypatch):
    path, calls = compiler_script(tmp_path, "cc")
    monkeypatch.setenv("CXX", str(path))
    assert load(small(7)).code.answer() == 7
    assert again(small(7)).code.answer() == 7
    assert calls() == 1
    assert again(small(8)).code.answer() == 8
    assert calls() == 2
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert len(libraries(cache)) == 2
    assert load(small(7)).compiler == "g++ (made up) 1.0"


def test_a_folder_that_others_write_into_is_passed_over(small, cache, tmp_path):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert load(small(7)).code.answer() == 7
    assert not libraries(cache)
    assert len(libraries(tmp_path / "machine" / "kernels")) == 1


def test_where_no_folder_is_private_a_passing_one_serves(small, cache, tmp_path):
    for folder in (cache, tmp_path / "machine"):
        folder.mkdir(parents=True)
        folder.chmod(0o777)
    assert load(small(7)).code.answer() == 7
    assert not libraries(cache)
    assert not libraries(tmp_path / "machine")


def test_where_others_can_replace_even_a_passing_folder_nothing_is_compiled(small, cache, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    for folder in (cache, tmp_path / "machine", temporary):
        folder.mkdir(parents=True)
        folder.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(BuildError, match=f"no folder to compile it in: .*; {temporary} is writable by others"):
        load(small(7))


def test_what_a_compiler_keeps_for_itself_lies_in_a_private_folder(small, cache, tmp_path, monkeypatch):
    path, _ = compiler_script(
        tmp_path, "cc", first=f'stat -c %a "$TMPDIR" >{tmp_path}/seen; echo "$TMPDIR" >>{tmp_path}/seen'
    )
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    load(small(7))
    mode, folder = (tmp_path / "seen").read_text().split()
    assert mode == "700"
    assert Path(folder).parent == cache
    assert not Path(folder).exists()


@pytest.mark.parametrize("damage", ["cut short", "other content", "no compiler's name"])
def test_a_library_that_is_not_what_its_name_says_is_made_again(small, cache, damage):
    load(small(7))
    [path] = libraries(cache)
    content = path.read_bytes()
    path.unlink()  # this process has it mapped
    if damage == "cut short":
        path.write_bytes(content[:1000])
    elif damage == "other content":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.write_bytes(content)
        path.with_suffix(".json").unlink()
    assert again(small(7)).code.answer() == 7
    assert [one.read_bytes() for one in libraries(cache)] == [content]


def test_another_compiler_option_or_version_makes_another_library(small, cache, tmp_path, monkeypatch):
    path, _ = compiler_script(tmp_path, "cc")
    compilers = []
    for command in (str(path), f"{path} -O1"):
        monkeypatch.setenv("CXX", command)
        compilers.append(again(small(7)).compiler)
    compiler_script(tmp_path, "cc", version="g++ (made up) 2.0")
    monkeypatch.setenv("CXX", str(path))
    compilers.append(again(small(7)).compiler)
    assert compilers == ["g++ (made up) 1.0", "g++ (made up) 1.0 -O1", "g++ (made up) 2.0"]
    assert len({one.name.split("-")[2] for one in cache.glob("*.json")}) == 3


@pytest.mark.parametrize(
    "option", ["-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-fsingle-precision-constant", "-mrecip=all"]
)
def test_options_that_change_results_are_refused(small, monkeypatch, option):
    monkeypatch.setenv("CXX", f"g++ {option}")
    with pytest.raises(BuildError, match=f"^CXX: {option} lets the compiler change results; leave it out$"):
        load(small(7))


@pytest.mark.parametrize("waits", ["sleep 1000 & wait; exit", "sleep 1000"])
def test_a_compiler_that_does_not_end_is_ended(small, tmp_path, monkeypatch, waits):
    path, _ = compiler_script(tmp_path, "cc", first=f"echo $$ >{tmp_path}/group; {waits}")
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setattr(build, "COMPILER_LIMIT_S", SMALL_LIMIT_S)
    with pytest.raises(BuildError, match=r"^\S*cc did not come to an end in 0.2 s$"):
        load(small(7))
    told = tmp_path / "group"
    if told.exists() and told.read_text().strip():  # else it was ended before it said
        group = ["ps", "-o", "stat=", "-g", told.read_text().strip()]
        until(lambda: not subprocess.run(group, capture_output=True).stdout, "the end of what the compiler started")


def test_several_processes_compile_a_kernel_once(small, cache, tmp_path, monkeypatch):
    path, calls = compiler_script(
        tmp_path, "cc", first=f"echo >>{tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"
    )
    monkeypatch.setenv("CXX", str(path))
    source, answers = small(7), []
    cache.mkdir(parents=True, mode=0o700)
    threads = [
        threading.Thread(target=lambda: answers.append(build.built(source, cache).code.answer())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    until((tmp_path / "begun").exists, "a compilation")
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join(LIMIT_S)
    assert answers == [7] * 4
    assert calls() == 1


def test_a_library_in_use_is_never_replaced(small, cache, monkeypatch):
    load(small(7))
    [path] = libraries(cache)
    before = path.stat().st_ino
    find = build._find
    monkeypatch.setattr(build, "_find", lambda folder, pattern: None)  # as processes that looked before it was there
    assert again(small(7)).code.answer() == 7
    monkeypatch.setattr(build, "_find", find)
    assert [one.stat().st_ino for one in libraries(cache)] == [before]


def test_a_folder_of_kernels_serves_a_node_without_a_compiler(small, tmp_path, monkeypatch):
    folder = tmp_path / "image"
    identity = build_ahead(folder, [small(7)])
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode & ~0o222)
    folder.chmod(0o555)
    monkeypatch.setenv("NBDIST_KERNELS", str(folder))
    monkeypatch.setenv("CXX", "/nowhere/g++")
    library = again(small(7))
    assert library.code.answer() == 7
    assert library.compiler == identity
    with pytest.raises(BuildError, match="the C\\+\\+ compiler /nowhere/g\\+\\+ does not run"):
        load(small(8))


def test_a_named_folder_that_is_not_safe_is_told_and_not_used(small, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "open"
    build_ahead(folder, [small(7)])
    folder.chmod(0o777)
    monkeypatch.setenv("NBDIST_KERNELS", str(folder))
    assert again(small(7)).code.answer() == 7
    [record] = caplog.records
    assert record.getMessage().startswith(f"NBDIST_KERNELS is not used: {folder} is writable by others")
    assert len(libraries(tmp_path / "machine" / "kernels")) == 1
    with pytest.raises(UnsafeFolderError, match="writable by others"):
        build_ahead(folder, [small(8)])


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_kernels_built_ahead_are_readable_for_everybody(small, tmp_path, mask):
    folder, told = tmp_path / "new" / "kernels", []
    before = os.umask(mask)
    try:
        build_ahead(folder, [small(number) for number in (1, 2, 3)], lambda done, total: told.append((done, total)))
    finally:
        os.umask(before)
    assert told == [(1, 3), (2, 3), (3, 3)]
    for path in (folder.parent, folder, *libraries(folder)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    for path in folder.glob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, "a library without its description is passed over"
    made = {path: path.stat().st_mtime_ns for path in libraries(folder)}
    build_ahead(folder, [small(number) for number in (1, 2, 3)])
    assert {path: path.stat().st_mtime_ns for path in libraries(folder)} == made


def test_every_variant_that_an_engine_asks_for_is_among_those_built_ahead(small_experiment):
    every = sources_of()
    assert len(set(every)) == 38, "and the factors, and spots and diffuse scattering in both precisions"
    for shape, precision, size, sharp in (
        ("gauss", "float32", {"N_cells": [8] * 3}, False),
        ("square", "float32", {"N_cells": [300] * 3}, True),
        ("square", "float64", {"N_cells": [300] * 3}, False),
        ("round", "float32", {"N_cells": [300] * 3}, False),
        ("isotropic", "float32", {"size_um": 1.0}, False),
    ):
        crystal = {"shape": "gauss" if shape == "isotropic" else shape, **size}
        few = sources_of(small_experiment(crystal=crystal, sampling={"precision": precision}))
        assert len(few) == 4
        assert set(few) <= set(every)
        assert variant_source(Variant(shape, True, False, precision), sharp) in few
    for method in ("sum", "integrated"):
        disordered = {"shape": "gauss", "diffuse": {"kind": "rigid_body", "sigma_A": 0.3}}
        few = sources_of(small_experiment(crystal=disordered, sampling={"method": method}))
        assert {diffuse_source("float32")} < set(few) <= set(every)


def test_a_failure_ahead_is_one_line(small, tmp_path, monkeypatch):
    path, _ = compiler_script(tmp_path, "cc", first="echo 'answer.cpp:1: error: no such thing' >&2; exit 1")
    monkeypatch.setenv("CXX", str(path))
    build._asked.cache_clear()
    with pytest.raises(NbdistError, match=r"cc failed: answer.cpp:1: error: no such thing$"):
        build_ahead(tmp_path / "new", [small(7)])
    assert not libraries(tmp_path / "new")


def test_the_command_builds_what_an_experiment_needs(small_experiment, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from nbdist.cli.main import app
    from nbdist.experiment import experiment_to_yaml

    (tmp_path / "e.yaml").write_text(experiment_to_yaml(small_experiment()), encoding="utf-8")
    folder = tmp_path / "kernels"
    path, calls = compiler_script(tmp_path, "cc", first='set -- "$@" -O1')  # nothing is computed by what is built here
    monkeypatch.setenv("CXX", str(path))
    ran = CliRunner().invoke(app, ["kernels", "build", str(folder), "--experiment", str(tmp_path / "e.yaml")])
    assert ran.exit_code == 0, ran.output
    assert "6 kernels, compiled by g++ (made up) 1.0" in ran.output, "and the read-out's deviates and response"
    assert len(libraries(folder)) == calls() == 6
    for path in libraries(folder):
        code = ctypes.CDLL(str(path))
        assert sum(hasattr(code, f"nbdist_{name}") for name in ("partial", "factors", "poisson", "read")) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_a_library_that_another_user_planted_is_not_loaded(small, cache, tmp_path, monkeypatch):
    load(small(7))
    [path] = libraries(cache)
    planted = tmp_path / "cache2" / "nbdist" / "kernels"
    planted.mkdir(parents=True)
    for one in cache.iterdir():
        (planted / one.name).write_bytes(one.read_bytes())
    for one in (planted, *planted.iterdir()):
        os.chown(one, 65534, 65534)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache2"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("loaded") if str(planted) in name else None)
    again(small(7))
    assert (planted / path.name).exists()


def test_the_command_of_another_process_finds_the_kernels(tmp_path):
    """A second process loads what the first compiled, under the name that the first gave it."""
    script = (
        "from nbdist.kernels.native.sources import peak_source\n"
        "from nbdist.native.build import load\n"
        "library = load(peak_source())\n"
        "print(library.code._name)\n"
    )
    environment = {**os.environ, "NBDIST_KERNELS": str(tmp_path / "kernels")}
    names = [
        subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert names[0].stdout == names[1].stdout
    assert Path(names[0].stdout.strip()).parent == tmp_path / "kernels"
