"""`nbdist info`, `preview` and `verify`: looking at a store."""

from __future__ import annotations

import os
import shutil

import matplotlib.image
import numpy as np
import pytest
import zarr

from nbdist.formats import pictures
from nbdist.scene import resolve
from nbdist.store import summarize
from nbdist.store.failures import FailureRecords
from nbdist.store.objects import Folder


@pytest.fixture
def drawn(monkeypatch):
    """The images handed to the picture maker, with the origin and title of each; with their marks where they have some."""
    images = []
    original = pictures.frame_picture

    def remember(image, origin, title, units, output, marks=None):
        images.append((np.asarray(image), origin, title, *([] if marks is None else [marks])))
        original(image, origin, title, units, output, marks)

    monkeypatch.setattr(pictures, "frame_picture", remember)
    return images


def test_info_tells_a_complete_store(nbdist, finished):
    told = nbdist("info", finished)
    assert told.code == 0
    for said in (
        "frames 3 of 3 complete, 3 of 3 units",
        "image 96 x 80 pixels",
        "arrays intensity float32",
        "phi 10 to 11.5 deg, 0.5 a frame",
        "steps 4",
        "cut tile 96 x 80, phi chunk 4, 1 frame(s) a shard",
        "cpu float32 compiled",
    ):
        assert said in told.out
    assert "unfinished" not in told.out


def test_info_tells_how_to_go_on_with_an_unfinished_store(nbdist, part):
    told = nbdist("info", part)
    assert told.code == 0
    assert "frames 1 of 3 complete, 1 of 3 units" in told.out
    assert "unfinished; go on with: nbdist run" in told.out


def test_info_tells_which_units_failed(nbdist, part, tmp_path):
    copy = shutil.copytree(part, tmp_path / "copy.zarr")
    failures = FailureRecords(Folder(copy))
    for unit in (0, 2):
        failures.keep(unit, {"error": f"the cat sat on unit {unit}"})
    told = nbdist("info", copy)
    assert "failed unit 2: the cat sat on unit 2" in told.out
    assert "unit 0:" not in told.out, "it is complete since"


def test_a_picture_that_cannot_be_written_is_said(nbdist, finished):
    told = nbdist("preview", finished, "-o", "/dev/full")
    assert (told.code, told.err) == (2, "nbdist: /dev/full cannot be written: the disk is full\n")
    assert "wrote" not in told.out


def test_preview_marks_the_spots_of_a_frame(nbdist, finished, tmp_path, drawn):
    """Each lies where the image is bright, the rings where their spacing scatters to, the beam where it meets the panel."""
    told = nbdist("preview", finished, "--frame", 1, "--zoom", "0:48,20:80", "--indices", "-o", tmp_path / "marked.png")
    assert told.code == 0
    ((image, _, _, marks),) = drawn
    assert len(marks.spots) == len(marks.names) > 10
    assert ((marks.spots >= [0, 20]) & (marks.spots < [48, 80])).all()
    near = [image[max(0, s - 1) : s + 2, max(0, f - 21) : f - 18].max() for s, f in marks.spots.astype(int)]
    assert np.median(near) > np.quantile(image, 0.9)
    panel = resolve(summarize(finished).experiment).instrument.panels[0]
    for curve, name in marks.rings:
        assert panel.resolution_A(*curve.T, 1.0) == pytest.approx(float(name.split()[0]))
    towards, _ = panel.directions(*marks.beam)
    assert towards == pytest.approx(panel.beam)
    assert nbdist("preview", finished, "--spots", "-o", tmp_path / "spots.png").code == 0
    assert drawn[1][3].names == []


def test_preview_draws_a_frame(nbdist, finished, tmp_path, drawn):
    picture = tmp_path / "frame.png"
    assert nbdist("preview", finished, "--frame", 1, "-o", picture).code == 0
    ((image, origin, title),) = drawn
    np.testing.assert_array_equal(image, zarr.open_group(str(finished), mode="r")["intensity"][1])
    assert origin == (0, 0)
    assert "frame 1, phi 10.5 to 11 deg" in title
    pixels = matplotlib.image.imread(picture)
    assert min(pixels.shape[:2]) > 300
    assert np.ptp(pixels[..., 0]) > 0.5, "not a blank page"


