"""Amounts as a person reads them: bytes, seconds, counts, shapes of panels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def size(number: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
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


def panels_row(panels: Sequence[tuple[int, int]]) -> tuple[str, str]:
    """Shape of the image, or how many panels there are of which shape."""
    if len(panels) == 1:
        return "image", "{} x {} pixels (slow x fast)".format(*panels[0])
    shapes = (f"{count} of {slow} x {fast} pixels" for (slow, fast), count in Counter(panels).items())
    return "panels", f"{', '.join(shapes)} (slow x fast)"
