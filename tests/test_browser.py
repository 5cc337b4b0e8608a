"""What tests of pages rest on notices what a reader would, and lets no page out."""

from __future__ import annotations

import pytest
from browser import PageFigure, figures, watched_page

pytestmark = pytest.mark.integration

DOT = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_pictures_are_found_with_what_is_said_of_them(page, tmp_path):
    (tmp_path / "page.html").write_text(
        f"<figure id='one'><img src='{DOT}' alt='a dot' width=20 height=10><figcaption>A dot.</figcaption></figure>"
        "<svg id='two' width=30 height=40 role='img'><title>Nothing</title><svg></svg></svg><nav><svg></svg></nav>"
    )
    page.goto((tmp_path / "page.html").as_uri())
    assert figures(page) == [PageFigure("one", "A dot.", "a dot", 20, 10), PageFigure("two", "", "Nothing", 30, 40)]


@pytest.mark.parametrize("picture", ["<img src='absent.png' alt='gone'>", f"<img src='{DOT}' width=0>"])
def test_a_picture_that_nobody_sees_is_told(page, faults, tmp_path, picture):
    (tmp_path / "page.html").write_text(picture)
    page.goto((tmp_path / "page.html").as_uri())
    with pytest.raises(AssertionError):
        figures(page)
    faults.clear()


def test_a_page_that_asks_another_machine_is_refused_and_fails_the_test(failure_of):
    failed = failure_of("<script src='http://example.org/x.js'></script><img src='http://127.0.0.1.example.org/x.png'>")
    assert "asked other machines: ['http://example.org/x.js', 'http://127.0.0.1.example.org/x.png']" in failed


def test_an_error_of_a_script_fails_the_test(failure_of):
    assert "script: " in failure_of("<script>nothing()</script>")
    assert "console: sad" in failure_of("<script>console.error('sad')</script>")


@pytest.fixture
def failure_of(browser, tmp_path):
    """`failure_of(html)`: what a test fails with that only opens this page."""

    def visit(html: str) -> str:
        (tmp_path / "page.html").write_text(html)
        with pytest.raises(AssertionError) as failed, watched_page(browser, []) as opened:
            opened.goto((tmp_path / "page.html").as_uri())
        return str(failed.value)

    return visit
