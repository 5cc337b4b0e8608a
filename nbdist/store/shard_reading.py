"""Pixels of frames out of shards: a shard's index and those of its chunks that hold the pixels, read and decoded without zarr.

What holds: the bytes are those that zarr reads, checked by the same checksums, and no chunk is read or decoded in which no pixel asked for
lies. Chunks that are near each other in a shard come in one piece. zarr goes from chunk to chunk through several layers, which for a
small window of a large image takes longer than its bytes.

A shard is chunks in any order and, at its end, the index: offset and size of each, uint64 in the order of the grid, then a checksum.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import prod
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.blosc import decompress
from numpy.typing import NDArray

from nbdist.cores import usable_cores
from nbdist.errors import DamagedError, StoreError, one_line
from nbdist.store.objects import Objects, Span
from nbdist.store.places import is_url
from nbdist.store.schema import FrameArray

Packed = NDArray[np.uint8]
Window = tuple[slice, ...]
"""Which pixels of a frame: a slice with start and stop for each of its dimensions."""

ABSENT = 2**64 - 1
"""Offset and size in an index of a chunk that is not there."""
CHECKSUM_BYTES = 4
BLOSC_HEADER_BYTES = 16
PACKED_BYTES = 2**12
"""More than these a chunk never takes besides its pixels."""
LARGEST_SHARD_BYTES = 2**62
"""No object is as large."""
JOINED_BYTES = 2**16
"""Chunks with no more bytes than these between them are read in one piece."""
INDEX_CACHE_BYTES = 2**23
"""What a process keeps of the indices of an array's shards in a bucket, where each is a request."""
HELD_BYTES = 2**29
"""What is held of an array's shards; where it is used up, chunks are read as they are wanted."""
THREADED_BYTES = 2**21
"""Fewer bytes than these are decoded by the thread that asks: to hand them to others takes as long."""
CODECS = (["BytesCodec", "BloscCodec", "Crc32cCodec"], ["BytesCodec", "Crc32cCodec"])
"""How the chunks of a shard and its index are packed, in every store."""


