"""`nbdist preview`: pictures of a store."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys

import numpy as np
import pytest


@pytest.mark.parametrize(
    "options",
    [
        ("--frame", 1),
        ("--maximum", "0:3", "--zoom", "10:50,20:"),
        ("--max-over", "0:3", "--scale", "linear"),
        ("--mean", "0:2", "--what", "intensity", "--spots"),
        ("--sheet", 2),
        ("--sheet", "1:3"),
        ("--radial",),
    ],
)
def test_each_kind_of_picture_is_written(options, nbdist, finished, tmp_path):
    picture = tmp_path / "a.png"
    ended = nbdist("preview", finished, *options, "-o", picture)
    assert (ended.code, ended.out) == (0, f"wrote {picture}")
    from matplotlib.image import imread  # here: it is loaded by one process of the tests, not by all

    pixels = imread(picture)
    assert min(pixels.shape[:2]) > 300
    assert np.ptp(pixels[..., 0]) > 0.5, "not a blank page"


def test_how_many_spots_are_named_is_said_where_not_all_are(nbdist, finished, tmp_path, monkeypatch):
    monkeypatch.setattr("nbdist.run.preview.MOST_INDICES", 3)
    told = nbdist("preview", finished, "--indices", "-o", tmp_path / "a.png")
    assert re.match(
        r"note: h, k, l are written at the 3 brightest of \d+ spots, where there is room; --zoom shows fewer wrote ",
        told.out,
    )
    assert nbdist("preview", finished, "--spots", "-o", tmp_path / "a.png").out == f"wrote {tmp_path}/a.png"


def test_the_numbers_of_a_radial_profile_are_written(nbdist, finished, tmp_path):
    ended = nbdist("preview", finished, "--radial", "--csv", tmp_path / "a.csv", "-o", tmp_path / "a.png")
    assert ended.code == 0
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert f"a.csv: {len(rows)} shells" in ended.out
    assert list(rows[0])[:4] == ["d_A", "two_theta_deg", "pixels", "mean"]
    assert list(rows[0])[4:] == [f"percentile_{share}" for share in (5, 25, 50, 75, 95)]
    assert sum(int(row["pixels"]) for row in rows) == 96 * 80


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("--frame", "3"), "--frame 3: lies outside 0:3"),
        (("--maximum", "0:4"), "--maximum 0:4: lies outside 0:3"),
        (("--mean", "2:1"), "--mean 2:1: holds nothing"),
        (("--sheet", "all"), "--sheet all: expected FIRST:LAST or a number"),
        (("--zoom", "0:97,0:80"), "--zoom 0:97: lies outside 0:96"),
        (("--zoom", "0:96,0:81"), "--zoom 0:81: lies outside 0:80"),
        (("--zoom", "0:10"), "--zoom 0:10: expected S0:S1,F0:F1"),
        (("--what", "counts"), "--what counts: the store holds intensity"),
        (("--sample", "1"), "--sample 1: the store is a series, which has no samples"),
        (("--panel", "1"), "--panel 1: lies outside 0:1"),
        (("--maximum", "0:2", "--sheet", "2"), "--maximum and --sheet exclude each other"),
        (("--maximum", "0:2", "--radial"), "--maximum and --radial exclude each other"),
        (("--zoom", "0:9,0:9", "--radial"), "--zoom and --radial exclude each other"),
        (("--csv", "a.csv"), "--csv goes with --radial: it writes its numbers"),
    ],
)
def test_preview_refuses_what_the_store_does_not_hold(arguments, answer, nbdist, finished, tmp_path):
    refused = nbdist("preview", finished, *arguments, "-o", tmp_path / "a.png")
    assert (refused.code, refused.err) == (2, f"nbdist: {answer}\n")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "first"), [(("--frame", "2"), 2), (("--maximum", "0:3"), 1), (("--sheet", "0:2"), 1)]
)
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


def test_a_picture_for_which_there_is_no_room_is_said(nbdist, finished):
    told = nbdist("preview", finished, "-o", "/dev/full")
    assert (told.code, told.err) == (2, "nbdist: /dev/full cannot be written: the disk is full\n")
    assert "wrote" not in told.out


def test_the_backend_of_a_notebook_has_no_part_in_a_picture(finished, tmp_path):
    picture = tmp_path / "a.png"
    command = [sys.executable, "-m", "nbdist", "preview", str(finished), "-o", str(picture)]
    subprocess.run(command, env={**os.environ, "MPLBACKEND": "no such backend"}, check=True, capture_output=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
