"""The command as a person runs it: its exit status, Ctrl-C, and the demo."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import numpy as np
import psutil
import pytest
import zarr
from command_line import run_command
from harm import Harm
from waiting import LIMIT_S, until

from nbdist import generate, load_experiment
from nbdist.store import summarize

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def _nbdist(*arguments, **options):
    command = [shutil.which("nbdist"), *map(str, arguments)]
    assert command[0], "the console script is installed"
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_from_file_to_store_with_the_compiled_kernel_on_a_worker(
    experiment_file, finished, tmp_path, monkeypatch, capsys
):
    store = tmp_path / "a.zarr"
    ran = _nbdist("run", experiment_file, "-o", store, "--workers", 1, "--frames-per-shard", 1, "--dashboard")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{store}: 3 frames in ")
    assert "3/3 frames" in ran.stderr
    assert "dashboard: http://127.0.0.1:" in ran.stderr
    assert "Traceback" not in ran.stderr
    image, eager = (zarr.open_group(str(path), mode="r")["intensity"][:] for path in (store, finished))
    np.testing.assert_allclose(image, eager, rtol=0, atol=3e-6 * eager.max())
    verified = run_command(["verify", str(store), "--sample", "3"], monkeypatch, capsys)
    assert verified.status == 0, verified.out
    assert "3 of 3 frames rendered again are the same to the bit" in verified.out


def test_ctrl_c_leaves_a_store_that_resume_completes_and_no_process_behind(write_experiment, tmp_path):
    file = write_experiment(tmp_path / "long.yaml", scan={"frames": 40})
    store, cut = tmp_path / "a.zarr", ["--frames-per-shard", "1"]
    harm = Harm(tmp_path, held_after=20)
    process = subprocess.Popen(
        [shutil.which("nbdist"), "run", str(file), "-o", str(store), "--workers", "2", *cut],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **harm.environment},
    )
    try:
        until(lambda: len(list((store / "records").glob("0*.json"))) >= 3, "the first units", process=process)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, said
    assert f"Go on with: nbdist run {file} -o {store} --resume" in said
    for noise in ("Traceback", "Exception ignored", " - distributed"):
        assert noise not in said
    _, alive = psutil.wait_procs(family, timeout=LIMIT_S)
    assert alive == [], "workers are left running"
    complete = len(summarize(store).complete)
    assert 3 <= complete < 40
    resumed = generate(load_experiment(file), store, serial=True, resume=True)
    assert resumed.frames_done == 40 - complete, "what was complete is kept"
    undisturbed = tmp_path / "undisturbed.zarr"
    generate(load_experiment(file), undisturbed, serial=True, frames_per_shard=1)
    one, other = (zarr.open_group(str(path), mode="r")["intensity"][:] for path in (store, undisturbed))
    assert one.any()
    np.testing.assert_array_equal(one, other)


def test_the_demo_makes_a_store_and_a_picture_and_says_what_to_do_next(tmp_path):
    ran = _nbdist("demo", "--workers", 1, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    folder = tmp_path / "nbdist-demo"
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    summary = summarize(folder / "demo.zarr")
    assert summary.frames_complete == summary.frames == 8
    counts = zarr.open_group(str(folder / "demo.zarr"), mode="r")["counts"][:]
    background = np.median(counts)
    assert background >= 5
    assert counts.max() > 100 * background, "spots stand out"
    stop = np.load(folder / "beam_stop.npy")
    assert 0.001 < stop.mean() < 0.05
    assert (counts[:, stop] == -1).all(), "the beam stop's shadow is masked"
    assert f"nbdist info {folder.name}/demo.zarr" in ran.stdout
    experiment = load_experiment(folder / "demo.yaml")
    assert experiment.fingerprint == summary.fingerprint, "the file it writes is the experiment it ran"
