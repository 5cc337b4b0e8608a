"""How numbers and tables look in the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console

console = Console(highlight=False, soft_wrap=True, markup=False)
error_console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def facts(rows: Iterable[tuple[str, str]], title: str | None = None) -> None:
    """Print names and values in two columns."""
    from rich.table import Table
    from rich.text import Text

    if title:
        console.print(title, style="bold")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(f"  {name}"), Text(value))
    console.print(table)


def panels_row(panels: Sequence[tuple[int, int]]) -> tuple[str, str]:
    """Shape of the image, or how many panels there are of which shape."""
    if len(panels) == 1:
        return "image", "{} x {} pixels (slow x fast)".format(*panels[0])
    shapes = (f"{count} of {slow} x {fast} pixels" for (slow, fast), count in Counter(panels).items())
    return "panels", f"{', '.join(shapes)} (slow x fast)"


def size(number: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{seconds / 86400:.1f} days"


def count(number: float) -> str:
    """A count with thousands apart, or in powers of ten when it is large."""
    return f"{number:,.0f}" if number < 1e9 else f"{number:.3g}"


def interactive() -> bool:
    """Whether a person watches."""
    return sys.stderr is not None and sys.stderr.isatty()
