"""What must not pass for a good run: parts of another store, numbers that no image has, places that differ between processes."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from nbdist.errors import ExperimentError, RunError, StoreError
from nbdist.experiment import load_experiment
from nbdist.run import opening
from nbdist.run.generate import generate
from nbdist.run.simulate import simulate_frame, simulate_series
from nbdist.run.verify import verify
from nbdist.scene import resolve
from nbdist.store import UnitWriter, open_group, summarize
from nbdist.store.units import store_id_of


def two_panels(small_experiment, rows, region=None):
    """Two panels of odd height, one above the other in the lab, without a gap."""
    panel = {"spixels": rows, "fpixels": 80, "pixel_size_mm": 0.4}
    upper = {**panel, "origin_mm": [-16, -0.4 * rows, 100], "fast_axis": [1, 0, 0], "slow_axis": [0, 1, 0]}
    lower = {**upper, "origin_mm": [-16, 0, 100]}
    detector = {"convention": "custom", "panels": [upper, lower], "region_of_interest": region}
    beam = {"direction": [0, 0, 1], "polarization_vector": [1, 0, 0]}
    return small_experiment(detector=detector, beam=beam, scan={"spindle_axis": [1, 0, 0]})


def one_panel(small_experiment, rows):
    """The same pixels as one panel."""
    experiment = two_panels(small_experiment, rows)
    panel = experiment.detector.panels[0].model_dump()
    return experiment.with_changes(detector={"panels": [{**panel, "spixels": 2 * rows}]})


@pytest.mark.parametrize("rows", [1, 60, 195])
def test_panels_of_any_height_make_the_image_of_one(small_experiment, rows):
    experiment = two_panels(small_experiment, rows)
    images = [simulate_frame(experiment, 1, kernel="eager", panel=panel) for panel in (0, 1)]
    whole = simulate_frame(one_panel(small_experiment, rows), 1, kernel="eager")
    assert np.abs(np.concatenate(images) - whole).max() <= 1e-6 * whole.max()
    for panel, image in enumerate(images):
        lazy = simulate_series(experiment, kernel="eager", tile=(50, 37), panel=panel)
        np.testing.assert_array_equal(lazy[1].compute(scheduler="synchronous"), image)


def test_panels_of_one_size_are_an_axis_and_others_are_chosen(small_experiment):
    equal = two_panels(small_experiment, 98)
    upper, lower = (panel.model_dump() for panel in equal.detector.panels)
    others = equal.with_changes(detector={"panels": [upper, {**lower, "spixels": 60}]})
    image, lazy = simulate_frame(equal, kernel="eager"), simulate_series(equal, kernel="eager")
    assert (image.shape, lazy.dims) == ((2, 98, 80), ("frame", "panel", "slow", "fast"))
    np.testing.assert_array_equal(lazy[0].compute(scheduler="synchronous"), image)
    for simulate in (simulate_frame, simulate_series):
        with pytest.raises(RunError, match="choose one: panel=0"):
            simulate(others, kernel="eager")
        with pytest.raises(RunError, match="panel 2 lies outside 0:2"):
            simulate(others, kernel="eager", panel=2)


def test_a_run_whose_store_was_replaced_writes_nothing_into_the_new_one(small_experiment, tmp_path):
    mine, other, place = small_experiment(), small_experiment(crystal={"N_cells": [3, 3, 3]}), tmp_path / "a.zarr"
    generate(mine, place, serial=True, kernel="eager", frames=range(1), frames_per_shard=1)
    writer = UnitWriter(place)
    generate(other, place, serial=True, kernel="eager", overwrite=True, frames_per_shard=1)
    unit = summarize(place).units[1]
    with pytest.raises(StoreError, match="another run replaced it"):
        writer.write(unit, [{"intensity": [np.zeros(mine.detector.shapes[0], np.float32)]}], {"frames": [1, 2]})
    assert verify(place, sample=3).good


def test_records_of_another_store_do_not_count(small_experiment, tmp_path):
    experiment = small_experiment()
    for name in ("a.zarr", "b.zarr"):
        generate(experiment, tmp_path / name, serial=True, kernel="eager", frames_per_shard=1)
    record = "records/00000001.json"
    (tmp_path / "a.zarr" / record).write_bytes((tmp_path / "b.zarr" / record).read_bytes())
    (tmp_path / "a.zarr/records/finished.json").unlink()
    assert summarize(tmp_path / "a.zarr").complete == {0, 2}


def test_numbers_that_no_image_has_are_not_recorded_as_done(small_experiment, tmp_path):
    experiment = small_experiment(beam={"fluence_photons_per_m2": 1e90})
    progress = generate(experiment, tmp_path / "a.zarr", serial=True, kernel="eager")
    assert progress.failed
    assert all("inf photons" in error for error in progress.failed.values())
    assert not summarize(tmp_path / "a.zarr").complete


def test_a_pixel_at_the_sample_is_refused(small_experiment):
    with pytest.raises(ExperimentError, match=r"panels\.0.*contains the sample"):
        resolve(small_experiment(panel={"origin_mm": [-0.4, -0.4, 1e-300]}))


def test_a_linked_store_is_replaced_where_the_link_leads(small_experiment, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "kept.txt").write_text("not ours")
    link = tmp_path / "a.zarr"
    link.symlink_to(tmp_path / "far" / "a.zarr")
    generate(small_experiment(), tmp_path / "far" / "a.zarr", serial=True, kernel="eager")
    generate(small_experiment(scan={"frames": 2}), link, serial=True, kernel="eager", overwrite=True)
    assert link.is_symlink()
    assert summarize(link).frames == 2
    assert (tmp_path / "far" / "kept.txt").exists()


@pytest.mark.integration
def test_workers_in_another_folder_write_to_the_place_that_was_meant(small_experiment, tmp_path, client, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the workers were started elsewhere
    generate(small_experiment(), "a.zarr", client)
    assert summarize(tmp_path / "a.zarr").frames_complete == 3


def test_a_store_has_a_name_of_its_own(small_experiment, tmp_path):
    import zarr

    names = set()
    for name in ("a.zarr", "b.zarr"):
        generate(small_experiment(), tmp_path / name, serial=True, kernel="eager")
        names.add(store_id_of(zarr.open_group(tmp_path / name, mode="r")))
    assert len(names - {""}) == 2


def test_a_store_keeps_its_kernel(small_experiment, tmp_path):
    generate(small_experiment(), tmp_path / "a.zarr", serial=True, kernel="eager", frames=range(1), frames_per_shard=1)
    with pytest.raises(StoreError, match="eager kernel"):
        generate(small_experiment(), tmp_path / "a.zarr", serial=True, kernel="compiled", resume=True)
    generate(small_experiment(), tmp_path / "a.zarr", serial=True, resume=True)
    assert {record["kernel"] for record in summarize(tmp_path / "a.zarr").records} == {"eager"}


def test_the_carried_over_step_is_for_traces_only(small_experiment):
    with pytest.raises(ExperimentError, match="phi_zero_carryover"):
        simulate_frame(small_experiment(scan={"phi_zero_carryover": True}), kernel="eager")


def test_a_normal_that_nobody_gave_points_away_from_the_sample(small_experiment):
    axes = {"fast_axis": [1, 0, 0], "slow_axis": [0, -1, 0]}
    beam = {"direction": [0, 0, 1], "polarization_vector": [1, 0, 0]}
    for place in ({"origin_mm": [-20, 20, 100]}, {"distance_mm": 100}):
        detector = {"convention": "custom", "panels": [{"spixels": 50, "fpixels": 50, **axes, **place}]}
        (panel,) = resolve(small_experiment(detector=detector, beam=beam)).instrument.panels
        np.testing.assert_allclose(panel.normal, [0, 0, 1])
        assert panel.close_distance_m == pytest.approx(0.1)
        assert panel.distance_m == pytest.approx(0.1)


def test_a_normal_towards_the_sample_is_refused(small_experiment):
    axes = {"fast_axis": [1, 0, 0], "slow_axis": [0, 1, 0], "normal_axis": [0, 0, 1]}
    beam = {"direction": [0, 0, 1], "polarization_vector": [1, 0, 0]}
    panel = {"spixels": 50, "fpixels": 50, **axes, "origin_mm": [-20, -20, -100]}
    with pytest.raises(ExperimentError, match=r"panels\.0.*away"):
        resolve(small_experiment(detector={"convention": "custom", "panels": [panel]}, beam=beam))


def test_the_distance_of_an_explicit_origin_is_its_own(small_experiment):
    (panel,) = resolve(small_experiment(panel={"origin_mm": [-20, -20, 500]})).instrument.panels
    assert panel.distance_m == pytest.approx(0.5)


def test_a_wavelength_in_metres_is_noticed(small_experiment):
    with pytest.raises(ExperimentError, match=r"sampling\.oversample.*wavelength"):
        resolve(small_experiment(beam={"wavelength_A": 0.9768e-10}, sampling={"oversample": "auto"}))


def test_a_relative_variable_is_relative_to_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBDIST_TEST_DATA", f"..{os.sep}{tmp_path.name}{os.sep}data")
    file = tmp_path / "elsewhere" / "e.yaml"
    file.write_text(
        "crystal: {cell: [40, 50, 60, 90, 90, 90]}\nstructure_factors: {kind: file, file: $NBDIST_TEST_DATA/a.hkl}\n"
    )
    (path,) = load_experiment(file).named_files().values()
    assert path.parent.resolve() == (tmp_path / "data").resolve()


@pytest.mark.parametrize("how", ["made", "reopened"])
def test_a_run_holds_on_to_the_name_that_it_checked(how, small_experiment, tmp_path, monkeypatch):
    place, names = tmp_path / "a.zarr", []
    cut = {"serial": True, "kernel": "eager", "frames_per_shard": 1}
    generate(small_experiment(beam={"wavelength_A": 1.1}), tmp_path / "b.zarr", frames=range(1), **cut)
    if how == "reopened":
        generate(small_experiment(), place, frames=range(1), **cut)

    def replaced(original):
        def step(location, *arguments, **options):
            made = original(location, *arguments, **options)
            names.append(store_id_of(open_group(location)))
            shutil.rmtree(place)
            shutil.copytree(tmp_path / "b.zarr", place)
            return made

        return step

    step = "create_store" if how == "made" else "complete_store"
    monkeypatch.setattr(opening, step, replaced(getattr(opening, step)))
    with pytest.raises(StoreError, match="another store than the one this run began"):
        generate(small_experiment(), place, resume=how == "reopened", **cut)
    assert summarize(place).complete == {0}, "nothing was written into the other's store"
    assert store_id_of(open_group(place)) not in names
