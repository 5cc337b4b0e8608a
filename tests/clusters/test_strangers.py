"""Other users of the machine: what listens asks them for a certificate, and nothing that code is loaded from is theirs to write."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from distributed import Client
from typer.testing import CliRunner
from waiting import LIMIT_S

from nbdist import generate
from nbdist.cli.main import app
from nbdist.clusters.local import WORKER_ENVIRONMENT, local_cluster
from nbdist.clusters.tls import read_security, security_in_folder, temporary_security
from nbdist.errors import RunError
from nbdist.experiment import experiment_to_yaml
from nbdist.private_folder import lock_folder, trusted_folder

NOBODY = 65534
STRANGER = """
import asyncio, os, sys
from distributed import Security
from distributed.core import connect
from nbdist.clusters.tls import temporary_security
number, *addresses = sys.argv[1:]
both = [security.get_connection_args("client") for security in (Security(), temporary_security())]
os.setgroups([])
os.setgid(int(number))
os.setuid(int(number))
async def attempt(address, arguments):
    try:
        await connect(address, timeout=5, **arguments)
        return "connected"
    except Exception:
        return "refused"
async def every():
    return await asyncio.gather(*(attempt(there, arguments) for there in addresses for arguments in both))
print(f"user {os.getuid()}:", *asyncio.run(every()))
"""


def _listening():
    """Host and port of every socket on which this process and those it started wait for connections."""
    me, found = psutil.Process(), set()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.net_connections("inet")
            found |= {(one.laddr.ip, one.laddr.port) for one in used if one.status == psutil.CONN_LISTEN}
    return found


def _asks_for_a_certificate(port):
    """Whether a socket talks TLS, and ends the conversation with a client that has no certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as plain:
        try:
            with context.wrap_socket(plain) as talking:
                talking.settimeout(LIMIT_S)
                return talking.recv(1) == b""
        except (ssl.SSLError, ConnectionError):
            return True


@pytest.mark.integration
def test_every_socket_of_a_local_run_asks_for_a_certificate(small_experiment, tmp_path):
    before, seen = _listening(), {}

    def look(progress):
        if progress.frames_done and not seen:
            seen.update({port: _asks_for_a_certificate(port) for _, port in _listening() - before})

    generate(small_experiment(), tmp_path / "a.zarr", workers=1, report=look)
    assert len(seen) >= 3, "the scheduler, a nanny and a worker"
    assert all(seen.values()), seen


@pytest.mark.integration
def test_only_a_dashboard_that_was_asked_for_is_shown():
    with local_cluster(0) as cluster:
        assert cluster.dashboard_link == ""
    with local_cluster(0, dashboard=True) as cluster:
        assert cluster.dashboard_link.startswith("http://127.0.0.1:")


@pytest.mark.integration
def test_another_user_of_the_machine_cannot_talk_to_a_local_cluster():
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=LIMIT_S)
        worker = next(iter(client.nthreads()))
        addresses = [cluster.scheduler_address, worker]
        addresses += [address.replace("tls://", "tcp://") for address in addresses]
        asked = subprocess.run(
            [sys.executable, "-c", STRANGER, str(NOBODY), *addresses],
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.stdout == f"user {NOBODY}:{8 * ' refused'}\n", asked.stderr
        assert client.run(os.getuid) == {worker: 0}, "its own client is served as before"
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            told = (*process.cmdline(), *process.environ().values())
            assert not any("PRIVATE KEY" in word for word in told), process


@pytest.mark.integration
def test_the_folder_that_workers_load_code_from_is_their_users_alone():
    with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=LIMIT_S)
        folders = client.run(lambda dask_worker: dask_worker.local_directory).values()
        for folder in (cluster.scheduler.local_directory, *folders):  # the scheduler's is looked into by this process
            assert trusted_folder(folder).is_relative_to(lock_folder())
    assert stat.S_IMODE(lock_folder().stat().st_mode) == 0o700


@pytest.mark.integration
def test_modules_in_the_working_folder_are_not_loaded(small_experiment, tmp_path):
    work, start = tmp_path / "work", tmp_path / "bin" / "start.py"
    for folder in (work, start.parent):
        folder.mkdir()
    start.write_text("from nbdist.__main__ import main\nif __name__ == '__main__':\n    main()\n")
    for name in ("socket", "runpy", "multiprocessing"):
        (work / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    (tmp_path / "e.yaml").write_text(experiment_to_yaml(small_experiment(scan={"frames": 1})), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, start, "run", tmp_path / "e.yaml", "-o", tmp_path / "a.zarr", "--workers", "1"],
        cwd=work,
        env={name: value for name, value in os.environ.items() if name not in WORKER_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / "sprung").exists()


@pytest.mark.integration
def test_a_local_cluster_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}
    with local_cluster(1):
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert {name: os.environ.get(name) for name in WORKER_ENVIRONMENT} == before


def test_certificates_of_jobs_lie_in_a_folder_for_one_user_as_long_as_the_run(tmp_path):
    with security_in_folder([tmp_path]) as security:
        key = Path(security.tls_worker_key)
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (key, key.parent)]
        assert modes == [0o600, 0o700]
        assert key.parent.parent == tmp_path
        assert security.get_connection_args("client")["require_encryption"] is True
    assert not key.parent.exists()


def test_certificates_are_not_put_where_others_can_replace_them(tmp_path):
    open_folder, own = tmp_path / "open", tmp_path / "own"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    with security_in_folder([open_folder, own]) as security:
        assert Path(security.tls_worker_key).parent.parent == own
    with pytest.raises(RunError, match=r"no folder for the certificates of jobs: .*open is writable by others"):
        security_in_folder([open_folder]).__enter__()


def test_a_certificate_for_a_scheduler_of_ones_own_is_made_by_a_command(tmp_path):
    made = CliRunner().invoke(app, ["certificate", str(tmp_path)])
    assert made.exit_code == 0, made.output
    security = read_security(made.output.strip())
    assert stat.S_IMODE(Path(security.tls_worker_key).stat().st_mode) == 0o600


def test_two_runs_do_not_trust_each_other():
    one, other = temporary_security(), temporary_security()
    assert one.tls_ca_file != other.tls_ca_file
    assert "PRIVATE KEY" in one.tls_worker_key
    assert "PRIVATE KEY" not in repr(one)
