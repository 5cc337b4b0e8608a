"""`nbdist report`: what it refuses; the pages that it writes are looked at in tests/run/test_report_pages.py."""

from __future__ import annotations

import os
import shutil

import pytest


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("--frames", "2:9"), "--frames 2:9: lies outside 0:3"),
        (("--log", "nowhere.log"), "the log nowhere.log cannot be read: No such file or directory: nowhere.log"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(arguments, answer, nbdist, part, tmp_path):
    refused = nbdist("report", part, *arguments, "-o", tmp_path / "a.html")
    assert (refused.code, refused.err) == (2, f"nbdist: {answer}\n")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("report", "gone.zarr", "-o", "gone/a"),
        ("preview", "gone.zarr", "-o", "gone/a"),
        ("preview", "gone.zarr", "--radial", "--csv", "gone/a"),
        ("compare", "gone.zarr", "gone.zarr", "-o", "gone/a"),
        ("compare", "gone.zarr", "gone.zarr", "--json=gone/a"),
    ],
)
def test_where_it_is_written_is_looked_at_before_the_work(command, nbdist):
    refused = nbdist(*command)
    assert (refused.code, refused.err) == (2, "nbdist: gone/a cannot be written: No such file or directory\n")


@pytest.mark.integration
def test_frames_that_do_not_decode_are_left_out_and_named(nbdist, finished, tmp_path):
    store, key, page = shutil.copytree(finished, tmp_path / "a.zarr"), "intensity/c/1/0/0", tmp_path / "a.html"
    with (store / key).open("r+b") as shard:
        shard.seek(-4, os.SEEK_END)
        shard.write(b"!!!!")
    refused = nbdist("preview", store, "--frame", 1, "-o", tmp_path / "a.png")
    wrong = f"{store}: {key} does not decode (its index is damaged)"
    assert (refused.code, refused.err) == (2, f"nbdist: {wrong}\n")
    told = nbdist("report", store, "--verify", 0, "-o", page)
    assert told.code == 1
    assert "not so: every shard decodes (see Checks)" in told.out
    assert f"Left out, as they do not decode: frame 1: {wrong}." in page.read_text()
