"""What lies in a store: arrays, chunks, shards, names, units and coordinates, readable without nbdist."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from nbdist import generate
from nbdist.scene import resolve
from nbdist.store import contents, summarize

FRAMES = 5
IMAGE = (520, 300)
"""520 rows are one reading chunk of 520, 300 columns one of 300 (chunks are near 512 and waste little)."""


@pytest.fixture(scope="module")
def experiment(small_experiment, tmp_path_factory):
    mask = np.zeros(IMAGE, dtype=np.int32)
    mask[100:110, 7] = 3
    path = tmp_path_factory.mktemp("mask") / "mask.npy"
    np.save(path, mask)
    return small_experiment(
        panel={"spixels": IMAGE[0], "fpixels": IMAGE[1], "pixel_size_mm": 0.2},
        scan={"frames": FRAMES, "phi_steps": 1},
        noise={"photon_noise": True},
        detector={"mask_file": str(path), "region_of_interest": {"slow": [0, 500], "fast": [1, 300]}},
    )


@pytest.fixture(scope="module")
def location(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("store") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=2)
    return location


@pytest.fixture(scope="module")
def group(location):
    return zarr.open_group(str(location), mode="r")


@pytest.mark.parametrize(("name", "dtype"), [("intensity", "float32"), ("counts", "int32")])
def test_frames_are_chunked_for_reading_and_sharded_for_writing(name, dtype, group):
    array = group[name]
    assert (array.shape, str(array.dtype)) == ((FRAMES, *IMAGE), dtype)
    assert (array.chunks, array.shards) == ((1, *IMAGE), (2, *IMAGE))
    assert array.metadata.dimension_names == ("frame", "slow", "fast")
    assert array.attrs["units"] == "photon"


def test_a_large_image_has_chunks_of_about_512_pixels(small_experiment, tmp_path):
    panel = {"spixels": 2527, "fpixels": 2463}
    experiment = small_experiment(
        panel=panel, detector={"region_of_interest": {"slow": [0, 8], "fast": [0, 8]}}, scan={"frames": 1}
    )
    generate(experiment, tmp_path / "a.zarr", serial=True)
    array = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")["intensity"]
    assert array.shape == (1, 2527, 2463), "the true shape"
    assert array.chunks == (1, 506, 493), "a fifth of each side, rounded up"
    assert array.shards == (1, 5 * 506, 5 * 493), "whole chunks, past the edge"


@pytest.mark.parametrize("name", ["intensity", "counts"])
def test_there_is_one_object_a_unit_and_array(name, location):
    objects = [path for path in (location / name / "c").rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(location / name)) for path in objects) == ["c/0/0/0", "c/1/0/0", "c/2/0/0"]


def test_empty_images_are_written_too(small_experiment, tmp_path):
    # a single pixel of interest: all other pixels are 0, the fill value
    nothing = small_experiment(
        scan={"frames": 1},
        sampling={"d_min_A": 1000.0},
        detector={"region_of_interest": {"slow": [0, 1], "fast": [0, 1]}},
    )
    generate(nothing, tmp_path / "a.zarr", serial=True)
    assert not zarr.open_group(str(tmp_path / "a.zarr"), mode="r")["intensity"][:].any()
    assert (tmp_path / "a.zarr/intensity/c/0/0/0").is_file()


def test_every_unit_has_a_record(location):
    records = [json.loads(path.read_text()) for path in sorted((location / "records").glob("0*.json"))]
    assert [record["frames"] for record in records] == [[0, 2], [2, 4], [4, 5]]
    for record in records:
        assert (record["device"], record["kernel"], record["precision"]) == ("cpu", "compiled", "float32")
        for name, size in record["shard_bytes"].items():
            assert (location / name / f"c/{record['unit']}/0/0").stat().st_size == size


def test_phi_is_where_each_frame_starts_and_ends(group):
    # 0.5 degrees a frame from 10
    np.testing.assert_array_equal(group["phi_start_deg"][:], [10.0, 10.5, 11.0, 11.5, 12.0])
    np.testing.assert_array_equal(group["phi_end_deg"][:], [10.5, 11.0, 11.5, 12.0, 12.5])
    assert group["phi_start_deg"].attrs["units"] == group["phi_end_deg"].attrs["units"] == "degree"


def test_orientation_is_that_of_the_middle_of_each_frame(group, experiment):
    scene = resolve(experiment)
    expected = [scene.frame_orientations_A(frame)[0] for frame in range(FRAMES)]
    np.testing.assert_array_equal(group["orientation"][:], expected)
    assert group["orientation"].metadata.dimension_names == ("frame", "axis", "xyz")
    assert group["orientation"].attrs["units"] == "angstrom"
    # rows are a, b, c of the cell: their lengths are the cell's at any phi
    lengths = np.linalg.norm(group["orientation"][:], axis=2)
    np.testing.assert_allclose(lengths, np.broadcast_to([40.0, 45.0, 50.0], (FRAMES, 3)), rtol=1e-12)
    # about the spindle (xds: x), phi turns the middle of frame 0 (10.25) into that of frame 4 (12.25)
    turn = np.deg2rad(2.0)
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    np.testing.assert_allclose(group["orientation"][4], group["orientation"][0] @ rotation.T, atol=1e-12 * 50)


def test_coordinates_of_many_frames_lie_in_chunks(experiment, location, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "FRAMES_PER_CHUNK", 2)
    generate(experiment, tmp_path / "a.zarr", serial=True, frames_per_shard=2, frames=range(1))
    chunked, whole = (zarr.open_group(str(place), mode="r") for place in (tmp_path / "a.zarr", location))
    for name in ("frame", "phi_start_deg", "phi_end_deg", "orientation"):
        assert chunked[name].chunks[0] == 2
        np.testing.assert_array_equal(chunked[name][:], whole[name][:])


HEIGHT = """
import sys, tracemalloc, json
from nbdist.experiment import validate
from nbdist.planning import Cut, make_plan
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.store import SeriesContent, contents, create_store

