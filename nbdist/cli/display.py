"""How numbers and tables look in the terminal.

What holds: no number is cut or broken, whatever the width; where nobody watches, a row is one line; and the terminal obeys no character
that stands in a store or in a file, a title for instance.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.segment import Segment

from nbdist.errors import printable

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType
    from rich.table import Table


class _Console(Console):
    """Shows control characters of what is printed; its own, of colours and of progress, are none of that."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Parts of a line, with how each looks."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(printable(part.text), part.style)


console = _Console(highlight=False, soft_wrap=True, markup=False)
error_console = _Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
WIDEST = 10_000
"""Characters of a line of a table, at most."""


def facts(rows: Iterable[tuple[str, str]], title: str | None = None) -> None:
    """Print names and values in two columns; in a terminal, long values go on below, between words."""
    from rich.text import Text

    if title:
        console.print(title, style="bold")
    rows = list(rows)
    wide = max((len(name) for name, _ in rows), default=0) + 4
    for name, value in rows:
        lines = [value]
        if console.is_terminal:
            room = max(1, console.width - wide)
            lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
        text = f"\n{' ' * wide}".join(lines)
        console.print(Text.assemble((f"  {name}".ljust(wide), "cyan"), text) if text else f"  {name}")


def table_of_numbers(title: str, names: Sequence[str], first: Literal["left", "right"] = "right") -> Table:
    """An empty table whose columns have these names; the first is aligned as told, the others to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else first, no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Print a table as wide as what it holds, even where the terminal is narrower."""
    from rich.measure import Measurement

    table.width = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    console.print(table)


def interactive() -> bool:
    """Whether a person watches."""
    return sys.stderr is not None and sys.stderr.isatty()
