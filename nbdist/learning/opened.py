"""What a process has open of a store for training: pixels, masks, and what is known of each frame in numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from nbdist.errors import StoreError
from nbdist.frames.products import SPOTS
from nbdist.frames.sample_products import SAMPLES
from nbdist.store.labels import indices_appender
from nbdist.store.locations import open_group, read_known
from nbdist.store.places import is_url, objects_of
from nbdist.store.samples import sample_rows
from nbdist.store.schema import schema_of
from nbdist.store.shard_reading import ShardReader, Window, decoding_threads
from nbdist.store.table_reading import table_reader
from nbdist.store.tables import FRAME, SAMPLE
from nbdist.store.units import store_id_of

if TYPE_CHECKING:
    import pyarrow
    import zarr

COORDINATE_CHUNKS = 24
"""Chunks of coordinates that a process keeps: three for each of the places that it reads from in turn."""
EXTENTS = 4096
"""Extents of panels in frames with masks of their own that a process keeps."""
UNIT_TABLES = 16
"""Tables of units that a process keeps; a shuffled epoch is in a few units at once."""
INDICES = ("h", "k", "l")
KEYS = (SAMPLE, FRAME)
SPOT_BOXES = (
    "panel",
    "slow",
    "fast",
    "first_slow",
    "last_slow",
    "first_fast",
    "last_fast",
    "signal_over_noise",
)
"""Columns of spots that say where they are and how clear."""
MASK, MASKED = "mask", 1
"""The product, and its value where there is no pixel."""

Tables = Mapping[str, Sequence[str]]
"""Columns that are wanted of each table."""


class OpenStore:
    """A store as a process has it open.

    Attributes
    ----------
    schema, store_id
        What it holds, and its random name.
    arrays
        What reads each array of pixels.

    Raises
    ------
    StoreError
        If there is no store of nbdist, or it lacks one of the products, tables or columns.
    """

    def __init__(
        self, location: str, products: Sequence[str] | None, tables: Tables, values: Sequence[str] | None
    ) -> None:
        self._group = open_group(location)
        self._objects = objects_of(self._group)
        self.schema, self.store_id = schema_of(self._group), store_id_of(self._group)
        known = {array.product.name for array in self.schema.arrays}
        for name in products or ():
            if name not in known:
                raise StoreError(
                    f"{location}: there is no product {name} of pixels; products: {', '.join(sorted(known))}"
                )
        threads = decoding_threads() if get_worker_info() is None else 1
        readers = {
            array.name: ShardReader(self._objects, self._group[array.name], array, threads)
            for array in self.schema.arrays
            if products is None or array.product.name in {*products, MASK}
        }
        self._masks = {name: reader for name, reader in readers.items() if name.startswith(MASK)}
        self.arrays = {
            array.name: readers[array.name]
            for array in self.schema.arrays
            if products is None or array.product.name in products
        }
        self._tables = {name: _TableOfUnits(self._group, name, columns) for name, columns in tables.items()}
        self._values = None if values is None else _ValuesOfUnits(self._group, values)
        self._known: tuple[str, ...] = ()
        if self.schema.frames_per_sample is None:
            self._known = "phi_start_deg", "phi_end_deg", "orientation", *(its.name for its in self.schema.series)
        self._coordinates = {name: self._group[name] for name in self._known}
        self._extent = functools.lru_cache(EXTENTS)(self._read_extent)
        self._chunk = functools.lru_cache(COORDINATE_CHUNKS)(self._read_chunk)

    @functools.cached_property
    def usable(self) -> dict[str, Tensor]:
        """Where pixels are usable, bool, by the name of the mask, of masks that are the same in all frames."""
        of_frames = {array.name for array in self.schema.arrays}
        masks = [name for name in self.schema.dtypes if name.startswith(MASK) and name not in of_frames]
        return {name: torch.from_numpy(read_known(self._group, name) == 0) for name in masks}

    @functools.cached_property
    def spots(self) -> _TableOfUnits:
        """Where the spots of each frame are, `SPOT_BOXES`."""
        return _TableOfUnits(self._group, SPOTS.name, SPOT_BOXES)

    @property
    def frame_bytes(self) -> int:
        """Bytes of what is read of a frame's pixels."""
        return sum(its.dtype.itemsize * math.prod(its.shape[1:]) for its in self.arrays.values())

    def hold(self, units: Sequence[int]) -> None:
        """Keep the shards of these units in memory, where each piece of one would be a request to a bucket."""
        if is_url(self._objects.location):
            for array in self.arrays.values():
                array.hold(units)

    def pixels(self, name: str, frames: Sequence[int], window: Window | None = None) -> Tensor:
        """What an array holds of some frames, (frame, ...); masks as bool, True where a pixel is usable."""
        found = self.arrays[name].read(frames, window)
        return torch.from_numpy(found == 0 if name.startswith(MASK) else found)

    def crop(self, frame: int, panel: int, window: Window) -> dict[str, Tensor]:
        """Pixels of a window of a panel, (slow, fast), by product, and which of them are usable."""
        [panels] = [group for group in self.schema.panel_groups if panel in group.numbers]
        place = panel - panels.numbers.start
        whole = (slice(place, place + 1), *window) if len(panels.shape) == 3 else window
        shape = [its.stop - its.start for its in window]
        found = {
            array.product.name: self.pixels(array.name, [frame], whole).reshape(shape)
            for array in self.schema.arrays
            if array.name in self.arrays and array.panels == panels
        }
        usable = self.usable.get(MASK + panels.suffix)
        return found if usable is None else found | {MASK: usable[whole].reshape(shape).clone()}

    def extent(self, frame: int, panel: int) -> tuple[range, range]:
        """Rows and columns of a panel between which the mask of its sample leaves pixels; all of them where it is that of all."""
        if not self._masks:
            slow, fast = self.schema.panels[panel]
            return range(slow), range(fast)
        return self._extent(frame - frame % (self.schema.frames_per_sample or 1), panel)

    def _read_extent(self, frame: int, panel: int) -> tuple[range, range]:
        [panels] = [group for group in self.schema.panel_groups if panel in group.numbers]
        mask, place = self._masks[MASK + panels.suffix], panel - panels.numbers.start
        window = (slice(place, place + 1), *mask.whole[1:]) if len(panels.shape) == 3 else None
        there = mask.read([frame], window).reshape(self.schema.panels[panel]) != MASKED
        slow, fast = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
        if not len(slow):
            return range(there.shape[0]), range(there.shape[1])
        return range(slow[0], slow[-1] + 1), range(fast[0], fast[-1] + 1)

    def boxes(self, frame: int) -> NDArray[Any]:
        """Where the spots of a frame are, (row, `SPOT_BOXES`)."""
        return self.spots.of_frame(frame)

    def of_frame(self, frame: int) -> dict[str, Tensor]:
        """What is known of a frame in numbers: phi, orientation, and so on; in a data set which sample it is of, and its values."""
        together = self.schema.frames_per_sample
        if together is not None:
            known: dict[str, Tensor] = {SAMPLE: torch.tensor(frame // together), FRAME: torch.tensor(frame % together)}
            return known if self._values is None else known | {"values": torch.tensor(self._values.of_frame(frame))}
        start, end, *others = (self._coordinate(name, frame) for name in self._known)
        of_series = {
            name: torch.tensor(its, dtype=torch.float32) for name, its in zip(self._known[2:], others, strict=True)
        }
        return {"phi": torch.tensor([start, end], dtype=torch.float32), **of_series, FRAME: torch.tensor(frame)}

    def rows(self, name: str, frames: Sequence[int]) -> NDArray[Any]:
        """The columns wanted of a table in the rows of some frames, of one sample, (row, column), which the caller owns."""
        table = self._tables[name]
        return np.concatenate([table.of_frame(frame) for frame in (frames if table.of_frames else frames[:1])])

    def _coordinate(self, name: str, frame: int) -> NDArray[np.float64]:
        """A coordinate of a frame."""
        chunk, place = divmod(frame, self._coordinates[name].chunks[0])
        found: NDArray[np.float64] = self._chunk(name, chunk)[place]
        return found

    def _read_chunk(self, name: str, chunk: int) -> NDArray[np.float64]:
        size = self._coordinates[name].chunks[0]
        return read_known(self._group, name, slice(chunk * size, (chunk + 1) * size))


class _TableOfUnits:
    """Columns of a table, a unit at a time; h, k, l of spots are looked up among the reflections where they are no columns.

    Attributes
    ----------
    of_frames
        Whether a row is of a frame, and not of a whole sample.
    """

    def __init__(self, group: zarr.Group, name: str, columns: Sequence[str]) -> None:
        described = table_reader(group, name).columns
        self._columns = list(columns)
        self._looked_up = [
            its for its in columns if name == SPOTS.name and its in INDICES and its not in described.names
        ]
        read = [column for column in columns if column not in self._looked_up]
        keys = [key for key in KEYS if key in described.names]
        more = [column for column in (*keys, *["reflection"] * bool(self._looked_up)) if column not in read]
        self._reader = table_reader(group, name, [*more, *read])
        self._appended = indices_appender(group) if self._looked_up else _itself
        self._units, together = self._reader.schema.units, self._reader.schema.frames_per_sample
        self.of_frames = FRAME in keys
        self._frames_of_row = 1 if together is None or self.of_frames else together
        self._dtype = _common_type(objects_of(group).location, name, self._reader.columns, read)
        if self._looked_up:
            self._dtype = np.result_type(self._dtype, np.int32)
        self._of_unit = functools.lru_cache(UNIT_TABLES)(self._read_unit)

    def of_frame(self, frame: int) -> NDArray[Any]:
        """The rows of a frame, (row, column); of its sample, where the table's are of samples."""
        numbers, rows = self._of_unit(frame // self._units.size)
        frame -= frame % self._frames_of_row
        first, last = np.searchsorted(numbers, [frame, frame + 1])
        return rows[first:last]

    def _read_unit(self, number: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        unit = self._units[number]
        rows = self._appended(self._reader.of_unit(unit, range(unit.first_frame, unit.last_frame)))
        of_columns = []
        for name in self._columns:
            column = rows[name].fill_null(0) if name in self._looked_up else rows[name]
            of_columns.append(column.to_numpy().astype(self._dtype))
        return self._reader.frame_of_rows(rows), np.stack(of_columns, axis=1)


class _ValuesOfUnits:
    """Columns of the samples of a data set, a unit at a time."""

    def __init__(self, group: zarr.Group, columns: Sequence[str]) -> None:
        self._group, self._columns = group, list(columns)
        described, _ = sample_rows(group, range(0), columns)
        _common_type(objects_of(group).location, SAMPLES, described, self._columns)
        schema = schema_of(group)
        self._units, self._together = schema.units, schema.frames_per_sample or 1
        self._of_unit = functools.lru_cache(UNIT_TABLES)(self._read_unit)

    def of_frame(self, frame: int) -> NDArray[np.float64]:
        """The values of the sample of a frame, (column,)."""
        number, place = divmod(frame, self._units.size)
        found: NDArray[np.float64] = self._of_unit(number)[place // self._together]
        return found

    def _read_unit(self, number: int) -> NDArray[np.float64]:
        unit = self._units[number]
        samples = range(unit.first_frame // self._together, unit.last_frame // self._together)
        rows = next(sample_rows(self._group, samples, self._columns)[1], None)
        if rows is None:
            raise StoreError(f"{objects_of(self._group).location}: unit {number} is gone, or not complete any more")
        return np.stack([rows[name].to_numpy().astype(np.float64) for name in self._columns], axis=1)


def _common_type(location: str, table: str, described: pyarrow.Schema, columns: Sequence[str]) -> np.dtype[Any]:
    """The type that all of some columns fit in.

    Raises
    ------
    StoreError
        If one is of text.
    """
    import pyarrow

    for name in columns:
        if pyarrow.types.is_string(described.field(name).type):
            raise StoreError(f"{location}: column {name} of {table} is text; a tensor has numbers")
    return np.result_type(*(described.field(name).type.to_pandas_dtype() for name in columns))


def _itself(rows: pyarrow.Table) -> pyarrow.Table:
    return rows
