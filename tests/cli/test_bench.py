"""nbdist bench: its records are complete, its limit is a rate, its options are checked; no timing decides."""

from __future__ import annotations

import json
import stat
from concurrent.futures import Executor, Future
from dataclasses import replace

import pytest

KEYS = [
    "case",
    "device",
    "dtype",
    "threads",
    "pixel_steps_per_s",
    "limit_pixel_steps_per_s",
    "fraction_of_limit",
    "ratio_to_reference",
    "peak_memory_bytes",
    "max_error",
    "spread",
]


@pytest.mark.slow
def test_a_case_against_another_program_gives_a_complete_record(nbdist, tmp_path, monkeypatch):
    monkeypatch.delenv("NBDIST_REFERENCE_DATA", raising=False)
    other = tmp_path / "other"
    other.write_text(f'#!/bin/sh\necho "$OMP_NUM_THREADS $@" >> {tmp_path}/calls\ntest -f scaled.hkl\n')
    other.chmod(other.stat().st_mode | stat.S_IXUSR)
    ran = nbdist("bench", "--cases", "sharp", "--threads", "1", "--repeats", "2", "--against", other, "--json")
    assert ran.code == 0, ran.err
    [record] = json.loads(ran.raw)["records"]
    assert list(record) == KEYS
    assert (record["case"], record["device"], record["dtype"], record["threads"]) == (
        "sharp_N_1000",
        "cpu",
        "float32",
        1,
    )
    assert record["max_error"] < 1e-5
    assert record["fraction_of_limit"] > 0
    assert record["ratio_to_reference"] > 0
    assert 50e6 < record["peak_memory_bytes"] < 2e9
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert all(call.startswith("1 ") and "-roi 0 511 0 511" in call and "-N 1000" in call for call in calls)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_measured_limit_is_a_rate_that_a_core_can_have(dtype):
    from nbdist.bench.limit import cpu_fma_per_s

    # a vector of 16 numbers, twice a cycle of 10 GHz, is more than any core does; a thousandth of one a cycle is less
    assert 1e6 < cpu_fma_per_s(dtype, 1) < 3.2e11


def test_what_was_measured_before_a_case_failed_is_told(nbdist, tmp_path, monkeypatch):
    from nbdist.bench.benchmark import Benchmark
    from nbdist.bench.measure import Record
    from nbdist.errors import NbdistError

    def records(self, group):
        yield Record("reference", "cpu", "float32", 1, 4e8, 5e8, 0.8, None, 2**28, 1e-7, 0.05)
        raise NbdistError("the next case failed")

    monkeypatch.setattr(Benchmark, "records", records)
    words = ("bench", "--cases", "reference", "--threads", "1")
    ran = nbdist(*words)
    assert ran.code == 2
    assert "the next case failed" in ran.err
    assert "reference float32 1 400 0.80" in " ".join(ran.out.split())
    ran = nbdist(*words, "--json")
    assert ran.code == 2
    [record] = json.loads(ran.raw)["records"]
    assert record["pixel_steps_per_s"] == 4e8
    for named in (("--json", tmp_path / "records"), (f"--json={tmp_path / 'records'}",)):
        ran = nbdist(*words[:1], *named, *words[1:])
        assert "reference float32 1 400 0.80" in ran.out
        assert json.loads((tmp_path / "records").read_text()) == [record]
        (tmp_path / "records").unlink()


def test_what_was_not_measured_keeps_its_place_in_the_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")  # cuts no number
    from nbdist.bench.measure import Record
    from nbdist.cli.bench import _table
    from nbdist.cli.display import print_table

    alone = Record("reference", "cpu", "float32", 1, 4e8, 5e8, 0.8, 57.2, 2**28, 1e-7, 0.05)
    others = [replace(alone, threads=2, ratio_to_reference=None), replace(alone, dtype="float64", max_error=None)]
    print_table(_table([alone, *others]))
    print_table(_table([replace(alone, ratio_to_reference=None)]))
    rows = [line.split()[3:] for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["reference"]]
    both = ["400", "0.80", "57.2", "256", "1e-07", "5", "%"]
    assert rows == [
        both,
        [*both[:2], "-", *both[3:]],
        [*both[:4], "-", *both[5:]],
        [*both[:2], *both[3:]],
    ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--cases", "fastest"), "--cases fastest"),
        (("--threads", "none"), "--threads none"),
        (("--threads", "0"), "--threads 0"),
        (("--against", "/nowhere/nanoBragg"), "--against /nowhere/nanoBragg"),
    ],
)
def test_wrong_options_are_named_in_one_line(nbdist, options, named):
    ran = nbdist("bench", *options)
    assert ran.code == 2
    assert named in ran.err
    assert "Traceback" not in ran.err


