"""Pages in Debian's chromium, as a reader has them: nothing is fetched from elsewhere, no error is in the console, every figure is there.

A test takes the fixture `page`, which skips where playwright or chromium cannot be had, and is marked integration.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

NAMES = ("chromium", "chromium-browser", "google-chrome")
HERE = {"127.0.0.1", "localhost", "::1"}
"""Hosts that a page may ask; none is asked for files, data and blobs."""
NO_HOST = ("file:", "data:", "blob:", "about:")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A chromium without a window; of a module, as the event loop that comes with it is in the way of others."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"there is no {' or '.join(NAMES)}")
    with playwright.sync_playwright() as started:
        # whatever asks past the page's requests (prefetches, the browser itself) finds no name
        alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
        launched = started.chromium.launch(executable_path=found, args=["--no-sandbox", alone])
        yield launched
        launched.close()


@pytest.fixture
def faults() -> list[str]:
    """What went wrong in the test's page so far, a line each; a test that expects some looks at them and clears the list."""
    return []


@pytest.fixture
def page(browser: Browser, faults: list[str]) -> Iterator[Page]:
    """An empty page of 1280 x 900.

    The test fails at its end if the page asked another machine for anything (requests are refused, web sockets as well), if a script
    failed, an error was written to the console, or a request came to nothing; `faults` has these.
    """
    with watched_page(browser, faults) as opened:
        yield opened


@contextmanager
def watched_page(browser: Browser, faults: list[str]) -> Iterator[Page]:
    """See the fixture `page`."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    outside: list[str] = []

    def refuse(route: Route) -> None:
        outside.append(route.request.url)
        route.abort()

    context.route(lambda url: not _is_here(url), refuse)
    opened = context.new_page()
    opened.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
    opened.on("pageerror", lambda error: faults.append(f"script: {error}"))
    opened.on("requestfailed", lambda request: faults.append(f"request: {request.url}: {request.failure}"))
    opened.on("websocket", lambda socket: None if _is_here(socket.url) else outside.append(socket.url))
    try:
        yield opened
    finally:
        context.close()
    assert not outside, f"the page asked other machines: {outside}"
    assert not faults, "\n".join(faults)


def _is_here(url: str) -> bool:
    return url.startswith(NO_HOST) or urlsplit(url).hostname in HERE


@dataclass(frozen=True)
class PageFigure:
    """A picture of a page.

    Attributes
    ----------
    id
        Of the figure that it stands in, or its own; empty where there is none.
    caption, alt
        What stands below it, and what is said in its place; empty where nothing is.
    width, height
        As it is laid out, in CSS pixels.
    """

    id: str
    caption: str
    alt: str
    width: float
    height: float


_FIGURES = """() => [...document.querySelectorAll("img, svg")]
    .filter(it => !it.closest("a, button, nav, header, footer") && !(it.parentElement && it.parentElement.closest("svg")))
    .map(it => {
        const figure = it.closest("figure"), box = it.getBoundingClientRect(), image = it instanceof HTMLImageElement;
        const caption = figure && figure.querySelector("figcaption"), title = !image && it.querySelector("title");
        return {
            id: (figure && figure.id) || it.id || "",
            caption: caption ? caption.innerText.trim() : "",
            alt: (it.getAttribute("alt") || it.getAttribute("aria-label") || (title && title.textContent) || "").trim(),
            width: box.width, height: box.height,
            drawn: image ? it.complete && it.naturalWidth > 0 : true,
        };
    })"""


def figures(page: Page) -> list[PageFigure]:
    """Every <img> and <svg> of the page's own text, icons of links, buttons and bars left out.

    The test fails where one is not drawn, or has no size.
    """
    page.evaluate(
        # those that wait until they are scrolled to are loaded, too
        "() => Promise.all([...document.images].map(it => { it.loading = 'eager'; return it.decode().catch(() => null); }))"
    )
    found = page.evaluate(_FIGURES)
    for figure in found:
        drawn = figure.pop("drawn")
        assert drawn, f"{figure['id'] or figure['alt'] or 'a picture'} is not drawn"
        assert figure["width"] > 1, f"{figure} has no width"
        assert figure["height"] > 1, f"{figure} has no height"
    return [PageFigure(**figure) for figure in found]
