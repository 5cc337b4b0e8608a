"""Series of several panels: a dimension where they are equal in shape, an array each where they are not, for every writer and reader."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
import zarr
from datasets import frame_dataset
from typer.testing import CliRunner

from nbdist import generate, open_series, simulate_frame, verify
from nbdist.cli.main import app
from nbdist.readout.draws import Draws
from nbdist.readout.integers import GAP
from nbdist.run.finish import finish
from nbdist.store import open_group, read_completeness

FRAMES, SEED = 3, 5
EQUAL, DIFFERENT = ((20, 14), (20, 14)), ((20, 14), (9, 30), (20, 14))


@pytest.fixture(scope="module")
def panels_of(small_experiment, tmp_path_factory):
    """`panels_of(shapes)`: an experiment of panels of these shapes side by side, one pixel of the last one masked."""
    mask = tmp_path_factory.mktemp("masks")

    def make(shapes, only=None, **scan):
        panels = []
        for number, (slow, fast) in enumerate(shapes):
            dead = np.zeros((slow, fast), dtype=np.uint8)
            dead[3, 4] = number == len(shapes) - 1
            np.save(mask / f"{number}-{slow}-{fast}.npy", dead)
            panels.append(
                {"spixels": slow, "fpixels": fast, "pixel_size_mm": 3.0 + 0.5 * number}
                | {"origin_mm": [-60.0 + 50 * number, -40.0, 100.0 + 5 * number]}
                | {"mask_file": str(mask / f"{number}-{slow}-{fast}.npy")}
            )
        detector = {"convention": "xds", "panels": panels if only is None else [panels[only]]}
        noise = {"photon_noise": True, "seed": SEED}
        return small_experiment(detector=detector, scan={"frames": FRAMES, **scan}, noise=noise)

    return make


@pytest.fixture(scope="module", params=[EQUAL, DIFFERENT], ids=["equal", "different"])
def shapes(request):
    return request.param


@pytest.fixture(scope="module")
def whole(shapes, panels_of, tmp_path_factory):
    location = tmp_path_factory.mktemp("panels") / "series.zarr"
    generate(panels_of(shapes), location, serial=True, frames_per_shard=2, tile=(7, 9))
    return location


def _stored(location, name):
    """Arrays (frame, slow, fast) of a product, by panel."""
    group = zarr.open_group(str(location), mode="r")
    if name in group:
        return list(np.moveaxis(group[name][:], 1, 0))
    return [group[f"{name}_{panel}"][:] for panel in range(len(DIFFERENT))]


def test_panels_of_equal_shape_share_an_array(panels_of, tmp_path):
    generate(panels_of(EQUAL), tmp_path / "a.zarr", serial=True, frames_per_shard=2)
    data = open_series(tmp_path / "a.zarr")
    assert data.intensity.dims == data.counts.dims == ("frame", "panel", "slow", "fast")
    assert data.intensity.shape == (FRAMES, 2, 20, 14)
    assert (data.mask.dims, data.panel.values.tolist()) == (("panel", "slow", "fast"), [0, 1])
    assert data.mask.values.nonzero() == (1, 3, 4)
    array = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")["intensity"]
    assert (array.chunks, array.shards) == ((1, 1, 20, 14), (2, 2, 20, 14)), "a chunk a panel, a shard a unit"


def test_panels_of_different_shapes_have_an_array_each(panels_of, tmp_path):
    generate(panels_of(DIFFERENT), tmp_path / "a.zarr", serial=True, frames_per_shard=2)
    data = open_series(tmp_path / "a.zarr")
    assert set(data.data_vars) == {f"{name}_{panel}" for name in ("intensity", "counts") for panel in range(3)}
    for panel, shape in enumerate(DIFFERENT):
        assert data[f"intensity_{panel}"].dims == ("frame", f"slow_{panel}", f"fast_{panel}")
        assert data[f"intensity_{panel}"].shape == (FRAMES, *shape)
        assert data[f"mask_{panel}"].shape == shape
        assert f"mask_{panel}" in data.coords


def test_a_panel_is_rendered_as_if_it_were_alone(whole, shapes, panels_of):
    stored = _stored(whole, "intensity")
    for panel in range(len(shapes)):
        alone = [simulate_frame(panels_of(shapes, panel), frame) for frame in range(FRAMES)]
        assert np.max(alone) > 0
        # pieces of float64 sums are added in another order where the tiles are others
        np.testing.assert_allclose(stored[panel], alone, rtol=1e-5, atol=1e-6 * np.max(alone))
    assert (stored[-1][:, 3, 4] == 0).all(), "a dead pixel"


def test_counts_are_drawn_over_the_pixels_of_all_panels_in_order(whole, shapes):
    intensity, counts = _stored(whole, "intensity"), _stored(whole, "counts")
    for frame in range(FRAMES):
        joined = np.concatenate([panel[frame].ravel() for panel in intensity])
        drawn = Draws(SEED, frame).poisson(joined)
        drawn[len(joined) - np.prod(shapes[-1]) + 3 * shapes[-1][1] + 4] = GAP  # the dead pixel of the last panel
        np.testing.assert_array_equal(drawn, np.concatenate([panel[frame].ravel() for panel in counts]))
    assert any(panel.any() for panel in counts)


def test_every_reader_takes_panels(whole, shapes, tmp_path):
    assert read_completeness(open_group(whole)).finished
    found = verify(whole, sample=FRAMES)
    assert found.good
    assert found.compared == dict.fromkeys(range(FRAMES), 0.0)
    assert not finish(whole).missing
    said = _said("info", whole)
    expected = "2 of 20 x 14 pixels" + (", 1 of 9 x 30 pixels" if shapes is DIFFERENT else "")
    assert f"panels {expected} (slow x fast)" in said
    for panel in range(len(shapes)):
        _said("preview", whole, "--panel", panel, "--maximum", "0:2", "-o", tmp_path / "a.png")
    _said("preview", whole, "-o", tmp_path / "a.png")
    assert "--panel 7: lies outside" in str(CliRunner().invoke(app, ["preview", str(whole), "--panel", "7"]).exception)


def _said(*words):
    ran = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "1000"})
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return " ".join(ran.output.split())


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_any_slice_of_panels_is_copied_by_to_zarr(whole, shapes, tmp_path):
    data = open_series(whole)
    some = data.isel(panel=1) if shapes is EQUAL else data.isel(slow_1=slice(2, 7))
    for number, part in enumerate((data.isel(frame=slice(1, 3)), some)):
        part.to_zarr(tmp_path / f"{number}.zarr", zarr_format=3)
        xarray.testing.assert_equal(xarray.open_zarr(tmp_path / f"{number}.zarr", zarr_format=3), part)


def test_a_dataset_takes_panels(whole, shapes):
    dataset, intensity = frame_dataset(whole), _stored(whole, "intensity")
    sample = dataset[2]
    if shapes is EQUAL:
        np.testing.assert_array_equal(sample["intensity"], np.stack([panel[2] for panel in intensity]))
        assert (dataset.mask.shape, str(dataset.mask.dtype)) == ((2, 20, 14), "torch.bool")
    else:
        for panel in range(3):
            np.testing.assert_array_equal(sample[f"intensity_{panel}"], intensity[panel][2])
        assert not dataset.mask["mask_2"][3, 4]
        assert "intensity" not in sample


def test_a_missing_shard_of_one_panel_is_rendered_again(whole, shapes, panels_of, tmp_path):
    import shutil

    copy = shutil.copytree(whole, tmp_path / "copy.zarr")
    name, key = ("intensity", "c/1/0/0/0") if shapes is EQUAL else ("intensity_1", "c/1/0/0")
    (copy / name / key).unlink()
    assert verify(copy, sample=0).damaged == {1: f"{name}/{key} is missing"}
    assert generate(panels_of(shapes), copy, serial=True, resume=True).frames_done == 1
    for one, other in zip(_stored(copy, "intensity"), _stored(whole, "intensity"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_plan_tells_panels_and_tiles(panels_of, tmp_path):
    from nbdist.experiment import experiment_to_yaml

    (tmp_path / "e.yaml").write_text(experiment_to_yaml(panels_of(DIFFERENT)))
    said = _said("plan", tmp_path / "e.yaml", "--tile", "10,20", "--frames-per-shard", 1)
    assert "panels 2 of 20 x 14 pixels, 1 of 9 x 30 pixels (slow x fast)" in said
    assert "tiles 6 a frame, of 10 x 20 pixels" in said, "two of each of the taller ones, two of the wider one"
    assert "shards 18, inner chunks 1 x 20 x 14, 1 x 9 x 30" in said, "two arrays of three panels, three units"
