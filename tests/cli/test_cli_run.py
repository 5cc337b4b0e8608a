"""`nbdist run` and its options."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
import zarr

from nbdist.run import rendering
from nbdist.store import summarize

SERIAL = ("--serial",)


def _intensity(location):
    return zarr.open_group(str(location), mode="r")["intensity"][:]


def test_a_run_makes_a_complete_store_and_says_so(nbdist, experiment_file, finished, tmp_path):
    store = tmp_path / "a.zarr"
    ran = nbdist("run", experiment_file, "-o", store, *SERIAL)
    assert ran.code == 0
    assert ran.out.startswith(f"{store}: 3 frames in ")
    assert summarize(store).frames_complete == 3
    np.testing.assert_array_equal(_intensity(store), _intensity(finished))


def test_a_part_and_then_the_rest(nbdist, experiment_file, finished, tmp_path):
    store = tmp_path / "a.zarr"
    assert nbdist("run", experiment_file, "-o", store, "--frames", "1:2", "--frames-per-shard", 1, *SERIAL).code == 0
    assert summarize(store).complete == {1}
    assert nbdist("run", experiment_file, "-o", store, "--resume", *SERIAL).out.startswith(f"{store}: 2 frames in ")
    np.testing.assert_array_equal(_intensity(store), _intensity(finished))
    assert nbdist("run", experiment_file, "-o", store, "--resume", *SERIAL).out == f"{store}: nothing was missing"


def test_tile_chunk_and_shard_are_the_stores(nbdist, experiment_file, tmp_path):
    store = tmp_path / "a.zarr"
    cut = ("--tile", "50,40", "--phi-chunk", 3, "--frames-per-shard", 2)
    assert nbdist("run", experiment_file, "-o", store, *cut, *SERIAL).code == 0
    settings = summarize(store).settings
    assert (settings.tile, settings.phi_chunk, settings.frames_per_shard, settings.kernel) == (
        (50, 40),
        3,
        2,
        "compiled",
    )


def test_precision_is_the_experiments_of_the_store(nbdist, experiment_file, finished, tmp_path):
    store = tmp_path / "a.zarr"
    assert nbdist("run", experiment_file, "-o", store, "--precision", "float64", *SERIAL).code == 0
    summary = summarize(store)
    assert summary.experiment.sampling.precision == "float64"
    assert {record["precision"] for record in summary.records} == {"float64"}
    double = _intensity(store)
    np.testing.assert_allclose(_intensity(finished), double, rtol=0, atol=3e-6 * double.max())


def test_a_store_that_exists_is_kept_unless_it_is_to_be_replaced(nbdist, experiment_file, write_experiment, tmp_path):
    store = tmp_path / "a.zarr"
    assert nbdist("run", experiment_file, "-o", store, *SERIAL).code == 0
    again = nbdist("run", experiment_file, "-o", store, *SERIAL)
    assert again.code == 2
    assert again.err == f"nbdist: {store} exists; --resume goes on with it, --overwrite replaces it\n"
    other = write_experiment(tmp_path / "other.yaml", scan={"frames": 1})
    assert nbdist("run", other, "-o", store, "--resume", *SERIAL).code == 2
    assert summarize(store).frames == 3
    assert nbdist("run", other, "-o", store, "--overwrite", *SERIAL).code == 0
    assert summarize(store).frames == 1


def test_a_run_that_leaves_units_unfinished_exits_1_and_names_them(nbdist, experiment_file, tmp_path, monkeypatch):
    original = rendering.render_frame

    def failing(context, frame):
        if frame == 1:
            raise ValueError("a cosmic ray")
        return original(context, frame)

    store = tmp_path / "a.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(rendering, "render_frame", failing)
        ran = nbdist("run", experiment_file, "-o", store, "--frames-per-shard", 1, *SERIAL)
    assert ran.code == 1
    assert "unit 1 failed: ValueError: a cosmic ray (" in ran.err
    assert f"nbdist run {experiment_file} -o {store} --resume" in ran.err
    assert "Traceback" not in ran.err
    assert nbdist("run", experiment_file, "-o", store, "--resume", *SERIAL).code == 0
    assert summarize(store).frames_complete == 3


def test_an_interrupted_run_exits_130_and_names_resume(nbdist, experiment_file, tmp_path, monkeypatch):
    def interrupted(context, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "render_frame", interrupted)
    ran = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", *SERIAL)
    assert ran.code == 130
    assert "--resume" in ran.err
    assert "Traceback" not in ran.err


def test_the_command_that_goes_on_has_the_options_that_were_given_and_can_be_pasted(
    nbdist, write_experiment, tmp_path, monkeypatch
):
    def interrupted(context, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "render_frame", interrupted)
    file, store = write_experiment(tmp_path / "an experiment.yaml"), tmp_path / "it's [a] store.zarr"
    given = ("--serial", "--frames", "0:2", "--precision", "float64", "--device", "cpu")
    ran = nbdist("run", file, "-o", store, *given)
    command = shlex.split(ran.err.partition("Go on with: ")[2])
    assert command[:6] == ["nbdist", "run", str(file), "-o", str(store), "--resume"]
    assert sorted(command[6:]) == sorted(given)


@pytest.mark.parametrize(
    "options", [("--serial", "--workers", "2"), ("--serial", "--scheduler", "tcp://x:1"), ("--resume", "--overwrite")]
)
def test_options_that_contradict_each_other_are_refused(options, nbdist, experiment_file, tmp_path):
    refused = nbdist("run", experiment_file, "-o", tmp_path / "a.zarr", *options)
    assert refused.code == 2
    assert "exclude each other" in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.integration
def test_a_running_cluster_is_used_by_its_address(nbdist, experiment_file, finished, certificates, tmp_path):
    from nbdist.clusters.local import local_cluster
    from nbdist.clusters.tls import read_security

    store = tmp_path / "a.zarr"
    with local_cluster(1, security=read_security(certificates[0])) as cluster:
        there = ("--scheduler", cluster.scheduler_address, "--security", certificates[0])
        ran = nbdist("run", experiment_file, "-o", store, *there)
    assert ran.code == 0
    np.testing.assert_array_equal(_intensity(store), _intensity(finished))
