"""A store holds the amplitudes that its frames are rendered with; whoever renders reads them there, and nothing else carries them."""

from __future__ import annotations

import json
import pickle
import shutil

import h5py
import numpy as np
import pytest
import zarr
from atomic_models import write_model
from merged_files import CELL, unit, write_mtz

from nbdist import export, generate, simulate_frame, verify
from nbdist.errors import FileFormatError, StoreError
from nbdist.run import context as contexts
from nbdist.run.context import make_context
from nbdist.scene import resolve
from nbdist.scene.amplitude_table import amplitude_bytes
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.models import models_of
from nbdist.store import open_group, read_reflections, summarize

LISTED = "1 2 3 104.25\n-2 0 1 50.1\n1 2 3 7.3\n0 0 5 1e-3\n"


@pytest.fixture
def listed(small_experiment, tmp_path):
    (tmp_path / "a.hkl").write_text(LISTED)
    source = {"kind": "file", "file": str(tmp_path / "a.hkl"), "default_F": 12.5}
    return small_experiment(structure_factors=source, scan={"frames": 2})


@pytest.fixture
def made(listed, tmp_path):
    generate(listed, tmp_path / "a.zarr", serial=True, frames_per_shard=1)
    return tmp_path / "a.zarr"


def test_zarr_reads_them_without_nbdist(made):
    group = zarr.open_group(str(made), mode="r")["reflections"]
    assert (str(group["hkl"].dtype), str(group["F"].dtype)) == ("int32", "float64")
    np.testing.assert_array_equal(group["hkl"][:], [[1, 2, 3], [-2, 0, 1], [1, 2, 3], [0, 0, 5]])
    np.testing.assert_array_equal(group["F"][:], [104.25, 50.1, 7.3, 1e-3])
    assert dict(group.attrs)["sets"] == [{"lattices": [0], "reflections": [0, 4], "default_F": 12.5}]
    assert group["hkl"].metadata.dimension_names == ("reflection", "axis")


def test_they_are_those_of_the_experiment_to_the_bit(small_experiment, tmp_path):
    experiment = small_experiment()
    generate(experiment, tmp_path / "a.zarr", serial=True, frames=range(1))
    [stored], [drawn] = read_reflections(tmp_path / "a.zarr"), load_reflections(resolve(experiment))
    assert len(stored.indices) > 1000
    np.testing.assert_array_equal(stored.indices, drawn.indices)
    np.testing.assert_array_equal(stored.amplitudes, drawn.amplitudes)
    assert summarize(tmp_path / "a.zarr").reflections == len(stored.amplitudes)


def test_one_amplitude_for_all_lists_none(small_experiment, tmp_path):
    experiment = small_experiment(structure_factors={"kind": "uniform", "F": 37.0}, scan={"frames": 1})
    generate(experiment, tmp_path / "a.zarr", serial=True)
    [found] = read_reflections(tmp_path / "a.zarr")
    assert (found.indices.shape, found.amplitudes.shape, found.default_F) == ((0, 3), (0,), 37.0)
    image = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")["intensity"][0]
    np.testing.assert_array_equal(image, simulate_frame(experiment))
    assert summarize(tmp_path / "a.zarr").reflections == 0


def test_frames_are_rendered_with_the_stored_amplitudes_alone(listed, tmp_path, monkeypatch):
    """What the experiment's file says is read once, by the client that makes the store."""
    read = []
    monkeypatch.setattr(contexts, "load_reflections", lambda scene: read.append(1) or load_reflections(scene))
    generate(listed, tmp_path / "a.zarr", serial=True, frames_per_shard=1)
    assert read == [1]
    frames = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")["intensity"]
    for frame in range(2):
        np.testing.assert_array_equal(frames[frame], simulate_frame(listed, frame))


def test_a_context_travels_without_amplitudes(small_experiment):
    context = make_context(small_experiment(structure_factors={"kind": "wilson", "d_min_A": 1.0, "seed": 1}))
    assert amplitude_bytes(*context.reflections, "float32") > 500_000
    assert len(pickle.dumps(context)) < 50_000


def test_a_process_keeps_one_table_in_the_precision_of_the_kernel(small_experiment):
    for precision, itemsize in (("float32", 4), ("float64", 8)):
        context = make_context(small_experiment(sampling={"precision": precision}))
        [table] = context.renderer.tables
        assert table.values.itemsize == itemsize
        assert context.reflections is None


def test_a_store_whose_making_was_cut_short_gets_the_same_bits(listed, made, tmp_path):
    shutil.copytree(made, tmp_path / "b.zarr")
    for cut in ("reflections", "records", "intensity"):
        shutil.rmtree(tmp_path / "b.zarr" / cut)
    root = json.loads((tmp_path / "b.zarr/zarr.json").read_text())
    del root["consolidated_metadata"]
    (tmp_path / "b.zarr/zarr.json").write_text(json.dumps(root))
    generate(listed, tmp_path / "b.zarr", serial=True, resume=True)
    files = [path.relative_to(made) for path in (made / "reflections").rglob("*") if path.is_file()]
    assert len(files) == 5, "three of metadata, one chunk of indices, one of amplitudes"
    for file in files:
        assert (tmp_path / "b.zarr" / file).read_bytes() == (made / file).read_bytes()


