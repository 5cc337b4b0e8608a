"""What pages have that is not in them: text made from the code, and no pictures that were not made, or a word that they are older.

A block ```` ```{made} commands ```` is replaced by the Markdown that the function of that name in `reference.py` gives.
"""

from __future__ import annotations

import re

import reference
from executed import as_made
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_MADE = re.compile(r"^```\{made\} ([\w ]+)\n```$", re.MULTILINE)


def _made(found: re.Match[str]) -> str:
    name, *words = found[1].split()
    function = reference.MADE.get(name)
    if function is None:
        raise ExtensionError(f"{{made}} {name}: there is no such text; there are {', '.join(reference.MADE)}")
    return function(*words)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    text = _MADE.sub(_made, source[0])
    if app.tags.has("incomplete"):
        text = as_made(text)
    source[0] = text


def setup(app: Sphinx) -> dict[str, bool]:
    """Replace what is made when a page is read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
