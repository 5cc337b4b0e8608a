"""A series through a real Slurm, in every way that cluster/ offers, while jobs are killed and requeued, has an undisturbed run's bits."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import psutil
import pytest
from batch_queue import ROOT, RUN_OPTIONS, listening, records, workers_started_with
from command_line import run_command
from sample_sets import recipe_with
from waiting import LIMIT_S

from nbdist import generate, load_experiment, load_recipe, open_series, sample

pytestmark = [pytest.mark.integration, pytest.mark.slow]
TURNED = {"cell": [30, 30, 40, 90, 90, 90], "N_cells": [5, 5, 5], "misset_deg": {"rotation": "uniform"}}


def test_jobs_that_die_are_replaced(slurm, held, series_file, cluster_file, tmp_path, assert_undisturbed):
    store = tmp_path / "series.zarr"
    options = ("--cluster", cluster_file(), *RUN_OPTIONS)
    run = slurm.start(shutil.which("nbdist"), "run", series_file, "-o", store, *options)
    slurm.until(lambda: records(store) >= 3 and len(slurm.jobs("RUNNING")) == 2, "the first units")
    first = slurm.jobs("RUNNING")
    for job in first:  # all at once: nobody is left to go on
        slurm.kill_hard(job)
    second = slurm.until(lambda: [job for job in slurm.jobs("RUNNING") if job not in first], "a job in their place")
    held.hold_after(60)
    slurm.until(lambda: records(store) >= 60, "units of the new job, and those that the first jobs took along")
    assert run.poll() is None, slurm.account()
    (node,) = slurm("squeue", "-h", "-j", second[0], "-o", "%N").split()
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")  # Slurm takes the job to another node
    for process in workers_started_with(str(tmp_path)):
        with contextlib.suppress(psutil.NoSuchProcess):  # Slurm ends them, too
            process.kill()
    assert len(slurm.jobs()) <= 2
    held.release()
    slurm.wait_for_success(run)
    assert_undisturbed(store)
    slurm.until(lambda: not slurm.jobs(), "the run takes its jobs out of the queue")


def test_jobs_and_client_talk_tls_and_a_client_that_is_killed_leaves_no_job_behind_for_long(
    slurm, held, series_file, cluster_file, certificates, tmp_path, assert_undisturbed
):
    store, file = tmp_path / "series.zarr", cluster_file(jobs={"maximum": 1})
    options = ("--cluster", file, "--security", certificates[0], *RUN_OPTIONS)
    run = slurm.start(shutil.which("nbdist"), "run", series_file, "-o", store, *options)
    slurm.until(lambda: records(store) >= 3, "the first units")
    commands = [" ".join(nanny.parent().cmdline()) for nanny in workers_started_with(certificates[0].split(",")[2])]
    assert commands
    assert all(" tls://127.0.0.1:" in command for command in commands)
    run.send_signal(signal.SIGKILL)
    run.wait()
    slurm.until(lambda: not slurm.jobs(), "workers without a scheduler end, and their jobs with them")
    held.release()
    assert 0 < generate(load_experiment(series_file), store, serial=True, resume=True).frames_done < 90
    assert_undisturbed(store)


@pytest.fixture
def run_here(slurm, series_file, tmp_path, monkeypatch, capsys):
    """`run_here(cluster_file)`: `nbdist run --cluster FILE` in this process."""
    words = ["run", str(series_file), "-o", str(tmp_path / "a.zarr"), "--cluster"]
    return lambda file: run_command([*words, str(file)], monkeypatch, capsys)


@pytest.mark.usefixtures("card_without_pictures")
def test_a_data_set_is_made_by_jobs(slurm, small_experiment, cluster_file, tmp_path, monkeypatch, capsys):
    file, store = tmp_path / "recipe.json", tmp_path / "set.zarr"
    file.write_text(json.dumps(recipe_with(small_experiment(noise={"photon_noise": True}), crystal=TURNED).content))
    words = [
        "dataset",
        str(file),
        "-o",
        str(store),
        "--samples",
        "4",
        "--cluster",
        str(cluster_file(jobs={"maximum": 1})),
    ]
    assert run_command(words, monkeypatch, capsys).status == 0
    images = open_series(store).counts.values
    assert images.any()
    one = sample(load_recipe(file), 3).images["counts"]
    np.testing.assert_array_equal(images[-len(one) :], one)


def test_a_refused_job_is_told_in_one_line(run_here, cluster_file):
    ended = run_here(cluster_file(queue="no_such_partition"))
    assert ended.status == 2
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("nbdist: sbatch refused the job: ")
    assert "no_such_partition" in last


def test_jobs_that_cannot_start_their_workers_end_the_wait(slurm, quick_looks, run_here, cluster_file):
    ended = run_here(
        cluster_file(prologue=["echo this module is not known >&2; exit 3"], jobs={"minimum": 1, "maximum": 3})
    )
    assert ended.status == 2
    assert re.search(r"nbdist: [3-9] jobs ended before a worker joined: this module is not known \(", ended.err)
    assert "Traceback" not in ended.err
    slurm.until(
        lambda: not slurm.jobs(), "the run takes its jobs out of the queue, in which one that ends stays for a moment"
    )


def test_workers_of_a_job_have_one_gpu_each_and_listen_on_the_loopback_interface(slurm, cluster_file):
    from nbdist.clusters.cluster_file import load_cluster_file
    from nbdist.clusters.job_queue import queue_cluster

    file = load_cluster_file(cluster_file(cores=2, gpus=2, jobs={"maximum": 1}))
    with queue_cluster(file, report=lambda line: None) as client:
        client.wait_for_workers(2, timeout=LIMIT_S)
        environments = client.run(lambda: dict(os.environ))
        processes = [psutil.Process(number) for number in client.run(os.getpid).values()]
        hosts = [listening(one) for process in processes for one in (process, process.parent())]
    assert sorted(environment["CUDA_VISIBLE_DEVICES"] for environment in environments.values()) == ["0", "1"]
    for environment in environments.values():
        assert environment["OMP_NUM_THREADS"] == "1"
        assert environment["MALLOC_TRIM_THRESHOLD_"] == str(2**28)
    assert hosts == [{"127.0.0.1"}] * 4, "of workers and their nannies"


def test_a_whole_run_inside_one_job_that_is_requeued(
    slurm, held, series_file, certificates, tmp_path, monkeypatch, assert_undisturbed
):
    monkeypatch.setenv("NBDIST_SECURITY", certificates[0])
    store = tmp_path / "series.zarr"
    job = slurm(
        "sbatch",
        "--parsable",
        "--nodes=2",
        "--ntasks=2",
        "--mem-per-cpu=1200M",
        f"--chdir={tmp_path}",
        "--export=ALL,NBDIST_INTERFACE=lo",
        ROOT / "cluster" / "slurm_job.sbatch",
        series_file,
        store,
        *RUN_OPTIONS,
    )
    slurm.until(lambda: records(store) >= 3, "the first units")
    (scheduler,) = tmp_path.glob(".tls-*/scheduler.json")
    assert json.loads(scheduler.read_text())["address"].startswith("tls://127.0.0.1:")
    for process in workers_started_with(str(tmp_path)):
        process.kill()  # their nannies start others
    before = records(store)
    held.hold_after(60)
    slurm.until(lambda: records(store) > before, "units after the workers were killed")
    slurm("scancel", "--batch", "--signal=USR1", job)  # what Slurm does two minutes before the walltime
    slurm.until(lambda: slurm.state(job) == "PENDING", "the job is back in the queue")
    assert records(store) < 90
    held.release()
    slurm.until(lambda: slurm.state(job) == "GONE", "the job runs again, to the end")
    assert slurm.ended(job) == "COMPLETED", slurm.account()
    assert_undisturbed(store)
    assert not list(tmp_path.glob(".tls-*")), "nothing is left of the scheduler's file"


def test_workers_that_reach_their_lifetime_end_in_order_and_are_replaced(slurm, quick_looks, cluster_file):
    from nbdist.clusters.cluster_file import load_cluster_file
    from nbdist.clusters.job_queue import queue_cluster

    file = load_cluster_file(cluster_file(jobs={"maximum": 1}))
    with queue_cluster(file, lifetime_s=3, report=lambda line: None) as client:
        (first,) = slurm.jobs("RUNNING")
        steps = [client.submit(time.sleep, 0.25, key=f"step-{number}") for number in range(24)]  # six seconds of work

        def collect():
            """Take in what is done: a result that stays on a worker ends with it."""
            for step in [step for step in steps if step.done()]:
                assert step.result(timeout=30) is None
                steps.remove(step)

        slurm.until(lambda: collect() or slurm.ended(first), "its end, after its workers' lifetime")
        assert slurm.ended(first) == "COMPLETED", "not killed, and not cancelled"
        assert steps
        slurm.until(lambda: collect() or not steps, "the rest")
        (second,) = slurm.jobs("RUNNING")
        assert second != first


def test_an_array_whose_tasks_are_killed_and_requeued(slurm, held, series_file, tmp_path, assert_undisturbed):
    store = tmp_path / "series.zarr"
    held.hold_after(15)  # no part is over before it is disturbed
    array = slurm(
        *("sbatch", "--parsable", "--array=1-3", "--mem-per-cpu=1200M", f"--chdir={tmp_path}"),
        *(ROOT / "cluster" / "slurm_array.sbatch", series_file, store, *RUN_OPTIONS),
    )
    slurm.until(lambda: records(store) >= 6 and len(slurm.jobs("RUNNING")) == 3, "the first units")
    slurm.kill_hard(f"{array}_1")  # as a node that fails; its part is submitted again below
    slurm("scontrol", "requeue", f"{array}_2")  # comes back by itself
    held.release()
    slurm.until(lambda: not slurm.jobs(), "the end of the array")
    logs = {part: (tmp_path / f"nbdist-part-{array}_{part}.log").read_text() for part in (1, 2, 3)}
    assert "restart 1" in logs[2]
    unfinished = subprocess.run(
        ["nbdist", "finish", store], env=slurm.environment, capture_output=True, text=True, check=False
    )
    assert unfinished.returncode == 1, unfinished.stderr
    assert "1/3" in unfinished.stdout + unfinished.stderr, "it says which part is missing"
    again = slurm(
        *("sbatch", "--parsable", "--array=1", "--export=ALL,NBDIST_PARTS=3", f"--chdir={tmp_path}"),
        *(ROOT / "cluster" / "slurm_array.sbatch", series_file, store, *RUN_OPTIONS),
    )
    finish = slurm(
        *("sbatch", "--parsable", f"--dependency=afterok:{again}", f"--chdir={tmp_path}", "--output=finish.log"),
        *("--wrap", f"nbdist finish {store}"),
    )
    slurm.until(lambda: not slurm.jobs(), "the missing part, and nbdist finish after it")
    assert slurm.ended(finish) == "COMPLETED", slurm.account()
    assert_undisturbed(store)
