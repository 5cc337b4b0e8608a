"""Pixels of a store for somebody who looks at them: windows of frames, read by chunks, of which the last ones are kept within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.store.places import objects_of
from nbdist.store.schema import FrameArray
from nbdist.store.shard_reading import ShardReader, decoding_threads

if TYPE_CHECKING:
    import zarr

KEPT_BYTES = 2**28
"""What is kept of the chunks that were read last."""

Report = Callable[[int, int], None]
Block = tuple[str, int, tuple[int, ...], int, int]
"""Array, panel, frames whose brightest values it holds, and the first row and column."""
Box = tuple[range, ...]
"""Rows and columns."""


class Blocks:
    """Reads windows of panels; any thread may ask.

    Parameters
    ----------
    group
        The open store.
    most_bytes
        What is kept at most.

    Attributes
    ----------
    pixels_read
        Pixels of frames that were taken out of the store so far.
    """

    def __init__(self, group: zarr.Group, most_bytes: int = KEPT_BYTES) -> None:
        self._group, self._most_bytes = group, most_bytes
        self._readers: dict[str, ShardReader] = {}
        self._kept: OrderedDict[Block, NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self.pixels_read = 0

    @property
    def kept_bytes(self) -> int:
        """Bytes that are kept."""
        return self._kept_bytes

    def brightest(
        self, array: FrameArray, panel: int, frames: Sequence[int], window: Box, report: Report
    ) -> NDArray[Any]:
        """The brightest value of each pixel of a window over some frames, (slow, fast).

        Parameters
        ----------
        window
            Rows and columns.
        report
            Called with (frames read, all frames) after each where anything is to be read; what it raises ends the reading.

        Raises
        ------
        StoreError
            If a frame is not there, or does not decode.
        """
        (rows, columns), whose = window, (array.name, panel, tuple(frames))
        with self._lock:
            reader = self._reader(array)
            found = np.empty((len(rows), len(columns)), dtype=reader.dtype)
            missing = []
            for block_rows, block_columns in _blocks(reader.chunk, array.panels.shape, rows, columns):
                kept = self._kept.get((*whose, block_rows.start, block_columns.start))
                if kept is None:
                    missing.append((block_rows, block_columns))
                else:
                    self._kept.move_to_end((*whose, block_rows.start, block_columns.start))
                    _put(kept, block_rows, block_columns, found, rows, columns)
        if not missing:
            return found
        all_rows = range(min(its.start for its, _ in missing), max(its.stop for its, _ in missing))
        all_columns = range(min(its.start for _, its in missing), max(its.stop for _, its in missing))
        joined = self.values(array, panel, frames[:1], all_rows, all_columns)[0]
        for done, frame in enumerate(frames[1:], start=1):
            report(done, len(frames))
            np.maximum(joined, self.values(array, panel, [frame], all_rows, all_columns)[0], out=joined)
        report(len(frames), len(frames))
        _put(joined, all_rows, all_columns, found, rows, columns)
        with self._lock:
            for block_rows, block_columns in missing:
                block = joined[_within(block_rows, all_rows), _within(block_columns, all_columns)].copy()
                self._keep((*whose, block_rows.start, block_columns.start), block)
        return found

    def values(self, array: FrameArray, panel: int, frames: Sequence[int], rows: range, columns: range) -> NDArray[Any]:
        """Pixels of a window in some frames, (frame, slow, fast), of which nothing is kept."""
        window = tuple(slice(its.start, its.stop) for its in (rows, columns))
        place = tuple(slice(number, number + 1) for number in array.index(panel))
        with self._lock:
            found = self._reader(array).read(frames, (*place, *window))
            self.pixels_read += found.size
        return found.reshape(len(frames), len(rows), len(columns))

    def _reader(self, array: FrameArray) -> ShardReader:
        if array.name not in self._readers:
            self._readers[array.name] = ShardReader(
                objects_of(self._group), self._group[array.name], array, decoding_threads()
            )
        return self._readers[array.name]

    def _keep(self, whose: Block, block: NDArray[Any]) -> None:
        before = self._kept.pop(whose, None)
        self._kept[whose] = block
        self._kept_bytes += block.nbytes - (0 if before is None else before.nbytes)
        while self._kept_bytes > self._most_bytes:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes


def _blocks(
    chunk: tuple[int, ...], shape: tuple[int, ...], rows: range, columns: range
) -> Iterator[tuple[range, range]]:
    """Rows and columns of the chunks that hold pixels of a window, as far as the panel goes."""
    (high, wide), (slow, fast) = chunk[-2:], shape[-2:]
    for row in range(rows.start // high * high, rows.stop, high):
        for column in range(columns.start // wide * wide, columns.stop, wide):
            yield range(row, min(row + high, slow)), range(column, min(column + wide, fast))


def _put(
    source: NDArray[Any],
    source_rows: range,
    source_columns: range,
    target: NDArray[Any],
    rows: range,
    columns: range,
) -> None:
    """Copy what a piece of an image has of a window."""
    shared = shared_range(source_rows, rows), shared_range(source_columns, columns)
    target[_within(shared[0], rows), _within(shared[1], columns)] = source[
        _within(shared[0], source_rows), _within(shared[1], source_columns)
    ]


def shared_range(one: range, other: range) -> range:
    """Numbers that two ranges have in common; an empty range where there is none."""
    start = max(one.start, other.start)
    return range(start, max(start, min(one.stop, other.stop)))


def _within(some: range, whole: range) -> slice:
    return slice(some.start - whole.start, some.stop - whole.start)
