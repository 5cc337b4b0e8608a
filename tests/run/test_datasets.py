"""Samples of recipes rendered into a store: the same bits however it is cut, whoever renders them, and however long it is."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run_command
from harm import Harm
from injected import in_process_client
from recipes import OTHERS, PANEL, STILL, recipe
from waiting import until

import nbdist
from nbdist import generate_dataset, verify
from nbdist.errors import ExperimentError, NbdistError, RunError, StoreError
from nbdist.frames.exposure import fluence_factors
from nbdist.native import build
from nbdist.planning import Cut
from nbdist.planning.cost import instrument_bytes
from nbdist.run.datasets import DatasetSubject
from nbdist.run.failures import ErrorLine
from nbdist.run.finish import finish
from nbdist.run.generate import fill_store
from nbdist.run.rendering import finished_frame, padded, render_frame
from nbdist.run.sample_contexts import KEPT_INSTRUMENT_BYTES, sample_contexts
from nbdist.run.settings import RunSettings
from nbdist.scene.amplitudes import _rung_A, load_reflections
from nbdist.store import open_group, summarize
from nbdist.store.parts import Part
from nbdist.store.schema import schema_of
from nbdist.store.table_reading import read_table

pytestmark = pytest.mark.usefixtures("cards_without_pictures")
SAMPLES = 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cards_without_pictures):
    """Make, once for each name, the store of a data set that is rendered here, a unit after the other."""
    made: dict[str, Path] = {}

    def store(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("datasets") / "whole.zarr"
            its, location = recipe(name), made[name]
            progress = generate_dataset(its, location, SAMPLES, serial=True, frames_per_shard=its.frames_per_sample)
            assert (progress.counted, progress.done, progress.total) == ("samples", SAMPLES, SAMPLES)
        return made[name]

    return store


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole("still"), tmp_path / "copy.zarr"))


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """No compiler, and no kernel compiled yet, neither in the process nor on the disk."""
    monkeypatch.setenv("NBDIST_KERNELS", str(tmp_path))
    monkeypatch.setenv("CXX", "/nowhere/g++")
    build.load.cache_clear()
    yield
    build.load.cache_clear()


def contents(location):
    """All that a data set holds, by array, and by table and column."""
    group = open_group(location)
    schema = schema_of(group)
    tables = {table.name: read_table(location, table.name).to_pydict() for table in schema.tables}
    return {array.name: group[array.name][:] for array in schema.arrays}, tables


def assert_same_samples(one, other, samples=SAMPLES):
    """Fail unless two data sets hold the same of their first samples, to the bit."""
    (images, tables), (others, rows) = contents(one), contents(other)
    assert images.keys() == others.keys()
    assert tables.keys() == rows.keys()
    together = len(images["intensity"]) // summarize(one).samples
    for name, values in images.items():
        assert values.any(), f"{name} is empty: comparing it says nothing"
        np.testing.assert_array_equal(values[: samples * together], others[name][: samples * together], err_msg=name)
    for name, columns in tables.items():
        first, second = (np.array(its[name]["sample"]) < samples for its in (tables, rows))
        for column, values in columns.items():
            its = np.array(values)[first], np.array(rows[name][column])[second]
            np.testing.assert_array_equal(*its, err_msg=f"{name}.{column}")


@pytest.mark.parametrize("name", OTHERS)
def test_a_sample_alone_is_what_the_store_holds_of_it(name, whole):
    location, number = whole(name), 3
    its, (images, tables) = nbdist.sample(recipe(name), number), contents(location)
    together = summarize(location).frames_per_sample
    assert its.images.keys() == images.keys()
    for array, values in images.items():
        of_sample = values[number * together : (number + 1) * together]
        np.testing.assert_array_equal(its.images[array], of_sample, err_msg=array)
        assert its.images[array].dtype == values.dtype
    for table, columns in tables.items():
        rows = np.array(columns["sample"]) == number
        assert its.tables[table].keys() == columns.keys()
        for column, values in columns.items():
            np.testing.assert_array_equal(its.tables[table][column], np.array(values)[rows], err_msg=column)
    drawn = recipe(name).draw(number)
    assert (its.experiment, its.values, its.split, its.crystal) == (
        drawn.experiment,
        drawn.values,
        drawn.split,
        drawn.crystal,
    )


def test_a_smaller_detector_lies_at_the_top_left_and_the_rest_is_a_gap(whole):
    of_recipe, (images, _) = recipe("two detectors"), contents(whole("two detectors"))
    shapes = [of_recipe.draw(number).experiment.detector.shapes[0] for number in range(SAMPLES)]
    assert len(set(shapes)) > 1, "or there is nothing to see"
    for number, (slow, fast) in enumerate(shapes):
        outside = np.ones((96, 90), dtype=bool)
        outside[:slow, :fast] = False
        for name, gap in {"intensity": 0, "bragg": 0, "counts": -1, "mask": 1, "spot": 0}.items():
            assert (images[name][number][outside] == gap).all(), name
        assert (images["mask"][number][~outside] == 0).all()
        assert (images["intensity"][number][~outside] > 0).all()


def test_a_data_set_of_another_cut_by_two_workers_has_the_same_bits(whole, tmp_path):
    with in_process_client({}, {}) as client:
        progress = generate_dataset(recipe("wedge"), tmp_path / "a.zarr", SAMPLES, client, frames_per_shard=6)
    assert progress.failed == {}
    assert summarize(tmp_path / "a.zarr").units.size != summarize(whole("wedge")).units.size
    assert_same_samples(tmp_path / "a.zarr", whole("wedge"))


def test_two_parts_make_the_whole(whole, tmp_path):
    for number in (1, 2):
        generate_dataset(recipe(), tmp_path / "a.zarr", SAMPLES, part=Part(number, 2), frames_per_shard=1)
    assert finish(tmp_path / "a.zarr").missing == set()
    assert_same_samples(tmp_path / "a.zarr", whole("still"))


def test_a_data_set_grows_and_stays_the_same(whole, tmp_path):
    location = tmp_path / "a.zarr"
    generate_dataset(recipe(), location, 3, serial=True, frames_per_shard=2)
    name, rendered = summarize(location).provenance["created"], []

    def render(context, frame):
        rendered.append(context.scene.sample)
        return render_frame(context, frame)

    settings = RunSettings(serial=True, resume=True)
    progress = fill_store(DatasetSubject(recipe(), SAMPLES, grows=True, render_frame=render), location, settings)
    assert rendered == [2, 3, 4], "the last unit was not full, and is rendered whole"
    assert progress.done == 3
    summary = summarize(location)
    assert (summary.samples, summary.found.finished, summary.provenance["created"]) == (SAMPLES, True, name)
    assert_same_samples(location, whole("still"))


def test_what_a_data_set_lacks_is_rendered_again_and_nothing_else(copy, whole):
    unit = summarize(copy).units[1]
    (copy / f"records/{unit.number:08d}.json").unlink()
    progress = generate_dataset(recipe(), copy, resume=True, serial=True)
    assert progress.done == len(unit.frames), "the store knows how many samples it has"
    assert_same_samples(copy, whole("still"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"samples": 9, "resume": True}, "has 5 samples, and not 9; --grow 9 makes it longer"),
        ({"samples": 4, "resume": True}, "has 5 samples; it can grow to more, and not to 4"),
        ({"samples": 4, "grow": True}, "has 5 samples; it can grow to more, and not to 4"),
        ({"samples": 5}, "exists; --resume goes on with it"),
        ({"resume": True, "recipe": {"seed": 8}}, "holds another recipe"),
    ],
)
def test_a_data_set_is_not_gone_on_with_as_another_one(asked, said, copy):
    sections = {name: asked.pop(name) for name in ("recipe",) if name in asked}
    with pytest.raises(StoreError, match=said):
        generate_dataset(recipe(**sections), copy, serial=True, **asked)
    assert summarize(copy).found.finished


def test_what_is_not_there_does_not_grow_and_a_new_data_set_has_a_number(tmp_path):
    with pytest.raises(StoreError, match="there is no data set of this recipe that could grow"):
        generate_dataset(recipe(), tmp_path / "a.zarr", 3, grow=True, serial=True)
    with pytest.raises(RunError, match="samples: should be given"):
        generate_dataset(recipe(), tmp_path / "a.zarr", serial=True)
    with pytest.raises(RunError, match="frames per shard: 4 are not whole samples of 3 frames; a multiple of 3"):
        generate_dataset(recipe("wedge"), tmp_path / "a.zarr", 3, serial=True, frames_per_shard=4)
    assert not (tmp_path / "a.zarr").exists()


def test_a_series_and_a_data_set_do_not_go_on_with_each_other(copy, small_experiment, tmp_path):
    with pytest.raises(StoreError, match="holds another experiment"):
        nbdist.generate(small_experiment(), copy, serial=True, resume=True)
    nbdist.generate(small_experiment(), tmp_path / "a.zarr", serial=True)
    with pytest.raises(StoreError, match="is a series; expected a data set"):
        generate_dataset(recipe(), tmp_path / "a.zarr", 3, serial=True, resume=True)


def test_a_sample_that_cannot_be_drawn_is_a_unit_that_failed_with_its_sample_and_field(tmp_path):
    wrong = {"misset_deg": {"rotation": "uniform"}, "cell": [40.0, 45.0, 50.0, 80.0, 95.0, {"uniform": [100.0, 190.0]}]}
    drawn = recipe(crystal={**STILL["crystal"], **wrong})
    fails = []
    for number in range(8):
        try:
            drawn.draw(number)
        except ExperimentError:
            fails.append(number)
    assert 0 < len(fails) < 8
    progress = generate_dataset(drawn, tmp_path / "a.zarr", 8, serial=True, frames_per_shard=1)
    assert sorted(progress.failed) == fails
    for number, error in progress.failed.items():
        assert str(error).count(f"sample {number}: ") == 1
        assert "crystal.cell" in error
    with pytest.raises(ExperimentError, match=rf"^sample {fails[0]}: crystal.cell"):
        nbdist.sample(drawn, fails[0])


@pytest.mark.parametrize(
    ("sections", "said", "lasting"),
    [
        ({"detector": {"panels": [{**PANEL, "rotation_deg": [0, {"choice": [0, 90]}, 0]}]}}, "detector.panel", True),
        ({"scan": {"frames": 1, "phi_zero_carryover": {"choice": [False, True]}}}, "scan.phi_zero", True),
        (
            {"detector": {"panels": [{**PANEL, "mask_file": {"choice": ["gone.npy", "a.npy"]}}]}},
            "detector.panel",
            False,
        ),
    ],
)
def test_a_sample_that_is_no_experiment_is_not_tried_again_and_one_of_a_file_that_is_away_is(
    sections, said, lasting, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.zeros((96, 80), dtype=np.uint8))
    drawn = recipe(**sections)
    contexts, errors = sample_contexts(drawn, 9), {}
    for number in range(9):
        try:
            with contexts.frame(number):
                pass
        except NbdistError as error:
            errors[f"sample {number}: {said}"] = error
    assert 0 < len(errors) < 9
    assert all(str(error).startswith(start) for start, error in errors.items())
    assert {ErrorLine.of(error).lasting for error in errors.values()} == {lasting}


@pytest.fixture
def of_a_list(tmp_path):
    """A recipe of amplitudes in a file, and what writes other ones into it, behind its date."""
    file = tmp_path / "F.hkl"

    def write(F: int) -> None:
        file.write_text(
            "".join(f"{h} {k} {l} {F}\n" for h in range(-9, 10) for k in range(-9, 10) for l in range(1, 9))
        )
        os.utime(file, ns=(0, 0))

    write(10)
    return recipe(structure_factors={"kind": "file", "file": str(file)}), write


def test_a_sample_is_of_what_a_file_holds_now(of_a_list):
    drawn, write = of_a_list
    first = nbdist.sample(drawn, 0).images["bragg"]
    write(20)
    np.testing.assert_allclose(nbdist.sample(drawn, 0).images["bragg"], 4 * first, rtol=1e-5)


def test_a_data_set_does_not_grow_by_samples_of_another_file(of_a_list, tmp_path):
    drawn, write = of_a_list
    generate_dataset(drawn, tmp_path / "a.zarr", 2, serial=True)
    write(20)
    with pytest.raises(StoreError, match="holds another recipe"):
        generate_dataset(drawn, tmp_path / "a.zarr", 4, serial=True, grow=True)


def test_a_file_that_is_another_where_samples_are_rendered_is_met(of_a_list):
    drawn, write = of_a_list
    contexts = sample_contexts(drawn, 4)
    contexts.of(0)
    elsewhere = pickle.loads(pickle.dumps(contexts))
    write(20)
    for its in (contexts, elsewhere):
        with (
            pytest.raises(
                RunError, match=r"^sample 1: structure_factors\.file: .*F\.hkl has changed since the run"
            ) as met,
            its.frame(1),
        ):
            pass
        assert not ErrorLine.of(met.value).lasting, "another machine may have the file"
    write(10)
    assert elsewhere.of(1).scene.sample == 1


def test_a_sample_that_cannot_be_rendered_is_named(tmp_path):
    def render(context, frame):
        if context.scene.sample == 2:
            raise RunError("crystal: a field is named")
        if context.scene.sample == 3:
            raise ValueError("a fault of nbdist")
        return render_frame(context, frame)

    subject = DatasetSubject(recipe("wedge"), 4, render_frame=render)
    settings = RunSettings(serial=True, cut=Cut(frames_per_shard=3))
    progress = fill_store(subject, tmp_path / "a.zarr", settings)
    assert {unit: str(error).partition(" (")[0] for unit, error in progress.failed.items()} == {
        2: "RunError: sample 2: crystal: a field is named",
        3: "RunError: sample 3: ValueError: a fault of nbdist",
    }
    assert all("test_datasets.py" in error.traceback for error in progress.failed.values())


def test_two_samples_share_no_random_number():
    powder = {"rings": [{"d_A": 3.0, "intensity": 1.0}], "photons": 1e4, "texture": 0.5}
    crystal = {**STILL["crystal"], "misset_deg": [1.0, 2.0, 3.0]}
    caps = {**crystal, "mosaic_spread_deg": 0.5, "mosaic_domains": 3}
    normal = {**crystal, "mosaicity": {"sigma_deg": 0.1, "domains": 4}}
    beam = {
        "wavelength_A": 1.0,
        "fluence_photons_per_m2": 1e24,
        "exposure_jitter_sigma": 0.1,
        "flicker": {"sigma": 0.1},
    }
    drawn = recipe(
        beam=beam,
        crystal=None,
        crystals=[caps, normal],
        structure_factors={"kind": "wilson", "d_min_A": 2.5, "seed": 1},
        sampling={"method": "sum", "oversample": 1},
        scan={"frames": 2, "osc_range_deg": 0.5, "phi_steps": 2},
        background={"level_photons": 3.0, "powder": [powder]},
        labels={},
    )
    contexts = sample_contexts(drawn, 3)
    scenes = [contexts.of(number).scene for number in range(3)]
    for one, other in combinations(scenes, 2):
        assert one.experiment != other.experiment, "they differ in their seeds"
        assert not np.isin(one.specimen.lattices[0].mosaic[1:], other.specimen.lattices[0].mosaic[1:]).any()
        turns = (its.specimen.lattices[1].normal_domains.turns_rad(0) for its in (one, other))
        assert not np.isin(*turns).any()
        factors = (fluence_factors(its.experiment, range(2), its.sample) for its in (one, other))
        assert not np.isin(*factors).any()
        rings = [its.instrument.background.powders[0].seed for its in (one, other)]
        assert rings[0] != rings[1]
    flat = [np.full((96, 80), 100.0, dtype=np.float32)]
    noise = [contexts.of(number).readout.counts(flat, frame, number)[0] for number in range(3) for frame in range(2)]
    for one, other in combinations(noise, 2):
        # equal by chance in 1 / (2 sqrt(pi 100)) = 2.8 % of the pixels: 217 of 7680, with a deviation of 15
        assert (one == other).sum() < 217 + 5 * 15
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_samples_share_what_they_have_alike_and_no_more():
    contexts = sample_contexts(recipe(beam={"wavelength_A": 1.0, "fluence_photons_per_m2": 1e24}, background=None), 9)
    samples = [contexts.of(number) for number in range(9)]
    assert len({id(its.scene.instrument) for its in samples}) == 1
    assert len({id(its.renderer.backend) for its in samples}) == 1
    kept = {its.scene.experiment.structure_factors.seed for its in samples}
    assert len(contexts._amplitudes._kept) == len(kept) < 9, "one for each crystal, however it is turned"
    other = sample_contexts(recipe(), 3)
    assert len({id(other.of(number).scene.instrument) for number in range(3)}) == 3, "their wavelengths differ"


DRAWN: dict[str, dict[str, Any]] = {
    "beam": {"beam": {"wavelength_A": 1.0, "fluence_photons_per_m2": {"uniform": [1e24, 1e25]}}},
    "detector": {"detector": {"convention": "xds", "panels": [{**PANEL, "distance_mm": {"uniform": [90, 110]}}]}},
    "sampling": {"sampling": {"method": "integrated", "d_min_A": {"uniform": [2.0, 4.0]}}},
    "background": {"background": {"water_um": {"uniform": [1.0, 9.0]}}},
    "absorption": {
        "absorption": {
            "capillary": {"inner_radius_um": 200, "wall_um": {"uniform": [5, 90]}, "attenuation_length_um": 50}
        }
    },
    "shadows": {"shadows": {"beam_stop": {"distance_mm": 20, "size_mm": {"uniform": [1.0, 9.0]}}}},
    "readout": {"readout": {"offset_adu": {"uniform": [0.0, 50.0]}}},
    "scan": {
        "scan": {"frames": 1, "osc_range_deg": 0.0, "spindle_axis": [1, {"uniform": [-0.5, 0.5]}, 0]},
        "absorption": {"capillary": {"inner_radius_um": 200, "wall_um": 50, "attenuation_length_um": 50}},
    },
}
"""Something that is drawn of each section of which instruments, their backgrounds and their read-out are made."""


@pytest.mark.parametrize("section", DRAWN)
def test_samples_of_other_instruments_share_none(section):
    of_one = {"beam": {"wavelength_A": 1.0, "fluence_photons_per_m2": 1e24}, "background": {"level_photons": 1.0}}
    contexts = sample_contexts(recipe(**{**of_one, **DRAWN[section]}), 3)
    samples = [contexts.of(number) for number in range(3)]
    assert len({id(its.scene.instrument) for its in samples}) == 3
    images = [finished_frame(its, 0, render_frame(its, 0))["counts"][0] for its in samples]
    assert not np.array_equal(images[0], images[1]), "or there is nothing to see"
    alone = sample_contexts(contexts.recipe, 3).of(2)
    np.testing.assert_array_equal(images[2], finished_frame(alone, 0, render_frame(alone, 0))["counts"][0])


@pytest.mark.usefixtures("no_compiler")
def test_that_no_kernel_can_be_compiled_is_met_once(caplog):
    pytest.importorskip("torch")
    contexts = sample_contexts(recipe(), 3)
    with caplog.at_level(logging.WARNING, logger="nbdist"):
        assert contexts.backend.why_eager, "a worker says so before its first task"
        assert {contexts.of(number).backend.mode for number in range(3)} == {"eager"}
    assert sum("the kernel cannot be compiled" in record.getMessage() for record in caplog.records) == 1


def test_amplitudes_do_not_depend_on_who_asked_for_them_first():
    model = {"kind": "wilson", "d_min_A": 2.5, "seed": 3}
    turned = sample_contexts(recipe(structure_factors=model), 6)
    alone = [sample_contexts(turned.recipe, 6).of(number).renderer.diffraction.lists[0].amplitudes for number in (4, 1)]
    for number in (1, 4):
        turned.of(number)
    again = [turned.of(number).renderer.diffraction.lists[0].amplitudes for number in (4, 1)]
    for one, other in zip(alone, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(turned._amplitudes._kept) == 1


def test_amplitudes_that_reach_to_the_detector_are_made_for_a_few_resolutions(tmp_path):
    file = tmp_path / "F.hkl"
    file.write_text("".join(f"{h} {k} {l} {5 + h % 3}\n" for h in range(-9, 10) for k in range(9) for l in range(1, 9)))
    panel = {**PANEL, "distance_mm": {"uniform": [100.0, 300.0]}}
    drawn = recipe(
        crystal={**STILL["crystal"], "space_group": "P 1"},
        detector={"convention": "xds", "panels": [panel]},
        structure_factors={"kind": "file", "file": str(file), "missing": "wilson"},
    )
    contexts = sample_contexts(drawn, 12)
    finest = {contexts.of(number).scene.finest_A for number in range(12)}
    assert len(finest) == 12
    assert len(contexts._amplitudes._kept) < 9, "four an octave"
    rungs = np.array([_rung_A(its) for its in finest])
    assert (rungs <= [*finest]).all()
    assert (rungs > 0.84 * np.array([*finest])).all()


def test_calibration_is_the_detectors_wherever_it_stands():
    panel = {**PANEL, "distance_mm": {"uniform": [100.0, 300.0]}}
    drawn = recipe(detector={"convention": "xds", "panels": [panel]}, readout={"calibration_sigma": 0.1})
    contexts = sample_contexts(drawn, 3)
    samples = [contexts.of(number) for number in range(3)]
    assert len({id(its.scene.instrument) for its in samples}) == 3
    assert len({id(its.readout) for its in samples}) == 1
    two = sample_contexts(recipe("two detectors", readout={"calibration_sigma": 0.1}), SAMPLES)
    samples = [two.of(number) for number in range(SAMPLES)]
    for its in samples:
        assert its.readout.panels[0].usable.shape == its.scene.instrument.shapes[0]


def test_what_samples_share_takes_a_fixed_number_of_bytes(monkeypatch):
    contexts = sample_contexts(recipe(), 40)
    one = instrument_bytes(contexts.of(0).scene, "compiled")
    monkeypatch.setattr("nbdist.run.sample_contexts.KEPT_INSTRUMENT_BYTES", 3 * one)
    monkeypatch.setattr(contexts, "_amplitudes", type(contexts._amplitudes)(1))
    for number in range(20):
        contexts.of(number)
    assert len(contexts._instruments) == 3
    assert len(contexts._amplitudes._kept) == 1
    assert KEPT_INSTRUMENT_BYTES >= 256 * 2**20


@pytest.mark.parametrize(("missing", "each"), [("default_F", False), ("wilson", True)])
def test_amplitudes_that_reach_to_each_detector_are_planned_for(missing, each, tmp_path):
    file = tmp_path / "F.hkl"
    file.write_text("1 0 0 5\n")
    drawn = recipe(
        crystal={**STILL["crystal"], "space_group": "P 1"},
        structure_factors={"kind": "file", "file": str(file), "missing": missing},
    )
    of_one, of_nine = (sample_contexts(drawn, samples) for samples in (1, 9))
    assert drawn.one_crystal
    scene = of_one.of(0).scene
    instrument = instrument_bytes(scene, "compiled") + of_one.of(0).readout.kept_bytes
    amplitudes = sum(its.nbytes for its in load_reflections(scene))
    kept = of_nine.plan.memory.shared - of_one.plan.memory.shared
    assert kept == 8 * (instrument + each * amplitudes)


def test_a_data_set_that_is_gone_on_with_is_planned_with_its_kernel():
    new = sample_contexts(recipe(), 9, kernel="eager")
    assert sample_contexts(recipe(), 9, settings=new.plan.settings).plan.memory == new.plan.memory


def test_contexts_travel_without_what_they_keep():
    contexts = sample_contexts(recipe(), 3)
    kept = contexts.of(1)
    travelled = pickle.loads(pickle.dumps(contexts))
    assert len(pickle.dumps(contexts)) < 20_000
    np.testing.assert_array_equal(render_frame(travelled.of(1), 0), render_frame(kept, 0))


def test_padding_leaves_what_is_as_large_alone():
    image = np.ones((2, 3), dtype=np.float32)
    assert padded({"intensity": [image]}, [], [(2, 3)])["intensity"][0] is image


@pytest.mark.parametrize("name", ["two detectors", "wedge"])
def test_samples_of_a_data_set_are_rendered_again_to_the_same_bits(name, whole):
    found = verify(whole(name), sample=4)
    assert found.good, found
    assert len(found.compared) == 4
    assert set(found.compared.values()) == {0.0}


def test_a_data_set_is_checked_by_its_recipe_and_not_by_an_experiment(copy, small_experiment):
    with pytest.raises(StoreError, match="is a data set; --recipe names its files, and --experiment does not"):
        verify(copy, experiment=small_experiment())


def test_a_sample_that_is_another_is_found(tmp_path):
    def render(context, frame):
        brighter = 2 if context.scene.sample == 1 else 1
        return [brighter * image for image in render_frame(context, frame)]

    subject = DatasetSubject(recipe(), 3, render_frame=render)
    fill_store(subject, tmp_path / "a.zarr", RunSettings(serial=True))
    found = verify(tmp_path / "a.zarr", sample=3)
    assert (found.wrong.keys(), found.damaged, found.card) == ({1}, {}, None)


def test_the_command_makes_continues_and_grows_a_data_set(whole, tmp_path, monkeypatch, capsys):
    file, store = tmp_path / "stills.json", tmp_path / "a.zarr"
    file.write_text(json.dumps(recipe().content))

    def command(*words):
        return run_command(["dataset", str(file), "-o", str(store), *words], monkeypatch, capsys)

    assert "samples: should be given" in command().err
    assert "--grow and --samples exclude each other" in command("--grow", "4", "--samples", "3").err
    made = command("--samples", "3", "--serial", "--frames-per-shard", "2")
    assert made.status == 0
    assert ": 3 samples in " in made.out
    assert "3/3 samples, 1 cpu worker(s)" in made.err
    (store / "records/00000000.json").unlink()
    assert ": 2 samples in " in command("--resume", "--serial").out
    assert ": 3 samples in " in command("--grow", "5", "--serial").out, "the last unit was not full"
    assert_same_samples(store, whole("still"))
    (store / "records/00000001.json").unlink()
    missing = run_command(["finish", str(store)], monkeypatch, capsys)
    assert f"nbdist dataset {file} -o {store} --resume" in missing.out
    planned = run_command(["plan", str(file), "--samples", "1000"], monkeypatch, capsys)
    assert "1000 sample(s) of 1 frame(s)" in planned.out


@pytest.mark.slow
@pytest.mark.integration
def test_a_killed_run_goes_on_to_the_same_bits(whole, tmp_path):
    file, store = tmp_path / "wedges.json", tmp_path / "a.zarr"
    file.write_text(json.dumps(recipe("wedge").content))
    harm = Harm(tmp_path, "while context.scene.sample >= 3:\n    time.sleep(0.01)")
    words = [
        "dataset",
        str(file),
        "-o",
        str(store),
        "--samples",
        str(SAMPLES),
        "--workers",
        "2",
        "--frames-per-shard",
        "3",
    ]
    environment = {**os.environ, **harm.environment}
    process = subprocess.Popen([shutil.which("nbdist"), *words], env=environment, start_new_session=True)
    until(lambda: list((store / "records").glob("0*.json")), "a finished sample", process=process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert generate_dataset(recipe("wedge"), store, resume=True, serial=True).done >= 2
    assert_same_samples(store, whole("wedge"))
