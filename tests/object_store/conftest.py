"""What the object-store tests share: an S3 server on this machine (moto's), a proxy before it that fails on demand, and its addresses."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ports import free_port
from waiting import LIMIT_S, until

ACCESS_KEY, SECRET_KEY = "AKIANBDISTTESTACCESS", "nbdist/test+secretKeyThatMustNotBeSeen00"
"""Made up; the tests look for them in everything that is written."""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of an S3 server with one bucket, `bucket`."""
    pytest.importorskip("obstore", reason="obstore is not installed: extra s3")
    pytest.importorskip("moto.server", reason="moto's server is not installed: pip install 'moto[s3]' flask flask-cors")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _put_bucket(url), "the S3 server", process=server)
        yield url
    finally:
        server.kill()
        server.wait()


def _put_bucket(url: str) -> bool:
    """Whether the server made the bucket."""
    with contextlib.suppress(OSError):
        urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT"), timeout=LIMIT_S).close()
        return True
    return False


class FaultError(Exception):
    """See `Proxy.fault`."""

    def __init__(self, status: int | None = None, code: str = "", text: str = "") -> None:
        self.status, self.code, self.text = status, code, text


class LostAnswerError(Exception):
    """See `Proxy.lost_answer`."""


class Proxy(ThreadingHTTPServer):
    """Passes requests on to a server, unless `rule(method, path, number)` raises; counts what it did."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = server.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.rule: Callable[[str, str, int], None] = lambda method, path, number: None
        self.requests = 0
        self.faults = 0
        self.lock = threading.Lock()

    def fault(self, status: int | None = None, code: str = "", text: str = "") -> Exception:
        """Raised by a rule: this answer instead of the server's; none at all, where no status is given."""
        return FaultError(status, code, text)

    def lost_answer(self) -> Exception:
        """Raised by a rule: the request reaches the server, and the answer gets lost."""
        return LostAnswerError()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that are cut are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: the body would wait until the client has said that it got the head
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _pass_on(self) -> None:
        proxy: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with proxy.lock:
            proxy.requests += 1
            number = proxy.requests
        lost = False
        try:
            proxy.rule(self.command, self.path, number)
        except LostAnswerError:
            lost = True
        except FaultError as fault:
            proxy.faults += 1
            if fault.status is None:
                self._cut()
                return
            text = fault.text or f"<Error><Code>{fault.code}</Code><Message>asked for by a test</Message></Error>"
            self._answer(fault.status, {}, text.encode())
            return
        connection = http.client.HTTPConnection(proxy.behind, timeout=LIMIT_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if lost:
            proxy.faults += 1
            self._cut()
            return
        self._answer(answer.status, dict(answer.getheaders()), content)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        size = next((value for name, value in headers.items() if name.lower() == "content-length"), str(len(content)))
        self.send_header("Content-Length", size if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on


@pytest.fixture
def s3_environment(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The environment that leads to the server; its URL."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no.config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no.credentials"))
    return s3_server


@pytest.fixture
def location(s3_environment: str) -> str:
    """A place in the bucket where nothing lies."""
    return f"s3://bucket/tests/{uuid.uuid4().hex}/series.zarr"


@pytest.fixture
def proxy(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy between nbdist and the server; what fails is tried again soon."""
    monkeypatch.setattr("nbdist.store.bucket.BACKOFF_S", 0.01)
    monkeypatch.setattr("nbdist.store.bucket.LONGEST_BACKOFF_S", 0.01)
    server = Proxy(s3_environment)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()  # shutdown waits for its look
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def command() -> Callable[..., SimpleNamespace]:
    """Run `nbdist ARGUMENTS` as a process; its code, out and err."""

    def run(*arguments: object, seconds: float = LIMIT_S, **environment: str) -> SimpleNamespace:
        ran = subprocess.run(
            [shutil.which("nbdist"), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
            timeout=seconds,
        )
        return SimpleNamespace(code=ran.returncode, out=ran.stdout, err=ran.stderr)

    return run


@pytest.fixture(scope="session")
def assert_no_secret() -> Callable[..., None]:
    """Fail if a text holds a credential."""

    def check(*texts: str) -> None:
        for text in texts:
            assert not re.search(re.escape(SECRET_KEY) + "|" + ACCESS_KEY, text), "a credential is shown"

    return check
