"""Stored photons read out again: the counts of another run of the same experiment, to the bit, and nothing rendered."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas.testing
import pytest
from injected import in_process_client

from nbdist import generate, open_reflections, open_series, open_spots, read_out, verify
from nbdist.errors import MissingExtraError, NbdistError, RunError, StoreError, UnfinishedError, UnreachableError
from nbdist.frames.renderer import Renderer
from nbdist.run.finish import finish
from nbdist.run.stored_photons import PhotonReader, stored_photons
from nbdist.store import summarize
from nbdist.store.creation import PHOTONS_OF
from nbdist.store.parts import Part, commands_to_go_on

FRAMES = 6
SEED = {"noise": {"photon_noise": True, "seed": 11}}


@pytest.fixture(scope="module")
def experiment(light_experiment):
    """Small frames, without counts."""
    return light_experiment(FRAMES)


@pytest.fixture(scope="module")
def photons(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("photons") / "photons.zarr"
    generate(experiment, location, serial=True, frames_per_shard=2)
    return location


@pytest.fixture(scope="module")
def labelled(small_experiment):
    """Two panels with spots and their labels."""
    panels = [
        {"spixels": 30, "fpixels": 22, "pixel_size_mm": 1.6, "origin_mm": [-40.0, -24.0, 100.0]},
        {"spixels": 30, "fpixels": 22, "pixel_size_mm": 1.6, "origin_mm": [1.0, -24.0, 100.0]},
    ]
    return small_experiment(
        crystal={"shape": "gauss"},
        detector={"convention": "xds", "panels": panels},
        scan={"frames": 2},
        sampling={"method": "integrated"},
        background={"water_um": 0.2},
        labels="all",
    )


@pytest.fixture(scope="module")
def labelled_photons(labelled, tmp_path_factory):
    location = tmp_path_factory.mktemp("labelled") / "photons.zarr"
    generate(labelled, location, serial=True)
    return location


@pytest.fixture(scope="module")
def run_anew(experiment, tmp_path_factory):
    """The store of a run that draws counts itself."""
    location = tmp_path_factory.mktemp("anew") / "anew.zarr"
    generate(experiment.with_changes(**SEED), location, serial=True, frames_per_shard=2)
    return location


@pytest.fixture
def copy(photons, tmp_path):
    return Path(shutil.copytree(photons, tmp_path / "copy.zarr"))


@pytest.fixture
def nothing_renders(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a renderer was made")

    monkeypatch.setattr(Renderer, "__init__", refuse)


def assert_same_series(one, other):
    a, b = open_series(one, chunks=None), open_series(other, chunks=None)
    assert a.counts.any()
    assert a.drop_attrs().equals(b.drop_attrs())


@pytest.mark.parametrize(("where", "frames_per_shard"), [("serial", None), ("serial", 3), ("dask", 1)])
def test_counts_are_those_of_a_run_of_the_same_experiment(
    where, frames_per_shard, photons, run_anew, tmp_path, nothing_renders
):
    location = tmp_path / "counts.zarr"
    if where == "serial":
        progress = read_out(photons, location, seed=11, serial=True, frames_per_shard=frames_per_shard)
    else:
        with in_process_client({}, {}) as client:
            progress = read_out(photons, location, None, client, seed=11, frames_per_shard=frames_per_shard)
    assert (progress.frames_done, progress.failed) == (FRAMES, {})
    assert_same_series(location, run_anew)
    summary = summarize(location)
    assert summary.fingerprint == summarize(run_anew).fingerprint
    assert summary.found.finished
    assert summary.provenance[PHOTONS_OF] == {
        "location": str(photons),
        "store_id": stored_photons(photons, seed=11)[1].source.store_id,
        "exposure_ratio": 1.0,
        "fingerprint": summarize(photons).fingerprint,
    }


def test_another_detector_reads_what_it_would_have_read_in_a_run(light_experiment, tmp_path):
    one = {"electrons_per_photon": 3.0, "integers": "uint16", "hot_pixel_fraction": 0.05}
    other = {
        "charge_sharing_fraction": 0.1,
        "point_spread": {"kind": "gaussian", "fwhm_mm": 5.0},
        "calibration_sigma": 0.02,
        "read_noise_electrons": 1.5,
        "offset_adu": 10.0,
        "saturation_adu": 60,
        "dead_pixel_fraction": 0.03,
    }
    before = light_experiment(3).with_changes(noise={"photon_noise": True}, readout=one)
    wanted = light_experiment(3).with_changes(noise={"photon_noise": True, "seed": 4}, readout=other)
    generate(before, tmp_path / "one.zarr", serial=True)
    generate(wanted, tmp_path / "run.zarr", serial=True)
    read_out(tmp_path / "one.zarr", tmp_path / "other.zarr", wanted, serial=True)
    assert_same_series(tmp_path / "other.zarr", tmp_path / "run.zarr")
    attributes = open_series(tmp_path / "other.zarr").counts.attrs
    assert (attributes["saturation_value"], attributes["units"]) == (60, "ADU")
    assert (open_series(tmp_path / "other.zarr").mask == 2).any(), "bad ones of this detector"


def test_a_seed_alone_adds_photon_noise_only_where_nothing_is_read(photons, experiment):
    quiet = experiment.with_changes(readout={"offset_adu": 5.0})
    assert not stored_photons(photons, quiet, seed=3)[0].noise.photon_noise
    assert stored_photons(photons, seed=3)[0].noise.photon_noise


def test_a_store_that_was_read_out_is_as_good_as_one_that_was_rendered(photons, tmp_path):
    location = tmp_path / "counts.zarr"
    read_out(photons, location, seed=11, serial=True)
    found = verify(location, sample=2)
    assert found.good
    assert list(found.compared.values()) == [0.0, 0.0]
    assert not finish(location).missing


def test_labels_are_those_of_the_photons(labelled_photons, tmp_path):
    location = tmp_path / "counts.zarr"
    read_out(labelled_photons, location, seed=11, serial=True)
    read, before = open_series(location, chunks=None), open_series(labelled_photons, chunks=None)
    assert read.drop_vars("counts").drop_attrs().equals(before.drop_attrs())
    pandas.testing.assert_frame_equal(open_spots(location), open_spots(labelled_photons))
    pandas.testing.assert_frame_equal(open_reflections(location), open_reflections(labelled_photons))


def test_another_exposure_multiplies_photons_and_their_labels(labelled_photons, labelled, tmp_path):
    location, other = tmp_path / "counts.zarr", tmp_path / "run.zarr"
    longer = labelled.with_changes(beam={"fluence_photons_per_m2": 2.5e24}, **SEED)
    read_out(labelled_photons, location, longer, serial=True)
    generate(longer, other, serial=True)
    read, rendered, before = (open_series(place, chunks=None) for place in (location, other, labelled_photons))
    ratio = summarize(location).provenance[PHOTONS_OF]["exposure_ratio"]
    assert ratio == pytest.approx(2.5, rel=1e-15)
    np.testing.assert_array_equal(read.intensity, (before.intensity.values.astype(float) * ratio).astype(np.float32))
    for name in ("intensity", "bragg", "background", "resolution", "spot"):
        np.testing.assert_allclose(read[name], rendered[name], rtol=1e-5, atol=1e-5 * float(rendered[name].max()))
    pandas.testing.assert_frame_equal(open_spots(location), open_spots(other), rtol=1e-4)
    found = verify(location, sample=2)
    assert found.good
    assert set(found.foreign.values()) == {"scaled from another exposure"}, "the last bits are not those of rendering"


def test_exposures_of_photons_that_were_scaled_before_multiply(photons, experiment, tmp_path):
    for source, name, fluence in ((photons, "a", 2e24), (tmp_path / "a", "b", 6e24)):
        brighter = experiment.with_changes(beam={"fluence_photons_per_m2": fluence}, **SEED)
        read_out(source, tmp_path / name, brighter, serial=True, frames=range(2))
    (record,) = summarize(tmp_path / "b").records
    assert record["exposure_ratio"] == pytest.approx(6)


def test_an_exposure_said_in_another_way_is_the_same(photons, experiment):
    said = {"fluence_photons_per_m2": None, "flux_photons_per_s": 1e13, "exposure_s": 1e-3, "beam_size_mm": 1e-4}
    _, origin = stored_photons(photons, experiment.with_changes(beam=said, **SEED))
    assert origin.source.exposure_ratio == 1.0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"beam": {"wavelength_A": 1.1}}, "beam.wavelength_A: is 1.1, and 1.0 in "),
        ({"crystal": {"N_cells": (8, 7, 9)}}, "crystal.N_cells.2: is 9, and 6 in "),
        ({"scan": {"frames": 5}}, "scan.frames: is 5, and 6 in "),
        ({"background": {"water_um": 0.1}}, "background.water_um: is 0.1, and 0.0 in "),
        ({"sampling": {"precision": "float64"}}, 'sampling.precision: is "float64", and "float32" in '),
        ({"noise": {"photon_noise": False}}, "noise.photon_noise: is false, so there is nothing to read out"),
    ],
)
def test_an_experiment_with_other_photons_is_refused(changed, said, photons, experiment, tmp_path):
    other = experiment.with_changes(**SEED).with_changes(**changed)
    with pytest.raises(RunError) as refused:
        read_out(photons, tmp_path / "counts.zarr", other, serial=True)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "counts.zarr").exists()


def test_a_background_that_does_not_grow_with_the_exposure_keeps_it(small_experiment, tmp_path):
    flux = {"fluence_photons_per_m2": None, "flux_photons_per_s": 1e12, "exposure_s": 1.0, "beam_size_mm": 0.1}
    panel = {"spixels": 8, "fpixels": 8, "pixel_size_mm": 10.0}
    air = {"air": {"after_mm": 50.0}, "level_photons": 1.0}
    stored = small_experiment(panel=panel, beam=flux, scan={"frames": 1, "phi_steps": 1}, background=air, **SEED)
    generate(stored, tmp_path / "a.zarr", serial=True)
    longer = stored.with_changes(beam={"exposure_s": 2.0})
    with pytest.raises(RunError, match=r"background\.level_photons: does not grow with the exposure, which is 2 times"):
        stored_photons(tmp_path / "a.zarr", longer)
    other = stored.with_changes(beam={"exposure_s": 4.0, "beam_size_mm": 0.2})
    with pytest.raises(RunError, match=r"beam\.beam_size_mm: is 0\.2, and 0\.1 in .*the width of what scatters"):
        stored_photons(tmp_path / "a.zarr", other)


def test_labels_that_are_not_there_need_rendering(photons, experiment, labelled_photons, labelled, tmp_path):
    wanted = experiment.with_changes(labels={"resolution": True, "bragg": True}, **SEED)
    with pytest.raises(RunError, match=r"labels\.bragg: needs rendering; .*photons\.zarr does not hold it"):
        read_out(photons, tmp_path / "a.zarr", wanted, serial=True)
    with pytest.raises(RunError, match=r"labels\.spot_share: is 0\.4, and 0\.5 in .* whose labels are kept"):
        stored_photons(labelled_photons, labelled.with_changes(labels={"spot_share": 0.4}, **SEED))
    read_out(photons, tmp_path / "a.zarr", wanted.with_changes(labels={"bragg": False}), serial=True)
    assert (open_series(tmp_path / "a.zarr").resolution > 0).all(), "what the scene alone decides is made"


def test_an_experiment_without_counts_has_nothing_to_be_read_out(photons, tmp_path):
    with pytest.raises(RunError, match="--experiment names one that does, --seed draws them"):
        read_out(photons, tmp_path / "counts.zarr", serial=True)


def test_files_of_the_experiment_may_have_moved(small_experiment, tmp_path):
    mask = tmp_path / "mask.npy"
    np.save(mask, np.zeros((96, 80)))
    before = small_experiment(panel={"mask_file": mask}, scan={"frames": 1}, **SEED)
    generate(before, tmp_path / "a.zarr", serial=True)
    moved = mask.rename(tmp_path / "moved.npy")
    with pytest.raises(RunError, match=r"mask_file: .*mask\.npy cannot be read.*--experiment names the experiment of"):
        stored_photons(tmp_path / "a.zarr", seed=3)
    there = small_experiment(panel={"mask_file": moved}, scan={"frames": 1}, **SEED)
    assert stored_photons(tmp_path / "a.zarr", there)[0] is there
    np.save(moved, np.ones((96, 80)))
    moved.rename(mask)
    with pytest.raises(
        RunError, match="a file that its experiment names has changed since, or it was rendered by an nbdist"
    ):
        stored_photons(tmp_path / "a.zarr", seed=3)


def test_a_point_spread_of_the_photons_may_be_gone(small_experiment, tmp_path):
    spread = tmp_path / "spread.npy"
    np.save(spread, np.ones((3, 3)))
    of_file = {"point_spread": {"kind": "image", "file": spread, "pixel_size_mm": 1.0}}
    panel = {"spixels": 8, "fpixels": 8, "pixel_size_mm": 10.0}
    before = small_experiment(panel=panel, scan={"frames": 1}, readout=of_file)
    other = before.with_changes(title="other", readout={"point_spread": None}, labels={"resolution": True}, **SEED)
    longer = other.with_changes(beam={"fluence_photons_per_m2": 3e24})
    assert before.photons_fingerprint == other.photons_fingerprint == longer.photons_fingerprint
    assert before.photons_fingerprint != before.with_changes(beam={"wavelength_A": 1.1}).photons_fingerprint
    generate(before, tmp_path / "a.zarr", serial=True)
    moved = spread.rename(tmp_path / "moved.npy")
    assert stored_photons(tmp_path / "a.zarr", other)[0] is other
    assert stored_photons(
        tmp_path / "a.zarr", before.with_changes(readout={"point_spread": {**of_file["point_spread"], "file": moved}})
    )


@pytest.mark.parametrize(
    "error", [MemoryError("large"), OSError("worn"), MissingExtraError("pyarrow"), UnreachableError("far")]
)
def test_what_says_nothing_about_the_frames_is_passed_on(error, photons, monkeypatch):
    experiment, origin = stored_photons(photons, seed=11)
    context = origin.context(experiment, workers=1, device="cpu", location="unmade.zarr")

    def fails(*_):
        raise error

    monkeypatch.setattr("nbdist.run.stored_frames.read_frames", fails)
    with pytest.raises(type(error)) as passed_on:
        PhotonReader(origin.source).frames(context, context.plan.units()[0])
    assert passed_on.value is error


def test_rendering_does_not_go_on_with_photons_of_another_exposure(photons, experiment, tmp_path):
    location = tmp_path / "counts.zarr"
    brighter = experiment.with_changes(beam={"fluence_photons_per_m2": 2e24}, **SEED)
    read_out(photons, location, brighter, serial=True, frames=range(2))
    with pytest.raises(StoreError, match=r"scaled from another exposure; nbdist readout --resume goes on with it"):
        generate(brighter, location, serial=True, resume=True)
    assert summarize(location).complete == {0}
    assert read_out(photons, location, brighter, serial=True, resume=True).frames_done == FRAMES - 2


def test_what_is_not_complete_yet_is_named_and_resume_goes_on(experiment, run_anew, tmp_path):
    source, location = tmp_path / "photons.zarr", tmp_path / "counts.zarr"
    generate(experiment, source, serial=True, frames_per_shard=1, frames=range(1, 2))
    with pytest.raises(UnfinishedError, match=r"photons\.zarr: frames 0, 2 to 5 are not complete; .* by --resume"):
        read_out(source, location, seed=11, serial=True)
    assert summarize(location).complete == {1}
    generate(experiment, source, serial=True, resume=True)
    assert read_out(source, location, seed=11, serial=True, resume=True).frames_done == 5
    assert_same_series(location, run_anew)


@pytest.mark.parametrize("harm", ["cut short", "removed", "flipped"])
def test_a_damaged_frame_is_an_error_and_no_image(harm, copy, run_anew, tmp_path):
    shard, location = copy / "intensity/c/1/0/0", tmp_path / "counts.zarr"
    kept = shard.read_bytes()
    if harm == "removed":
        shard.unlink()
    else:
        shard.write_bytes(kept[:100] if harm == "cut short" else kept[:100] + b"\xff\xff\xff\xff" + kept[104:])
    if harm == "flipped":
        progress = read_out(copy, location, seed=11, serial=True)
        assert "frames 2 to 3 do not decode" in progress.failed[1]
    else:
        with pytest.raises(UnfinishedError, match="frames 2 to 3 are not complete"):
            read_out(copy, location, seed=11, serial=True)
    assert summarize(location).complete == {0, 2}
    shard.write_bytes(kept)
    read_out(copy, location, seed=11, serial=True, resume=True)
    assert_same_series(location, run_anew)


@pytest.mark.parametrize("harm", ["replaced", "removed"])
def test_photons_that_are_replaced_half_way_end_the_run(harm, copy, experiment, run_anew, tmp_path):
    location = tmp_path / "counts.zarr"

    def report(progress):
        if progress.frames_done == 2:
            if harm == "removed":
                copy.rename(tmp_path / "away.zarr")
            else:
                generate(experiment, copy, serial=True, frames_per_shard=2, overwrite=True)

    with pytest.raises(
        StoreError, match=r"copy\.zarr(: there is no store| is another store than the one whose frames)"
    ):
        read_out(copy, location, seed=11, serial=True, report=report)
    assert summarize(location).complete == {0}
    if harm == "removed":
        (tmp_path / "away.zarr").rename(copy)
        read_out(copy, location, seed=11, serial=True, resume=True)
        assert_same_series(location, run_anew)
    else:
        with pytest.raises(StoreError, match=r"counts\.zarr was begun with the photons of .* as it was then"):
            read_out(copy, location, seed=11, serial=True, resume=True)


def test_photons_are_not_overwritten_by_their_counts(copy, tmp_path):
    (tmp_path / "link.zarr").symlink_to(copy)
    for place in (copy, tmp_path / "link.zarr"):
        with pytest.raises(StoreError, match="holds the photons that are read out"):
            read_out(copy, place, seed=11, serial=True, overwrite=True)
    with pytest.raises(NbdistError, match="exists; --resume goes on with it"):
        read_out(copy, copy, seed=11, serial=True)
    assert summarize(copy).found.finished


def test_a_store_that_was_rendered_goes_on_by_rendering(photons, run_anew):
    with pytest.raises(StoreError, match="was begun by rendering; nbdist run --resume goes on with it"):
        read_out(photons, run_anew, seed=11, serial=True, resume=True)


def test_parts_make_the_whole(photons, run_anew, tmp_path):
    location = tmp_path / "counts.zarr"
    for number in (2, 1):
        read_out(photons, location, seed=11, part=Part(number, 2))
        if number == 2:
            summary = summarize(location)
            assert commands_to_go_on(summary, summary.found.missing) == [
                f"nbdist readout {photons} -o {location} --seed 11 --part 1/2"
            ]
    assert not finish(location).missing
    assert_same_series(location, run_anew)


@pytest.mark.slow
@pytest.mark.integration
def test_a_killed_readout_resumes_to_the_same_bits(photons, run_anew, tmp_path):
    location = tmp_path / "counts.zarr"
    program = f"""
import os, signal, nbdist
def report(progress):
    if progress.frames_done >= 2:
        os.kill(os.getpid(), signal.SIGKILL)
nbdist.read_out({str(photons)!r}, {str(location)!r}, seed=11, serial=True, report=report)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    assert summarize(location).complete == {0}
    assert read_out(photons, location, seed=11, serial=True, resume=True).frames_done == FRAMES - 2
    assert_same_series(location, run_anew)
