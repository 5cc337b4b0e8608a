"""Pages whose blocks are run: what is on them is run in order, and what they say is compared with what comes out."""

from __future__ import annotations

import importlib.util
import os
import select
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def _module(name: str):
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for their own names
    spec.loader.exec_module(module)
    return module


executed = _module("executed")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Makes a page of front matter and text, which is run into a folder of the test."""
    monkeypatch.setattr(executed, "MADE", tmp_path / "made")

    def write(text: str, front: str = "executed: true", name: str = "some_page"):
        path = tmp_path / f"{name}.md"
        path.write_text(f"---\n{front}\n---\n{text}")
        return executed.read_page(path)

    return write


def test_blocks_are_run_in_one_folder_and_python_blocks_share_their_names(page):
    text = """# Title

```sh
echo 41 > number.txt
```

```python
number = int(open("number.txt").read())
```

```text
not run at all (
```

```python
print("the number is", number + 1)
open("figure.svg", "w").write("<svg/>")
open("data.bin", "w").write("")
```

```output
the ...
```
"""
    found = page(text)
    assert [block.kind for block in found.blocks] == ["sh", "python", "python", "output"]
    assert not found.is_made()
    executed.run_page(found)
    assert {path.name for path in found.made.iterdir()} == {"figure.svg", executed.STAMP}
    assert found.is_made()
    assert not page(text.replace("41", "42")).is_made()
    assert page(text.replace("Title", "Another title")).is_made()


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```sh\necho before; false; echo after\n```", ["some_page.md:5", "sh block", "before", "exit status 1"]),
        ("```python\nx = 1\nraise KeyError('lost')\n```", ["some_page.md:5", "line 7", "KeyError: 'lost'"]),
        ("```python\nx = (\n```", ["some_page.md:5", "SyntaxError"]),
        ("```sh\necho a b\n```\n```output\na c\n```", ["some_page.md:8", "'a c'", "a b"]),
        ("```sh\necho one; echo two\n```\n```output\ntwo\none\n```", ["some_page.md:8", "'one'"]),
        ("```sh\nfalse | cat\n```", ["some_page.md:5", "exit status 1"]),
        (
            "```python\nimport os\nos._exit(0)\n```\n```sh\nfalse\n```",
            ["some_page: its process", "some_page.md:5: exit status 0"],
        ),
        ("```sh\nkill -KILL $PPID\n```", ["some_page: its process", "some_page.md:5: SIGKILL"]),
    ],
)
def test_a_block_that_does_not_do_what_the_page_says_is_named_with_its_line(page, block, said):
    with pytest.raises(executed.PageError) as failure:
        executed.run_page(page(f"\n{block}\n"))
    for words in said:
        assert words in str(failure.value)


@pytest.mark.parametrize(
    "block",
    [
        "  ```python\n  x\n  ```",
        "````python\nx\n````",
        "~~~python\nx\n~~~",
        "```python \nx\n```",
        "```python title\nx\n```",
        "```bash\nx\n```",
        "```\nx\n```",
        "```sh\nx\n``` \n\n```sh\nx\n```",
    ],
)
def test_no_block_is_passed_over(page, block):
    with pytest.raises(executed.PageError, match="some_page: the block at line 5 begins with"):
        page(f"\n{block}\n")


def test_a_page_that_hangs_is_ended_with_all_that_it_started(page, tmp_path, monkeypatch):
    monkeypatch.setattr(executed, "LONGEST_S", 2)
    held = tmp_path / "held"  # at its end once no process has it open
    os.mkfifo(held)
    hangs = page(f"```sh\nsleep 77.25 > {held} &\nwait\n```\n")
    end = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(executed.PageError, match=r"not done after 2 s, at .*some_page\.md:4"):
        executed.run_page(hangs)
    readable, _, _ = select.select([end], [], [], 20)
    os.close(end)
    assert readable


def test_a_page_is_run_again_where_a_file_that_it_watches_changed(page, tmp_path, monkeypatch):
    monkeypatch.setattr(executed, "ROOT", tmp_path)
    (tmp_path / "cases.py").write_text("1")
    front = "executed: true\nwatches: ['cases*']"
    before = page("", front).key()
    (tmp_path / "cases.py").write_text("2")
    assert page("", front).key() != before
    with pytest.raises(executed.PageError, match="watches: there is no away"):
        page("", "executed: true\nwatches: [away]")


def test_an_output_may_leave_out_lines_and_parts_of_lines(page):
    text = """
