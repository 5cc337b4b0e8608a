"""Serving the page: on the loopback interface, to whom has the token that the address carries.

What holds: every path begins with the token, which is random and new for each server; what does not is answered by 404, whatever is
asked for, pages, scripts and websockets alike, and so is what names another host, as pages of a domain do that has come to lead here.
Other users of the machine can reach the port, so the token is nowhere that they can look: the browser is started with a file of this
user's that leads on, as command lines can be read by everybody. A websocket is opened for pages of this server alone.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.protocol.exceptions import ProtocolError
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.settings import settings
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.routing import Router
from tornado.web import Application as WebApplication

from nbdist.errors import NbdistError, one_line
from nbdist.view.model import Model
from nbdist.view.page import Page

LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 32


class _Guard(Router):
    """Passes on requests to one of its hosts whose path begins with the token; all others find nothing."""

    def __init__(self, application: WebApplication, token: str, hosts: list[str]) -> None:
        self._application, self._token, self._hosts = application, token.encode(), hosts
        self._nothing = WebApplication(log_function=_quiet)

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> HTTPMessageDelegate | None:
        """What answers a request."""
        first = (request.path or "").lstrip("/").partition("/")[0]
        known = request.host.lower() in self._hosts and hmac.compare_digest(first.encode(errors="replace"), self._token)
        return (self._application if known else self._nothing).find_handler(request, **options)


def _quiet(handler: object) -> None:
    """Log no request: what is asked for carries the token."""


def _is_fault(record: logging.LogRecord) -> bool:
    """Whether something is wrong here, and not what a websocket has asked for: another protocol, or a session that is over."""
    return not (record.exc_info and isinstance(record.exc_info[1], ProtocolError))


class ViewServer:
    """A server of the pages of one store.

    Parameters
    ----------
    model
        Of the store.
    port
        On which it listens; any that is free where 0.

    Attributes
    ----------
    port
        On which it listens.
    address
        Of the page, with the token.

    Raises
    ------
    NbdistError
        If the port is not to be had.
    """

    def __init__(self, model: Model, port: int = 0) -> None:
        try:
            listening = socket.create_server((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            raise NbdistError(f"--port {port}: it cannot be listened on ({one_line(error)})") from None
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self.address = f"http://{LOOPBACK}:{self.port}/{token}/"
        settings.resources = "inline"  # whatever the environment says: scripts come with the page, from nowhere else
        logging.getLogger("bokeh").setLevel(logging.ERROR)
        logging.getLogger("tornado.application").addFilter(_is_fault)

        def fill(document: Document) -> None:
            Page(document, model)

        hosts = [host if self.port == 80 else f"{host}:{self.port}" for host in (LOOPBACK, "localhost")]
        application = BokehTornado(
            {"/": Application(FunctionHandler(fill))},
            prefix=token,
            extra_websocket_origins=hosts,
            log_function=_quiet,
        )
        self._loop = IOLoop.current()
        http = HTTPServer(_Guard(application, token, hosts))
        http.add_socket(listening)
        self._server = BaseServer(self._loop, application, http)
        self._server.start()

    def serve(self) -> None:
        """Serve until the process is told to end, or `stop` is called."""
        try:
            self._loop.start()
        finally:
            self._server.stop(wait=False)

    def stop(self) -> None:
        """End `serve`, from any thread."""
        self._loop.add_callback(self._loop.stop)


def has_display() -> bool:
    """Whether a browser would have a screen to open on."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@contextlib.contextmanager
def opened_in_browser(address: str) -> Iterator[bool]:
    """Open a page in the user's browser; whether there is one. Its address stands in a file that this user alone can read."""
    number, name = tempfile.mkstemp(prefix="nbdist-view-", suffix=".html")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={address}">\n')
        yield webbrowser.open(Path(name).as_uri())
    finally:
        Path(name).unlink(missing_ok=True)