def test_every_case_is_an_experiment(tmp_path):
    from nbdist.bench.cases import cases, input_folder
    from nbdist.scene import resolve

    folder, inputs = input_folder(tmp_path)
    assert inputs
    for group in ("reference", "mosaic", "sources", "sharp", "shapes", "spots"):
        for case in cases(group, folder):
            scene = resolve(case.experiment(folder, "float32"))
            rows, columns = scene.instrument.panels[0].usable.shape
            assert 0 <= case.tile.slow_start < case.tile.slow_stop <= rows
            assert 0 <= case.tile.fast_start < case.tile.fast_stop <= columns
    [sources] = cases("sources", folder)
    assert len(resolve(sources.experiment(folder, "float32")).instrument.sources.weights) == 9


class Here(Executor):
    """Does what it is given at once, in this process."""

    def submit(self, function, /, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def test_the_integrated_method_is_measured_in_turn_with_the_sum(small_experiment, capsys):
    from nbdist.bench.integrated import SUM_DOMAINS, SUM_PHI_STEPS, measure_integrated
    from nbdist.cli.bench import _integrated_table
    from nbdist.cli.display import print_table

    experiment = small_experiment(
        panel={"spixels": 64, "fpixels": 64},
        crystal={"shape": "gauss", "mosaicity": {"sigma_deg": 0.1}},
        sampling={"method": "integrated", "oversample": 2},
    )
    record = measure_integrated("small", experiment, "cpu", [Here(), Here()], repeats=1)
    assert record.spots > 0
    assert record.times_the_sum == pytest.approx(SUM_PHI_STEPS * SUM_DOMAINS * 4 / record.pixel_steps, rel=1e-6)
    assert record.cores_gain > 0
    print_table(_integrated_table([record, replace(record, threads=1, cores_gain=None)]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["small"]]
    assert [line[5] for line in lines] == ["2:", "-"]


def test_labels_are_measured_beside_the_frames_they_are_of(small_experiment, capsys):
    from nbdist.bench.labels import FRAMES, measure_labels
    from nbdist.cli.bench import _labels_table
    from nbdist.cli.display import print_table

    experiment = small_experiment(
        panel={"spixels": 64, "fpixels": 64},
        crystal={"shape": "gauss", "mosaicity": {"sigma_deg": 0.1}},
        scan={"frames": FRAMES},
        sampling={"method": "integrated"},
    )
    record = measure_labels("small", experiment, "cpu", repeats=2)
    assert record.spots > 0
    assert record.frame_s > 0
    print_table(_labels_table([replace(record, spots_share=0.08, labels_share=0.25)]))
    [line] = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["small"]]
    assert line[3:7] == ["8", "%", "25", "%"]


def test_the_read_out_is_measured_against_what_it_is_compared_with(small_experiment, capsys):
    from nbdist.bench.readout import RESPONSE, measure_readout, readout_experiment
    from nbdist.cli.bench import _readout_table
    from nbdist.cli.display import print_table

    assert readout_experiment().writes_counts
    panel = {"spixels": 64, "fpixels": 64}
    experiment = small_experiment(panel=panel, noise={"photon_noise": True}, readout=RESPONSE)
    record = measure_readout("small", experiment, repeats=1)
    assert record.series_ratio > 1, "all steps take longer than two of them"
    assert min(record.poisson_s, record.times_numpy) > 0
    assert record.response_ratio > -1, "of one quick frame each it is noise, but not less than nothing"
    print_table(_readout_table([record]))
    [line] = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["small"]]
    assert line[2] == f"{record.times_numpy:.1f}"


