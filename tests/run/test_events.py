"""The log of a run: one line an event, for people and for programs."""

from __future__ import annotations

import json
import re

import pytest
from injected import run

from nbdist.errors import RunError
from nbdist.run.events import LogFile
from nbdist.run.progress import Progress
from nbdist.run.rendering import render_frame


@pytest.fixture
def logged_run(light_experiment, tmp_path):
    """`logged_run("json")`: the lines of a run of four frames, one of which fails twice and one always; without notes on the experiment."""

    def logged(form):
        failures = {1: 2, 2: 99}

        def failing(context, frame):
            if failures.get(frame, 0):
                failures[frame] -= 1
                raise ValueError(f"no frame {frame}")
            return render_frame(context, frame)

        log = LogFile(tmp_path / "run.log", form)
        progress = run(light_experiment(4), tmp_path / "a.zarr", render_frame=failing, log=log)
        log.close()
        lines = (tmp_path / "run.log").read_text().splitlines()
        return progress, [line for line in lines if '"event": "note"' not in line and "Z note " not in line]

    return logged


def test_every_event_is_a_json_line(logged_run):
    progress, lines = logged_run("json")
    events = [json.loads(line) for line in lines]
    assert [(event["event"], event.get("unit")) for event in events] == [
        ("run-begun", None),
        ("unit-done", 0),
        ("unit-retried", 1),
        ("unit-retried", 1),
        ("unit-done", 1),
        ("unit-retried", 2),
        ("unit-retried", 2),
        ("unit-failed", 2),
        ("unit-done", 3),
        ("run-ended", None),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in events)
    assert events[7]["error"].startswith("ValueError: no frame 2 (nbdist/run/rendering.py:")
    assert events[7]["traceback"].endswith(
        'in failing\n    raise ValueError(f"no frame {frame}")\nValueError: no frame 2'
    )
    assert events[1]["frames"] == [0, 1]
    assert (events[1]["device"], events[1]["precision"]) == ("cpu", "float32")
    assert events[1]["bytes"] > 0
    assert (events[-1]["how"], events[-1]["units"], events[-1]["failed"], events[-1]["retried"]) == (
        "units failed", 3, 1, 4,
    )  # fmt: skip
    assert events[-1]["bytes"] == progress.bytes_written == sum(event.get("bytes", 0) for event in events[:-1])


def test_a_text_line_has_the_time_the_event_and_its_facts(logged_run):
    _, lines = logged_run("text")
    assert len(lines) == 10
    assert re.match(r'\S+Z unit-failed unit=2 error="ValueError: no frame 2 \([^"]*\)" traceback="Traceback', lines[7])


def test_the_log_of_a_run_that_goes_on_is_appended_to(tmp_path):
    for event in ("one", "two"):
        log = LogFile(tmp_path / "run.log", "json")
        log(event)
        log.close()
    assert [json.loads(line)["event"] for line in (tmp_path / "run.log").read_text().splitlines()] == ["one", "two"]


def test_a_log_file_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    with pytest.raises(RunError, match=r"nowhere/run\.log cannot be written: No such file"):
        LogFile(tmp_path / "nowhere" / "run.log")


def test_a_disk_that_is_full_for_the_log_does_not_end_the_run(caplog):
    log = LogFile("/dev/full")
    for _ in range(10_000):
        log("unit-done", unit=1)
    log.close()
    assert caplog.text.count("log file cannot be written: the disk is full") == 1


def test_seconds_are_added_by_device_precision_and_kernel():
    progress = Progress(frames_total=3)
    made = {"frames": [0, 1], "shard_bytes": {"intensity": 10}, "kernel": "eager", "host": "here", "unit": 0}
    for device, seconds in (("cpu", 2.0), ("cuda", 0.5), ("cpu", 1.0)):
        progress.unit_done({**made, "device": device, "precision": "float32", "seconds": seconds})
    assert progress.seconds_by_device == {"cpu float32 eager": 3.0, "cuda float32 eager": 0.5}
    assert (progress.frames_done, progress.units_done, progress.bytes_written) == (3, 3, 30)
