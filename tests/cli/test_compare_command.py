"""`nbdist compare`: two stores or experiments, pixel by pixel and by resolution."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nbdist.errors import RunError
from nbdist.run.compare import Series, compare
from nbdist.scene import resolve


def series_of(experiment, images, name="a") -> Series:
    return Series(name, resolve(experiment), range(len(images)), lambda frame: [images[frame]])


def test_a_store_is_what_its_experiment_renders(nbdist, finished, experiment_file, tmp_path):
    ran = nbdist("compare", finished, experiment_file, "--frames", "0:2", "--json", "-o", tmp_path / "c.png")
    assert ran.code == 0, ran.err
    found = json.loads(ran.raw)
    file = tmp_path / "c.json"
    assert "corr." in nbdist("compare", finished, finished, "--frames", "0:2", "--json", file).out
    written = json.loads(file.read_text())
    assert [*written] == ["all", "shells"]
    assert written["all"]["largest"] == found["all"]["largest_photons"]
    assert found["frames"] == [0, 1]
    assert found["all"]["difference_photons"] == 0
    assert found["all"]["largest_photons"] > 0
    assert found["all"]["correlation"] == pytest.approx(1)
    assert sum(shell["pixels"] for shell in found["shells"]) == found["all"]["pixels"]
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_no_number_is_cut_in_a_narrow_terminal_and_the_frames_are_said(nbdist, finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    ran = nbdist("compare", finished, finished)
    assert "corr." in ran.out
    assert "photons of A and B, frame 0 alone (see --frames)" in ran.raw
    (row,) = [line.split() for line in ran.raw.splitlines() if line.split()[:1] == ["all"]]
    assert (row[1], row[4:]) == ("7,680", ["0.0e+00", "1.000000", "1.000000"])
    assert "…" not in ran.raw
    assert "A and B, frames 1 to 2\n" in nbdist("compare", finished, finished, "--frames", "1:3").raw


def test_numbers_are_those_of_numpy(small_experiment):
    experiment = small_experiment()
    shape = experiment.detector.shapes[0]
    random = np.random.default_rng(1)
    a = [random.random(shape) for _ in range(2)]
    b = [image + 0.1 * random.random(shape) for image in a]
    b[1][3, 4] += 5
    found = compare(series_of(experiment, a), series_of(experiment, b), range(2), shells=4)
    one, other = np.ravel(a), np.ravel(b)
    assert found.whole.difference == pytest.approx(np.abs(one - other).max())
    assert (found.whole.sum, found.whole.sum_other) == (pytest.approx(one.sum()), pytest.approx(other.sum()))
    assert found.whole.correlation == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert (found.frame, found.panel) == (1, 0)
    np.testing.assert_array_equal(found.images[1], b[1])
    assert len(found.shells) == 4
    edges = [shell.d_min_A for shell in found.shells]
    assert edges == sorted(edges, reverse=True)
    assert sum(shell.difference == found.whole.difference for shell in found.shells) == 1


def test_what_cannot_be_compared_is_said_in_one_line(
    nbdist, finished, part, write_experiment, small_experiment, tmp_path
):
    larger = write_experiment(
        tmp_path / "larger.yaml",
        detector={"panels": [{"spixels": 9, "fpixels": 7, "pixel_size_mm": 1, "distance_mm": 100}]},
    )
    for arguments, said in (
        ((finished, larger), "has panels of 9 x 7 pixels"),
        ((finished, part, "--frames", "0:2"), "frame 1 is not there"),
        ((finished, finished, "--panel", 1), "panel 1: lies outside 0:1"),
        ((finished, finished, "--frames", "7000"), "--frames 7000"),
        ((finished, tmp_path / "nothing.zarr"), "nothing.zarr"),
    ):
        ran = nbdist("compare", *arguments)
        assert ran.code == 2
        assert said in ran.err
        assert len(ran.err.strip().splitlines()) == 1


def test_what_is_the_same_everywhere_has_no_correlation(small_experiment):
    experiment = small_experiment()
    flat = [np.full(experiment.detector.shapes[0], 0.1)]
    assert compare(series_of(experiment, flat), series_of(experiment, flat)).whole.correlation is None
    with pytest.raises(RunError, match="frame 3 is not there"):
        compare(series_of(experiment, flat), series_of(experiment, flat), [3])