def test_preview_draws_the_maximum_over_frames_and_a_zoom(nbdist, finished, tmp_path, drawn):
    picture = tmp_path / "maximum.png"
    ran = nbdist("preview", finished, "--max-over", "0:3", "--zoom", "10:50,20:", "-o", picture)
    assert ran.code == 0
    ((image, origin, title),) = drawn
    whole = zarr.open_group(str(finished), mode="r")["intensity"][:]
    np.testing.assert_array_equal(image, whole[:, 10:50, 20:].max(axis=0))
    assert origin == (10, 20)
    assert "maximum over frames 0 to 2, phi 10 to 11.5 deg" in title
    assert picture.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("--frame", "3"), "--frame 3: lies outside 0:3"),
        (("--max-over", "0:4"), "--max-over 0:4: lies outside 0:3"),
        (("--max-over", "2:1"), "--max-over 2:1: holds nothing"),
        (("--max-over", "all"), "--max-over all: expected FIRST:LAST or a number"),
        (("--zoom", "0:97,0:80"), "--zoom 0:97: lies outside 0:96"),
        (("--zoom", "0:96,0:81"), "--zoom 0:81: lies outside 0:80"),
        (("--zoom", "0:10"), "--zoom 0:10: expected S0:S1,F0:F1"),
        (("--array", "counts"), "--array counts: the store holds intensity"),
    ],
)
def test_preview_refuses_what_the_store_does_not_hold(arguments, answer, nbdist, finished, tmp_path):
    refused = nbdist("preview", finished, *arguments, "-o", tmp_path / "a.png")
    assert (refused.code, refused.err) == (2, f"nbdist: {answer}\n")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(("arguments", "first"), [(("--frame", "2"), 2), (("--max-over", "0:3"), 1)])
def test_preview_refuses_frames_that_are_not_rendered_yet(arguments, first, nbdist, part, tmp_path):
    refused = nbdist("preview", part, *arguments, "-o", tmp_path / "a.png")
    assert refused.code == 2
    assert refused.err == f"nbdist: {part}: frame {first} is not rendered yet (1 of 3 are)\n"
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["nowhere/a.png", "a.unknown"])
def test_preview_says_in_one_line_that_a_picture_cannot_be_written(name, nbdist, finished, tmp_path):
    refused = nbdist("preview", finished, "-o", tmp_path / name)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert not (tmp_path / name).exists()


def test_verify_finds_a_good_store_good(nbdist, finished):
    found = nbdist("verify", finished, "--sample", 2)
    assert found.code == 0
    assert "3 frames decode" in found.out
    assert "2 of 2 frames rendered again are the same to the bit" in found.out


def test_verify_exits_1_at_a_damaged_shard_and_names_it(nbdist, finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy.zarr")
    os.truncate(copy / "intensity/c/2/0/0", 100)
    found = nbdist("verify", copy, "--sample", 0)
    assert found.code == 1
    assert "unit 2 is damaged: intensity/c/2/0/0 does not decode" in found.out
    assert "--resume" in found.out


def test_verify_exits_1_at_units_that_were_never_finished(nbdist, part):
    found = nbdist("verify", part, "--sample", 1)
    assert found.code == 1
    assert "2 unit(s) were never finished" in found.out
    assert "1 of 1 frames rendered again are the same to the bit" in found.out


def test_verify_refuses_another_experiment(nbdist, finished, write_experiment, tmp_path):
    other = write_experiment(tmp_path / "other.yaml", scan={"frames": 2})
    refused = nbdist("verify", finished, "--experiment", other)
    assert refused.code == 2
    assert "another experiment" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no such backend"])
def test_the_backend_of_a_notebook_has_no_part_in_a_picture(backend, finished, tmp_path):
    import subprocess
    import sys

    picture = tmp_path / "a.png"
    command = [sys.executable, "-m", "nbdist", "preview", str(finished), "-o", str(picture)]
    subprocess.run(command, env={**os.environ, "MPLBACKEND": backend}, check=True, capture_output=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