def test_amplitudes_that_do_not_decode_are_named_and_nothing_is_rendered_with_them(listed, made):
    chunk = made / "reflections/F/c/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    with pytest.raises(StoreError, match="reflections do not decode") as caught:
        read_reflections(made)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="reflections do not decode"):
        verify(made)


def test_a_store_without_them_is_refused(made):
    shutil.rmtree(made / "reflections")
    root = json.loads((made / "zarr.json").read_text())
    del root["consolidated_metadata"]
    (made / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(StoreError, match="reflections/hkl is missing"):
        open_group(made)


def test_the_gathered_metadata_hold_them(made):
    metadata = json.loads((made / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    assert {"reflections", "reflections/hkl", "reflections/F", "records"} <= set(metadata)
    shutil.rmtree(made / "records")
    for name in ("zarr.json", "hkl/zarr.json", "F/zarr.json"):
        (made / "reflections" / name).unlink()
    group = zarr.open_group(str(made), mode="r", use_consolidated=True)
    assert group["reflections/hkl"].shape == (4, 3)


def test_what_the_crystals_were_is_in_the_store_whatever_becomes_of_the_files_that_said_it(small_experiment, tmp_path):
    """The space group of an MTZ file, the cell and the space group of a model."""
    write_mtz(tmp_path / "a.mtz", {"F": np.ones(len(unit()))}, unit())
    write_model(tmp_path / "a.pdb")
    crystals = [
        {"cell": CELL, "structure_factors": {"kind": "file", "file": tmp_path / "a.mtz"}, "N_cells": [3, 3, 3]},
        {"structure_factors": {"kind": "model", "file": tmp_path / "a.pdb", "d_min_A": 4.0}, "N_cells": [3, 3, 3]},
    ]
    experiment = small_experiment(crystal=None, crystals=crystals, structure_factors=None, scan={"frames": 1})
    generate(experiment, tmp_path / "a.zarr", serial=True)
    was = resolve(experiment).specimen.lattices
    (tmp_path / "a.mtz").unlink()
    write_model(tmp_path / "a.pdb", cell=(21.0, 24.0, 28.0, 90.0, 90.0, 90.0))
    its = summarize(tmp_path / "a.zarr").scene.specimen.lattices
    assert [lattice.space_group for lattice in its] == ["P 43 21 2", "P 21 21 21"]
    for kept, lattice in zip(its, was, strict=True):
        np.testing.assert_array_equal(kept.real_vectors_A, lattice.real_vectors_A)
    halls = [crystal.hall for crystal in models_of(summarize(tmp_path / "a.zarr").scene, range(1)).crystals]
    assert halls == [" P 4nw 2abw", " P 2ac 2ab"]


def test_a_store_that_was_made_before_crystals_were_kept_asks_their_files(small_experiment, tmp_path):
    write_mtz(tmp_path / "a.mtz", {"F": np.ones(len(unit()))}, unit())
    source = {"kind": "file", "file": tmp_path / "a.mtz"}
    generate(
        small_experiment(crystal={"cell": CELL}, structure_factors=source, scan={"frames": 1}),
        tmp_path / "a.zarr",
        serial=True,
    )
    root = json.loads((tmp_path / "a.zarr/zarr.json").read_text())
    del root["consolidated_metadata"]["metadata"]["reflections"]["attributes"]["crystals"]
    (tmp_path / "a.zarr/zarr.json").write_text(json.dumps(root))
    assert summarize(tmp_path / "a.zarr").scene.specimen.lattices[0].space_group == "P 43 21 2"
    (tmp_path / "a.mtz").unlink()
    with pytest.raises(FileFormatError, match=r"a\.mtz does not exist"):
        summarize(tmp_path / "a.zarr").scene.specimen.lattices[0].space_group  # noqa: B018


@pytest.mark.parametrize("gone", [False, True])
def test_a_store_has_the_mask_that_it_was_rendered_with(gone, small_experiment, tmp_path):
    file, mask = tmp_path / "mask.npy", np.zeros((96, 80), dtype=np.uint8)
    mask[:30] = 1
    np.save(file, mask)
    experiment = small_experiment(
        panel={"mask_file": file}, detector={"region_of_interest": {"slow": [0, 96], "fast": [4, 80]}}
    )
    generate(experiment, tmp_path / "a.zarr", serial=True, frames=range(1))
    before = resolve(experiment).instrument.panels[0].usable
    file.unlink() if gone else np.save(file, 1 - mask)
    (panel,) = summarize(tmp_path / "a.zarr").scene.instrument.panels
    np.testing.assert_array_equal(panel.usable, before)
    assert not panel.usable[:, :4].any()
    export(tmp_path / "a.zarr", tmp_path / "images", "nxmx", frames=range(1), what="intensity")
    with h5py.File(tmp_path / "images" / "a_master.h5") as master:
        np.testing.assert_array_equal(master["entry/instrument/detector/pixel_mask"][:] == 0, before)
