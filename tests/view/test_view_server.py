"""Who is let in to the page of a store, and how a browser is told where it is."""

from __future__ import annotations

import re
import socket
import stat
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("bokeh", reason="bokeh is not installed: extra view")

from nbdist.errors import NbdistError
from nbdist.view.server import ViewServer, has_display, opened_in_browser

ADDRESS = "http://127.0.0.1:4321/secret/"


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            NbdistError, match=re.escape(f"--port {port}: it cannot be listened on (Address already in use")
        ):
            ViewServer(None, port)


def test_the_token_is_on_no_command_line(monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    with opened_in_browser(ADDRESS) as found:
        assert found
        (url,) = opened
        assert "secret" not in url
        file = Path(unquote(urlsplit(url).path))
        assert f"url={ADDRESS}" in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()


def test_a_browser_needs_a_display(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_display()
