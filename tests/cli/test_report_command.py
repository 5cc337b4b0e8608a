"""`nbdist report`: what it refuses; the pages that it writes are looked at in tests/run/test_report_pages.py."""

from __future__ import annotations

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
