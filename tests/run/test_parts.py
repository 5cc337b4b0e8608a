"""A series rendered in parts by processes that know nothing of each other, and the store they make together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from command_line import run_command
from injected import Rendered, run
from waiting import LIMIT_S, until

from nbdist import generate, load_experiment
from nbdist.errors import RunError, StoreError
from nbdist.experiment import experiment_to_yaml
from nbdist.planning import Units
from nbdist.run.finish import finish
from nbdist.store import open_group, summarize
from nbdist.store.parts import Part

ROOT = Path(__file__).parent.parent.parent
FRAMES = 10
CUT = {"frames_per_shard": 1}


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(
        panel={"spixels": 16, "fpixels": 20, "pixel_size_mm": 4.0}, scan={"frames": FRAMES, "phi_steps": 2}
    )


@pytest.fixture(scope="module")
def undisturbed(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("undisturbed") / "series.zarr"
    generate(experiment, location, serial=True, **CUT)
    return location


@pytest.fixture
def rendered():
    """A renderer with the numbers of the frames that it renders."""
    return Rendered()


@pytest.mark.parametrize("of", [1, 2, 3, 7, 10, 16])
def test_parts_share_out_every_unit_once(of):
    units = Units(10, 1)
    shares = [Part(number, of).share(units) for number in range(1, of + 1)]
    assert sorted(unit for share in shares for unit in share) == list(units)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for number, share in enumerate(shares, start=1):
        assert {Part(1, of).owner_of(unit.number) for unit in share} <= {Part(number, of)}


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "3", "1/2/3", "a/b", "-1/4", ""])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(RunError, match="expected NUMBER/PARTS, such as 3/16, counted from 1"):
        Part.parsed(text)


def test_parts_together_are_the_series(experiment, undisturbed, tmp_path, rendered, assert_same_bits):
    location = tmp_path / "a.zarr"
    assert run(experiment, location, part=Part(2, 3), render_frame=rendered).frames_done == 3
    assert rendered == [1, 4, 7]
    assert open_group(location).metadata.consolidated_metadata is None
    for number in (3, 1):
        run(experiment, location, part=Part(number, 3), render_frame=rendered)
    assert sorted(rendered) == list(range(FRAMES)), "each frame once"
    assert finish(location).missing == []
    assert open_group(location).metadata.consolidated_metadata is not None
    assert_same_bits(location, undisturbed)


@pytest.mark.parametrize("resume", [False, True])
def test_a_part_again_renders_what_is_missing_of_it(resume, experiment, undisturbed, tmp_path, rendered):
    location = Path(shutil.copytree(undisturbed, tmp_path / "a.zarr"))
    for unit in (3, 4, 6):
        (location / f"intensity/c/{unit}/0/0").unlink()
    (location / "records/00000001.json").unlink()
    run(experiment, location, part=Part(2, 3), resume=resume, render_frame=rendered)
    assert rendered == [1, 4], "3 and 6 are of another part"
    assert generate(experiment, location, part=Part(2, 3), resume=resume).frames_total == 0


def test_more_parts_than_units_leave_some_with_nothing_to_do(experiment, tmp_path, rendered):
    progress = run(experiment, tmp_path / "a.zarr", part=Part(12, 12), render_frame=rendered)
    assert (progress.frames_total, rendered) == (0, [])
    assert summarize(tmp_path / "a.zarr").frames == FRAMES


@pytest.mark.parametrize(
    ("change", "how", "answer"),
    [
        ({"beam": {"wavelength_A": 1.1}}, {}, "another experiment"),
        ({}, {"frames_per_shard": 2}, "was begun with frames_per_shard 1"),
        ({}, {"kernel": "eager"}, "was begun with the compiled kernel"),
    ],
)
def test_a_part_of_something_else_is_refused_in_one_line(change, how, answer, experiment, undisturbed, tmp_path):
    location = shutil.copytree(undisturbed, tmp_path / "a.zarr")
    with pytest.raises(StoreError, match=answer) as caught:
        generate(experiment.with_changes(**change), location, part=Part(1, 2), **how)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", [{"overwrite": True}, {"frames": range(3)}])
def test_a_part_neither_overwrites_nor_takes_frames(how, experiment, tmp_path):
    with pytest.raises(RunError, match="exclude each other"):
        generate(experiment, tmp_path / "a.zarr", part=Part(1, 2), **how)
    assert not (tmp_path / "a.zarr").exists()


def test_parts_cut_alike_where_machines_differ(experiment, tmp_path, monkeypatch):
    for number, cores in ((1, 2), (2, 64)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        generate(experiment, tmp_path / "a.zarr", part=Part(number, 2))
    assert finish(tmp_path / "a.zarr").missing == []


def test_finish_names_missing_parts_and_the_commands_for_them(experiment, tmp_path):
    location = tmp_path / "a b.zarr"
    made_by = {"experiment_file": "/data/my experiment.yaml", "options": ["--precision", "float32"]}
    for number in (1, 3):
        generate(experiment, location, part=Part(number, 4), made_by=made_by, **CUT)
    (location / "intensity/c/2/0/0").write_bytes(b"noise")
    found = finish(location)
    assert found.parts == {Part(2, 4): [1, 5, 9], Part(3, 4): [2], Part(4, 4): [3, 7]}
    command = f"nbdist run '/data/my experiment.yaml' -o '{location}' --precision float32 --part"
    assert found.commands == [f"{command} {number}/4" for number in (2, 3, 4)]


def test_finish_of_a_run_without_parts_names_resume(experiment, tmp_path):
    generate(experiment, tmp_path / "a.zarr", serial=True, frames=range(4), **CUT)
    found = finish(tmp_path / "a.zarr")
    assert (list(found.missing), found.parts) == ([4, 5, 6, 7, 8, 9], {})
    assert found.commands == [f"nbdist run EXPERIMENT.yaml -o {tmp_path / 'a.zarr'} --resume"]


@pytest.fixture
def file(experiment, tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(experiment_to_yaml(experiment))
    return path


@pytest.mark.integration
def test_many_parts_at_once_on_one_store_that_is_not_there_yet(
    file, undisturbed, tmp_path, monkeypatch, capsys, assert_same_bits
):
    store = tmp_path / "a.zarr"
    run = [shutil.which("nbdist"), "run", file, "-o", store, "--serial", "--frames-per-shard", "1"]
    parts = [subprocess.Popen([*run, "--part", f"{number}/5"], start_new_session=True) for number in range(1, 6)]
    until((store / "zarr.json").exists, "the store")
    os.killpg(parts[0].pid, signal.SIGKILL)  # perhaps the one that makes the store, perhaps not begun yet
    assert [part.wait(timeout=LIMIT_S) for part in parts][1:] == [0] * 4
    generate(load_experiment(file), store, part=Part(1, 5), frames_per_shard=1)
    done = run_command(["finish", str(store)], monkeypatch, capsys)
    assert (done.status, done.err) == (0, "")
    assert done.out == f"{store}: {FRAMES} frames, {FRAMES} units, all complete; metadata consolidated\n"
    assert not list(store.rglob("*.lock"))
    assert_same_bits(store, undisturbed)


@pytest.mark.integration
def test_a_part_on_local_workers(experiment, undisturbed, tmp_path, assert_same_bits):
    location = tmp_path / "a.zarr"
    assert generate(experiment, location, part=Part(1, 2), workers=1, **CUT).frames_done == 5
    generate(experiment, location, part=Part(2, 2))
    assert finish(location).missing == []
    assert_same_bits(location, undisturbed)


ARRAY = ROOT / "cluster" / "slurm_array.sbatch"


def test_the_script_of_the_array_is_good_shell():
    checked = subprocess.run(["bash", "-n", ARRAY], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("environment", "arguments", "code", "said"),
    [
        (
            {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16"},
            ["e.yaml", "a b.zarr", "--device", "cpu"],
            0,
            None,
        ),
        (
            {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2", "NBDIST_PARTS": "16"},
            ["e.yaml", "a.zarr"],
            0,
            None,
        ),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "16"}, ["e.yaml", "a.zarr"], 2, "no part of 16"),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2"}, ["e.yaml", "a.zarr"], 2, "no part of 2"),
        ({}, ["e.yaml", "a.zarr"], 2, "no task of an array"),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2"}, ["e.yaml"], 2, "usage"),
    ],
)
def test_a_task_of_the_array_runs_its_part(environment, arguments, code, said, tmp_path):
    fake = tmp_path / "nbdist"
    fake.write_text('#!/bin/bash\nprintf "<%s>" "$@"\n')
    fake.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment}
    ran = subprocess.run(["bash", ARRAY, *arguments], env=path, capture_output=True, text=True, check=False)
    assert ran.returncode == code
    if said is not None:
        assert said in ran.stderr
        return
    experiment, store, *more = arguments
    part = f"{environment['SLURM_ARRAY_TASK_ID']}/16"
    expected = ["run", experiment, "-o", store, "--part", part, *more]
    assert ran.stdout.splitlines()[-1] == "".join(f"<{word}>" for word in expected)


@pytest.mark.parametrize(
    ("number", "code", "requeued"), [(signal.SIGUSR1, 0, "<requeue><55_3>"), (signal.SIGTERM, 143, None)]
)
def test_a_task_that_is_told_to_end_ends_nbdist_in_order_and_near_its_walltime_goes_back_into_the_queue(
    number, code, requeued, tmp_path
):
    asked, said = tmp_path / "asked", tmp_path / "said"
    programs = {
        "nbdist": f"trap 'sleep 0.3; echo in order >>{said}; exit 143' TERM\necho began >>{said}\n"
        "for n in {1..300}; do sleep 0.1; done",
        "scontrol": f'printf "<%s>" "$@" >{asked}',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    task = {"SLURM_ARRAY_JOB_ID": "55", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16"}
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **task}
    script = subprocess.Popen(["bash", ARRAY, "e.yaml", "a.zarr"], env=environment, stdout=subprocess.DEVNULL)
    try:
        until(said.exists, "the command to begin", process=script)
        script.send_signal(number)
        assert script.wait(LIMIT_S) == code
    finally:
        script.kill()
    assert said.read_text() == "began\nin order\n", "the script waits for it"
    assert (asked.read_text() if asked.exists() else None) == requeued
