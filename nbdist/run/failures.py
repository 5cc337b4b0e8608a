"""An error as a run tells it: one line with its type and its place, and the whole traceback for those who mend it."""

from __future__ import annotations

import traceback
from pathlib import Path

from nbdist.errors import FULL_ERRNOS, DrawError, one_line, scrubbed

PACKAGE = Path(__file__).parent.parent


class ErrorLine(str):
    """An error in one line, such as `ValueError: no amplitudes (nbdist/frames/renderer.py:84)`.

    Attributes
    ----------
    traceback
        The whole traceback, empty where there is none.
    disk_full
        Whether there was no room left for what was written.
    lasting
        Whether whoever tries again meets it again: a sample that is no experiment.
    """

    traceback: str = ""
    disk_full: bool = False
    lasting: bool = False

    @classmethod
    def of(cls, error: BaseException) -> ErrorLine:
        """The line of an error that was caught; its place is the innermost line of nbdist that it passed."""
        said = one_line(error)
        name = type(error).__name__
        line = cls((said if said == name else f"{name}: {said}") + _place(error))
        line.traceback = scrubbed("".join(traceback.format_exception(error)).rstrip())
        line.lasting = isinstance(error, DrawError)
        line.disk_full = isinstance(error, OSError) and error.errno in FULL_ERRNOS
        return line

    @classmethod
    def from_text(cls, line: str, traceback: str) -> ErrorLine:
        """The line of an error that another process tells."""
        its = cls(line)
        its.traceback = traceback
        return its


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)] or list(frames)
    if not ours:
        return ""
    path = Path(ours[-1].filename)
    name = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else path.name
    return f" ({name}:{ours[-1].lineno})"
