"""A report as one HTML page that needs nothing beside itself: text, tables and figures in sections.

What holds: whatever a page is given as text stands on it as text, so a title with HTML in it is none; pictures are within the page, and it
asks no network for anything.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nbdist.formats.pictures import drawn

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).parent / "report_page.html"
Kind = Literal["png", "svg"]
KINDS: dict[Kind, str] = {"png": "image/png", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class ReportTable:
    """Rows of text below a head.

    Attributes
    ----------
    head
        Names of the columns.
    rows
        A text for each column.
    caption
        What it shows.
    words
        How many columns, the first ones, are words; the others are numbers.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: int = 1


@dataclass(frozen=True)
class ReportFigure:
    """A picture with what it shows.

    Attributes
    ----------
    id
        By which it is found and linked to.
    caption, alt
        What it shows and in which units, and what is said where it is not seen.
    content, kind
        The bytes of its file, and what they are.
    """

    id: str
    caption: str
    alt: str
    content: bytes
    kind: Kind

    @classmethod
    def of(cls, figure: Figure, id: str, caption: str, alt: str, kind: Kind = "svg") -> ReportFigure:
        """A figure of matplotlib's, as lines or as pixels."""
        return cls(id, caption, alt, drawn(figure, kind), kind)

    @property
    def url(self) -> str:
        """Its bytes in place of an address."""
        return f"data:{KINDS[self.kind]};base64,{base64.b64encode(self.content).decode()}"


@dataclass
class ReportSection:
    """A part of a page below a heading.

    Attributes
    ----------
    id, title
        By which it is linked to, and its heading.
    text
        Paragraphs at its beginning; what is between backticks is code.
    facts
        Names and values, in lists that have a name each.
    tables, figures
        What it shows.
    folded
        Long texts that are opened when asked for: what each is, and its lines.
    """

    id: str
    title: str
    text: list[str] = field(default_factory=list)
    facts: list[tuple[str, Sequence[tuple[str, str]]]] = field(default_factory=list)
    tables: list[ReportTable] = field(default_factory=list)
    figures: list[ReportFigure] = field(default_factory=list)
    folded: list[tuple[str, str]] = field(default_factory=list)


def report_page(title: str, about: str, sections: Sequence[ReportSection], made: str) -> str:
    """The page as HTML: a title, a paragraph on what it is about, sections, and at its end how it was made."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["code"] = _with_code
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return page.render(title=title, about=about, sections=sections, made=made)


def _with_code(text: str) -> Markup:
    """A text as HTML, with what is between backticks as code."""
    from markupsafe import Markup

    parts = (
        Markup("<code>{}</code>" if number % 2 else "{}").format(part) for number, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)
