"""Standard output and error that nothing ends: not a terminal that is gone, a full disk, a closed reader or an encoding without the letter.

What is printed is what a person or another program reads of a command, never its work. So what cannot be written is dropped, and the
first reason is kept: a command that does nothing but print says in its exit status that the print was lost.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer  # collections.abc.Buffer is Python 3.12's

STANDARD = (0, 1, 2)


class _Descriptor(io.RawIOBase):
    """Writes to a file descriptor and never fails."""

    def __init__(self, descriptor: int, lost: OSError | None = None) -> None:
        self._descriptor = descriptor
        self.lost = lost

    def writable(self) -> bool:
        """True: it is there to be written to."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a terminal is there, still."""
        return os.isatty(self._descriptor)

    def write(self, content: Buffer) -> int:
        """Write what can be written of some bytes; where nothing can, drop all and keep the reason."""
        while True:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.lost = self.lost or error
                return memoryview(content).nbytes


class Streams:
    """The standard streams of this process."""

    def __init__(self) -> None:
        self._output: _Descriptor | None = None

    def lost(self) -> OSError | None:
        """Why something that was printed to standard output is lost; a reader who had enough, such as `head`, lost nothing."""
        if self._output is None:
            return None
        sys.stdout.flush()
        found = self._output.lost
        return None if found is None or found.errno == errno.EPIPE else found

    def take(self) -> None:
        """Put streams that never fail in the place of this process's own."""
        missing = _open_missing()
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            stream = getattr(sys, name)
            if stream is not getattr(sys, f"__{name}__"):  # somebody else's, who sees to it himself
                continue
            lost = OSError(errno.EBADF, os.strerror(errno.EBADF)) if descriptor in missing else None
            raw = _Descriptor(descriptor, lost)
            with contextlib.suppress(OSError, AttributeError):
                stream.flush()
            encoding = getattr(stream, "encoding", None) or "utf-8"
            lines = descriptor == 2 or raw.isatty()
            buffer = io.BufferedWriter(raw)
            setattr(sys, name, io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=lines))
            if descriptor == 1:
                self._output = raw


@contextlib.contextmanager
def steady_streams() -> Iterator[Streams]:
    """A block in which what is printed never raises; the streams are those of before at its end."""
    before = sys.stdout, sys.stderr
    streams = Streams()
    streams.take()
    try:
        yield streams
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _open_missing() -> list[int]:
    """Open what the caller has closed of the standard descriptors: else the next file that is opened takes what is printed."""
    missing = []
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(descriptor, True)
            missing.append(descriptor)
    return missing
