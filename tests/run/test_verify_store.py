"""Verifying a store: every shard decodes, and frames rendered again are the same to the bit."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from nbdist import generate, verify
from nbdist.cli.main import app
from nbdist.errors import StoreError
from nbdist.native.build import find_compiler, processor
from nbdist.readout.draws import Draws


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(scan={"frames": 6}, noise={"photon_noise": True, "seed": 3})


@pytest.fixture(scope="module", params=["eager", "compiled"])
def whole(request, experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("verify") / "series.zarr"
    generate(experiment, location, serial=True, kernel=request.param, frames_per_shard=2, tile=(50, 80))
    return location


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy.zarr"))


def test_a_whole_store_is_good(whole):
    found = verify(whole, sample=3)
    assert found.good
    assert found.frames_decoded == 6
    assert found.compared == dict.fromkeys((0, 2, 5), 0.0), "spread evenly from the first frame to the last"


def test_a_sample_of_nothing_compares_nothing(whole):
    found = verify(whole, sample=0)
    assert found.good
    assert found.compared == {}


def test_a_sample_larger_than_the_series_compares_every_frame_once(whole):
    assert sorted(verify(whole, sample=100).compared) == list(range(6))


def test_a_shard_cut_short_is_named(copy):
    shard = copy / "intensity/c/1/0/0"
    os.truncate(shard, shard.stat().st_size - 10)
    found = verify(copy, sample=6)
    assert not found.good
    assert list(found.damaged) == [1]
    assert "intensity/c/1/0/0" in found.damaged[1] or "another size" in found.damaged[1]
    assert found.frames_decoded == 4
    assert sorted(found.compared) == [0, 1, 4, 5], "frames of the damaged unit are not compared"


def test_a_deleted_shard_is_named(copy):
    (copy / "counts/c/2/0/0").unlink()
    found = verify(copy, sample=1)
    assert found.damaged == {2: "counts/c/2/0/0 is missing"}
    assert not found.good


def test_a_unit_that_was_never_finished_is_missing(copy):
    (copy / "records/00000000.json").unlink()
    found = verify(copy, sample=0)
    assert (found.missing, found.damaged, found.good) == ([0], {}, False)


def rewritten(store, change, counts=None, **said):
    """Write unit 1 (frames 2 and 3) again, whole and with its record, so that only rendering it again can tell.

    Parameters
    ----------
    change
        Gets the intensity of frame 2 and changes it; counts are drawn from what it left.
    counts
        Gets the counts of frame 2 and changes them.
    said
        What the record says of it.
    """
    group = zarr.open_group(str(store), mode="r+")
    intensity, drawn = group["intensity"][2:4], group["counts"][2:4]
    change(intensity[0])
    for number, frame in enumerate((2, 3)):
        drawn[number] = Draws(3, frame).poisson(intensity[number])
    if counts is not None:
        counts(drawn[0])
    group["intensity"][2:4], group["counts"][2:4] = intensity, drawn
    record = store / "records/00000001.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    for name in ("intensity", "counts"):
        content["shard_bytes"][name] = (store / name / "c/1/0/0").stat().st_size
    record.write_text(json.dumps({**content, **said}), encoding="utf-8")


def at_the_brightest(factor):
    def change(frame):
        place = np.unravel_index(frame.argmax(), frame.shape)
        frame[place] *= np.float32(factor)

    return change


ONE_DIGIT = 1 + 2.0**-22
ELSEWHERE = {"compiler": "clang version 99"}, {"processor": "another one (00000000)"}


def test_one_changed_pixel_is_found(copy):
    rewritten(copy, at_the_brightest(ONE_DIGIT))
    found = verify(copy, sample=6)
    assert not found.good
    assert list(found.wrong) == [2]
    assert "expected the same bits" in found.wrong[2]
    assert found.foreign == {}
    assert 0 < found.compared[2] < 5e-7, "digits in the last place of float32"


@pytest.mark.parametrize("said", ELSEWHERE)
def test_other_last_bits_of_another_compiler_or_processor_are_expected(copy, said):
    rewritten(copy, at_the_brightest(ONE_DIGIT), **said)
    found = verify(copy, sample=6)
    assert found.good
    assert sorted(found.foreign) == [2, 3], "its unit"
    assert next(iter(said.values())) in found.foreign[2]
    assert 0 < found.compared[2] < 5e-7


@pytest.mark.parametrize("said", ELSEWHERE)
def test_more_than_rounding_is_found_whoever_made_it(copy, said):
    rewritten(copy, at_the_brightest(1 + 3e-5), **said)
    found = verify(copy, sample=6)
    assert list(found.wrong) == [2]
    assert "expected 1e-05 at most" in found.wrong[2]


@pytest.mark.parametrize("said", [{}, *ELSEWHERE])
def test_a_count_that_its_intensity_does_not_give_is_found_whoever_made_it(copy, said):
    def one_more(counts):
        counts[tuple(np.argwhere(counts)[0])] += 1

    rewritten(copy, at_the_brightest(1), one_more, **said)
    assert verify(copy, sample=6).wrong == {2: "its counts are not those that its intensity gives"}


def test_float64_images_are_held_to_their_own_tolerance(small_experiment, tmp_path):
    store = tmp_path / "a.zarr"
    experiment = small_experiment(scan={"frames": 4}, noise={"photon_noise": True, "seed": 3})
    experiment = experiment.with_changes(sampling={"precision": "float64"})
    generate(experiment, store, serial=True, kernel="eager", frames_per_shard=2)

    def neighbour(frame):
        place = np.unravel_index(frame.argmax(), frame.shape)
        frame[place] = np.nextafter(frame[place], np.float32(0))

    rewritten(store, neighbour, **ELSEWHERE[0])
    assert verify(store, sample=4).good
    rewritten(store, at_the_brightest(1 + 1e-6), **ELSEWHERE[0])
    assert list(verify(store, sample=4).wrong) == [2]


def test_records_name_what_decides_the_last_bits(whole):
    record = json.loads((whole / "records/00000000.json").read_text(encoding="utf-8"))
    if record["kernel"] == "compiled":
        assert record["compiler"] == find_compiler().identity
        assert re.search(r"\d+\.\d+", record["compiler"]), "with its version"
    else:
        import torch

        assert record["compiler"] == f"torch {torch.__version__}"
    assert record["processor"] == processor()


def test_the_command_says_what_was_made_elsewhere(copy):
    rewritten(copy, at_the_brightest(ONE_DIGIT), **ELSEWHERE[0])
    ran = CliRunner().invoke(app, ["verify", str(copy), "--sample", "6"], env={"COLUMNS": "1000"})
    assert ran.exit_code == 0, ran.output
    assert "5 of 6 frames rendered again are the same to the bit" in ran.output
    assert "2 of them were made elsewhere (clang version 99, " in " ".join(ran.output.split())
    rewritten(copy, at_the_brightest(1.5))
    ran = CliRunner().invoke(app, ["verify", str(copy), "--sample", "6"], env={"COLUMNS": "1000"})
    assert ran.exit_code == 1
    assert "frame 2 is wrong: its intensity differs by" in ran.output


def test_another_experiment_is_refused(whole, experiment):
    with pytest.raises(StoreError, match="another experiment"):
        verify(whole, experiment=experiment.with_changes(beam={"wavelength_A": 1.1}))


def test_progress_is_reported_unit_by_unit_and_frame_by_frame(whole):
    told = []
    verify(whole, sample=2, report=lambda *told_now: told.append(told_now))
    assert told == [("decoded", 1, 3), ("decoded", 2, 3), ("decoded", 3, 3), ("compared", 1, 2), ("compared", 2, 2)]


def test_what_is_not_a_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        verify(tmp_path / "missing.zarr")


def test_a_file_that_changed_since_is_noticed(small_experiment, tmp_path):
    hkl = tmp_path / "small.hkl"
    hkl.write_text("1 2 3 100\n2 0 1 50\n")
    experiment = small_experiment(structure_factors={"kind": "file", "file": str(hkl), "default_F": 10.0})
    generate(experiment, tmp_path / "a.zarr", serial=True, kernel="eager", frames=range(1))
    assert not verify(tmp_path / "a.zarr").damaged
    hkl.write_text("1 2 3 100\n2 0 1 51\n")
    with pytest.raises(StoreError, match="other files"):
        verify(tmp_path / "a.zarr")
