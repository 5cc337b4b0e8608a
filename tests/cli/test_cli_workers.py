"""The options that say where workers come from: what contradicts what, and one line for everything that is not there."""

from __future__ import annotations

import shutil

import pytest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--scheduler", "tcp://x:1", "--scheduler-file", "x.json"),
            "--scheduler, --scheduler-file exclude each other",
        ),
        (("--cluster", "x.yaml", "--workers", "2"), "--cluster, --workers exclude each other"),
        (("--cluster", "x.yaml", "--gpus", "all"), "--cluster, --gpus exclude each other"),
        (("--serial", "--gpus", "0"), "--serial, --gpus exclude each other"),
        (("--serial", "--dashboard"), "--dashboard goes with local workers and --cluster"),
        (("--scheduler", "tcp://127.0.0.1:1", "--dashboard"), "--dashboard goes with local workers and --cluster"),
        (("--serial", "--security", "a,b,c"), "--serial and --security exclude each other"),
        (("--lifetime", "1h"), "--lifetime goes with --cluster"),
        (("--part", "1/2", "--cluster", "x.yaml"), "--part renders without a scheduler"),
        (("--gpus", "first"), "--gpus first: expected all, or numbers like 0,1"),
        (("--gpus", "9"), "--gpus 9: there is no GPU 9"),
        (("--gpus", "all", "--device", "cpu"), "--device contradicts it"),
        (("--cluster", "none.yaml"), "--cluster none.yaml cannot be read: No such file or directory"),
        (("--security", "one.pem"), "--security one.pem: expected three PEM files: CA,CERT,KEY"),
        (("--scheduler", "tls://127.0.0.1:1"), "needs --security CA,CERT,KEY"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(options, said, nbdist, experiment_file, tmp_path):
    refused = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", *options)
    assert refused.code == 2
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "a.zarr").exists()


def test_a_cluster_file_is_checked_before_anything_is_submitted(nbdist, experiment_file, tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text('kind: slurm\ncores: 1\nmemory: 1GB\nwalltime: "01:00:00"\ninterface: no_such_interface\n')
    refused = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", "--cluster", file)
    assert refused.code == 2
    assert refused.err.startswith("nbdist: interface: no_such_interface is not a network interface here; there are ")
    wrong = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", "--cluster", file, "--lifetime", "2 hours")
    assert wrong.err.startswith("nbdist: --lifetime: should be like ")


@pytest.mark.parametrize(("kind", "command"), [("slurm", "sbatch"), ("pbs", "qsub"), ("lsf", "bsub")])
def test_a_queue_that_is_not_here_is_told(kind, command, nbdist, experiment_file, tmp_path, monkeypatch):
    file = tmp_path / "cluster.yaml"
    file.write_text(
        f'kind: {kind}\ncores: 1\nmemory: 1GB\nwalltime: "01:00:00"\ninterface: lo\nlog_folder: {tmp_path / "jobs"}\n'
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", "--cluster", file)
    assert refused.code == 2
    assert refused.err == f"nbdist: kind {kind}: the command {command} is not found here\n"


def test_nothing_is_submitted_for_a_store_that_is_refused_or_complete(
    nbdist, experiment_file, finished, tmp_path, monkeypatch
):
    submitted, file, store = tmp_path / "submitted", tmp_path / "cluster.yaml", tmp_path / "a.zarr"
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "sbatch").write_text(f"#!/bin/sh\ntouch {submitted}\nexit 1\n")
    (commands / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    file.write_text(
        f'kind: slurm\ncores: 1\nmemory: 1GB\nwalltime: "01:00:00"\ninterface: lo\nlog_folder: {tmp_path / "jobs"}\n'
    )
    shutil.copytree(finished, store)
    refused = nbdist("run", experiment_file, "-o", store, "--cluster", file)
    assert "exists; --resume goes on with it" in refused.err
    complete = nbdist("run", experiment_file, "-o", store, "--cluster", file, "--resume")
    assert "nothing was missing" in complete.out
    assert not submitted.exists()
    asked = nbdist("run", experiment_file, "-o", tmp_path / "b.zarr", "--cluster", file)
    assert asked.err.splitlines()[-1] == "nbdist: sbatch refused the job: it did not say why"
    assert submitted.exists()


def test_a_run_that_is_interrupted_before_it_began_has_nothing_to_go_on_with(
    nbdist, experiment_file, tmp_path, monkeypatch
):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nbdist.clusters.running_cluster.connect", interrupted)
    ended = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", "--scheduler", "tcp://a:1")
    assert (ended.code, ended.err) == (130, "nbdist: interrupted\n")