```sh
echo 'rendered  8 frames in 3.21 s'
echo whatever
echo '12 units'
```

```output
rendered 8 frames in ... s
...
12 units
```
"""
    executed.run_page(page(text))


def test_a_page_names_the_files_beside_it_and_what_it_needs(page, tmp_path, monkeypatch):
    (tmp_path / "beside.txt").write_text("here\n")
    executed.run_page(page("```sh\ngrep here beside.txt\n```\n", "executed: true\nfiles: [beside.txt]"))
    with pytest.raises(executed.PageError, match=r"away\.txt is not there"):
        page("", "executed: true\nfiles: [away.txt]")
    with pytest.raises(executed.PageError, match=r"there is no 'dails'; allowed are .*\bdials\b"):
        page("", "executed: true\nneeds: [dails]")
    monkeypatch.setitem(executed.NEEDS, "dials", lambda: "dials.import is not in the path")
    assert page("", "executed: true\nneeds: [dials]").missing() == ["dials.import is not in the path"]


def test_a_page_that_does_not_ask_for_it_is_not_run(page):
    assert page("```sh\nfalse\n```\n", "title: a page") is None


def test_pages_that_are_run_are_found_and_have_names_of_their_own(page, tmp_path, monkeypatch):
    assert {"store_format"} <= executed.executed_pages().keys()
    monkeypatch.setattr(executed, "DOCS", tmp_path)
    page("")
    (tmp_path / "below").mkdir()
    (tmp_path / "some_page.md").rename(tmp_path / "below" / "some_page.md")
    page("")
    with pytest.raises(executed.PageError, match="cannot have one name"):
        executed.executed_pages()


SHOWING = """# Title

[The page](/_made/some_page/made.html) has a picture:

![Its caption](/_made/some_page/made.png){width=80%}
"""


def test_a_page_that_was_never_run_keeps_the_words_of_its_links_and_says_so(page, tmp_path, monkeypatch):
    monkeypatch.setattr(executed, "DOCS", tmp_path)
    page(SHOWING)
    shown = executed.as_made(SHOWING)
    assert "_made" not in shown
    assert "\nThe page has a picture:\n" in shown
    assert shown.startswith(f"# Title\n\n:::{{note}}\n{executed.NOT_RUN}\n:::\n")


def test_pictures_that_are_older_than_what_makes_them_are_shown_with_a_word(page, tmp_path, monkeypatch):
    monkeypatch.setattr(executed, "DOCS", tmp_path)
    executed.run_page(page(f"{SHOWING}\n```python\nx = 1\n```\n"))
    assert executed.as_made(SHOWING) == SHOWING
    page(f"{SHOWING}\n```python\nx = 2\n```\n")
    assert executed.as_made(SHOWING) == SHOWING.replace("Title", f"Title\n\n:::{{note}}\n{executed.OLDER}\n:::\n")


def test_what_is_not_here_is_told_before_any_page_is_run(page, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    build, ran = _module("build"), []
    monkeypatch.setitem(executed.NEEDS, "dials", lambda: "dials.import is not in the path")
    pages = {"one": page("", name="one"), "two": page("", "executed: true\nneeds: [dials]", name="two")}
    monkeypatch.setattr(build, "executed_pages", lambda: pages)
    monkeypatch.setattr(build, "run_page", lambda its: ran.append(its.name) or 0.0)
    with pytest.raises(build.PageError, match="not run: two"):
        build._run_all(without_missing=False)
    assert ran == []
    build._run_all(without_missing=True)
    assert ran == ["one"]