class ShardReader:
    """Reads pixels of an array of frames.

    Parameters
    ----------
    objects
        Of the store.
    array
        The zarr array, of which the layout is taken.
    described
        What the array is.
    threads
        Threads that decode, this one among them.

    Raises
    ------
    StoreError
        If its shards are packed in another way than nbdist's.
    """

    def __init__(self, objects: Objects, array: Any, described: FrameArray, threads: int = 1) -> None:
        self._objects, self._name = objects, described.name
        self.dtype, self._fill = np.dtype(array.dtype), array.fill_value
        self.shape: tuple[int, ...] = tuple(array.shape)
        self._chunk: tuple[int, ...] = tuple(array.chunks)
        shard = tuple(array.shards or ())
        if not shard or not _as_nbdist_packs(array):
            raise StoreError(f"{objects.location}: the shards of {self._name} are packed in another way than nbdist's")
        self.frames_per_shard = shard[0]
        self._grid = tuple(size // chunk for size, chunk in zip(shard, self._chunk, strict=True))
        self._largest = prod(self._chunk) * self.dtype.itemsize + PACKED_BYTES
        self._index_bytes = 16 * prod(self._grid) + CHECKSUM_BYTES
        self._rest = "/0" * (len(self.shape) - 1)
        self._kept = max(1, INDEX_CACHE_BYTES // self._index_bytes) if is_url(objects.location) else 0
        self._indices: OrderedDict[int, NDArray[np.uint64]] = OrderedDict()
        self._held: dict[int, Packed | None] = {}
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._mine = threading.local()

    def key(self, shard: int) -> str:
        """Key of a shard."""
        return f"{self._name}/c/{shard}{self._rest}"

    @property
    def chunk(self) -> tuple[int, ...]:
        """Pixels of a frame that lie in one chunk, along each of its dimensions: the least that is read."""
        return self._chunk[1:]

    @property
    def whole(self) -> Window:
        """All pixels of a frame."""
        return tuple(slice(0, size) for size in self.shape[1:])

    def hold(self, shards: Sequence[int]) -> None:
        """Keep these shards in memory, packed as they are, from their next use on, as far as there is room; let go of all others."""
        self._held = {shard: self._held.get(shard) for shard in shards}

    def read(self, frames: Sequence[int], window: Window | None = None) -> NDArray[Any]:
        """Pixels of some frames, (frame, *window).

        Raises
        ------
        DamagedError
            If the shard of one is gone, or does not decode.
        """
        window = window or self.whole
        pixels = np.empty((len(frames), *(its.stop - its.start for its in window)), dtype=self.dtype)
        by_shard: dict[int, list[tuple[int, int]]] = {}
        for place, frame in enumerate(frames):
            shard, local = divmod(frame, self.frames_per_shard)
            by_shard.setdefault(shard, []).append((place, local))
        for shard, wanted in by_shard.items():
            try:
                self._read_shard(shard, wanted, window, pixels)
            except _OldIndexError:
                self._indices.pop(shard, None)
                self._read_shard(shard, wanted, window, pixels)
        return pixels

    def _read_shard(self, shard: int, wanted: list[tuple[int, int]], window: Window, pixels: NDArray[Any]) -> None:
        """Put pixels of a shard where they belong: of each (place in `pixels`, frame in the shard)."""
        index, known = self._index(shard)
        pieces: list[tuple[Span, int, tuple[int, ...]]] = []
        for place, local in wanted:
            for chunk in _touched(window, self._chunk[1:]):
                offset, size = (int(number) for number in index[(local, *chunk)])
                if offset == ABSENT:
                    self._put(None, chunk, window, pixels[place])
                elif offset >= LARGEST_SHARD_BYTES or size > self._largest:
                    raise self._damaged(shard, "its index is damaged")
                else:
                    pieces.append(((offset, offset + size), place, chunk))
        contents = self._contents(shard, [span for span, _, _ in pieces])

        def decode(which: int) -> None:
            _, place, chunk = pieces[which]
            self._put(self._decoded(contents[which]), chunk, window, pixels[place])

        try:
            if self._threads > 1 and len(pieces) > 1 and pixels.nbytes >= THREADED_BYTES:
                self._pool = self._pool or ThreadPoolExecutor(self._threads)
                for _ in self._pool.map(decode, range(len(pieces))):
                    pass
            else:
                for which in range(len(pieces)):
                    decode(which)
        except (ValueError, RuntimeError) as error:
            if known:
                raise _OldIndexError from None  # of a shard that was written again since, perhaps
            raise self._damaged(shard, one_line(error)) from None

    def _index(self, shard: int) -> tuple[NDArray[np.uint64], bool]:
        """The index of a shard, (*grid, 2), and whether it was known before."""
        if shard in self._indices:
            self._indices.move_to_end(shard)
            return self._indices[shard], True
        held = self._held.get(shard)
        if (
            held is None
            and shard in self._held
            and sum(its.nbytes for its in self._held.values() if its is not None) < HELD_BYTES
        ):
            self._held[shard] = held = self._there(shard, self._objects.read(self.key(shard)))
        if held is not None:
            end = held[-self._index_bytes :]
        else:
            end = self._there(shard, self._objects.read_end(self.key(shard), self._index_bytes))
        if len(end) != self._index_bytes or not _sum_is_right(end):
            raise self._damaged(shard, "its index is damaged")
        index = np.frombuffer(end[:-CHECKSUM_BYTES].tobytes(), dtype="<u8").reshape(*self._grid, 2)
        if self._kept and held is None:
            self._indices[shard] = index
            if len(self._indices) > self._kept:
                self._indices.popitem(last=False)
        return index, False

    def _there(self, shard: int, content: bytes | None) -> Packed:
        if content is None:
            raise self._gone(shard)
        return np.frombuffer(content, dtype=np.uint8)

    def _gone(self, shard: int) -> DamagedError:
        return DamagedError(f"{self._objects.location}: {self.key(shard)} is gone since the store was opened")

    def _damaged(self, shard: int, why: str) -> DamagedError:
        return DamagedError(f"{self._objects.location}: {self.key(shard)} does not decode ({why})")

    def _contents(self, shard: int, spans: Sequence[Span]) -> list[Packed]:
        """Bytes of a shard for each span, read in as few pieces as chunks lie near each other."""
        held = self._held.get(shard)
        if held is not None:
            return [held[start:stop] for start, stop in spans]
        joined: list[list[int]] = []
        for start, stop in sorted(spans):
            if joined and start - joined[-1][1] <= JOINED_BYTES:
                joined[-1][1] = max(stop, joined[-1][1])
            else:
                joined.append([start, stop])
        found = self._objects.read_spans(self.key(shard), [(start, stop) for start, stop in joined]) if joined else []
        if found is None:
            raise self._gone(shard)
        pieces, firsts = [np.frombuffer(piece, dtype=np.uint8) for piece in found], [first for first, _ in joined]
        contents = []
        for start, stop in spans:
            which = bisect_right(firsts, start) - 1
            contents.append(pieces[which][start - firsts[which] : stop - firsts[which]])
        return contents

    def _decoded(self, content: Packed) -> NDArray[Any]:
        """The pixels of a chunk, in memory of this thread that the next chunk takes."""
        if len(content) < BLOSC_HEADER_BYTES + CHECKSUM_BYTES or not _sum_is_right(content):
            raise ValueError("a checksum is wrong")
        if not hasattr(self._mine, "chunk"):
            self._mine.chunk = np.empty(self._chunk[1:], dtype=self.dtype)
        chunk: NDArray[Any] = self._mine.chunk
        if int.from_bytes(content[4:8].tobytes(), "little") != chunk.nbytes:
            raise ValueError("a chunk is of another size")
        decompress(content[:-CHECKSUM_BYTES], chunk)
        return chunk

    def _put(self, decoded: NDArray[Any] | None, chunk: tuple[int, ...], window: Window, pixels: NDArray[Any]) -> None:
        """Copy what a chunk has of a window to where it belongs; the fill value where there is no chunk."""
        source, target = [], []
        for number, size, wanted in zip(chunk, self._chunk[1:], window, strict=True):
            first = number * size
            start, stop = max(first, wanted.start), min(first + size, wanted.stop)
            source.append(slice(start - first, stop - first))
            target.append(slice(start - wanted.start, stop - wanted.start))
        pixels[tuple(target)] = self._fill if decoded is None else decoded[tuple(source)]


class _OldIndexError(Exception):
    """Chunks are not where an index that was kept says."""


def decoding_threads() -> int:
    """Threads that decode in a process that has the machine's cores for itself."""
    return min(4, usable_cores())


def _touched(window: Window, chunk: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Which chunks of a frame hold pixels of a window."""
    return product(*(range(its.start // size, -(-its.stop // size)) for its, size in zip(window, chunk, strict=True)))


def _sum_is_right(content: Packed) -> bool:
    """Whether the last bytes are the checksum of those before, CRC-32C."""
    summed = google_crc32c.value(content[:-CHECKSUM_BYTES])
    return bool(summed == int.from_bytes(content[-CHECKSUM_BYTES:].tobytes(), "little"))


def _as_nbdist_packs(array: Any) -> bool:
    """Whether the chunks of an array, and its index, are packed as `CODECS` says, the index last and numbers little-endian."""
    [sharding] = array.metadata.codecs
    of_shard = [*sharding.codecs, *sharding.index_codecs]
    names = [[type(codec).__name__ for codec in codecs] for codecs in (sharding.codecs, sharding.index_codecs)]
    ends = {_word(codec.endian) for codec in of_shard if type(codec).__name__ == "BytesCodec" and codec.endian}
    return tuple(names) == CODECS and ends == {"little"} and _word(sharding.index_location) == "end"


def _word(value: Any) -> Any:
    """What a setting of zarr is called, which is an enumeration or a word by version."""
    return getattr(value, "value", value)
