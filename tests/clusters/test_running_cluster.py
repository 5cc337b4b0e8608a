"""Clusters that only the right people reach: loopback, TLS, and workers that run what runs here."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from distributed import Client
from waiting import LIMIT_S

from nbdist import generate
from nbdist.clusters import running_cluster
from nbdist.clusters.local import local_cluster
from nbdist.clusters.running_cluster import (
    NOT_INSTALLED,
    NoSchedulerError,
    check_versions,
    connect,
    required_versions,
)
from nbdist.clusters.tls import read_security
from nbdist.doctor.cluster import scheduler as scheduler_findings
from nbdist.errors import RunError

pytestmark = pytest.mark.integration
DASK = Path(sys.executable).with_name("dask")
HERE = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")


def listening(process):
    return {used.laddr.ip for used in process.net_connections("inet") if used.status == psutil.CONN_LISTEN}


def test_everything_of_a_local_run_listens_on_the_loopback_interface(small_experiment, tmp_path):
    before = {(used.laddr.ip, used.laddr.port) for used in psutil.Process().net_connections("inet")}
    seen = []

    def look(progress):
        if progress.frames_done and not seen:
            me = psutil.Process()
            for process in (me, *me.children(recursive=True)):
                seen.extend(
                    (used.laddr.ip, used.laddr.port)
                    for used in process.net_connections("inet")
                    if used.status == psutil.CONN_LISTEN
                )

    generate(small_experiment(), tmp_path / "a.zarr", workers=1, report=look)
    opened = [one for one in seen if one not in before]
    assert len(opened) >= 3, "the scheduler, a nanny and a worker"
    assert {address for address, _ in opened} == {"127.0.0.1"}


def test_a_local_cluster_talks_tls_and_refuses_strangers(certificates, small_experiment, tmp_path, assert_same_bits):
    ours, theirs = map(read_security, certificates)
    with local_cluster(1, security=ours) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        with connect(address, security=ours) as client:
            assert all(worker.startswith("tls://") for worker in client.nthreads())
            generate(small_experiment(), tmp_path / "a.zarr", client)
        with pytest.raises(RunError, match=r"--scheduler tls://.*: no Dask scheduler answers there"):
            connect(address, security=theirs)
        with pytest.raises(RunError, match="needs --security CA,CERT,KEY"):
            connect(address)
        with pytest.raises(RunError, match="--security is for a scheduler at tls://"):
            connect(address.replace("tls://", "tcp://"), security=ours)
    generate(small_experiment(), tmp_path / "b.zarr", serial=True)
    assert_same_bits(tmp_path / "a.zarr", tmp_path / "b.zarr")


def test_a_local_run_with_certificates(certificates, small_experiment, tmp_path):
    security = read_security(certificates[0])
    assert generate(small_experiment(), tmp_path / "a.zarr", workers=1, security=security).frames_done == 3


def test_certificates_that_do_not_belong_together_are_refused(certificates, tmp_path):
    ca, cert, key = certificates[0].split(",")
    other_key = certificates[1].split(",")[2]
    for text, said in (
        (f"{ca},{cert}", "expected three PEM files"),
        (f"{ca},{cert},{tmp_path}/none.pem", "none.pem cannot be read: No such file"),
        (f"{ca},{cert},{other_key}", "not a certificate authority, a certificate and its key"),
        (f"{key},{cert},{key}", "not a certificate authority, a certificate and its key"),
    ):
        with pytest.raises(RunError, match=said) as refused:
            read_security(text)
        assert "\n" not in str(refused.value)


def test_a_cluster_is_found_by_the_file_that_its_scheduler_writes(certificates, tmp_path):
    """Started in the wrong order, as in a batch job: client, scheduler, worker."""
    file = tmp_path / "scheduler.json"
    ca, cert, key = certificates[0].split(",")
    tls = ("--protocol", "tls", "--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key)
    common = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen([DASK, "scheduler", "--port", "0", *HERE, *tls, "--scheduler-file", file], **common)
    worker = subprocess.Popen([DASK, "worker", "--scheduler-file", file, "--nthreads", "1", *HERE, *tls], **common)
    told = []
    try:
        with connect(scheduler_file=file, security=read_security(certificates[0]), report=told.append) as client:
            assert len(client.nthreads()) == 1
        assert told[0] == f"waiting for {file}"
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(LIMIT_S)


def test_a_scheduler_that_is_not_there_is_named(tmp_path):
    missing, wrong = tmp_path / "none.json", tmp_path / "wrong.json"
    wrong.write_text(json.dumps([1]))
    with pytest.raises(RunError, match=r"--scheduler-file .*none.json: there is no such file"):
        connect(scheduler_file=missing, wait_s=0.3)
    with pytest.raises(RunError, match=r"--scheduler-file .*wrong.json: is not what"):
        connect(scheduler_file=wrong, wait_s=0.3)
    with pytest.raises(RunError, match=r"--scheduler tcp://127.0.0.1:1: no Dask scheduler answers there"):
        connect("tcp://127.0.0.1:1", wait_s=1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", r"no Dask scheduler answers there \(TimeoutError\)"),
        (b"HTTP/1.0 400 Bad request\r\n\r\n", "what answers there is no Dask scheduler"),
        (b"HTTP", r"no Dask scheduler answers there \(TimeoutError\)"),
    ],
    ids=["silent", "another protocol", "half an answer"],
)
def test_something_else_that_listens_is_no_scheduler_and_is_not_waited_for(answer, said):
    kept = []

    def serve(listener):
        while True:
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return
            kept[-1].sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        before = threading.active_count()
        with pytest.raises(NoSchedulerError, match=said):
            connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}", wait_s=0.3)
        assert threading.active_count() == before, "no client goes on trying"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT_S)
    for connection in kept:
        connection.close()


def test_an_address_is_shown_without_its_password():
    with pytest.raises(NoSchedulerError) as refused:
        connect("tcp://user:secret@127.0.0.1:1", wait_s=0.3)
    assert "@127.0.0.1:1" in str(refused.value)
    assert not {"user", "secret"} & set(re.findall(r"\w+", str(refused.value)))


def test_doctor_finds_a_cluster_and_how_many_workers_it_has(client):
    def connected(report):
        return connect(client.scheduler.address, security=client.security, report=report)

    found, *notes = scheduler_findings(connected)
    assert (found.level, found.numbers["workers"]) == ("ok", len(client.nthreads()))
    assert notes == []


def test_a_cluster_without_workers_is_waited_for_and_then_refused():
    told = []
    with local_cluster(0) as cluster, pytest.raises(RunError, match="the cluster has no workers"):
        connect(cluster.scheduler_address, security=cluster.security, wait_s=0.5, report=told.append)
    assert told == [f"waiting for workers of {cluster.scheduler_address}"]


def test_the_workers_that_join_one_after_the_other_are_all_planned_for(monkeypatch):
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds

    class Joining:
        def __init__(self, times):
            self.times = [now + time_s for time_s in times]

        def nthreads(self):
            return {f"tcp://{time_s}": 1 for time_s in self.times if now >= time_s}

    monkeypatch.setattr(running_cluster, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    longest, still = running_cluster.JOINING_S, running_cluster.STILL_S
    cluster = Joining([0, 0.7 * still, 1.4 * still, 2.1 * still])
    running_cluster._wait_for_the_others(cluster)
    assert len(cluster.nthreads()) == 4
    running_cluster._wait_for_the_others(Joining([0.5 * still * n for n in range(10_000)]))
    assert now < 2 * (longest + 4 * still), "a cluster that grows for ever is not waited for"


def test_workers_that_run_other_versions_are_refused(client, monkeypatch):
    assert check_versions(client) == []
    here = running_cluster._version_here
    changed = {"nbdist": "9.9.9", "torch": "1.0.0"}
    monkeypatch.setattr(running_cluster, "_version_here", lambda name: changed.get(name) or here(name))
    with pytest.raises(RunError) as refused:
        check_versions(client)
    said = str(refused.value)
    assert f"nbdist {here('nbdist')} on 2 worker(s), 9.9.9 here" in said
    assert f"torch {here('torch')} on 2 worker(s), 1.0.0 here" in said
    assert "\n" not in said


def test_a_difference_without_harm_is_told(client, monkeypatch):
    here = running_cluster._version_here
    minor = ".".join([*here("torch").partition("+")[0].split(".")[:2], "99"])
    monkeypatch.setattr(running_cluster, "_version_here", lambda name: minor if name == "torch" else here(name))
    assert check_versions(client) == [f"note: torch {here('torch')} on 2 worker(s), {minor} here"]


def test_pytorch_may_be_missing_on_either_side(client, monkeypatch):
    monkeypatch.setattr(
        running_cluster,
        "_versions_there",
        lambda client, name: {
            NOT_INSTALLED if name == "torch" else running_cluster._version_here(name): list(client.nthreads())
        },
    )
    assert check_versions(client) == [f"note: torch (not installed) on 2 worker(s), {version('torch')} here"]
    monkeypatch.setitem(sys.modules, "torch", None)
    assert check_versions(client) == []
    assert "torch" not in required_versions()


@pytest.mark.slow
def test_a_worker_without_nbdist_is_told_apart(tmp_path, certificates):
    """A worker whose Python finds Dask, and no nbdist: the answer names what is missing, not how unpickling failed."""
    hide = tmp_path / "sitecustomize.py"
    hide.write_text(
        "import importlib.metadata as m\n"
        "found = m.version\n"
        "def version(name):\n"
        "    if name == 'nbdist':\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "m.version = version\n"
    )
    security = read_security(certificates[0])
    ca, cert, key = certificates[0].split(",")
    tls = ("--protocol", "tls", "--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key)
    with local_cluster(0, security=security) as cluster:
        worker = subprocess.Popen(
            [DASK, "worker", cluster.scheduler_address, "--nthreads", "1", "--no-nanny", *HERE, *tls],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with pytest.raises(RunError, match=r"nbdist \(not installed\) on 1 worker\(s\)"):
                connect(cluster.scheduler_address, security=security)
        finally:
            worker.terminate()
            worker.wait(LIMIT_S)


def test_a_client_is_closed_when_it_is_refused(client, monkeypatch):
    opened = []

    class Watched(Client):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            opened.append(self)

    monkeypatch.setattr("distributed.Client", Watched)
    monkeypatch.setattr(running_cluster, "_version_here", lambda name: "0")
    with pytest.raises(RunError, match=r"the scheduler at .* runs another version"):
        connect(client.scheduler.address, security=client.security)
    assert [one.status for one in opened] == ["closed"]
