"""Frames of a store that are read by what runs beside it: what is not complete, or was replaced meanwhile, is an error and never an image.

Frames are read between two looks at the records of the units that hold them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from nbdist.errors import MissingExtraError, RunError, StoreError, UnreachableError
from nbdist.frames.products import Products
from nbdist.run.progress import Record
from nbdist.store import StoredUnits, open_group, read_frames
from nbdist.store.units import store_id_of


class SourceStore(NamedTuple):
    """A store whose frames are read.

    Attributes
    ----------
    location, store_id
        Where it lies, and the random name that it got when it was made.
    exposure_ratio
        What its photons are multiplied by.
    """

    location: str
    store_id: str
    exposure_ratio: float = 1.0


class FrameReader:
    """Reads frames of a store that must not change meanwhile.

    Attributes
    ----------
    source, group
        The store, and as zarr opened it.

    Raises
    ------
    StoreError
        If there is no store of nbdist, or another one than that of the source.
    """

    def __init__(self, source: SourceStore) -> None:
        self.source = source
        self.group = open_group(source.location, patient=True)
        self._stored = StoredUnits(self.group)
        if store_id_of(self.group) != source.store_id:
            raise StoreError(f"{source.location} is another store than the one whose frames are read; it was replaced")

    @property
    def frames_per_shard(self) -> int:
        """Frames that are read at once at the least cost."""
        return self._stored.units.size

    def read(self, frames: range, names: Collection[str]) -> tuple[Sequence[Products], Sequence[Record]]:
        """Products by name of consecutive frames, and the records of the units that hold them.

        Raises
        ------
        StoreError
            If the store was removed or replaced.
        RunError
            If the frames are not complete, or do not decode.
        """
        records = self._records(frames)
        try:
            stored = read_frames(self.group, frames, names)
        except Exception as error:
            if isinstance(error, MemoryError | OSError | MissingExtraError | UnreachableError):
                raise  # it says nothing about the frames
            FrameReader(self.source)  # says that the store was removed or replaced
            raise RunError(
                f"{self.source.location}: frames {frames.start} to {frames.stop - 1} do not decode ({type(error).__name__}); "
                "nbdist run --resume renders them again"
            ) from None
        if self._records(frames) != records:
            raise RunError(
                f"{self.source.location}: frames {frames.start} to {frames.stop - 1} changed while they were read"
            )
        return stored, records

    def _records(self, frames: range) -> list[Record]:
        """The records of the units that hold some frames."""
        size = self._stored.units.size
        units = self._stored.units[frames.start // size : (frames.stop - 1) // size + 1]
        found = self._stored.complete_among(units)
        if len(found) < len(units):
            FrameReader(self.source)  # says that it was removed or replaced
            missing = next(its for its in units if its not in found)
            raise RunError(
                f"{self.source.location}: frames {missing.first_frame} to {missing.last_frame - 1} are damaged or gone; "
                "nbdist run --resume renders them again"
            )
        return list(found.values())
