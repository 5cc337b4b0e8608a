"""What a check has found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nbdist.formats.text import user_path

Level = Literal["ok", "note", "fault"]
"""A note is something that some things cannot be done with; with a fault, what nbdist is for cannot be done."""


@dataclass(frozen=True)
class Finding:
    """What a check of the machine found, in one line.

    Attributes
    ----------
    name
        What was looked at.
    found
        What it is, in a line.
    level
        Whether that will do.
    advice
        What to do where it will not.
    numbers
        The same for programs, units in the names.
    """

    name: str
    found: str
    level: Level = "ok"
    advice: str = ""
    numbers: Mapping[str, object] = field(default_factory=dict)


def at_home(text: Path | str, home: Path | None = None) -> str:
    """A path, or a text with paths, with the user's home folder, whose name is nobody's business, as `~`."""
    home = user_path("~") if home is None else home
    return str(text) if home == Path("/") else re.sub(rf"(?<![^\s'(]){re.escape(str(home))}(?![\w.-])", "~", str(text))