contents.FRAMES_PER_CHUNK = 100
folder, experiment = sys.argv[1], json.loads(sys.argv[2])

def height(frames):
    scene = resolve(validate({**experiment, "scan": {"frames": frames, "osc_range_deg": 0.1}}))
    content = SeriesContent(scene, make_plan(scene, cut=Cut(frames_per_shard=100)), load_reflections(scene))
    create_store(f"{folder}/{frames}.zarr", content)
    peaks = []
    for again in range(8):
        tracemalloc.start()
        create_store(f"{folder}/{frames}-{again}.zarr", content)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(peaks)

print((height(5_000) - height(1_000)) / 4_000)
"""
"""In a process of its own, and the least of several: threads that hand over late, and garbage, add 150 kB to one in four."""


def test_making_a_long_series_holds_the_coordinates_of_a_few_frames(small_experiment, tmp_path):
    content = small_experiment(panel={"spixels": 4, "fpixels": 4}).content()
    command = [sys.executable, "-c", HEIGHT, str(tmp_path), json.dumps(content)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    # the coordinates of a frame are 96 bytes: its number, where it starts and ends, and three axes
    assert float(ran.stdout) < 24


def test_mask_is_zero_where_a_pixel_is_usable(group):
    expected = np.ones(IMAGE, dtype=np.uint8)
    expected[:500, 1:] = 0
    expected[100:110, 7] = 1
    np.testing.assert_array_equal(group["mask"][:], expected)
    assert group["mask"].dtype == np.uint8
    for name in ("intensity", "counts"):
        images, dead = group[name][:], expected == 1
        assert (images[:, 100:110, 7] == (0 if name == "intensity" else -1)).all(), (
            "masked pixels are 0, and marked in counts"
        )
        dead[100:110, 7] = False
        assert not images[:, dead].any(), "pixels that are not rendered are 0"
        assert images.any()


def test_pixel_and_frame_coordinates_count_from_zero(group):
    for name, size in (("frame", FRAMES), ("slow", IMAGE[0]), ("fast", IMAGE[1])):
        np.testing.assert_array_equal(group[name][:], np.arange(size))


def test_attributes_say_what_the_series_is(group, experiment):
    attributes = dict(group.attrs)
    assert attributes["format"] == "nbdist series"
    assert attributes["fingerprint"] == experiment.fingerprint
    assert attributes["experiment"] == experiment.model_dump(mode="json")
    assert attributes["steps"] == 1
    assert attributes["plan"] == {"tile": list(IMAGE), "phi_chunk": 1, "frames_per_shard": 2, "kernel": "compiled"}
    assert set(attributes["provenance"]["versions"]) >= {"nbdist", "zarr"}


def test_the_experiment_of_a_store_is_the_experiment(location, experiment):
    summary = summarize(location)
    assert summary.experiment == experiment
    assert (summary.frames, summary.schema.panels, summary.steps) == (FRAMES, (IMAGE,), 1)
    assert [array.name for array in summary.schema.arrays] == ["intensity", "counts"]


def _in_a_new_process(code: str, location: Path) -> None:
    check = "import sys; assert not [name for name in sys.modules if name.startswith('nbdist')]"
    program = f"import sys; location = sys.argv[1]\n{code}\n{check}"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(location)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_zarr_reads_a_store_without_nbdist_and_finds_its_metadata_in_one_object(location):
    code = """
import zarr
group = zarr.open_group(location, mode="r", use_consolidated=True)
assert group["intensity"].shape == (5, 520, 300) and group["intensity"][3].max() > 0
assert {"intensity", "counts", "mask", "orientation", "phi_start_deg", "phi_end_deg"} <= set(group.array_keys())
"""
    _in_a_new_process(code, location)


def test_xarray_opens_a_store_without_nbdist(location):
    code = """
import xarray
data = xarray.open_zarr(location, consolidated=True)
assert dict(data.sizes) == {"frame": 5, "slow": 520, "fast": 300, "axis": 3, "xyz": 3}, data.sizes
assert data.intensity.dims == ("frame", "slow", "fast") and data.intensity.attrs["units"] == "photon"
assert float(data.intensity.sel(frame=4).max()) > 0
assert float(data.phi_start_deg.sel(frame=2)) == 11.0
assert data.attrs["format"] == "nbdist series"
"""
    _in_a_new_process(code, location)


def test_an_unfinished_store_is_not_consolidated(experiment, tmp_path):
    generate(experiment, tmp_path / "a.zarr", serial=True, frames_per_shard=2, frames=range(2))
    assert zarr.open_group(str(tmp_path / "a.zarr"), mode="r").metadata.consolidated_metadata is None
    generate(experiment, tmp_path / "a.zarr", serial=True, resume=True)
    assert zarr.open_group(str(tmp_path / "a.zarr"), mode="r").metadata.consolidated_metadata is not None
