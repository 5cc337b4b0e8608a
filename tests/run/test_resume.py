"""A store is the truth about a run: what is missing or damaged is rendered, what is complete is kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from injected import Rendered, run

from nbdist import NbdistError, generate
from nbdist.errors import RunError, StoreError
from nbdist.planning import Unit
from nbdist.run.opening import opened
from nbdist.run.settings import RunSettings
from nbdist.run.subjects import SeriesSubject
from nbdist.store import summarize
from nbdist.store.number_set import NumberSet

FRAMES = 6


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(scan={"frames": FRAMES}, noise={"photon_noise": True, "seed": 3})


@pytest.fixture(scope="module")
def undisturbed(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("undisturbed") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=2)
    return location


@pytest.fixture
def copy(undisturbed, tmp_path):
    """A complete store of three units to damage."""
    return Path(shutil.copytree(undisturbed, tmp_path / "copy.zarr"))


@pytest.fixture
def rendered():
    """A renderer with the numbers of the frames that it renders, in order."""
    return Rendered()


def test_a_part_and_then_the_rest_is_the_whole(experiment, undisturbed, tmp_path, rendered, assert_same_bits):
    location = tmp_path / "parts.zarr"
    first = run(experiment, location, frames_per_shard=2, frames=range(2, 4), render_frame=rendered)
    assert (first.frames_total, first.frames_done, rendered) == (2, 2, [2, 3])
    assert summarize(location).complete == {1}
    assert not zarr.open_group(str(location), mode="r")["intensity"][4:].any(), "the rest is not written yet"
    rest = run(experiment, location, frames_per_shard=None, resume=True, render_frame=rendered)
    assert (rest.frames_total, rest.frames_done, rendered[2:]) == (4, 4, [0, 1, 4, 5])
    assert_same_bits(location, undisturbed)


def test_a_part_is_rounded_out_to_whole_shards(experiment, tmp_path, rendered):
    run(experiment, tmp_path / "a.zarr", frames_per_shard=2, frames=range(3, 5), render_frame=rendered)
    assert rendered == [2, 3, 4, 5]


def test_resuming_a_complete_store_renders_nothing(experiment, copy, undisturbed, rendered, assert_same_bits):
    progress = run(experiment, copy, frames_per_shard=None, resume=True, render_frame=rendered)
    assert (progress.frames_total, progress.frames_done, rendered) == (0, 0, [])
    assert_same_bits(copy, undisturbed)


def _truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def _noise(path):
    path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size))


def _empty(path):
    path.write_bytes(b"")


def _garble_record(path):
    path.write_text("{")


DAMAGE = {
    "a truncated shard": ("intensity/c/1/0/0", _truncate),
    "a truncated shard of counts": ("counts/c/1/0/0", _truncate),
    "a shard of noise, of the same size": ("intensity/c/1/0/0", _noise),
    "an empty shard": ("intensity/c/1/0/0", _empty),
    "a deleted shard": ("intensity/c/1/0/0", Path.unlink),
    "a deleted shard of counts": ("counts/c/1/0/0", Path.unlink),
    "a deleted record": ("records/00000001.json", Path.unlink),
    "a garbled record": ("records/00000001.json", _garble_record),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_resume_repairs(name, experiment, copy, undisturbed, rendered, assert_same_bits):
    key, harm = DAMAGE[name]
    harm(copy / key)
    progress = run(experiment, copy, frames_per_shard=None, resume=True, render_frame=rendered)
    assert rendered == [2, 3], "only the damaged unit is rendered again"
    assert progress.failed == {}
    assert_same_bits(copy, undisturbed)
    assert summarize(copy).complete == {0, 1, 2}


def test_what_is_left_of_a_series_is_kept_as_numbers(experiment, copy):
    (copy / "intensity/c/1/0/0").unlink()
    with opened(SeriesSubject(experiment), str(copy), RunSettings(resume=True), 1, "cpu") as series:
        assert isinstance(series.units.numbers, NumberSet), "four bytes a unit at most"
        assert list(series.units) == [Unit(1, 2, 4)]


@pytest.mark.integration
def test_resume_on_dask_repairs_a_serial_store(experiment, copy, undisturbed, client, assert_same_bits):
    (copy / "intensity/c/0/0/0").unlink()
    progress = generate(experiment, copy, client, resume=True)
    assert progress.frames_done == 2
    assert_same_bits(copy, undisturbed)


def test_resume_starts_a_store_where_there_is_none(experiment, undisturbed, tmp_path, assert_same_bits):
    location = tmp_path / "new.zarr"
    generate(experiment, location, serial=True, frames_per_shard=2, resume=True)
    assert_same_bits(location, undisturbed)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "change",
    [{"beam": {"wavelength_A": 1.1}}, {"sampling": {"precision": "float64"}}, {"noise": {"seed": 4}}],
    ids=["wavelength", "precision", "noise seed"],
)
def test_resume_refuses_another_experiment(change, experiment, copy):
    before = _content(copy)
    with pytest.raises(StoreError, match="another experiment"):
        generate(experiment.with_changes(**change), copy, serial=True, resume=True)
    assert _content(copy) == before


@pytest.mark.parametrize(
    ("setting", "named"),
    [({"tile": (50, 50)}, "tile"), ({"phi_chunk": 1}, "phi_chunk"), ({"frames_per_shard": 3}, "frames_per_shard")],
)
def test_resume_refuses_another_cut(setting, named, experiment, copy):
    with pytest.raises(StoreError, match=named):
        generate(experiment, copy, serial=True, resume=True, **setting)


def test_resume_accepts_the_cut_that_the_store_has(experiment, copy):
    progress = generate(experiment, copy, serial=True, resume=True, tile=(96, 80), phi_chunk=4, frames_per_shard=2)
    assert progress.frames_total == 0


def test_a_tile_larger_than_the_image_is_the_whole_image_also_when_resuming(experiment, tmp_path):
    location = tmp_path / "large.zarr"
    asked = {"tile": (2048, 2048), "phi_chunk": 100, "serial": True}
    generate(experiment, location, frames=range(1), **asked)
    assert generate(experiment, location, resume=True, **asked).failed == {}


def test_the_title_may_change_between_runs(experiment, copy):
    renamed = experiment.model_copy(update={"title": "another name"})
    assert generate(renamed, copy, serial=True, resume=True).frames_total == 0


def test_a_copy_of_the_experiment_with_another_beam_does_not_go_on(experiment, copy):
    _ = experiment.fingerprint
    beam = experiment.beam.model_copy(update={"wavelength_A": 1.5})
    with pytest.raises(StoreError, match="holds another experiment"):
        generate(experiment.model_copy(update={"beam": beam}), copy, serial=True, resume=True)


def test_an_existing_store_is_not_written_over_unasked(experiment, copy):
    before = _content(copy)
    with pytest.raises(StoreError, match="--resume goes on with it, --overwrite replaces it"):
        generate(experiment, copy, serial=True)
    assert _content(copy) == before


def test_overwrite_replaces_a_store(experiment, copy):
    other = experiment.with_changes(scan={"frames": 1})
    generate(other, copy, serial=True, overwrite=True)
    assert summarize(copy).fingerprint == other.fingerprint
    assert zarr.open_group(str(copy), mode="r")["intensity"].shape == (1, 96, 80)
    assert not (copy / "intensity/c/1").exists(), "nothing of the store before is left"


def test_a_wrong_request_does_not_cost_the_store_it_would_overwrite(experiment, copy):
    before = _content(copy)
    with pytest.raises(RunError, match="outside the series"):
        generate(experiment, copy, serial=True, overwrite=True, frames=range(5, 9))
    with pytest.raises(NbdistError, match="too small"):
        generate(experiment, copy, serial=True, overwrite=True, tile=(0, 5))
    assert _content(copy) == before


def _plain_folder(location):
    location.mkdir()
    (location / "thesis.tex").write_text("years of work")


def _other_zarr(location):
    zarr.create_group(str(location)).create_array("precious", shape=(3,), dtype="f4")[:] = 1


def _zarr_array(location):
    zarr.create_array(str(location), shape=(3,), dtype="f4")[:] = 1


@pytest.mark.parametrize("make", [_plain_folder, _other_zarr, _zarr_array])
@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}], ids=["plain", "overwrite", "resume"])
def test_what_is_not_a_store_of_nbdist_is_left_alone(make, how, experiment, tmp_path):
    location = tmp_path / "precious"
    make(location)
    before = _content(location)
    with pytest.raises(StoreError):
        generate(experiment, location, serial=True, **how)
    assert _content(location) == before


def test_a_file_in_the_way_is_left_alone(experiment, tmp_path):
    location = tmp_path / "notes.txt"
    location.write_text("notes")
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(StoreError):
            generate(experiment, location, serial=True, **how)
    assert location.read_text() == "notes"


def test_an_empty_folder_becomes_the_store(experiment, undisturbed, tmp_path, assert_same_bits):
    location = tmp_path / "made.zarr"
    location.mkdir()
    generate(experiment, location, serial=True, frames_per_shard=2)
    assert_same_bits(location, undisturbed)


def test_resume_and_overwrite_exclude_each_other(experiment, copy):
    with pytest.raises(RunError, match="exclude"):
        generate(experiment, copy, serial=True, resume=True, overwrite=True)


@pytest.mark.parametrize("again", [{"resume": True}, {"overwrite": True}], ids=["resume", "overwrite"])
@pytest.mark.parametrize("removed", [0, 1, 5, 12, 20, 25])
def test_an_overwrite_that_is_killed_while_it_removes_can_be_gone_on_with(
    removed, again, experiment, copy, undisturbed, monkeypatch, assert_same_bits
):
    left = [removed]

    def cut(original):
        def removal(*arguments, **options):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return original(*arguments, **options)

        return removal

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut(Path.unlink))
        patch.setattr(os, "unlink", cut(os.unlink))
        with pytest.raises(KeyboardInterrupt):
            generate(experiment, copy, serial=True, frames_per_shard=2, overwrite=True)
    assert (copy / "zarr.json").exists()
    generate(experiment, copy, serial=True, frames_per_shard=2, **again)
    assert_same_bits(copy, undisturbed)
    assert summarize(copy).complete == {0, 1, 2}
    for path in undisturbed.rglob("*"):
        if path.is_file() and "records" not in str(path) and path.parent != undisturbed:
            assert (copy / path.relative_to(undisturbed)).read_bytes() == path.read_bytes(), path
