"""The log of a run: one line an event, for a person or for a program.

A text line is `2026-03-01T12:00:00.123Z unit-done unit=17 frames=[34, 36] ...`; a JSON line is one object with `time`, `event` and the
same facts. Lines are appended, so the log of a run that was resumed goes on in the same file.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nbdist.errors import RunError, one_line
from nbdist.formats.text import user_path

logger = logging.getLogger(__name__)
LogFormat = Literal["text", "json"]
EventLog = Callable[..., None]
"""Called with the name of an event and its facts by keyword."""


def no_log(event: str, **facts: Any) -> None:
    """Write nothing."""


class LogFile:
    """Appends a line an event to a file, each in one write; an event that cannot be written is lost, and the run goes on.

    Raises
    ------
    RunError
        If the file cannot be opened.
    """

    def __init__(self, path: str | Path, form: LogFormat = "text") -> None:
        self._line = _json_line if form == "json" else _text_line
        self._failed = False
        try:
            self._file = user_path(path).open("ab", buffering=0)
        except (OSError, ValueError) as error:
            raise RunError(
                f"the log file {path} cannot be written: {getattr(error, 'strerror', None) or error}"
            ) from None

    def __call__(self, event: str, **facts: Any) -> None:
        """Write one event, with the time in UTC."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            self._file.write((self._line(now, event, facts) + "\n").encode(errors="backslashreplace"))
        except (OSError, ValueError) as error:
            if not self._failed:
                logger.warning("the log file cannot be written: %s; its run goes on", one_line(error))
            self._failed = True

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()


def _json_line(now: str, event: str, facts: dict[str, Any]) -> str:
    return json.dumps({"time": now, "event": event, **facts})


def _text_line(now: str, event: str, facts: dict[str, Any]) -> str:
    words = (
        f"{name}={value if isinstance(value, int | float) else json.dumps(value)}" for name, value in facts.items()
    )
    return " ".join((now, event, *words))