def test_samples_are_measured_against_packing_and_writing_them(capsys):
    from concurrent.futures import ThreadPoolExecutor

    from nbdist.bench.dataset import RECIPE, dataset_recipe, measure_dataset
    from nbdist.cli.bench import _dataset_table
    from nbdist.cli.display import print_table
    from nbdist.experiment.recipe import recipe_of

    whole = dataset_recipe()
    assert whole.shapes == ((1024, 1024),)
    assert not whole.one_geometry, "each sample has an instrument of its own"
    small = {**RECIPE["detector"]["panels"][0], "spixels": 40, "fpixels": 50, "beam_center_mm": [4.0, 4.0]}
    amplitudes = {"kind": "wilson", "d_min_A": 6.0}
    recipe = recipe_of(
        {**RECIPE, "detector": {"convention": "xds", "panels": [small]}, "structure_factors": amplitudes}
    )
    with ThreadPoolExecutor(1) as one:
        record = measure_dataset("small", recipe, [one], repeats=1, samples=2)
    assert record.ratio > 1, "all steps take longer than two of them"
    assert min(record.steps_s.values()) > 0
    print_table(_dataset_table([record]))
    [line] = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["small"]]
    assert line[1] == "1"
    assert line[-3] == f"{record.ratio:.2f}"


def test_every_integrated_case_has_its_sum(tmp_path):
    from nbdist.bench.cases import input_folder
    from nbdist.bench.integrated import integrated_cases, summed
    from nbdist.scene import resolve

    folder, _ = input_folder(tmp_path)
    for experiment in integrated_cases(folder).values():
        scene, its_sum = resolve(experiment), resolve(summed(experiment))
        assert (scene.method, its_sum.method) == ("integrated", "sum")
        assert its_sum.orientations_per_frame == 2000
        assert its_sum.instrument.oversample == scene.instrument.oversample


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # workers are forked
def test_the_loader_is_compared_with_zarr_and_has_each_frame_once(small_experiment):
    pytest.importorskip("torch")
    from nbdist.bench.loader import FRAMES, measure_loader

    experiment = small_experiment(
        panel={"spixels": 140, "fpixels": 130},
        crystal={"shape": "gauss"},
        sampling={"method": "integrated"},
        scan={"frames": FRAMES},
        noise={"photon_noise": True},
    )
    record = measure_loader("small", experiment, repeats=1, epochs=1)
    assert record.once
    assert min(record.frames_per_s, record.sequential_ratio, record.shuffled_ratio, record.processor_ratio) > 0
    assert record.crops_ratio > 0
    assert abs(record.growth_mib) < 20, "of five processes"


@pytest.mark.parametrize(("options", "measured"), [((), False), (("--cases", "loader,labels"), True)])
def test_what_cannot_be_measured_here_is_left_out_unless_it_is_asked_for(nbdist, monkeypatch, options, measured):
    groups = []
    monkeypatch.setattr("nbdist.bench.loader.find_spec", lambda name: None)
    monkeypatch.setattr("nbdist.bench.benchmark.Benchmark.records", lambda self, group: groups.append(group) or ())
    monkeypatch.setattr("nbdist.bench.benchmark.Benchmark.start_seconds", lambda self: {})
    monkeypatch.setattr("nbdist.bench.benchmark.vector_fma_per_cycle", lambda: None)
    ran = nbdist("bench", *options)
    assert ran.code == 0
    assert "labels" in groups
    assert ("loader" in groups, "loader is left out: PyTorch is not installed" in ran.out) == (measured, not measured)


def test_a_file_that_cannot_be_written_is_known_before_anything_is_measured(nbdist, monkeypatch, tmp_path):
    groups = []
    monkeypatch.setattr("nbdist.bench.benchmark.Benchmark.records", lambda self, group: groups.append(group) or ())
    monkeypatch.setattr("nbdist.bench.benchmark.vector_fma_per_cycle", lambda: None)
    ran = nbdist("bench", "--cases", "labels", f"--json={tmp_path}/gone/a.json")
    assert (ran.code, ran.err.count("\n"), groups) == (2, 1, [])
