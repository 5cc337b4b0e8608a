"""A command that is told to end: one line, status 128 + signal, nothing left running, whatever it was doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from distributed import SpecCluster, Status
from waiting import LIMIT_S, until

from nbdist.clusters.local import local_cluster


def _python(program: str) -> subprocess.CompletedProcess[str]:
    lines = "import os, signal, sys, time\nfrom nbdist.cli import stopping\nstopping.listen()\n" + program
    return subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_and_its_status_is_128_more_than_its_number(number):
    ran = _python(f"""
try:
    signal.raise_signal({int(number)})
except KeyboardInterrupt as error:
    sys.exit(stopping.status_of(error))
""")
    assert (ran.returncode, ran.stderr) == (128 + number, "")


def test_callbacks_that_fail_for_an_interrupt_say_nothing():
    # Dask's own request: interrupted before it began, it fails in a callback that is to cancel it
    ran = _python("""
import distributed, logging
from nbdist.cli.main import _options
_options(debug=False, verbose=False, version=False)
logging.getLogger("tornado.application").error("before")
try:
    signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    logging.getLogger("tornado.application").error("after")
""")
    assert "before" in ran.stderr
    assert "after" not in ran.stderr


def test_a_package_for_job_queues_leaves_ctrl_c_alone():
    ran = _python("""
from nbdist.clusters.job_scripts import job_class
job_class("slurm")
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt as error:
    sys.exit(stopping.status_of(error))
""")
    assert (ran.returncode, ran.stderr) == (130, "")


def test_an_interrupt_that_is_raised_again_too_early_is_not_lost():
    ran = _python("""
class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        for _ in range(10): pass
again, times = stopping._told.raise_again, []
def raise_again():
    again()
    times.append(1)
    if len(times) == 1:
        time.sleep(10 * stopping.AGAIN_S)
stopping._told.raise_again = raise_again
try:
    it = Finalized()
    del it
    for _ in range(1000):
        time.sleep(0.01)
except KeyboardInterrupt as error:
    sys.exit(stopping.status_of(error))
""")
    assert (ran.returncode, ran.stderr) == (130, "")


def test_an_error_that_an_interrupt_became_is_still_an_interrupt():
    ran = _python("""
try:
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise ImportError("KeyboardInterrupt: <EMPTY MESSAGE>")
except ImportError as error:
    sys.exit(stopping.status_of(error))
""")
    assert (ran.returncode, ran.stderr) == (143, "")


def test_an_interrupt_that_a_finalizer_drops_comes_again_outside_and_prints_nothing():
    ran = _python("""
class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        for _ in range(10): pass
try:
    it = Finalized()
    del it
    while True:
        time.sleep(0.01)
except KeyboardInterrupt as error:
    sys.exit(stopping.status_of(error))
""")
    assert (ran.returncode, ran.stderr) == (130, "")


def test_an_interrupt_that_was_caught_by_somebody_else_is_raised_at_the_next_report():
    ran = _python("""
try:
    signal.raise_signal(signal.SIGTERM)
except BaseException:
    pass
try:
    stopping.require_untold()
except KeyboardInterrupt as error:
    sys.exit(stopping.status_of(error))
""")
    assert (ran.returncode, ran.stderr) == (143, "")


def test_the_second_signal_does_not_disturb_the_closing_and_a_late_ctrl_c_ends_at_once():
    ran = _python("""
try:
    signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.raise_signal(number)
    print("closed", flush=True)
    stopping.PATIENCE_S = 0
    signal.raise_signal(signal.SIGINT)
print("not reached")
""")
    assert (ran.returncode, ran.stdout) == (143, "closed\n")
    assert ran.stderr.count("\n") == 1


def test_a_signal_after_the_end_changes_neither_status_nor_output():
    ran = _python("""
stopping.leave(3)
signal.raise_signal(signal.SIGINT)
time.sleep(60)
""")
    assert (ran.returncode, ran.stderr) == (3, "")


def test_what_nohup_ignores_stays_ignored_and_handlers_are_put_back():
    ran = _python("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)
stopping._told.listening = False
signal.signal(signal.SIGINT, signal.default_int_handler)
with stopping.listening():
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
""")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_end_while_its_workers_start_ends_in_one_line(number, write_experiment, tmp_path):
    file, store = write_experiment(tmp_path / "a.yaml"), tmp_path / "a.zarr"
    command = [sys.executable, "-m", "nbdist", "run", str(file), "-o", str(store), "--workers", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        family: list[psutil.Process] = []

        def starting() -> bool:
            family[:] = psutil.Process(process.pid).children(recursive=True)
            return len(family) >= 2  # Python's own helper and a worker

        until(starting, "workers to start", process=process)
        os.killpg(process.pid, number)
        said, _ = process.communicate(timeout=LIMIT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 128 + number, said
    *before, last = said.splitlines()
    assert all(line.startswith(("note: ", "0/3 frames")) for line in before), said
    assert last.startswith("interrupted; what is complete is kept. Go on with: nbdist run"), said
    _, alive = psutil.wait_procs(family, timeout=LIMIT_S)
    assert alive == [], "workers are left running"


def test_an_interrupt_while_workers_start_closes_their_cluster():
    clusters: list[SpecCluster] = []
    others = set(SpecCluster._instances)  # of tests before

    def interrupt() -> None:
        def starting() -> bool:
            clusters[:] = set(SpecCluster._instances) - others
            return any(nanny.pid for its in clusters for nanny in its._created)

        until(starting, "workers to start")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt), local_cluster(2):
        threading.Event().wait(LIMIT_S)
    thread.join()
    assert [its.status for its in clusters] == [Status.closed], "or Python waits for it at its end"


@pytest.mark.integration
def test_a_run_that_is_told_to_end_while_a_worker_compiles_leaves_no_compiler_behind(write_experiment, tmp_path):
    compiles, compiler = tmp_path / "compiles", tmp_path / "c++"
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec echo 1.0\ntouch {compiles}\nsleep {LIMIT_S}\n')
    compiler.chmod(0o755)
    file, store = write_experiment(tmp_path / "a.yaml"), tmp_path / "a.zarr"
    process = subprocess.Popen(
        [sys.executable, "-m", "nbdist", "run", str(file), "-o", str(store), "--workers", "1"],
        env={**os.environ, "CXX": str(compiler), "XDG_CACHE_HOME": str(tmp_path), "NBDIST_KERNELS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until(compiles.exists, "the compiler", process=process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert "sleep" in {its.name() for its in family}
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, said
    _, alive = psutil.wait_procs(family, timeout=LIMIT_S / 2)
    assert alive == []
