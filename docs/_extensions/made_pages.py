"""What pages have that is not in them: text made from the code, and no pictures that were not made.

A block ```` ```{made} commands ```` is replaced by the Markdown that the function of that name in `reference.py` gives.
"""

from __future__ import annotations

import re

import reference
from executed import made_key
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_MADE = re.compile(r"^```\{made\} ([\w ]+)\n```$", re.MULTILINE)
_PICTURE = re.compile(r"!\[[^\]]*\]\(/_made/([\w-]+)/[\w.-]+\)(\{[^}]*\})?")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(/_made/([\w-]+)/[\w.-]+\)")
_TITLE = re.compile(r"^# .*$", re.MULTILINE)
_NOT_RUN = (
    "\n\n:::{note}\nThe blocks of this page were not run where this site was built: its pictures are left out.\n:::\n"
)


def _made(found: re.Match[str]) -> str:
    name, *words = found[1].split()
    function = reference.MADE.get(name)
    if function is None:
        raise ExtensionError(f"{{made}} {name}: there is no such text; there are {', '.join(reference.MADE)}")
    return function(*words)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    text = _MADE.sub(_made, source[0])
    if app.tags.has("incomplete"):
        shown = _PICTURE.sub(lambda found: found[0] if made_key(found[1]) else "", text)
        shown = _LINK.sub(lambda found: found[0] if made_key(found[2]) else found[1], shown)
        if shown != text:
            shown = _TITLE.sub(lambda title: title[0] + _NOT_RUN, shown, count=1)
        text = shown
    source[0] = text


def setup(app: Sphinx) -> dict[str, bool]:
    """Replace what is made when a page is read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
