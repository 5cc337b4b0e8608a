"""What a person sees of a run while it goes and when it is over."""

from __future__ import annotations

import json

import pytest
import zarr
from rich.console import Console

from nbdist.cli.progress_display import QUICK_S, Steps, line
from nbdist.cli.stopping import Terminated, _told
from nbdist.run.progress import Progress


@pytest.fixture
def progress(monkeypatch):
    made = Progress(frames_total=100)
    monkeypatch.setattr(Progress, "seconds", property(lambda self: 50.0))
    return made


def test_a_run_that_waits_says_so(progress):
    assert line(progress) == "0/100 frames, waiting for workers, starting"
    progress.workers, progress.kinds = 1, {"starting": 1}
    assert line(progress) == "0/100 frames, 1 starting worker(s)"


def test_workers_are_shown_by_kind_with_what_is_in_flight_failed_and_tried_again(progress):
    progress.workers, progress.kinds = 5, {"gpu": 1, "cpu": 4}
    progress.frames_done, progress.in_flight, progress.bytes_written = 25, 12, 3 * 2**20
    progress.retried, progress.failed = 2, {7: "a cosmic ray"}
    assert line(progress) == (
        "25/100 frames, 4 cpu + 1 gpu worker(s), 12 unit(s) in flight, 0.5 frames/s, 2 min 30 s left, 3.0 MiB written, "
        "2 tried again, 1 unit(s) failed"
    )


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_steps_have_a_rate_and_the_time_that_is_left_in_a_line_every_ten_seconds(capsys):
    clock = Clock()
    with Steps("units read", clock) as steps:
        for done in range(1, 61):
            clock.now += 0.5
            steps(done, 2000)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "21/2,000 units read, 2/s, 16 min 29 s left",
        "42/2,000 units read, 2/s, 16 min 19 s left",
    ]


def test_steps_of_another_kind_have_a_rate_of_their_own(capsys):
    clock = Clock()
    with Steps(clock=clock) as steps:
        steps.named("decoded", 1, 1)
        clock.now += 11
        steps.named("compared", 0, 4)
        clock.now += 11
        steps.named("compared", 1, 4)
    assert capsys.readouterr().err.splitlines() == ["0/4 compared", "1/4 compared, 0.0909/s, 33.0 s left"]


def test_quick_steps_have_no_bar_and_others_one_that_is_taken_away(monkeypatch, capsys):
    monkeypatch.setattr("nbdist.cli.progress_display.interactive", lambda: True)
    terminal = Console(stderr=True, width=100, force_terminal=True, highlight=False, _environ={"TERM": "xterm"})
    monkeypatch.setattr("nbdist.cli.progress_display.error_console", terminal)
    clock = Clock()
    with Steps("units read", clock) as steps:
        steps(1, 3)
        clock.now += 2 * QUICK_S
        assert capsys.readouterr().err == ""
        steps(2, 3)
    drawn = capsys.readouterr()
    assert "2/3 units read, 3.33/s, 0.3 s left" in drawn.err
    assert drawn.err.endswith("\x1b[2K")  # the line is erased
    assert drawn.out == ""


def test_steps_go_no_further_where_the_command_was_told_to_end(monkeypatch):
    monkeypatch.setattr(_told, "first", Terminated(15))
    with pytest.raises(Terminated), Steps() as steps:
        steps(1, 2)


def test_the_end_of_a_run_says_what_it_came_to(nbdist, experiment_file, tmp_path):
    store, log = tmp_path / "a.zarr", tmp_path / "run.log"
    ran = nbdist("run", experiment_file, "-o", store, "--serial", "--log-file", log)
    assert ran.code == 0
    assert "units" in ran.out
    assert "done, 0 tried again, 0 failed" in ran.out
    assert "1 cpu worker(s), 0 lost on the way" in ran.out
    assert "s cpu float32" in ran.out
    assert 'run-ended how="complete"' in log.read_text()


def test_counts_that_do_not_fit_are_said_once_and_kept_in_the_records(nbdist, write_experiment, tmp_path):
    words = ("--serial", "--frames-per-shard", 1)
    bright = {"noise": {"photon_noise": True}, "sampling": {"oversample": 8}}
    for fluence, full in ((1e24, False), (1e36, True)):
        file = write_experiment(tmp_path / "a.yaml", beam={"fluence_photons_per_m2": fluence}, **bright)
        store = tmp_path / f"{fluence:g}.zarr"
        ran = nbdist("run", file, "-o", store, *words)
        assert ran.code == 0
        counts = zarr.open_group(str(store), mode="r")["counts"][:]
        held = int((counts == 2**31 - 1).sum())
        assert (held > 0) == full
        assert ran.err.count(f"note: counts of {held} pixel(s) are held at the largest value") == full
        records = [json.loads(path.read_text()) for path in (store / "records").glob("[0-9]*.json")]
        assert sum(record["saturated_pixels"] for record in records) == held


def test_a_log_file_that_cannot_be_written_is_refused_before_anything_is_rendered(nbdist, experiment_file, tmp_path):
    refused = nbdist(
        "run", experiment_file, "-o", tmp_path / "a.zarr", "--serial", "--log-file", tmp_path / "no" / "log"
    )
    assert refused.code == 2
    assert "log file" in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "a.zarr").exists()
