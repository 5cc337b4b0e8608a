"""`nbdist view` in a browser: who is served what, and that the page shows what the store holds while a run goes on writing it."""

from __future__ import annotations

import base64
import http.client
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import zarr
from waiting import LIMIT_S

pytest.importorskip("bokeh", reason="bokeh is not installed: extra view")

from nbdist import generate
from nbdist.experiment import Experiment
from nbdist.formats.views import State

pytestmark = pytest.mark.integration

SLOW, FAST, FRAMES = 900, 840, 4
"""More pixels than the window has room for."""
TITLE = r"<b>a</b> & $$\href{javascript:void(0)}{series}$$"
AT = """(name) => Bokeh.documents[0].get_model_by_name(name)"""


@dataclass(frozen=True)
class Served:
    """A store with one frame that is not rendered yet, and the address at which it is looked at."""

    store: str
    experiment: Experiment
    address: str
    port: int
    token: str


@pytest.fixture(scope="module")
def served(small_experiment, tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("view")
    experiment = small_experiment(
        panel={"spixels": SLOW, "fpixels": FAST, "pixel_size_mm": 0.12, "distance_mm": 100},
        crystal={"N_cells": [24, 21, 18]},
        scan={"frames": FRAMES, "osc_range_deg": 0.2, "phi_steps": 1},
        noise={"photon_noise": True},
        title=TITLE,
    )
    generate(experiment, folder / "a.zarr", serial=True, frames=range(FRAMES - 1), frames_per_shard=1)
    words = [shutil.which("nbdist"), "view", str(folder / "a.zarr"), "--no-browser"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[0].endswith(f"{FRAMES - 1} of {FRAMES} frames are rendered\n"), (lines, process.poll())
        address = lines[1].removeprefix("open ").strip()
        parts = urlsplit(address)
        assert f"ssh -L {parts.port}:127.0.0.1:{parts.port}" in lines[2]
        yield Served(str(folder / "a.zarr"), experiment, address, parts.port, parts.path.strip("/"))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
        said = process.stderr.read()
        assert said.splitlines()[-1] == "nbdist: interrupted"
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def counts(served):
    return zarr.open_group(served.store, mode="r")["counts"][:]


def answer(served: Served, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize("path", ["", "ws", "autoload.js", "metadata", "static/js/bokeh.min.js", "favicon.ico"])
def test_nothing_is_served_without_the_token(served, path):
    wrong = served.token[:-1] + ("a" if served.token[-1] != "a" else "b")
    for before in ("", wrong + "/", served.token[:-1] + "/", served.token.lower() + "/", "x/" + served.token + "/"):
        assert answer(served, f"/{before}{path}") == 404
        assert answer(served, f"/{before}{path}", **UPGRADE) == 404
    assert len(served.token) >= 43, "256 bits"


def test_with_the_token_pages_and_scripts_are_served_and_websockets_to_them_alone(served):
    assert answer(served, f"/{served.token}/") == 200
    assert answer(served, f"/{served.token}/static/js/bokeh.min.js") == 200
    assert answer(served, f"/{served.token}/ws", Origin="http://elsewhere.example", **UPGRADE) == 403
    assert answer(served, f"/{served.token}/ws", **UPGRADE) == 101, (
        "and closed at once, as Bokeh's protocol is not asked for"
    )


def test_a_name_of_elsewhere_leads_nowhere(served):
    elsewhere = f"elsewhere.example:{served.port}"
    assert answer(served, f"/{served.token}/", Host=elsewhere) == 404
    assert answer(served, f"/{served.token}/ws", Host=elsewhere, Origin=f"http://{elsewhere}", **UPGRADE) == 404
    assert answer(served, f"/{served.token}/", Host=f"LOCALHOST:{served.port}") == 200


def test_it_listens_on_the_loopback_address_alone(served):
    for other in ("127.0.0.2", "::1"):
        family = socket.AF_INET6 if ":" in other else socket.AF_INET
        with socket.socket(family) as asking:
            assert asking.connect_ex((other, served.port)) != 0


class Shown:
    """The page, as a person and as its document have it."""

    def __init__(self, page, address: str) -> None:
        self.page = page
        page.set_default_timeout(1000 * LIMIT_S)
        page.set_viewport_size({"width": 1000, "height": 700})
        page.goto(address)
        self.until("image", "it => it.frame_height < 600")  # as the window has room for it
        self.until("pixels", "it => it.data.image.length > 0 && Bokeh.documents[0].is_idle")

    def ask(self, name: str, of: str):
        return self.page.evaluate(f"({of})(({AT})('{name}'))")

    def until(self, name: str, holds: str) -> None:
        """Wait until something holds of a model, and until what the page lays out anew for it stands.

        An entry that is written into meanwhile would lose what is written.
        """
        self.page.wait_for_function(f"window.Bokeh && Bokeh.documents[0] && ({holds})(({AT})('{name}'))")
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def until_coloured(self, holds: str) -> None:
        """Wait until something holds of the mapper that colours the image: the last thing that a change of contrast changes."""
        self.until("image", f"it => it.right.some(bar => bar.visible && ({holds})(bar.color_mapper))")

    def pixels(self):
        """Values (slow, fast), int32, and slow and fast of the first."""
        packed, shape, slow, fast = self.ask(
            "pixels",
            """it => {
                const image = it.data.image[0], bytes = new Uint8Array(image.buffer, image.byteOffset, image.byteLength)
                let text = ""
                for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192))
                return [btoa(text), image.shape, it.data.y[0], it.data.x[0]]
            }""",
        )
        return np.frombuffer(base64.b64decode(packed), dtype="<i4").reshape(shape), round(slow), round(fast)

    def place(self, slow: float, fast: float) -> tuple[float, float]:
        """Where a pixel coordinate is in the window."""
        return tuple(
            self.ask(
                "image",
                f"""it => {{
                    const view = Bokeh.index.find_one(it), box = view.canvas_view.el.getBoundingClientRect()
                    const frame = view.frame
                    return [box.x + frame.x_scale.compute({fast}), box.y + frame.y_scale.compute({slow})]
                }}""",
            )
        )

    def write(self, label: str, text: str) -> None:
        self.page.get_by_label(label, exact=True).fill(text)
        self.page.keyboard.press("Tab")


def test_the_page(served, counts, page):
    """One page, looked at as a person would: each step starts where the last one has ended."""
    shown = Shown(page, served.address)
    assert page.title() == f"{TITLE} - nbdist view"

    # the whole of the first frame, each dot the brightest of a square
    values, slow, fast = shown.pixels()
    factor = -(-SLOW // values.shape[0])
    assert factor > 1
    assert (slow, fast) == (0, 0)
    padded = np.pad(counts[0], [(0, -size % factor) for size in (SLOW, FAST)])
    squares = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
    np.testing.assert_array_equal(values, squares.max(axis=(1, 3)))
    assert "frame 0, phi 10 to 10.2 deg" in shown.ask("said", "it => it.text")

    # keys
    page.keyboard.press("ArrowRight")
    shown.until("said", "it => it.text.includes('frame 1, phi 10.2')")
    page.keyboard.press("Home")
    shown.until("said", "it => it.text.includes('frame 0, phi 10 ')")
    page.keyboard.press("PageDown")
    shown.until("said", f"it => it.text.includes('frame {FRAMES - 1} is not rendered yet')")
    assert shown.ask("states", "it => Array.from(new Set(it.data.image[0]))") == [State.UNFINISHED]

    # what a run renders meanwhile appears
    generate(served.experiment, served.store, serial=True, frames_per_shard=1, resume=True)
    shown.until("said", f"it => it.text.includes('all {FRAMES} frames are rendered')")
    last = zarr.open_group(served.store, mode="r")["counts"][FRAMES - 1]
    shown.until("states", "it => it.data.image[0].every(state => state == 0)")
    assert shown.pixels()[0].max() == last.max()
    page.keyboard.press("Home")
    shown.until("said", "it => it.text.includes('frame 0, phi 10 ')")

    # contrast: a logarithmic scale begins above 0, and none is turned round
    page.get_by_label("scale").select_option("log")
    shown.until_coloured("it => it.type == 'LogColorMapper' && it.low > 0")
    shown.write("drawn from", "0")
    shown.until_coloured("it => it.low == 0.5")
    shown.until("low", "it => it.value == 0.5")
    shown.until("each", "it => it.active.length == 0")
    page.get_by_label("scale").select_option("linear")
    shown.until_coloured("it => it.type == 'LinearColorMapper'")
    shown.write("to", "77")
    shown.until_coloured("it => it.high == 77")
    shown.write("drawn from", "80")
    shown.until("reversed", "it => it.visible")
    shown.write("drawn from", "0")
    shown.until("reversed", "it => !it.visible")
    shown.until_coloured("it => it.high == 77 && it.low == 0")
    page.get_by_label("colours").select_option("viridis")
    shown.until_coloured("it => it.palette.length == 256")

    # spots, and what is under the pointer
    page.get_by_label("spots", exact=True).check()
    shown.until("spots", "it => it.data.x.length > 20")
    page.keyboard.press("ArrowRight")
    shown.until("said", "it => it.text.includes('frame 1, phi 10.2')")
    page.keyboard.press("Home")
    shown.until("said", "it => it.text.includes('frame 0, phi 10 ')")
    spot_fast, spot_slow = shown.ask(
        "spots",
        f"""it => {{
            const inner = Array.from(it.data.x.keys()).find(
                n => Math.abs(it.data.x[n] - {FAST / 2}) < {FAST / 3} && Math.abs(it.data.y[n] - {SLOW / 2}) < {SLOW / 3})
            return [it.data.x[inner], it.data.y[inner]]
        }}""",
    )
    page.mouse.move(*shown.place(spot_slow, spot_fast))
    shown.until("pointer", "it => it.text.includes('slow')")
    for key, phi in (("ArrowRight", "10.2 to 10.4"), ("Home", "10 to 10.2")):
        page.keyboard.press(key)
        shown.until("pointer", f"it => it.text.includes('slow {int(spot_slow)} ') && it.text.includes('phi {phi} deg')")

    # a click on it: its rocking curve
    page.mouse.click(*shown.place(spot_slow, spot_fast))
    shown.until("curve", f"it => it.data.top.length == {FRAMES}")
    row, column = int(spot_slow), int(spot_fast)
    every = zarr.open_group(served.store, mode="r")["counts"][:, row - 6 : row + 7, column - 6 : column + 7].astype(
        float
    )
    sums = every[:, 3:-3, 3:-3].sum(axis=(1, 2))
    every[:, 3:-3, 3:-3] = np.nan
    below = 49 * np.nanmedian(every, axis=(1, 2))
    assert list(shown.ask("curve", "it => Array.from(it.data.top)")) == (sums - below).tolist()
    assert f"slow {row - 3}:{row + 4}, fast {column - 3}:{column + 4}" in shown.ask("rocking", "it => it.title.text")

    # zoomed in on it: true pixels, none blurred into another
    for _ in range(3):
        start = shown.ask("image", "it => it.x_range.start")
        page.mouse.wheel(0, -400)
        shown.until("image", f"it => it.x_range.start != {start}")
    start, end = shown.ask("image", "it => [it.x_range.start, it.x_range.end]")
    assert 8 < end - start < 100
    shown.until("pixels", f"it => it.data.x[0] == {int(start)} && it.data.dw[0] == {-int(-end // 1)} - {int(start)}")
    assert "brightest of" not in shown.ask("said", "it => it.text")
    values, slow, fast = shown.pixels()
    np.testing.assert_array_equal(values, counts[0, slow : slow + values.shape[0], fast : fast + values.shape[1]])
    page.mouse.move(*shown.place(slow + 2.5, fast + 3.5))
    shown.until("pointer", f"it => it.text.includes('slow {slow + 2} &nbsp; fast {fast + 3} ')")
    under = shown.ask("pointer", "it => it.text")
    assert f"counts {counts[0, slow + 2, fast + 3]:,} " in under
    assert "Å" in under
    assert "phi 10 to 10.2 deg" in under
    assert page.get_by_text("$$").inner_text().startswith(TITLE), "a title is no formula, whose links could run scripts"

    # a frame that cannot be read leaves nothing of the one before it
    Path(served.store, "counts/c/2/0/0").write_bytes(b"")
    for expected in ("'frame 1, phi 10.2'", "'counts/c/2'"):
        page.keyboard.press("ArrowRight")
        shown.until("said", f"it => it.text.includes({expected})")
    shown.until("pixels", "it => it.data.image.length == 0")
    shown.until("pointer", "it => it.text == '&nbsp;'")
