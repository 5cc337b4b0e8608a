"""The log of a run: one line an event, for a person or for a program.

A text line is `2026-03-01T12:00:00.123Z unit-done unit=17 frames=[34, 36] ...`; a JSON line is one object with `time`, `event` and the
same facts. Lines are appended, so the log of a run that was resumed goes on in the same file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nbdist.errors import RunError

logger = logging.getLogger(__name__)
LogFormat = Literal["text", "json"]
EventLog = Callable[..., None]
"""Called with the name of an event and its facts by keyword."""


def no_log(event: str, **facts: Any) -> None:
    """Write nothing."""


class LogFile:
    """Appends a line an event to a file; a file that cannot be written any more never ends a run.

    Raises
    ------
    RunError
        If the file cannot be opened.
    """

    def __init__(self, path: str | Path, form: LogFormat = "text") -> None:
        self._line = _json_line if form == "json" else _text_line
        self._failed = False
        try:
            self._file = Path(path).expanduser().open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise RunError(f"the log file {path} cannot be written: {error.strerror}") from None

    def __call__(self, event: str, **facts: Any) -> None:
        """Write one event, with the time in UTC."""
        if self._failed:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            self._file.write(self._line(now, event, facts) + "\n")
        except (OSError, ValueError) as error:
            self._failed = True
            logger.warning("the log file cannot be written any more: %s", error)

    def close(self) -> None:
        """Close the file; what could not be written is lost."""
        try:
            self._file.close()
        except OSError as error:
            if not self._failed:
                logger.warning("the log file cannot be written: %s", error)


def _json_line(now: str, event: str, facts: dict[str, Any]) -> str:
    return json.dumps({"time": now, "event": event, **facts})


def _text_line(now: str, event: str, facts: dict[str, Any]) -> str:
    words = (
        f"{name}={value if isinstance(value, int | float) else json.dumps(value)}" for name, value in facts.items()
    )
    return " ".join((now, event, *words))
