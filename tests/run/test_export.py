"""Exporting a series: files are written whole by whoever writes them, an export goes on where it was ended, and no two are mixed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from injected import in_process_client
from labelled import labelled_store, reflection_rows, spot_rows

import nbdist
from nbdist import generate, open_series
from nbdist.errors import NbdistError, RunError, StoreError, UnfinishedError
from nbdist.formats.image_files import BAD, GAP
from nbdist.run.executors.choice import chosen_workers
from nbdist.run.export import FORMATS, export, whole_photons
from nbdist.run.exporting import EXPORTED, whole_counts
from nbdist.run.settings import RunSettings
from nbdist.store.units import FINISHED, record_key

FRAMES = 7
LEFT = [
    f".{name}.elsewhere-1.part"
    for name in ("series_2.npy", "series.expt", "export.json", "XDS.INP", ".nbdist-writable")
]
"""What processes that were ended leave of files that they had not written whole."""


@dataclass(frozen=True)
class Stacks:
    """A format of two images a file, stacks of arrays as NumPy stores them."""

    real_numbers: bool = False
    images_per_file: int = 2
    fails_at: int | None = None
    name = "stacks"

    def file_name(self, prefix, number):
        return f"{prefix}_{number}.npy"

    def images_name(self, prefix):
        return f"{prefix}_#.npy"

    def trusted(self, models):
        return models.trusted

    def notes(self, series):
        return [f"{series.images} images"]

    def write(self, path, series, images, frames):
        with path.open("wb") as file:
            for number, (frame,) in zip(images, frames, strict=True):
                if number == self.fails_at:
                    raise ValueError("this image cannot be written")
                assert frame.dtype == series.dtype
                np.save(file, frame)
        return 0

    def write_list(self, path, series, marks):
        raise AssertionError("it has no list")


@pytest.fixture(scope="module")
def experiment(light_experiment):
    return light_experiment(FRAMES).with_changes(noise={"photon_noise": True}, readout={"dead_pixel_fraction": 0.1})


@pytest.fixture(scope="module")
def store(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("store") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=3)
    return location


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def images(folder, prefix="series", files=None):
    found = []
    for number in range(len(list(folder.glob("*.npy"))) if files is None else files):
        with (folder / f"{prefix}_{number}.npy").open("rb") as file:
            while file.peek(1):
                found.append(np.load(file))
    return np.stack(found)


@pytest.mark.parametrize("where", ["serial", "dask"])
def test_every_image_is_written_by_this_process_or_by_workers(where, store, tmp_path):
    reported = []
    if where == "serial":
        _, progress = export(store, tmp_path, Stacks(), report=lambda its: reported.append(its.frames_done))
    else:
        with in_process_client({}, {}) as client:
            _, progress = export(store, tmp_path, Stacks(), chosen_workers(RunSettings(device="cpu"), client))
    assert (progress.frames_done, progress.frames_total, progress.failed) == (FRAMES, FRAMES, {})
    assert progress.notes == ["7 images"]
    assert reported == sorted(reported)
    np.testing.assert_array_equal(images(tmp_path), open_series(store, chunks=None).counts)
    assert (images(tmp_path) == BAD).any(), "dead pixels are marked"
    assert names(tmp_path) == ["export.json", "series.expt", *(f"series_{number}.npy" for number in range(4))]


def test_frames_of_a_series_are_counted_from_1(store, tmp_path):
    export(store, tmp_path, Stacks(), frames=range(2, 5), prefix="mine")
    np.testing.assert_array_equal(images(tmp_path, "mine"), open_series(store, chunks=None).counts[2:5])
    models = json.loads((tmp_path / "mine.expt").read_text())
    assert models["scan"][0]["image_range"] == [1, 3]
    assert models["scan"][0]["oscillation"] == [11.0, 0.5]  # the series starts at 10
    assert models["imageset"][0]["template"] == "mine_#.npy"
    assert models["crystal"] == []


def test_an_export_goes_on_with_the_files_that_are_not_there(store, tmp_path):
    _, progress = export(store, tmp_path, Stacks(fails_at=4))
    assert list(progress.failed) == [2]
    assert progress.retried == 2
    assert names(tmp_path) == ["export.json", "series_0.npy", "series_1.npy", "series_3.npy"]
    with pytest.raises(RunError, match="holds an export; --resume goes on with it, --overwrite replaces it"):
        export(store, tmp_path, Stacks())
    for begun in LEFT:
        (tmp_path / begun).touch()
    (tmp_path / ".other.elsewhere-1.part").touch()
    (tmp_path / "series_0.npy").write_bytes(b"kept")
    _, progress = export(store, tmp_path, Stacks(), resume=True)
    assert (progress.frames_done, progress.frames_total) == (2, 2)
    assert (tmp_path / "series_0.npy").read_bytes() == b"kept"
    (tmp_path / ".other.elsewhere-1.part").unlink()
    assert names(tmp_path) == ["export.json", "series.expt", *(f"series_{number}.npy" for number in range(4))]
    _, progress = export(store, tmp_path, Stacks(), resume=True)
    assert progress.frames_total == 0


def test_another_export_does_not_mix_with_one_and_may_replace_it(store, experiment, tmp_path):
    out = tmp_path / "out"
    export(store, out, Stacks(), frames=range(5))
    with pytest.raises(RunError, match=r"holds an export of frames \[0, 5\], this one is of \[0, 7\]"):
        export(store, out, Stacks(), resume=True)
    with pytest.raises(RunError, match="holds an export of what counts, this one is of intensity"):
        export(store, out, Stacks(), frames=range(5), what="intensity", resume=True)
    other = tmp_path / "series.zarr"
    generate(experiment, other, serial=True)
    with pytest.raises(
        RunError, match=r"holds an export of .*series\.zarr as it was then; give this one another folder"
    ):
        export(other, out, Stacks(), frames=range(5), resume=True)
    (out / "notes.txt").write_text("mine")
    (out / "other.expt").write_text("mine")
    with pytest.raises(RunError, match=r"holds other\.expt, of which export\.json says nothing"):
        export(other, out, Stacks(), frames=range(2), prefix="other", overwrite=True)
    assert (out / "series_0.npy").exists()
    (out / "other.expt").unlink()
    for begun in LEFT:
        (out / begun).touch()
    export(other, out, Stacks(), frames=range(2), prefix="other", overwrite=True)
    assert names(out) == ["export.json", "notes.txt", "other.expt", "other_0.npy"]


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_a_run_writes_nothing_where_another_one_goes_on_or_replaces_it(how, store, tmp_path):
    class Overtaken(Stacks):
        def write(self, path, series, images, frames):
            if images.start == 2:
                export(store, tmp_path, Stacks(), **how)
            path.write_bytes(b"late")
            return 0

    with pytest.raises(StoreError, match=r"export\.json is gone, or another nbdist export writes there by now"):
        export(store, tmp_path, Overtaken())
    if "resume" in how:
        assert (tmp_path / "series_0.npy").read_bytes() == b"late", "it was whole before"
        (tmp_path / "series_0.npy").unlink()
        export(store, tmp_path, Stacks(), resume=True)
    np.testing.assert_array_equal(images(tmp_path), open_series(store, chunks=None).counts)
    exported, _ = export(store, tmp_path, Stacks(), resume=True)
    exported.require_there()
    with pytest.raises(RunError, match="another nbdist export began there just now"):
        exported.publish(anew=True)
    (tmp_path / EXPORTED).unlink()
    with pytest.raises(StoreError, match=r"export\.json is gone"):
        exported.require_there()


@pytest.mark.parametrize("name", ["series_0.npy", "series_3.npy", "series.expt", "series_truth.refl"])
def test_files_of_nobody_are_not_written_over(name, store, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(RunError, match=rf"holds {name}, of which export\.json says nothing"):
        export(store, tmp_path, Stacks(), overwrite=True)
    assert names(tmp_path) == [name]


def test_what_export_json_says_is_not_believed_where_it_is_another_ones(store, tmp_path):
    outside = {"format": "stacks", "prefix": "../series", "frames": [0, 2], "images_per_file": 2}
    for content in ("[]", '{"format": "stacks"}', json.dumps(outside)):
        (tmp_path / "export.json").write_text(content)
        with pytest.raises(RunError, match=r"export\.json is not one that this nbdist wrote"):
            export(store, tmp_path, Stacks(), overwrite=True)


@pytest.mark.parametrize("content", ["", '{"format": "sta'])
def test_what_is_left_of_an_export_that_was_ended_as_it_began_is_named(content, store, tmp_path):
    (tmp_path / "export.json").write_text(content)
    for how in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(RunError, match=rf"^{tmp_path}/export\.json is not whole, .* remove it unless one begins"):
            export(store, tmp_path, Stacks(), **how)


@pytest.mark.parametrize("prefix", ["a/b", "../a", ".a", "a#", "a b", "a?", "-a"])
def test_names_of_files_stay_in_the_folder(prefix, store, tmp_path):
    with pytest.raises(RunError, match=r"begins names of files, of letters, digits and _ . [+] - with none of the"):
        export(store, tmp_path, Stacks(), prefix=prefix)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_folder_without_room_ends_the_run(store, tmp_path):
    class Full(Stacks):
        def write(self, path, series, images, frames):
            path = Path("/dev/full")
            return super().write(path, series, images, frames)

    with pytest.raises(
        StoreError, match="writing stopped: the disk is full; files that are whole are kept, go on with"
    ):
        export(store, tmp_path, Full())


def test_frames_that_are_not_complete_are_refused_with_their_number(store, tmp_path):
    unfinished = Path(shutil.copytree(store, tmp_path / "a.zarr"))
    for key in (record_key(1), FINISHED):
        (unfinished / key).unlink()
    for asked, said in (
        (range(7), r"3 of frames 0:7 are not complete; the most in a row that are: --frames 0:3"),
        (range(2, 7), r"3 of frames 2:7 are not complete; the most in a row that are: --frames 2:3"),
        (range(4, 7), r"2 of frames 4:7 are not complete; the most in a row that are: --frames 6:7"),
        (range(3, 5), r"2 of frames 3:5 are not complete; none of them is"),
    ):
        with pytest.raises(UnfinishedError, match=said):
            export(unfinished, tmp_path / "out", Stacks(), frames=asked)
    assert not (tmp_path / "out").exists()
    _, progress = export(unfinished, tmp_path / "out", Stacks(), frames=range(1, 3))
    assert progress.frames_done == 2


def test_intensity_is_rounded_for_a_format_of_whole_numbers(store, tmp_path):
    photons = open_series(store, chunks=None).intensity
    _, progress = export(store, tmp_path / "whole", Stacks(), what="intensity")
    np.testing.assert_array_equal(images(tmp_path / "whole"), np.rint(photons))
    assert progress.notes[1:] == ["intensity is rounded to whole photons: stacks holds no others"]
    _, progress = export(store, tmp_path / "real", Stacks(real_numbers=True), what="intensity")
    np.testing.assert_array_equal(images(tmp_path / "real"), photons)
    assert len(progress.notes) == 1


def test_what_a_store_does_not_hold_is_refused(light_experiment, tmp_path):
    location = tmp_path / "photons.zarr"
    generate(
        light_experiment(1).with_changes(detector={"region_of_interest": {"slow": [2, 9], "fast": [0, 20]}}),
        location,
        serial=True,
    )
    with pytest.raises(RunError, match="holds intensity, and no counts"):
        export(location, tmp_path / "out", Stacks(), what="counts")
    export(location, tmp_path / "out", Stacks(real_numbers=True))
    (image,) = images(tmp_path / "out", "photons")
    assert (image[:2] == GAP).all(), "pixels that were not rendered are masked"
    assert (image[2:9] >= 0).all()


def test_a_folder_that_cannot_be_made_is_named(store, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NbdistError, match=r"file/out cannot be made"):
        export(store, tmp_path / "file" / "out", Stacks())


def test_counts_of_any_type_are_whole_numbers_with_the_same_marks():
    for dtype, largest in (("uint16", 2**16 - 3), ("uint32", 2**32 - 3)):
        marks = np.array([2**32 - 1, 2**32 - 2]).astype(dtype)
        counts = np.array([0, 7, largest, *marks], dtype)
        assert whole_counts(counts).tolist() == [0, 7, min(largest, 2**31 - 1), GAP, BAD]
    counts = np.array([0, -1, -2, 2**31 - 1], np.int32)
    assert whole_counts(counts) is counts


def test_photons_that_32_bits_do_not_hold_are_the_largest_of_them(store, tmp_path):
    photons = np.array([[0.4, 0.6, 2**31, 3e9]], np.float32)
    assert whole_photons(photons).tolist() == [[0, 1, 2**31 - 1, 2**31 - 1]]
    export(store, tmp_path, Stacks(), what="intensity")
    (panel,) = json.loads((tmp_path / "series.expt").read_text())["detector"][0]["panels"]
    assert panel["trusted_range"] == [-0.5, 2**31 - 1.5]


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (range(0, 6, 2), "frames 0:6:2 are no scan; they should be consecutive"),
        (range(3, 3), "frames 3:3:1 are no scan"),
        (range(5, 9), "frames 5:9 lie outside the series of 7 frames"),
    ],
)
def test_frames_that_are_no_scan_are_refused(frames, said, store, tmp_path):
    with pytest.raises(StoreError, match=said):
        export(store, tmp_path / "out", Stacks(), frames=frames)
    assert not (tmp_path / "out").exists()


def test_a_master_marks_the_pixels_that_the_counts_do_and_of_photons_none_of_the_read_outs(store, tmp_path):
    for what, marked in (("counts", open_series(store, chunks=None).counts[0].values == BAD), ("intensity", False)):
        export(store, tmp_path / what, frames=range(1), what=what)
        with h5py.File(tmp_path / what / "series_master.h5") as file:
            np.testing.assert_array_equal(file["entry/instrument/detector/pixel_mask"][:], 2 * np.asarray(marked))


def test_several_stills_have_no_truth_and_it_is_said(light_experiment, tmp_path):
    stills = light_experiment(2).with_changes(scan={"osc_range_deg": 0.0, "phi_steps": 1}, labels={"reflections": True})
    location = labelled_store(stills, tmp_path / "a.zarr", reflection_rows([], [], []), lambda frame: spot_rows([]))
    _, progress = export(location, tmp_path / "two", Stacks(real_numbers=True))
    said = "no truth is written of 2 stills, of which DIALS has no scan; that of one has it: --frames 0:1"
    assert said in progress.notes
    _, progress = export(location, tmp_path / "one", Stacks(real_numbers=True), frames=range(1))
    assert said not in progress.notes
    assert [set(names(tmp_path / folder)) >= {"a_truth.expt", "a_truth.refl"} for folder in ("two", "one")] == [
        False,
        True,
    ]


def test_a_format_may_be_named(store, tmp_path):
    exported, _ = nbdist.export(store, tmp_path, "cbf", frames=slice(0, 2))
    assert exported.format is FORMATS["cbf"]
    assert len(list(tmp_path.glob("*.cbf"))) == 2
    with pytest.raises(RunError, match="format tiff: should be one of nxmx, cbf, smv, zarr-labels, hdf5"):
        nbdist.export(store, tmp_path, "tiff")


def test_formats_are_found_by_their_names():
    assert all(its.name == name for name, its in FORMATS.items())
    assert "nxmx" in FORMATS
