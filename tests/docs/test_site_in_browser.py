"""The site as a reader's browser has it, where `docs/build.py` has built one: `NBDIST_SITE` names its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser import figures

pytestmark = pytest.mark.integration
SITE = Path(os.environ.get("NBDIST_SITE") or Path(__file__).parents[2] / "docs" / "_made" / "site")
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_static" not in path.parts)
UNKNOWN = "() => [...document.querySelectorAll('[data-mjx-error], .problematic, .system-message')].map(it => it.outerHTML.slice(0, 200))"
NOT_SET = "() => [...document.querySelectorAll('.math')].filter(it => !it.querySelector('mjx-container')).map(it => it.innerText)"
WIDTH = "() => [document.documentElement.scrollWidth, window.innerWidth]"


@pytest.mark.skipif(not PAGES, reason="no site is built: python docs/build.py")
def test_every_page_has_its_pictures_fits_a_narrow_window_and_asks_no_other_machine(page):
    wrong = []
    for name in PAGES:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto((SITE / name).as_uri())
        page.evaluate("() => window.MathJax && MathJax.startup.promise")
        figures(page)
        wrong += [f"{name}: not set: {formula}" for formula in page.evaluate(NOT_SET)]
        wrong += [f"{name}: {unknown}" for unknown in page.evaluate(UNKNOWN)]
        page.set_viewport_size({"width": 420, "height": 900})
        needed, had = page.evaluate(WIDTH)
        wrong += [f"{name}: {needed} pixels wide in a window of {had}"] if needed > had else []
    assert not wrong
